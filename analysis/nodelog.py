"""The lines of one machine's two logs, followed as they come: its processes, connections, freezes, keep-alives, orders."""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from .causes import of_texts
from .intervals import last_before
from .model import INCIDENTS, UNKNOWN, Attempt, Lane, Outage, Process, RoundTrips, Span, round_trips
from .orders import OrderLog
from .parser import Line, Ping, data_of, decimal, number
from .reader import Folder

SENT_KEPT = 8
"""Pings without an answer that are remembered in case one comes."""
SLOW_START = "start: the first connection was slow"
SLOW_START_S = 1.0
"""A first connection within this is a start, not an outage."""
BEAT_S = 2.5
"""A worker's loop turns at least so often."""
AFTER_FREEZE_S = 5.0
"""Within which a connection that a freeze has cost is seen to be lost."""
ERRORS_KEPT = 8
_FROZEN = re.compile(r"(stood still|suspended|went forward) (?:for|by) (\d{1,9}(?:\.\d+)?) s", re.ASCII)


class Pings:
    """The lines of ping.log; its answers are sorted by time once `sort` was called."""

    def __init__(self) -> None:
        self.at, self.ms = array("d"), array("d")
        self.missed_at, self._late_at, self._sent_at = array("d"), array("d"), array("d")
        self.lines: list[Line] = []
        """What says, where comms.log is missing, when there was a process and a master."""
        self.first: Ping | Line | None = None
        self._sent: deque[str] = deque(maxlen=SENT_KEPT)
        self._is_sorted = True

    def add(self, item: Ping | Line) -> None:
        """Take the next line. `ping_sent` is of a master that never acknowledges, unless an answer comes after all."""
        self.first = self.first or item
        if isinstance(item, Ping):
            self._is_sorted = self._is_sorted and (not self.at or item.at >= self.at[-1])
            self.at.append(item.at)
            self.ms.append(item.rtt_ms)
            if item.late or item.seq in self._sent:
                self._late_at.append(item.at)
        elif item.event == "ping_missed":
            self.missed_at.append(item.at)
        elif item.event == "ping_sent":
            self._sent.append(item.fields.get("seq", ""))
            self._sent_at.append(item.at)
        elif item.event in ("started", "pings_paused", "pings_resumed"):
            self.lines.append(item)

    def sort(self) -> None:
        """Sort what a clock that was put back has left out of order."""
        if not self._is_sorted:
            pairs = sorted(zip(self.at, self.ms, strict=False))
            self.at, self.ms = array("d", (at for at, _ in pairs)), array("d", (ms for _, ms in pairs))
            self._is_sorted = True

    def counts(self, since: float, until: float) -> tuple[int, int, RoundTrips | None]:
        """Of those between the two times: how many there are, how many were missed, and how long the others took."""
        low, high = bisect_left(self.at, since), bisect_right(self.at, until)
        late, missed, sent = (
            sum(since <= at <= until for at in times)
            for times in (self._late_at, self.missed_at, self._sent_at)
        )
        return high - low - late + missed + sent, missed, round_trips(self.ms[low:high])


