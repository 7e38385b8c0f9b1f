"""What of the story was asked for: a part of the time, and some of the nodes."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Optional, TypeVar

from .episodes import Failover, NodeStory, Story, round_trips
from .moments import at_second, seconds
from .runs import Window
from .spelling import listed

HOW = "a time such as 2026-11-24T22:47, 2026-11-24 22:47:01.123+0000 or 22:47, or how long ago, such as 2h or 30m"

_WHEN = re.compile(
    r"(?:(\d{4})-(\d\d)-(\d\d))?(?:(?:^|[T ])(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,6}))?)?)?"
    r"(?:Z|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)
_AGO = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,8})s)?(?: ?ago)?", re.ASCII)

Each = TypeVar("Each")


def parse_time(text: str, now: datetime) -> datetime:
    """A time as people write it. One without an offset is this machine's local time, one without a date the
    last such time of day before `now`, which must know its offset. Raises ValueError, with the remedy.
    """
    text = text.strip()
    if text == "now":
        return now
    ago = _AGO.fullmatch(text)
    if ago and any(ago.groups()):
        days, hours, minutes, secs = (int(part or 0) for part in ago.groups())
        return now - timedelta(days=days, hours=hours, minutes=minutes, seconds=secs)
    found = _WHEN.fullmatch(text)
    if not found or not (found.group(1) or found.group(4)):
        raise ValueError(f"{text!r} is no time; give {HOW}")
    year, month, day, hour, minute, second, fraction, sign, off_hours, off_minutes = found.groups()
    try:
        offset = timedelta(hours=int(off_hours or 0), minutes=int(off_minutes or 0))
        zone = timezone(-offset if sign == "-" else offset) if sign or text.endswith("Z") else None
        today = now.astimezone(zone)
        date = (int(year), int(month), int(day)) if year else (today.year, today.month, today.day)
        microsecond = int((fraction or "0").ljust(6, "0"))
        time = (int(hour or 0), int(minute or 0), int(second or 0), microsecond)
        when = datetime(*date, *time, tzinfo=zone)
        if zone is None:
            when = when.astimezone()
        if not year and when > now:
            when -= timedelta(days=1)
        # a time that cannot be told in seconds since 1970 can be in no log
        seconds(when.astimezone(timezone.utc))
    except (ValueError, OverflowError, OSError) as exc:
        raise ValueError(f"{text!r} is no time that there is ({exc}); give {HOW}") from exc
    return when


def parse_nodes(text: str) -> frozenset[int]:
    """Node numbers with commas. Raises ValueError, with the remedy."""
    numbers = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in numbers):
        raise ValueError(f"{text!r} is no node's number; give one such as 3, or several such as 1,3")
    return frozenset(map(int, numbers))


def window_of(since: Optional[datetime], until: Optional[datetime]) -> Window:
    return Window(
        seconds(since) if since else -math.inf,
        seconds(until) if until else math.inf,
    )


def choose(story: Story, window: Window, nodes: Optional[frozenset[int]]) -> Story:
    """What of the story lies in the window and is about one of `nodes`, None: all. What began before the
    window or ends after it is told whole, with every order about the same absence.
    """
    if window == Window() and nodes is None:
        return story
    wanted = [node for node in story.nodes if nodes is None or node.node in nodes]
    inside = [_cut(node, window) for node in wanted if _overlaps(node.first, node.last, window)]
    without_lines = [node for node in wanted if not _overlaps(node.first, node.last, window)]
    chosen = {
        place
        for place, failover in enumerate(story.failovers)
        if (nodes is None or nodes & {failover.disconnected_node, failover.recovery_node})
        and _overlaps(failover.received, _end(failover), window)
    }
    absences = [absence for absence in story.absences if chosen.intersection(absence.failovers)]
    # one failover across nodes has orders at several of them
    chosen.update(place for absence in absences for place in absence.failovers)
    places = {place: number for number, place in enumerate(sorted(chosen))}
    missing = sorted((nodes or frozenset()) - {node.node for node in story.nodes if node.node is not None})
    unknown = [
        *story.unknown,
        *(f"No log of node {node} was given." for node in missing),
        *(f"The log of {node.name} has no line of that time." for node in without_lines),
    ]
    return replace(
        story,
        nodes=tuple(inside),
        failovers=tuple(story.failovers[place] for place in places),
        absences=tuple(
            replace(one, failovers=tuple(places[place] for place in one.failovers)) for one in absences
        ),
        unknown=tuple(dict.fromkeys(unknown)),
        window=window,
        nothing=_nothing(story, wanted, missing),
    )


def _nothing(story: Story, wanted: Sequence[NodeStory], missing: Sequence[int]) -> str:
    if not story.nodes:
        return story.nothing
    if wanted:
        return "no line is of that time"
    who = "node" if len(missing) == 1 else "nodes"
    return f"no log of {who} {listed([str(node) for node in missing])} was given"


def _end(failover: Failover) -> Optional[datetime]:
    if failover.taken is None:
        return failover.settled or failover.received
    return failover.released


def _overlaps(start: datetime, end: Optional[datetime], window: Window) -> bool:
    return seconds(start) <= window.until and (end is None or seconds(end) >= window.since)


def _cut(node: NodeStory, window: Window) -> NodeStory:
    """Its pings were counted in the window alone when they were read; those around it are dropped here."""
    if window == Window():
        return node

    def inside(those: tuple[Each, ...], start: str, end: str) -> tuple[Each, ...]:
        return tuple(one for one in those if _overlaps(getattr(one, start), getattr(one, end), window))

    def clipped(when: datetime) -> datetime:
        at = min(max(seconds(when), window.since), window.until)
        return when if at == seconds(when) else at_second(at, when.tzinfo)

    answered = [
        (at, ms) for at, ms in zip(node.answered_at, node.answered_ms) if window.since <= at <= window.until
    ]
    answered_ms = array("d", (ms for _, ms in answered))
    return replace(
        node,
        rtt=round_trips(answered_ms),
        answered_at=array("d", (at for at, _ in answered)),
        answered_ms=answered_ms,
        missed_at=array("d", (at for at in node.missed_at if window.since <= at <= window.until)),
        first=clipped(node.first),
        last=clipped(node.last),
        outages=inside(node.outages, "start", "until"),
        silences=inside(node.silences, "start", "end"),
        stops=inside(node.stops, "start", "end"),
        freezes=inside(node.freezes, "start", "end"),
        holes=inside(node.holes, "start", "end"),
        runs=inside(node.runs, "first", "last"),
        incidents=inside(node.incidents, "when", "when"),
        steps=inside(node.steps, "when", "when"),
    )
