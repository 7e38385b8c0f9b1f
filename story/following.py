"""The story as it happens: the folders watched, and each new event told once, merged over all nodes."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Optional

from .episodes import Story
from .items import Item, Ping
from .lines import Reader
from .moments import seconds
from .reading import LOGS, Folder
from .runs import HOLE_S, Window, moment
from .spelling import duration
from .tail import Tail
from .timeline import Diary, tell
from .window import choose
from .words import Sentence, sentences

POLL_S = 0.2
SETTLE_S = 0.4
"""For which an event waits, so that what another node logged at that moment is told in its order."""
WRITTEN_S = 3.0
"""Beyond a process's patience, for the way of its lines to the disk."""
PINGS_KEPT = 4000
"""Of each process, by which the others' outages are judged."""


class Watched:
    """One folder, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.diary = Diary(Folder(path).name, Folder(path).number)
        self._silent_since: Optional[datetime] = None
        self._tails = {log: Tail(path / f"{log}.log") for log in LOGS}
        self._readers = {log: Reader() for log in LOGS}
        self._heard_s = time.monotonic()

    def begin(self, progress: Callable[[int], object]) -> list[str]:
        limits = dict(begun for tail in self._tails.values() if (begun := tail.begin()))
        folder = Folder(self.path, time.time(), limits, progress)
        self.diary.read(folder.items())
        run = self.diary.runs[-1] if self.diary.runs else None
        if run and time.time() - run.last.at > run.patience_s + WRITTEN_S:
            self._silent_since = moment(run.last)  # that is no news
        return folder.faults if self.path.is_dir() and limits else [f"{self.path}: no logs yet; waiting"]

    def read_on(self) -> bool:
        """Read what was written since; whether the story may go on with it, which it does not with a ping that
        follows the one before.
        """
        items = list(heapq.merge(*map(self._new, LOGS), key=lambda item: item.at))
        if not items:
            return False
        idle_s, self._heard_s = time.monotonic() - self._heard_s, time.monotonic()
        self.diary.read(items)
        run = self.diary.runs[-1]
        if len(run.answered_at) > 2 * PINGS_KEPT:
            run.forget_pings(PINGS_KEPT)
        return idle_s > HOLE_S or not all(isinstance(item, Ping) for item in items)

    def _new(self, log: str) -> list[Item]:
        read = self._readers[log].read
        return [item for line in self._tails[log].lines() if (item := read(line)) is not None]

    @property
    def node(self) -> Optional[int]:
        """None: nothing tells it, or there is no line yet."""
        return self.diary.runs[-1].node if self.diary.runs else None

    def silence(self) -> Iterator[Sentence]:
        """Told when it begins, and when the same process writes again."""
        run = self.diary.runs[-1] if self.diary.runs else None
        if run is None or run.stopping or not run.has_info:
            return
        name = f"node {run.node}" if run.node is not None else str(self.path)
        idle_s = time.monotonic() - self._heard_s
        if self._silent_since is None:
            if idle_s > run.patience_s + WRITTEN_S:
                self._silent_since = moment(run.last)
                yield Sentence(self._silent_since, f"{name} fell silent: nothing was logged since", "bad")
        elif run.last.at > seconds(self._silent_since):
            since, self._silent_since = self._silent_since, None
            if run.started is None or run.started <= since:
                gap = duration(run.last.at - seconds(since))
                yield Sentence(moment(run.last), f"{name} writes again after {gap}", "good")

    def close(self) -> None:
        for tail in self._tails.values():
            tail.close()


class Teller:
    """Which events were told, and which wait for those of other nodes."""

    def __init__(self, tell_one: Callable[[Sentence], None]) -> None:
        self._tell_one = tell_one
        self._told: set[tuple[Optional[datetime], str]] = set()
        self._waiting: list[tuple[float, Sentence]] = []

    def know(self, those: Iterable[Sentence]) -> None:
        """Events that happened before anybody watched."""
        self._told.update(map(_mark, those))

    def hear(self, those: Iterable[Sentence]) -> None:
        now = time.monotonic()
        for one in those:
            if _mark(one) not in self._told:
                self._told.add(_mark(one))
                self._waiting.append((now, one))

    def tell(self, *, all_of_them: bool = False) -> None:
        due_s = time.monotonic() - (0.0 if all_of_them else SETTLE_S)
        due = [one.when for heard_s, one in self._waiting if heard_s <= due_s]
        if not due:
            return
        horizon = max(due)
        ready = sorted((one for _, one in self._waiting if one.when <= horizon), key=lambda one: one.when)
        self._waiting = [(heard_s, one) for heard_s, one in self._waiting if one.when > horizon]
        for one in ready:
            self._tell_one(one)


def _mark(one: Sentence) -> tuple[Optional[datetime], str]:
    return (None, one.key) if one.key else (one.when, one.text)


class Following:
    """Tells each event of the folders from `since` on, None: from now on; of `nodes`, None: of all."""

    def __init__(
        self,
        paths: Sequence[Path],
        since: Optional[datetime],
        nodes: Optional[frozenset[int]],
        tell_one: Callable[[Sentence], None],
    ) -> None:
        self._watched = [Watched(path) for path in paths]
        self._window = Window(seconds(since)) if since else Window()
        self._nodes = nodes
        self._teller = Teller(tell_one)

    def begin(self, progress: Callable[[int], object]) -> list[str]:
        """Read what is there; texts that say what could not be. `progress` is called with the bytes read."""
        faults = [text for one in self._watched for text in one.begin(progress)]
        before = sentences(self._story(), live=True)
        if self._window.since > -math.inf:
            self._teller.hear(before)
        else:
            self._teller.know(before)
        return faults

    def run(self, stopped: Callable[[], bool]) -> None:
        try:
            while not stopped():
                self._look()
                self._teller.tell()
                time.sleep(POLL_S)
            self._look()
            self._teller.tell(all_of_them=True)
        finally:
            for one in self._watched:
                one.close()

    def _look(self) -> None:
        # all of them, before what they tell together
        if sum(one.read_on() for one in self._watched):
            self._teller.hear(sentences(self._story(), live=True))
        for one in self._watched:
            if self._nodes is None or one.node in self._nodes:
                self._teller.hear(one.silence())

    def _story(self) -> Story:
        return choose(tell([one.diary for one in self._watched]), self._window, self._nodes)
