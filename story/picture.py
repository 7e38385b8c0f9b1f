"""The picture of a story: lanes below one axis of time, as HTML that stands without its script.

Across, everything stands at shares of the axis that CSS turns into places, so that the picture fits any width
and its script zooms by changing two numbers; down, in rem. Each text from a log is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any, Optional, Union

from .axis import STEPS_S, Scale, axis_of
from .columns import UNIT_MS, Columns
from .episodes import NodeStory, Story
from .lanes import CAUSES, GAP, ROW, Area, Lane, Mark, lanes_of

WIDTH, HEIGHT = 1000, 100
"""Units of a curve's own coordinates; it is stretched to its lane."""
NARROW = 0.03
"""Width of something, as a share of the axis, below which its words stand behind it, not in it."""
EDGE = 0.15
"""Room at the right of something, as a share of the axis, below which its words may stand at its left."""
INTO = 0.7
"""Rem by which an arrow reaches into the lane of the address's owner."""
_NAME = "Round trips, outages and failovers of each node over time. The tables below say the same in words."
_TOOLS = "".join(
    f'<button type="button" data-do="{do}" aria-label="{name}" hidden>{sign}</button>'
    for do, name, sign in (
        ("earlier", "Earlier", "◀"),
        ("later", "Later", "▶"),
        ("out", "Show more time", "−"),
        ("in", "Show less time", "+"),
        ("whole", "Show the whole time", "Whole"),
    )
)


class Picture:
    """`data` is for the script: what the curves are made of, so that it can zoom and read out."""

    def __init__(self, story: Story) -> None:
        self._axis, self._scale = axis_of(story), Scale(story.nodes)
        self._lanes = lanes_of(story, self._axis) if self._axis else []
        self._columns: list[Optional[Columns]] = []
        for lane in self._lanes:
            starts = [area.start for area in lane.areas]
            columns = Columns(lane.story, self._axis, starts) if lane.story and self._axis else None
            self._columns.append(columns)

    def at(self, when: datetime) -> float:
        """Where a time stands; 0 where there is no picture."""
        return self._axis.at(when) if self._axis else 0.0

    def coarser(self) -> bool:
        """Whether `data` could be made half as long, and was."""
        there = [columns for columns in self._columns if columns and columns.count > WIDTH]
        for columns in there:
            columns.halve()
        return bool(there)

    def data(self) -> dict[str, Any]:
        if not self._axis:
            return {}
        return {
            "start_s": self._axis.start_s,
            "length_s": self._axis.length_s,
            "offset_s": self._axis.offset_s,
            "steps_s": STEPS_S,
            "low_ms": self._scale.low,
            "high_ms": self._scale.high,
            "unit_ms": UNIT_MS,
            "lanes": [columns.packed() if columns else None for columns in self._columns],
        }

    def html(self) -> str:
        """Empty where there is no node."""
        if not self._axis:
            return ""
        ticks = list(self._axis.ticks())
        marks = "".join(f'<span style="--a:{at:.6f}">{label}</span>' for at, label in ticks)
        grid = "".join(f'<i style="--a:{at:.6f}"></i>' for at, _ in ticks)
        parts = [
            '<div class="chart">',
            f'<div class="top"><div class="bar"><span class="zone">UTC{self._axis.first:%z}</span>{_TOOLS}</div>',
            f'<div class="axis" aria-hidden="true"><div class="ticks">{marks}</div><b class="now"></b></div></div>',
            f'<div class="lanes" role="img" aria-label="{_NAME}">',
            f'<div class="over grid">{grid}</div>',
        ]
        for lane, columns in zip(self._lanes, self._columns):
            parts.extend(self._lane(lane, columns))
        parts.append('<div class="over">')
        parts.extend(_arrows(self._lanes))
        parts.append('<i class="pick"></i><i class="cursor"></i></div></div></div>')
        return "\n".join(parts)

    def _lane(self, lane: Lane, columns: Optional[Columns]) -> Iterator[str]:
        yield (
            f'<div class="lane" style="height:{lane.bottom - lane.top:.2f}rem;margin-bottom:{GAP}rem">'
            f'<div class="head"><b>{escape(lane.name)}</b> <span class="summary">{_summary(lane.story)}</span> '
            '<span class="reading"></span></div><div class="back">'
        )
        height = CAUSES + lane.curve
        for share, label in self._scale.levels() if lane.story else ():
            y = CAUSES + lane.curve * (1 - share)
            yield f'<i class="level" style="top:{y:.2f}rem" data-label="{label}"></i>'
        yield '</div><div class="plot">'
        for area in lane.areas:
            yield (
                f'<i class="area {area.kind}" style="{_extent(area)};height:{height:.2f}rem" '
                f'title="{escape(area.text)}"></i>'
            )
        if columns:
            yield (
                f'<svg style="top:{CAUSES}rem;height:{lane.curve}rem" viewBox="0 0 {WIDTH} {HEIGHT}" '
                'preserveAspectRatio="none" aria-hidden="true">'
                f'<path class="missed" d="{columns.missed_path(WIDTH, HEIGHT)}"/>'
                f'<path class="curve" d="{columns.path(self._scale, WIDTH, HEIGHT)}"/></svg>'
            )
        yield from _words([area for area in lane.areas if area.kind != "start"], 0.0)
        for mark in lane.marks:
            yield (
                f'<i class="mark {mark.kind}" style="{_extent(mark)};top:{height + ROW * mark.row:.2f}rem" '
                f'title="{escape(mark.text)}"></i>'
            )
        for row in {mark.row for mark in lane.marks}:
            yield from _words([mark for mark in lane.marks if mark.row == row], height + ROW * row)
        yield "</div></div>"


