"""One process of a node after another, in the order of their log: a machine without a clock of its own may start
with one that is earlier than its last line. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Optional, Union

from .episodes import Silence, Span, Step
from .moments import seconds, spans, without
from .runs import STEP_S, RunDraft, moment


class Restarts:
    """`drafts`: a node's processes, each followed by its successor."""

    def __init__(self, drafts: Sequence[RunDraft]) -> None:
        self._drafts = drafts
        self._next_start: list[Optional[datetime]] = []
        start: Optional[datetime] = None
        for draft in reversed(drafts):
            self._next_start.append(start)
            start = draft.started or start
        self._next_start.reverse()

    def silences(self) -> tuple[Silence, ...]:
        return tuple(
            Silence(moment(draft.last), start)
            for draft, start in zip(self._drafts, self._next_start)
            if draft.ended == "silent"
        )

    def stops(self) -> tuple[Span, ...]:
        return tuple(
            Span(draft.stop_at, start)
            for draft, start in zip(self._drafts, self._next_start)
            if draft.stop_at
        )

    def steps(self) -> Iterator[Step]:
        """Clocks that were earlier at a start than at the last line before it."""
        for before, after in self._put_back():
            yield Step(moment(after.first), after.first.at - before.last.at)

    def doubtful(self) -> list[tuple[float, float]]:
        """From the last line before such a start to the first that was written when the clock was later again."""
        return [
            (before.last.at, min((at for at in after.answered_at if at > before.last.at), default=end))
            for before, after in self._put_back()
            if (end := max(before.last.at, after.last.at))
        ]

    def _put_back(self) -> Iterator[tuple[RunDraft, RunDraft]]:
        for before, after in zip(self._drafts, self._drafts[1:]):
            if before.superseded and after.started and seconds(after.started) < before.last.at - STEP_S:
                yield before, after


def known_of(
    drafts: Iterable[RunDraft], holes: Iterable[Sequence[Span]], away: Iterable[Union[Silence, Span]]
) -> Iterator[tuple[float, float]]:
    """When a process wrote, and when it is known that there was none."""
    for draft, its in zip(drafts, holes):
        yield from without(spans([(draft.first.at, draft.last.at)]), _ends(its))
    yield from _ends(away)


def connected_of(
    drafts: Iterable[RunDraft], holes: Iterable[Sequence[Span]]
) -> Iterator[tuple[float, float]]:
    """When a process had its master. Each by itself: where a clock was put back, two have the same times."""
    for draft, its in zip(drafts, holes):
        yield from without(spans(draft.connected()), _ends((*its, *draft.link.freezes)))


def _ends(those: Iterable[Union[Silence, Span]]) -> list[tuple[float, float]]:
    return [(seconds(one.start), seconds(one.end)) for one in those if one.end]
