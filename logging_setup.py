"""The two logs, ping.log and comms.log, on the standard library's logging.

`logging.getLogger("ping")` writes to ping.log; "comms", and whatever the libraries log, to comms.log. Who logs only
formats a line and puts it into a queue in memory; one thread writes the lines to the files and to stderr.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType

from logs.console import Console, print_error
from logs.file import LogFile
from logs.format import escape
from logs.handler import EventLogger, LineHandler
from logs.redact import Redactor

__all__ = ["EventLogger", "Logs", "NoLog"]


class NoLog(EventLogger):
    """Drops every event, for commands that only look."""

    def __init__(self) -> None:
        # not getLogger's: this one has no parent whose handlers would see its records
        super().__init__(logging.Logger("none", logging.CRITICAL + 1))  # noqa: LOG001


class Logs:
    """Both logs, `comms` and `ping`, from the start until `close`.

    `max_bytes` is the size at which a file is rotated, 0: never; `backup_count` is the number of rotated files that
    are kept. `run` identifies this process.
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
        self.run = token_hex(4)
        self._redact = Redactor(secrets)
        self._console = Console() if console else None
        self._files = {
            name: LogFile(directory / f"{name}.log", max_bytes, backup_count, self._console)
            for name in ("comms", "ping")
        }
        for file in self._files.values():
            with suppress(OSError):  # the writer says why
                file.drain(closing=False)
        self._handler = LineHandler(self._files, self._console, self._redact)
        self._handler.writer.start()
        root = logging.getLogger()
        self._root_level = root.level
        # what the libraries log below a warning is of no use to an operator
        root.setLevel(max(logging.WARNING, logging.getLevelName(level)))
        root.addHandler(self._handler)
        for name in self._files:
            logging.getLogger(name).setLevel(level)
        self.comms, self.ping = (EventLogger(logging.getLogger(name)) for name in self._files)

    @property
    def lines_lost(self) -> int:
        """Lines of both files that could not be written since the start."""
        return sum(file.lost_total for file in self._files.values())

    def clean(self, text: str) -> str:
        """`text` without secrets, escaped to one line, for what is shown outside the logs."""
        return escape(self._redact(text))

    def reopen(self) -> None:
        """Open both files anew by their names, as SIGHUP asks; no line is lost."""
        self._handler.reopen()

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what waits and end the writer; if the disk stalls, abandon it after `timeout_s`."""
        root = logging.getLogger()
        root.removeHandler(self._handler)
        root.setLevel(self._root_level)
        self._handler.writer.close(timeout_s)

    def install_hooks(self) -> None:
        """Send warnings and the uncaught exceptions of every thread to comms.log, and nothing to stderr directly."""
        logging.raiseExceptions = False
        logging.lastResort = None
        logging.captureWarnings(capture=True)

        def crashed(exc: BaseException, trace: TracebackType | None, thread: str) -> None:
            text = "".join(traceback.format_exception(type(exc), exc, trace))
            self.comms.critical("crashed", thread=thread, error=repr(exc), traceback=text)

        def main_crashed(_kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
            crashed(exc, trace, "MainThread")
            self.close()
            if not self._console:  # then nothing else has said it
                print_error(self.clean(f"crashed: {exc!r}").replace('\\"', '"'))

        def thread_crashed(args: threading.ExceptHookArgs) -> None:
            if args.exc_value is not None:
                crashed(args.exc_value, args.exc_traceback, args.thread.name if args.thread else "?")

        sys.excepthook = main_crashed
        threading.excepthook = thread_crashed
