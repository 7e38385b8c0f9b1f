"""Whether a running master speaks the worker's protocol: `python -m master conformance URL`.

It plays three workers that are one another's neighbors, has one of them die and come back, and compares what the
master does with docs/protocol.md. No address is taken. The nodes' numbers must be nobody else's; the master may go
on listing them as dead afterwards.
"""

import argparse
import contextlib
import re
import select
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests
import socketio
import socketio.exceptions

from master import settings
from master.cluster import ASK
from master.settings import CommandError
from master.status import Asker

ELSEWHERE = (901, 902, 903)
"""For a master that does not say which numbers are used."""
ORDERS = ("recover", "restore")
QUIET_S = 1.0
"""For which nothing may come where nothing should."""
PING_S = 0.5
CONNECT_S = 5
NETMASK = "255.255.255.0"


@dataclass(frozen=True)
class Finding:
    """`kind` is "ok", "DIFFERS", or "note"."""

    kind: str
    check: str
    text: str


@dataclass(frozen=True)
class Heard:
    event: str
    data: Any
    by: int
    """The node that heard it."""


class _OneAtATime(ssl.SSLSocket):
    """TLS does not always survive that one thread reads while another writes, as the library's do."""

    _turn = threading.Lock()

    def recv(self, *arguments: Any) -> bytes:
        if not self.pending() and not select.select([self], [], [], self.gettimeout())[0]:
            raise TimeoutError("nothing came")
        with self._turn:
            return super().recv(*arguments)

    def send(self, *arguments: Any) -> int:
        with self._turn:
            return super().send(*arguments)


class Played:
    """A worker that is only played: it says on the wire what a worker says, and takes no address."""

    def __init__(
        self, node: int, ip: str, neighbors: Sequence[int], heard: list[Heard], ca_file: str | None
    ) -> None:
        """`heard` grows by every event that comes; all that are played share it."""
        self.node, self.ip = node, ip
        self._is_closed = threading.Event()
        self._neighbors, self._heard = neighbors, heard
        self._pinger = threading.Thread(target=self._ping, daemon=True)
        self._reason = ""
        session = requests.Session()  # for both transports
        session.trust_env = False
        session.verify = ca_file or True
        tls = ssl.create_default_context(cafile=ca_file)
        tls.sslsocket_class = _OneAtATime
        self.client = socketio.Client(
            reconnection=False,
            handle_sigint=False,
            http_session=session,
            websocket_extra_options={"sslopt": {"context": tls}},
        )
        self.client.on("*", self._hear)
        self.client.on("connect_error", self._refuse)

    def connect(self, url: str, token: str | None) -> str | None:
        """Why the master did not let it in, or why there was no connection; None: it is in."""
        auth = {"token": token, "NODE_ID": self.node} if token else None
        error = ""
        for transport in ("websocket", "polling"):  # as a worker does it
            try:
                self.client.connect(url, auth=auth, transports=[transport], wait_timeout=CONNECT_S)
                return None
            except (socketio.exceptions.ConnectionError, ValueError) as exc:
                error = self._reason or str(exc)
                if self._reason:
                    break
        return error

    def join(self, held: Mapping[int, str] | None = None) -> None:
        """Join, or join again; from the first time on it pings. `held` are the addresses held, by owner."""
        self.say("join", self.join_data(held or {}))
        if not self._pinger.ident:
            self._pinger.start()

    def join_data(self, held: Mapping[int, str]) -> dict[str, Any]:
        newest = list(held.values())[-1:]
        return {
            "system": "conformance",
            "NODE_ID": self.node,
            "neighbors": [str(node) for node in self._neighbors],
            "primary_ip": self.ip,
            "primary_netmask": NETMASK,
            "secondary_ip": newest[0] if newest else None,
            "secondary_netmask": NETMASK if newest else None,
            "held": {str(owner): ip for owner, ip in held.items()},  # a key that the original does not know
        }

    def say(self, event: str, data: object) -> None:
        """Nothing on a connection that the master has ended."""
        with contextlib.suppress(socketio.exceptions.SocketIOError):
            self.client.emit(event, data)

    def close(self) -> None:
        self._is_closed.set()
        self.client.disconnect()

    def _ping(self) -> None:
        while not self._is_closed.wait(PING_S) and self.client.connected:
            text = datetime.now().strftime("%Y-%m-%d %H:%M:%S.%f")[:-2]  # noqa: DTZ005 - local time, as workers send it
            with contextlib.suppress(socketio.exceptions.SocketIOError):
                self.client.emit("ping", text, callback=lambda *_: None)  # they ask for an acknowledgement

    def _hear(self, event: str, *data: Any) -> dict[str, bool]:
        """A master that asks for an acknowledgement gets a worker's."""
        self._heard.append(Heard(event, data[0] if len(data) == 1 else list(data), self.node))
        return {"accepted": True}

    def _refuse(self, data: object = None) -> None:
        self._reason = str(data.get("message") if isinstance(data, dict) else data or "")


