"""Shows the worker's state: to its service manager, in comms.log on SIGUSR1, and in METRICS_FILE.

The owner's thread calls everything here, once in every turn of its loop: the manager's watchdog is fed only
while the loop turns.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from config import Config
from connection.reconnect import Connection
from failover.machine import Failover
from failover.node import Node
from logging_setup import EventLogger, Logs
from ping_monitor import PingMonitor
from worker import metrics
from worker.messages import StatusAsked
from worker.metrics import MetricsFile
from worker.reports import Reports
from worker.snapshot import Snapshot
from worker.status_socket import StatusSocket
from worker.systemd import SystemdNotifier

STATUS_EVERY_S = 1.0
"""Shortest time between two STATUS= messages, in seconds; an unchanged one is not repeated."""
POLL_LOGS_S = 0.05
"""Seconds between two looks at whether the logs are open, while the manager waits for READY=1."""
READY_LIMIT_S = 5.0
"""Seconds after which READY=1 is sent even so: a stalled disk must not end a worker that works."""
CLOSE_S = 0.2
SENTENCE_LIMIT = 1000
"""Characters of STATUS=: a master may give a reason of any length."""


@dataclass(frozen=True)
class StatusSources:
    """The parts that the state is read from."""

    config: Config
    version: str
    run: str
    backend: str
    logs: Logs
    log: EventLogger
    node: Node
    connection: Connection
    pings: PingMonitor
    failover: Failover
    reports: Reports


class Status:
    def __init__(
        self, notifier: SystemdNotifier, sources: StatusSources, ask: Callable[[object], None], now: float
    ) -> None:
        """`ask` puts a message into the owner's inbox; `now` is the monotonic time of the start."""
        self._notifier = notifier
        self._sources = sources
        self._started_s = now
        self._last_sentence = ""
        self._ready = False
        # since when READY=1 is due, None: it is not
        self._ready_due_since_s: float | None = None
        self._sentence_s = now if notifier.listening else math.inf
        self._feed_s = now if notifier.feed_s else math.inf
        path = sources.config.metrics_file
        self._file = MetricsFile(path, sources.log) if path else None
        self._metrics_s = now if path else math.inf
        self._socket = StatusSocket(sources.config.log_dir, lambda: ask(StatusAsked()), sources.log)

    def start(self) -> None:
        """Begin to answer `client.py --status`."""
        self._socket.start()

    def due(self) -> float:
        """The monotonic time at which `turn` has something to do, infinity: never."""
        poll_s = math.inf if self._ready_due_since_s is None else time.monotonic() + POLL_LOGS_S
        return min(self._sentence_s, self._feed_s, self._metrics_s, poll_s)

    def connecting(self, now: float) -> None:
        """The first attempt to join is under way: READY=1 is sent as soon as the logs are open."""
        self._ready_due_since_s = now

    def reloading(self, now: float) -> None:
        """The logs are being opened anew."""
        if self._ready:
            self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            self._ready_due_since_s = now

    def turn(self, now: float) -> None:
        if self._ready_due_since_s is not None and (
            self._sources.logs.opened or now - self._ready_due_since_s > READY_LIMIT_S
        ):
            text = self._sentence(now)
            if self._notifier.send("READY=1", f"STATUS={text}"):
                self._ready, self._last_sentence, self._ready_due_since_s = True, text, None
        if self._feed_s <= now and self._notifier.feed_s and self._notifier.send("WATCHDOG=1"):
            self._feed_s = now + self._notifier.feed_s
        if self._sentence_s <= now:
            self._sentence_s = now + STATUS_EVERY_S
            text = self._sentence(now)
            if text != self._last_sentence and self._notifier.send(f"STATUS={text}"):
                self._last_sentence = text
        if self._metrics_s <= now and self._file:
            self._metrics_s = now + metrics.EVERY_S
            self._file.put(metrics.exposition(self.snapshot(now)))

    def dump(self, now: float) -> None:
        """Write the whole state into comms.log, whatever LOG_LEVEL is: it was asked for."""
        self._sources.log.always("state", **self.snapshot(now).fields(now))

    def answer(self, now: float) -> None:
        """Give the snapshot that the status socket has asked for."""
        fields = self.snapshot(now).fields(now)
        for name in ("trouble", "unusable"):  # where text of others may be
            if fields[name] is not None:
                fields[name] = self._sources.logs.clean(fields[name])
        self._socket.answer(fields)

    def stopping(self) -> None:
        self._notifier.send("STOPPING=1", "STATUS=releasing the addresses")
        self._sentence_s = math.inf

    def close(self) -> None:
        """Write the last metrics and remove the socket, when everything has ended but the logs."""
        self._socket.close()
        if self._file:
            last = replace(self.snapshot(time.monotonic()), up=False, transport=None)
            self._file.put(metrics.exposition(last))
            self._file.close(CLOSE_S)

    def snapshot(self, now: float) -> Snapshot:
        sources = self._sources
        connection, counts, primary = sources.connection, sources.pings.counts, sources.node.primary
        up = connection.up
        since_s = connection.up_s if up else connection.lost_s
        # a master that never acknowledges still sends something
        answered_s = counts.answered_s or connection.last_packet_s or None
        return Snapshot(
            up=True,
            node=sources.config.node_id,
            version=sources.version,
            run=sources.run,
            pid=os.getpid(),
            backend=sources.backend,
            uptime_s=now - self._started_s,
            master=connection.url,
            transport=up.transport if up else None,
            connection_s=now - (self._started_s if since_s is None else since_s),
            trouble=sources.reports.refusal or connection.trouble,
            reconnects=max(0, connection.made - 1),
            pings_sent=counts.sent,
            pings_missed=counts.missed,
            rtt_s=counts.rtt_s,
            answer_age_s=None if answered_s is None else max(0.0, now - answered_s),
            primary=str(primary.ip) if primary else None,
            unusable=sources.failover.unusable,
            entries=sources.failover.entries,
            answers_waiting=len(sources.reports),
            orders=dict(sources.failover.orders),
            lines_lost=sources.logs.lines_lost,
        )

    def _sentence(self, now: float) -> str:
        return self._sources.logs.clean(self.snapshot(now).sentence())[:SENTENCE_LIMIT]
