"""A log that is being written, read as it grows: through rotation, and from before it is there."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import BinaryIO, NamedTuple, Optional

from .reading import BLOCK, LONGEST

LAST_WORDS_S = 5.0
"""For which a file that was moved away is still read: its writer notices within 3 s."""
ROTATED = 1000
"""Numbers of rotated files among which one that was moved is looked for."""


class _Identity(NamedTuple):
    device: int
    inode: int


class _Source:
    """An open file and how far it was read."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        status = os.fstat(file.fileno())
        self.identity = _Identity(status.st_dev, status.st_ino)
        self.size = status.st_size
        self.retire_s = 0.0
        self._rest = b""

    def to_last_line(self) -> int:
        """Go behind the last whole line, and say where that is."""
        start = max(0, self.size - LONGEST)
        self.file.seek(start)
        tail = self.file.read(self.size - start)
        position = start + tail.rfind(b"\n") + 1
        self.file.seek(position)
        return position

    def lines(self) -> list[bytes]:
        """The whole lines that were written since."""
        found: list[bytes] = []
        while True:
            block = self.file.read(BLOCK)
            if not block:
                return found
            lines = (self._rest + block).split(b"\n")
            self._rest = lines.pop()
            found.extend(lines)
            if len(self._rest) > LONGEST:
                self._rest = b"\0"

    def was_cut(self) -> bool:
        """Whether the file is shorter than what was read of it, as after logrotate's copytruncate; then it is
        read anew.
        """
        if os.fstat(self.file.fileno()).st_size >= self.file.tell():
            return False
        self.file.seek(0)
        self._rest = b""
        return True

    def end(self) -> list[bytes]:
        """Close it; what stands behind the last newline is a line too."""
        self.file.close()
        return [self._rest] if self._rest else []


class Tail:
    """`path`: the log's own name, which a file need not have yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._source: Optional[_Source] = None
        self._moved: list[_Source] = []

    def begin(self) -> Optional[tuple[int, int]]:
        """Begin behind the last whole line that is there now: the file's inode, and how many bytes stand
        before. None: there is no file yet.
        """
        self._source = _open(self._path)
        return None if self._source is None else (self._source.identity.inode, self._source.to_last_line())

    def lines(self) -> list[bytes]:
        """The whole lines that were written since the last call, oldest first."""
        found = self._last_words()
        if self._source is None:
            self._source = _open(self._path)
            return found + (self._source.lines() if self._source else [])
        found += self._source.lines()
        try:
            status = os.stat(self._path)
        except OSError:
            return found  # moved away, and not made anew yet
        if _Identity(status.st_dev, status.st_ino) == self._source.identity:
            return found + (self._source.lines() if self._source.was_cut() else [])
        before = self._source
        found += before.lines()
        before.retire_s = time.monotonic() + LAST_WORDS_S
        self._moved.append(before)
        for path in _between(self._path, before.identity):
            passed = _open(path)
            if passed:
                found += passed.lines() + passed.end()
        self._source = _open(self._path)
        return found + (self._source.lines() if self._source else [])

    def close(self) -> None:
        for source in (self._source, *self._moved):
            if source:
                source.end()

    def _last_words(self) -> list[bytes]:
        found: list[bytes] = []
        for source in self._moved:
            found += source.lines()
            if source.retire_s <= time.monotonic():
                found += source.end()
        self._moved = [source for source in self._moved if not source.file.closed]
        return found


def _open(path: Path) -> Optional[_Source]:
    """None: there is none that can be read; it may come."""
    try:
        # opening a pipe would wait for its writer
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        return _Source(path, open(path, "rb"))
    except OSError:
        return None


def _between(path: Path, identity: _Identity) -> list[Path]:
    """The files that were begun and moved away between two looks, oldest first; none where the one that was
    read before is not found.
    """
    newer: list[Path] = []
    for number in range(1, ROTATED):
        rotated = path.with_name(f"{path.name}.{number}")
        try:
            status = os.stat(rotated)
        except OSError:
            return []
        if _Identity(status.st_dev, status.st_ino) == identity:
            return newer[::-1]
        newer.append(rotated)
    return []
