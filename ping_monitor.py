"""The keep-alive: a ping every PING_INTERVAL, its answer, ping.log, and the verdict that the master is gone.

A ping never waits for the answer of the one before. It is missed when it was not answered in time and nothing
else came either, since answers queue behind a burst. A master that has never acknowledged is judged by Engine.IO's own
times instead: any packet counts as life.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from config import Config
from connection.reconnect import Connection
from logging_setup import EventLogger

LATE_S = 0.02
"""A wake-up that comes this much too late means that this process stood still, not the master."""
GRACE_S = 0.1
"""At least, after such a wake-up, for the reading thread to find what came meanwhile."""
OVERDUE_LIMIT = 1000
"""Pings whose answer may still come; of more, the oldest are forgotten."""


@dataclass
class _Ping:
    """One without an answer, in monotonic seconds: `over_s` is when it is given up, infinity: it was.

    `forgiven`: it got more time, once, after a freeze.
    """

    sent_s: float
    over_s: float
    forgiven: bool = False
    missed: bool = False


class PingMonitor:
    """A thread of its own, from `start` on. `gone` is called with the reason when the master is taken for dead.

    `sent` and `missed` count since the start; `rtt_s` is the last answer's round trip, `answered_s` its monotonic time,
    None: none came.
    """

    def __init__(
        self, config: Config, connection: Connection, log: EventLogger, gone: Callable[[str], None]
    ) -> None:
        self.sent = self.missed = 0
        self.rtt_s: float | None = None
        self.answered_s: float | None = None
        self.due_s = math.inf  # of the next turn, for the watchdog
        self._connection = connection
        self._interval_s = config.ping_interval_s
        self._timeout_s = config.ping_timeout_s
        self._max_missed = config.ping_max_missed
        self._log = log
        self._gone = gone
        # guards all below; also wakes the thread
        self._changed = threading.Condition()
        self._stopping = False
        self._quiet_s: float | None = None  # None: no connection
        self._since_s = self._paused_s = self._mute_s = 0.0
        self._seq = 0
        self._pings: dict[int, _Ping] = {}
        self._missed_in_row = 0
        self._url = ""
        self._acknowledging: set[str] = set()
        self._next_s = 0.0
        self._thread = threading.Thread(target=self._run, name="ping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def resume(self, url: str, quiet_s: float, *, several: bool = False) -> None:
        """A connection to that master is up; a silent one that never acknowledges is dead after `quiet_s`.

        `several`: another one waits, so one that has said nothing at all since it accepted is dead as soon as one
        that acknowledges would be.
        """
        with self._changed:
            now = time.monotonic()
            if self._paused_s:
                self._log.info("pings_resumed", after_s=now - self._paused_s)
                self._paused_s = 0.0
            self._quiet_s = quiet_s
            mute_s = self._max_missed * self._interval_s + self._timeout_s
            self._mute_s = min(quiet_s, mute_s) if several else quiet_s
            self._since_s = self._next_s = now
            self._missed_in_row = 0
            self._url = url
            self._changed.notify()

    def pause(self, reason: str) -> None:
        """The connection is lost; pings without an answer stay without one."""
        with self._changed:
            if self._quiet_s is None:
                return
            unanswered = len(self._pings) or None
            self._quiet_s = None
            self._pings.clear()
            self._paused_s = time.monotonic()
            self._log.warning("pings_paused", reason=reason, unanswered=unanswered)

    def acknowledged(self, seq: int) -> None:
        """An answer came; the reading thread's."""
        now = time.monotonic()
        with self._changed:
            ping = self._pings.pop(seq, None)
            if ping is None:
                return
            self._acknowledging.add(self._url)
            self._missed_in_row = 0
            self.rtt_s, self.answered_s = now - ping.sent_s, now
            self._log.info("ping", seq=seq, rtt_ms=(now - ping.sent_s) * 1000, late=ping.missed or None)

    def _run(self) -> None:
        while True:
            reason = None
            with self._changed:
                due = self.due_s = self._next_due()
                wait_s = due - time.monotonic()
                if not self._stopping and wait_s > 0:
                    self._changed.wait(None if due == math.inf else wait_s)
                if self._stopping:
                    return
                now = self.due_s = time.monotonic()
                if now - due > LATE_S:
                    self._forgive(now - due, now)
                if self._quiet_s is not None:
                    if self._next_s <= now:
                        self._ping(now)
                    reason = self._judge(now)
            if reason:
                self.pause(reason)
                self._gone(reason)

    def _next_due(self) -> float:
        """When there is something to do: a ping to send, or one to give up; infinity: not before a change."""
        if self._quiet_s is None:
            return math.inf
        return min([self._next_s, *(ping.over_s for ping in self._pings.values())])

    def _ping(self, now: float) -> None:
        # the cadence is kept, but what a freeze has let slip is not made up for
        self._next_s = max(self._next_s + self._interval_s, now)
        self._seq += 1
        text = datetime.now().strftime("%Y-%m-%d %H:%M:%S.%f")[:-2]  # noqa: DTZ005 - local time, as the protocol has it
        self._pings[self._seq] = _Ping(now, now + self._timeout_s)
        if self._connection.ping(self._seq, text):
            self.sent += 1
        else:
            del self._pings[self._seq]
        oldest = next(iter(self._pings), 0)
        if len(self._pings) > OVERDUE_LIMIT and self._pings[oldest].over_s == math.inf:
            del self._pings[oldest]

    def _judge(self, now: float) -> str | None:
        """Give up the pings whose time is over; the reason when that makes the master dead, else None."""
        acknowledges = self._url in self._acknowledging
        for seq, ping in self._pings.items():
            if ping.over_s > now:
                continue
            ping.over_s = math.inf
            ping.missed = acknowledges and self._connection.last_packet_s < ping.sent_s
            if not acknowledges:
                self._log.info("ping_sent", seq=seq)
            elif ping.missed:
                self._missed_in_row += 1
                self.missed += 1
                timeout_ms = self._timeout_s * 1000
                self._log.warning("ping_missed", seq=seq, timeout_ms=timeout_ms, missed=self._missed_in_row)
                if self._missed_in_row >= self._max_missed:
                    if (self.answered_s or 0.0) < self._since_s:
                        # none came on this connection: it may be another master now, which never acknowledges
                        self._acknowledging.discard(self._url)
                    return f"{self._missed_in_row} pings in a row without an answer"
            else:
                self._missed_in_row = 0
        last_s = self._connection.last_packet_s
        quiet_for_s = now - max(self._since_s, last_s)
        quiet_s = self._quiet_s if last_s > self._since_s else self._mute_s
        if quiet_s is not None and not acknowledges and quiet_for_s > quiet_s:
            return f"nothing from the master for {quiet_for_s:.0f} s"
        return None

    def _forgive(self, gap_s: float, now: float) -> None:
        """The process itself stood still for `gap_s`: that counts against no ping, and an answer that came
        meanwhile has yet to be read. Only once for each, since a busy machine may always be late.
        """
        grace_s = min(self._timeout_s, max(GRACE_S, gap_s))
        for ping in self._pings.values():
            if not ping.forgiven:
                ping.forgiven = True
                ping.over_s = max(ping.over_s, now + grace_s)
        self._since_s += gap_s
