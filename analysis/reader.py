"""Files of logs: rotated and gzipped ones, and ones that are still being written.

Nothing in a file is fatal: what cannot be read is named in `faults`, and the rest is read. One block of a file is in
memory at a time.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .formatting import visible
from .parser import Line, Ping, parse

BLOCK = 1 << 18
LONGEST = 1 << 16
"""Bytes of a line past which it is none of ours, which end at 4,096: it is counted and not kept."""
EXPANSION, EXPANSION_FREE = 100, 4 << 20
"""A .gz file is read up to so many times its size, and this many bytes more; logs reach 10 to 50 times."""
LOGS = ("ping", "comms", "master")
HEAD_LINES = 100
LAST_WORDS_S = 1.0
"""For which a moved file is still read, since its writer may not have noticed yet."""
_FILE = re.compile(r"(ping|comms|master)\.log(?:[.-](\d[\d.T_-]*))?(?:\.gz)?", re.ASCII)
_UNREADABLE = (OSError, EOFError, zlib.error)


class ExpansionError(Exception):
    """A compressed file holds more than any log does."""


def _lines(file: BinaryIO, limit: float = float("inf")) -> Iterator[bytes]:
    """The lines without their newlines, and what follows the last newline. Raises ExpansionError past `limit` bytes."""
    rest, size = b"", 0
    # read1, since a damaged .gz still gives what precedes the damage
    read = getattr(file, "read1", file.read)
    while block := read(BLOCK):
        size += len(block)
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield from lines
        if len(rest) > LONGEST:
            rest = b"\0"  # the rest of that line follows it, and no line of ours starts so
        if size > limit:
            raise ExpansionError
    if rest:
        yield rest


def _opened(path: Path, stack: ExitStack) -> tuple[BinaryIO, float]:
    """The file, unpacked where its name and its first bytes say so, and how many bytes may be read of it.

    Raises OSError.
    """
    file = stack.enter_context(path.open("rb"))
    if path.suffix == ".gz" and file.peek(2)[:2] == b"\x1f\x8b":
        size = os.fstat(file.fileno()).st_size
        return stack.enter_context(gzip.GzipFile(fileobj=file)), EXPANSION * size + EXPANSION_FREE  # type: ignore[return-value]
    return file, float("inf")


@dataclass
class Folder:
    """A LOG_DIR, or one log file. `faults` name what could not be read, `notes` what was left aside on purpose;
    both and the counts are complete once its lines were read.
    """

    path: Path
    readable: int = 0
    unreadable: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _files: dict[str, list[Path]] | None = None

    @property
    def name(self) -> str:
        return visible(str(self.path))

    @property
    def number(self) -> int | None:
        """The one number in the folder's name; None: it holds none, or several."""
        name = self.path.resolve().name
        found = re.findall(r"node[-_ ]?(\d+)", name, re.ASCII | re.IGNORECASE) or re.findall(
            r"\d+", name, re.ASCII
        )
        return int(found[0]) if len(found) == 1 and len(found[0]) < 10 else None

    def files(self, log: str) -> list[Path]:
        """The files of "ping", "comms" or "master", oldest first."""
        if self._files is None:
            self._files = {name: [] for name in LOGS}
            try:
                self._look()
            except OSError as exc:
                self._fault(self.path, exc)
            if not any(self._files.values()) and not self.faults:
                self.faults.append(f"{self.name}: no ping.log or comms.log in it; give a worker's LOG_DIR")
        return self._files[log]

    def read(self, log: str) -> Iterator[Ping | Line]:
        """Every line of that log that fits, in the order of its files."""
        for path in self.files(log):
            try:
                with ExitStack() as stack:
                    for text in _lines(*_opened(path, stack)):
                        parsed = parse(text)
                        if parsed is None:
                            self.unreadable += 1
                        else:
                            self.readable += 1
                            yield parsed
            except ExpansionError:
                self.faults.append(
                    f"{visible(str(path))}: expands to more than {EXPANSION} times its size; the rest was not read"
                )
            except _UNREADABLE as exc:
                self._fault(path, exc, "; what precedes the damage was read")

    def finish(self) -> None:
        """Name a folder of which nothing could be read."""
        if not self.readable and not self.faults:
            what = "no line of its logs fits their format" if self.unreadable else "its logs are empty"
            self.faults.append(f"{self.name}: {what}")

    def _fault(self, path: Path, exc: BaseException, rest: str = "") -> None:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        self.faults.append(f"{visible(str(path))}: {visible(reason)}{rest}")

    def _look(self) -> None:
        found: dict[str, list[tuple[float, int, bool, bytes, Path]]] = {log: [] for log in LOGS}
        is_file = stat.S_ISREG(self.path.stat().st_mode)
        for path in [self.path] if is_file else sorted(self.path.iterdir()):
            name = _FILE.fullmatch(path.name)
            if not name:
                if is_file or path.name.startswith(tuple(f"{log}.log" for log in LOGS)):
                    self.notes.append(f"{visible(str(path))}: left aside, neither a rotated log nor a .gz")
                continue
            try:
                if not stat.S_ISREG(path.stat().st_mode):
                    raise OSError("not a regular file")
                at, head = _head(path)
            except OSError as exc:
                self._fault(path, exc)
                continue
            rotation = int(name[2]) if (name[2] or "").isdecimal() and len(name[2]) < 10 else 0
            found[name[1]].append((at, -rotation, path.suffix == ".gz", head, path))
        assert self._files is not None  # noqa: S101 - files() made it
        for log, those in found.items():
            plain = {(rotation, head) for _, rotation, packed, head, _ in those if not packed}
            # a file that is just being packed is there twice
            self._files[log] = [
                path
                for _, rotation, packed, head, path in sorted(those)
                if not (packed and head and (rotation, head) in plain)
            ]


