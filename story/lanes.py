"""The picture of a story: one SVG, a lane for each node, one axis of time for all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from statistics import median
from typing import Optional

from .episodes import Failover, NodeStory, Story
from .timeline import span
from .words import address_name, duration, held_for, node_name, visible

LEFT, PLOT, RIGHT = 86, 900, 14
"""Units of the SVG, one for a column: what stands beside the lanes, and their width."""
LANE, GAP, TOP, AXIS = 92, 10, 16, 34
LABELS = 30
"""Failovers that get a text of their own in the picture; with more of them it would be a blot."""
SHAPES = 500
"""Failovers that are drawn at all; the table has them all the same."""

_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800)


class _Axis:
    """Where a time stands, in units of the SVG."""

    def __init__(self, first: datetime, last: datetime) -> None:
        self.first = first
        self._start_s = first.timestamp()
        self.length_s = max((last - first).total_seconds(), 1.0)

    def x_at(self, at_s: float) -> float:
        return LEFT + PLOT * min(1.0, max(0.0, (at_s - self._start_s) / self.length_s))

    def x(self, when: datetime) -> float:
        return self.x_at(when.timestamp())

    def ticks(self) -> Iterator[tuple[float, str]]:
        step_s = next((step for step in _STEPS_S if self.length_s / step <= 9), None)
        if step_s is None:
            step_s = _STEPS_S[-1] * math.ceil(self.length_s / _STEPS_S[-1] / 9)
        midnight = self.first.replace(hour=0, minute=0, second=0, microsecond=0)
        into_day_s = (self.first - midnight).total_seconds()
        tick = midnight + timedelta(seconds=math.ceil(into_day_s / step_s) * step_s)
        end = self.first + timedelta(seconds=self.length_s)
        form = "%H:%M:%S" if step_s < 60 else "%H:%M"
        while tick <= end:
            new_day = tick.hour == tick.minute == tick.second == 0
            yield self.x(tick), tick.strftime("%m-%d" if new_day else form)
            tick += timedelta(seconds=step_s)


class _Scale:
    """Decades of milliseconds, the same for all lanes so that they can be compared."""

    def __init__(self, nodes: Iterable[NodeStory]) -> None:
        slowest = max((node.rtt.max for node in nodes if node.rtt), default=10.0)
        self._low = -1
        self._high = max(2, math.ceil(math.log10(max(slowest, 1.0))))

    def y(self, ms: float, bottom: float) -> float:
        decade = math.log10(max(ms, 10.0**self._low)) - self._low
        return bottom - (LANE - 22) * decade / (self._high - self._low)

    def decades(self) -> Iterator[tuple[float, str]]:
        for power in range(self._low + 1, self._high + 1):
            ms = 10.0**power
            yield ms, f"{ms / 1000:g} s" if ms >= 1000 else f"{ms:g} ms"


def draw(story: Story) -> str:
    """The SVG element; empty where there is no node. Every text from a log in it is escaped."""
    whole = span(story)
    if whole is None:
        return ""
    axis, scale = _Axis(*whole), _Scale(story.nodes)
    height = TOP + len(story.nodes) * (LANE + GAP) + AXIS
    tops = [TOP + place * (LANE + GAP) for place in range(len(story.nodes))]
    parts = [
        f'<svg viewBox="0 0 {LEFT + PLOT + RIGHT} {height}" role="img" aria-labelledby="picture">',
        f'<title id="picture">Round trips, outages and failovers, nodes: {len(story.nodes)}</title>',
    ]
    for x, label in axis.ticks():
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{height - AXIS}"/>')
        parts.append(
            f'<text class="faint" x="{x:.1f}" y="{height - AXIS + 14}" text-anchor="middle">{label}</text>'
        )
    for node, top in zip(story.nodes, tops):
        parts.extend(_lane(node, top, axis, scale))
    lanes = {node.node: top for node, top in zip(story.nodes, tops) if node.node is not None}
    for place, failover in enumerate(story.failovers[:SHAPES]):
        parts.extend(_failover(failover, lanes, axis, labelled=len(story.failovers) <= LABELS, place=place))
    parts.append("</svg>")
    return "\n".join(parts)


def _lane(node: NodeStory, top: float, axis: _Axis, scale: _Scale) -> Iterator[str]:
    bottom = top + LANE
    yield f'<rect class="lane" x="{LEFT}" y="{top}" width="{PLOT}" height="{LANE}"/>'
    yield f'<text x="4" y="{top + 14}">{escape(visible(node.name)[:14])}</text>'
    for ms, label in scale.decades():
        y = scale.y(ms, bottom)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{LEFT + PLOT}"/>'
        yield f'<text class="faint" x="{LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{label}</text>'
    outages = [
        (outage.start, outage.until, f"without the master for {duration(outage.duration_s)}: {outage.reason}")
        for outage in node.outages
    ]
    yield from _areas("outage", outages, top, axis)
    end = axis.first + timedelta(seconds=axis.length_s)
    silences = [(silence.start, silence.end or end, "nothing was logged") for silence in node.silences]
    yield from _areas("silence", silences, top, axis)
    yield f'<path class="rtt" d="{_curve(node, bottom, axis, scale)}"/>'
    missed = sorted({round(axis.x_at(at)) for at in node.missed_at})
    if missed:
        yield f'<path class="missed" d="{"".join(f"M{x} {bottom - 7}v6" for x in missed)}"/>'


def _areas(
    kind: str, those: Iterable[tuple[datetime, datetime, str]], top: float, axis: _Axis
) -> Iterator[str]:
    """A shaded area for each, at least a unit wide; those that touch are one, so that there are never many."""
    merged: list[tuple[float, float, str, int]] = []
    for start, end, text in those:
        left = axis.x(start)
        right = max(axis.x(end), left + 1)
        if merged and left <= merged[-1][1]:
            first_left, first_right, first_text, count = merged[-1]
            merged[-1] = (first_left, max(first_right, right), first_text, count + 1)
        else:
            merged.append((left, right, text, 1))
    for left, right, text, count in merged:
        more = f" (and {count - 1} more here)" if count > 1 else ""
        yield (
            f'<rect class="{kind}" x="{left:.1f}" y="{top}" width="{right - left:.1f}" height="{LANE}">'
            f"<title>{escape(visible(text))}{more}</title></rect>"
        )


def _curve(node: NodeStory, bottom: float, axis: _Axis, scale: _Scale) -> str:
    """The lowest and the highest answer of each column, joined unless keep-alives are missing in between."""
    columns: dict[int, tuple[float, float]] = {}
    for at, ms in zip(node.answered_at, node.answered_ms):
        x = round(axis.x_at(at))
        low, high = columns.get(x, (ms, ms))
        columns[x] = (min(low, ms), max(high, ms))
    usual_s = median(_differences(node.answered_at[:1001])) if len(node.answered_at) > 1 else 0.0
    reach = max(1.5, 3 * usual_s / axis.length_s * PLOT)
    path: list[str] = []
    before: Optional[int] = None
    for x, (low, high) in sorted(columns.items()):
        y_low, y_high = scale.y(low, bottom), scale.y(high, bottom)
        path.append(f"M{x} {y_low:.1f}h0" if before is None or x - before > reach else f"L{x} {y_low:.1f}")
        if y_low - y_high >= 0.1:
            path.append(f"V{y_high:.1f}")
        before = x
    return "".join(path)


def _differences(times: Sequence[float]) -> list[float]:
    return [later - earlier for earlier, later in zip(times, times[1:])]


def _failover(
    failover: Failover, lanes: Mapping[int, int], axis: _Axis, *, labelled: bool, place: int
) -> Iterator[str]:
    top = lanes.get(failover.recovery_node) if failover.recovery_node is not None else None
    if top is None:
        return
    whose = node_name(failover.disconnected_node)
    what = f"{address_name(failover)} of {whose}"
    x = axis.x(failover.settled or failover.received)
    if failover.taken is None:
        text = f"{failover.outcome}: {what}: {visible(failover.reason or '')}"
        yield (
            f'<path class="refused" d="M{x - 4:.1f} {top + 4}l8 8m0-8l-8 8"><title>{escape(text)}</title></path>'
        )
        return
    # bars of failovers that overlap stand one below the other
    y = top + 3 + place % 3 * 9
    known_end = failover.released is not None
    if failover.released is not None:
        right = axis.x(failover.released)
    else:
        right = LEFT + PLOT if failover.still_held else x + 8
    text = f"{node_name(failover.recovery_node)} held {what}: {held_for(failover)}"
    yield (
        f'<rect class="held{"" if known_end else " open"}" x="{x:.1f}" y="{y}" width="{max(right - x, 2):.1f}" '
        f'height="7"><title>{escape(text)}</title></rect>'
    )
    source = lanes.get(failover.disconnected_node) if failover.disconnected_node is not None else None
    if source is not None and source != top:
        down = source < top
        start, end = (source + LANE, y) if down else (source, y + 7)
        back = -6 if down else 6
        yield f'<path class="arrow" d="M{x:.1f} {start}V{end}"/>'
        yield f'<path class="head" d="M{x:.1f} {end}l-4 {back}h8z"/>'
    if labelled:
        anchor, label_x = ("end", x - 5) if x > LEFT + PLOT * 0.7 else ("start", x + 5)
        yield (
            f'<text x="{label_x:.1f}" y="{y + 18}" text-anchor="{anchor}">'
            f"{escape(what)}, {escape(held_for(failover))}</text>"
        )
