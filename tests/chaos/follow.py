"""A log's lines whatever becomes of its file: rotated, moved away, removed with its folder, truncated."""

from __future__ import annotations

import io
import os
from pathlib import Path

from logs.format import Entry, LineError, parse_line


class Follow:
    """`new` are the entries since the last `take`, `bad` the lines of all time that are none.

    It keeps the file open, so that what is moved or removed is read to its end; read at least once a rotation.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.new: list[Entry] = []
        self.bad: list[bytes] = []
        self._file: io.FileIO | None = None
        # after the last whole line: what follows it may be taken back, and written again
        self._at = 0

    def read(self) -> list[Entry]:
        while self._file is not None or self._open():
            assert self._file is not None
            there = self._inode()
            rest = self._read_on(self._file)
            # the writer closes a file before it makes the next one by that name
            if there in (None, os.fstat(self._file.fileno()).st_ino):
                break
            rest = self._read_on(self._file)
            if rest:
                self.bad.append(rest)
            self._file.close()
            self._file = None
        return self.new

    def take(self) -> list[Entry]:
        """What is new, which then is no more."""
        entries, self.new = self.read(), []
        return entries

    def of(self, *events: str) -> list[Entry]:
        return [entry for entry in self.read() if entry.event in events]

    def _open(self) -> bool:
        try:
            self._file = self.path.open("rb", buffering=0)
            self._at = 0
        except FileNotFoundError:
            return False
        return True

    def _inode(self) -> int | None:
        try:
            return os.stat(self.path).st_ino
        except FileNotFoundError:
            return None

    def _read_on(self, file: io.FileIO) -> bytes:
        """Takes the whole lines that are new; returns what follows them."""
        if os.fstat(file.fileno()).st_size < self._at:
            self._at = 0
        file.seek(self._at)
        *lines, rest = file.read().split(b"\n")
        for line in lines:
            self._at += len(line) + 1
            try:
                self.new.append(parse_line(line.decode()))
            except (LineError, UnicodeDecodeError):
                self.bad.append(line)
        return rest
