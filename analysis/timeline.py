"""Folders to one story: which machine wrote what, when it was there, and what became of its orders."""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timezone
from itertools import chain, islice

from .causes import beside_others
from .clocks import offsets as clock_offsets
from .failovers import failovers_of
from .intervals import last_before
from .model import Attempt, Lane, MasterEvent, Outage, Process, Span, Story, round_trips
from .narrative import caveats, fault_of_one_number
from .orders import OrderLog
from .parser import Line, Ping
from .processes import ASKED_KEPT, ProcessBuilder
from .reader import Folder

TWO_MACHINES_S = 5.0
"""Two processes of one NODE_ID that both wrote for longer than this run at one time."""
QUIET_S, QUIET_PINGS, QUIET_LEAST_S = 90.0, 3, 5.0
"""After its last line a process that goes on is due: without a master it logs a failed attempt at least once in 90 s,
with one it pings; three intervals, since answers that were late come together.
"""
MASTER_EVENTS = frozenset(
    {
        "started",
        "stopping",
        "node_dead",
        "takeover_ordered",
        "takeover_withdrawn",
        "join_refused",
        "nobody_left",
    }
)
"""Of master.log, what the workers' own logs do not say as well."""
COMPARED = 100_000
"""Pairs of processes that are looked at before two logs are taken for one machine's."""
SENT_KEPT = 1000
"""Pings without an answer that are remembered in case one comes."""


class Pings:
    """The keep-alives of one lane, sorted by time once `settle` was called."""

    def __init__(self) -> None:
        self.at, self.ms = array("d"), array("d")
        self.late_at, self.missed_at, self.unanswered_at = array("d"), array("d"), array("d")
        self._sent: dict[str, float] = {}
        self.first: float | None = None
        self.last = 0.0
        self.zone = timezone.utc
        self.first_zone = timezone.utc
        self._sorted = True

    def add(self, ping: Ping) -> None:
        self._sorted = self._sorted and (not self.at or ping.at >= self.at[-1])
        self.at.append(ping.at)
        self.ms.append(ping.rtt_ms)
        if ping.late:
            self.late_at.append(ping.at)
        if self._sent:
            self._sent.pop(ping.seq, None)
        self._see(ping)

    def add_other(self, line: Line) -> None:
        """Any other line. `ping_sent` is of a master that never acknowledges, unless an answer comes after all."""
        seq = line.fields.get("seq", "")
        if line.event == "ping_missed":
            self.missed_at.append(line.at)
            self._sent.pop(seq, None)
        elif line.event == "ping_sent":
            self._sent[seq] = line.at
        if line.event != "ping_missed" and (len(self._sent) > SENT_KEPT or line.event != "ping_sent"):
            self.unanswered_at.extend(self._sent.values())
            self._sent.clear()
        self._see(line)

    def _see(self, item: Ping | Line) -> None:
        if self.first is None:
            self.first, self.first_zone = item.at, item.zone
        self.last, self.zone = item.at, item.zone

    def unanswered(self) -> Iterator[float]:
        """When each ping was sent that a master never acknowledged."""
        return chain(self.unanswered_at, self._sent.values())

    def settle(self) -> None:
        """Sort what a clock that was put back has left out of order."""
        if not self._sorted:
            pairs = sorted(zip(self.at, self.ms))
            self.at, self.ms = array("d", (at for at, _ in pairs)), array("d", (ms for _, ms in pairs))
            self._sorted = True

    def last_answer(self, at: float) -> float | None:
        return last_before(self.at, at)


