"""A folder of logs, rotated and gzipped ones too, as lines in the order of time.

Nothing in a file is fatal: a line that does not fit CONTRACT's form is counted, a file or folder that cannot
be read is named in `faults`, and what can be read is read. One block of a file is in memory at a time.
"""

from __future__ import annotations

import gzip
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple, Optional, Union

from logging_setup import parse_line

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
BLOCK = 1 << 18
LONGEST = 1 << 16
"""Bytes of a line past which it is none of ours, which end at 4,096: it is counted, and not kept."""
YEARS = range(1970, 3000)
"""Years that are believed: a machine without a clock of its own starts in 1970."""

_FILE = re.compile(r"(ping|comms)\.log(?:[.-](\d[\d.T_-]*))?(?:\.gz)?")
_PING = re.compile(
    rb"\[(\d{4}-\d\d-\d\d \d\d:\d\d):([0-5]\d\.\d{3})([+-]\d{4})\] : \[INFO\] - "
    rb"\[ping seq=(\d{1,15}) rtt_ms=(\d{1,9}(?:\.\d{1,9})?)( late=true)?(?: simulated=true)?\]"
)
_DECIMAL = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_GZIP_MAGIC = b"\x1f\x8b"
_UNREADABLE = (OSError, EOFError, zlib.error)


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
    line's last field may be incomplete.
    """

    at: float
    when: datetime
    event: str
    fields: Mapping[str, str]
    cut: bool = False


Item = Union[Ping, Line]


class _Clock:
    """Reads timestamps; a minute and an offset are worked out once, since thousands of lines share them."""

    def __init__(self) -> None:
        self._minutes: dict[bytes, float] = {}
        self._zones: dict[bytes, tuple[timezone, float]] = {}

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

    def _minute(self, text: bytes) -> float:
        day, _, time = text.decode().partition(" ")
        year, month, date = map(int, day.split("-"))
        hour, minute = map(int, time.split(":"))
        if year not in YEARS:
            raise ValueError(f"the year {year} is no year of a log")
        if len(self._minutes) > 100_000:
            self._minutes.clear()
        start = (datetime(year, month, date, hour, minute, tzinfo=timezone.utc) - EPOCH).total_seconds()
        self._minutes[text] = start
        return start

    def _zone(self, text: bytes) -> tuple[timezone, float]:
        delta = timedelta(hours=int(text[1:3]), minutes=int(text[3:5]))
        if text.startswith(b"-"):
            delta = -delta
        known = self._zones[text] = (timezone(delta), delta.total_seconds())
        return known


def lines_of(file: BufferedIOBase) -> Iterator[bytes]:
    """The lines of a file without their newlines; what stands after the last newline is a line too."""
    rest = b""
    while True:
        # read1, since a damaged gzip file still gives what stands before the damage
        block = file.read1(BLOCK)
        if not block:
            break
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield from lines
        if len(rest) > LONGEST:
            rest = b"\0"  # the rest of that line goes on behind it, and no line of ours starts so
    if rest:
        yield rest


def _open(path: Path, stack: ExitStack) -> BufferedIOBase:
    """The file, unpacked where its name and its first bytes say that it is gzipped."""
    file = stack.enter_context(path.open("rb"))
    if path.suffix == ".gz" and file.peek(2)[:2] == _GZIP_MAGIC:
        return stack.enter_context(gzip.GzipFile(fileobj=file))
    return file


def _number_in(name: str) -> Optional[int]:
    found = re.findall(r"\d+", name, re.ASCII)
    named = re.findall(r"node[-_ ]?(\d+)", name, re.ASCII | re.IGNORECASE)
    numbers = named or found
    return int(numbers[0]) if len(numbers) == 1 and len(numbers[0]) < 10 else None


@dataclass
class Folder:
    """A LOG_DIR. Its counts and faults are complete once `items()` has been read to its end.

    `number`: the one number in the folder's name; None: it holds none, or several.
    `faults`: what could not be read, each a text that names it; `notes`: what was left aside on purpose.
    """

    path: Path
    readable: int = 0
    unreadable: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def number(self) -> Optional[int]:
        return _number_in(self.path.resolve().name)

    def items(self) -> Iterator[Item]:
        """Every line that fits, of both logs together, oldest first; lines of one log keep their order."""
        try:
            files = self._files()
        except OSError as exc:
            self.faults.append(f"{self.path}: {exc.strerror or exc}")
            return
        if not any(files.values()):
            if not self.faults:
                self.faults.append(f"{self.path}: no ping.log or comms.log in it; give a worker's LOG_DIR")
            return
        pings = self._read(files["ping"])
        ahead = next(pings, None)
        for line in self._read(files["comms"]):
            while ahead is not None and ahead.at < line.at:
                yield ahead
                ahead = next(pings, None)
            yield line
        if ahead is not None:
            yield ahead
        yield from pings
        if not self.readable and not self.faults:
            what = "no line of its logs fits their format" if self.unreadable else "its logs are empty"
            self.faults.append(f"{self.path}: {what}")

    def _files(self) -> dict[str, list[Path]]:
        """The files of each log, oldest first: by the time of their first line, then by their number."""
        found: dict[str, list[tuple[float, int, bool, bytes, Path]]] = {"ping": [], "comms": []}
        for path in sorted(self.path.iterdir()):
            name = _FILE.fullmatch(path.name)
            if not name:
                if path.name.startswith(("ping.log", "comms.log")):
                    self.notes.append(f"{path}: left aside, neither a rotated log nor a .gz")
                continue
            try:
                if not stat.S_ISREG(path.stat().st_mode):
                    raise OSError("it is no file")
                at, head = self._head(path)
            except OSError as exc:
                self.faults.append(f"{path}: {exc.strerror or exc}")
                continue
            number = int(name.group(2)) if (name.group(2) or "").isdecimal() else 0
            packed = path.suffix == ".gz"
            found[name.group(1)].append((at, -number, packed, head, path))
        files: dict[str, list[Path]] = {}
        for log, those in found.items():
            those.sort()
            plain = {(number, head) for _, number, packed, head, _ in those if not packed}
            # while a file is being packed it is there twice
            files[log] = [
                path
                for _, number, packed, head, path in those
                if not (packed and head and (number, head) in plain)
            ]
        return files

    def _head(self, path: Path) -> tuple[float, bytes]:
        """When the file begins, and the line that says so; -inf and nothing where none of its first does."""
        clock = _Clock()
        with ExitStack() as stack:
            file = _open(path, stack)
            try:
                for _, line in zip(range(100), lines_of(file)):
                    item = self._item(line, clock)
                    if item:
                        return item.at, line
            except _UNREADABLE:
                pass  # named when the file itself is read
        return float("-inf"), b""

    def _read(self, files: list[Path]) -> Iterator[Item]:
        clock = _Clock()
        for path in files:
            with ExitStack() as stack:
                try:
                    for line in lines_of(_open(path, stack)):
                        item = self._item(line, clock)
                        if item:
                            self.readable += 1
                            yield item
                        else:
                            self.unreadable += 1
                except _UNREADABLE as exc:
                    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
                    self.faults.append(f"{path}: {reason}; what stands before the damage was read")

    def _item(self, line: bytes, clock: _Clock) -> Optional[Item]:
        """What a line says; None: it does not fit."""
        ping = _PING.fullmatch(line)
        if ping:
            minute, seconds, offset, seq, rtt_ms, late = ping.groups()
            try:
                at, zone = clock(minute, seconds, offset)
            except ValueError:
                return None
            return Ping(at, zone, seq.decode(), float(rtt_ms), late is not None)
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
        return Line(at, entry.when, entry.event, entry.fields, entry.left_out > 0)
