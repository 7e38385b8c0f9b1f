"""How an event gets into Python's logging and travels through it, and the handler that makes a line of it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from datetime import datetime

from logs.console import Console
from logs.file import LogFile
from logs.format import LEVELS, format_line, format_message
from logs.redact import Redactor
from logs.writer import Writer


class Message:
    """An event with its fields, in place of a record's message text (see "Using arbitrary objects as messages" in the
    logging cookbook).
    """

    def __init__(self, event: str, fields: Mapping[str, object]) -> None:
        self.event = event
        self.fields = fields

    def __str__(self) -> str:
        return format_message(self.event, self.fields)


class EventLogger:
    """Logs events with fields to a standard logger, from any thread and without waiting for the disk.

    A field that is None is left out.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def write(self, level: str, event: str, fields: dict[str, object]) -> None:
        number = logging.getLevelName(level)
        if self._logger.isEnabledFor(number):
            self._logger.log(number, Message(event, fields), stacklevel=3)

    def always(self, event: str, /, **fields: object) -> None:
        """An INFO line whatever LOG_LEVEL is."""
        name, level = self._logger.name, logging.INFO
        message = Message(event, fields)
        self._logger.handle(self._logger.makeRecord(name, level, __file__, 0, message, (), None))

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


class LineHandler(logging.Handler):
    """Queues a record's line, without secrets, for the file of its logger's name, else for the first, and for stderr."""

    def __init__(self, files: Mapping[str, LogFile], console: Console | None, redact: Redactor) -> None:
        """`files`: by the names of their loggers; the first one takes what others log too, none: stderr alone does."""
        super().__init__()
        self.writer = Writer([*files.values(), *([console] if console else [])])
        self._files = files
        self._others = next(iter(files.values()), None)
        self._console = console
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        message = _message_of(record)
        when = datetime.fromtimestamp(record.created).astimezone()
        # levels of a library's own are rounded down
        level = LEVELS[min(max(record.levelno // 10 - 1, 0), len(LEVELS) - 1)]
        return format_line(when, level, message.event, message.fields, self._redact.excerpt)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode()
            for queue in (self._files.get(record.name, self._others), self._console):
                if queue:
                    queue.put(line)
            self.writer.wake.set()
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)

    def reopen(self) -> None:
        """Look at once whether the files were moved away, and open them by their names; no line is lost."""
        for file in self._files.values():
            file.retry_s = 0.0
        self.writer.wake.set()


def _message_of(record: logging.LogRecord) -> Message:
    """The record's event; a record with a plain text becomes the event `library`."""
    if isinstance(record.msg, Message):
        return record.msg
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit the text
        text = str(record.msg)
    trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
    return Message("library", {"name": record.name, "text": text, "traceback": trace})
