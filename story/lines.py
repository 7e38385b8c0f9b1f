"""One line of a log, read: the worker's own form, and those of the scripts before it."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta, timezone
from typing import Optional

from logging_setup import parse_line

from .items import YEARS, Clock, Item, Line, Ping
from .moments import EPOCH
from .old import Old

TRUNCATED, BINARY, FOREIGN = "truncated", "binary", "foreign"
"""What is wrong with a line that does not fit: it is cut, no text, or another program's."""

_PING = re.compile(
    rb"\[(\d{4}-\d\d-\d\d \d\d:\d\d):([0-5]\d\.\d{3})([+-]\d{4})\] : \[INFO\] - "
    rb"\[ping seq=(\d{1,15}) rtt_ms=(\d{1,9}(?:\.\d{1,9})?)( late=true)?(?: simulated=true)?\]"
)
_INFO = ("INFO", "DEBUG")
_DECIMAL = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_BEGINNING = re.compile(rb"\[\d[\d :.+,-]*(?:\] .*)?", re.DOTALL)
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


class Reader:
    """Reads the lines of one log, in their order. `old`: how many were of the scripts before this worker;
    `unreadable`: how many fit no form, by what is wrong with them.
    """

    def __init__(self) -> None:
        self.readable = self.old = 0
        self.unreadable: Counter[str] = Counter()
        self._clock = Clock()
        self._old = Old(self._clock)

    def read(self, line: bytes) -> Optional[Item]:
        """What it says; None: it does not fit. Never raises."""
        ping = _PING.fullmatch(line)
        if ping:
            minute, seconds, offset, seq, rtt_ms, late = ping.groups()
            try:
                at, zone = self._clock(minute, seconds, offset)
            except ValueError:
                self.unreadable[FOREIGN] += 1
                return None
            self.readable += 1
            return Ping(at, zone, seq.decode(), float(rtt_ms), late is not None)
        item = _own(line)
        if item is None:
            item = self._old.read(line)
            if item is None:
                self.unreadable[_fault(line)] += 1
                return None
            self.old += 1
        self.readable += 1
        return item


def _own(line: bytes) -> Optional[Item]:
    try:
        # bytes that are no UTF-8 are damage; the worker escapes what cannot be written
        entry = parse_line(line.decode().removesuffix("\r"))
    except ValueError:
        return None
    if entry.when.year not in YEARS:
        return None
    at = (entry.when - EPOCH).total_seconds()
    if entry.event == "ping" and _DECIMAL.fullmatch(entry.fields.get("rtt_ms", "")):
        zone = timezone(entry.when.utcoffset() or timedelta())
        late = entry.fields.get("late") == "true"
        return Ping(at, zone, entry.fields.get("seq", ""), float(entry.fields["rtt_ms"]), late)
    return Line(at, entry.when, entry.event, entry.fields, entry.left_out > 0, entry.level in _INFO)


def _fault(line: bytes) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return BINARY
    if _NO_TEXT.search(line):
        return BINARY
    return TRUNCATED if _BEGINNING.fullmatch(line) and not line.rstrip().endswith(b"]") else FOREIGN
