"""What became of each order to take an address over, followed line by line through one folder's logs.

A failover is one order at one worker. The lines that tell of it name the node that is gone, not the order, so
they belong to its oldest order that is still without an outcome: a worker takes them in order. An order that
repeats what is held already has no outcome of its own, and is no failover.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_interface
from typing import Any, Optional

from .episodes import Failover
from .holding import Hold
from .items import Line
from .link import decimal
from .runs import RunDraft, moment

_UNANSWERED = {
    "stopped": "the worker stopped before it had an outcome",
    "silent": "the worker fell silent before it had an outcome",
    "open": "the log ends before its outcome",
}


def number(value: object) -> Optional[int]:
    """A node's number as JSON or a field spells it; None: it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
        return value
    return None


def data_of(line: Line) -> Mapping[str, Any]:
    """The JSON object that a `sent` or `received` line carries; empty: it carries none, or was cut."""
    try:
        data = json.loads(line.fields.get("data", ""))
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _address(order: Mapping[str, Any]) -> Optional[str]:
    ip, netmask = order.get("ip"), order.get("netmask")
    if not isinstance(ip, str):
        return None
    try:
        return str(ip_interface(f"{ip}/{netmask}"))
    except ValueError:
        return ip[:64]


def numbers(nodes: object) -> tuple[int, ...]:
    """Nodes' numbers of a JSON list; empty: it is none."""
    found = map(number, nodes) if isinstance(nodes, list) else ()
    return tuple(node for node in found if node is not None)


@dataclass
class _Order:
    """`node`: None where the order or its refusal named none."""

    run: RunDraft
    received: datetime
    node: Optional[int]
    recovery_node: Optional[int]
    address: Optional[str]
    outcome: Optional[str] = None
    reason: Optional[str] = None
    settled: Optional[datetime] = None
    took_ms: Optional[float] = None
    released: Optional[datetime] = None
    release_reason: Optional[str] = None
    active_neighbours: tuple[int, ...] = ()
    owner_alive: Optional[datetime] = None
    had: list[tuple[datetime, Optional[datetime]]] = field(default_factory=list)
    """From when to when it was on the interface; None: it still is, as far as the log goes."""

    def is_about(self, node: Optional[int], address: Optional[str]) -> bool:
        return self.node == node and (address is None or self.address is None or self.address == address)


