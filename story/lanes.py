"""A lane for each node: what it shades, what it held for others, and where it stands in the picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

from .axis import Axis
from .episodes import Failover, NodeStory, Outage, Span, Story
from .holding import Stretch
from .words import (
    address_name,
    duration,
    held_for,
    hole_of,
    node_name,
    outcome_of,
    silent_for,
    visible,
)

HEAD, CAUSES, ROW, GAP = 1.5, 1.25, 1.4, 0.6
"""Heights in rem: a lane's name, the words of its areas, a row of held addresses, what is between two lanes."""
AREAS = 300
"""Areas of a lane past which those that nearly touch are drawn as one."""
NEAR = 0.001
"""What nearly touches, as a share of the axis."""
ROWS = 3
"""Rows of addresses that are held at one time; the fourth at a time is drawn over the first."""
SHAPES = 500
"""Failovers that are drawn at all; the table has more of them."""


class Area(NamedTuple):
    """A time, as shares of the axis, in which a node had no master or did not run.

    `kind`: "outage", "silence", "freeze", "stopped", "start" (it is about to reach the master), "unknown".
    """

    start: float
    end: float
    kind: str
    text: str


class Mark(NamedTuple):
    """An order at the node it was given to, as shares of the axis. `kind`: "held", "refused", "pending" where its
    outcome is not logged, or "open" where the end of its holding is not known. Or, at the address's owner: "gap",
    nobody held it, and "double", two did.
    """

    start: float
    end: float
    kind: str
    text: str
    row: int
    owner: Optional[int]
    returned: bool


@dataclass(frozen=True)
class Lane:
    """`story`: None where the node's logs were not given. `top` and `curve`, a height, are in rem."""

    node: Optional[int]
    story: Optional[NodeStory]
    areas: Sequence[Area]
    marks: Sequence[Mark]
    top: float
    curve: float

    @property
    def name(self) -> str:
        return visible(self.story.name) if self.story else node_name(self.node)

    @property
    def plot(self) -> float:
        return self.top + HEAD

    @property
    def rows(self) -> float:
        """Where the rows of marks begin."""
        return self.plot + CAUSES + self.curve

    @property
    def bottom(self) -> float:
        return self.rows + ROW * (1 + max((mark.row for mark in self.marks), default=-1))


def lanes_of(story: Story, axis: Axis) -> list[Lane]:
    """By number, nodes of which only others tell among them; one without a number comes last."""
    curve = 6.0 if len(story.nodes) < 5 else 4.5
    whose: list[tuple[Optional[int], Optional[NodeStory]]] = [(node.node, node) for node in story.nodes]
    owners = {failover.disconnected_node for failover in story.failovers}
    whose.extend((owner, None) for owner in owners.difference(node for node, _ in whose) if owner is not None)
    whose.sort(key=lambda one: (one[0] is None, one[0]))
    lanes: list[Lane] = []
    for node, its_story in whose:
        lanes.append(
            Lane(
                node=node,
                story=its_story,
                areas=_merged(sorted(_areas(its_story, axis))) if its_story else [_UNKNOWN],
                marks=_marks(node, story, axis) if its_story else [],
                top=lanes[-1].bottom + GAP if lanes else 0.0,
                curve=curve if its_story else 0.0,
            )
        )
    return lanes


_UNKNOWN = Area(0.0, 1.0, "unknown", "Nothing is told of it here: its log was not given, or not asked for")