class NodeLog:
    """The lines of one machine's logs, added in the order of time; none of them is kept whole."""

    def __init__(self, name: str, folders: Sequence[str], number_in_name: int | None = None) -> None:
        self.name = name
        self.folders = tuple(folders)
        self.pings = Pings()
        self.orders = OrderLog()
        self.processes: list[ProcessBuilder] = []
        self.has_comms = False
        self._number_in_name = number_in_name
        self._ping_lines: list[Line] = []

    def add_ping(self, item: Ping | Line) -> None:
        """A line of ping.log."""
        if isinstance(item, Ping):
            self.pings.add(item)
        else:
            self.pings.add_other(item)
            if item.event in ("started", "pings_paused", "pings_resumed"):
                self._ping_lines.append(item)

    def add(self, item: Ping | Line) -> None:
        """A line of comms.log; the pings up to it are there already."""
        if isinstance(item, Ping):
            return
        self.has_comms = True
        if item.event == "started" or not self.processes:
            self.processes.append(ProcessBuilder(item, self.pings.last_answer))
            self.orders.begin_process()
        self.processes[-1].add(item)
        self.orders.add(item)

    @property
    def node(self) -> int | None:
        """Its number as its last process that says one does, else that of the folder's name."""
        told = (process.node for process in reversed(self.processes) if process.node is not None)
        return next(told, self._number_in_name)

    @property
    def is_empty(self) -> bool:
        return not self.processes and self.pings.first is None

    def extents(self) -> list[tuple[str, float, float]]:
        """What tells each process apart, its first line and its last one in either log."""
        starts = [process.first for process in self.processes]
        found = []
        for place, process in enumerate(self.processes):
            end = starts[place + 1] if place + 1 < len(starts) else float("inf")
            i = bisect_left(self.pings.at, end)
            last_ping = self.pings.at[i - 1] if i else 0.0
            missed = last_before(self.pings.missed_at, end) or 0.0
            found.append((process.key, process.first, max(process.last, min(max(last_ping, missed), end))))
        if found and self.pings.first is not None and self.pings.first < found[0][1]:
            found[0] = (found[0][0], self.pings.first if not found[0][0] else found[0][1], found[0][2])
        return found

    def lane(self, key: int, since: float, until: float) -> tuple[Lane, list[Attempt]]:
        """What it all amounts to; pings between `since` and `until` are counted."""
        self._follow_pings_alone()
        node = self.node
        processes, outages = self._finished()
        first, last = processes[0].first, max(process.last for process in processes)
        first_zone = self.processes[0].zone
        if self.pings.first is not None and self.pings.first < first:
            first, first_zone = self.pings.first, self.pings.first_zone
        ends = {place + 1: (process.end, process.last) for place, process in enumerate(processes)}
        pings = self.pings
        low, high = bisect_left(pings.at, since), bisect_right(pings.at, until)
        missed = sum(since <= at <= until for at in pings.missed_at)
        late = sum(since <= at <= until for at in pings.late_at)
        unanswered = sum(since <= at <= until for at in pings.unanswered())
        lane = Lane(
            key=key,
            node=node,
            name=f"node {node}" if node is not None else f"the node of {self.name}",
            folders=self.folders,
            first=first,
            last=last,
            zone=pings.zone if pings.last >= last else self.processes[-1].zone,
            pings=high - low - late + missed + unanswered,
            missed=missed,
            rtt=round_trips(pings.ms[low:high]),
            outages=tuple(sorted(outages, key=lambda one: one.start)),
            silences=tuple(_between(processes, "silent")),
            stops=tuple(_between(processes, "stopped")),
            freezes=tuple(each for process in self.processes for each in process.freezes),
            processes=tuple(processes),
            incidents=tuple(each for process in self.processes for each in process.incidents),
            answered_at=pings.at,
            answered_ms=pings.ms,
            missed_at=pings.missed_at,
            masters=tuple(sorted(each for process in self.processes for each in process.masters)),
            asked=tuple(chain.from_iterable(process.asked for process in self.processes))[-ASKED_KEPT:],
            clock_steps=tuple(each for process in self.processes for each in process.clock_steps),
            has_comms=self.has_comms,
            has_info=bool(pings.at) or any(process.has_info for process in self.processes),
            first_zone=first_zone,
        )
        return lane, self.orders.attempts(node, key, ends)

    def _finished(self) -> tuple[list[Process], list[Outage]]:
        processes: list[Process] = []
        outages: list[Outage] = []
        extents = self.extents()
        for place, (builder, (_, first, last)) in enumerate(zip(self.processes, extents)):
            process, its = builder.finish(last, superseded=place + 1 < len(extents))
            processes.append(replace(process, first=first, last=last))
            outages += its
        return processes, outages

    def _follow_pings_alone(self) -> None:
        """Without a comms.log the keep-alive says, coarsely, when there was a process and when a master."""
        pings = self.pings
        if self.has_comms or pings.first is None:
            return
        self.processes.clear()
        first = Line(pings.first, pings.first_zone, "INFO", "unknown", {})
        starts = bool(self._ping_lines) and self._ping_lines[0].at <= first.at
        for line in self._ping_lines if starts else [first, *self._ping_lines]:
            if line.event == "started" or not self.processes:
                self.processes.append(ProcessBuilder(line, pings.last_answer))
                self.orders.begin_process()
            if line.event == "started":
                self.processes[-1].add(line)
            elif line.event == "pings_paused":
                self.processes[-1].pings_pause(line)
            elif line.event == "pings_resumed":
                self.processes[-1].pings_resume(line.at)


