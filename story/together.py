"""Folders that hold the logs of one node, such as archives of its days or a copy, read as one log."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Optional

from .items import Item, Line, Ping
from .orders import data_of, number
from .reading import Folder
from .runs import Window
from .spelling import count, listed
from .timeline import Diary

HEAD_LINES = 1000
"""Of comms.log, one of which tells the node; a worker says it each time that it joins."""
CROSSINGS = 8
"""How often, beyond once for each folder, its pings may follow another's: past that, both were written at a time."""


def diaries_of(folders: Sequence[Folder], window: Window) -> list[Diary]:
    """The folders, read; those of one node together."""
    groups: dict[tuple[bool, int], list[Folder]] = {}
    for place, folder in enumerate(folders):
        node = _node_of(folder) if len(folders) > 1 else None
        groups.setdefault((node is None, place if node is None else node), []).append(folder)
    return [diary for those in groups.values() for diary in _read(those, window)]


def _read(folders: list[Folder], window: Window) -> list[Diary]:
    diary = _diary(folders, window)
    if len(folders) == 1:
        diary.read(folders[0].items())
        return [diary]
    both = _Together(folders)
    diary.read(both.items())
    names = listed([folder.name for folder in folders])
    if both.crossings > CROSSINGS + len(folders):
        apart = []
        for folder in folders:
            apart.append(_diary([folder], window))
            apart[-1].read(Folder(folder.path, folder.since).items())
        apart[0].remarks.append(
            f"The logs in {names} are of one node and one time, and differ: each is told as a worker's own, as if "
            "several had its number."
        )
        return apart
    if both.doubles:
        diary.remarks.append(f"{names} hold {count(both.doubles, 'line')} twice; each is told once.")
    return [diary]


def _diary(folders: Sequence[Folder], window: Window) -> Diary:
    named = next((folder.number for folder in folders if folder.number is not None), None)
    return Diary([folder.name for folder in folders], named, window)


def _node_of(folder: Folder) -> Optional[int]:
    for line in islice(Folder(folder.path).comms(), HEAD_LINES):
        if isinstance(line, Line) and line.event in ("started", "sent"):
            told = number(
                line.fields.get("node") if line.event == "started" else data_of(line).get("NODE_ID")
            )
            if told is not None:
                return told
    return folder.number


class _Together:
    """`doubles`: the lines that another folder had too; `crossings`: how often a ping that is told follows one
    of another folder.
    """

    def __init__(self, folders: Sequence[Folder]) -> None:
        self._folders = folders
        self.doubles = self.crossings = 0

    def items(self) -> Iterator[Item]:
        """By time, and once; lines of one folder keep their order."""
        now, last_ping = -math.inf, None
        seen: Counter[tuple[object, int]] = Counter()
        told: dict[object, int] = {}
        streams = [self._keyed(place, folder) for place, folder in enumerate(self._folders)]
        for at, place, item in heapq.merge(*streams, key=lambda one: one[0]):
            if at > now:
                now = at
                seen.clear()
                told.clear()
            mark = _mark(item)
            seen[mark, place] += 1
            if seen[mark, place] <= told.get(mark, 0):
                self.doubles += 1
                continue
            told[mark] = seen[mark, place]
            if isinstance(item, Ping):
                self.crossings += last_ping not in (None, place)
                last_ping = place
            yield item

    def _keyed(self, place: int, folder: Folder) -> Iterator[tuple[float, int, Item]]:
        latest = -math.inf
        for item in folder.items():
            # lines behind a clock that was put back stay behind it
            latest = max(latest, item.at)
            yield latest, place, item


def _mark(item: Item) -> object:
    return item if isinstance(item, Ping) else (item.at, item.event, tuple(item.fields.items()))
