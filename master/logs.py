"""The master's log, in the worker's format: one event a line, on stderr and, with a folder, in `master.log`."""

from __future__ import annotations

import logging
import time
import traceback
from pathlib import Path
from typing import Any

from logs.console import Console
from logs.file import LogFile, why_not_written
from logs.handler import EventLogger, LineHandler
from logs.redact import Redactor
from master.rates import Rates

FILE_BYTES, FILES = 10 * 1024 * 1024, 5
"""Of master.log, and how many older ones are kept."""
REPEAT_S = 60.0
"""Between two lines on one bound that is reached again and again."""
_LIMITED: dict[str, tuple[float, int]] = {}
"""When each was logged last, and how often it was reached since."""
LOG = logging.getLogger("master")
"""Everything that the master itself logs; other loggers are libraries'."""
_events = EventLogger(LOG)
info, warning, error = _events.info, _events.warning, _events.error


def log(level: int, event: str, /, **fields: object) -> None:
    _events.write(logging.getLevelName(level), event, fields)


def fault(exc: BaseException, level: int = logging.ERROR, **fields: object) -> None:
    """A fault of the master itself."""
    trace = "".join(traceback.format_exception(exc)[-12:])
    log(level, "fault", **fields, error=repr(exc), traceback=trace)


def warn_limited(event: str, key: str = "", /, **fields: Any) -> None:
    """Log a bound that is reached: at once, then at most once a minute with how often it was meanwhile."""
    name, now = f"{event} {key}", time.monotonic()
    logged_at, count = _LIMITED.get(name, (float("-inf"), 0))
    if now - logged_at < REPEAT_S:
        _LIMITED[name] = logged_at, count + 1
        return
    if len(_LIMITED) > 256:
        _LIMITED.clear()
    _LIMITED[name] = now, 0
    warning(event, **fields, repeated=count or None)


class LibraryLimit(logging.Filter):
    """Lets each text of a library through ten times a minute: what strangers send must not fill the log.

    Nor does it call for anybody: what a library takes for its own error is a warning here, without the trace.
    """

    def __init__(self) -> None:
        super().__init__()
        self._texts = Rates(10 / 60, 10)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == LOG.name:
            return True
        if record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            if record.exc_info and record.exc_info[1]:
                at = traceback.extract_tb(record.exc_info[2])[-1:]
                where = "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in at)
                record.msg, record.args = f"{record.getMessage()}: {record.exc_info[1]!r:.200}{where}", None
            record.exc_info = None
        return self._texts.take(f"{record.name} {record.msg!s:.100}")


def set_up(level: str, folder: Path | None) -> LineHandler:
    """Log to stderr and, with a folder, to its `master.log`, until the writer of what is returned is closed.

    Raises OSError where the file cannot be written.
    """
    console, files = Console(), {}
    if folder:
        path = folder / "master.log"
        file = files[LOG.name] = LogFile(path, FILE_BYTES, FILES, console)
        try:
            file.drain(closing=False)  # opens it
        except OSError as exc:
            raise OSError(f"{path}: {why_not_written(exc, path)}") from exc
    handler = LineHandler(files, console, Redactor([]))
    handler.addFilter(LibraryLimit())
    handler.writer.start()
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a full disk must not fill stderr with tracebacks
    LOG.setLevel(level)
    return handler
