"""Standard error: a copy of the logs' lines that is never waited for, and messages before the logs are open."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
from collections.abc import Callable

from logs.buffer import LineBuffer

QUEUE_LIMIT = 1 << 20
"""Bytes that wait for a stderr that nobody reads; further lines are dropped and counted."""
_PIPE_BUF = 4096
"""A pipe or a socket that select calls writable takes this much without blocking (POSIX: write)."""


class Console(LineBuffer):
    """The queue of stderr, and stderr. Only the writer's thread calls `write`."""

    def __init__(self) -> None:
        super().__init__(QUEUE_LIMIT)
        self._fd = _open_stderr()

    def append(self, line: bytes) -> None:
        if self._fd is not None:
            super().append(line)

    def takes_more(self, within_s: float) -> bool:
        """Whether lines wait, and stderr takes one within that time."""
        return self._fd is not None and bool(self._queue) and within_s > 0 and _writable(self._fd, within_s)

    def write(self, batch: list[bytes], lost: int, lost_line: Callable[[str, int], bytes]) -> None:
        """Write as much as stderr takes at once; after the lines, the number of those that were lost."""
        self._pending = batch
        try:
            while self._fd is not None and self._pending and _writable(self._fd):
                self._write_some(self._fd)
            if self._fd is not None and lost and not self._pending and _writable(self._fd):
                os.write(self._fd, lost_line("stderr", lost))
                self._reported_lost = lost
        except OSError as exc:
            # a full disk may have room again; otherwise nobody is at the other end anymore
            if exc.errno not in (errno.EAGAIN, errno.ENOSPC, errno.EDQUOT):
                self._fd = None

    def _write_some(self, fd: int) -> None:
        size = count = 0
        for line in self._pending:
            if size + len(line) > _PIPE_BUF:
                break
            size += len(line)
            count += 1
        data = b"".join(self._pending[:count])
        taken = os.write(fd, data)
        self._written_bytes += taken
        rest = data[taken:]
        self._pending[:count] = [rest] if rest else []


def open_missing_streams() -> None:
    """Open /dev/null as every standard descriptor that is closed (`2>&-`).

    Otherwise the next file or socket would get its number, and whatever a library or a child process prints would be
    written into that.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != fd:
                os.dup2(opened, fd)
                os.close(opened)


def print_error(*lines: str) -> None:
    """Print to stderr where there is one that takes it; an exit code says the same."""
    if sys.stderr is None:
        return
    try:
        print(*lines, sep="\n", file=sys.stderr, flush=True)
    except OSError:  # a full disk, a closed pipe
        sys.stderr = None  # what is left in its buffer would fail again at exit


def _open_stderr() -> int | None:
    """A descriptor of stderr; None if the process was started without one.

    A terminal that is paused (Ctrl-S, a connection that hangs) blocks the writer that exceeds its room, whatever
    select says; so it is opened anew, for this process alone and non-blocking.
    """
    try:
        fd = sys.stderr.fileno()
        if os.name == "posix" and stat.S_ISCHR(os.fstat(fd).st_mode) and os.isatty(fd):
            return os.open(os.ttyname(fd), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        return fd
    except (AttributeError, ValueError):
        return None
    except OSError:
        return fd  # another user's terminal, after su: it may block, but it is read


def _writable(fd: int, within_s: float = 0.0) -> bool:
    """Whether it takes a line within that time; assumed where that cannot be asked (Windows)."""
    return os.name != "posix" or bool(select.select([], [fd], [], within_s)[1])