def _between(processes: Sequence[Process], end: str) -> Iterator[Span]:
    """From each process that ended so to the next."""
    for one, following in zip(processes, processes[1:]):
        if one.end == end:
            yield Span(one.last, max(one.last, following.first), max(one.last, following.first), one.zone)
    if processes and processes[-1].end == end == "stopped":
        yield Span(processes[-1].last, None, processes[-1].last, processes[-1].zone)


@dataclass(frozen=True)
class Reading:
    """What was read of all folders: a log for each machine, the master's lines, and how many lines did not fit."""

    logs: tuple[NodeLog, ...]
    master: tuple[MasterEvent, ...] = ()
    unreadable: int = 0


def read(folders: Sequence[Folder]) -> Reading:
    """Read them, those of one machine as one log."""
    by_number: dict[int, list[tuple[Folder, NodeLog]]] = {}
    logs: list[NodeLog] = []
    master: list[MasterEvent] = []
    for folder in folders:
        log = _log_of([folder])
        master += (
            MasterEvent(line.at, line.event, line.node, line.fields, line.zone)
            for line in folder.read("master")
            if isinstance(line, Line) and line.event in MASTER_EVENTS
        )
        folder.finish()
        if log.is_empty:
            continue
        if log.node is None:
            logs.append(log)
        else:
            by_number.setdefault(log.node, []).append((folder, log))
    unreadable = sum(folder.unreadable for folder in folders)
    for those in by_number.values():
        logs += _machines(those)
    logs.sort(key=lambda log: (log.node is None, log.node or 0))
    master.sort(key=lambda event: event.at)
    return Reading(tuple(logs), tuple(master), unreadable)


def _log_of(folders: Sequence[Folder]) -> NodeLog:
    """`folders`: of one machine; a line that two of them hold counts once."""
    numbers = {folder.number for folder in folders}
    log = NodeLog(
        " and ".join(folder.name for folder in folders),
        [folder.name for folder in folders],
        numbers.pop() if len(numbers) == 1 else None,
    )
    for item in _merged(folders, "ping"):
        log.add_ping(item)
    log.pings.settle()
    for item in _merged(folders, "comms"):
        log.add(item)
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


def _machines(those: Sequence[tuple[Folder, NodeLog]]) -> list[NodeLog]:
    """Logs with one number: archives of one machine are read as one log, machines that ran at one time stand alone."""
    groups: list[list[tuple[Folder, NodeLog]]] = []
    for folder, log in those:
        group = next(
            (group for group in groups if not any(_at_one_time(log, other) for _, other in group)), None
        )
        if group is None:
            groups.append(group := [])
        group.append((folder, log))
    return [
        group[0][1] if len(group) == 1 else _log_of([Folder(folder.path) for folder, _ in group])
        for group in groups
    ]


