"""METRICS_FILE: the worker's state as a Prometheus textfile, for node_exporter's textfile collector or the like."""

from __future__ import annotations

import os
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Optional

from logging_setup import Log
from worker.snapshot import Snapshot

EVERY_S = 15.0
ORDERS = (
    ("recover", "taken"),
    ("recover", "refused"),
    ("recover", "failed"),
    ("restore", "done"),
    ("restore", "failed"),
)
"""What the master can order, and what can become of it."""
_TAKEOVERS = {
    "takeover_done": ORDERS[0],
    "takeover_refused": ORDERS[1],
    "takeover_failed": ORDERS[2],
}


class Tally(Log):
    """Passes every line on, and counts the orders by their outcome as the lines tell it, whatever LOG_LEVEL is.

    A recover is counted by its takeover's line, a restore by the answer that goes out.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        # connections' threads log too
        self._lock = threading.Lock()
        self._orders: Counter[tuple[str, str]] = Counter()

    @property
    def orders(self) -> dict[tuple[str, str], int]:
        with self._lock:
            return {order: self._orders[order] for order in ORDERS}

    def write(self, level: str, event: str, fields: dict[str, object]) -> None:
        order = _TAKEOVERS.get(event)
        if order is None and event in ("sent", "order_refused"):
            order = _answered(event, fields)
        if order:
            with self._lock:
                self._orders[order] += 1
        self._log.write(level, event, fields)

    def always(self, event: str, /, **fields: object) -> None:
        self._log.always(event, **fields)


def _answered(event: str, fields: dict[str, object]) -> Optional[tuple[str, str]]:
    if event == "order_refused":
        return ORDERS[1] if fields.get("event") == "recover" else ORDERS[4]
    data = fields.get("data")
    if fields.get("event") != "restore node" or not isinstance(data, dict):
        return None
    if data.get("status") is not True:
        return ORDERS[4]
    return None if "reason" in data else ORDERS[3]  # with a reason it was given up without an order


def exposition(state: Snapshot) -> str:
    """The text format of Prometheus, version 0.0.4. Each sample carries the node, since workers may share a machine."""
    node = f'node="{state.node}"'
    lines: list[str] = []

    def add(name: str, kind: str, meaning: str, *samples: tuple[str, Optional[float]]) -> None:
        full = f"failover_worker_{name}"
        lines.extend([f"# HELP {full} {meaning}", f"# TYPE {full} {kind}"])
        lines.extend(
            f"{full}{{{node}{more}}} {'NaN' if value is None else repr(value)}" for more, value in samples
        )

    def one(name: str, kind: str, meaning: str, value: Optional[float]) -> None:
        add(name, kind, meaning, ("", value))

    labels = f',version="{state.version}",backend="{state.backend}"'
    add("info", "gauge", "What runs; always 1.", (labels, 1))
    one("up", "gauge", "1 while the worker runs, 0 once it was stopped.", int(state.up))
    one("connected", "gauge", "1 while the master accepts this node, else 0.", int(state.connected))
    one("reconnects_total", "counter", "Connections made after the first one.", state.reconnects)
    one("pings_sent_total", "counter", "Keep-alive pings sent.", state.pings_sent)
    one("pings_missed_total", "counter", "Pings without an answer in time.", state.pings_missed)
    one(
        "ping_round_trip_seconds",
        "gauge",
        "Round trip of the last ping that was answered; NaN: none was yet.",
        state.rtt_s,
    )
    one(
        "last_answer_age_seconds",
        "gauge",
        "Seconds since the master last answered a ping, or, where it never does, sent anything; NaN: never.",
        state.answer_age_s,
    )
    add(
        "orders_total",
        "counter",
        "The master's orders by their outcome; one that is repeated while it is carried out counts once.",
        *((f',order="{order}",outcome="{outcome}"', n) for (order, outcome), n in state.orders.items()),
    )
    one("addresses_held", "gauge", "Addresses held for other nodes.", len(state.held))
    one("log_lines_lost_total", "counter", "Log lines that could not be written.", state.lines_lost)
    return "\n".join([*lines, ""])


class MetricsFile:
    """The file, and a thread that writes it: a disk that stalls must hold nobody up.

    It is replaced by renaming, so that a reader sees the old text or the new. A failure is a WARNING once, until
    writing works again.
    """

    def __init__(self, path: Path, log: Log) -> None:
        self._path = path
        self._log = log
        self._changed = threading.Condition()
        # under the lock
        self._text: Optional[str] = None
        self._closing = False
        # the thread's
        self._failed = False
        self._thread = threading.Thread(target=self._write_on, name="metrics", daemon=True)
        self._thread.start()

    def put(self, text: str) -> None:
        """Have the file hold `text`; what was put before and waits still is left out."""
        with self._changed:
            self._text = text
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Write what waits; a disk that takes longer is left behind."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _write_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._text is not None or self._closing)
                text, self._text = self._text, None
            if text is None:
                return
            try:
                self._replace(text)
            except OSError as exc:
                if not self._failed:
                    self._log.warning("metrics_failed", file=str(self._path), reason=exc.strerror or str(exc))
                self._failed = True
            else:
                if self._failed:
                    self._log.info("metrics_resumed", file=str(self._path))
                self._failed = False

    def _replace(self, text: str) -> None:
        # the collector reads names that end in .prom only, so this one must not
        draft = f"{self._path}.{os.getpid()}.tmp"
        try:
            with open(draft, "w", encoding="utf-8") as file:
                if os.name == "posix":
                    os.fchmod(file.fileno(), 0o644)  # the collector is another user
                file.write(text)
            os.replace(draft, self._path)
        except OSError:
            with suppress(OSError):
                os.unlink(draft)
            raise
