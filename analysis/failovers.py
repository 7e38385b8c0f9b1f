"""A failover as one thing across nodes: an absence of a node's owner, the orders about it, who served when. No I/O.

Times of different nodes are compared after each clock's known offset was taken off; what is shown keeps them.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace

from .intervals import Spans, last_before, merge, overlap, subtract
from .model import SILENT, UNKNOWN, Attempt, Failover, Lane, Span
from .nodelog import AFTER_FREEZE_S
from .parser import Line

TOGETHER_S = 0.5
"""By which the clocks of two nodes, once laid side by side, may still differ."""
SAME_DEATH_S = 60.0
"""Between a death in the master's log and an order that is about it."""
BACK = ("restore", "owner_returned", "owner returned", "claimed by", "in use by", "address conflict")
"""How the reason of a release begins where the owner is there again; all but the first: it claimed its address."""


@dataclass(frozen=True)
class Downtime:
    """A time in which a machine was away, on the clock that all share. `there`: from when its address is its own again;
    `back`: when it has the master again; infinite: its log does not show it. `gone`: its process was, so that `there` is when that
    came back.
    """

    start: float
    there: float
    back: float
    cause: str
    lane: Lane
    gone: bool

    def lasts(self, at: float) -> bool:
        return at <= self.back + TOGETHER_S


def downtimes(lane: Lane) -> list[Downtime]:
    """Each time without its process or the master, as the lane's own log shows it; by start."""
    ups = [at for at, _ in lane.masters]
    losses = [one.start for one in lane.outages]

    def down(
        one: Span, there: float | None, back: float | None, cause: str, *, gone: bool = True
    ) -> Downtime:
        there, back = (math.inf if at is None else at - lane.ahead_s for at in (there, back))
        return Downtime(one.start - lane.ahead_s, there, back, cause, lane, gone)

    def connected(at: float | None) -> float | None:
        place = len(ups) if at is None else bisect_left(ups, at)
        return ups[place] if place < len(ups) else None

    found = [down(one, one.end, connected(one.end), SILENT) for one in lane.silences]
    found += [down(one, one.end, connected(one.end), "own_stop") for one in lane.stops]
    for one in lane.freezes:
        place = bisect_left(losses, one.start)
        costs = place < len(losses) and losses[place] <= one.until + AFTER_FREEZE_S
        found.append(down(one, one.end, lane.outages[place].end if costs else one.end, "frozen"))
    ends = {process.last for process in lane.processes if process.last < lane.last}
    for outage in lane.outages:
        if not outage.at_start:
            begun = replace(outage, start=min(outage.start, outage.last_answer or outage.start))
            # one in which the process ended goes on as its silence or stop
            end = outage.until if outage.until in ends else outage.end
            found.append(down(begun, end, end, outage.cause, gone=False))
    return _joined(sorted(found, key=lambda one: one.start))


def _joined(downs: Sequence[Downtime]) -> list[Downtime]:
    """Those that touch are one: an outage in which the process is killed, a freeze that costs the connection."""
    joined: list[Downtime] = []
    for down in downs:
        last = joined[-1] if joined else None
        if last is None or down.start > last.back:
            joined.append(down)
            continue
        first = down.cause == "frozen" and down.start <= last.start + TOGETHER_S
        joined[-1] = replace(
            last,
            there=last.there if last.gone and not down.gone else down.there,
            gone=last.gone or down.gone,
            back=max(down.back, last.back),
            cause=down.cause if first else last.cause,
        )
    return joined


@dataclass
class _Case:
    """One absence and the orders about it: on the clock that all share, and as they were `told`. `end`: of all logs."""

    down: Downtime | None
    has_log: bool
    end: float
    orders: list[Attempt] = field(default_factory=list)
    told: list[Attempt] = field(default_factory=list)


def failovers_of(
    lanes: Sequence[Lane], attempts: Sequence[Attempt], master: Sequence[Line] = ()
) -> tuple[Failover, ...]:
    """By start. Attempts that name no node belong to none."""
    end = max((lane.last - lane.ahead_s for lane in lanes), default=0.0)
    silent = {lane.key for lane in lanes if any(one.end is None for one in lane.silences)}
    by_owner: dict[int, list[tuple[Attempt, Attempt]]] = defaultdict(list)
    for attempt in attempts:
        if attempt.node is not None:
            by_owner[attempt.node].append((_shared(attempt, end, silent), attempt))
    deaths: dict[int | None, list[float]] = defaultdict(list)
    for line in master:
        if line.event == "node_dead":
            deaths[line.node].append(line.at)
    found: list[tuple[float, Failover]] = []
    for owner, orders in by_owner.items():
        owners = [lane for lane in lanes if lane.node == owner]
        downs = sorted((down for lane in owners for down in downtimes(lane)), key=lambda one: one.start)
        cases: list[_Case] = []
        for order, told in sorted(orders, key=lambda pair: pair[0].received):
            down = _down_at(downs, order.received)
            case = cases[-1] if cases else None
            if case is None or down is not case.down or (down is None and _was_back(case, order.received)):
                cases.append(case := _Case(down, bool(owners), end))
            case.orders.append(order)
            case.told.append(told)
        found += (_failover(owner, case, deaths[owner]) for case in cases)
    return tuple(failover for _, failover in sorted(found, key=lambda one: (one[0], one[1].node)))


