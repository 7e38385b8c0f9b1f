"""Whether a running master speaks the worker's protocol: `python -m master conformance URL`.

It plays three workers that are one another's neighbors, has one of them die and come back, and compares what the
master does with docs/protocol.md. No address is taken. The nodes' numbers must be nobody else's; the master may go
on listing them as dead afterwards.
"""

import argparse
import sys

from master import settings
from master.scenario import Conformance
from master.status import Asker, AskError

ELSEWHERE = (901, 902, 903)
"""For a master that does not say which numbers are used."""


def _nodes(text: str | None, asker: Asker) -> tuple[int, int, int]:
    """The three numbers to play. Raises AskError."""
    if text is None:
        try:
            known = asker.json("/json")
            used = {number for part in ("active", "inactive") for number in known[part]}
        except (AskError, KeyError, TypeError):
            return ELSEWHERE
        free = [number for number in range(9, 0, -1) if str(number) not in used][:3]
        if len(free) < 3:
            raise AskError(
                "fewer than three of the nodes 1 to 9 are unused; name three others: --nodes A,B,C"
            )
        return free[2], free[1], free[0]
    parts = text.split(",")
    numbers = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 5]
    if len(numbers) != 3 or len(parts) != 3 or len(set(numbers)) != 3 or 0 in numbers:
        raise AskError(f"--nodes: {text!r}; expected three numbers, such as 7,8,9")
    return numbers[0], numbers[1], numbers[2]


def conformance(arguments: argparse.Namespace) -> int:
    """0 where the master differs in nothing, else 1."""
    values = settings.environment(arguments.env_file)
    try:
        token = settings.own_token(values)
        nodes = _nodes(arguments.nodes, Asker(arguments.url, values))
        if not 0.1 <= arguments.limit <= 3600:
            raise AskError("--limit: expected seconds from 0.1 to 3600")
    except (AskError, ValueError) as exc:
        print(exc, file=sys.stderr)
        return 2
    differences = 0
    check = Conformance(arguments.url, token, nodes, arguments.limit, ca_file=values.get("MASTER_CA_FILE"))
    for finding in check.run():
        differences += finding.kind == "DIFFERS"
        print(f"{finding.kind:7} {finding.check}: {finding.text}", flush=True)
    print(f"\n{differences} differences" if differences else "\nThis master speaks the protocol.")
    return 1 if differences else 0
