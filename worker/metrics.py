"""METRICS_FILE: the worker's state as a Prometheus textfile, for node_exporter's textfile collector or the like."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from logging_setup import EventLogger

EVERY_S = 15.0


def exposition(state: dict[str, Any], *, up: bool = True) -> str:
    """A snapshot in the text format of Prometheus; `up` False: the worker has stopped.

    Each sample has the node as a label, since workers may share a machine.
    """
    # only where metrics are wanted: the import costs time and memory
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily as Counter
    from prometheus_client.core import GaugeMetricFamily as Gauge

    rtt_s = None if state["rtt_ms"] is None else state["rtt_ms"] / 1000
    age = "Seconds since the master last answered a ping or, if it never does, sent anything; NaN: never."
    metrics = (
        (Gauge, "up", "1 while the worker runs, 0 after it was stopped.", up),
        (Gauge, "connected", "1 while the worker is connected to a master, else 0.", state["connected"]),
        (Counter, "reconnects", "Connections made after the first one.", state["reconnects"]),
        (Counter, "pings_sent", "Keep-alive pings sent.", state["pings_sent"]),
        (Counter, "pings_missed", "Pings that were not answered in time.", state["pings_missed"]),
        (Gauge, "ping_round_trip_seconds", "Round trip of the last answered ping; NaN: none yet.", rtt_s),
        (Gauge, "last_answer_age_seconds", age, state["answer_age_s"]),
        (Gauge, "addresses_held", "Addresses held for other nodes.", len(state["held"])),
        (Counter, "log_lines_lost", "Log lines that could not be written.", state["lines_lost"]),
    )
    node = str(state["node"])

    class Collector:
        @staticmethod
        def collect() -> Iterator[Counter | Gauge]:
            info = Gauge(
                "failover_worker_info", "The running worker; always 1.", labels=["node", "version", "backend"]
            )
            info.add_metric([node, state["version"], state["backend"]], 1)
            yield info
            meaning = (
                "The master's orders by outcome; one that is repeated while it is carried out counts once."
            )
            orders = Counter("failover_worker_orders", meaning, labels=["node", "order", "outcome"])
            for name, count in state["orders"].items():
                orders.add_metric([node, *name.split("_", 1)], count)
            yield orders
            for kind, name, meaning, value in metrics:
                family = kind(f"failover_worker_{name}", meaning, labels=["node"])
                family.add_metric([node], float("nan") if value is None else value)
                yield family

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry).decode()


class MetricsFile:
    """The file, written by a thread of its own each time, so that a stalled disk delays nothing else.

    It is replaced by renaming: a reader sees the old text or the new one. A failure is a WARNING once, until writing
    works again.
    """

    def __init__(self, path: Path, log: EventLogger) -> None:
        self._path = path
        self._log = log
        self._failed = False  # the thread's
        self._thread: threading.Thread | None = None

    def put(self, text: str) -> None:
        """Have the file contain `text`, unless the disk has yet to take the one before."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._write, args=(text,), name="metrics", daemon=True)
            self._thread.start()

    def close(self, text: str, timeout_s: float) -> None:
        """Write the last text; if the disk takes longer, abandon it."""
        end_s = time.monotonic() + timeout_s
        self._wait(end_s)
        self.put(text)
        self._wait(end_s)

    def _wait(self, end_s: float) -> None:
        if self._thread is not None:
            self._thread.join(max(0.0, end_s - time.monotonic()))

    def _write(self, text: str) -> None:
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
        with suppress(FileNotFoundError):
            os.unlink(draft)  # of a process that was killed, or a link
        try:
            with open(draft, "x", encoding="utf-8") as file:  # exclusively, so that no link is followed
                if os.name == "posix":
                    os.fchmod(file.fileno(), 0o644)  # the collector is another user
                file.write(text)
            os.replace(draft, self._path)
        except OSError:
            with suppress(OSError):
                os.unlink(draft)
            raise
