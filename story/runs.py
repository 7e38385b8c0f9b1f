"""One process of a worker, followed line by line: its keep-alives, and what befell it."""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_right
from datetime import datetime
from typing import NamedTuple, Optional

from .episodes import Incident, Outage, Run, Span, Step
from .items import Item, Line, Ping
from .link import Link
from .moments import at_second, covers, seconds, spans, without

SENT_KEPT = 1000
"""Unacknowledged pings that are remembered in case an answer comes; an older one's never does."""
STEP_S = 1.0
"""A line that was written before the one above it, by more than this: the clock was put back."""
QUIET_S = 90.0
"""A process without a master logs a failed attempt at least once a minute."""
HOLE_S, HOLE_PINGS = 5.0, 3
"""A process that is connected pings: more than this long, and so many intervals, without one is a hole."""
MISSED_LATE_S = 60.0
ENOUGH_PINGS = 10
"""From which on their interval is known."""
PING_EVENTS = frozenset({"ping", "ping_missed", "ping_sent", "pings_paused", "pings_resumed"})
"""What stands in ping.log."""
INCIDENTS = frozenset(
    {
        "address_adopted",
        "address_conflict",
        "address_lost",
        "address_restored",
        "crashed",
        "hung",
        "log_lines_lost",
        "network_unusable",
        "order_refused",
        "release_failed",
    }
)
FEW_PINGS = 3
"""A process that has just started has sent no more."""
BEAT_S = 1.0
"""A worker's loop turns at least so often."""
_STOOD_STILL = re.compile(r"(?:stood still|was suspended) for (\d{1,9}(?:\.\d+)?) s", re.ASCII)
_WENT_FORWARD = re.compile(r"clock went forward by (\d{1,9}(?:\.\d+)?) s", re.ASCII)


AROUND_S = 600.0
"""Before and after what is told, for which pings are kept: they say why a connection was lost."""


class Window(NamedTuple):
    """What of a log is told, in seconds since 1970; what is outside still says how things stand."""

    since: float = -math.inf
    until: float = math.inf


def moment(item: Item) -> datetime:
    """When the line was written, with its own offset."""
    return at_second(item.at, item.zone) if isinstance(item, Ping) else item.when


def _count(seq: str) -> Optional[int]:
    """None: it is no count, as in the scripts of 2020."""
    return int(seq) if seq.isdecimal() and len(seq) < 16 else None