def _head(path: Path) -> tuple[float, bytes]:
    """When a file begins, and its first line that fits; -inf and nothing where none of its first does."""
    with ExitStack() as stack:
        try:
            lines = _lines(*_opened(path, stack))
            for _, text in zip(range(HEAD_LINES), lines, strict=False):
                parsed = parse(text)
                if parsed:
                    return parsed.at, text
        except (EOFError, zlib.error, gzip.BadGzipFile, ExpansionError):
            pass  # named when the file itself is read
    return float("-inf"), b""


class Tail:
    """A log that grows: whole lines as they come, across rotation, truncation and a file that appears late."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        self._moved: list[tuple[BinaryIO, bytes, float]] = []

    def skip(self) -> None:
        """Begin behind the last whole line that is there now."""
        self._file = self._open()
        if self._file:
            end = self._file.seek(0, os.SEEK_END)
            start = max(0, end - LONGEST)
            self._file.seek(start)
            self._file.seek(start + self._file.read(end - start).rfind(b"\n") + 1)

    def lines(self) -> list[bytes]:
        """The whole lines that were written since the last call."""
        found: list[bytes] = []
        moved, self._moved = self._moved, []
        for file, before, until_s in moved:
            lines, rest = _more(file, before)
            found += lines
            if until_s > time.monotonic():
                self._moved.append((file, rest, until_s))
            else:
                file.close()
                found += [rest] if rest else []
        if self._file:
            lines, self._rest = _more(self._file, self._rest)
            found += lines
            try:
                now, ours = os.stat(self._path), os.fstat(self._file.fileno())
            except OSError:
                return found  # moved away, and not made anew yet
            if (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino):
                if now.st_size < self._file.tell():  # copytruncate
                    self._file.seek(0)
                    self._rest = b""
                return found
            self._moved.append((self._file, self._rest, time.monotonic() + LAST_WORDS_S))
        self._file, self._rest = self._open(), b""
        if self._file:
            lines, self._rest = _more(self._file, b"")
            found += lines
        return found

    def _open(self) -> BinaryIO | None:
        """None: there is no file that can be read; one may come."""
        try:
            # opening a pipe would wait for its writer
            return self._path.open("rb") if stat.S_ISREG(self._path.stat().st_mode) else None
        except OSError:
            return None


def _more(file: BinaryIO, rest: bytes) -> tuple[list[bytes], bytes]:
    found: list[bytes] = []
    while block := file.read(BLOCK):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        found += lines
        if len(rest) > LONGEST:
            rest = b"\0"
    return found, rest
