"""One line of a log to one event. No I/O; never raises."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import timezone, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple

from logs.format import parse_line

LATEST = 32503680000.0
"""The year 3000; a later time, or one before 1970, is not believed."""
_PING = re.compile(
    rb"\[(\d{4}-\d\d-\d\d \d\d:\d\d):([0-5]\d\.\d{3})([+-]\d{4})\] : \[INFO\] - "
    rb"\[ping seq=(\d{1,15}) rtt_ms=(\d{1,9}(?:\.\d{1,9})?)\]"
)
"""What nearly all lines are; this reads them in half the time."""


class Ping(NamedTuple):
    """An acknowledged keep-alive; `late`: it had been counted as missed before its answer came."""

    at: float
    zone: tzinfo
    rtt_ms: float
    late: bool
    seq: str


class Line(NamedTuple):
    """Any other line. `cut`: a value of it was shortened."""

    at: float
    zone: tzinfo
    level: str
    event: str
    fields: Mapping[str, str]
    cut: bool = False

    @property
    def order(self) -> str:
        """The number of the order that it belongs to; empty: it does not say."""
        return self.fields.get("order", "")

    @property
    def node(self) -> int | None:
        return number(self.fields.get("node"))

    @property
    def address(self) -> str | None:
        return self.fields.get("address")


def parse(line: bytes) -> Ping | Line | None:
    """What a line says; None: it is none of ours."""
    ping = _PING.fullmatch(line)
    if ping:
        minute = _minute(ping[1], ping[3])
        return minute and Ping(
            minute.at + float(ping[2]), minute.zone, float(ping[5]), False, ping[4].decode()
        )
    try:
        entry = parse_line(line.decode().removesuffix("\r"))
    except ValueError:
        return None
    at, zone = entry.when.timestamp(), entry.when.tzinfo or timezone.utc
    if not 0 <= at < LATEST:
        return None
    rtt_ms = decimal(entry.fields.get("rtt_ms")) if entry.event == "ping" else None
    if rtt_ms is not None:
        return Ping(at, zone, rtt_ms, entry.fields.get("late") == "true", entry.fields.get("seq", ""))
    return Line(at, zone, entry.level, entry.event, entry.fields, entry.left_out > 0)


@lru_cache(maxsize=256)
def _minute(minute: bytes, offset: bytes) -> Ping | Line | None:
    """The beginning of a minute, which many lines share; None: it is none that is believed."""
    return parse(b"[" + minute + b":00.000" + offset + b"] : [INFO] - [minute]")


def number(value: object) -> int | None:
    """A node's number as JSON or a field spells it; None: it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
        return value
    return None


def decimal(text: str | None) -> float | None:
    """A number of a field that is finite and not below 0; None: it is none."""
    try:
        value = float(text or math.nan)
    except ValueError:
        return None
    return value if 0 <= value < math.inf else None


def data_of(line: Line) -> Mapping[str, Any]:
    """The JSON object of a `sent` or `received` line; empty: it carries none, or it was cut."""
    text = line.fields.get("data", "")
    if not text.startswith("{"):
        return {}
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
