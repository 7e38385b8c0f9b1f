"""Whether a running master speaks the worker's protocol: `python -m demo.conformance URL`.

It plays three workers that are one another's neighbours, has one of them die and come back, and compares what the
master does with docs/protocol.md. No address is taken. The nodes' numbers must be nobody else's; the master may go
on listing them as dead afterwards.
"""

from __future__ import annotations

import argparse
import sys
from typing import Optional

from demo.scenario import Conformance


def _nodes(text: str) -> tuple[int, int, int]:
    parts = text.split(",")
    numbers = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 5]
    if len(numbers) != 3 or len(parts) != 3 or len(set(numbers)) != 3 or 0 in numbers:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers, such as 901,902,903")
    return numbers[0], numbers[1], numbers[2]


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 0.1 to 3600 seconds")
    return value


def main(arguments: Optional[list[str]] = None) -> int:
    """0 where the master differs in nothing, else 1."""
    parser = argparse.ArgumentParser(
        "python -m demo.conformance",
        description="Checks a running master against docs/protocol.md, by playing three workers.",
    )
    parser.add_argument("url", metavar="URL", help="the master, such as http://localhost:5000")
    parser.add_argument("--token", help="the MASTER_TOKEN that it wants (default: none)")
    parser.add_argument(
        "--nodes",
        type=_nodes,
        default=(901, 902, 903),
        metavar="A,B,C",
        help="numbers of nodes that nobody uses (default: 901,902,903)",
    )
    parser.add_argument(
        "--limit",
        type=_seconds,
        default=15,
        metavar="S",
        help="an order is waited for S seconds, more than the master needs to find a node dead (default: 15)",
    )
    options = parser.parse_args(arguments)
    differences = 0
    for finding in Conformance(options.url, options.token, options.nodes, options.limit).run():
        differences += finding.kind == "DIFFERS"
        print(f"{finding.kind:7} {finding.check}: {finding.text}", flush=True)
    print(f"\n{differences} differences" if differences else "\nThis master speaks the protocol.")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