def _areas(node: NodeStory, axis: Axis) -> Iterator[Area]:
    for outage in node.outages:
        length = duration(outage.duration_s)
        if outage.reason == "start":
            kind, text = (
                "start",
                f"started, and {'' if outage.end else 'not yet '}at the master after {length}",
            )
        else:
            kind, text = "outage", f"no master for {'' if outage.end else 'at least '}{length}{_why(outage)}"
        yield Area(axis.at(outage.start), axis.at(outage.until), kind, text)
    for silence in node.silences:
        if silence.end:
            text = f"silent for {silent_for(silence)}: killed, or its machine died"
            start = axis.at(silence.start)
            yield Area(start, max(start, axis.at(silence.end)), "silence", text)
        else:
            text = "silent, its log ends here: killed, cut off, or its log was copied then"
            yield Area(axis.at(silence.start), 1.0, "silence", text)
    for freeze in node.freezes:
        if freeze.end:
            text = f"stood still for {_length(freeze)}: its process or its machine was frozen"
            yield Area(axis.at(freeze.start), axis.at(freeze.end), "freeze", text)
    for hole in node.holes:
        if hole.end:
            yield Area(axis.at(hole.start), axis.at(hole.end), "silence", hole_of(node, hole))
    back = 1.0
    for run in reversed(node.runs):
        if run.ended == "stopped":
            signal = f" ({visible(run.signal)})" if run.signal else ""
            start = axis.at(run.last)
            yield Area(start, max(start, back), "stopped", f"stopped as it was told{signal}")
        back = axis.at(run.started) if run.started else back


def _why(outage: Outage) -> str:
    cause = "" if outage.cause in ("unknown", outage.reason) else f", {outage.cause}"
    detail = f" ({visible(outage.detail)})" if outage.detail else ""
    return f"{cause}: {visible(outage.reason)}{detail}"


def _length(those: Span) -> str:
    return duration(max(0.0, (those.end - those.start).total_seconds())) if those.end else ""


def _merged(areas: list[Area]) -> list[Area]:
    if len(areas) <= AREAS:
        return areas
    merged: list[Area] = []
    counts: list[int] = []
    for area in areas:
        if merged and area.kind == merged[-1].kind and area.start - merged[-1].end < NEAR:
            merged[-1] = merged[-1]._replace(end=max(merged[-1].end, area.end))
            counts[-1] += 1
        else:
            merged.append(area)
            counts.append(0)
    return [
        area._replace(text=f"{area.text} (and {count} more here)") if count else area
        for area, count in zip(merged, counts)
    ]


def _marks(node: Optional[int], story: Story, axis: Axis) -> list[Mark]:
    """What it held for others, and when nobody, or two, held its own address."""
    found = [
        Mark(*_extent(order, axis), _told(order), 0, order.disconnected_node, order.released is not None)
        for order in story.failovers[-SHAPES:]
        if order.recovery_node == node
    ]
    for absence in story.absences[-SHAPES:]:
        if absence.node == node:
            address = visible(absence.address or "the address")
            found.extend(_stretched("gap", f"nobody held {address}", one, axis) for one in absence.gaps)
            for double in absence.doubles:
                both = " and ".join(map(node_name, double.nodes))
                found.append(_stretched("double", f"{both} both held {address}", double, axis))
    marks: list[Mark] = []
    ends = [-1.0] * ROWS
    for mark in sorted(found, key=lambda mark: mark.start):
        row = next((row for row, free in enumerate(ends) if free < mark.start), 0)
        ends[row] = max(mark.end, mark.start + NEAR)
        marks.append(mark._replace(row=row))
    return marks


def _stretched(kind: str, what: str, stretch: Stretch, axis: Axis) -> Mark:
    start = axis.at(stretch.start)
    end = min(1.0, start + stretch.duration_s / axis.length_s)
    least = "up to" if stretch.end else "at least"
    return Mark(start, end, kind, f"{what}: {least} {duration(stretch.duration_s)}", 0, None, returned=False)


def _extent(failover: Failover, axis: Axis) -> tuple[float, float, str]:
    start = axis.at(failover.settled or failover.received)
    if failover.taken is None:
        return start, start, "pending" if failover.pending else "refused"
    if failover.released is not None:
        return start, axis.at(failover.released), "held"
    return start, 1.0 if failover.still_held else start, "open"


def _told(failover: Failover) -> str:
    what = f"{address_name(failover)} of {node_name(failover.disconnected_node)}"
    if failover.taken is None:
        return f"{outcome_of(failover)}: {what}: {visible(failover.reason or '')}"
    return f"held {what}: {held_for(failover)}"
