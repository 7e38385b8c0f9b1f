"""One log file: whole lines, rotation, following a moved file, and a count of what could not be written."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from logs.buffer import LineBuffer

QUEUE_LIMIT = 8 << 20
"""Bytes that wait for a disk that is slow or full; further lines are dropped and counted."""
RETRY_S = 1.0
CHUNK = 1 << 20
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class LogFile(LineBuffer):
    """The queue of a file, and the file. Only the writer's thread calls `write` and `close`.

    `problem` is why the last write failed, None: it did not.
    """

    def __init__(self, path: Path, max_bytes: int, backup_count: int) -> None:
        super().__init__(QUEUE_LIMIT)
        self.path = path
        self.problem: str | None = None
        self._max_bytes = max_bytes
        self._backup_count = backup_count
        self._fd: int | None = None
        self._size = 0
        self._checked_at = self._failed_at = self._rotate_after = float("-inf")

    def is_open(self) -> bool:
        return self._fd is not None

    def stuck(self) -> bool:
        """Whether a write failed less than RETRY_S ago, so that another is not worthwhile."""
        return time.monotonic() - self._failed_at < RETRY_S

    def write(self, batch: list[bytes], lost: int, lost_line: Callable[[str, int], bytes]) -> None:
        """Write the lines, only whole ones, then, where some were lost, the line with their number."""
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
                self._write_whole(lost_line(self.path.name, lost))
                self._reported_lost = lost
            self.problem = None
        except OSError as exc:
            self._failed_at = time.monotonic()
            self.problem = why_not_written(exc, self.path)
            self.close()

    def close(self) -> None:
        """Close the file; the next `write` opens it again by its name.

        Some file systems (NFS, quotas) report only now what went wrong with an earlier write: the next one fails too.
        """
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):
                os.close(fd)

    def _next_chunk(self, now: float) -> bytes:
        """The lines that still fit into the file, about 1 MiB at most; empty: it is time to rotate."""
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
            raise OSError(f"{self.path} is not open")
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
        """Open the file, anew if it was moved away or its folder removed; end a line that a crash cut."""
        if self._fd is not None:
            try:
                there, ours = os.lstat(self.path), os.fstat(self._fd)
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    self._size = ours.st_size
                    return
            except FileNotFoundError:
                pass
            self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, _FLAGS, 0o644)
        self._size = os.fstat(self._fd).st_size
        if self._size:
            os.lseek(self._fd, -1, os.SEEK_END)
            if os.read(self._fd, 1) != b"\n":
                os.write(self._fd, b"\n")
                self._size += 1

    def _rotate(self, now: float) -> None:
        """Rename the file to NAME.1, NAME.1 to NAME.2, and so on.

        Where that fails, go on in the same file and try again a second later: on Windows while it is tailed, forever
        where the file itself is a mount point.
        """
        self.close()
        try:
            if self._backup_count:
                for n in range(self._backup_count - 1, 0, -1):
                    older = f"{self.path}.{n}"
                    if os.path.lexists(older):
                        os.replace(older, f"{self.path}.{n + 1}")
                os.replace(self.path, f"{self.path}.1")
            else:
                os.remove(self.path)
        except FileNotFoundError:
            pass
        except OSError:
            self._rotate_after = now + RETRY_S
        self._follow()


def why_not_written(exc: OSError, path: Path) -> str:
    """The reason in words, with what helps."""
    if exc.errno == errno.ELOOP:  # O_NOFOLLOW
        return "it is a symbolic link, which is never followed; remove it"
    reason = exc.strerror or str(exc)
    if exc.errno == errno.ENOSPC and without_inodes(path.parent):
        return f"{reason}: no inodes are left; remove files, whatever their size"
    return reason


def without_inodes(folder: Path) -> bool:
    """Whether no file can be created, however much room there is."""
    if hasattr(os, "statvfs"):
        with contextlib.suppress(OSError):
            disk = os.statvfs(folder)
            return bool(disk.f_files) and not disk.f_favail
    return False
