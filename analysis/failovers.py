"""A failover as one thing across nodes: an absence of a node's owner, the orders about it, who served when. No I/O.

Times of different nodes are compared after each clock's known offset was taken off; those that are told keep it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo

from .intervals import Spans, merge, overlap, subtract
from .model import SILENT, UNKNOWN, Attempt, Failover, Lane, MasterEvent, Span

TOGETHER_S = 0.5
"""By which the clocks of two nodes, once laid side by side, may still differ."""
AFTER_FREEZE_S = 5.0
SAME_DEATH_S = 60.0
"""Between a death in the master's log and an order that is about it."""
BACK = ("restore", "owner_returned", "owner returned", "claimed by", "in use by", "address conflict")
"""How the reason of a release begins where the owner is there again."""
Held = tuple[float, float, "int | None"]
"""From when to when which node held an address, on the shared clock."""


@dataclass(frozen=True)
class Downtime:
    """A time without its owner, on the shared clock. `there`: from when its address is its own again, `back`: when it
    has the master again; None: its log does not show it.
    """

    start: float
    there: float | None
    back: float | None
    cause: str
    lane: Lane
    gone: bool = False
    """Whether its process was, so that its end says from when the address is its own again."""


@dataclass
class _Case:
    downtime: Downtime | None
    attempts: list[Attempt] = field(default_factory=list)


class _Clocks:
    def __init__(self, lanes: Sequence[Lane], ahead: Mapping[int, float]) -> None:
        self.ahead = ahead
        self.end = max((lane.last - ahead.get(lane.key, 0.0) for lane in lanes), default=0.0)

    def shared(self, at: float, lane: int) -> float:
        return at - self.ahead.get(lane, 0.0)


def failovers_of(
    lanes: Sequence[Lane],
    attempts: Sequence[Attempt],
    ahead: Mapping[int, float],
    master: Sequence[MasterEvent] = (),
) -> tuple[Failover, ...]:
    """By start. `attempts` that name no node are told as incidents elsewhere."""
    clocks = _Clocks(lanes, ahead)
    silent = {lane.key for lane in lanes if any(one.end is None for one in lane.silences)}
    by_owner: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        if attempt.node is not None:
            by_owner[attempt.node].append(attempt)
    deaths: dict[int, list[MasterEvent]] = defaultdict(list)
    for event in master:
        if event.event == "node_dead" and event.node is not None:
            deaths[event.node].append(event)
    found: list[tuple[float, Failover]] = []
    for owner, orders in by_owner.items():
        owners = [lane for lane in lanes if lane.node == owner]
        orders.sort(key=lambda one: clocks.shared(one.received, one.lane))
        for case in _cases(owners, orders, clocks):
            failover = _failover(owner, case, clocks, silent, has_log=bool(owners))
            if failover.cause == UNKNOWN:
                failover = _as_master_saw_it(failover, deaths[owner])
            lane = failover.lane if failover.lane is not None else case.attempts[0].lane
            found.append((clocks.shared(failover.start, lane), failover))
    return tuple(failover for _, failover in sorted(found, key=lambda one: (one[0], one[1].node)))


def downtimes(lane: Lane, ahead_s: float) -> list[Downtime]:
    """When one machine was away, as its own log shows it, by start."""
    found: list[Downtime] = []
    ups = [at for at, _ in lane.masters]
    losses = [one.start for one in lane.outages]

    def connected(at: float) -> float | None:
        place = bisect_left(ups, at)
        return ups[place] if place < len(ups) else None

    for span, cause, gone in _absences(lane):
        there = span.end
        back = connected(span.end) if span.end is not None else None
        if gone and cause == "frozen" and span.end is not None:
            place = bisect_left(losses, span.start)
            lost = (
                lane.outages[place]
                if place < len(losses) and losses[place] <= span.end + AFTER_FREEZE_S
                else None
            )
            back = lost.end if lost else span.end
        if not gone:
            back = span.end
        found.append(
            Downtime(
                span.start - ahead_s,
                None if there is None else there - ahead_s,
                None if back is None else back - ahead_s,
                cause,
                lane,
                gone,
            )
        )
    return _joined(sorted(found, key=lambda one: one.start))


