"""Standard error: a copy of the logs' lines that is never waited for, and messages before the logs are open."""

from __future__ import annotations

import errno
import os
import select
import stat
import sys

from logs.writer import LineQueue

QUEUE_LIMIT = 1 << 20
"""Bytes that wait for a stderr that nobody reads; further lines are dropped and counted."""
FAREWELL_S = 0.3
"""How long the end waits for a stderr that takes none of the last lines."""
_PIPE_BUF = 4096
"""A pipe or a socket that select calls writable takes this much without blocking (POSIX: write)."""


class Console(LineQueue):
    """Stderr and its queue; where there is no stderr, or nobody is at its other end anymore, lines are dropped."""

    def __init__(self) -> None:
        super().__init__("stderr", QUEUE_LIMIT)
        self._fd = _open_stderr()

    def write(self, data: bytes) -> int:
        """Write whole lines, or what is left of one, if stderr takes them without blocking."""
        if self._fd is None:
            return len(data)
        wait_s = FAREWELL_S if self.closing else 0
        # elsewhere than on POSIX that cannot be asked
        if os.name == "posix" and not select.select([], [self._fd], [], wait_s)[1]:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return os.write(self._fd, data[: data.rfind(b"\n", 0, _PIPE_BUF) + 1])

    def failed(self, exc: Exception) -> None:
        if not isinstance(exc, OSError):
            super().failed(exc)
        elif exc.errno == errno.EAGAIN:
            self.retry_s = 0.0  # as soon as there are more lines
        elif exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            self._fd = None


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
