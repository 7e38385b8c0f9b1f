"""What became of each order at one worker, followed line by line.

Lines carry `order=N`, the order's number in its run. Those of version 1.0 name only the node that is gone, and belong
to its oldest order without an outcome: a worker carries them out in order. Each line costs the same, however many
orders are open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

from .model import Attempt, Lane, Span
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


class OrderLog:
    """The orders of one lane, over all of its processes."""

    def __init__(self) -> None:
        self._process = -1
        self._orders: list[Attempt] = []
        self._open: dict[int | None, deque[Attempt]] = {}
        self._by_number: dict[str, Attempt] = {}
        self._held: dict[int | None, Attempt] = {}
        """Those of an earlier process too, whose addresses may still be there."""
        self._node_of: dict[str | None, int | None] = {}

    def begin_process(self) -> None:
        self._process += 1
        self._open.clear()
        self._by_number.clear()

    def add(self, line: Line) -> None:
        match line.event:
            case "received" if line.fields.get("event") == "recover":
                self._received(line)
            case "takeover_started":
                if line.order not in self._by_number and self._find(line) is None:
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
                if held and held.process == self._process:
                    self._hold(held, line)
            case "address_conflict" | "owner_returned" | "address_lost" | "release_done" | "address_ceded":
                if line.fields.get("own") != "true":
                    self._released(line)
            case _:
                pass

    def attempts(self, lane: Lane) -> list[Attempt]:
        """What became of each, in the order of their arrival; `lane`: whose orders they are."""
        found = []
        taken: dict[tuple[int, int | None], Attempt] = {}
        for order in self._orders:
            before = taken.get((order.process, order.node))
            if order.holds:
                taken[order.process, order.node] = order
            # one that came while the one before it was carried out was answered with it
            answered = before is not None and (before.released is None or before.released >= order.received)
            if not order.repeats and (order.outcome or not answered):
                found.append(_finished(order, lane))
        return found

    def _received(self, line: Line) -> None:
        data = data_of(line)
        node = number(data.get("disconnected_node"))
        if node is None and not line.cut:
            return  # no order: the worker refuses it, which is an incident
        order = self._begin(line, node, _address(data), _numbers(data.get("active_neighbors")))
        held = self._held_now(node)
        if held and order.address == held.address:
            order.repeats = True  # it is confirmed, and no attempt of its own
            self._open[node].pop()

    def _begin(
        self, line: Line, node: int | None, address: str | None, neighbors: tuple[int, ...] = ()
    ) -> Attempt:
        order = Attempt(node, address, line.at, line.zone, self._process, neighbors)
        self._orders.append(order)
        if line.order:
            self._by_number[line.order] = order
        self._open.setdefault(node, deque()).append(order)
        return order

    def _find(self, line: Line) -> Attempt | None:
        """The order that a line is about, which has no outcome yet; None: there is none."""
        if line.order:
            order = self._by_number.get(line.order)
            if order:
                return order if not order.outcome else None
        # of an order whose data were cut, the node is not known
        for waiting in (self._open.get(line.node), self._open.get(None)):
            while waiting and waiting[0].outcome:
                waiting.popleft()
            if waiting:
                if line.order:  # its `received` did not carry the number
                    self._by_number[line.order] = waiting[0]
                return waiting[0]
        return None

    def _settle(
        self, line: Line, order: Attempt | None, outcome: str, reason: str | None = None
    ) -> list[Attempt]:
        """Give it its outcome, and the further orders about that node that its worker answers together with the one whose
        number the line has. A line without an interface is about an order that was refused before it was compared with others.
        """
        order = order or self._begin(line, line.node, line.address)
        order.address = line.address or order.address
        order.node = line.node if line.node is not None else order.node
        order.outcome, order.reason, order.settled, order.repeats = outcome, reason, line.at, False
        found, waiting = [order], self._open.get(line.node)
        while waiting and line.order and "interface" in line.fields:
            other = waiting.popleft()
            if not other.outcome:
                other.outcome, other.reason, other.settled = outcome, reason, line.at
                other.repeats = outcome == "taken"
                found.append(other)
        return found

    def _done(self, line: Line) -> None:
        order = self._find(line)
        if line.fields.get("already") == "true" or self._held_now(line.node):
            if order:  # it repeats what is held
                order.outcome, order.repeats = "taken", True
            return
        order = self._settle(line, order, "taken")[0]
        order.takeover_ms = decimal(line.fields.get("took_ms"))
        self._hold(order, line)

    def _held_now(self, node: int | None) -> Attempt | None:
        """By this process."""
        held = self._held.get(node)
        return held if held and held.process == self._process and held.released is None else None

    def _hold(self, order: Attempt, line: Line) -> None:
        if order.released is not None or not order.holds:
            order.holds.append(Span(line.at, None, line.at, line.zone))
        order.release_reason = ""
        self._held[order.node] = order
        self._node_of[order.address] = order.node

    def _adopted(self, line: Line) -> None:
        order = self._held.get(line.node) or self._settle(line, None, "taken")[0]
        self._hold(order, line)
        order.process = self._process

    def _not_taken(self, line: Line) -> None:
        order, reason = self._find(line), line.fields.get("reason", "")
        if order is None and self._ends_hold(line, line.node, reason or line.event):
            return
        outcome = "withdrawn" if ASKED_BACK in reason else line.event.removeprefix("takeover_")
        why = reason or ("the master took it back" if outcome == "withdrawn" else "no reason logged")
        settled = self._settle(line, order, outcome, why)
        is_heard = any(text in reason for text in OWNER_ALIVE)
        for each in settled:
            each.owner_heard = line.at if is_heard else settled[0].owner_heard

    def _released(self, line: Line) -> None:
        reason = line.fields.get("reason") or line.event.replace("_", " ")
        node = line.node if line.node is not None else self._node_of.get(line.address)
        self._ends_hold(line, node, reason)

    def _ends_hold(self, line: Line, node: int | None, reason: str) -> bool:
        """The first line that says so is when it was off the interface; the last one says that it stays off."""
        order = self._held.get(node)
        if order is None:
            return False
        if order.holds and order.released is None:
            order.holds[-1] = replace(order.holds[-1], end=line.at, until=line.at)
            order.release_reason = reason
        elif line.event == "release_done" and line.fields.get("reason"):
            order.release_reason = reason
        if line.event not in ("address_conflict", "owner_returned", "address_lost"):
            del self._held[node]
        return True


def _finished(order: Attempt, lane: Lane) -> Attempt:
    process = lane.processes[order.process]
    found = replace(order, recovery_node=lane.node, lane=lane.key, holds=[*order.holds])
    if order.holds and order.released is None:
        found.holds[-1] = replace(order.holds[-1], until=max(process.last, order.holds[-1].start))
    if not order.outcome:
        found.outcome, found.reason, found.pending = "failed", _UNSETTLED[process.end], process.end == "open"
    return found


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
