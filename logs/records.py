"""How an event travels through Python's logging: as the message of a record, formatted only by a handler."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping

from logs.format import LEVELS, Stamp, format_message


class Message:
    """An event with its fields, in place of a record's message text (see "Using arbitrary objects as messages" in the
    logging cookbook).
    """

    __slots__ = ("event", "fields")

    def __init__(self, event: str, fields: Mapping[str, object]) -> None:
        self.event = event
        self.fields = fields

    def __str__(self) -> str:
        return format_message(self.event, self.fields)


def message_of(record: logging.LogRecord) -> Message:
    """The record's event; a record with a plain text becomes the event `library`."""
    if isinstance(record.msg, Message):
        return record.msg
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit the text
        text = str(record.msg)
    trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
    return Message("library", {"name": record.name, "text": text, "traceback": trace})


class LineFormatter(logging.Formatter):
    """Formats a record as a line of the logs, without its newline."""

    def __init__(self) -> None:
        super().__init__()
        self._stamp = Stamp()

    def format(self, record: logging.LogRecord) -> str:
        # levels of a library's own are rounded down
        level = LEVELS[min(max(record.levelno // 10 - 1, 0), len(LEVELS) - 1)]
        return f"[{self._stamp(record.created)}] : [{level}] - [{message_of(record)}]"
