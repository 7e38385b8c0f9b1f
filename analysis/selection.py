"""The part of a story that was asked for: times as people write them, and some of the nodes. No I/O."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product

from .model import Failover, Lane, Story
from .parser import number

HOW = "a time such as 2026-11-24T22:47, 2026-11-24 22:47:01.123+0000 or 22:47, or how long ago, such as 2h or 30m"
_AGO = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,8})s)?(?: ?ago)?", re.ASCII)
_FORMS = (
    "%Y-%m-%d",
    *map("".join, product(("%Y-%m-%dT", ""), ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f"), ("", "%z"))),
)


def parse_time(text: str, now: datetime) -> datetime:
    """A time as people write it. One without an offset is this machine's local time, one without a date the last such
    time of day before `now`, which must know its offset. Raises ArgumentTypeError, with the remedy.
    """
    text = text.strip()
    ago = _AGO.fullmatch("0s" if text == "now" else text)
    with suppress(OverflowError, OSError):  # beyond the years that there are
        if ago and any(ago.groups()):
            days, hours, minutes, seconds = (int(part or 0) for part in ago.groups())
            return now - timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        for form in _FORMS:
            with suppress(ValueError):
                when = datetime.strptime(text.replace(" ", "T").replace(",", "."), form)  # noqa: DTZ007
                if "%Y" in form:
                    return when.astimezone()
                when = datetime.combine(now.astimezone(when.tzinfo), when.timetz()).astimezone()
                return when if when <= now else when - timedelta(days=1)
    raise ArgumentTypeError(f"invalid time {text!r}; expected {HOW}")


def parse_nodes(text: str) -> frozenset[int]:
    """Node numbers, separated by commas. Raises ArgumentTypeError, with the remedy."""
    numbers = [number(part.strip()) for part in text.split(",")]
    if None in numbers:
        raise ArgumentTypeError(f"invalid node {text!r}; expected a number such as 3, or several such as 1,3")
    return frozenset(each for each in numbers if each is not None)


def select(story: Story, nodes: AbstractSet[int] | None) -> Story:
    """What of the story lies between its `since` and `until` and concerns one of `nodes`, None: all of them. What
    began before or ends after is kept whole, and so is every failover that a node has to do with.
    """

    def touches(start: float, end: float) -> bool:
        return start <= story.until and end >= story.since

    def concerns(*numbers: int | None) -> bool:
        return nodes is None or not nodes.isdisjoint(numbers)

    def inside(lane: Lane) -> Lane:
        return replace(
            lane,
            first=max(lane.first, min(story.since, lane.last)),
            last=min(lane.last, max(story.until, lane.first)),
            outages=[one for one in lane.outages if touches(one.start, one.until)],
            silences=[one for one in lane.silences if touches(one.start, one.until)],
            stops=[one for one in lane.stops if touches(one.start, one.until)],
            freezes=[one for one in lane.freezes if touches(one.start, one.until)],
        )

    lanes = [lane for lane in story.lanes if concerns(lane.node)]
    missing = sorted((nodes or frozenset()) - {lane.node for lane in lanes if lane.node is not None})
    elsewhere = [lane.name for lane in lanes if not touches(lane.first, lane.last)]
    return replace(
        story,
        lanes=tuple(inside(lane) for lane in lanes if touches(lane.first, lane.last)),
        failovers=tuple(
            one
            for one in story.failovers
            if concerns(one.node, *(attempt.recovery_node for attempt in one.attempts))
            and touches(*_extent(one))
        ),
        master=tuple(line for line in story.master if line.node is None or concerns(line.node)),
        caveats=(
            *story.caveats,
            *(f"No log of node {node} was given." for node in missing),
            *(f"The log of {name} has no line of that time." for name in elsewhere),
        ),
    )


def _extent(one: Failover) -> tuple[float, float]:
    """From its first to its last sign in any log."""
    ends = [one.end or float("inf")]
    ends += [attempt.released or attempt.settled or attempt.received for attempt in one.attempts if one.end]
    return min([one.start, *(attempt.received for attempt in one.attempts)]), max(ends)
