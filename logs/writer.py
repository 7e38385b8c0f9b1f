"""One log file as its writer keeps it: whole lines, rotation, and a count of what could not be written."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Optional

from logs.buffer import Waiting

QUEUE_LIMIT = 8 << 20
"""Bytes that wait for a disk that is slow or full; lines past that are dropped, and counted."""
RETRY_S = 1.0
CHUNK = 1 << 20


class LogFile(Waiting):
    """The queue of a file, and the file. `write` is for the writer's thread alone."""

    def __init__(self, path: Path, max_bytes: int, backup_count: int) -> None:
        super().__init__(QUEUE_LIMIT)
        self._path = path
        self._max_bytes = max_bytes
        self._backup_count = backup_count
        self._fd: Optional[int] = None
        self._size = 0
        self._checked_at = self._failed_at = self._rotate_after = float("-inf")

    def is_open(self) -> bool:
        return self._fd is not None

    def stuck(self) -> bool:
        """Whether a write failed less than RETRY_S ago, so that another is not worth its while."""
        return time.monotonic() - self._failed_at < RETRY_S

    def write(self, batch: list[bytes], lost: int, lost_line: Callable[[str, int], bytes]) -> None:
        """Write the lines, whole ones only, then, where some were lost, the line that tells their number."""
        self._pending = batch
        now = time.monotonic()
        try:
            if self._fd is None or now - self._checked_at >= RETRY_S:
                self._checked_at = now
                self._follow()
            while self._pending:
                chunk = self._next_chunk(now)
                if chunk:
                    self._write_whole(chunk)
                else:
                    self._rotate(now)
            if lost:
                self._write_whole(lost_line(self._path.name, lost))
                self._told_lost = lost
        except OSError:
            self._failed_at = time.monotonic()
            self.close()

    def close(self) -> None:
        """Close the file; the next `write` opens it anew by its name. That some file systems (NFS, quotas) tell only
        now what went wrong with an earlier write is no news: whatever is wrong is met again.
        """
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):
                os.close(fd)

    def _next_chunk(self, now: float) -> bytes:
        """The lines that still fit into the file, about 1 MiB at most; nothing: it is time to rotate."""
        limit = CHUNK
        if self._max_bytes and now >= self._rotate_after:
            limit = min(CHUNK, self._max_bytes - self._size)
        size = count = 0
        for line in self._pending:
            if size + len(line) > limit and (count or self._size):
                break
            size += len(line)
            count += 1
        return b"".join(self._pending[:count])

    def _write_whole(self, data: bytes) -> None:
        """Append `data`; when the disk takes a part, keep its whole lines and raise OSError."""
        if self._fd is None:
            raise OSError(f"{self._path} is not open")
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        finally:
            whole = data.rfind(b"\n", 0, written) + 1
            if whole < written:
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - (written - whole))
            self._size += whole
            if self._pending:
                self._written_bytes += whole
                del self._pending[: data.count(b"\n", 0, whole)]

    def _follow(self) -> None:
        """Open the file, anew when it was moved away or its folder removed; end a line that a crash cut."""
        if self._fd is not None:
            try:
                there, ours = os.stat(self._path), os.fstat(self._fd)
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    self._size = ours.st_size
                    return
            except FileNotFoundError:
                pass
            self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        self._size = os.fstat(self._fd).st_size
        if self._size:
            os.lseek(self._fd, -1, os.SEEK_END)
            if os.read(self._fd, 1) != b"\n":
                os.write(self._fd, b"\n")
                self._size += 1

    def _rotate(self, now: float) -> None:
        """Make NAME.1 of the file, NAME.2 of that, and so on. Where that can't be, go on in the same file and try
        again a second later: on Windows while it is tailed, for ever where the file itself is mounted.
        """
        self.close()
        try:
            if self._backup_count:
                for n in range(self._backup_count - 1, 0, -1):
                    older = f"{self._path}.{n}"
                    if os.path.exists(older):
                        os.replace(older, f"{self._path}.{n + 1}")
                os.replace(self._path, f"{self._path}.1")
            else:
                os.remove(self._path)
        except FileNotFoundError:
            pass
        except OSError:
            self._rotate_after = now + RETRY_S
        self._follow()
