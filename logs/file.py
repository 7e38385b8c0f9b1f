"""One log file: whole lines, rotation, following a moved file, and a count of what could not be written."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path

from logs.console import Console
from logs.format import line_now
from logs.writer import RETRY_S, LineQueue

QUEUE_LIMIT = 8 << 20
"""Bytes that wait for a disk that is slow or full; further lines are dropped and counted."""
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_CLOSED = -1


class LogFile(LineQueue):
    """A file and its queue. `problem` is why the last write failed, None: it did not; the console says so once."""

    def __init__(self, path: Path, max_bytes: int, backup_count: int, console: Console | None) -> None:
        super().__init__(path.name, QUEUE_LIMIT)
        self.path = path
        self.problem: str | None = None
        self._console = console
        self._max_bytes = max_bytes
        self._backup_count = backup_count
        self._fd = _CLOSED
        self._failed_at = self._rotate_after = float("-inf")

    def drain(self, *, closing: bool) -> None:
        """Write everything that waits into the file that has the name now."""
        self._follow()
        super().drain(closing=closing)
        if self.problem:
            after_s = time.monotonic() - self._failed_at
            reason, self.problem = self.problem, None
            line = line_now("INFO", "log_resumed", file=self.path.name, after_s=after_s, reason=reason)
            self.put(line, own=True)
            super().drain(closing=closing)

    def failed(self, exc: Exception) -> None:
        if not isinstance(exc, OSError):
            super().failed(exc)
            return
        self._close()
        reason = why_not_written(exc, self.path)
        if not self.problem:
            self._failed_at = time.monotonic()
            if self._console:
                self._console.put(line_now("WARNING", "log_failed", file=self.path.name, reason=reason))
        self.problem = reason

    def write(self, data: bytes) -> int:
        """Append the lines that still fit into the file. When the disk takes a part, only its whole lines stay."""
        if self._max_bytes and time.monotonic() >= self._rotate_after:
            size = os.fstat(self._fd).st_size
            end = data.rfind(b"\n", 0, max(0, self._max_bytes - size)) + 1
            if not end and size:
                self._rotate()
                return 0
            data = data[: end or data.find(b"\n") + 1]
        written = os.write(self._fd, data)
        whole = data.rfind(b"\n", 0, written) + 1
        if whole < written:
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - (written - whole))
        if not whole:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole

    def _close(self) -> None:
        """Close the file; `_follow` opens it again by its name.

        Some file systems (NFS, quotas) report only now what went wrong with an earlier write: the next one fails too.
        """
        if self._fd != _CLOSED:
            fd, self._fd = self._fd, _CLOSED
            with contextlib.suppress(OSError):
                os.close(fd)

    def _follow(self) -> None:
        """Open the file, anew if it was moved away or its folder removed; end a line that a crash cut."""
        if self._fd != _CLOSED:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.lstat(self.path), os.fstat(self._fd)):
                    return
            self._close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, _FLAGS, 0o644)
        if os.fstat(self._fd).st_size:
            os.lseek(self._fd, -1, os.SEEK_END)
            if os.read(self._fd, 1) != b"\n":
                os.write(self._fd, b"\n")

    def _rotate(self) -> None:
        """Rename the file to NAME.1, NAME.1 to NAME.2, and so on.

        Where that fails, go on in the same file and try again a second later: on Windows while it is tailed, forever
        where the file itself is a mount point.
        """
        self._close()
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
            self._rotate_after = time.monotonic() + RETRY_S
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
