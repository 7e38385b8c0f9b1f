"""What became of each order at one worker, followed line by line.

Lines carry `order=N`, the order's number in its run. Those of version 1.0 name only the node that is gone, and belong
to its oldest order without an outcome: a worker carries them out in order. Each line costs the same, however many
orders are open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timezone
from ipaddress import ip_interface
from typing import Any

from .model import Attempt, Span
from .parser import Line, data_of, decimal, number

ASKED_BACK = "asked for the address back"
"""How version 1.0 says that an order was withdrawn."""
OWNER_ALIVE = ("its owner is alive", "only its worker is gone")
"""What a refusal says for which the owner's machine answered."""
_UNSETTLED = {
    "stopped": "the worker stopped before its outcome",
    "silent": "the worker fell silent before its outcome",
    "open": "the log ends before its outcome",
}
Key = tuple[int, str]


@dataclass
class _Order:
    node: int | None
    address: str | None
    received: float
    zone: timezone
    run: int
    outcome: str = ""
    reason: str | None = None
    settled: float | None = None
    taken: float | None = None
    released: float | None = None
    took_ms: float | None = None
    release_reason: str = ""
    owner_heard: float | None = None
    neighbors: tuple[int, ...] = ()
    holds: list[tuple[float, float | None]] = field(default_factory=list)
    repeats: bool = False


