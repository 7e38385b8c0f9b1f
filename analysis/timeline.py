"""Folders to one story: which machine wrote what, and what they all say together."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from . import causes, clocks
from .failovers import failovers_of
from .formatting import listed
from .intervals import last_before
from .model import MASTER_EVENTS, Attempt, Lane, Span, Story
from .narrative import caveats
from .nodelog import NodeLog
from .parser import Line, Ping
from .reader import Folder

TWO_MACHINES_S = 5.0
"""Two processes of one NODE_ID that both wrote for longer than this run at one time."""
QUIET_S, QUIET_PINGS, QUIET_LEAST_S = 90.0, 3, 5.0
"""After its last line a process that goes on is due: without a master it logs a failed attempt at least once in 90 s,
with one it pings; three intervals, since answers that were late come together.
"""


@dataclass(frozen=True)
class Reading:
    """What was read of all folders: a log for each machine, the master's lines, and how many lines did not fit."""

    logs: tuple[NodeLog, ...]
    master: tuple[Line, ...] = ()
    unreadable: int = 0


def read(folders: Sequence[Folder]) -> Reading:
    """Read them, those of one machine as one log."""
    by_number: dict[int | None, list[NodeLog]] = {}
    master: list[Line] = []
    for folder in folders:
        log = _log_of([folder])
        lines = folder.read("master")
        master += (line for line in lines if isinstance(line, Line) and line.event in MASTER_EVENTS)
        folder.finish()
        if not log.is_empty:
            by_number.setdefault(log.node, []).append(log)
    unreadable = sum(folder.unreadable for folder in folders)
    nameless = by_number.pop(None, [])
    logs = [
        log for _, those in sorted(by_number.items(), key=lambda one: one[0] or 0) for log in _machines(those)
    ]
    master.sort(key=lambda line: line.at)
    return Reading((*logs, *nameless), tuple(master), unreadable)


def _log_of(folders: Sequence[Folder]) -> NodeLog:
    """`folders`: of one machine; a line that two of them hold counts once."""
    log = NodeLog(folders)
    for item in _merged(folders, "ping"):
        log.pings.add(item)
    log.pings.sort()
    for item in _merged(folders, "comms"):
        log.add(item)
    log.finish()
    return log


def _merged(folders: Sequence[Folder], name: str) -> Iterator[Ping | Line]:
    if len(folders) == 1:
        yield from folders[0].read(name)
        return
    at = float("-inf")
    seen: set[object] = set()
    for item in heapq.merge(*(folder.read(name) for folder in folders), key=lambda item: item.at):
        if item.at != at:
            at, seen = item.at, set()
        what = item if isinstance(item, Ping) else (item.event, tuple(item.fields.items()))
        if what not in seen:
            seen.add(what)
            yield item


def _machines(those: Sequence[NodeLog]) -> list[NodeLog]:
    """Logs with one number: archives of one machine are read as one log, machines that ran at one time stand alone."""
    groups: list[list[NodeLog]] = []
    for log in those:
        free = (group for group in groups if not any(_at_one_time(log, other) for other in group))
        group = next(free, None)
        if group is None:
            groups.append(group := [])
        group.append(log)
    return [
        group[0]
        if len(group) == 1
        else _log_of([Folder(folder.path) for log in group for folder in log.folders])
        for group in groups
    ]


def _at_one_time(one: NodeLog, other: NodeLog) -> bool:
    """Whether two processes that are not the same both wrote for a while."""
    mine, theirs = (sorted(log.processes(), key=lambda process: process.last) for log in (one, other))
    shared: list[float] | None = None
    while mine and theirs:
        last, their_last = mine[-1], theirs[-1]
        start, end = max(last.first, their_last.first), min(last.last, their_last.last)
        is_same = last.key and last.key == their_last.key
        if end - start > TWO_MACHINES_S and not is_same:
            shared = _shared_answers(one, other) if shared is None else shared
            if (last_before(shared, end) or -math.inf) < start:
                return True
        (mine if last.first > their_last.first else theirs).pop()
    return False


def _shared_answers(one: NodeLog, other: NodeLog) -> list[float]:
    """The times of the lines that both hold, by which a copy shows."""
    mine, theirs = (set(zip(log.pings.at, log.pings.ms, strict=False)) for log in (one, other))
    return sorted(at for at, _ in mine & theirs)


def tell(reading: Reading, since: float = float("-inf"), until: float = float("inf")) -> Story:
    """The story of all of it together; pings between the two times are counted."""
    lanes: list[Lane] = []
    attempts: list[Attempt] = []
    for key, log in enumerate(reading.logs):
        lane, its = log.lane(key, since, until)
        lanes.append(lane)
        attempts += its
    attempts.sort(key=lambda attempt: attempt.received)
    faults = tuple(_twins(lanes))
    clocks.compare(lanes, attempts)
    _find_silent_ends(lanes)
    causes.compare(lanes)
    story = Story(
        lanes=tuple(lanes),
        failovers=failovers_of(lanes, attempts, reading.master),
        unreadable_lines=reading.unreadable,
        master=reading.master,
        faults=faults,
        since=since,
        until=until,
    )
    return replace(story, caveats=tuple(caveats(story)))


def _twins(lanes: Sequence[Lane]) -> Iterator[str]:
    """Machines that had one number at one time are told apart by their folders; the fault of each such number."""
    by_number: dict[int | None, list[Lane]] = {}
    for lane in lanes:
        by_number.setdefault(lane.node, []).append(lane)
    for node, those in by_number.items():
        if node is not None and len(those) > 1:
            for lane in those:
                lane.name = f"{lane.name} ({lane.folders[0]})"
            many = "Two" if len(those) == 2 else str(len(those))
            yield (
                f"{many} machines ran as node {node} at the same time ({listed([lane.folders[0] for lane in those])}): "
                "give each its own NODE_ID. Their failovers cannot be trusted."
            )


def _find_silent_ends(lanes: Sequence[Lane]) -> None:
    """A lane whose log ends long before the others' do has fallen silent."""
    newest = max((lane.last - lane.ahead_s for lane in lanes), default=0.0)
    for lane in lanes:
        end = newest + lane.ahead_s
        if lane.processes[-1].end == "open" and lane.has_info and end - lane.last > _patience_s(lane):
            lane.silences.append(Span(lane.last, None, end, lane.zone))


def _patience_s(lane: Lane) -> float:
    """Seconds after its last line from which a lane that goes on is overdue."""
    is_down = bool(lane.outages) and lane.outages[-1].end is None
    if is_down or len(lane.answered_at) < 3:
        return QUIET_S
    lately = lane.answered_at[-20:]
    gaps = sorted(after - before for before, after in pairwise(lately))
    return max(QUIET_LEAST_S, QUIET_PINGS * gaps[len(gaps) // 2])