def _extent(one: Union[Area, Mark]) -> str:
    return f"--a:{one.start:.9f};--b:{one.end:.9f}"


def _summary(node: Optional[NodeStory]) -> str:
    if node is None:
        return ""
    if not node.rtt:
        return f"{node.pings} pings, none answered"
    missed = f", {node.missed} missed" if node.missed else ""
    return (
        f"{node.pings} pings{missed}; median {node.rtt.p50} ms, p99 {node.rtt.p99} ms, max {node.rtt.max} ms"
    )


def _words(those: Sequence[Union[Area, Mark]], top: float) -> Iterator[str]:
    """The text of each, beside or in it, as far as there is room before the next; CSS hides what has too little."""
    starts = [0.0, *(one.start for one in those), 1.0]
    at_left = [
        after - here < EDGE and here - before > 2 * (after - here)
        for before, here, after in zip(starts, starts[1:], starts[2:])
    ]
    for place, one in enumerate(those):
        before, here, after = starts[place : place + 3]
        if at_left[place]:
            # two texts that share a room get half of it each
            shared = place > 0 and not at_left[place - 1]
            start, end = (before + here) / 2 if shared else before, here
        else:
            shared = place + 1 < len(those) and at_left[place + 1]
            start = one.end if one.end - here < NARROW else here
            end = max(start, (here + after) / 2 if shared else after)
        yield (
            f'<span class="words {one.kind}{" left" if at_left[place] else ""}" data-from="{here:.9f}" '
            f'data-to="{one.end:.9f}" style="--a:{start:.9f};--b:{end:.9f};top:{top:.2f}rem"><span>{escape(one.text)}</span></span>'
        )


def _arrows(lanes: Iterable[Lane]) -> Iterator[str]:
    """From the lane of the node whose address was ordered to the one that took or refused it, and back."""
    lanes = list(lanes)
    by_number: Mapping[int, Lane] = {lane.node: lane for lane in lanes if lane.node is not None}
    for lane in lanes:
        for mark in lane.marks:
            owner = by_number.get(mark.owner) if mark.owner is not None else None
            if owner is None or owner is lane:
                continue
            row = lane.rows + ROW * mark.row
            down = owner.top < lane.top
            top, bottom = (owner.rows - INTO, row + 0.15) if down else (row + ROW - 0.15, owner.plot + INTO)
            where = f"top:{top:.2f}rem;height:{bottom - top:.2f}rem"
            kind = {"refused": "failed", "pending": "asked"}.get(mark.kind, "take")
            yield f'<i class="arrow {kind} {"down" if down else "up"}" style="--a:{mark.start:.9f};{where}"></i>'
            if mark.returned:
                yield f'<i class="arrow return {"up" if down else "down"}" style="--a:{mark.end:.9f};{where}"></i>'
