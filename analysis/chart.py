"""What the page's script draws: lanes of spans, holds, marks and round trips, in seconds from the first line. No I/O."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime

from .formatting import capital, duration, visible
from .model import CAUSE_WORDS, Attempt, Lane, Span, Story

COLUMNS, COLUMNS_IN_ALL = 6000, 54_000
"""Of round trips, of one lane and of all: nine lanes are about half a megabyte."""
UNIT_MS = 0.1
SPANS = 400
"""Of a kind in one lane; where there are more, those that lie close are drawn as one."""
ABSENT = 20
"""Lanes of nodes whose logs were not given."""
LONGEST_S = 10 * 366 * 86400.0
"""A clock that began in 1970 does not make the chart so long."""
Drawn = tuple[str, float, float, str]
"""A kind, from when to when, and what it says."""


def chart(story: Story) -> dict[str, object]:
    """Each lane: `spans` as Drawn, `holds` [from, to, goes on, text, place of its owner's lane, given back], `marks`
    [at, kind, text, place of the owner's lane]; all in the order of time. Empty where nothing was read.
    """
    return _Chart(story).drawn() if story.lanes else {}


class _Chart:
    def __init__(self, story: Story) -> None:
        known = {lane.node for lane in story.lanes}
        absent = sorted({one.node for one in story.failovers}.difference(known))[:ABSENT]
        lanes: list[tuple[int, Lane | None]] = [
            (10**9 if lane.node is None else lane.node, lane) for lane in story.lanes
        ]
        self._lanes = sorted([*lanes, *((node, None) for node in absent)], key=lambda one: one[0])
        self._places = {node: place for place, (node, _) in reversed(list(enumerate(self._lanes)))}
        first, end = min(story.lanes, key=lambda lane: lane.first), max(lane.last for lane in story.lanes)
        self._start = first.first if end - first.first < LONGEST_S else end - LONGEST_S
        self._length = max(end - self._start, 0.1)
        self._limit = min(COLUMNS, COLUMNS_IN_ALL // len(self._lanes))
        self._offset = datetime.fromtimestamp(self._start, first.first_zone).utcoffset()
        self._highest = max([10.0, *(lane.rtt.max for lane in story.lanes if lane.rtt)])
        self._failovers = story.failovers
        self._attempts: dict[int, list[Attempt]] = {}
        for attempt in (one for failover in story.failovers for one in failover.attempts):
            self._attempts.setdefault(attempt.lane, []).append(attempt)

    def drawn(self) -> dict[str, object]:
        return {
            "start": round(self._start, 3),
            "length": round(self._length, 3),
            "offset": self._offset.total_seconds() if self._offset else 0,
            "high_ms": 10 ** math.ceil(math.log10(self._highest + 0.01)),
            "unit_ms": UNIT_MS,
            "lanes": [self._lane(node, lane) for node, lane in self._lanes],
        }

    def _at(self, at: float) -> float:
        return round(min(self._length, max(0.0, at - self._start)), 3)

    def _lane(self, node: int, lane: Lane | None) -> dict[str, object]:
        attempts = self._attempts.get(lane.key, [])[-SPANS:] if lane else []
        kinds: dict[str, list[Drawn]] = {}
        for span in self._spans(node, lane):
            kinds.setdefault(span[0], []).append(span)
        return {
            "name": capital(lane.name) if lane else f"Node {node}",
            "summary": _summary(lane),
            "spans": [span for those in kinds.values() for span in _thinned(those, self._length / SPANS)],
            "holds": [hold for one in attempts for hold in self._holds(one)],
            "marks": [self._mark(one) for one in attempts if one.taken is None],
            "points": self._points(lane) if lane else None,
            "missed": self._ticks(lane.missed_at) if lane else [],
        }

    def _spans(self, node: int, lane: Lane | None) -> Iterator[Drawn]:
        def drawn(kind: str, spans: Sequence[Span], words: str) -> Iterator[Drawn]:
            for one in spans:
                yield kind, self._at(one.start), self._at(one.until), f"{words} {duration(one.duration_s)}"

        if lane:
            for (_, start, end, text), one in zip(
                drawn("", lane.outages, "no master for"), lane.outages, strict=False
            ):
                why = f"{CAUSE_WORDS.get(one.cause, one.cause)}: {one.reason.removeprefix('start: ')}"
                yield "outage", start, end, visible(f"{text}, {why}")
            yield from drawn("silence", lane.silences, "nothing logged for")
            yield from drawn("freeze", lane.freezes, "stood still for")
            yield from drawn("stopped", lane.stops, "stopped for")
        for failover in self._failovers:
            if failover.node == node and (lane is None or failover.lane in (None, lane.key)):
                yield from drawn("unserved", failover.gaps, "nobody answered for its address for")
                yield from drawn("doubled", failover.doubles, "two had its address for")

    def _holds(self, one: Attempt) -> Iterator[list[object]]:
        for hold in one.holds:
            start, end = self._at(hold.start), self._at(hold.until)
            yield [
                start,
                end,
                hold.end is None,
                _what(one),
                self._owner(one),
                hold.end is not None and hold is one.holds[-1],
            ]

    def _mark(self, one: Attempt) -> list[object]:
        kind = "pending" if one.pending else one.outcome
        words = {"pending": "ordered to take", "withdrawn": "not needed"}.get(kind, kind)
        reason = f" ({visible(one.reason)})" if one.reason and not one.pending else ""
        return [
            self._at(one.settled or one.received),
            kind,
            f"{words}: {_what(one)}{reason}",
            self._owner(one),
        ]

    def _owner(self, one: Attempt) -> int:
        return -1 if one.node is None else self._places.get(one.node, -1)

    def _points(self, lane: Lane) -> dict[str, object] | None:
        """Columns with a ping: how far each lies from the one before, its lowest round trip, and how much higher the
        highest is; `break_s`: past which two are not joined.
        """
        begin, end = (
            find(lane.answered_at, at) for find, at in ((bisect_left, self._start), (bisect_right, math.inf))
        )
        times, values = lane.answered_at[begin:end], lane.answered_ms[begin:end]
        if not times:
            return None
        number = min(self._limit, max(50, 4 * len(times)))
        width = self._length / number
        columns: dict[int, tuple[float, float]] = {}
        for at, ms in zip(times, values, strict=False):
            column = min(number - 1, int((at - self._start) / width))
            low, high = columns.get(column, (ms, ms))
            columns[column] = (min(low, ms), max(high, ms))
        lows = [round(low / UNIT_MS) for low, _ in columns.values()]
        gaps = sorted(after - before for before, after in itertools.pairwise(times[:500]))
        return {
            "columns": number,
            "steps": [after - before for before, after in zip([0, *columns], columns, strict=False)],
            "lows": lows,
            "rises": [
                round(high / UNIT_MS) - low for low, (_, high) in zip(lows, columns.values(), strict=False)
            ],
            "break_s": max(3 * gaps[len(gaps) // 2] if gaps else 3.0, 2.5 * width),
        }

    def _ticks(self, times: Sequence[float]) -> list[float]:
        width = self._length / self._limit
        return [round(column * width, 3) for column in sorted({int(self._at(at) / width) for at in times})]


def _what(one: Attempt) -> str:
    return f"{visible(one.address or 'address')} of node {one.node}"


def _summary(lane: Lane | None) -> str:
    if lane is None:
        return "no log given"
    if lane.rtt is None:
        return f"{lane.pings:,} pings, none answered" if lane.pings else "no pings logged"
    missed = f", {lane.missed:,} missed" if lane.missed else ""
    return f"{lane.pings:,} pings{missed}; median {lane.rtt.p50:g} ms, p99 {lane.rtt.p99:g}, max {lane.rtt.max:g}"


def _thinned(spans: Sequence[Drawn], near_s: float) -> Sequence[Drawn]:
    """Where there are too many, those that lie close are one, as long as it does not grow long."""
    if len(spans) <= SPANS:
        return spans
    joined: list[Drawn] = []
    number = 1
    for kind, start, end, text in sorted(spans, key=lambda one: one[1]):
        last = joined[-1] if joined else None
        if last and start - last[2] < near_s and end - last[1] < 20 * near_s:
            number += 1
            joined[-1] = (kind, last[1], max(end, last[2]), f"{number} times; the last: {text}")
        else:
            number = 1
            joined.append((kind, start, end, text))
    return joined