class _NothingLeftToCheck(Exception):
    """What follows needs what just failed."""


@dataclass
class Conformance:
    url: str
    token: str | None
    nodes: tuple[int, int, int]
    limit_s: float
    """For how long an order may be waited for after its cause."""
    quiet_s: float = QUIET_S
    ca_file: str | None = None

    def __post_init__(self) -> None:
        self._heard: list[Heard] = []
        self._stack = contextlib.ExitStack()

    def run(self) -> Iterator[Finding]:
        """The findings, each as soon as it is known."""
        with self._stack:
            try:
                for part in (self._admission, self._death, self._answers, self._return):
                    yield from part()
            except _NothingLeftToCheck:
                yield Finding("note", "the rest", "could not be checked")
            unknown = sorted({heard.event for heard in self._heard if heard.event not in (*ORDERS, ASK)})
            wrong = f"sends {_list(unknown)}, which no worker knows"
            yield _finding(not unknown, "events", "only those that a worker knows", wrong)

    def _admission(self) -> Iterator[Finding]:
        if self.token:
            stranger = self._new(self.nodes[0])
            refused = stranger.connect(self.url, f"not {self.token}")
            stranger.close()
            text = f"a wrong one is refused: {refused}"
            yield _finding(refused is not None, "token", text, "a worker with a wrong token was let in")
        trio = self._a, self._b, self._c = [self._new(node) for node in self.nodes]
        refused = next(filter(None, (played.connect(self.url, self.token) for played in trio)), None)
        wrong = f"no connection to {self.url}: {refused}"
        yield _finding(refused is None, "connect", "accepts Socket.IO 5 on the namespace /", wrong)
        if refused is not None:
            raise _NothingLeftToCheck
        for played in trio:
            played.join()
        time.sleep(self.quiet_s)
        ended = [played.node for played in trio if not played.client.connected]
        wrong = f"the connection of node {_list(ended)} was ended after its join (it has a key more than the original's)"
        yield _finding(not ended, "join", "accepted, further keys too", wrong)
        if ended:
            raise _NothingLeftToCheck
        early = self._since(0, *ORDERS)
        wrong = f"orders {_list(early)} although all three nodes are alive"
        yield _finding(not early, "peace", "no order while all are alive", wrong)

    def _death(self) -> Iterator[Finding]:
        dead, mark = self._b, len(self._heard)
        dead.close()
        wrong = (
            f"no neighbor got `recover` within {self.limit_s:g} s after node {dead.node}'s connection closed"
        )
        heard = self._wait(mark, "recover")
        yield _finding(heard is not None, "recover", "ordered when a node's connection closes", wrong)
        if heard is None:
            raise _NothingLeftToCheck
        yield self._recover_finding(heard)
        time.sleep(self.quiet_s)
        asked = sorted({heard.by for heard in self._since(mark, "recover")})
        wrong = f"nodes {_list(asked)} were ordered at once, before the first had answered"
        yield _finding(len(asked) == 1, "one at a time", "one neighbor is ordered, then waited for", wrong)
        self._holder, self._other = (self._a, self._c) if heard.by == self._a.node else (self._c, self._a)

    def _answers(self) -> Iterator[Finding]:
        mark = len(self._heard)
        self._holder.say("update node", {**self._order, "error": "refused to see what follows"})
        wrong = f"node {self._other.node}, the next neighbor, was not ordered after node {self._holder.node} refused"
        heard = self._wait(mark, "recover", self._other)
        yield _finding(heard is not None, "refusal", "the next neighbor is ordered", wrong)
        if heard:
            yield self._recover_finding(heard)
            self._holder, self._other = self._other, self._holder
        mark = len(self._heard)
        self._take()
        yield from self._stays_quiet(mark, "success", "the address is held")
        mark = len(self._heard)
        self._holder.join({self._b.node: self._b.ip})
        self._other.join()
        yield from self._stays_quiet(mark, "refreshing join", "the same was joined again")
        # a holder that stops says so by the failure form, without having been asked
        mark = len(self._heard)
        self._holder.say("update node", {**self._order, "error": "stopping"})
        wrong = f"node {self._other.node} was not ordered after node {self._holder.node} gave the address up"
        heard = self._wait(mark, "recover", self._other)
        yield _finding(heard is not None, "giving up", "another neighbor is ordered", wrong)
        if heard:
            self._holder, self._other = self._other, self._holder
        self._take()
        # else the owner's join, which comes by another connection, may overtake it
        time.sleep(self.quiet_s)

    def _return(self) -> Iterator[Finding]:
        mark = len(self._heard)
        back, holder = self._new(self._b.node), self._holder
        refused = back.connect(self.url, self.token)
        if refused is not None:
            yield Finding("DIFFERS", "return", f"node {back.node} was not let in again: {refused}")
            raise _NothingLeftToCheck
        back.join()
        wrong = f"node {holder.node}, the holder, got no `restore` when node {back.node} was back"
        heard = self._wait(mark, "restore", holder)
        yield _finding(heard is not None, "restore", "ordered when the node is back", wrong)
        if heard:
            node = heard.data.get("restore_node") if isinstance(heard.data, dict) else None
            wrong = f"it is {heard.data!r}, and should be {{'restore_node': {back.node}}}"
            right = type(node) is int and node == back.node
            yield _finding(right, "restore's data", "keys and types are right", wrong)
            mark = len(self._heard)
            holder.say("restore node", {**holder.join_data({}), "restore_node": back.node, "status": True})
            yield from self._stays_quiet(mark, "restored", "the address was given back")

    def _new(self, node: int) -> Played:
        # TEST-NET-1 (RFC 5737): nobody's
        ip = f"192.0.2.{self.nodes.index(node) + 1}"
        neighbors = [other for other in self.nodes if other != node]
        played = Played(node, ip, neighbors, self._heard, self.ca_file)
        self._stack.callback(played.close)
        return played

    def _take(self) -> None:
        data = self._holder.join_data({self._b.node: self._b.ip})
        self._holder.say("update node", {**data, "disconnected_node": self._b.node})

    def _since(self, mark: int, *events: str) -> list[Heard]:
        return [heard for heard in self._heard[mark:] if heard.event in events]

    def _wait(self, mark: int, event: str, by: Played | None = None) -> Heard | None:
        """The first such event since the mark, heard by that node or by any; None: not within the limit."""
        end_s = time.monotonic() + self.limit_s
        while time.monotonic() < end_s:
            for heard in self._since(mark, event):
                if by is None or heard.by == by.node:
                    return heard
            time.sleep(0.01)
        return None

    def _stays_quiet(self, mark: int, check: str, cause: str) -> Iterator[Finding]:
        time.sleep(self.quiet_s)
        ended = [played.node for played in (self._holder, self._other) if not played.client.connected]
        orders = self._since(mark, *ORDERS)
        what = f"orders {_list(orders)}" if orders else f"ended the connection of node {_list(ended)}"
        yield _finding(not orders and not ended, check, "nothing more is ordered", f"{what} though {cause}")
        if ended:
            raise _NothingLeftToCheck

    def _recover_finding(self, heard: Heard) -> Finding:
        """On its shape; and remember it, since a refusal repeats it."""
        dead = self._b
        right = {
            "disconnected_node": dead.node,
            "recovery_node": str(heard.by),
            "ip": dead.ip,
            "netmask": NETMASK,
        }
        self._order = heard.data if isinstance(heard.data, dict) else right
        faults = "; ".join(_recover_faults(heard.data, right))
        return _finding(not faults, "recover's data", "keys and types are right", faults)


