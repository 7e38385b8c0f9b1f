"""The lines of one machine's two logs, followed as they come: its processes, connections, freezes, keep-alives, orders."""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from .causes import of_texts
from .intervals import last_before
from .model import INCIDENTS, UNKNOWN, Attempt, Lane, Outage, Process, RoundTrips, Span, round_trips
from .orders import OrderLog
from .parser import Line, Ping, data_of, decimal, number

SENT_KEPT = 1000
"""Pings without an answer that are remembered in case one comes."""
SLOW_START = "start: the first connection was slow"
SLOW_START_S = 1.0
"""A first connection within this is a start, not an outage."""
BEAT_S = 2.5
"""A worker's loop turns at least so often."""
AFTER_FREEZE_S = 5.0
"""Within which a connection that a freeze has cost is seen to be lost."""
ERRORS_KEPT = 8
_STOOD_STILL = re.compile(
    r"(?:stood still|was suspended|frozen|suspended) for (\d{1,9}(?:\.\d+)?) s", re.ASCII
)
_WENT_FORWARD = re.compile(r"clock went forward by (\d{1,9}(?:\.\d+)?) s", re.ASCII)


class Pings:
    """The lines of ping.log, sorted by time once `sort` was called."""

    def __init__(self) -> None:
        self.at, self.ms = array("d"), array("d")
        self.missed_at = array("d")
        self.lines: list[Line] = []
        """What says, where comms.log is missing, when there was a process and a master."""
        self.first: Ping | Line | None = None
        self.last: Ping | Line | None = None
        self._late_at, self._unanswered_at = array("d"), array("d")
        self._sent: dict[str, float] = {}
        self._is_sorted = True

    def add(self, item: Ping | Line) -> None:
        """Take the next line. `ping_sent` is of a master that never acknowledges, unless an answer comes after all."""
        self.first, self.last = self.first or item, item
        if isinstance(item, Ping):
            self._is_sorted = self._is_sorted and (not self.at or item.at >= self.at[-1])
            self.at.append(item.at)
            self.ms.append(item.rtt_ms)
            if item.late:
                self._late_at.append(item.at)
            if self._sent:
                self._sent.pop(item.seq, None)
            return
        seq = item.fields.get("seq", "")
        if item.event == "ping_missed":
            self.missed_at.append(item.at)
            self._sent.pop(seq, None)
            return
        if item.event == "ping_sent":
            self._sent[seq] = item.at
        elif item.event in ("started", "pings_paused", "pings_resumed"):
            self.lines.append(item)
        if len(self._sent) > SENT_KEPT or item.event != "ping_sent":
            self._unanswered_at.extend(self._sent.values())
            self._sent.clear()

    def sort(self) -> None:
        """Sort what a clock that was put back has left out of order."""
        if not self._is_sorted:
            pairs = sorted(zip(self.at, self.ms, strict=False))
            self.at, self.ms = array("d", (at for at, _ in pairs)), array("d", (ms for _, ms in pairs))
            self._is_sorted = True

    def last_answer(self, at: float) -> float | None:
        return last_before(self.at, at)

    def counts(self, since: float, until: float) -> tuple[int, int, RoundTrips | None]:
        """Of those between the two times: how many there are, how many were missed, and how long the others took."""
        low, high = bisect_left(self.at, since), bisect_right(self.at, until)
        late, missed, unanswered, sent = (
            sum(since <= at <= until for at in times)
            for times in (self._late_at, self.missed_at, self._unanswered_at, self._sent.values())
        )
        return high - low - late + missed + unanswered + sent, missed, round_trips(self.ms[low:high])


