"""A failover as one thing across nodes: orders, holders, and what lies between them. No I/O.

Times of different nodes are compared after each clock's known offset was taken off; what is told keeps them
as they were written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Optional

from .aways import Away, Aways
from .episodes import Failover, NodeStory
from .holding import Absence, Hold, Holder, Stretch
from .moments import at_second, seconds

CLAIMED = ("claimed by", "in use by", "address conflict")
"""How the reason of a return begins where somebody else was seen to use the address: its owner, as a rule."""
BACK = ("restore", *CLAIMED)
ALIVE = "its owner is alive"
"""What a refusal says for which the owner's machine answered."""


@dataclass
class _Case:
    """The orders that belong to one absence, by their places in the story. `away`: None where no log of the
    owner shows it away then.
    """

    away: Optional[Away]
    orders: list[tuple[int, Failover]] = field(default_factory=list)


@dataclass(frozen=True)
class _Held:
    """On the clock that all share. `end`: None where it is not known, or still lasts."""

    start: float
    end: Optional[float]
    node: Optional[int]
    hold: Hold
    reason: str


class Absences:
    """`ahead_s`: by how much each clock is ahead, of those that could be compared."""

    def __init__(
        self,
        nodes: Sequence[NodeStory],
        failovers: Sequence[Failover],
        ahead_s: Mapping[Optional[int], float],
    ) -> None:
        self._nodes: dict[Optional[int], NodeStory] = {
            node.node: node for node in nodes if node.node is not None
        }
        self._failovers = failovers
        self._ahead_s = ahead_s

    def find(self) -> tuple[Absence, ...]:
        """By their start, or their first order where that is not known."""
        by_owner: dict[int, list[tuple[int, Failover]]] = {}
        for place, failover in enumerate(self._failovers):
            if failover.disconnected_node is not None:
                by_owner.setdefault(failover.disconnected_node, []).append((place, failover))
        found = []
        for owner, orders in by_owner.items():
            for case in self._cases(owner, orders):
                ahead_s = self._ahead_s.get(owner, 0.0)
                begin = case.away.start - ahead_s if case.away else self._received(case.orders[0][1])
                found.append((begin, owner, self._absence(owner, case)))
        return tuple(absence for *_, absence in sorted(found, key=lambda one: one[:2]))

    def _shared(self, when: datetime, node: Optional[int]) -> float:
        return seconds(when) - self._ahead_s.get(node, 0.0)

    def _written(self, at: float, node: Optional[int]) -> datetime:
        """As that node wrote it; as it stands where there is no log of that node."""
        known = self._nodes.get(node)
        zone = known.first.tzinfo if known else None
        return at_second(at + self._ahead_s.get(node, 0.0), zone)

    def _received(self, order: Failover) -> float:
        return self._shared(order.received, order.recovery_node)

    def _cases(self, owner: int, orders: list[tuple[int, Failover]]) -> Iterator[_Case]:
        """The orders about one owner, divided where it was back in between."""
        aways = Aways(self._nodes[owner]) if owner in self._nodes else None
        ahead_s = self._ahead_s.get(owner, 0.0)
        case: Optional[_Case] = None
        for place, order in sorted(orders, key=lambda one: self._received(one[1])):
            away = aways.at(self._received(order) + ahead_s) if aways else None
            same = case is not None and away is case.away
            if case is None or not same or (away is None and self._was_back(case, order)):
                if case:
                    yield case
                case = _Case(away)
            case.orders.append((place, order))
        if case:
            yield case

    def _was_back(self, case: _Case, order: Failover) -> bool:
        """Whether the owner was there again before that order, as far as the holders before it tell."""
        _, last = case.orders[-1]
        gave_back = last.released is not None and (last.release_reason or "").startswith(BACK)
        return gave_back and self._shared(
            last.released or last.received, last.recovery_node
        ) <= self._received(order)

    def _absence(self, owner: int, case: _Case) -> Absence:
        away, ahead_s = case.away, self._ahead_s.get(owner, 0.0)
        held = sorted(
            (
                _Held(
                    self._shared(hold.start, order.recovery_node),
                    None if hold.end is None else self._shared(hold.end, order.recovery_node),
                    order.recovery_node,
                    hold,
                    order.release_reason or "",
                )
                for _, order in case.orders
                for hold in order.holds
            ),
            key=lambda one: one.start,
        )
        there = None if away is None or away.there is None else away.there - ahead_s
        return Absence(
            node=owner,
            address=next((order.address for _, order in case.orders if order.address), None),
            start=self._written(away.start - ahead_s, owner) if away else None,
            end=None if away is None or away.back is None else self._written(away.back - ahead_s, owner),
            cause=away.cause if away else "unknown",
            failovers=tuple(place for place, _ in case.orders),
            holders=tuple(Holder(one.node, one.hold) for one in held),
            gaps=tuple(self._gaps(owner, case, held, there)),
            doubles=tuple(self._doubles(owner, held, there)),
            unknown=tuple(self._unknown(owner, case, held)),
            answered=bool(self._heard(case)),
        )

    def _heard(self, case: _Case) -> list[float]:
        """When others heard the owner's machine answer for the address."""
        return [
            self._shared(when, order.recovery_node)
            for _, order in case.orders
            for when in (order.owner_alive, order.settled if ALIVE in (order.reason or "") else None)
            if when
        ]

    def _gaps(
        self, owner: int, case: _Case, held: Sequence[_Held], there: Optional[float]
    ) -> Iterator[Stretch]:
        away = case.away
        if away is None and owner in self._nodes:
            return
        last_node: Optional[int] = owner if away else case.orders[0][1].recovery_node
        free = away.start - self._ahead_s.get(owner, 0.0) if away else self._received(case.orders[0][1])
        heard = self._heard(case)
        if heard and not held:
            return
        latest = free
        for one in held:
            if there is not None and there <= one.start:
                # its owner was there before it was taken
                break
            answered = max((at for at in heard if at <= one.start), default=free)
            if answered > free:
                free, last_node = answered, one.node
            if one.start > free:
                yield self._stretch(free, last_node, one.start, one.node)
            if one.end is None and (one.hold.lasts or one is held[-1]):
                # held where the log ends, or nobody knows until when
                return
            ends = self._known_until(one)
            if ends > free:
                free, last_node, latest = ends, one.node, ends
        if held and held[-1].reason.startswith(CLAIMED):
            return
        if there is not None:
            if there > free:
                yield self._stretch(free, last_node, there, owner)
        elif away and not (held and held[-1].reason.startswith(BACK)):
            yield Stretch(self._written(free, last_node), None, max(0.0, self._log_ends(owner) - latest))

    def _log_ends(self, owner: int) -> float:
        """The last line of all nodes."""
        return max(self._shared(node.last, node.node) for node in self._nodes.values())

    def _doubles(self, owner: int, held: Sequence[_Held], there: Optional[float]) -> Iterator[Stretch]:
        for place, one in enumerate(held):
            ends = self._known_until(one)
            for other in held[place + 1 :]:
                if other.start >= ends:
                    break
                if other.node != one.node:
                    yield self._double(other.start, other.node, one, other)
            if there is not None and one.start < there < ends:
                yield self._double(there, owner, one, None)

    def _known_until(self, one: _Held) -> float:
        return one.end if one.end is not None else self._shared(one.hold.until, one.node)

    def _double(self, start: float, node: Optional[int], one: _Held, other: Optional[_Held]) -> Stretch:
        end, ends = self._known_until(one), one
        if other and self._known_until(other) < end:
            end, ends = self._known_until(other), other
        whole = self._stretch(start, node, end, ends.node)
        nodes = (one.node, node)
        return Stretch(whole.start, None if ends.end is None else whole.end, whole.duration_s, nodes)

    def _stretch(self, start: float, node: Optional[int], end: float, other: Optional[int]) -> Stretch:
        return Stretch(self._written(start, node), self._written(end, other), end - start)

    def _unknown(self, owner: int, case: _Case, held: Sequence[_Held]) -> Iterator[str]:
        if owner not in self._nodes:
            yield f"since when node {owner} was away, and until when: no log of it was given"
        elif case.away is None:
            _, first = case.orders[0]
            yield (
                f"why node {first.recovery_node} was ordered to take the address: node {owner}'s own log does "
                "not show it away then"
            )
        for one in held:
            if one.end is None and not one.hold.lasts:
                yield (
                    f"until when node {one.node} held it: its log ends, or it was killed, while it did; the "
                    "kernel ends a loan ADDRESS_LEASE seconds later (10 unless set)"
                )
        if not held:
            named = {node for _, order in case.orders for node in order.active_neighbours}
            for node in sorted(named.difference(node for node in self._nodes if node is not None)):
                yield f"whether node {node} took the address: no log of it was given"