class OrderLog:
    """The orders of one lane, over all of its processes."""

    def __init__(self) -> None:
        self._run = 0
        self._orders: list[_Order] = []
        self._open: dict[int | None, deque[_Order]] = {}
        self._by_number: dict[Key, _Order] = {}
        self._held: dict[int | None, _Order] = {}
        self._left: dict[int | None, _Order] = {}
        """Held when the process before this one ended."""
        self._node_of: dict[str | None, int | None] = {}

    def begin_process(self) -> None:
        self._run += 1
        self._open.clear()
        self._left.update(self._held)
        self._held.clear()

    def add(self, line: Line) -> None:
        match line.event:
            case "received" if line.fields.get("event") == "recover":
                self._received(line)
            case "takeover_started":
                if (self._run, line.order) not in self._by_number and self._find(line) is None:
                    self._begin(line, line.node, line.address)  # the log begins behind the order
            case "takeover_done":
                self._done(line)
            case "takeover_refused" | "takeover_failed" | "takeover_withdrawn":
                self._not_taken(line)
            case "owner_alive":
                order = self._find(line)
                if order:
                    order.owner_heard = line.at
            case "address_adopted":
                self._adopted(line)
            case "address_restored":
                held = self._held.get(line.node)
                if held:
                    self._hold(held, line.at)
            case "address_conflict" | "owner_returned" | "address_lost" | "release_done" | "address_ceded":
                if line.fields.get("own") != "true":
                    self._released(line)
            case _:
                pass

    def attempts(self, node: int | None, lane: int, ends: Mapping[int, tuple[str, float]]) -> list[Attempt]:
        """`ends`: how each process ended, and its last line, by its number from 1."""
        found = []
        taken: dict[tuple[int, int | None], _Order] = {}
        for order in self._orders:
            before = taken.get((order.run, order.node))
            if order.taken is not None:
                taken[order.run, order.node] = order
            # one that came while the one before it was carried out was answered with it
            answered = before is not None and (before.released is None or before.released >= order.received)
            if not order.repeats and (order.outcome or not answered):
                found.append(self._attempt(order, node, lane, *ends[order.run]))
        return found

    def _attempt(self, order: _Order, node: int | None, lane: int, end: str, last: float) -> Attempt:
        holds = tuple(Span(start, stop, max(last, start), order.zone) for start, stop in order.holds)
        unsettled = not order.outcome
        return Attempt(
            node=order.node,
            recovery_node=node,
            lane=lane,
            address=order.address,
            outcome=order.outcome or "failed",
            reason=_UNSETTLED[end] if unsettled else order.reason,
            received=order.received,
            settled=order.settled,
            taken=order.taken,
            released=order.released,
            takeover_ms=order.took_ms,
            release_reason=order.release_reason,
            holds=holds,
            owner_heard=order.owner_heard,
            active_neighbors=order.neighbors,
            pending=unsettled and end == "open",
            zone=order.zone,
        )

    def _received(self, line: Line) -> None:
        data = data_of(line)
        node = number(data.get("disconnected_node"))
        if node is None and not line.cut:
            return  # no order: the worker refuses it, which is an incident
        order = self._begin(line, node, _address(data), _numbers(data.get("active_neighbors")))
        held = self._held.get(node)
        if held and held.released is None and order.address == held.address:
            order.repeats = True  # it is confirmed, and no attempt of its own
            self._open[node].pop()

    def _begin(
        self, line: Line, node: int | None, address: str | None, neighbors: tuple[int, ...] = ()
    ) -> _Order:
        order = _Order(node, address, line.at, line.zone, self._run, neighbors=neighbors)
        self._orders.append(order)
        if line.order:
            self._by_number[self._run, line.order] = order
        self._open.setdefault(node, deque()).append(order)
        return order

    def _find(self, line: Line) -> _Order | None:
        """The order that a line is about, which has no outcome yet; None: there is none."""
        if line.order:
            order = self._by_number.get((self._run, line.order))
            if order:
                return order if not order.outcome else None
        # of an order whose data were cut, the node is not known
        for waiting in (self._open.get(line.node), self._open.get(None)):
            while waiting and waiting[0].outcome:
                waiting.popleft()
            if waiting:
                if line.order:  # its `received` did not carry the number
                    self._by_number[self._run, line.order] = waiting[0]
                return waiting[0]
        return None

    def _settle(self, line: Line) -> _Order:
        order = self._find(line)
        if order is None:
            order = self._begin(line, line.node, line.address)
        order.address = line.address or order.address
        order.node = line.node if line.node is not None else order.node
        order.settled = line.at
        return order

    def _done(self, line: Line) -> None:
        held = self._held.get(line.node)
        if line.fields.get("already") == "true" or (held and held.released is None):
            order = self._find(line)
            if order:  # it repeats what is held
                order.outcome, order.repeats = "taken", True
            return
        order = self._settle(line)
        order.outcome = "taken"
        for other in self._others(line):
            other.outcome, other.repeats = "taken", True
        order.taken = line.at
        order.took_ms = decimal(line.fields.get("took_ms"))
        self._hold(order, line.at)

    def _hold(self, order: _Order, at: float) -> None:
        if not order.holds or order.holds[-1][1] is not None:
            order.holds.append((at, None))
        order.released, order.release_reason = None, ""
        self._held[order.node] = order
        self._node_of[order.address] = order.node

    def _adopted(self, line: Line) -> None:
        order = self._left.pop(line.node, None)
        if order is None:
            order = self._begin(line, line.node, line.address)
            order.outcome, order.taken, order.settled = "taken", line.at, line.at
        self._hold(order, line.at)
        order.run = self._run

    def _not_taken(self, line: Line) -> None:
        order, reason = self._find(line), line.fields.get("reason")
        if order is None and self._ends_hold(line, line.node, reason or line.event):
            return
        order = order or self._settle(line)
        order.address, order.settled = line.address or order.address, line.at
        order.outcome, order.repeats = line.event.removeprefix("takeover_"), False
        order.node = line.node if line.node is not None else order.node
        if ASKED_BACK in (reason or ""):
            order.outcome = "withdrawn"
        if any(text in (reason or "") for text in OWNER_ALIVE):
            order.owner_heard = line.at
        order.reason = reason or (
            "the master took it back" if order.outcome == "withdrawn" else "no reason logged"
        )
        for other in self._others(line):
            other.outcome, other.reason, other.settled = order.outcome, order.reason, line.at
            other.owner_heard = order.owner_heard

    def _others(self, line: Line) -> Iterator[_Order]:
        """The further orders about that node that its worker answers together with the one whose number the line has;
        a line without an interface is about an order that was refused before it was compared with others.
        """
        waiting = self._open.get(line.node)
        while waiting and line.order and "interface" in line.fields:
            other = waiting.popleft()
            if not other.outcome:
                yield other

    def _released(self, line: Line) -> None:
        reason = line.fields.get("reason") or line.event.replace("_", " ")
        node = line.node if line.node is not None else self._node_of.get(line.address)
        self._ends_hold(line, node, reason)

    def _ends_hold(self, line: Line, node: int | None, reason: str) -> bool:
        """The first line that says so is when it was off the interface; the last one says that it stays off."""
        holds = self._held if node in self._held else self._left
        order = holds.get(node)
        if order is None:
            return False
        if order.holds and order.holds[-1][1] is None:
            order.holds[-1] = (order.holds[-1][0], line.at)
            order.released, order.release_reason = line.at, reason
        elif line.event == "release_done" and line.fields.get("reason"):
            order.release_reason = reason
        if line.event not in ("address_conflict", "owner_returned", "address_lost"):
            del holds[node]
        return True


def _address(data: Mapping[str, Any]) -> str | None:
    ip, netmask = data.get("ip"), data.get("netmask")
    if not isinstance(ip, str):
        return None
    try:
        return str(ip_interface(f"{ip[:64]}/{netmask}"))
    except ValueError:
        return ip[:64]


def _numbers(values: object) -> tuple[int, ...]:
    found = map(number, values[:100]) if isinstance(values, list) else ()
    return tuple(each for each in found if each is not None)
