"""`status` and `restore`: a running master asked over HTTP."""

import argparse
import base64
import contextlib
import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NoReturn

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from master import settings
from master.settings import CommandError
from settings.types import printable

LIMIT_S = 10.0


class Asker:
    """A master, with the token and the CA that the environment or `.env` has for it."""

    def __init__(self, url: str | None, values: Mapping[str, str]) -> None:
        """Raises CommandError."""
        self.url = (
            (url or values.get("MASTER_URL") or "http://127.0.0.1:5000").split(",")[0].strip().rstrip("/")
        )
        if not self.url.startswith(("http://", "https://")):
            raise CommandError(f"{self.url}: expected a URL such as http://127.0.0.1:5000")
        try:
            self.token = settings.own_token(values)
            context = ssl.create_default_context(cafile=values.get("MASTER_CA_FILE"))
        except (ValueError, OSError) as exc:
            raise CommandError(str(exc)) from None
        basic = base64.b64encode(f"master:{self.token}".encode()).decode()
        self._headers = {"Authorization": f"Basic {basic}"} if self.token else {}
        # never through a proxy of the environment, which would be sent the token
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def open(self, path: str, method: str = "GET") -> Any:
        """Raises CommandError."""
        request = urllib.request.Request(self.url + path, method=method, headers=self._headers)  # noqa: S310 - http or https, checked before
        try:
            return self._opener.open(request, timeout=LIMIT_S)
        except urllib.error.HTTPError as exc:
            with exc:
                reason = exc.read(10_000).decode("utf-8", "replace").strip() or exc.reason
            with contextlib.suppress(ValueError, KeyError, TypeError):
                reason = str(json.loads(reason)["error"])
            hint = "; set MASTER_TOKEN or MASTER_TOKEN_FILE" if exc.code == 401 else ""
            raise CommandError(f"{self.url}: {exc.code}: {printable(reason[:200])}{hint}") from None
        except (OSError, ValueError) as exc:
            reason = str(getattr(exc, "reason", exc))
            raise CommandError(f"{self.url} does not answer: {printable(reason)}") from None

    def json(self, path: str, method: str = "GET") -> Any:
        """Raises CommandError."""
        with self.open(path, method) as answer:
            try:
                return json.loads(answer.read(10_000_000))
            except (OSError, ValueError):
                raise CommandError(f"{self.url}{path} is no JSON: is that a master of this kind?") from None

    def states(self) -> Iterator[dict[str, Any]]:
        """What the dashboard is shown, until it raises CommandError."""
        with self.open("/events") as stream:
            try:
                while line := stream.readline(10_000_000):
                    if line.startswith(b"data: "):
                        yield json.loads(line[6:])
            except (OSError, ValueError) as exc:
                raise CommandError(f"{self.url}/events: {printable(str(exc))}") from None
        raise CommandError(f"{self.url} ended the connection")


def status(arguments: argparse.Namespace) -> int:
    console = Console(highlight=False, markup=False)  # a name may look like markup
    asker = Asker(arguments.url, settings.environment(arguments.env_file))
    if arguments.watch:
        _watch(asker, console, arguments.json)
    elif arguments.json:
        print(json.dumps(asker.json("/json"), indent=1))
    else:
        console.print(_table(next(asker.states())))
    return 0


def _watch(asker: Asker, console: Console, is_json: bool) -> NoReturn:
    """Until Ctrl-C; a master that is lost is waited for, and the same reason said once."""
    reason = ""
    while True:
        try:
            for state in asker.states():
                reason = ""
                if is_json:
                    print(json.dumps(state), flush=True)
                else:
                    console.clear()
                    console.print(_table(state))
        except CommandError as exc:
            if str(exc) != reason:
                reason = str(exc)
                print(f"The master is lost: {reason}", file=sys.stderr)
        time.sleep(1)


def restore(arguments: argparse.Namespace) -> int:
    asker = Asker(arguments.url, settings.environment(arguments.env_file))
    answer = asker.json(f"/restore/{arguments.node}", "POST")
    by, node = answer["recovery_node"], answer["restore_node"]
    print(f"Node {by} is ordered to give the address of node {node} back.")
    return 0


def _table(state: Mapping[str, Any]) -> Group:
    conflicts: list[Text] = []
    table = Table(
        title=f"{sum(n['alive'] for n in state['nodes'])} of {len(state['nodes'])} nodes alive", box=None
    )
    for name in ("node", "state", "address", "since", "ping", "held by", "holds"):
        table.add_column(name, no_wrap=True)
    table.add_column("system", no_wrap=True, overflow="ellipsis", ratio=1)  # the only one that may be cut
    for node in state["nodes"]:
        held = str(node["held_by"] or "")
        if node["ordered_at"]:
            held = f"asked: {node['ordered_at']}"
        name = "stopped" if node.get("stopped") else node["state"]
        table.add_row(
            str(node["node"]),
            Text(name, style={"alive": "green", "dead": "bold red"}.get(name, "dim")),
            printable(node["address"] or ""),
            _age(node["since"], state["at"]),
            _age(node["last_ping"], state["at"]),
            Text(held, style="yellow"),
            Text(", ".join(map(str, node["holds"])), style="yellow"),
            printable(node["system"] or ""),
        )
        if node["conflict"]:
            conflicts.append(Text(f"node {node['node']}: {printable(node['conflict'])}", style="red"))
    return Group(table, *conflicts)


def _age(then: str | None, now: str) -> str:
    if then is None:
        return ""
    seconds = (datetime.fromisoformat(now) - datetime.fromisoformat(then)).total_seconds()
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.1f} s"
    local = datetime.fromisoformat(then).astimezone()
    return f"{local:%H:%M:%S}" if seconds < 86400 else f"{local:%Y-%m-%d %H:%M}"
