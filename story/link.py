"""The connection of one process to its master, followed line by line: when it was up, and why it was not."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Optional

from .causes import NO_BEGINNING, START_REASON, of_outage
from .episodes import Outage, Span
from .items import Item, Line
from .moments import seconds

MOST_S = 366 * 86400.0
"""Seconds of a connection that are believed."""
AFTER_FREEZE_S = 5.0
"""Within which a connection that a freeze has cost is seen to be lost."""
ERRORS_KEPT = 8

_DOWN_ALREADY = frozenset({"started", "connecting", "connect_failed", "stopping", "stopped", "crashed"})


def decimal(text: str) -> Optional[float]:
    """A duration as a field gives it; None: it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


@dataclass
class _Down:
    start: datetime
    reason: str
    last_answer: Optional[datetime]
    frozen: bool = False
    errors: list[str] = field(default_factory=list)


class Link:
    """`after_stop`: whether the node's process before this one was told to stop."""

    def __init__(self, first: Item, *, starts: bool, after_stop: bool = False) -> None:
        self.sure = starts
        """Whether a line has told if it is up; a log that begins later than its process says so only then."""
        self.freezes: list[Span] = []
        self.was_connected = False
        self.masters: list[tuple[float, str]] = []
        """Each connection's start, and its master's URL."""
        self._first_at = first.at
        self._starts = starts
        self._after_stop = after_stop
        self._outages: list[Outage] = []
        self._up: list[tuple[float, float]] = []
        self._up_since: Optional[float] = None
        self._down: Optional[_Down] = None

    @property
    def is_down(self) -> bool:
        """Without a master, in an outage that goes on."""
        return self._down is not None

    def heard(self) -> None:
        """A keep-alive was logged: where nothing else has told, it is up, and was when the log began."""
        if not self.sure:
            self.sure = True
            self._up_since = self._first_at

    def pause(self, line: Line, last_answer: Optional[datetime]) -> None:
        """The keep-alive says that the connection was lost; for a process whose comms.log tells nothing."""
        self.heard()
        self._goes_down(line.at)
        if not self._down:
            self._down = _Down(line.when, line.fields.get("reason", "no reason logged"), last_answer)

    def resume(self, at: float, when: datetime) -> None:
        """The keep-alive goes on, so there is a connection again; as above."""
        self.sure = True
        self._is_up(at, when)

    def outages(self, last: datetime) -> list[Outage]:
        """Those that are over, and one that its process did not see end, whose last line is `last`."""
        return [*self._outages, self._outage(None, last)] if self._down else list(self._outages)

    def up(self, last_at: float) -> list[tuple[float, float]]:
        """When there was a master, to the last line."""
        return self._up if self._up_since is None else [*self._up, (self._up_since, last_at)]

    def stop(self, line: Line) -> None:
        self._goes_down(line.at)

    def add(self, line: Line, last_answer: Optional[datetime], *, stopping: bool) -> None:
        if not self.sure and line.event not in _DOWN_ALREADY and line.event != "connected":
            self.heard()
        self.sure = True
        if line.event == "connected":
            self.was_connected = True
            self.masters.append((line.at, line.fields.get("master", "")))
            self._is_up(line.at, line.when)
        elif stopping:
            # a worker that leaves has no outage
            return
        elif line.event == "disconnected":
            self._see_unlogged(line)
            self._goes_down(line.at)
            if not self._down:
                reason = line.fields.get("reason", "no reason logged")
                self._down = _Down(line.when, reason, last_answer, self._just_froze(line.at))
        elif line.event in ("connecting", "connect_failed"):
            self._tries(line, last_answer)

    def _is_up(self, at: float, when: datetime) -> None:
        if self._down:
            self._outages.append(self._outage(when, when))
            self._down = None
        if self._up_since is None:
            self._up_since = at

    def _goes_down(self, at: float) -> None:
        if self._up_since is not None:
            self._up.append((self._up_since, at))
            self._up_since = None

    def _tries(self, line: Line, last_answer: Optional[datetime]) -> None:
        self._goes_down(line.at)
        if not self._down:
            first = self._starts and not self.was_connected
            self._down = _Down(line.when, START_REASON if first else NO_BEGINNING, last_answer)
        if line.event == "connect_failed":
            error = line.fields.get("error", "no error logged")
            if error not in self._down.errors:
                self._down.errors = [*self._down.errors[-ERRORS_KEPT + 1 :], error]
            if self._down.reason == START_REASON:
                self._down.reason = f"{START_REASON}: {error}"

    def _outage(self, end: Optional[datetime], until: datetime) -> Outage:
        down = self._down
        assert down is not None  # noqa: S101 - both callers have looked
        cause = of_outage(down.reason, down.errors, frozen=down.frozen, after_stop=self._after_stop)
        refused = any("connection refused" in error for error in down.errors)
        told = down.reason.startswith(START_REASON)
        detail = "connections were refused meanwhile" if refused and not told and not down.frozen else ""
        return Outage(down.start, end, until, down.reason, cause, detail, down.last_answer)

    def _just_froze(self, at: float) -> bool:
        last = self.freezes[-1].end if self.freezes else None
        return last is not None and at - AFTER_FREEZE_S <= seconds(last) <= at + 1.0

    def _see_unlogged(self, line: Line) -> None:
        """A connection that ends while none is known had begun `connected_s` before: LOG_LEVEL=WARNING leaves
        out the line that said so.
        """
        connected_s = decimal(line.fields.get("connected_s", ""))
        if not self._down or not connected_s:
            return
        end = line.when - timedelta(seconds=min(connected_s, MOST_S))
        if end >= self._down.start:
            self._outages.append(self._outage(end, end))
            self._down = None
            self._up_since = seconds(end)
