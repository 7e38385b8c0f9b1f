"""The two logs: ping.log and comms.log, a queue in front of them, and one thread that writes.

Whoever logs formats a line and appends it to a queue in memory; it never waits for the disk. The writer's
thread owns the files: it rotates them, follows a file that was moved away or a folder that was removed, keeps
lines whole when the disk fills, and counts what it had to drop.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Optional, Union

from logs.console import Console
from logs.format import (
    LEVELS,
    Entry,
    LineError,
    Stamp,
    compact_json,
    escape,
    format_line,
    format_message,
    parse_line,
)
from logs.redact import Redactor
from logs.writer import RETRY_S, LogFile

__all__ = ["Entry", "LineError", "Log", "Logs", "NoLog", "compact_json", "format_line", "parse_line"]

CONSOLE_FAREWELL_S = 0.3
"""For which the end waits for a stderr that is slow to take the last lines."""

GATHER_S = 0.01
"""For which lines gather before the writer takes them."""


class Log:
    """One of the logs. Its methods may be called from any thread and return without touching the disk.

    A field that is None is left out. Raises ValueError for an event or a field whose name can be none.
    """

    def __init__(self, logs: Logs, file: LogFile, threshold: int) -> None:
        self._logs = logs
        self._file = file
        self._threshold = threshold

    def write(self, level: str, event: str, fields: dict[str, object]) -> None:
        if LEVELS.index(level) >= self._threshold:
            self._logs.append(self._file, level, event, fields)

    def always(self, event: str, /, **fields: object) -> None:
        """An INFO line that LOG_LEVEL does not keep out."""
        self._logs.append(self._file, "INFO", event, fields)

    def debug(self, event: str, /, **fields: object) -> None:
        self.write("DEBUG", event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self.write("INFO", event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self.write("WARNING", event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self.write("ERROR", event, fields)

    def critical(self, event: str, /, **fields: object) -> None:
        self.write("CRITICAL", event, fields)


class NoLog(Log):
    """Drops every line, for commands that only look."""

    def __init__(self) -> None:
        pass

    def write(self, level: str, event: str, fields: dict[str, object]) -> None:
        pass

    def always(self, event: str, /, **fields: object) -> None:
        pass


class Logs:
    """Both logs, `comms` and `ping`, and their writer.

    `max_bytes` is the size at which a file is rotated, 0: never; `backup_count` how many old ones are kept.
    """

    def __init__(
        self,
        directory: Path,
        *,
        level: str = "INFO",
        max_bytes: int = 0,
        backup_count: int = 0,
        console: bool = True,
        secrets: Sequence[str] = (),
    ) -> None:
        self._redact = Redactor(secrets)
        self._stamp = Stamp()
        # held for an append or a swap of a queue, never across a system call
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._reopen = self._closing = False
        self._opened = threading.Event()
        self._console = Console() if console else None
        self._files = [
            LogFile(directory / name, max_bytes, backup_count) for name in ("comms.log", "ping.log")
        ]
        threshold = LEVELS.index(level)
        self._comms_file = self._files[0]
        self.comms, self.ping = (Log(self, file, threshold) for file in self._files)
        self._writer = threading.Thread(target=self._write_on, name="log-writer", daemon=True)
        self._writer.start()

    @property
    def lines_lost(self) -> int:
        """Lines of both files that could not be written since the start."""
        return sum(file.lost_in_all for file in self._files)

    @property
    def opened(self) -> bool:
        """Whether both files are open, since the start or the last `reopen`."""
        return self._opened.is_set()

    def clean(self, text: str) -> str:
        """`text` without secrets, and escaped so that it stays one line, for those who are told outside the logs."""
        return escape(self._redact(text))

    def append(self, file: LogFile, level: str, event: str, fields: dict[str, object]) -> None:
        message = format_message(event, fields, self._redact, self._redact.margin)
        with self._lock:
            line = f"[{self._stamp(time.time())}] : [{level}] - [{message}]\n".encode()
            file.append(line)
            if self._console:
                self._console.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def reopen(self) -> None:
        """Close both files and open them anew by their names, as SIGHUP asks; no line is lost."""
        self._opened.clear()
        self._reopen = True
        self._wake.set()

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what waits and end the writer; after `timeout_s` on a disk that stalls, leave it behind."""
        self._closing = True
        self._hurry.set()
        self._wake.set()
        self._writer.join(timeout_s)

    def take_over_python_s_own(self) -> None:
        """Put warnings, the libraries' records and uncaught exceptions of every thread into comms.log."""
        logging.raiseExceptions = False
        logging.captureWarnings(True)
        logging.basicConfig(handlers=[_Bridge(self.comms)], level=logging.WARNING, force=True)

        def crashed(
            kind: type[BaseException], exc: BaseException, trace: Optional[TracebackType], where: str
        ) -> None:
            text = "".join(traceback.format_exception(kind, exc, trace))
            self.comms.critical("crashed", thread=where, error=repr(exc), traceback=text)

        def main_crashed(
            kind: type[BaseException], exc: BaseException, trace: Optional[TracebackType]
        ) -> None:
            crashed(kind, exc, trace, "MainThread")
            self.close()
            if self._console is None:  # nothing else would tell whoever started it
                print(self._redact(f"crashed: {exc!r}"), file=sys.stderr)

        sys.excepthook = main_crashed

        def thread_crashed(args: threading.ExceptHookArgs) -> None:
            if args.exc_value is not None:
                name = args.thread.name if args.thread else "?"
                crashed(args.exc_type, args.exc_value, args.exc_traceback, name)

        threading.excepthook = thread_crashed

    def _write_on(self) -> None:
        closing = False
        while not closing:
            self._wake.wait(2.0)
            self._wake.clear()
            # a line of comms.log is often an order's: what the order does comes before the disk, and lines that
            # come together are written together
            if self._comms_file.waiting():
                self._hurry.wait(GATHER_S)
            closing = self._closing
            try:
                self._write_all(closing)
            except Exception as exc:  # noqa: BLE001 - whatever it is, the logs go on
                self.comms.critical(
                    "crashed", thread="log-writer", error=repr(exc), traceback=traceback.format_exc()
                )
                time.sleep(RETRY_S)

    def _write_all(self, closing: bool) -> None:
        reopen, self._reopen = self._reopen, False
        for file in self._files:
            if reopen or closing:
                file.close()
            elif file.stuck():
                continue
            self._pass_on(file)
        if not self._reopen and all(file.is_open() for file in self._files):
            self._opened.set()
        if self._console:
            self._pass_on(self._console)
            end_s = time.monotonic() + CONSOLE_FAREWELL_S
            while closing and self._console.takes_more(end_s - time.monotonic()):
                self._pass_on(self._console)

    def _pass_on(self, target: Union[LogFile, Console]) -> None:
        with self._lock:
            batch, lost = target.take()
        try:
            target.write(batch, lost, self._lost_line)
        finally:
            with self._lock:
                target.settle()

    def _lost_line(self, file: str, count: int) -> bytes:
        message = format_message("log_lines_lost", {"file": file, "count": count})
        with self._lock:  # the stamp's
            return f"[{self._stamp(time.time())}] : [WARNING] - [{message}]\n".encode()


class _Bridge(logging.Handler):
    """Carries records of Python's logging, which the libraries use, into comms.log."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
        level = record.levelname if record.levelname in LEVELS else "INFO"
        self._log.write(level, "library", {"name": record.name, "text": text, "traceback": trace})