class NodeLog:
    """Lines are added in the order of time. Only those that are shown unchanged are kept whole."""

    def __init__(self, folders: Sequence[Folder]) -> None:
        """`folders`: of one machine."""
        self.folders = folders
        self.pings = Pings()
        names = tuple(folder.name for folder in folders)
        self._seen = Lane(f"the node of {' and '.join(names)}", names)
        self._orders = OrderLog()
        # of the process that goes on
        self._down: Outage | None = None
        self._errors: list[tuple[str, str]] = []
        self._was_up = False

    @property
    def node(self) -> int | None:
        """Its number as its last process that says one does, else that of its folders' names."""
        told = (process.node for process in reversed(self._seen.processes) if process.node is not None)
        named = {folder.number for folder in self.folders}
        return next(told, named.pop() if len(named) == 1 else None)

    @property
    def is_empty(self) -> bool:
        return not self._seen.processes

    def add(self, line: Ping | Line) -> None:
        """A line of comms.log; the pings up to it are there already."""
        if isinstance(line, Ping):
            return
        seen, event, fields = self._seen, line.event, line.fields
        if event == "started" or not seen.processes:
            self._begin_process(line)
        seen.has_info = seen.has_info or line.level in ("INFO", "DEBUG")
        process = seen.processes[-1]
        if line.at < process.last - 1.0:
            seen.clock_steps.append((line.at, line.at - process.last))
        process.first, process.last, process.zone = min(process.first, line.at), line.at, line.zone
        if event == "takeover_refused" and line.node is None:
            seen.incidents.append(line._replace(event="order_refused"))
        elif event in INCIDENTS:
            seen.incidents.append(line)
        self._orders.add(line)
        match event:
            case "started":
                process.started, process.node = line.at, line.node
                process.version, process.run = fields.get("version", ""), fields.get("run", "")
                process.mac = fields.get("mac", "")
            case "connecting" | "connect_failed" if process.end != "stopped":
                self._tries(process, line)
            case "connected":
                self._goes_up(process, line)
            case "disconnected":
                self._goes_down(process, line)
            case "pings_paused":
                self._loses(line)
            case "pings_resumed":
                self._closes(line.at)
            case "stopping" | "stopped":
                process.end, process.signal = "stopped", fields.get("signal", process.signal)
                process.is_over = event == "stopped"
            case "was_frozen":
                self._froze(process, line)
            case "sent" if process.node is None or not process.mac:
                self._learns(process, data_of(line))
            case "received" if fields.get("event") == "restore":
                about = number(data_of(line).get("restore_node"))
                if about is not None:
                    seen.restores.append((line.at, about))
            case _:
                pass

    @staticmethod
    def _learns(process: Process, data: Mapping[str, Any]) -> None:
        """Which node it is, where the log begins behind its start, and the address of an interface that came later."""
        if process.node is None:
            process.node = number(data.get("NODE_ID"))
        if isinstance(data.get("mac"), str):
            process.mac = data["mac"][:64]

    def finish(self) -> None:
        """No more is read for now. Without a comms.log the keep-alive says, coarsely, when there was a process and when a
        master.
        """
        first, lines = self.pings.first, self.pings.lines
        if first and self.is_empty:
            self._seen.has_comms = False
            if not (lines and lines[0].at <= first.at):
                self.add(Line(first.at, first.zone, "", "unknown", {}))
            for line in lines:
                self.add(line)
        for process in self._seen.processes[-1:]:
            process.is_over = True

    def processes(self) -> list[Process]:
        """Each with its first and its last line in either log."""
        found = [replace(process) for process in self._seen.processes]
        if found:
            found[-1].last = self._last_sign(found[-1])
            if not found[0].key and self.pings.first:
                found[0].first = min(found[0].first, self.pings.first.at)
        return found

    def lane(self, key: int, since: float, until: float) -> tuple[Lane, list[Attempt]]:
        """What it all amounts to; pings between `since` and `until` are counted."""
        seen, pings, node, processes = self._seen, self.pings, self.node, self.processes()
        times = [at for process in processes for at in (process.first, process.last)]
        times += [pings.first.at] if pings.first else []
        count, missed, rtt = pings.counts(since, until)
        lane = replace(
            seen,
            key=key,
            node=node,
            name=f"node {node}" if node is not None else seen.name,
            first=min(times),
            last=max(process.last for process in processes),
            zone=processes[-1].zone,
            pings=count,
            missed=missed,
            rtt=rtt,
            outages=sorted(
                [*seen.outages, *self._outage(None, processes[-1].last)], key=lambda one: one.start
            ),
            silences=list(_between(processes, "silent")),
            stops=list(_between(processes, "stopped")),
            processes=processes,
            answered_at=pings.at,
            answered_ms=pings.ms,
            missed_at=pings.missed_at,
            masters=sorted(seen.masters),
            has_info=seen.has_info or bool(pings.at),
        )
        return lane, self._orders.attempts(lane)

    def _last_sign(self, process: Process, until: float = math.inf) -> float:
        """Its last line in either log."""
        lasts = (last_before(times, until) for times in (self.pings.at, self.pings.missed_at))
        return max(process.last, *(at or 0.0 for at in lasts))

    def _begin_process(self, line: Line) -> None:
        if self._seen.processes:
            process = self._seen.processes[-1]
            process.last = self._last_sign(process, line.at)
            process.end = "silent" if process.end == "open" else process.end
            process.is_over = True
            self._seen.outages += self._outage(None, process.last)
        else:
            self._seen.first_zone = line.zone
        self._seen.processes.append(Process(line.at, line.at, line.zone))
        self._orders.begin_process()
        self._down, self._was_up = None, False

    def _opens(
        self, line: Line, start: float, reason: str, cause: str = "", *, at_start: bool = False
    ) -> Outage:
        """An outage begins."""
        last_answer = last_before(self.pings.at, start)
        self._down = Outage(start, None, start, line.zone, cause, reason, "", last_answer, at_start)
        self._errors = []
        return self._down

    def _outage(self, end: float | None, until: float) -> list[Outage]:
        """The one that goes on, as it ends; none where it is no more than a start."""
        down = self._down
        if down is None or (down.at_start and not self._errors and until - down.start <= SLOW_START_S):
            return []
        cause = of_texts([("" if down.at_start else down.reason, down.cause), *self._errors])
        cause = cause or ("no_answer" if down.at_start else UNKNOWN)
        return [replace(down, end=end, until=max(until, down.start) if end is None else end, cause=cause)]

    def _closes(self, end: float) -> None:
        self._seen.outages += self._outage(end, end)
        self._down = None

    def _starts(self, process: Process, line: Line) -> None:
        """Until its first connection a process is without a master."""
        if not self._down and process.started is not None and not self._was_up:
            self._opens(line, process.started, SLOW_START, at_start=True)

    def _tries(self, process: Process, line: Line) -> None:
        self._starts(process, line)
        down = self._down or self._opens(line, line.at, "its beginning is not in the log")
        if line.event == "connect_failed":
            error = line.fields.get("error", "no error logged"), line.fields.get("cause", "")
            if down.at_start and not self._errors:
                self._down = replace(down, reason=f"start: {error[0]}")
            if error not in self._errors:
                self._errors = [*self._errors[1 - ERRORS_KEPT :], error]

    def _goes_up(self, process: Process, line: Line) -> None:
        self._seen.masters.append((line.at, line.fields.get("master", "")))
        self._starts(process, line)
        self._closes(line.at)
        self._was_up = True

    def _goes_down(self, process: Process, line: Line) -> None:
        if process.end == "stopped" or line.fields.get("cause") == "own_stop":
            return  # a worker that leaves has no outage
        connected_s = decimal(line.fields.get("connected_s"))
        if self._down and connected_s and line.at - connected_s >= self._down.start:
            # LOG_LEVEL=WARNING leaves out the line that said that it was connected
            self._closes(line.at - connected_s)
        self._loses(line)
        self._was_up = True

    def _loses(self, line: Line) -> None:
        if not self._down:
            cause, freezes = line.fields.get("cause", ""), self._seen.freezes
            if not cause and freezes and freezes[-1].until >= line.at - AFTER_FREEZE_S:
                cause = "frozen"
            self._opens(line, line.at, line.fields.get("reason", "no reason logged"), cause)

    def _froze(self, process: Process, line: Line) -> None:
        how = _FROZEN.search(line.fields.get("reason", ""))
        if how and how[1] == "went forward":
            self._seen.clock_steps.append((line.at, float(how[2])))
        elif how:
            # it woke so much later than it was to: it slept before that, and was last heard of earlier still
            overslept = line.at - float(how[2])
            start = max(overslept - BEAT_S, last_before(self.pings.at, overslept) or 0.0, process.first)
            self._seen.freezes.append(Span(min(start, line.at), line.at, line.at, line.zone))


def _between(processes: Sequence[Process], end: str) -> Iterator[Span]:
    """From each process that ended so to the next."""
    for one, following in pairwise(processes):
        if one.end == end:
            back = max(one.last, following.first)
            yield Span(one.last, back, back, one.zone)
    if processes and processes[-1].end == end == "stopped":
        yield Span(processes[-1].last, None, processes[-1].last, processes[-1].zone)
