"""What the worker shows of itself: to its service manager, to whoever sends SIGUSR1, and in METRICS_FILE.

The owner's thread calls everything here, once in every turn of its loop: that the loop turns is what the
manager's watchdog is fed with.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sized
from dataclasses import dataclass, replace
from typing import Optional

from config import Config
from connection.reconnect import Connection
from failover.machine import Failover
from failover.node import Node
from logging_setup import Logs
from ping_monitor import PingMonitor
from worker import metrics
from worker.metrics import MetricsFile, Tally
from worker.snapshot import Snapshot
from worker.systemd import Notifier

SAY_EVERY_S = 1.0
"""At the most; what has not changed is not said again."""
LOOK_S = 0.05
"""Between two looks at whether the logs are open, while the manager waits for that."""
LOGS_S = 5.0
"""After which it is told that all is ready even so: a disk that stalls must not end a worker that works."""
GOODBYE_S = 0.2
WORDS_LIMIT = 1000


@dataclass(frozen=True)
class ShowState:
    """SIGUSR1."""


@dataclass(frozen=True)
class Parts:
    """Where the state is read."""

    config: Config
    version: str
    backend: str
    logs: Logs
    log: Tally
    node: Node
    connection: Connection
    pings: PingMonitor
    failover: Failover
    answers: Sized


class Status:
    def __init__(self, notifier: Notifier, parts: Parts, now: float) -> None:
        self._notifier = notifier
        self._parts = parts
        self._started_s = now
        self._said = ""
        self._ready = False
        # since when the manager waits for `READY=1`, None: it does not
        self._waited_s: Optional[float] = None
        self._say_s = now if notifier.listening else math.inf
        self._feed_s = now if notifier.feed_s else math.inf
        path = parts.config.metrics_file
        self._file = MetricsFile(path, parts.log) if path else None
        self._metrics_s = now if path else math.inf

    def due(self) -> float:
        """The monotonic time at which `turn` has something to do, infinity: never."""
        look_s = math.inf if self._waited_s is None else time.monotonic() + LOOK_S
        return min(self._say_s, self._feed_s, self._metrics_s, look_s)

    def begun(self, now: float) -> None:
        """The first attempt to join is under way: the manager is told so as soon as the logs are open."""
        self._waited_s = now

    def reloading(self, now: float) -> None:
        """The logs are being opened anew."""
        if self._ready:
            self._notifier.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            self._waited_s = now

    def turn(self, now: float) -> None:
        if self._waited_s is not None and (self._parts.logs.opened or now - self._waited_s > LOGS_S):
            text = self._words(now)
            if self._notifier.tell("READY=1", f"STATUS={text}"):
                self._ready, self._said, self._waited_s = True, text, None
        if self._feed_s <= now and self._notifier.feed_s and self._notifier.tell("WATCHDOG=1"):
            self._feed_s = now + self._notifier.feed_s
        if self._say_s <= now:
            self._say_s = now + SAY_EVERY_S
            text = self._words(now)
            if text != self._said and self._notifier.tell(f"STATUS={text}"):
                self._said = text
        if self._metrics_s <= now and self._file:
            self._metrics_s = now + metrics.EVERY_S
            self._file.put(metrics.exposition(self.look(now)))

    def show(self, now: float) -> None:
        """Write the whole state into comms.log, whatever LOG_LEVEL is: somebody asked for it."""
        self._parts.log.always("state", **self.look(now).fields(now))

    def stopping(self) -> None:
        self._notifier.tell("STOPPING=1", "STATUS=giving the addresses back")
        self._say_s = math.inf

    def close(self) -> None:
        """The last word, when everything has ended but the logs."""
        if self._file:
            last = replace(self.look(time.monotonic()), up=False, transport=None)
            self._file.put(metrics.exposition(last))
            self._file.close(GOODBYE_S)

    def look(self, now: float) -> Snapshot:
        parts = self._parts
        connection, counts, primary = parts.connection, parts.pings.counts, parts.node.primary
        up = connection.up
        since_s = connection.up_s if up else connection.lost_s
        # a master that never acknowledges still sends something
        answered_s = counts.answered_s or connection.last_packet_s or None
        return Snapshot(
            up=True,
            node=parts.config.node_id,
            version=parts.version,
            pid=os.getpid(),
            backend=parts.backend,
            uptime_s=now - self._started_s,
            master=connection.url,
            transport=up.transport if up else None,
            link_s=now - (self._started_s if since_s is None else since_s),
            trouble=connection.trouble,
            reconnects=max(0, connection.made - 1),
            pings_sent=counts.sent,
            pings_missed=counts.missed,
            rtt_s=counts.rtt_s,
            answer_age_s=None if answered_s is None else max(0.0, now - answered_s),
            primary=str(primary.ip) if primary else None,
            unusable=parts.failover.unusable,
            claims=parts.failover.entries,
            answers_waiting=len(parts.answers),
            orders=parts.log.orders,
            lines_lost=parts.logs.lines_lost,
        )

    def _words(self, now: float) -> str:
        # a master may give a reason of any length
        return self._parts.logs.clean(self.look(now).words())[:WORDS_LIMIT]
