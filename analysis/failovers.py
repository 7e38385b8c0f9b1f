"""A failover as one thing across nodes: an absence of a node's owner, the orders about it, who served when. No I/O.

Times of different nodes are compared after each clock's known offset was taken off; what is told keeps them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .downtimes import AFTER_FREEZE_S, TOGETHER_S, Downtime, downtimes
from .intervals import Spans, merge, overlap, subtract
from .model import SILENT, UNKNOWN, Attempt, Failover, Lane, MasterEvent, Span

SAME_DEATH_S = 60.0
"""Between a death in the master's log and an order that is about it."""
BACK = ("restore", "owner_returned", "owner returned", "claimed by", "in use by", "address conflict")
"""How the reason of a release begins where the owner is there again; all but the first: it claimed its address."""


@dataclass
class _Case:
    """One absence. `orders` are its attempts with all times on the clock that all share, `told` as they were written."""

    down: Downtime | None
    has_log: bool
    end: float
    """Of all logs."""
    orders: list[Attempt] = field(default_factory=list)
    told: list[Attempt] = field(default_factory=list)


def failovers_of(
    lanes: Sequence[Lane],
    attempts: Sequence[Attempt],
    ahead: Mapping[int, float],
    master: Sequence[MasterEvent] = (),
) -> tuple[Failover, ...]:
    """By start. `ahead`: by how much each lane's clock is ahead. Attempts that name no node belong to none."""
    last = max((lane.last - ahead.get(lane.key, 0.0) for lane in lanes), default=0.0)
    lasting = {lane.key: last for lane in lanes if not any(one.end is None for one in lane.silences)}
    by_owner: dict[int, list[tuple[Attempt, Attempt]]] = defaultdict(list)
    for attempt in attempts:
        if attempt.node is not None:
            by_owner[attempt.node].append((_shifted(attempt, ahead.get(attempt.lane, 0.0), lasting), attempt))
    deaths: dict[int, list[float]] = defaultdict(list)
    for event in master:
        if event.event == "node_dead" and event.node is not None:
            deaths[event.node].append(event.at)
    found: list[tuple[float, Failover]] = []
    for owner, pairs in by_owner.items():
        owners = [lane for lane in lanes if lane.node == owner]
        downs = [down for lane in owners for down in downtimes(lane, ahead.get(lane.key, 0.0))]
        pairs.sort(key=lambda pair: pair[0].received)
        for case in _cases(sorted(downs, key=lambda one: one.start), pairs, has_log=bool(owners), end=last):
            start, failover = _failover(owner, case, ahead, deaths[owner])
            found.append((start, failover))
    return tuple(failover for _, failover in sorted(found, key=lambda one: (one[0], one[1].node)))


def _shifted(one: Attempt, ahead_s: float, lasting: Mapping[int, float]) -> Attempt:
    """With times on the shared clock; what is held where its lane's log goes to the end of all logs lasts until then."""

    def shared(at: float | None) -> float | None:
        return None if at is None else at - ahead_s

    holds = []
    for hold in one.holds:
        until = hold.until - ahead_s
        lasts = hold.end is None and abs(until - lasting.get(one.lane, 0.0)) < AFTER_FREEZE_S
        until = lasting[one.lane] if lasts else until if hold.end is None else hold.end - ahead_s
        holds.append(Span(hold.start - ahead_s, until if lasts else shared(hold.end), until))
    return replace(
        one,
        received=one.received - ahead_s,
        settled=shared(one.settled),
        released=shared(one.released),
        owner_heard=shared(one.owner_heard),
        holds=tuple(holds),
    )


def _cases(
    downs: Sequence[Downtime], pairs: Sequence[tuple[Attempt, Attempt]], *, has_log: bool, end: float
) -> Iterator[_Case]:
    """The orders about one owner, divided where it was back in between."""
    starts = [down.start for down in downs]
    case: _Case | None = None
    for order, told in pairs:
        down = _down_at(downs, starts, order.received)
        if (
            case is None
            or down is not case.down
            or (down is None and _was_back(case.orders[-1], order.received))
        ):
            if case:
                yield case
            case = _Case(down, has_log, end)
        case.orders.append(order)
        case.told.append(told)
    if case:
        yield case


def _down_at(downs: Sequence[Downtime], starts: Sequence[float], at: float) -> Downtime | None:
    place = bisect_right(starts, at + TOGETHER_S) - 1
    # of one that has just begun, by a clock that is not quite the same, and one that goes on, the latter
    if place > 0 and starts[place] > at and downs[place - 1].lasts(at):
        place -= 1
    return downs[place] if place >= 0 and downs[place].lasts(at) else None


def _ended(one: Attempt) -> bool:
    """Whether its outcome shows that the owner is there again."""
    return one.outcome == "withdrawn" or (one.released is not None and one.release_reason.startswith(BACK))