class Orders:
    """The orders in one folder's logs, over all of its processes."""

    def __init__(self) -> None:
        self._orders: list[_Order] = []
        self._open: list[_Order] = []
        self._were_taken: list[_Order] = []
        self._held: dict[Optional[int], _Order] = {}
        self._left_behind: dict[Optional[int], _Order] = {}
        self._answers_due: Counter[Optional[int]] = Counter()

    def begin_run(self) -> None:
        """Another process writes from here on: what the last one held is not known to be held any more."""
        self._left_behind.update(self._held)
        self._held.clear()
        self._open.clear()
        self._answers_due.clear()

    def add(self, line: Line, run: RunDraft) -> None:
        event, fields = line.event, line.fields
        node, address = number(fields.get("node")), fields.get("address")
        if event == "received" and fields.get("event") == "recover":
            order = data_of(line)
            self._new(
                _Order(
                    run,
                    line.when,
                    number(order.get("disconnected_node")),
                    number(order.get("recovery_node")),
                    _address(order),
                    active_neighbours=numbers(order.get("active_neighbors")),
                )
            )
        elif event == "sent" and fields.get("event") == "update node":
            self._answered(data_of(line))
        elif event == "takeover_started":
            if not self._find(node, address):
                self._new(_Order(run, line.when, node, None, address))
        elif event == "takeover_done":
            self._taken(line, run, node, address)
        elif event in ("takeover_refused", "takeover_failed"):
            self._not_taken(line, run, node, address)
        elif event == "owner_alive":
            waiting = self._find(node, address)
            if waiting:
                waiting.owner_alive = line.when
        elif event in ("release_done", "address_conflict", "address_lost"):
            self._released(line, node, address)
        elif event == "address_restored":
            held = self._holder(self._held, node, address)
            if held and held.released:
                held.released = held.release_reason = None
                held.had.append((line.when, None))
        elif event == "address_adopted":
            held = self._holder(self._left_behind, node, address)
            if held:
                del self._left_behind[held.node]
                self._held[held.node] = held
                held.run = run

    def failovers(self) -> list[Failover]:
        """Every order with its outcome, in the order of the log. To be called after the runs' nodes are
        known and the last line was added.
        """
        return [self._failover(order) for order in self._orders if order.outcome or not self._repeats(order)]

    def _failover(self, order: _Order) -> Failover:
        held = self._held.get(order.node) is order and order.released is None
        lasts = held and order.run.ended == "open"
        until = moment(order.run.last)
        return Failover(
            disconnected_node=order.node,
            recovery_node=order.run.node if order.run.node is not None else order.recovery_node,
            address=order.address,
            outcome=order.outcome or "failed",
            reason=order.reason if order.outcome else _UNANSWERED[order.run.ended],
            received=order.received,
            settled=order.settled,
            taken=order.settled if order.outcome == "taken" else None,
            released=order.released,
            takeover_ms=order.took_ms,
            release_reason=order.release_reason,
            still_held=lasts,
            holds=tuple(Hold(start, end, until, lasts and end is None) for start, end in order.had),
            active_neighbours=order.active_neighbours,
            owner_alive=order.owner_alive,
            pending=order.outcome is None and order.run.ended == "open",
        )

    def _new(self, order: _Order) -> _Order:
        self._orders.append(order)
        self._open.append(order)
        return order

    def _find(self, node: Optional[int], address: Optional[str]) -> Optional[_Order]:
        """The oldest open order that a line is about. An order whose data could not be read may be any
        node's, and a line that names no node may be about any order.
        """
        for order in self._open:
            if order.is_about(node, address):
                return order
        for order in self._open:
            if node is None or order.node is None or order.node == node:
                return order
        return None

    def _settle(self, line: Line, run: RunDraft, node: Optional[int], address: Optional[str]) -> _Order:
        order = self._find(node, address) or self._new(_Order(run, line.when, node, None, address))
        self._open.remove(order)
        if order.node is None:
            order.node = node
        order.address = address or order.address
        order.settled = line.when
        return order

    def _taken(self, line: Line, run: RunDraft, node: Optional[int], address: Optional[str]) -> None:
        held = self._held.get(node)
        if held and held.released is None and held.address == address:
            self._drop_repeat(node)
            return
        order = self._settle(line, run, node, address)
        order.outcome = "taken"
        order.took_ms = decimal(line.fields.get("took_ms", ""))
        order.had.append((line.when, None))
        self._were_taken.append(order)
        self._held[order.node] = order
        self._answers_due[order.node] += 1

    def _not_taken(self, line: Line, run: RunDraft, node: Optional[int], address: Optional[str]) -> None:
        held = self._held.get(node)
        if held and not self._find(node, address):
            # what was held could not be kept: that ends its failover, and is none of its own
            self._released(line, node, address)
            return
        order = self._settle(line, run, node, address)
        order.outcome = line.event.removeprefix("takeover_")
        order.reason = line.fields.get("reason", "no reason logged")

    def _released(self, line: Line, node: Optional[int], address: Optional[str]) -> None:
        # a worker that finds its former process's loan and its owner alive gives it back without adopting it
        for holds in (self._held, self._left_behind):
            held = self._holder(holds, node, address)
            if not held:
                continue
            if held.released is None:
                # the first of conflict, loss and release is when it was off the interface
                held.released = line.when
                held.release_reason = line.fields.get("reason") or line.event.replace("_", " ")
                held.had[-1] = (held.had[-1][0], line.when)
            if line.event == "release_done":
                del holds[held.node]
            return

    def _answered(self, data: Mapping[str, Any]) -> None:
        """A success that no takeover_done stands for answers an order that repeats what is held."""
        node = number(data.get("disconnected_node"))
        if "error" in data or node is None:
            return
        if self._answers_due[node] > 0:
            self._answers_due[node] -= 1
        else:
            self._drop_repeat(node)

    def _drop_repeat(self, node: Optional[int]) -> None:
        for order in self._open:
            if order.node == node and self._repeats(order):
                self._open.remove(order)
                self._orders.remove(order)
                return

    def _repeats(self, order: _Order) -> bool:
        """Whether it asked for what its worker held when it came, or took before it got to it."""
        return any(
            other.run is order.run
            and other.is_about(order.node, order.address)
            and other.received <= order.received
            and (other.released is None or other.released >= order.received)
            for other in self._were_taken
        )

    def _holder(
        self, held: Mapping[Optional[int], _Order], node: Optional[int], address: Optional[str]
    ) -> Optional[_Order]:
        """What is held that a line is about: by its node, or, where it names none, by its address."""
        if node is not None:
            return held.get(node)
        return next((order for order in held.values() if order.address == address), None)
