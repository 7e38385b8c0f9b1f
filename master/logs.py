r"""The master's log: one line an event, `[TIMESTAMP] : [LEVEL] - [event key=value …]`, as the worker writes it.

Fields are logfmt. A value that is empty or holds white space, a quote, a backslash, `[`, `]`, `=` or an escaped
character is quoted, with the escapes `\n \r \t \" \\ \xHH \uHHHH`.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import queue
import re
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LINE_LIMIT = 4096
"""Bytes of a line, its newline included."""
MOST_WAITING = 10_000
"""Lines that wait to be written."""
FILE_BYTES, FILES = 10 * 1024 * 1024, 5
"""Of master.log, and how many older ones are kept."""
LOG = logging.getLogger("master")
"""Everything that the master itself logs; other loggers are libraries'."""

# C0, DEL and C1 controls, line and paragraph separators, bidirectional controls (UAX #9), lone surrogates
_UNSAFE = "\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_TO_ESCAPE = re.compile(f'["\\\\{_UNSAFE}]')
_TO_QUOTE = re.compile(f'[\\s"\\\\\\]=\\[{_UNSAFE}]')
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_PARTIAL_ESCAPE = re.compile(r"\\(?:x[0-9a-f]?|u[0-9a-f]{0,3})?$")


def log(level: int, event: str, /, **fields: object) -> None:
    """Log an event; fields that are None are left out."""
    if LOG.isEnabledFor(level):
        LOG.log(level, event, extra={"fields": fields})


def info(event: str, /, **fields: object) -> None:
    log(logging.INFO, event, **fields)


def warning(event: str, /, **fields: object) -> None:
    log(logging.WARNING, event, **fields)


def error(event: str, /, **fields: object) -> None:
    log(logging.ERROR, event, **fields)


def format_message(event: str, fields: dict[str, object], limit: int = LINE_LIMIT - 60) -> str:
    """An event and its fields in logfmt, in at most `limit` bytes; a value that is cut keeps its closing quote."""
    parts = [event]
    left = limit - len(event)
    for key, value in fields.items():
        if value is None:
            continue
        text = _as_text(value)
        quote = '"' if not text or _TO_QUOTE.search(text) else ""
        part = f"{key}={quote}{_TO_ESCAPE.sub(_escape, text[: 2 * LINE_LIMIT])}{quote}"
        size = len(part.encode()) + 1
        if size > left or len(text) > 2 * LINE_LIMIT:
            kept = part.encode()[: max(0, left - 40)].decode(errors="ignore")
            if len(kept) <= len(key) + 2:
                continue
            kept = _PARTIAL_ESCAPE.sub("", kept.removesuffix(quote) if quote else kept)
            part = f"{kept}…({len(text)} characters)" + quote
            size = len(part.encode()) + 1
        parts.append(part)
        left -= size
    return " ".join(parts)


def _as_text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.2f}".rstrip("0").rstrip(".")
        case list() | tuple() | set() | frozenset():
            return ",".join(map(str, value))
        case _:
            return str(value)


def _escape(found: re.Match[str]) -> str:
    char = found.group()
    code = ord(char)
    return _NAMED.get(char) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


class LineFormatter(logging.Formatter):
    """A record as one line, a library's too: `library logger=NAME text="…"`."""

    def format(self, record: logging.LogRecord) -> str:
        local = time.localtime(record.created)
        stamp = (
            f"{time.strftime('%Y-%m-%d %H:%M:%S', local)}.{int(record.msecs):03d}{time.strftime('%z', local)}"
        )
        fields: dict[str, object] | None = getattr(record, "fields", None)
        event = record.msg if fields is not None else "library"
        if fields is None:
            fields = {"logger": record.name, "text": record.getMessage()}
        if record.exc_info and record.exc_info[1]:
            trace = "".join(traceback.format_exception(record.exc_info[1])[-12:])
            fields = {**fields, "error": repr(record.exc_info[1]), "trace": trace}
        return f"[{stamp}] : [{record.levelname}] - [{format_message(event, fields)}]"


class Hold(logging.Filter):
    """Keeps back what is logged within `holding`, so that a decision that must be made again has logged nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[logging.LogRecord] | None = None

    @contextlib.contextmanager
    def holding(self) -> Iterator[list[logging.LogRecord]]:
        """The list of what was kept back; `LOG.handle` logs it."""
        held = self._held = []
        try:
            yield held
        finally:
            self._held = None

    def filter(self, record: logging.LogRecord) -> bool:
        if self._held is None:
            return True
        self._held.append(record)
        return False


class Limited:
    """Logs a bound that is reached: at once, then at most once a minute with how often it was meanwhile."""

    INTERVAL_S = 60.0

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._count: dict[str, int] = {}

    def warn(self, event: str, key: str = "", /, **fields: Any) -> None:
        name, now = f"{event} {key}", time.monotonic()
        if now - self._last.get(name, float("-inf")) < self.INTERVAL_S:
            self._count[name] = self._count.get(name, 0) + 1
            return
        if len(self._last) > 256:
            self._last.clear()
            self._count.clear()
        self._last[name] = now
        warning(event, **fields, repeated=self._count.pop(name, None))


class LibraryLimit(logging.Filter):
    """Lets each text of a library through ten times a minute: what strangers send must not fill the log.

    Nor does it call for anybody: what a library takes for its own error is a warning here, without the trace.
    """

    def __init__(self) -> None:
        super().__init__()
        self._minute = 0
        self._counts: dict[tuple[str, object], int] = {}

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
        minute = int(record.created // 60)
        if minute != self._minute or len(self._counts) > 1000:
            self._minute, self._counts = minute, {}
        key = (record.name, str(record.msg)[:100])
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key] <= 10


class Queue(logging.handlers.QueueHandler):
    """Leaves the writing to a thread, so that a slow disk or terminal delays no decision; counts what it drops."""

    def __init__(self) -> None:
        self._queue: queue.Queue[logging.LogRecord] = queue.Queue(MOST_WAITING)
        super().__init__(self._queue)
        self._lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self._lost and self._queue.qsize() < MOST_WAITING // 2:
                lost, self._lost = self._lost, 0
                warning("log_lines_lost", count=lost)
            self._queue.put_nowait(record)
        except queue.Full:
            self._lost += 1

    def start(self, *handlers: logging.Handler) -> logging.handlers.QueueListener:
        listener = logging.handlers.QueueListener(self._queue, *handlers)
        listener.start()
        return listener


class File(logging.handlers.RotatingFileHandler):
    """master.log; opened again by its name for the next line after `reopen`, as after a rotation by another program."""

    is_stale = False

    def emit(self, record: logging.LogRecord) -> None:
        if self.is_stale:
            self.is_stale = False
            self.close()
        super().emit(record)


def reopen() -> None:
    """To be called from a signal handler: takes no lock."""
    for handler in _FILES:
        handler.is_stale = True


_FILES: list[File] = []


def set_up(level: str, folder: Path | None) -> logging.handlers.QueueListener:
    """Log to stderr and, with a folder, to its `master.log`, until what is returned is stopped.

    Raises OSError where the file cannot be written.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "master.log"
        if path.is_symlink():
            raise OSError(f"{path} is a symbolic link")
        file = File(path, maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8", errors="backslashreplace")
        handlers.append(file)
        _FILES.append(file)
    for handler in handlers:
        handler.setFormatter(LineFormatter())
    entry = Queue()
    entry.addFilter(LibraryLimit())
    logging.basicConfig(handlers=[entry], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a full disk must not fill stderr with tracebacks
    LOG.setLevel(level)
    return entry.start(*handlers)
