"""The thread that writes the lines of both logs to their files and to stderr, and the queue in front of it."""

from __future__ import annotations

import logging
import logging.handlers
import threading
import time
import traceback
from collections.abc import Mapping

from logs.buffer import LineBuffer
from logs.console import Console
from logs.file import RETRY_S, LogFile
from logs.records import LineFormatter, Message

CONSOLE_FAREWELL_S = 0.3
"""How long the end waits for a stderr that is slow to take the last lines."""
GATHER_S = 0.01
"""How long lines gather before the writer takes them."""
FOLLOW_S = 2.5
"""Seconds at most between two looks at whether a file was moved away."""


class LineHandler(logging.handlers.QueueHandler):
    """Formats records in their own thread, and queues the lines for the writer's."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)  # type: ignore[arg-type]  # a handler only puts

    def prepare(self, record: logging.LogRecord) -> tuple[str, bytes]:
        return record.name, f"{self.format(record)}\n".encode()


class Writer:
    """The bounded queue of a LineHandler, and the thread that empties it; `put_nowait` never blocks.

    A line goes to the file of its logger's name, else to `default`'s, and to the console.
    """

    def __init__(self, files: Mapping[str, LogFile], default: str, console: Console | None) -> None:
        self._files = files
        self._default = files[default]
        self._console = console
        # since when, and why
        self._failed: dict[LogFile, tuple[float, str]] = {}
        self._formatter = LineFormatter()
        # held for an append or a swap of a queue, never across a system call
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._reopen = self._closing = False
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def lines_lost(self) -> int:
        return sum(file.lost_total for file in self._files.values())

    @property
    def opened(self) -> bool:
        return self._opened.is_set()

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(f"{file.path.name}: {file.problem}" for file in self._files.values() if file.problem)

    def put_nowait(self, item: tuple[str, bytes]) -> None:
        name, data = item
        file = self._files.get(name, self._default)
        with self._lock:
            file.append(data)
            if self._console:
                self._console.append(data)
        if not self._wake.is_set():
            self._wake.set()

    def reopen(self) -> None:
        self._opened.clear()
        self._reopen = True
        self._wake.set()

    def close(self, timeout_s: float) -> None:
        self._closing = True
        self._hurry.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait(FOLLOW_S)
            self._wake.clear()
            # a line of comms.log is often an order's: the order's work comes before the disk, and lines that come
            # together are written together
            if self._default.has_lines():
                self._hurry.wait(GATHER_S)
            closing = self._closing
            try:
                self._write_all(closing)
            except Exception as exc:  # noqa: BLE001 - whatever it is, the logs go on
                data = self._line(
                    logging.CRITICAL,
                    "crashed",
                    thread="log-writer",
                    error=repr(exc),
                    traceback=traceback.format_exc(),
                )
                with self._lock:
                    self._default.append(data)
                time.sleep(RETRY_S)

    def _write_all(self, closing: bool) -> None:
        reopen, self._reopen = self._reopen, False
        for file in self._files.values():
            if reopen or closing:
                file.close()
            elif file.stuck():
                continue
            self._pass_on(file)
            self._report_problem(file)
        if not self._reopen and all(file.is_open() for file in self._files.values()):
            self._opened.set()
        if self._console:
            self._pass_on(self._console)
            end_s = time.monotonic() + CONSOLE_FAREWELL_S
            while closing and self._console.takes_more(end_s - time.monotonic()):
                self._pass_on(self._console)

    def _pass_on(self, target: LogFile | Console) -> None:
        with self._lock:
            batch, lost = target.take()
        try:
            target.write(batch, lost, self._lost_line)
        finally:
            with self._lock:
                target.requeue_unwritten()

    def _report_problem(self, file: LogFile) -> None:
        """Each problem once on the console, and once it is over in the file."""
        failed = self._failed.get(file)
        if file.problem and failed is None:
            self._failed[file] = (time.monotonic(), file.problem)
            target: LineBuffer | None = self._console
            data = self._line(logging.WARNING, "log_failed", file=file.path.name, reason=file.problem)
        elif failed and not file.problem:
            since_s, reason = self._failed.pop(file)
            target = file
            after_s = time.monotonic() - since_s
            data = self._line(
                logging.INFO, "log_resumed", file=file.path.name, after_s=after_s, reason=reason
            )
            self._wake.set()
        else:
            return
        if target:
            with self._lock:
                target.append(data)

    def _lost_line(self, file: str, count: int) -> bytes:
        return self._line(logging.WARNING, "log_lines_lost", file=file, count=count)

    def _line(self, level: int, event: str, **fields: object) -> bytes:
        record = logging.LogRecord("", level, "", 0, Message(event, fields), None, None)
        return f"{self._formatter.format(record)}\n".encode()
