"""Round trips by columns of time: the lowest and the highest of each are kept, so no spike is ever averaged away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import median
from typing import Any, NamedTuple

from .axis import Axis, Scale
from .episodes import NodeStory

FINEST = 8640
"""Columns that the page carries for zooming and reading out: at 24 h, one for 10 s."""
UNIT_MS = 0.01
"""A round trip is carried as a whole number of these; the log does not write it finer."""


class Column(NamedTuple):
    """`place` counts from the picture's left edge; milliseconds."""

    place: int
    low: float
    high: float


class Columns:
    """One node's round trips and missed pings in `count` columns over the axis's whole length.

    `breaks`: where, as shares of that length, the line must not go on, such as the start of an outage.
    """

    def __init__(self, node: NodeStory, axis: Axis, breaks: Sequence[float], count: int = FINEST) -> None:
        self.count = count
        self._breaks = sorted(breaks)
        # a hair less, so that the axis's very end falls into its last column
        per_s, start_s = count / axis.length_s * (1 - 1e-6), axis.start_s
        pairs: dict[int, tuple[float, float]] = {}
        for at_s, ms in zip(node.answered_at, node.answered_ms):
            place = int((at_s - start_s) * per_s)
            low, high = pairs.get(place, (ms, ms))
            if ms <= low or ms >= high:
                pairs[place] = (min(low, ms), max(high, ms))
        self._columns = [Column(place, *pairs[place]) for place in sorted(pairs)]
        self._missed = sorted({int((at_s - start_s) * per_s) for at_s in node.missed_at})
        self._reach = 3 * _usual_s(node.answered_at) / axis.length_s

    @property
    def reach(self) -> float:
        """Columns from one answer to the next over which the line still goes on."""
        return max(1.5, self._reach * self.count)

    def halve(self) -> None:
        """Make each two columns one."""
        self.count //= 2
        merged: list[Column] = []
        for column in self._columns:
            place, low, high = column.place // 2, column.low, column.high
            if merged and merged[-1].place == place:
                before = merged.pop()
                low, high = min(before.low, low), max(before.high, high)
            merged.append(Column(place, low, high))
        self._columns = merged
        self._missed = sorted({place // 2 for place in self._missed})

    def lines(self) -> Iterator[list[Column]]:
        """The columns that one unbroken line joins, one list after the other."""
        line: list[Column] = []
        breaks = iter([*(place * self.count for place in self._breaks), float("inf")])
        next_break = next(breaks)
        for column in self._columns:
            broken = False
            while next_break <= column.place:
                broken = broken or not line or next_break >= line[-1].place
                next_break = next(breaks)
            if line and (broken or column.place - line[-1].place > self.reach):
                yield line
                line = []
            line.append(column)
        if line:
            yield line

    def packed(self) -> dict[str, Any]:
        """For the page's script. Each of `lines` begins with its first place, then low and high of one column after
        the other follow in UNIT_MS; a negative number counts columns without an answer that come in between.
        """
        packed = []
        for line in self.lines():
            place = line[0].place
            numbers = [place]
            for column in line:
                if column.place > place:
                    numbers.append(place - column.place)
                place = column.place + 1
                numbers.append(round(column.low / UNIT_MS))
                numbers.append(round(column.high / UNIT_MS))
            packed.append(numbers)
        return {
            "columns": self.count,
            "reach": round(self.reach, 2),
            "lines": packed,
            "missed": self._missed,
        }

    def missed_path(self, width: int, height: int) -> str:
        """A stroke at the bottom for each column with a missed ping."""
        places = {round((place + 0.5) / self.count * width) for place in self._missed}
        return "".join(f"M{x} {height}v-12" for x in sorted(places))

    def path(self, scale: Scale, width: int, height: int) -> str:
        """An SVG path of that size, one stroke for each of its units across. An answer that no line joins to
        another is a dash.
        """
        drawn = []
        for line in self.lines():
            command = "M"
            for x, group in groupby(line, lambda column: round((column.place + 0.5) / self.count * width)):
                columns = list(group)
                bottom = round(height * (1 - scale.share(min(column.low for column in columns))))
                top = round(height * (1 - scale.share(max(column.high for column in columns))))
                drawn.append(f"{command}{x} {bottom}{f'V{top}' if top < bottom else ''}")
                command = "L"
            if len(line) == 1:
                drawn.append("m-2 0h4")
        return "".join(drawn)


def _usual_s(times: Sequence[float]) -> float:
    """Seconds from one answer to the next, by a thousand of them."""
    last = len(times) - 1
    return median(times[i + 1] - times[i] for i in range(0, last, max(1, last // 1000))) if last > 0 else 0.0
