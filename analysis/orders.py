"""What became of each order at one worker, followed line by line.

Lines carry `order=N`, the order's number in its run. Those of version 1.0 name only the node that is gone, and belong
to its oldest order without an outcome. Each line costs the same, however many orders are open.
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
REPEATED = "repeated"
"""The outcome of an order that was answered together with another one, and is no attempt of its own."""
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
        self._waiting: dict[int | None, deque[Attempt]] = {}
        self._by_number: dict[str, Attempt] = {}
        self._held: dict[int | None, Attempt] = {}
        """Those of an earlier process too, whose addresses may still be there."""

    def begin_process(self) -> None:
        self._process += 1
        self._waiting.clear()
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
                order = self._held.get(line.node) or self._settle(line, "taken")[0]
                self._hold(order, line)
                order.process = self._process
            case "address_restored":
                held = self._held.get(line.node)
                if held and held.process == self._process:
                    self._hold(held, line)
            case "address_conflict" | "owner_returned" | "address_lost" | "release_done" | "address_ceded":
                if line.fields.get("own") != "true":
                    self._ends_hold(line, line.fields.get("reason") or line.event.replace("_", " "))
            case _:
                pass

    def attempts(self, lane: Lane) -> list[Attempt]:
        """What became of each, in the order of their arrival; `lane`: whose orders they are."""
        return [_finished(order, lane) for order in self._orders if order.outcome != REPEATED]

    def _received(self, line: Line) -> None:
        data = data_of(line)
        node = number(data.get("disconnected_node"))
        if node is None and not (line.cut and line.order):
            return  # no order: the worker refuses it, which is an incident
        order = self._begin(line, node, _address(data), _numbers(data.get("active_neighbors")))
        held = self._held_now(node)
        if held and order.address == held.address:
            order.outcome = REPEATED

    def _begin(
        self, line: Line, node: int | None, address: str | None, neighbors: tuple[int, ...] = ()
    ) -> Attempt:
        order = Attempt(node, address, line.at, line.zone, self._process, neighbors)
        self._orders.append(order)
        if line.order:
            self._by_number[line.order] = order
        self._waiting.setdefault(node, deque()).append(order)
        return order

    def _find(self, line: Line) -> Attempt | None:
        """The order that a line is about, which has no outcome yet; None: there is none."""
        order = self._by_number.get(line.order)
        if order:
            return order if order.outcome in ("", REPEATED) else None
        waiting = self._waiting.get(line.node)
        while waiting and waiting[0].outcome:
            waiting.popleft()
        return waiting[0] if waiting else None

    def _settle(self, line: Line, outcome: str, reason: str | None = None) -> list[Attempt]:
        """Give its order an outcome, and those that wait for the same answer. A line without an interface is about an
        order that was refused before it was compared with others.
        """
        order = self._find(line) or self._begin(line, line.node, line.address)
        order.address = line.address or order.address
        order.node = line.node if line.node is not None else order.node
        settled = [order]
        if "interface" in line.fields:
            waiting = self._waiting.pop(line.node, ())
            settled += (other for other in waiting if other is not order and not other.outcome)
        for other in settled:
            other.outcome, other.reason, other.settled = outcome, reason, line.at
        return settled

    def _done(self, line: Line) -> None:
        if line.fields.get("already") == "true" or self._held_now(line.node):
            order = self._find(line)
            if order:
                order.outcome = REPEATED
            return
        settled = self._settle(line, "taken")
        order = min(settled, key=lambda one: one.received)  # from whose arrival `took_ms` counts
        for other in settled:
            other.outcome = "taken" if other is order else REPEATED
        order.address = line.address or order.address
        if line.order:
            self._by_number[line.order] = order
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

    def _not_taken(self, line: Line) -> None:
        reason = line.fields.get("reason", "")
        if self._find(line) is None and self._ends_hold(line, reason or line.event):
            return
        outcome = "withdrawn" if ASKED_BACK in reason else line.event.removeprefix("takeover_")
        why = reason or ("the master took it back" if outcome == "withdrawn" else "no reason logged")
        settled = self._settle(line, outcome, why)
        is_heard = any(text in reason for text in OWNER_ALIVE)
        for each in settled:
            each.owner_heard = line.at if is_heard else settled[0].owner_heard

    def _ends_hold(self, line: Line, reason: str) -> bool:
        """The first line that says so is when it was off the interface; the last one says that it stays off."""
        order = self._held.get(line.node)
        if order is None:
            return False
        if order.holds and order.released is None:
            order.holds[-1] = replace(order.holds[-1], end=line.at, until=line.at)
            order.release_reason = reason
        elif line.event == "release_done" and line.fields.get("reason"):
            order.release_reason = reason
        if line.event not in ("address_conflict", "owner_returned", "address_lost"):
            del self._held[line.node]
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
