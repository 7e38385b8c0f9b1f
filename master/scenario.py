"""What `conformance` plays, and what it expects of the master at each step; see docs/protocol.md."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from master.cluster import ASK
from master.played import Ear, Heard, Played, RefusedError

ORDERS = ("recover", "restore")
KNOWN = (*ORDERS, ASK)
QUIET_S = 1.0
"""For which nothing may come where nothing should."""
NETMASK = "255.255.255.0"
RECOVER_KEYS = {
    "disconnected_node": int,
    "recovery_node": str,
    "ip": str,
    "netmask": str,
    "active_neighbors": list,
}


@dataclass(frozen=True)
class Finding:
    """`kind` is "ok", "DIFFERS", or "note" for what is allowed and yet worth knowing."""

    kind: str
    check: str
    text: str


class _NothingLeftToCheck(Exception):
    """What follows needs what just failed."""


class Conformance:
    """`limit_s` is for how long an order may be waited for after its cause."""

    def __init__(
        self,
        url: str,
        token: str | None,
        nodes: tuple[int, int, int],
        limit_s: float,
        quiet_s: float = QUIET_S,
        ca_file: str | None = None,
    ) -> None:
        self._url, self._token, self._limit_s, self._quiet_s = url, token, limit_s, quiet_s
        self._nodes, self._ca_file = nodes, ca_file
        self._ear = Ear()
        self._findings: list[Finding] = []
        self._stack = ExitStack()
        self._order: dict[str, Any] = {}

    def run(self) -> Iterator[Finding]:
        """The findings, each as soon as it is known."""
        steps = (
            self._check_token,
            self._check_joining,
            self._check_death,
            self._check_refusal,
            self._check_success,
            self._check_refreshing,
            self._check_giving_up,
            self._check_return,
            self._check_silence,
        )
        with self._stack:
            for step in steps:
                try:
                    step()
                except _NothingLeftToCheck:
                    self._note("the rest", "could not be checked")
                    break
                yield from self._told()
            self._check_events()
            yield from self._told()

    def _told(self) -> list[Finding]:
        told, self._findings = self._findings, []
        return told

    def _say(self, ok: bool, check: str, text: str, wrong: str) -> None:
        self._findings.append(Finding("ok", check, text) if ok else Finding("DIFFERS", check, wrong))

    def _note(self, check: str, text: str) -> None:
        self._findings.append(Finding("note", check, text))

    def _play(self, node: int, token: str | None) -> Played:
        """Raises RefusedError."""
        neighbors = [other for other in self._nodes if other != node]
        # TEST-NET-1 (RFC 5737): nobody's
        ip = f"192.0.2.{self._nodes.index(node) + 1}"
        played = Played(self._url, token, node, ip, neighbors, self._ear, self._ca_file)
        self._stack.callback(played.close)
        played.connect()
        return played

    def _check_token(self) -> None:
        if not self._token:
            return
        try:
            self._play(self._nodes[0], f"not {self._token}").close()
        except RefusedError as exc:
            self._say(True, "token", f"a wrong one is refused: {exc}", "")
        else:
            self._say(False, "token", "", "a worker with a wrong token was let in")

    def _check_joining(self) -> None:
        try:
            self._a, self._b, self._c = (self._play(node, self._token) for node in self._nodes)
        except RefusedError as exc:
            self._say(False, "connect", "", f"no connection to {self._url}: {exc}")
            raise _NothingLeftToCheck from exc
        self._say(True, "connect", "accepts Socket.IO 5 on the namespace /", "")
        for played in (self._a, self._b, self._c):
            played.join()
        time.sleep(self._quiet_s)
        ended = [played.node for played in (self._a, self._b, self._c) if played.ended]
        wrong = f"the connection of node {_list(ended)} was ended after its join (it has a key more than the original's)"
        self._say(not ended, "join", "accepted, further keys too", wrong)
        if ended:
            raise _NothingLeftToCheck
        early = self._ear.since(0, *ORDERS)
        wrong = f"orders {_list(early)} although all three nodes are alive"
        self._say(not early, "peace", "no order while all are alive", wrong)
        if self._a.acknowledged:
            self._note("ping", "acknowledged: the worker measures round trips")
        else:
            self._note(
                "ping", "not acknowledged, which is allowed; the worker then judges by Engine.IO's times"
            )

    def _check_death(self) -> None:
        mark = self._ear.now
        self._b.close()
        heard = self._ear.wait(mark, "recover", self._limit_s)
        wrong = f"no neighbor got `recover` within {self._limit_s:g} s after node {self._b.node}'s connection closed"
        self._say(heard is not None, "recover", "ordered when a node's connection closes", wrong)
        if heard is None:
            raise _NothingLeftToCheck
        self._check_recover(heard)
        time.sleep(self._quiet_s)
        orders = self._ear.since(mark, "recover")
        asked = sorted({order.by for order in orders})
        wrong = f"nodes {_list(asked)} were ordered at once, before the first had answered"
        self._say(len(asked) == 1, "one at a time", "one neighbor is ordered, then waited for", wrong)
        self._holder, self._other = (self._a, self._c) if heard.by == self._a.node else (self._c, self._a)

    def _check_recover(self, heard: Heard) -> None:
        """Its shape; and remember it, since a refusal repeats it."""
        faults = list(self._recover_faults(heard))
        self._say(not faults, "recover's data", "keys and types are right", "; ".join(faults))
        dead = self._b
        right = {
            "disconnected_node": dead.node,
            "recovery_node": str(heard.by),
            "ip": dead.ip,
            "netmask": NETMASK,
        }
        self._order = heard.data if isinstance(heard.data, dict) else right

    def _recover_faults(self, heard: Heard) -> Iterator[str]:
        data = heard.data
        if not isinstance(data, dict):
            yield f"it is no object: {data!r}"
            return
        for key, kind in RECOVER_KEYS.items():
            if key not in data:
                yield f"{key} is missing"
            elif type(data[key]) is not kind:
                yield f"{key} is {data[key]!r}, and should be of the type {kind.__name__}"
        dead = self._b
        right = {
            "disconnected_node": dead.node,
            "recovery_node": str(heard.by),
            "ip": dead.ip,
            "netmask": NETMASK,
        }
        for key, value in right.items():
            if type(data.get(key)) is type(value) and data[key] != value:
                yield f"{key} is {data[key]!r}, and should be {value!r}"
        active = data.get("active_neighbors")
        if isinstance(active, list):
            if not all(isinstance(node, str) for node in active):
                yield f"active_neighbors is {active!r}, and should hold texts"
            elif str(dead.node) in active or str(heard.by) not in active:
                yield f"active_neighbors is {active!r}, and should hold the live neighbors of node {dead.node}"

    def _check_refusal(self) -> None:
        mark = self._ear.now
        self._holder.say("update node", {**self._order, "error": "refused to see what follows"})
        heard = self._ear.wait(mark, "recover", self._limit_s, by=self._other.node)
        wrong = f"node {self._other.node}, the next neighbor, was not ordered after node {self._holder.node} refused"
        self._say(heard is not None, "refusal", "the next neighbor is ordered", wrong)
        if heard:
            self._check_recover(heard)
            self._holder, self._other = self._other, self._holder

    def _check_success(self) -> None:
        mark = self._ear.now
        self._take()
        self._quiet_since(mark, "success", "the address is held")

    def _check_refreshing(self) -> None:
        mark = self._ear.now
        self._holder.join({self._b.node: self._b.ip})
        self._other.join()
        self._quiet_since(mark, "refreshing join", "the same was joined again")

    def _quiet_since(self, mark: int, check: str, cause: str) -> None:
        time.sleep(self._quiet_s)
        ended = [played.node for played in (self._holder, self._other) if played.ended]
        orders = self._ear.since(mark, *ORDERS)
        what = f"orders {_list(orders)}" if orders else f"ended the connection of node {_list(ended)}"
        self._say(not orders and not ended, check, "nothing more is ordered", f"{what} though {cause}")
        if ended:
            raise _NothingLeftToCheck

    def _check_giving_up(self) -> None:
        """A holder that stops says so by the failure form, without having been asked."""
        mark = self._ear.now
        self._holder.say("update node", {**self._order, "error": "stopping"})
        heard = self._ear.wait(mark, "recover", self._limit_s, by=self._other.node)
        wrong = f"node {self._other.node} was not ordered after node {self._holder.node} gave the address up"
        self._say(heard is not None, "giving up", "another neighbor is ordered", wrong)
        if heard:
            self._holder, self._other = self._other, self._holder
        self._take()
        # else the owner's join, which comes by another connection, may overtake it
        time.sleep(self._quiet_s)

    def _check_return(self) -> None:
        mark = self._ear.now
        try:
            back = self._play(self._b.node, self._token)
        except RefusedError as exc:
            self._say(False, "return", "", f"node {self._b.node} was not let in again: {exc}")
            raise _NothingLeftToCheck from exc
        back.join()
        heard = self._ear.wait(mark, "restore", self._limit_s, by=self._holder.node)
        wrong = f"node {self._holder.node}, the holder, got no `restore` when node {back.node} was back"
        self._say(heard is not None, "restore", "ordered when the node is back", wrong)
        self._b = back
        if heard is None:
            return
        node = heard.data.get("restore_node") if isinstance(heard.data, dict) else None
        right = type(node) is int and node == back.node
        wrong = f"it is {heard.data!r}, and should be {{'restore_node': {back.node}}}"
        self._say(right, "restore's data", "keys and types are right", wrong)
        mark = self._ear.now
        answer = {**self._holder.join_data({}), "restore_node": back.node, "status": True}
        self._holder.say("restore node", answer)
        self._quiet_since(mark, "restored", "the address was given back")

    def _check_silence(self) -> None:
        """The protocol leaves it open how a master finds a node dead whose connection stays."""
        mark = self._ear.now
        self._b.fall_silent()
        if self._ear.wait(mark, "recover", self._limit_s):
            self._note("silence", "a node that pings no more is taken for dead though its connection stands")
        else:
            self._note(
                "silence",
                f"a node that pinged no more for {self._limit_s:g} s was not taken for dead: a frozen or cut-off one is "
                "noticed by Engine.IO's times alone, or not at all",
            )

    def _check_events(self) -> None:
        unknown = sorted({heard.event for heard in self._ear.since(0) if heard.event not in KNOWN})
        wrong = f"sends {_list(unknown)}, which no worker knows"
        self._say(not unknown, "events", "only those that a worker knows", wrong)

    def _take(self) -> None:
        dead = self._b
        data = self._holder.join_data({dead.node: dead.ip})
        self._holder.say("update node", {**data, "disconnected_node": dead.node})


def _list(things: list[Any]) -> str:
    return ", ".join(
        f"`{one.event}` at node {one.by}" if isinstance(one, Heard) else str(one) for one in things
    )
