"""What a line of a log says, and the clock that its time is read with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import NamedTuple, Union

from .moments import EPOCH

YEARS = range(1970, 3000)
"""Years that are believed: a machine without a clock of its own starts in 1970."""
LATE_S = 1.0
"""By which a line may be written before the one above it, though no clock was set."""
_MINUTES_KEPT = 100_000


class Ping(NamedTuple):
    """A keep-alive that was answered. `at`: seconds since 1970, UTC; `zone`: the offset its line was written
    with; `late`: it had been counted as missed before its answer came.
    """

    at: float
    zone: timezone
    seq: str
    rtt_ms: float
    late: bool


class Line(NamedTuple):
    """Any other line. `at`: seconds since 1970, UTC; `when`: the same with the line's own offset; a `cut`
    line's last field may be incomplete; `is_info`: of the level INFO or below.
    """

    at: float
    when: datetime
    event: str
    fields: Mapping[str, str]
    cut: bool = False
    is_info: bool = True


Item = Union[Ping, Line]


class Clock:
    """Reads timestamps; a minute and an offset are worked out once, since thousands of lines share them."""

    def __init__(self) -> None:
        self._minutes: dict[bytes, float] = {}
        self._zones: dict[bytes, tuple[timezone, float]] = {}
        self._local: dict[bytes, tuple[tuple[float, timezone], ...]] = {}
        self._last_local = -math.inf

    def __call__(self, minute: bytes, seconds: bytes, offset: bytes) -> tuple[float, timezone]:
        """Seconds since 1970 and the zone. Raises ValueError for a time that there is not."""
        start = self._minutes.get(minute)
        if start is None:
            start = self._minute(minute)
        known = self._zones.get(offset)
        if known is None:
            known = self._zone(offset)
        zone, offset_s = known
        return start + float(seconds) - offset_s, zone

    def local(self, minute: bytes, seconds: bytes) -> tuple[float, timezone]:
        """As above, for a time without an offset: it is taken for this machine's local time. One that there
        are two of, as when summer time ends, is the second where the first lies before the line above it.
        """
        known = self._local.get(minute)
        if known is None:
            whole = _read(minute)
            known = (_local(whole), _local(whole.replace(fold=1)))
            if len(self._local) > _MINUTES_KEPT:
                self._local.clear()
            self._local[minute] = known
        (start, zone), (again, zone_again) = known
        if start < again and start + float(seconds) < self._last_local - LATE_S:
            start, zone = again, zone_again
        self._last_local = start + float(seconds)
        return self._last_local, zone

    def _minute(self, text: bytes) -> float:
        start = (_read(text).replace(tzinfo=timezone.utc) - EPOCH).total_seconds()
        if len(self._minutes) > _MINUTES_KEPT:
            self._minutes.clear()
        self._minutes[text] = start
        return start

    def _zone(self, text: bytes) -> tuple[timezone, float]:
        delta = timedelta(hours=int(text[1:3]), minutes=int(text[3:5]))
        if text.startswith(b"-"):
            delta = -delta
        known = self._zones[text] = (timezone(delta), delta.total_seconds())
        return known


def _local(when: datetime) -> tuple[float, timezone]:
    when = when.astimezone()
    return (when - EPOCH).total_seconds(), timezone(when.utcoffset() or timedelta())


def _read(minute: bytes) -> datetime:
    """Without a zone. Raises ValueError."""
    day, _, time = minute.decode().partition(" ")
    year, month, date = map(int, day.split("-"))
    if year not in YEARS:
        raise ValueError(f"the year {year} is no year of a log")
    hours, minutes = map(int, time.split(":"))
    return datetime(year, month, date, hours, minutes)