def _shared(one: Attempt, end: float, silent: Container[int]) -> Attempt:
    """With times on the clock that all share; what is held where its lane's log goes to the end of all logs lasts until then."""

    def shared(at: float | None) -> float | None:
        return None if at is None else at - one.ahead_s

    holds = [Span(hold.start - one.ahead_s, shared(hold.end), hold.until - one.ahead_s) for hold in one.holds]
    goes_on = holds and one.released is None and one.lane not in silent
    if goes_on and abs(holds[-1].until - end) < AFTER_FREEZE_S:
        holds[-1] = replace(holds[-1], until=end)
    return replace(
        one,
        received=one.received - one.ahead_s,
        settled=shared(one.settled),
        owner_heard=shared(one.owner_heard),
        holds=holds,
    )


def _down_at(downs: Sequence[Downtime], at: float) -> Downtime | None:
    place = bisect_right(downs, at + TOGETHER_S, key=lambda down: down.start) - 1
    # of one that has just begun, by a clock that is not quite the same, and one that goes on, the latter
    if place > 0 and downs[place].start > at and downs[place - 1].lasts(at):
        place -= 1
    return downs[place] if place >= 0 and downs[place].lasts(at) else None


def _ended(one: Attempt) -> bool:
    """Whether its outcome shows that the owner is there again."""
    return one.outcome == "withdrawn" or (one.released is not None and one.release_reason.startswith(BACK))


def _was_back(case: _Case, at: float) -> bool:
    before = case.orders[-1]
    when = before.settled if before.outcome == "withdrawn" else before.released
    return _ended(before) and when is not None and when <= at


def _failover(owner: int, case: _Case, deaths: Sequence[float]) -> tuple[float, Failover]:
    """Its start on the shared clock, and itself."""
    down, first = case.down, case.told[0]
    start = down.start if down else case.orders[0].received
    end = down.back if down else _end_without_log(case)
    ahead_s = down.lane.ahead_s if down else first.ahead_s
    zone = down.lane.zone if down else first.zone

    def own(spans: Spans) -> tuple[Span, ...]:
        return tuple(Span(a + ahead_s, b + ahead_s, b + ahead_s, zone) for a, b in spans)

    return start, Failover(
        node=owner,
        address=next((one.address for one in case.told if one.address), None),
        start=start + ahead_s,
        end=None if end == math.inf else end + ahead_s,
        cause=down.cause if down else SILENT if _died(first.received, deaths) else UNKNOWN,
        attempts=tuple(case.told),
        gaps=own(_gaps(case, start)),
        doubles=own(_doubles(case)),
        owner_heard=any(one.owner_heard is not None for one in case.told),
        start_known=down is not None,
        caveats=tuple(_caveats(owner, case)),
        lane=down.lane.key if down else None,
        zone=zone,
    )


def _died(ordered: float, deaths: Sequence[float]) -> bool:
    """Whether the master's log says that it took the node for dead just before that order."""
    died = last_before(deaths, ordered + AFTER_FREEZE_S)
    return died is not None and ordered - died <= SAME_DEATH_S


def _end_without_log(case: _Case) -> float:
    """When it ended as its holders saw it; infinite: they did not, or one still holds it."""
    if any(one.taken is not None and one.released is None for one in case.orders):
        return math.inf
    return max((one.released or one.settled or 0.0 for one in case.orders if _ended(one)), default=math.inf)


def _is_lost(hold: Span, case: _Case) -> bool:
    """Whether the holder's log ends while it was held, and others go on."""
    return hold.end is None and hold.until != case.end


def _caveats(owner: int, case: _Case) -> Iterator[str]:
    for one in case.orders:
        if any(_is_lost(hold, case) for hold in one.holds):
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
    if last and (_is_lost(last, case) or down is None):
        end = last.until
    elif down and down.there < math.inf:
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
    if case.down and case.down.there < case.end:
        spans.append(((case.down.there, case.end),))
    found: list[tuple[float, float]] = []
    before: Spans = ()
    for each in spans:
        found += overlap(before, each)
        before = merge([*before, *each])
    return merge(found)
