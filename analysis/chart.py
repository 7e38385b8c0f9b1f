"""What the page's script draws: lanes of spans, holds, marks and round trips, in seconds from the first line. No I/O."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from .formatting import Times, capital, duration, visible
from .model import CAUSE_WORDS, Attempt, Failover, Lane, Span, Story

COLUMNS, COLUMNS_IN_ALL = 6000, 27_000
"""Of round trips, of one lane and of all: nine lanes are about half a megabyte."""
SPANS = 400
"""Of a kind in one lane; where there are more, those that begin close to each other are drawn as one."""
ABSENT = 20
"""Lanes of nodes whose logs were not given."""
LONGEST_S = 10 * 366 * 86400.0
"""A clock that began in 1970 does not make the chart so long."""
Drawn = tuple[str, float, float, str]
"""A kind, from when to when, and what it says."""


@dataclass(frozen=True)
class _Time:
    """What the chart shows of it, from `start` on, in how many columns."""

    start: float
    length: float
    columns: int

    def __call__(self, at: float) -> float:
        """Seconds from its left edge."""
        return round(min(self.length, max(0.0, at - self.start)), 3)

    def shows(self, start: float, end: float) -> bool:
        return end - self.start >= 0.0 and start - self.start <= self.length


def chart(story: Story) -> dict[str, object]:
    """Each lane: `spans` as Drawn, `holds` [from, to, goes on, text, place of its owner's lane, given back], `marks`
    [at, kind, text, place of the owner's lane]; all in the order of time. Empty where nothing was read.
    """
    if not story.lanes:
        return {}
    absent = {one.node for one in story.failovers}.difference(lane.node for lane in story.lanes)
    lanes = [*story.lanes, *(Lane(f"node {node}", (), node=node) for node in sorted(absent)[:ABSENT])]
    lanes.sort(key=lambda lane: math.inf if lane.node is None else lane.node)
    places = {lane.node: place for place, lane in reversed(list(enumerate(lanes)))}
    first, end = min(story.lanes, key=lambda lane: lane.first), max(lane.last for lane in story.lanes)
    start = first.first if end - first.first < LONGEST_S else end - LONGEST_S
    time = _Time(start, max(end - start, 0.1), min(COLUMNS, COLUMNS_IN_ALL // len(lanes)))
    when = datetime.fromtimestamp(start, Times(story).zone)
    highest = max([10.0, *(lane.rtt.max for lane in lanes if lane.rtt)])
    attempts: dict[int, list[Attempt]] = {}
    for attempt in (one for failover in story.failovers for one in failover.attempts):
        attempts.setdefault(attempt.lane, []).append(attempt)
    return {
        "start": round(start, 3),
        "length": round(time.length, 3),
        "offset": (when.utcoffset() or timedelta()).total_seconds(),
        "zone": f"{when:%z}",
        "high_ms": 10 ** math.ceil(math.log10(highest + 0.01)),
        "lanes": [
            _lane(lane, story.failovers, attempts.get(lane.key, []) if lane.folders else [], places, time)
            for lane in lanes
        ],
    }


def _lane(
    lane: Lane,
    failovers: Sequence[Failover],
    attempts: Sequence[Attempt],
    places: Mapping[int | None, int],
    time: _Time,
) -> dict[str, object]:
    """One without folders is of a node whose logs were not given."""
    kinds: dict[str, list[Drawn]] = {}
    for kind, span, text in _spans(lane, failovers):
        if time.shows(span.start, span.until):
            kinds.setdefault(kind, []).append((kind, time(span.start), time(span.until), visible(text)))
    width = time.length / time.columns
    missed = {int(time(at) / width) for at in lane.missed_at if time.shows(at, at)}
    holds, marks = [], []
    for one in attempts[-SPANS:]:
        what, owner = f"{visible(one.address or 'address')} of node {one.node}", places.get(one.node, -1)
        for hold in one.holds:
            if not time.shows(hold.start, hold.until):
                continue
            goes_on, is_back = hold.end is None, hold.end is not None and hold is one.holds[-1]
            holds.append([time(hold.start), time(hold.until), goes_on, what, owner, is_back])
        settled = one.settled or one.received
        if not one.holds and time.shows(settled, settled):
            kind = "pending" if one.pending else one.outcome
            words = {"pending": "ordered to take", "withdrawn": "not needed"}.get(kind, kind)
            reason = f" ({visible(one.reason)})" if one.reason and not one.pending else ""
            marks.append([time(settled), kind, f"{words}: {what}{reason}", owner])
    return {
        "name": capital(lane.name) if lane.folders else f"{capital(lane.name)}: no log given",
        "spans": [span for those in kinds.values() for span in _thinned(those, time.length / SPANS)],
        "holds": holds,
        "marks": marks,
        "points": _points(lane, time),
        "missed": [round(column * width, 3) for column in sorted(missed)],
    }


def _spans(lane: Lane, failovers: Sequence[Failover]) -> Iterator[tuple[str, Span, str]]:
    for one in lane.outages:
        why = f"{CAUSE_WORDS.get(one.cause, one.cause)}: {one.reason.removeprefix('start: ')}"
        yield "outage", one, f"no master for {duration(one.duration_s)}, {why}"
    kinds: list[tuple[str, Sequence[Span], str]] = [
        ("silence", lane.silences, "nothing logged for"),
        ("freeze", lane.freezes, "stood still for"),
        ("stopped", lane.stops, "stopped for"),
    ]
    for failover in failovers:
        if failover.node == lane.node and (not lane.folders or failover.lane in (None, lane.key)):
            kinds.append(("unserved", failover.gaps, "nobody answered for its address for"))
            kinds.append(("doubled", failover.doubles, "two had its address for"))
    for kind, spans, words in kinds:
        for span in spans:
            yield kind, span, f"{words} {duration(span.duration_s)}"


def _points(lane: Lane, time: _Time) -> dict[str, object]:
    """Columns with a ping: their times, and the lowest and the highest round trip; `break_s`: past which two are not joined."""
    begin = bisect_left(lane.answered_at, time.start)
    end = bisect_right(lane.answered_at, time.length, key=lambda at: at - time.start)
    times, values = lane.answered_at[begin:end], lane.answered_ms[begin:end]
    number = min(time.columns, max(50, 4 * len(times)))
    width = time.length / number
    columns: dict[int, tuple[float, float]] = {}
    for at, ms in zip(times, values, strict=False):
        column = min(number - 1, int((at - time.start) / width))
        low, high = columns.get(column, (ms, ms))
        columns[column] = (min(low, ms), max(high, ms))
    gaps = sorted(after - before for before, after in pairwise(times[:500]))
    return {
        "at": [round((column + 0.5) * width, 3) for column in columns],
        "low": [round(low, 1) for low, _ in columns.values()],
        "high": [round(high, 1) for _, high in columns.values()],
        "break_s": max(3 * gaps[len(gaps) // 2] if gaps else 3.0, 2.5 * width),
    }


def _thinned(spans: Sequence[Drawn], near_s: float) -> Iterable[Drawn]:
    if len(spans) <= SPANS:
        return spans
    joined: dict[int, Drawn] = {}
    for kind, start, end, text in sorted(spans, key=lambda one: one[1]):
        _, first, last, _ = joined.get(int(start / near_s), (kind, start, end, text))
        joined[int(start / near_s)] = (kind, first, max(end, last), f"several times; the last: {text}")
    return joined.values()