def _absences(lane: Lane) -> Iterator[tuple[Span, str, bool]]:
    """Each time without its process, or without the master, why, and whether it is the former."""
    for span in lane.silences:
        yield span, SILENT, True
    for span in lane.stops:
        yield span, "own_stop", True
    for span in lane.freezes:
        yield span, "frozen", True
    ends = {process.last for process in lane.processes}
    for outage in lane.outages:
        if not outage.at_start:
            start = outage.start if outage.last_answer is None else min(outage.start, outage.last_answer)
            # an outage in which the process ended goes on as its silence or stop
            end = (
                outage.until
                if outage.end is None and outage.until in ends and outage.until < lane.last
                else outage.end
            )
            yield Span(start, end, outage.until, outage.zone), outage.cause, False


def _joined(downs: Sequence[Downtime]) -> list[Downtime]:
    """Those that touch are one: an outage in which the process is killed, a freeze that costs the connection."""
    joined: list[Downtime] = []
    for down in downs:
        last = joined[-1] if joined else None
        if last and (last.back is None or down.start <= last.back):
            cause = (
                down.cause if down.cause == "frozen" and down.start <= last.start + TOGETHER_S else last.cause
            )
            there = last.there if last.gone and not down.gone else down.there
            joined[-1] = replace(
                last,
                there=there,
                gone=last.gone or down.gone,
                back=None if down.back is None or last.back is None else max(down.back, last.back),
                cause=cause,
            )
        else:
            joined.append(down)
    return joined


def _cases(owners: Sequence[Lane], orders: Sequence[Attempt], clocks: _Clocks) -> Iterator[_Case]:
    """The orders about one owner, divided where it was back in between."""
    downs = sorted(
        (down for lane in owners for down in downtimes(lane, clocks.ahead.get(lane.key, 0.0))),
        key=lambda one: one.start,
    )
    starts = [down.start for down in downs]
    case: _Case | None = None
    for order in orders:
        down = _down_at(downs, starts, clocks.shared(order.received, order.lane))
        same = case is not None and down is case.downtime
        if case is None or not same or (down is None and _was_back(case.attempts[-1], order, clocks)):
            if case:
                yield case
            case = _Case(down)
        case.attempts.append(order)
    if case:
        yield case


def _down_at(downs: Sequence[Downtime], starts: Sequence[float], at: float) -> Downtime | None:
    place = bisect_right(starts, at + TOGETHER_S) - 1
    if place < 0:
        return None
    # of one that has just begun by a clock that is not quite the same, and one that goes on, the latter
    if starts[place] > at and place and _lasts(downs[place - 1], at):
        place -= 1
    return downs[place] if _lasts(downs[place], at) else None


def _lasts(down: Downtime, at: float) -> bool:
    return down.back is None or at <= down.back + TOGETHER_S


def _was_back(before: Attempt, order: Attempt, clocks: _Clocks) -> bool:
    """Whether the owner was there again between two orders, as far as the first one's holder says."""
    if before.outcome == "withdrawn" and before.settled is not None:
        return clocks.shared(before.settled, before.lane) <= clocks.shared(order.received, order.lane)
    if before.released is None or not before.release_reason.startswith(BACK):
        return False
    return clocks.shared(before.released, before.lane) <= clocks.shared(order.received, order.lane)


def _failover(owner: int, case: _Case, clocks: _Clocks, silent: set[int], *, has_log: bool) -> Failover:
    down, first = case.downtime, case.attempts[0]
    begin = down.start if down else clocks.shared(first.received, first.lane)
    held, unknown, last_unknown = _held(case, clocks, silent)
    end = down.back if down else _end_without_log(case, clocks)
    zone: tzinfo = down.lane.zone if down else first.zone
    lane = down.lane.key if down else None
    ahead_s = clocks.ahead.get(down.lane.key if down else first.lane, 0.0)
    heard = [clocks.shared(one.owner_heard, one.lane) for one in case.attempts if one.owner_heard is not None]
    gaps = _gaps(case, held, heard, begin, clocks, unknown_end=last_unknown, has_log=has_log)
    doubles = _doubles(case, held, clocks)
    caveats = [*unknown]
    if not has_log:
        caveats.append(f"since when node {owner} was away: no log of it was given")
    elif not down:
        caveats.append(f"why the order came: node {owner}'s own log does not show it away then")

    def own(spans: Spans) -> tuple[Span, ...]:
        return tuple(Span(a + ahead_s, b + ahead_s, b + ahead_s, zone) for a, b in spans)

    return Failover(
        node=owner,
        address=next((one.address for one in case.attempts if one.address), None),
        start=begin + ahead_s,
        end=None if end is None else end + ahead_s,
        cause=down.cause if down else UNKNOWN,
        attempts=tuple(case.attempts),
        gaps=own(gaps),
        doubles=own(doubles),
        owner_heard=bool(heard),
        start_known=down is not None,
        lane=lane,
        caveats=tuple(caveats),
        zone=zone,
    )