def _recover_faults(data: Any, right: dict[str, Any]) -> Iterator[str]:
    if not isinstance(data, dict):
        yield f"it is no object: {data!r}"
        return
    for key, value in {**right, "active_neighbors": []}.items():
        if key not in data:
            yield f"{key} is missing"
        elif type(data[key]) is not type(value):
            yield f"{key} is {data[key]!r}, and should be of the type {type(value).__name__}"
        elif key in right and data[key] != value:
            yield f"{key} is {data[key]!r}, and should be {value!r}"
    active, dead = data.get("active_neighbors"), right["disconnected_node"]
    if isinstance(active, list):
        if not all(isinstance(node, str) for node in active):
            yield f"active_neighbors is {active!r}, and should hold texts"
        elif str(dead) in active or right["recovery_node"] not in active:
            yield f"active_neighbors is {active!r}, and should hold the live neighbors of node {dead}"


def _finding(is_right: bool, check: str, text: str, wrong: str) -> Finding:
    return Finding("ok", check, text) if is_right else Finding("DIFFERS", check, wrong)


def _list(things: Sequence[Any]) -> str:
    return ", ".join(
        f"`{one.event}` at node {one.by}" if isinstance(one, Heard) else str(one) for one in things
    )


def _nodes(text: str | None, asker: Asker) -> tuple[int, int, int]:
    """The three numbers to play. Raises CommandError."""
    if text is None:
        try:
            known = asker.json("/json")
            used = {number for part in ("active", "inactive") for number in known[part]}
        except (CommandError, KeyError, TypeError):
            return ELSEWHERE
        free = [number for number in range(1, 10) if str(number) not in used]
        if len(free) < 3:
            raise CommandError("fewer than three of the nodes 1 to 9 are unused; name three: --nodes A,B,C")
        return free[-3], free[-2], free[-1]
    match = re.fullmatch(r"(\d{1,4}),(\d{1,4}),(\d{1,4})", text, re.ASCII)
    numbers = set(map(int, match.groups())) if match else set()
    if match is None or len(numbers) != 3 or 0 in numbers:
        raise CommandError(f"--nodes: {text!r}; expected three numbers, such as 7,8,9")
    return int(match[1]), int(match[2]), int(match[3])


def conformance(arguments: argparse.Namespace) -> int:
    """0 where the master differs in nothing, else 1."""
    values = settings.environment(arguments.env_file)
    try:
        asker = Asker(arguments.url, values)
        nodes = _nodes(arguments.nodes, asker)
        if not 0.1 <= arguments.limit <= 3600:
            raise CommandError("--limit: expected seconds from 0.1 to 3600")
    except CommandError as exc:
        raise CommandError(str(exc), 2) from None
    differences = 0
    check = Conformance(asker.url, asker.token, nodes, arguments.limit, ca_file=values.get("MASTER_CA_FILE"))
    for finding in check.run():
        differences += finding.kind == "DIFFERS"
        print(f"{finding.kind:7} {finding.check}: {finding.text}", flush=True)
    print(f"\n{differences} differences" if differences else "\nThis master speaks the protocol.")
    return 1 if differences else 0
