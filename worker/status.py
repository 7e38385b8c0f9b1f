"""Shows the worker's state: to its service manager, in comms.log on SIGUSR1, to `client.py --status`, in METRICS_FILE.

The owner's thread calls everything here, once in every turn of its loop: the manager's watchdog is fed only
while the loop turns.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from config import Config
from failover.states import State
from logging_setup import Logs
from worker import metrics
from worker.inbox import StatusAsked
from worker.metrics import MetricsFile
from worker.status_socket import StatusSocket
from worker.systemd import SystemdNotifier

STATUS_EVERY_S = 1.0
"""Shortest time between two STATUS= messages, in seconds; an unchanged one is not repeated."""
CLOSE_S = 0.2
SENTENCE_LIMIT = 1000
"""Characters of STATUS=: a master may give a reason of any length."""


class Status:
    """Shows what `snapshot` returns for a monotonic time.

    `ask` puts a message into the owner's inbox; `now` is the time of the start.
    """

    def __init__(
        self,
        config: Config,
        notifier: SystemdNotifier,
        logs: Logs,
        snapshot: Callable[[float], dict[str, Any]],
        ask: Callable[[StatusAsked], None],
        now: float,
    ) -> None:
        self._notifier = notifier
        self._logs = logs
        self._snapshot = snapshot
        self._last_sentence = ""
        self._ready_due = False
        self._sentence_s = now if notifier.listening else math.inf
        self._feed_s = now if notifier.feed_s else math.inf
        self._file = MetricsFile(config.metrics_file, logs.comms) if config.metrics_file else None
        self._metrics_s = now if self._file else math.inf
        self._socket = StatusSocket(config.log_dir, ask, logs.comms)

    def start(self) -> None:
        """Begin to answer `client.py --status`."""
        self._socket.start()

    def due(self) -> float:
        """The monotonic time at which `turn` has something to do, infinity: never."""
        return min(self._sentence_s, self._feed_s, self._metrics_s)

    def ready(self) -> None:
        """The first attempt to join is under way: READY=1 is sent at the next turn."""
        self._ready_due = True

    def reloading(self) -> None:
        """The logs are being opened anew."""
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._ready_due = True

    def turn(self, now: float) -> None:
        if self._notifier.listening and (self._ready_due or self._sentence_s <= now):
            self._sentence_s = now + STATUS_EVERY_S
            text = self._logs.clean(sentence(self._snapshot(now)))[:SENTENCE_LIMIT]
            ready = ["READY=1"] if self._ready_due else []
            if (ready or text != self._last_sentence) and self._notifier.send(*ready, f"STATUS={text}"):
                self._ready_due, self._last_sentence = False, text
        if self._feed_s <= now and self._notifier.feed_s and self._notifier.send("WATCHDOG=1"):
            self._feed_s = now + self._notifier.feed_s
        if self._metrics_s <= now and self._file:
            self._metrics_s = now + metrics.EVERY_S
            self._file.put(metrics.exposition(self._snapshot(now)))

    def dump(self, now: float) -> None:
        """Write the whole state into comms.log, whatever LOG_LEVEL is: it was asked for."""
        self._logs.comms.always("state", **self._snapshot(now))

    def answer(self, asked: StatusAsked, now: float) -> None:
        """Give the snapshot that the status socket has asked for."""
        state = self._snapshot(now)
        for name in ("trouble", "unusable"):  # where text of others may be
            if state[name] is not None:
                state[name] = self._logs.clean(state[name])
        asked.reply(state)

    def stopping(self) -> None:
        self._notifier.send("STOPPING=1", "STATUS=releasing the addresses")
        self._sentence_s = math.inf

    def close(self) -> None:
        """Write the last metrics and remove the socket, when everything has ended but the logs."""
        self._socket.close()
        if self._file:
            last = {**self._snapshot(time.monotonic()), "connected": False}
            self._file.close(metrics.exposition(last, up=False), CLOSE_S)


def sentence(state: dict[str, Any]) -> str:
    """A snapshot as one sentence for people; it may contain text of the master's, so it must be escaped."""
    if state["connected"]:
        link = f"connected to {state['master']}"
    else:
        why = f": {state['trouble']}" if state["trouble"] else ""
        link = f"not connected to {state['master']} for {state['connection_s']:.0f} s{why}"
    held = ", ".join(f"{entry['address']} for node {entry['node']}" for entry in state["held"])
    parts = [link, f"holding {held or 'no address for others'}"]
    for entry in state["in_progress"]:
        doing = State[entry["state"].upper()].value.replace(";", ",")
        parts.append(f"{entry['address']} for node {entry['node']}: {doing}")
    rtt_ms = state["rtt_ms"]
    parts.append("no round trip yet" if rtt_ms is None else f"last round trip {rtt_ms:.1f} ms")
    if state["unusable"]:
        parts.append(state["unusable"])
    return "; ".join(parts)
