"""One process of a worker, followed line by line: its connection, freezes and incidents."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timezone

from .causes import of_texts
from .incidents import INCIDENTS
from .model import UNKNOWN, Incident, Outage, Process, Span
from .parser import Line, data_of, decimal, number

SLOW_START_S = 1.0
"""A first connection within this is a start, not an outage."""
BEAT_S = 2.5
"""A worker's loop turns at least so often."""
AFTER_FREEZE_S = 5.0
"""Within which a connection that a freeze has cost is seen to be lost."""
ERRORS_KEPT = 8
ASKED_KEPT = 2000
_STOOD_STILL = re.compile(
    r"(?:stood still|was suspended|frozen|suspended) for (\d{1,9}(?:\.\d+)?) s", re.ASCII
)
_WENT_FORWARD = re.compile(r"clock went forward by (\d{1,9}(?:\.\d+)?) s", re.ASCII)
LastAnswer = Callable[[float], "float | None"]


@dataclass
class _Down:
    """An outage that goes on. `cause`: as the worker's line says it, empty: it does not."""

    start: float
    zone: timezone
    reason: str
    cause: str = ""
    last_answer: float | None = None
    at_start: bool = False
    errors: list[tuple[str, str]] = field(default_factory=list)


class ProcessBuilder:
    """`first`: the line that it begins with. `last_answer`: gives the last acknowledged ping up to a time."""

    def __init__(self, first: Line, last_answer: LastAnswer) -> None:
        self.node: int | None = None
        self.neighbors: tuple[int, ...] = ()
        self.first = self.last = first.at
        self.zone = first.zone
        self.has_info = False
        self.stopping = False
        self.outages: list[Outage] = []
        self.freezes: list[Span] = []
        self.incidents: list[Incident] = []
        self.masters: list[tuple[float, str]] = []
        self.clock_steps: list[tuple[float, float]] = []
        self.stop_at: float | None = None
        self.asked: list[tuple[float, str, int]] = []
        """What other nodes log too: each first join of a connection, and each `restore` about a node."""
        self._started: float | None = None
        self._signal = self._version = self._run = self._mac = ""
        self._down: _Down | None = None
        self._is_up = False
        self._was_up = False
        self._has_joined = False
        self._last_answer = last_answer

    @property
    def is_down(self) -> bool:
        return self._down is not None

    @property
    def key(self) -> str:
        """What tells it from every other process; empty: its start is not in the log."""
        return self._run or (
            f"{self._started} {self._version} {self._mac}" if self._started is not None else ""
        )

    def add(self, line: Line) -> None:
        if line.at < self.last - 1.0 and line.event != "started":
            self.clock_steps.append((line.at, line.at - self.last))
        self.last, self.zone = line.at, line.zone
        self.has_info = self.has_info or line.level in ("INFO", "DEBUG")
        event, fields = line.event, line.fields
        if event in INCIDENTS:
            self.incidents.append(Incident(line.at, event, fields, line.zone))
        match event:
            case "takeover_refused" if line.node is None:
                self.incidents.append(Incident(line.at, "order_refused", fields, line.zone))
            case "started":
                self._started = line.at
                self.node = number(fields.get("node"))
                self._version, self._run = fields.get("version", ""), fields.get("run", "")
                self._mac = fields.get("mac", "")
            case "connecting" | "connect_failed":
                self._tries(line)
            case "connected":
                self._goes_up(line)
            case "disconnected":
                self._goes_down(line)
            case "stopping" | "stopped":
                self.stopping = True
                self.stop_at = self.stop_at or line.at
                self._signal = fields.get("signal", self._signal)
            case "was_frozen":
                self._froze(line)
            case "sent":
                self._sent(line)
            case "received" if fields.get("event") == "restore":
                about = number(data_of(line).get("restore_node"))
                if about is not None:
                    self._ask(line.at, "restore", about)
            case _:
                pass

    def pings_pause(self, line: Line) -> None:
        """The keep-alive says that the connection is lost; for a process without a comms.log."""
        if not self._down:
            reason = line.fields.get("reason", "no reason logged")
            cause = line.fields.get("cause", "")
            self._down = _Down(line.at, line.zone, reason, cause, self._last_answer(line.at))

    def pings_resume(self, at: float) -> None:
        if self._down:
            self._close(at, at)

    def finish(self, last: float, *, superseded: bool) -> tuple[Process, tuple[Outage, ...]]:
        """The process as it stands; `last`: its last line in either log."""
        end = "stopped" if self.stopping else "silent" if superseded else "open"
        outages = list(self.outages)
        down = self._down
        if down and not (down.at_start and not down.errors and last - down.start <= SLOW_START_S):
            outages.append(self._outage(None, max(last, down.start)))
        process = Process(
            self.first, last, self._started, end, self._signal, self._version, self._run, self._mac, self.zone
        )
        return process, tuple(outages)

    def _tries(self, line: Line) -> None:
        if self.stopping:
            return
        if not self._down:
            at_start = self._started is not None and not self._was_up
            reason = "start" if at_start else "its beginning is not in the log"
            start = self._started if at_start and self._started is not None else line.at
            self._down = _Down(start, line.zone, reason, "", self._last_answer(start), at_start)
        self._is_up = False
        if line.event == "connect_failed":
            error, cause = line.fields.get("error", "no error logged"), line.fields.get("cause", "")
            if self._down.at_start and not self._down.errors:
                self._down.reason = f"start: {error}"
            if (error, cause) not in self._down.errors:
                self._down.errors = [*self._down.errors[1 - ERRORS_KEPT :], (error, cause)]

    def _goes_up(self, line: Line) -> None:
        self._has_joined = False
        self.masters.append((line.at, line.fields.get("master", "")))
        down = self._down
        if (
            down is None
            and self._started is not None
            and not self._was_up
            and line.at - self._started > SLOW_START_S
        ):
            down = self._down = _Down(self._started, line.zone, "start", at_start=True)
        if down and down.at_start and not down.errors and line.at - down.start <= SLOW_START_S:
            self._down = None
        elif down:
            self._close(line.at, line.at)
        self._is_up = self._was_up = True

    def _goes_down(self, line: Line) -> None:
        if self.stopping or line.fields.get("cause") == "own_stop":
            self._is_up = False
            return  # a worker that leaves has no outage
        connected_s = decimal(line.fields.get("connected_s"))
        if self._down and connected_s and line.at - connected_s >= self._down.start:
            # LOG_LEVEL=WARNING leaves out the line that said that it was connected
            self._close(line.at - connected_s, line.at - connected_s)
        if not self._down:
            cause = line.fields.get("cause", "")
            if not cause and self.freezes and self.freezes[-1].until >= line.at - AFTER_FREEZE_S:
                cause = "frozen"
            reason = line.fields.get("reason", "no reason logged")
            self._down = _Down(line.at, line.zone, reason, cause, self._last_answer(line.at))
        self._is_up, self._was_up = False, True

    def _close(self, end: float, until: float) -> None:
        self.outages.append(self._outage(end, until))
        self._down = None

    def _outage(self, end: float | None, until: float) -> Outage:
        down = self._down
        assert down is not None  # noqa: S101 - the callers have looked
        cause = of_texts(down.cause, "" if down.at_start else down.reason, down.errors) or UNKNOWN
        if cause == UNKNOWN and down.at_start:
            cause = "no_answer"
        reason = "start: the first connection was slow" if down.reason == "start" else down.reason
        return Outage(
            down.start,
            end,
            until,
            down.zone,
            cause=cause,
            reason=reason,
            last_answer=down.last_answer,
            at_start=down.at_start,
        )

    def _froze(self, line: Line) -> None:
        reason = line.fields.get("reason", "")
        forward = _WENT_FORWARD.search(reason)
        if forward:
            self.clock_steps.append((line.at, float(forward[1])))
        still = _STOOD_STILL.search(reason)
        if still:
            # it woke so much later than it was to: it slept before that, and was last heard of earlier still
            overslept = line.at - float(still[1])
            start = max(overslept - BEAT_S, self._last_answer(overslept) or 0.0, self.first)
            self.freezes.append(Span(min(start, line.at), line.at, line.at, line.zone))

    def _sent(self, line: Line) -> None:
        if line.fields.get("event") != "join":
            if self.node is None:
                self.node = number(data_of(line).get("NODE_ID"))
            return
        if self._has_joined:
            return
        data = data_of(line)
        self._has_joined = True
        neighbors = data.get("neighbors")
        if isinstance(neighbors, list):
            self.neighbors = tuple(each for each in map(number, neighbors[:100]) if each is not None)
        if self.node is None:
            self.node = number(data.get("NODE_ID"))
        if not self._mac and isinstance(data.get("mac"), str):
            self._mac = data["mac"][:64]
        self._ask(line.at, "join", -1)

    def _ask(self, at: float, kind: str, about: int) -> None:
        self.asked.append((at, kind, about))
        if len(self.asked) > 2 * ASKED_KEPT:
            del self.asked[:ASKED_KEPT]