class NodeLog:
    """Lines are added in the order of time. Only those that are shown unchanged are kept whole."""

    def __init__(self, name: str, folders: Sequence[str], number_in_name: int | None = None) -> None:
        self.name = name
        self.pings = Pings()
        self._seen = Lane(name, tuple(folders))
        self._first: Line | None = None
        self._last: Line | None = None
        self._number_in_name = number_in_name
        self._orders = OrderLog()
        # of the process that goes on
        self._down: Outage | None = None
        self._errors: list[tuple[str, str]] = []
        self._was_up = self._has_joined = False

    @property
    def folders(self) -> tuple[str, ...]:
        return self._seen.folders

    @property
    def node(self) -> int | None:
        """Its number as its last process that says one does, else that of the folder's name."""
        told = (process.node for process in reversed(self._seen.processes) if process.node is not None)
        return next(told, self._number_in_name)

    @property
    def is_empty(self) -> bool:
        return not self._seen.processes and self.pings.first is None

    def add(self, line: Ping | Line) -> None:
        """A line of comms.log; the pings up to it are there already."""
        if isinstance(line, Ping):
            return
        self._first, self._last = self._first or line, line
        seen, event, fields = self._seen, line.event, line.fields
        if event == "started" or not seen.processes:
            self._begin_process(line)
        seen.has_comms = True
        seen.has_info = seen.has_info or line.level in ("INFO", "DEBUG")
        process = seen.processes[-1]
        if line.at < process.last - 1.0:
            seen.clock_steps.append((line.at, line.at - process.last))
        process.last, process.zone = line.at, line.zone
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
            case "was_frozen":
                self._froze(process, line)
            case "sent":
                self._sends(process, line)
            case "received" if fields.get("event") == "restore":
                about = number(data_of(line).get("restore_node"))
                if about is not None:
                    seen.joins.append((line.at, about))
            case _:
                pass

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
        if not self._seen.processes:
            return self._by_pings_alone().lane(key, since, until)
        seen, pings, node, processes = self._seen, self.pings, self.node, self.processes()
        lines = [line for line in (pings.first, self._first, pings.last, self._last) if line]
        first, last = (find(lines, key=lambda line: line.at) for find in (min, max))
        count, missed, rtt = pings.counts(since, until)
        lane = replace(
            seen,
            key=key,
            node=node,
            name=f"node {node}" if node is not None else f"the node of {self.name}",
            first=first.at,
            last=max(process.last for process in processes),
            zone=last.zone,
            first_zone=first.zone,
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

    def _by_pings_alone(self) -> NodeLog:
        """Without a comms.log the keep-alive says, coarsely, when there was a process and when a master."""
        alone = NodeLog(self.name, self.folders, self._number_in_name)
        alone.pings = self.pings
        first, lines = self.pings.first, self.pings.lines
        if first and not (lines and lines[0].at <= first.at):
            alone.add(Line(first.at, first.zone, "", "unknown", {}))
        for line in lines:
            alone.add(line)
        alone._seen.has_comms = False
        return alone

    def _last_sign(self, process: Process, until: float = math.inf) -> float:
        """Its last line in either log."""
        lasts = (last_before(times, until) for times in (self.pings.at, self.pings.missed_at))
        return max(process.last, *(at or 0.0 for at in lasts))

    def _begin_process(self, line: Line) -> None:
        if self._seen.processes:
            process = self._seen.processes[-1]
            process.last = self._last_sign(process, line.at)
            process.end = "silent" if process.end == "open" else process.end
            self._seen.outages += self._outage(None, process.last)
        self._seen.processes.append(Process(line.at, line.at, line.zone))
        self._orders.begin_process()
        self._down, self._was_up, self._has_joined = None, False, False

    def _opens(
        self, line: Line, start: float, reason: str, cause: str = "", *, at_start: bool = False
    ) -> Outage:
        """An outage begins."""
        last_answer = self.pings.last_answer(start)
        self._down = Outage(start, None, start, line.zone, cause, reason, "", last_answer, at_start)
        self._errors = []
        return self._down

    def _outage(self, end: float | None, until: float) -> list[Outage]:
        """The one that goes on, as it ends; none where it is no more than a start."""
        down = self._down
        if down is None or (down.at_start and not self._errors and until - down.start <= SLOW_START_S):
            return []
        cause = of_texts(down.cause, "" if down.at_start else down.reason, self._errors)
        cause = cause or ("no_answer" if down.at_start else UNKNOWN)
        return [replace(down, end=end, until=max(until, down.start) if end is None else end, cause=cause)]

    def _closes(self, end: float) -> None:
        self._seen.outages += self._outage(end, end)
        self._down = None

    def _tries(self, process: Process, line: Line) -> None:
        down = self._down
        if not down and process.started is not None and not self._was_up:
            down = self._opens(line, process.started, SLOW_START, at_start=True)
        elif not down:
            down = self._opens(line, line.at, "its beginning is not in the log")
        if line.event == "connect_failed":
            error = line.fields.get("error", "no error logged"), line.fields.get("cause", "")
            if down.at_start and not self._errors:
                self._down = replace(down, reason=f"start: {error[0]}")
            if error not in self._errors:
                self._errors = [*self._errors[1 - ERRORS_KEPT :], error]

    def _goes_up(self, process: Process, line: Line) -> None:
        self._seen.masters.append((line.at, line.fields.get("master", "")))
        if not self._down and process.started is not None and not self._was_up:
            self._opens(line, process.started, SLOW_START, at_start=True)
        self._closes(line.at)
        self._was_up, self._has_joined = True, False

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
        reason = line.fields.get("reason", "")
        forward = _WENT_FORWARD.search(reason)
        if forward:
            self._seen.clock_steps.append((line.at, float(forward[1])))
        still = _STOOD_STILL.search(reason)
        if still:
            # it woke so much later than it was to: it slept before that, and was last heard of earlier still
            overslept = line.at - float(still[1])
            start = max(overslept - BEAT_S, self.pings.last_answer(overslept) or 0.0, process.first)
            self._seen.freezes.append(Span(min(start, line.at), line.at, line.at, line.zone))

    def _sends(self, process: Process, line: Line) -> None:
        is_first_join = line.fields.get("event") == "join" and not self._has_joined
        if process.node is not None and not is_first_join:
            return
        data = data_of(line)
        if process.node is None:
            process.node = number(data.get("NODE_ID"))
        if is_first_join:
            self._has_joined = True
            if not process.mac and isinstance(data.get("mac"), str):
                process.mac = data["mac"][:64]
            self._seen.joins.append((line.at, None))


def _between(processes: Sequence[Process], end: str) -> Iterator[Span]:
    """From each process that ended so to the next."""
    for one, following in pairwise(processes):
        if one.end == end:
            back = max(one.last, following.first)
            yield Span(one.last, back, back, one.zone)
    if processes and processes[-1].end == end == "stopped":
        yield Span(processes[-1].last, None, processes[-1].last, processes[-1].zone)