def _was_back(before: Attempt, at: float) -> bool:
    when = before.settled if before.outcome == "withdrawn" else before.released
    return _ended(before) and when is not None and when <= at


def _failover(
    owner: int, case: _Case, ahead: Mapping[int, float], deaths: Sequence[float]
) -> tuple[float, Failover]:
    """Its start on the shared clock, and itself."""
    down, first = case.down, case.told[0]
    start = down.start if down else case.orders[0].received
    end = down.back if down else _end_without_log(case)
    ahead_s = ahead.get(down.lane.key if down else first.lane, 0.0)
    zone = down.lane.zone if down else first.zone

    def own(spans: Spans) -> tuple[Span, ...]:
        return tuple(Span(a + ahead_s, b + ahead_s, b + ahead_s, zone) for a, b in spans)

    return start, Failover(
        node=owner,
        address=next((one.address for one in case.told if one.address), None),
        start=start + ahead_s,
        end=None if end is None else end + ahead_s,
        cause=down.cause if down else SILENT if _died(first.received, deaths) else UNKNOWN,
        attempts=tuple(case.told),
        gaps=own(_gaps(case, start)),
        doubles=own(_doubles(case)),
        owner_heard=any(one.owner_heard is not None for one in case.orders),
        start_known=down is not None,
        caveats=tuple(_caveats(owner, case)),
        lane=down.lane.key if down else None,
        zone=zone,
    )


def _died(ordered: float, deaths: Sequence[float]) -> bool:
    """Whether the master's log says that it took the node for dead just before that order."""
    place = bisect_right(deaths, ordered + AFTER_FREEZE_S) - 1
    return place >= 0 and ordered - deaths[place] <= SAME_DEATH_S


def _end_without_log(case: _Case) -> float | None:
    """When it ended as its holders saw it; None: they did not, or one still holds it."""
    if any(one.taken is not None and one.released is None for one in case.orders):
        return None
    return max((one.released or one.settled or 0.0 for one in case.orders if _ended(one)), default=None)


def _caveats(owner: int, case: _Case) -> Iterator[str]:
    for one in case.orders:
        if any(hold.end is None for hold in one.holds):
            yield (
                f"until when node {one.recovery_node} held it: its log ends while it did; the kernel ends a lease "
                "ADDRESS_LEASE seconds later (10 unless set)"
            )
    served = any(one.holds or one.owner_heard is not None for one in case.orders)
    if case.down and _is_planned(case.down) and not served:
        yield f"whether node {owner}'s machine went on answering for its address: its worker alone was seen to stop"
    if case.down is None and case.has_log:
        yield f"why the order came: node {owner}'s own log does not show it away then"


def _gaps(case: _Case, start: float) -> Spans:
    """When nobody served the address: neither a holder nor, as far as it was heard, the owner's machine."""
    holds = sorted((hold for one in case.orders for hold in one.holds), key=lambda hold: hold.start)
    heard = [one.owner_heard for one in case.orders if one.owner_heard is not None]
    down, last = case.down, max(holds, key=lambda hold: hold.until, default=None)
    if (down is None and case.has_log) or (not holds and (heard or _is_planned(down))):
        return ()  # it was there, its machine answered, or nothing is known
    end = case.end
    if last and (last.end is None or down is None):
        end = last.until
    elif down and down.there is not None:
        end = down.there
    elif _ended(case.orders[-1]):
        end = last.until if last else start
    if last:
        # up to the first takeover the owner's machine may have answered, and again after the last one
        start = max([start, *(at for at in heard if at <= holds[0].start)])
        end = min([end, *(at for at in heard if at >= last.until)])
    gaps = subtract(((start, end),), merge((hold.start, hold.until) for hold in holds)) if start < end else ()
    # an owner that has claimed its address is there, whenever its worker reaches the master
    claimed = case.orders[-1].released is not None and case.orders[-1].release_reason.startswith(BACK[1:])
    return gaps[:-1] if claimed and last and gaps and gaps[-1][0] >= last.until else gaps


def _is_planned(down: Downtime | None) -> bool:
    """Whether its worker may be all that was away: nothing is known of it, or the worker was stopped."""
    return down is None or down.cause == "own_stop"


def _doubles(case: _Case) -> Spans:
    """When two had it: two holders, or a holder and its owner."""
    by_node: dict[int | None, list[tuple[float, float]]] = defaultdict(list)
    for one in case.orders:
        by_node[one.recovery_node] += ((hold.start, hold.until) for hold in one.holds)
    spans = [merge(those) for those in by_node.values()]
    if case.down and case.down.there is not None:
        spans.append(((case.down.there, case.end),))
    found: list[tuple[float, float]] = []
    before: Spans = ()
    for each in spans:
        found += overlap(before, each)
        before = merge([*before, *each])
    return merge(found)
