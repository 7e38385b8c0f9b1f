"""Arithmetic on stretches of time: sorted, disjoint pairs of seconds since 1970. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

Spans = tuple[tuple[float, float], ...]


def merge(pairs: Iterable[tuple[float, float]]) -> Spans:
    """Sort them and join those that touch; a pair that ends before it starts is dropped."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(pairs):
        if end < start:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def subtract(spans: Spans, holes: Spans) -> Spans:
    """What of `spans` lies in none of `holes`, in linear time."""
    left: list[tuple[float, float]] = []
    place = 0
    for start, end in spans:
        at = start
        while place < len(holes) and holes[place][1] <= at:
            place += 1
        here = place
        while here < len(holes) and holes[here][0] < end:
            if holes[here][0] > at:
                left.append((at, holes[here][0]))
            at = max(at, holes[here][1])
            here += 1
        if at < end or start == end == at:
            left.append((at, end))
    return tuple(left)


def overlap(one: Spans, other: Spans) -> Spans:
    """What lies in both, in linear time."""
    return tuple(span for span in subtract(one, subtract(one, other)) if span[0] < span[1])


def last_before(times: Sequence[float], at: float) -> float | None:
    """The latest of sorted `times` that is not after `at`; None: there is none."""
    place = bisect_right(times, at)
    return times[place - 1] if place else None
