"""The story's tables, for the terminal and the page alike. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .formatting import Times, duration, milliseconds
from .intervals import length, merge, subtract
from .model import BAD, GOOD, PLAIN, WARN, Attempt, Lane, Story
from .sentences import RELEASE_WORDS


@dataclass(frozen=True)
class Row:
    """`at`: when it happened, on the clock of its node; None: it is about no one moment."""

    cells: tuple[str, ...]
    tone: str = PLAIN
    at: float | None = None


@dataclass(frozen=True)
class Table:
    """`right`: the columns of numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    right: tuple[str, ...] = ()


def of(story: Story, times: Times) -> Iterator[Table]:
    """The nodes, the outages, the failovers and their orders; one without rows has nothing to show."""
    numbers = ("pings", "missed", "p50 ms", "p99 ms", "max ms", "up %", "outages")
    yield Table(
        "Nodes",
        ("node", "from", "to", *numbers),
        tuple(Row(_node(lane, times)) for lane in story.lanes),
        numbers,
    )
    yield Table(
        "Without the master",
        ("node", "from", "to", "lasted", "cause", "reason"),
        tuple(
            Row(
                (
                    str(lane.node) if lane.node is not None else lane.name,
                    times(one.start),
                    times(one.end) if one.end is not None else "not seen",
                    ("" if one.end is not None else "> ") + duration(one.duration_s),
                    one.cause,
                    one.reason + (f" ({one.detail})" if one.detail else ""),
                ),
                at=one.start,
            )
            for lane, one in story.outages
        ),
        ("lasted",),
    )
    yield Table(
        "Failovers",
        ("of", "address", "from", "to", "cause", "unserved", "by two", "orders"),
        tuple(
            Row(
                (
                    str(one.node),
                    one.address or "",
                    times(one.start),
                    times(one.end) if one.end is not None else "not seen",
                    one.cause,
                    duration(one.unserved_s) if one.gaps else "0",
                    duration(one.doubled_s) if one.doubles else "0",
                    str(len(one.attempts)),
                ),
                BAD if one.end is None else PLAIN,
                one.start,
            )
            for one in story.failovers
        ),
        ("unserved", "by two", "orders"),
    )
    yield Table(
        "Orders",
        ("of", "received", "by", "outcome", "took", "held", "reason"),
        tuple(_order(attempt, times) for one in story.failovers for attempt in one.attempts),
        ("took",),
    )


def _node(lane: Lane, times: Times) -> tuple[str, ...]:
    rtt = (lane.rtt.p50, lane.rtt.p99, lane.rtt.max) if lane.rtt else ()
    return (
        str(lane.node) if lane.node is not None else lane.name,
        times.second(lane.first),
        times.second(lane.last),
        str(lane.pings),
        str(lane.missed),
        *((f"{ms:.1f}" for ms in rtt) if rtt else ("", "", "")),
        _up(lane),
        str(len(lane.outages)),
    )


def _up(lane: Lane) -> str:
    """Percent of the time in which it was to run and had a master, never 100 where something is missing."""
    stops, downs = (
        merge((one.start, one.until) for one in those)
        for those in (lane.stops, (*lane.outages, *lane.silences))
    )
    wanted = subtract(((lane.first, lane.last),), stops)
    if length(wanted) <= 0:
        return ""
    share = length(subtract(wanted, downs)) / length(wanted)
    return "100" if share >= 1 else f"{int(share * 10000) / 100:.2f}"


def _order(one: Attempt, times: Times) -> Row:
    tone = GOOD if one.outcome == "taken" else PLAIN if one.outcome == "withdrawn" or one.pending else BAD
    held = sum(hold.duration_s for hold in one.holds)
    return Row(
        (
            str(one.node),
            times(one.received),
            str(one.recovery_node if one.recovery_node is not None else "?"),
            "not logged" if one.pending else one.outcome,
            milliseconds(one.takeover_ms) if one.takeover_ms is not None else "",
            ""
            if one.taken is None
            else duration(held)
            if one.released is not None
            else f"> {duration(held)}",
            one.reason or RELEASE_WORDS.get(one.release_reason, one.release_reason),
        ),
        WARN if tone == BAD and one.owner_heard is not None else tone,
        one.received,
    )
