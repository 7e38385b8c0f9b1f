"""Where a time and a round trip stand in the picture: as shares, 0 to 1, of its width and of a lane's height."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Optional

from .episodes import NodeStory, Story
from .timeline import span

STEPS_S = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10800, 21600, 43200, 86400, 604800),
)
"""Seconds between two ticks of the axis, such as people count time by."""
TICKS = 10
_LEVELS_MS = [digit * 10.0**power for power in range(-3, 10) for digit in (1, 2, 5)]


class Axis:
    """One axis of time for all lanes, with the offset of the first line. `length_s`: 1 s at least."""

    def __init__(self, first: datetime, length_s: float) -> None:
        self.first = first
        self.start_s = first.timestamp()
        self.length_s = max(length_s, 1.0)
        self.offset_s = (first.utcoffset() or timedelta()).total_seconds()

    def at(self, when: datetime) -> float:
        return min(1.0, max(0.0, (when.timestamp() - self.start_s) / self.length_s))

    def ticks(self) -> Iterator[tuple[float, str]]:
        """At round times of the axis's own offset; a new day is told by its date."""
        step_s = next((step for step in STEPS_S if self.length_s / step <= TICKS), None)
        if step_s is None:
            step_s = STEPS_S[-1] * math.ceil(self.length_s / STEPS_S[-1] / TICKS)
        local_s = self.start_s + self.offset_s
        for count in range(math.ceil(local_s / step_s), math.floor((local_s + self.length_s) / step_s) + 1):
            into_s = count * step_s - local_s
            when = self.first + timedelta(seconds=into_s)
            form = "%H:%M:%S.%f" if step_s < 1 else "%H:%M:%S" if step_s < 60 else "%H:%M"
            text = when.strftime("%m-%d" if count * step_s % 86400 == 0 else form)
            yield into_s / self.length_s, text[:11]


def axis_of(story: Story) -> Optional[Axis]:
    """None: there is no node. A clock that was put back leaves pings outside of the first and the last line;
    they are on the axis too.
    """
    whole = span(story)
    if whole is None:
        return None
    edges_s = [when.timestamp() for when in whole]
    for node in story.nodes:
        for times in (node.answered_at, node.missed_at):
            edges_s.extend((min(times), max(times)) if times else ())
    first = whole[0] - timedelta(seconds=whole[0].timestamp() - min(edges_s))
    return Axis(first, max(edges_s) - min(edges_s))


class Scale:
    """Logarithmic, and the same for all lanes so that they can be compared. `low` and `high` in milliseconds."""

    def __init__(self, nodes: Iterable[NodeStory]) -> None:
        answers = [node.answered_ms for node in nodes if node.answered_ms]
        lowest = min((min(each) for each in answers), default=1.0)
        highest = max((max(each) for each in answers), default=10.0)
        # some height is left where all are below the lowest level, or above the highest
        self.low = max((level for level in _LEVELS_MS[:-1] if level < lowest), default=_LEVELS_MS[0])
        self.high = min(
            (level for level in _LEVELS_MS if level > max(highest, self.low)), default=_LEVELS_MS[-1]
        )
        self._low_log = math.log10(self.low)
        self._height = math.log10(self.high) - self._low_log

    def share(self, ms: float) -> float:
        return min(1.0, max(0.0, (math.log10(max(ms, self.low)) - self._low_log) / self._height))

    def levels(self) -> list[tuple[float, str]]:
        """A few round values with their names; those at the very edges are left out."""
        inside = [level for level in _LEVELS_MS if 0.04 < self.share(level) < 0.96]
        decades = [level for level in inside if math.log10(level).is_integer()]
        chosen = decades if len(decades) > 1 else inside
        return [
            (self.share(level), f"{level / 1000:g} s" if level >= 1000 else f"{level:g} ms")
            for level in chosen[:: math.ceil(len(chosen) / 4) or 1]
        ]
