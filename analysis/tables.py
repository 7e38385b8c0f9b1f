"""The story's tables, for the terminal and the page alike. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .formatting import Times, duration
from .model import BAD, PLAIN, Failover, Lane, Outage, Story
from .sentences import sentences

NODES = ("node", "from", "to", "pings", "missed", "p50 ms", "p99 ms", "max ms", "outages")
OUTAGES = ("node", "from", "to", "lasted", "cause", "reason")
FAILOVERS = ("of", "address", "from", "to", "cause", "unserved", "by two", "orders")
NUMBERS = frozenset((*NODES[3:], "lasted", "unserved", "by two", "orders"))
"""The columns that stand at the right."""


@dataclass(frozen=True)
class Row:
    """`at`: when it happened, on the clock of its node; None: it is about no one moment."""

    cells: tuple[str, ...]
    tone: str = PLAIN
    at: float | None = None


@dataclass(frozen=True)
class Table:
    title: str
    columns: tuple[str, ...]
    rows: Sequence[Row]


def of(story: Story, times: Times) -> list[Table]:
    """The nodes, the outages and the failovers; one without rows has nothing to show and is left out."""
    found = [
        Table("Nodes", NODES, [_node(lane, times) for lane in story.lanes]),
        Table("Without the master", OUTAGES, [_outage(lane, one, times) for lane, one in story.outages]),
        Table("Failovers", FAILOVERS, [_failover(one, times) for one in story.failovers]),
    ]
    return [table for table in found if table.rows]


def events(story: Story, times: Times) -> Table:
    """A sentence for each event."""
    rows = [Row((times(one.at), one.text), one.tone, one.at) for one in sentences(story)]
    return Table("What happened", ("time", "what happened"), rows)


def _name(lane: Lane) -> str:
    return str(lane.node) if lane.node is not None else lane.name


def _end(one: Outage | Failover, times: Times) -> str:
    return "not seen" if one.end is None else times(one.end)


def _node(lane: Lane, times: Times) -> Row:
    rtt = [f"{ms:.1f}" for ms in lane.rtt] if lane.rtt else ["", "", ""]
    counts = str(lane.pings), str(lane.missed), *rtt, str(len(lane.outages))
    return Row((_name(lane), times.second(lane.first), times.second(lane.last), *counts))


def _outage(lane: Lane, one: Outage, times: Times) -> Row:
    cells = (
        _name(lane),
        times(one.start),
        _end(one, times),
        ("> " if one.end is None else "") + duration(one.duration_s),
        one.cause,
        one.reason + (f" ({one.detail})" if one.detail else ""),
    )
    return Row(cells, at=one.start)


def _failover(one: Failover, times: Times) -> Row:
    cells = (
        str(one.node),
        one.address or "",
        times(one.start),
        _end(one, times),
        one.cause,
        duration(one.unserved_s) if one.gaps else "0",
        duration(one.doubled_s) if one.doubles else "0",
        str(len(one.attempts)),
    )
    return Row(cells, BAD if one.end is None else PLAIN, one.start)
