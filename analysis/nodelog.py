"""The lines of one machine's two logs, followed as they come, and what they amount to."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timezone
from itertools import chain, pairwise

from .intervals import last_before
from .model import Attempt, Lane, Outage, Process, Span, round_trips
from .orders import OrderLog
from .parser import Line, Ping
from .processes import ASKED_KEPT, ProcessBuilder

SENT_KEPT = 1000
"""Pings without an answer that are remembered in case one comes."""
Extent = tuple[str, float, float]
"""What tells a process apart, its first line, and its last one in either log."""


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
            pairs = sorted(zip(self.at, self.ms, strict=False))
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

    def extents(self) -> list[Extent]:
        """Of each process, in their order."""
        ends = [process.first for process in self.processes[1:]] + [float("inf")]
        found = []
        for process, end in zip(self.processes, ends, strict=False):
            lasts = (last_before(times, end) for times in (self.pings.at, self.pings.missed_at))
            found.append(
                (process.key, process.first, max(process.last, *(min(at or 0.0, end) for at in lasts)))
            )
        if found and not found[0][0] and self.pings.first is not None:
            found[0] = ("", min(found[0][1], self.pings.first), found[0][2])
        return found

    def lane(self, key: int, since: float, until: float) -> tuple[Lane, list[Attempt]]:
        """What it all amounts to; pings between `since` and `until` are counted."""
        self._follow_pings_alone()
        node, pings = self.node, self.pings
        processes, outages = self._finished()
        first, last = processes[0].first, max(process.last for process in processes)
        first_zone = self.processes[0].zone
        if pings.first is not None and pings.first < first:
            first, first_zone = pings.first, pings.first_zone
        ends = {place + 1: (process.end, process.last) for place, process in enumerate(processes)}
        low, high = bisect_left(pings.at, since), bisect_right(pings.at, until)
        late, missed, unanswered = (
            sum(since <= at <= until for at in times)
            for times in (pings.late_at, pings.missed_at, pings.unanswered())
        )
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
            freezes=tuple(chain.from_iterable(process.freezes for process in self.processes)),
            processes=tuple(processes),
            incidents=tuple(chain.from_iterable(process.incidents for process in self.processes)),
            answered_at=pings.at,
            answered_ms=pings.ms,
            missed_at=pings.missed_at,
            masters=tuple(sorted(chain.from_iterable(process.masters for process in self.processes))),
            asked=tuple(chain.from_iterable(process.asked for process in self.processes))[-ASKED_KEPT:],
            clock_steps=tuple(chain.from_iterable(process.clock_steps for process in self.processes)),
            has_comms=self.has_comms,
            has_info=bool(pings.at) or any(process.has_info for process in self.processes),
            first_zone=first_zone,
        )
        return lane, self.orders.attempts(node, key, ends)

    def _finished(self) -> tuple[list[Process], list[Outage]]:
        processes: list[Process] = []
        outages: list[Outage] = []
        extents = self.extents()
        for place, (builder, (_, first, last)) in enumerate(zip(self.processes, extents, strict=False)):
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
    for one, following in pairwise(processes):
        if one.end == end:
            yield Span(one.last, max(one.last, following.first), max(one.last, following.first), one.zone)
    if processes and processes[-1].end == end == "stopped":
        yield Span(processes[-1].last, None, processes[-1].last, processes[-1].zone)