class RunDraft:
    """A process of which more lines may come. `told`: the node that a line of it names, None: none yet;
    `node`: that one, or what others tell in its stead. `after_stop`: the one before it was told to stop.
    """

    def __init__(self, first: Item, window: Window = Window(), *, after_stop: bool = False) -> None:
        self.told: Optional[int] = None
        self.node: Optional[int] = None
        self.first = self.last = first
        self.started: Optional[datetime] = None
        self.version = ""
        self.stopping = False
        self.stop_at: Optional[datetime] = None
        self.superseded = False
        """Whether another process wrote after it."""
        self.comms = False
        """Whether a line of comms.log is among its lines."""
        self.has_info = isinstance(first, Ping)
        """Whether its LOG_LEVEL shows what should happen: a line of INFO is among its lines."""
        self.signal: Optional[str] = None
        self.neighbours: tuple[int, ...] = ()
        self.incidents: list[Incident] = []
        self.answered_at = array("d")
        self.answered_ms = array("d")
        self.missed_at = array("d")
        starts = isinstance(first, Line) and first.event == "started"
        self.link = Link(first, starts=starts, after_stop=after_stop)
        self._since, self._until = window
        self._keep_from, self._keep_to = window.since - AROUND_S, window.until + AROUND_S
        self._in_time = self._unacknowledged = 0
        self.missed = 0
        self._sent: dict[str, float] = {}
        self._last_ping: Optional[Ping] = None
        self._interval_s = self._interval_before_s = 0.0
        self._ping_steps: list[Step] = []
        self._line_steps: list[Step] = []
        self._line_at = -math.inf

    @property
    def pings(self) -> int:
        waiting = sum(self._since <= at <= self._until for at in self._sent.values())
        return self._in_time + self.missed + self._unacknowledged + waiting

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
        if self.link.is_down or not (self._interval_s or self._interval_before_s):
            return QUIET_S
        # two, since answers that were late come at one time
        return max(5.0, 3 * max(self._interval_s, self._interval_before_s))

    @property
    def steps(self) -> list[Step]:
        # both logs show a step; each in its own order
        return self._ping_steps or self._line_steps

    def add_ping(self, ping: Ping) -> None:
        self.last = ping
        self.has_info = True
        before, self._last_ping = self._last_ping, ping
        if not self.comms and self.link.is_down:
            self.link.resume(ping.at, moment(ping))
        if before is None:
            if not self.link.sure:
                self.link.heard()
        elif ping.at < before.at - STEP_S:
            self._ping_steps.append(Step(moment(ping), ping.at - before.at))
        else:
            self._interval_before_s, self._interval_s = self._interval_s, ping.at - before.at
        if self._sent:
            self._sent.pop(ping.seq, None)
        if self._keep_from <= ping.at <= self._keep_to:
            self.answered_at.append(ping.at)
            self.answered_ms.append(ping.rtt_ms)
            if self._since <= ping.at <= self._until and not ping.late:
                self._in_time += 1

    def is_next(self, item: Item, *, sure: bool) -> bool:
        """Whether a line of ping.log goes on where this process's last answer was; each process counts from 1.
        `sure`: its successor's `started` is known to have been written by an earlier clock.
        """
        last = self._last_ping
        if last is None:
            return sure and self.first.at <= item.at <= self.last.at + self.patience_s
        if not 0 <= item.at - last.at <= self.patience_s:
            return False
        seq = _count(item.seq if isinstance(item, Ping) else item.fields.get("seq", last.seq))
        last_seq = _count(last.seq)
        if seq is None or last_seq is None:
            return False
        return (sure or last_seq > FEW_PINGS) and 0 <= seq - last_seq <= FEW_PINGS

    def forget_pings(self, kept: int) -> None:
        """Keep the last ones alone; those before go on being counted."""
        del self.answered_at[:-kept], self.answered_ms[:-kept]

    def add(self, line: Line) -> None:
        self.last = line
        self.comms = self.comms or line.event not in PING_EVENTS
        self.has_info = self.has_info or line.is_info
        if line.event == "said":
            return
        if line.at < self._line_at - STEP_S:
            self._line_steps.append(Step(line.when, line.at - self._line_at))
        self._line_at = line.at
        event, fields = line.event, line.fields
        if event == "started":
            self.started = line.when
            self.version = fields.get("version", "")
        elif event in ("stopping", "stopped"):
            self.stopping = True
            self.stop_at = self.stop_at or line.when
            self.signal = fields.get("signal", self.signal)
            self.link.stop(line)
        elif event in PING_EVENTS:
            self._add_unanswered(line)
            if not self.comms:
                self._follow_pings(line)
        elif event in INCIDENTS:
            self.incidents.append(Incident(line.when, event, fields))
        elif event == "was_frozen":
            self._froze(line)
        else:
            self.link.add(line, self._last_answer(), stopping=self.stopping)

    def _last_answer(self) -> Optional[datetime]:
        return moment(self._last_ping) if self._last_ping else None

    def _follow_pings(self, line: Line) -> None:
        if line.event == "pings_paused":
            self.link.pause(line, self._last_answer())
        elif line.event == "pings_resumed" or self.link.is_down:
            self.link.resume(line.at, line.when)

    def _add_unanswered(self, line: Line) -> None:
        seq, counts = line.fields.get("seq", ""), self._since <= line.at <= self._until
        if line.event == "ping_missed":
            self.link.heard()
            if self._keep_from <= line.at <= self._keep_to:
                self.missed_at.append(line.at)
            self.missed += counts
            self._sent.pop(seq, None)
        elif line.event == "ping_sent":
            self.link.heard()
            self._sent[seq] = line.at
            if len(self._sent) > SENT_KEPT:
                at = self._sent.pop(next(iter(self._sent)))
                self._unacknowledged += self._since <= at <= self._until
        else:
            self._unacknowledged += sum(self._since <= at <= self._until for at in self._sent.values())
            self._sent.clear()

    def _froze(self, line: Line) -> None:
        reason = line.fields.get("reason", "")
        forward = _WENT_FORWARD.search(reason)
        if forward:
            self._line_steps.append(Step(line.when, float(forward.group(1))))
        still = _STOOD_STILL.search(reason)
        if still:
            # it woke so much later than it was to: it slept before that, and was last heard of earlier still
            overslept = line.at - float(still.group(1))
            place = bisect_right(self.answered_at, overslept)
            answered = self.answered_at[place - 1] if place else -math.inf
            start = max(overslept - BEAT_S, answered, self.first.at)
            self.link.freezes.append(Span(at_second(min(start, line.at), line.when.tzinfo), line.when))

    def outages(self) -> list[Outage]:
        return self.link.outages(moment(self.last))

    def finish(self) -> Run:
        """The process as it stands after its last line."""
        return Run(moment(self.first), moment(self.last), self.started, self.version, self.ended, self.signal)

    def connected(self) -> list[tuple[float, float]]:
        """When it had a master, holes and freezes included."""
        return self.link.up(self.last.at)

    def holes(self) -> list[Span]:
        """When it was connected and wrote no ping, and no freeze explains it; as far as its pings are kept."""
        times = self.answered_at
        if len(times) < ENOUGH_PINGS:
            return []
        usual = sorted(later - earlier for earlier, later in zip(times[:200], times[1:200]))
        limit_s = max(HOLE_S, HOLE_PINGS * usual[len(usual) // 2])
        gaps = self._gaps(limit_s)
        if not gaps:
            return []
        frozen = [
            (span.start.timestamp() - 2, span.end.timestamp() + 2) for span in self.link.freezes if span.end
        ]
        up = without(spans(self.connected()), frozen)
        zone = self.last.zone if isinstance(self.last, Ping) else self.last.when.tzinfo
        return [
            Span(at_second(start, zone), at_second(end, zone))
            for start, end in gaps
            if covers(up, start, end) and not self._is_step(start, end, limit_s)
        ]

    def _is_step(self, start: float, end: float, limit_s: float) -> bool:
        """Whether the clock was set forward by about so much then: no such time has passed."""
        return any(
            start <= seconds(step.when) <= end + HOLE_S and -STEP_S <= end - start - step.seconds <= limit_s
            for step in self._line_steps
        )

    def _gaps(self, limit_s: float) -> list[tuple[float, float]]:
        """Where the sending of two pings lies further apart than that; an answer may well come late."""
        found = []
        before = self.answered_at[0]
        for at, ms in zip(self.answered_at, self.answered_ms):
            if at - before > limit_s and at - ms / 1000 - before > limit_s:
                found.append((before, at - ms / 1000))
            before = at
        return [gap for gap in found if not self._misses_after(gap)]

    def _misses_after(self, gap: tuple[float, float]) -> bool:
        """Whether its pings went out and were missed, which is told once PING_TIMEOUT is over."""
        place = bisect_right(self.missed_at, gap[0])
        return place < len(self.missed_at) and self.missed_at[place] <= gap[1] + MISSED_LATE_S