def _end_without_log(case: _Case, clocks: _Clocks) -> float | None:
    """When it ended as its holders saw it; None: they did not, or one still holds it."""
    if any(one.taken is not None and one.released is None for one in case.attempts):
        return None
    ends = [(one.released or one.settled, one.lane) for one in case.attempts if _ended(one)]
    return max((clocks.shared(end, lane) for end, lane in ends if end is not None), default=None)


def _ended(one: Attempt) -> bool:
    return one.outcome == "withdrawn" or (one.released is not None and one.release_reason.startswith(BACK))


def _held(case: _Case, clocks: _Clocks, silent: set[int]) -> tuple[list[Held], list[str], bool]:
    """From when to when who held it, by start; what is not known of it, and whether that is its last end."""
    held: list[Held] = []
    unknown: list[str] = []
    unknown_ends: set[float] = set()
    for one in case.attempts:
        for hold in one.holds:
            end = hold.end
            if end is None:
                end = hold.until
                lasts = (
                    one.lane not in silent
                    and abs(clocks.shared(hold.until, one.lane) - clocks.end) < AFTER_FREEZE_S
                )
                if lasts:
                    end = clocks.end + clocks.ahead.get(one.lane, 0.0)
                else:
                    unknown.append(
                        f"until when node {one.recovery_node} held it: its log ends while it did; the kernel ends a "
                        "lease ADDRESS_LEASE seconds later (10 unless set)"
                    )
                    unknown_ends.add(clocks.shared(hold.until, one.lane))
            held.append(
                (clocks.shared(hold.start, one.lane), clocks.shared(end, one.lane), one.recovery_node)
            )
    last = max((end for _, end, _ in held), default=0.0)
    return sorted(held, key=lambda each: each[:2]), unknown, last in unknown_ends


def _gaps(
    case: _Case,
    held: Sequence[Held],
    heard: Sequence[float],
    begin: float,
    clocks: _Clocks,
    *,
    unknown_end: bool,
    has_log: bool,
) -> Spans:
    """When nobody served the address. Where the owner's machine answered for it, up to the last such answer somebody did."""
    down = case.downtime
    if down is None and has_log:
        return ()  # its own log says that it was there
    if heard and not held:
        return ()
    end = clocks.end
    if held and (unknown_end or down is None):
        end = max(stop for _, stop, _ in held)
    elif down and down.there is not None:
        end = down.there
    elif down is None:
        return ()
    elif any(_ended(one) for one in case.attempts[-1:]):
        end = max((stop for _, stop, _ in held), default=begin)
    # up to its first takeover the owner's machine may have answered, and again after the last one
    since = max([begin, *(at for at in heard if at <= held[0][0])]) if held else begin
    if held:
        end = min([end, *(at for at in heard if at >= held[-1][1])])
    if since >= end:
        return ()
    served = merge([(start, stop) for start, stop, _ in held])
    known = ((max([begin, *(at for at in heard if not held or at <= held[-1][0])]), end),)
    if known[0][0] >= end:
        return ()
    gaps = subtract(((since, end),), served)
    # a release to an owner that claims its address is no gap, whenever its worker reaches the master
    if gaps and gaps[-1][1] == end and held and gaps[-1][0] >= held[-1][1] and _claimed(case.attempts[-1]):
        return gaps[:-1]
    return gaps


def _claimed(one: Attempt) -> bool:
    return one.released is not None and one.release_reason.startswith(BACK[1:])


def _doubles(case: _Case, held: Sequence[Held], clocks: _Clocks) -> Spans:
    """When two had it: two holders, or a holder and its owner."""
    nodes = defaultdict(list)
    for start, end, node in held:
        nodes[node].append((start, end))
    spans = [merge(those) for those in nodes.values()]
    if case.downtime and case.downtime.there is not None:
        spans.append(((case.downtime.there, clocks.end),))
    found: list[tuple[float, float]] = []
    before: Spans = ()
    for each in spans:
        found += overlap(before, each)
        before = merge([*before, *each])
    return merge(found)


def _as_master_saw_it(failover: Failover, deaths: Sequence[MasterEvent]) -> Failover:
    """Where no log of the owner shows it away, the master's own says that it was taken for dead."""
    ordered = failover.attempts[0].received
    seen = bisect_right([one.at for one in deaths], ordered + AFTER_FREEZE_S) - 1
    if seen < 0 or ordered - deaths[seen].at > SAME_DEATH_S:
        return failover
    return replace(failover, cause=SILENT)
