"""METRICS_FILE: the worker's state as a Prometheus textfile, for node_exporter's textfile collector or the like."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logging_setup import EventLogger

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    Family = CounterMetricFamily | GaugeMetricFamily

EVERY_S = 15.0


def exposition(state: dict[str, Any], *, up: bool = True) -> str:
    """A snapshot in the text format of Prometheus; `up` False: the worker has stopped.

    Each sample has the node as a label, since workers may share a machine.
    """
    # only where metrics are wanted: the import costs time and memory
    from prometheus_client import CollectorRegistry, generate_latest

    class Collector:
        @staticmethod
        def collect() -> Iterator[Family]:
            return _metrics(state, up=up)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry).decode()


def _metrics(state: dict[str, Any], *, up: bool) -> Iterator[Family]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    def family(
        kind: type[Family], name: str, meaning: str, *samples: tuple[Any, ...], labels: Sequence[str] = ()
    ) -> Family:
        """`samples` are each a value, None: not known, and that of each label but the node."""
        made = kind(f"failover_worker_{name}", meaning, labels=["node", *labels])
        for value, *others in samples:
            made.add_metric([str(state["node"]), *others], float("nan") if value is None else value)
        return made

    def gauge(name: str, meaning: str, value: float | None) -> Family:
        return family(GaugeMetricFamily, name, meaning, (value,))

    def counter(name: str, meaning: str, value: int) -> Family:
        return family(CounterMetricFamily, name, meaning, (value,))

    info = (1, state["version"], state["backend"])
    labels = ["version", "backend"]
    yield family(GaugeMetricFamily, "info", "The running worker; always 1.", info, labels=labels)
    yield gauge("up", "1 while the worker runs, 0 after it was stopped.", up)
    yield gauge("connected", "1 while the worker is connected to a master, else 0.", state["connected"])
    yield counter("reconnects", "Connections made after the first one.", state["reconnects"])
    yield counter("pings_sent", "Keep-alive pings sent.", state["pings_sent"])
    yield counter("pings_missed", "Pings that were not answered in time.", state["pings_missed"])
    rtt_s = None if state["rtt_ms"] is None else state["rtt_ms"] / 1000
    yield gauge("ping_round_trip_seconds", "Round trip of the last answered ping; NaN: none yet.", rtt_s)
    meaning = "Seconds since the master last answered a ping or, if it never does, sent anything; NaN: never."
    yield gauge("last_answer_age_seconds", meaning, state["answer_age_s"])
    meaning = "The master's orders by outcome; one that is repeated while it is carried out counts once."
    orders = [(count, *name.split("_", 1)) for name, count in state["orders"].items()]
    yield family(CounterMetricFamily, "orders", meaning, *orders, labels=["order", "outcome"])
    yield gauge("addresses_held", "Addresses held for other nodes.", len(state["held"]))
    yield counter("log_lines_lost", "Log lines that could not be written.", state["lines_lost"])


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
