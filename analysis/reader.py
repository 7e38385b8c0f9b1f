"""Files of logs: rotated and gzipped ones, and ones that are still being written.

Nothing in a file is fatal: what cannot be read is named in `faults`, and the rest is read. One block of a file is in
memory at a time.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import stat
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
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
_FILE = re.compile(r"(ping|comms|master)\.log(?:[.-](\d[\d.T_-]*))?(?:\.gz)?", re.ASCII)
_UNREADABLE = (OSError, EOFError, zlib.error)


class _Lines:
    """A file's lines, without their newlines; `rest` is what follows the last newline. Raises EOFError past `limit` bytes."""

    def __init__(self, file: BinaryIO | gzip.GzipFile, limit: float = math.inf) -> None:
        self.file = file
        self.rest = b""
        self._left = limit
        # read1, since a damaged .gz still gives what precedes the damage
        self._read = getattr(file, "read1", file.read)

    def whole(self) -> Iterator[bytes]:
        """Those that are there now."""
        while block := self._read(BLOCK):
            self._left -= len(block)
            if self._left < 0:
                raise EOFError(f"it expands to more than {EXPANSION} times its size")
            *lines, self.rest = (self.rest + block).split(b"\n")
            yield from lines
            if len(self.rest) > LONGEST:
                self.rest = b"\0"  # the rest of that line follows it, and no line of ours starts so

    def all(self) -> Iterator[bytes]:
        """The same, and what nobody goes on with."""
        yield from self.whole()
        if self.rest:
            yield self.rest


@contextmanager
def _opened(path: Path) -> Iterator[_Lines]:
    """The file's lines, unpacked where its name and its first bytes say so. Raises OSError."""
    with path.open("rb") as file:
        if path.suffix == ".gz" and file.peek(2)[:2] == b"\x1f\x8b":
            limit = EXPANSION * os.fstat(file.fileno()).st_size + EXPANSION_FREE
            yield _Lines(gzip.GzipFile(fileobj=file), limit)
        else:
            yield _Lines(file)


class Folder:
    """A LOG_DIR, or one log file. `faults` name what could not be read, `notes` what was left aside on purpose;
    both and the counts are complete once its lines were read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = visible(str(path))
        self.readable = self.unreadable = 0
        self.faults: list[str] = []
        self.notes: list[str] = []
        self._files: dict[str, list[Path]] = {log: [] for log in LOGS}
        try:
            self._look()
        except OSError as exc:
            self._fault(self.path, exc)
        if not any(self._files.values()) and not self.faults:
            self.faults.append(f"{self.name}: no ping.log or comms.log in it; give a worker's LOG_DIR")

    @property
    def number(self) -> int | None:
        """The one number in the folder's name; None: it holds none, or several."""
        name = self.path.resolve().name
        found = re.findall(r"node[-_ ]?(\d+)", name, re.ASCII | re.IGNORECASE) or re.findall(
            r"\d+", name, re.ASCII
        )
        return int(found[0]) if len(found) == 1 and len(found[0]) < 10 else None

    def read(self, log: str) -> Iterator[Ping | Line]:
        """Every line of "ping", "comms" or "master" that fits, in the order of time of its files."""
        for path in self._files[log]:
            try:
                with _opened(path) as lines:
                    for text in lines.all():
                        parsed = parse(text)
                        if parsed is None:
                            self.unreadable += 1
                        else:
                            self.readable += 1
                            yield parsed
            except _UNREADABLE as exc:
                self._fault(path, exc, "; what precedes that was read")

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
        for log, those in found.items():
            files: dict[tuple[int, bytes | Path], Path] = {}
            for _, rotation, _, head, path in sorted(those):
                # one that is just being packed is there twice, and stands behind the other
                files.setdefault((rotation, head or path), path)
            self._files[log] = list(files.values())


def _head(path: Path) -> tuple[float, bytes]:
    """When a file begins, and its first line that fits; -inf and nothing where none of its first does."""
    with suppress(EOFError, zlib.error, gzip.BadGzipFile), _opened(path) as lines:
        # damage is named when the file itself is read
        for text in islice(lines.all(), HEAD_LINES):
            parsed = parse(text)
            if parsed:
                return parsed.at, text
    return float("-inf"), b""


class Tail:
    """A log that grows: whole lines as they come, across rotation, truncation and a file that appears late."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._now: _Lines | None = None

    def skip(self) -> None:
        """Begin behind the last whole line that is there now."""
        self._now = self._open()
        if self._now:
            deque(self._now.whole(), maxlen=0)

    def lines(self) -> list[bytes]:
        """The whole lines that were written since the last call."""
        found = [*self._now.whole()] if self._now else []
        try:
            there = self._path.stat()
        except OSError:
            return found  # moved away, and not made anew yet
        if self._now:
            file = self._now.file
            if os.path.samestat(there, os.fstat(file.fileno())):
                if there.st_size < file.tell():  # copytruncate
                    file.seek(0)
                    self._now.rest = b""
                return found
            if not there.st_size:
                return found  # its writer has not noticed yet that it was moved
            found += self._now.all()
            file.close()
        self._now = self._open()
        return [*found, *self._now.whole()] if self._now else found

    def _open(self) -> _Lines | None:
        """None: there is no file that can be read; one may come."""
        try:
            # opening a pipe would wait for its writer
            return _Lines(self._path.open("rb")) if stat.S_ISREG(self._path.stat().st_mode) else None
        except OSError:
            return None