def _at_one_time(one: NodeLog, other: NodeLog) -> bool:
    """Whether two processes that are not the same both wrote for a while."""
    mine, theirs = sorted(one.extents(), key=_first), sorted(other.extents(), key=_first)
    place, left = 0, COMPARED
    for key, first, last in mine:
        while place < len(theirs) and theirs[place][2] < first:
            place += 1
        for their_key, their_first, their_last in islice(theirs, place, None):
            left -= 1
            if their_first > last or left < 0:
                break
            both_s = min(last, their_last) - max(first, their_first)
            same = key == their_key != "" or _share_pings(
                one, other, max(first, their_first), min(last, their_last)
            )
            if both_s > TWO_MACHINES_S and not same:
                return True
    return False


def _first(extent: tuple[str, float, float]) -> float:
    return extent[1]


def _share_pings(one: NodeLog, other: NodeLog, start: float, end: float) -> bool:
    """Whether a copy shows in one line that both hold."""
    sides = []
    for log in (one, other):
        i, j = bisect_left(log.pings.at, start), bisect_right(log.pings.at, end)
        sides.append(set(zip(log.pings.at[i:j], log.pings.ms[i:j])))
    return bool(sides[0] & sides[1])


def tell(reading: Reading, since: float = float("-inf"), until: float = float("inf")) -> Story:
    """The story of all of it together; pings between the two times are counted."""
    lanes: list[Lane] = []
    attempts: list[Attempt] = []
    for key, log in enumerate(reading.logs):
        lane, its = log.lane(key, since, until)
        lanes.append(lane)
        attempts += its
    attempts.sort(key=lambda attempt: attempt.received)
    lanes = _named(lanes)
    offsets = clock_offsets(lanes, attempts, reading.master)
    ahead = {one.lane: one.ahead_s for one in offsets}
    lanes = _with_ends(lanes, ahead)
    told = beside_others(lanes, offsets)
    story = Story(
        lanes=told,
        failovers=failovers_of(told, attempts, ahead, reading.master),
        unreadable_lines=reading.unreadable,
        offsets=offsets,
        master=reading.master,
        faults=tuple(fault_of_one_number(told)),
        since=since,
        until=until,
    )
    return replace(story, caveats=tuple(caveats(story)))


def _named(lanes: Sequence[Lane]) -> list[Lane]:
    """Two machines with one number are told apart by their folders."""
    numbers = [lane.node for lane in lanes]
    return [
        replace(lane, name=f"{lane.name} ({lane.folders[0]})")
        if lane.node is not None and numbers.count(lane.node) > 1
        else lane
        for lane in lanes
    ]


def _with_ends(lanes: Iterable[Lane], ahead: dict[int, float]) -> list[Lane]:
    """A lane whose log ends long before the others' do has fallen silent."""
    lanes = list(lanes)
    newest = max((lane.last - ahead.get(lane.key, 0.0) for lane in lanes), default=0.0)
    return [
        replace(
            lane,
            silences=(*lane.silences, Span(lane.last, None, newest + ahead.get(lane.key, 0.0), lane.zone)),
        )
        if lane.processes[-1].end == "open"
        and lane.has_info
        and newest - (lane.last - ahead.get(lane.key, 0.0)) > patience_s(lane)
        else lane
        for lane in lanes
    ]


def patience_s(lane: Lane) -> float:
    """Seconds after its last line from which a lane that goes on is overdue."""
    is_down = bool(lane.outages) and lane.outages[-1].end is None
    if is_down or len(lane.answered_at) < 3:
        return QUIET_S
    lately = lane.answered_at[-20:]
    gaps = sorted(after - before for before, after in zip(lately, lately[1:]))
    return max(QUIET_LEAST_S, QUIET_PINGS * gaps[len(gaps) // 2])
