"""One worker on a LOG_DIR, one of a NODE_ID in a network namespace: the second one learns of the first."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Optional

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_NAME = ".worker.lock"
_PATIENCE_S = 0.5
"""What a first one may take from its claim to its pid."""
_BACKLOG = 4096
"""Nobody accepts, so each worker that was turned away stays in the queue; a full one names no pid."""


class ClaimError(Exception):
    """The claim cannot be made; the text names the reason and the remedy."""


class AlreadyRunning(ClaimError):
    """Another process has `what`, such as "NODE_ID 3". `pid` None: which one could not be learnt."""

    def __init__(self, what: str, pid: Optional[int]) -> None:
        first = f"pid {pid}" if pid else "its pid could not be learnt"
        variable = what.partition(" ")[0]
        super().__init__(f"another worker ({first}) has {what}; stop it, or give this one another {variable}")
        self.what = what
        self.pid = pid


class Claim:
    """What this process holds until it ends, however it ends. Programs that it starts do not inherit it."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors

    def close(self) -> None:
        """Give it back while the process goes on."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def claim(log_dir: Path, node_id: Optional[int]) -> Claim:
    """Claim the folder, and the node's number in this network namespace.

    `node_id` None: no number is claimed, as for simulated addresses, which disturb nobody. Off Linux the number
    is claimed among those who share a temporary folder. Raises AlreadyRunning when another process has one of
    them, ClaimError when that cannot be found out; nothing is held then.
    """
    with ExitStack() as undo:
        descriptors = [_lock(log_dir / LOCK_NAME, f"LOG_DIR {str(log_dir)!r}")]
        undo.callback(os.close, descriptors[0])
        if node_id is not None:
            what, name = f"NODE_ID {node_id}", f"failover-worker.node-{node_id}"
            if sys.platform == "linux":
                descriptors.append(_listen(f"\0{name}", what))
            else:
                descriptors.append(_lock(Path(tempfile.gettempdir(), f"{name}.lock"), what))
        undo.pop_all()
    return Claim(descriptors)


def _lock(path: Path, what: str) -> int:
    """Lock the file, write this process's pid into it, and return its descriptor.

    The file is never removed: somebody could then lock a new one beside the one that is still held.
    """
    with ExitStack() as undo:
        try:
            # Not through a link: in a folder that all may write it could lead to any file of this user.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
            undo.callback(os.close, descriptor)
            deadline = time.monotonic() + _PATIENCE_S
            while not _try_lock(descriptor):
                pid = _pid_in(descriptor)
                if (pid and _is_alive(pid)) or time.monotonic() > deadline:
                    raise AlreadyRunning(what, pid)
                time.sleep(0.01)
            os.ftruncate(descriptor, 0)
        except OSError as exc:
            raise ClaimError(
                f"{what} cannot be claimed, since {str(path)!r} cannot be locked: {exc.strerror};"
                " where no worker runs, remove that file"
            ) from exc
        with suppress(OSError):  # on a full disk the lock is worth more than the pid in it
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, b"%d\n" % os.getpid())
        undo.pop_all()
    return descriptor


def _try_lock(descriptor: int) -> bool:
    """Whether the lock is ours now. Raises OSError where the file's system has no locks."""
    if sys.platform == "win32":
        # A locked byte cannot be read by others there: one is taken that the pid never reaches.
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
    else:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _pid_in(descriptor: int) -> Optional[int]:
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, 32)
    return int(text) if text.endswith(b"\n") and text[:-1].isdigit() else None


def _is_alive(pid: int) -> bool:
    """False: the pid was left by an earlier worker, and the one that has the lock has yet to write its own."""
    if sys.platform == "win32":  # os.kill would end it there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


if sys.platform == "linux":

    def _listen(name: str, what: str) -> int:
        """Listen on an abstract socket, of which a network namespace has one by each name (unix(7)), and return
        its descriptor. The kernel gives the name free with the process.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                try:
                    listener.bind(name)
                    listener.listen(_BACKLOG)
                    return listener.detach()
                except OSError as exc:
                    if exc.errno != errno.EADDRINUSE:
                        raise ClaimError(f"{what} cannot be claimed: {exc.strerror}") from exc
            pid = _listening_pid(name)
            if pid or time.monotonic() > deadline:
                raise AlreadyRunning(what, pid)
            time.sleep(0.01)

    def _listening_pid(name: str) -> Optional[int]:
        """The pid of the process that listens there; None: nobody does (yet), its queue is full, or it is in a
        pid namespace that cannot be seen from here.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as question, suppress(OSError):
            question.setblocking(False)  # else a full queue would be waited for
            question.connect(name)
            pid: int = struct.unpack("3i", question.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            return pid or None
        return None
