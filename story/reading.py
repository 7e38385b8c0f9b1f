"""A folder of logs, rotated and gzipped ones too, as lines in the order of time.

Nothing in a file is fatal: a line that does not fit CONTRACT's form is counted, a file or folder that cannot
be read is named in `faults`, and what can be read is read. One block of a file is in memory at a time.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import stat
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import Optional

from .items import Item
from .lines import Reader
from .spelling import visible

BLOCK = 1 << 18
LONGEST = 1 << 16
"""Bytes of a line past which it is none of ours, which end at 4,096: it is counted, and not kept."""

LAST_ANSWER_S = 60.0
"""Between the last answer and the line that says that a connection was lost; three pings are missed in it."""
LOGS = ("ping", "comms")
_FILE = re.compile(r"(ping|comms)\.log(?:[.-](\d[\d.T_-]*))?(?:\.gz)?")
_BREAK = re.compile(rb"\[(?:started|disconnected|was_frozen) ")
_GZIP_MAGIC = b"\x1f\x8b"
_UNREADABLE = (OSError, EOFError, zlib.error)


def lines_of(
    file: BufferedIOBase, limit: Optional[int] = None, read: Callable[[], object] = lambda: None
) -> Iterator[bytes]:
    """The lines of a file without their newlines; what stands after the last newline is a line too.

    `limit`: bytes of it at most, None: all; `read` is called after each block.
    """
    rest = b""
    while limit is None or limit > 0:
        # read1, since a damaged gzip file still gives what stands before the damage
        block = file.read1(BLOCK if limit is None else min(BLOCK, limit))
        if not block:
            break
        if limit is not None:
            limit -= len(block)
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield from lines
        read()
        if len(rest) > LONGEST:
            rest = b"\0"  # the rest of that line goes on behind it, and no line of ours starts so
    if rest:
        yield rest


def _open(path: Path, stack: ExitStack) -> tuple[BufferedIOBase, BufferedIOBase]:
    """The file, unpacked where its name and its first bytes say that it is gzipped; and as it lies there."""
    file = stack.enter_context(path.open("rb"))
    if path.suffix == ".gz" and file.peek(2)[:2] == _GZIP_MAGIC:
        return stack.enter_context(gzip.GzipFile(fileobj=file)), file
    return file, file


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
    `since`: seconds since 1970; files of pings that end before are passed over, where they tell nothing of
    since when the node was away.
    `limits`: of the logs that are being written, how many bytes of each to read, by their inode; one that is
    not among them is left for whoever follows it. None: all.
    `progress`: called with the bytes that were read of the disk.
    """

    path: Path
    since: float = -math.inf
    limits: Optional[Mapping[int, int]] = None
    progress: Callable[[int], object] = lambda _: None
    readable: int = 0
    old: int = 0
    unreadable_by: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def unreadable(self) -> int:
        return sum(self.unreadable_by.values())

    @property
    def name(self) -> str:
        """As it was given, fit to be shown."""
        return visible(str(self.path))

    @property
    def number(self) -> Optional[int]:
        return _number_in(self.path.resolve().name)

    def size(self) -> int:
        """Bytes of its logs on the disk, as far as they can be seen."""
        try:
            return sum(path.stat().st_size for path in self.path.iterdir() if _FILE.fullmatch(path.name))
        except OSError:
            return 0

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

    def comms(self) -> Iterator[Item]:
        """The lines of comms.log alone, as far as they can be read."""
        try:
            files = self._files()["comms"]
        except OSError:
            return
        yield from self._read(files)

    def _files(self) -> dict[str, list[Path]]:
        """The files of each log, oldest first: by the time of their first line, then by their number."""
        found: dict[str, list[tuple[float, int, bool, bytes, Path]]] = {log: [] for log in LOGS}
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
        begins = {path: at for at, *_, path in found["ping"]}
        files["ping"] = self._wanted([(begins[path], path) for path in files["ping"]], files["comms"])
        return files

    def _wanted(self, pings: Sequence[tuple[float, Path]], comms: Sequence[Path]) -> list[Path]:
        """Without those that end before `since`, unless a process or a connection ended in one: its last ping
        says since when the node was away.
        """
        ends = [at for at, _ in pings[1:]] + [math.inf]
        over = [place for place, end in enumerate(ends) if end <= self.since]
        breaks = sorted(self._breaks(comms)) if over else []
        return [
            path
            for place, (begin, path) in enumerate(pings)
            if place not in over
            or bisect_right(breaks, begin) < bisect_right(breaks, ends[place] + LAST_ANSWER_S)
        ]

    def _breaks(self, comms: Sequence[Path]) -> Iterator[float]:
        """When a process began, lost its master or stood still."""
        reader = Reader()
        for path in comms:
            with ExitStack() as stack, suppress(*_UNREADABLE):
                for line in lines_of(_open(path, stack)[0]):
                    item = reader.read(line) if _BREAK.search(line) else None
                    if item:
                        yield item.at

    def _head(self, path: Path) -> tuple[float, bytes]:
        """When the file begins, and the line that says so; -inf and nothing where none of its first does."""
        reader = Reader()
        with ExitStack() as stack:
            file, _ = _open(path, stack)
            try:
                for _, line in zip(range(100), lines_of(file)):
                    item = reader.read(line)
                    if item:
                        return item.at, line
            except _UNREADABLE:
                pass  # named when the file itself is read
        return float("-inf"), b""

    def _read(self, files: list[Path]) -> Iterator[Item]:
        reader = Reader()
        for path in files:
            try:
                yield from self._items_of(path, reader)
            except _UNREADABLE as exc:
                reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
                self.faults.append(f"{path}: {reason}; what stands before the damage was read")
        self.readable += reader.readable
        self.old += reader.old
        self.unreadable_by += reader.unreadable

    def _items_of(self, path: Path, reader: Reader) -> Iterator[Item]:
        with ExitStack() as stack:
            file, on_disk = _open(path, stack)
            limit = None
            if self.limits is not None and path.name in ("ping.log", "comms.log"):
                limit = self.limits.get(os.fstat(on_disk.fileno()).st_ino, 0)
            before = 0

            def tell() -> None:
                nonlocal before
                now = on_disk.tell()
                self.progress(now - before)
                before = now

            for line in lines_of(file, limit, tell):
                item = reader.read(line)
                if item:
                    yield item
