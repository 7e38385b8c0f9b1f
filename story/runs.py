"""One process of a worker, followed line by line: its keep-alives and its connection to the master."""

from __future__ import annotations

import math
from array import array
from datetime import datetime, timedelta
from typing import Optional

from .episodes import Incident, Outage, Run
from .reading import EPOCH, Item, Line, Ping

SENT_KEPT = 1000
"""Unacknowledged pings that are remembered in case an answer comes; an older one's never does."""
MOST_S = 366 * 86400.0
"""Seconds of a connection that are believed."""
INCIDENTS = frozenset(
    {
        "address_adopted",
        "address_conflict",
        "address_lost",
        "address_restored",
        "crashed",
        "log_lines_lost",
        "release_failed",
    }
)


def decimal(text: str) -> Optional[float]:
    """A duration as a field gives it; None: it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def moment(item: Item) -> datetime:
    """When the line was written, with its own offset."""
    if isinstance(item, Ping):
        return (EPOCH + timedelta(seconds=item.at)).astimezone(item.zone)
    return item.when


class RunDraft:
    """A process of which more lines may come. `node`: None until a line tells it."""

    def __init__(self, first: Item) -> None:
        self.node: Optional[int] = None
        self.first = self.last = first
        self.started: Optional[datetime] = None
        self.version = ""
        self.stopping = False
        self.superseded = False
        """Whether another process wrote after it."""
        self.signal: Optional[str] = None
        self.outages: list[Outage] = []
        self.incidents: list[Incident] = []
        self.answered_at = array("d")
        self.answered_ms = array("d")
        self.missed_at = array("d")
        self._late = self._unacknowledged = 0
        self._sent: dict[str, None] = {}
        self._down: Optional[tuple[datetime, str]] = None
        self._was_connected = False

    @property
    def pings(self) -> int:
        in_time = len(self.answered_at) - self._late
        return in_time + self.missed + self._unacknowledged + len(self._sent)

    @property
    def missed(self) -> int:
        return len(self.missed_at)

    @property
    def ended(self) -> str:
        if self.stopping:
            return "stopped"
        return "silent" if self.superseded else "open"

    @property
    def patience_s(self) -> float:
        """Seconds after its last line from which a process that goes on is known not to be silent: it pings,
        or, without the master, tries again at least so often.
        """
        if self._down or len(self.answered_at) < 2:
            return 60.0
        return max(5.0, 3 * (self.answered_at[-1] - self.answered_at[-2]))

    def add_ping(self, ping: Ping) -> None:
        self.last = ping
        self.answered_at.append(ping.at)
        self.answered_ms.append(ping.rtt_ms)
        if ping.late:
            self._late += 1
        if self._sent:
            self._sent.pop(ping.seq, None)

    def add(self, line: Line) -> None:
        self.last = line
        event, fields = line.event, line.fields
        if event == "started":
            self.started = line.when
            self.version = fields.get("version", "")
        elif event in ("stopping", "stopped"):
            self.stopping = True
            self.signal = fields.get("signal", self.signal)
        elif event == "ping_missed":
            self.missed_at.append(line.at)
            self._sent.pop(fields.get("seq", ""), None)
        elif event == "ping_sent":
            self._sent[fields.get("seq", "")] = None
            if len(self._sent) > SENT_KEPT:
                del self._sent[next(iter(self._sent))]
                self._unacknowledged += 1
        elif event in ("pings_paused", "pings_resumed"):
            self._unacknowledged += len(self._sent)
            self._sent.clear()
        elif event in INCIDENTS:
            self.incidents.append(Incident(line.when, event, fields))
        else:
            self._follow_connection(line)

    def _follow_connection(self, line: Line) -> None:
        if line.event == "connected":
            self._was_connected = True
            if self._down:
                start, reason = self._down
                self.outages.append(Outage(start, line.when, line.when, reason))
                self._down = None
        elif self.stopping:
            # a worker that leaves has no outage
            return
        elif line.event == "disconnected":
            self._see_unlogged_connection(line)
            self._down = self._down or (line.when, line.fields.get("reason", "no reason logged"))
        elif line.event in ("connecting", "connect_failed"):
            if not self._down:
                first = self.started is not None and not self._was_connected
                self._down = (line.when, "start" if first else "its beginning is not in the log")
            start, reason = self._down
            if reason == "start" and line.event == "connect_failed":
                self._down = (start, f"start: {line.fields.get('error', 'no error logged')}")

    def _see_unlogged_connection(self, line: Line) -> None:
        """A connection that ends while none is known had begun `connected_s` before: LOG_LEVEL=WARNING leaves
        out the line that said so.
        """
        connected_s = decimal(line.fields.get("connected_s", ""))
        if not self._down or not connected_s:
            return
        start, reason = self._down
        end = line.when - timedelta(seconds=min(connected_s, MOST_S))
        if end >= start:
            self.outages.append(Outage(start, end, end, reason))
            self._down = None

    def finish(self) -> Run:
        """The process as it stands after its last line; an outage that it did not see end is among its own."""
        last = moment(self.last)
        if self._down:
            start, reason = self._down
            self._down = None
            self.outages.append(Outage(start, None, last, reason))
        return Run(moment(self.first), last, self.started, self.version, self.ended, self.signal)
