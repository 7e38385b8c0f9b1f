"""When a node was away from its master, as its own log tells it: what an order to take its address is about."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional, Union

from .episodes import NodeStory, Silence, Span
from .moments import seconds

TOGETHER_S = 0.5
"""By which the clocks of nodes, once laid side by side, may still differ."""
BLINK_S = 0.3
"""A connection that lasted no longer after a freeze did not outlive it: that was no return."""


@dataclass(frozen=True)
class Away:
    """In seconds since 1970 of the node's own clock. `start`: its last sign of life. `there`: the first line
    that shows its worker again, `back`: when it had the master again; None: the log shows none. `cause`: as
    Absence's.
    """

    start: float
    there: Optional[float]
    back: Optional[float]
    cause: str


class Aways:
    """One node's, in the order of time."""

    def __init__(self, node: NodeStory) -> None:
        self._node = node
        answered = {
            round(seconds(outage.start), 3): seconds(outage.last_answer)
            for outage in node.outages
            if outage.last_answer
        }
        kinds = ((node.silences, "silent"), (node.stops, "stopped"), (node.freezes, "frozen"))
        self._gone = [one for those, kind in kinds for one in _kind(those, kind)]
        self._gaps = list(self._between())
        # the connection was taken for dead some time after the last answer on it
        self._starts = [
            max(up, min(start, answered.get(round(start, 3), start))) for up, start, _ in self._gaps
        ]
        self._found: dict[int, Away] = {}

    def at(self, when: float) -> Optional[Away]:
        """The one that goes on then; None: the node had its master, or its log does not go so far."""
        place = bisect_right(self._starts, when) - 1
        if not self._lasts(place, when):
            # one that begins a moment later, by a clock that is not quite the same
            place += 1
            if place == len(self._starts) or self._starts[place] > when + TOGETHER_S:
                return None
        if place not in self._found:
            self._found[place] = self._away(place)
        return self._found[place]

    def _lasts(self, place: int, when: float) -> bool:
        if place < 0:
            return False
        back = self._gaps[place][2]
        return back is None or when <= back + TOGETHER_S

    def _between(self) -> Iterable[tuple[float, float, Optional[float]]]:
        """The start of each connection, its end, and the start of the next one."""
        thaws = {seconds(freeze.end) for freeze in self._node.freezes if freeze.end}
        ups = [
            up
            for up in self._node.connected
            if up[1] - up[0] > BLINK_S or up[0] not in thaws or up == self._node.connected[-1]
        ]
        for (up, end), (back, _) in zip(ups, ups[1:]):
            yield up, end, back
        if ups and self._is_away_at_the_end():
            yield (*ups[-1], None)

    def _is_away_at_the_end(self) -> bool:
        node = self._node
        ended = any(one.end is None for those in (node.silences, node.stops) for one in those)
        return ended or any(outage.end is None for outage in node.outages[-1:])

    def _away(self, place: int) -> Away:
        _, start, back = self._gaps[place]
        cause, there = "without the master", back
        for gone, end, kind in self._gone:
            if gone >= start - TOGETHER_S and (back is None or gone < back):
                if gone <= start + TOGETHER_S:
                    cause = kind
                # a machine that started with an earlier clock is there from some moment before `back`
                there = back if end is not None and end < gone else end
        return Away(self._starts[place], there, back, cause)


def _kind(those: Iterable[Union[Silence, Span]], kind: str) -> Iterable[tuple[float, Optional[float], str]]:
    for one in those:
        yield seconds(one.start), seconds(one.end) if one.end else None, kind
