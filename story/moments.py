"""Times of a story: as text for scripts, and as stretches of seconds since 1970."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Optional

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

Spans = tuple[tuple[float, float], ...]
"""Stretches from, to, in seconds since 1970; in the order of time, and none touches another."""


def stamp(when: Optional[datetime]) -> Optional[str]:
    """ISO 8601 with milliseconds and the offset."""
    return when.isoformat(timespec="milliseconds") if when else None


def seconds(when: datetime) -> float:
    """Since 1970, UTC."""
    return (when - EPOCH).total_seconds()


def at_second(at: float, zone: Optional[tzinfo]) -> datetime:
    return (EPOCH + timedelta(seconds=at)).astimezone(zone)


def spans(those: Iterable[tuple[float, float]]) -> Spans:
    """Whatever stretches as Spans; one that ends before it begins, as where a clock was put back, is dropped."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(those):
        if end <= start:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return tuple(joined)


def covers(those: Sequence[tuple[float, float]], start: float, end: float) -> bool:
    """Whether one of `those`, which are in the order of time, holds all from `start` to `end`."""
    place = bisect_right(those, (start, math.inf)) - 1
    return place >= 0 and end <= those[place][1]


def without(whole: Spans, those: Sequence[tuple[float, float]]) -> Spans:
    """What of `whole` lies in none of `those`."""
    left: list[tuple[float, float]] = []
    holes = spans(those)
    first = 0
    for start, end in whole:
        while first < len(holes) and holes[first][1] <= start:
            first += 1
        begin, place = start, first
        while place < len(holes) and holes[place][0] < end:
            left.append((begin, holes[place][0]))
            begin = holes[place][1]
            place += 1
        left.append((begin, end))
    return spans(left)


def length(those: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """Seconds of `those` that lie between `start` and `end`."""
    return sum(max(0.0, min(end, right) - max(start, left)) for left, right in those)
