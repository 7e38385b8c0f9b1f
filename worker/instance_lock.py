"""One worker for each LOG_DIR, and one for each NODE_ID in a network namespace.

Two locks are taken, and both end with the process, however it ends. A file in LOG_DIR is locked with flock(2): it
covers every network namespace. On Linux the folder and the number are also names of abstract sockets (unix(7)),
which need no file system. Neither is trusted blindly, since any user of the machine can bind a name, or lock a file
that it can open: only the superuser, this user and the owner of LOG_DIR can make a worker stop.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from logs.file import why_not_written
from settings.files import owner_of

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_NAME = ".worker.lock"
NAMES = 8
"""Names to choose from for one abstract socket, so that another user would have to hold them all."""
_PATIENCE_S = 0.5
"""Seconds that another worker may take between taking a lock and being identifiable."""
_BACKLOG = 4096
"""The listener accepts nobody, so that each refused worker stays in its queue; a full queue identifies nobody."""


class LockError(Exception):
    """The lock cannot be taken; the text names the reason and the remedy."""


class AlreadyRunning(LockError):
    """Another worker has `what`, such as "NODE_ID 3". `pid` is None where it is not known."""

    def __init__(self, what: str, pid: int | None) -> None:
        first = f"pid {pid}, which is alive" if pid else "its pid is not known"
        variable = what.partition(" ")[0]
        super().__init__(f"another worker ({first}) has {what}; stop it, or give this one another {variable}")
        self.what = what
        self.pid = pid


class InstanceLock:
    """The locks that this process holds until it ends. Programs that it starts do not inherit them.

    `warnings` names each lock that could not be taken although no other worker has it.
    """

    def __init__(self) -> None:
        self.warnings: tuple[str, ...] = ()
        self._descriptors: list[int] = []

    @classmethod
    def acquire(cls, log_dir: Path, node_id: int | None) -> InstanceLock:
        """Lock the folder, which exists, and the node's number in this network namespace.

        `node_id` None: no number is locked, as for simulated addresses, which disturb nobody. Raises AlreadyRunning, and
        LockError where it cannot be found out whether another worker has one of them. Nothing is held then.
        """
        lock = cls()
        folder = f"LOG_DIR {str(log_dir)!r}"
        trusted = frozenset({0, getattr(os, "geteuid", lambda: -1)(), owner_of(log_dir)})
        with ExitStack() as undo:
            undo.callback(lock.release)
            lock._lock_folder(log_dir, folder, trusted)
            if sys.platform == "linux":
                if node_id is not None:
                    lock._listen(f"failover-worker.node-{node_id}", f"NODE_ID {node_id}", trusted)
                with suppress(OSError):
                    status = log_dir.stat()
                    lock._listen(f"failover-worker.dir-{status.st_dev}-{status.st_ino}", folder, trusted)
            elif node_id is not None:
                file = Path(tempfile.gettempdir(), f"failover-worker.node-{node_id}.lock")
                try:
                    lock._lock(file, f"NODE_ID {node_id}", trusted)
                except OSError as exc:
                    raise LockError(
                        f"NODE_ID {node_id} cannot be locked: {exc.strerror}; set TMPDIR"
                    ) from exc
            undo.pop_all()
        return lock

    def release(self) -> None:
        """Release the locks while the process goes on."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _lock_folder(self, log_dir: Path, folder: str, trusted: frozenset[int]) -> None:
        try:
            self._lock(log_dir / LOCK_NAME, folder, trusted)
        except OSError as exc:
            why = why_not_written(exc, log_dir / LOCK_NAME)
            if not why.endswith("remove it"):
                full = exc.errno == errno.ENOSPC
                why += "; make room there" if full else f"; remove the file {LOCK_NAME} in it"
            why += ", or set LOG_DIR to a folder of this user's on a local file system"
            if sys.platform != "linux":  # which has a second lock
                raise LockError(f"{folder} cannot be locked: {why}") from exc
            self.warnings += (f"{folder} is not locked for workers of other network namespaces: {why}",)

    def _lock(self, path: Path, what: str, trusted: frozenset[int]) -> None:
        """Lock the file, and write this process's pid into it.

        The file is never removed: another worker could then lock a new one beside the one that is still held. Raises
        AlreadyRunning, and OSError where the file, or its lock, is not to be had.
        """
        # not through a link: in a folder that others can write, it could lead to any file of this user
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        self._descriptors.append(descriptor)
        if sys.platform != "win32":
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid not in trusted:
                raise OSError(errno.EPERM, "its lock file is another user's")
            if status.st_uid == os.geteuid() and status.st_mode & 0o077:
                os.fchmod(descriptor, 0o600)  # who cannot open it cannot lock it
        deadline = time.monotonic() + _PATIENCE_S
        while not _try_lock(descriptor):
            pid = _pid_in(descriptor)
            if pid and _is_alive(pid, trusted):
                raise AlreadyRunning(what, pid)
            if time.monotonic() > deadline:
                # to remove the file, as other errors are remedied, would let two run where there is no second lock
                if sys.platform != "linux":
                    raise AlreadyRunning(what, None)
                raise OSError(
                    errno.EBUSY, "a process that is no worker of this user's has its lock file locked"
                )
            time.sleep(0.01)
        with suppress(OSError):  # on a full disk the lock is worth more than the pid in it
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, b"%d\n" % os.getpid())

    def _listen(self, name: str, what: str, trusted: frozenset[int]) -> None:
        """Listen on an abstract socket.

        A network namespace has each name once, and the kernel frees it with the process. A name that somebody else
        holds is passed over, and since a worker may have taken a later name for that reason, all are looked at.
        """
        bound = False
        for number in range(NAMES):
            candidate = f"\0{name}.{number}" if number else f"\0{name}"
            deadline = time.monotonic() + _PATIENCE_S
            while True:
                listener = None if bound else _bind(candidate, what)
                if listener:
                    self._descriptors.append(listener.detach())
                    bound = True
                    break
                pid, uid = _listening(candidate)
                if uid in trusted:
                    raise AlreadyRunning(what, pid)
                if uid is not None or bound or time.monotonic() > deadline:
                    break
                time.sleep(0.01)  # it may be about to listen
        if not bound:
            text = f"{what} is not locked: other users of this machine hold every socket name for it"
            self.warnings += (text,)


def _try_lock(descriptor: int) -> bool:
    """Whether the lock is ours now. Raises OSError where the file system has no locks."""
    if sys.platform == "win32":
        # a locked byte cannot be read by others there: one is taken that the pid never reaches
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


def _pid_in(descriptor: int) -> int | None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, 32)
    return int(text) if text.endswith(b"\n") and text[:-1].isdigit() else None


def _is_alive(pid: int, trusted: frozenset[int]) -> bool:
    """Whether a process of a trusted user has this pid.

    False: the pid was left by an earlier worker, and the process that has the lock has yet to write its own.
    """
    if sys.platform == "win32":  # os.kill would end it there
        return True
    if sys.platform == "linux":
        with suppress(FileNotFoundError):  # it ended, or it is hidden from this user (hidepid)
            return os.stat(f"/proc/{pid}").st_uid in trusted
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return True


def peer(connection: socket.socket) -> tuple[int | None, int | None]:
    """The process at the other end and its user, as they were when it connected or began to listen.

    The pid is None for a process of another pid namespace; both are None where the system does not say.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return None, None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _gid = struct.unpack("3i", credentials)
    return pid or None, uid


def _bind(name: str, what: str) -> socket.socket | None:
    """A socket that listens on the name; None: another process has it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(name)
        listener.listen(_BACKLOG)
        return listener
    except OSError as exc:
        listener.close()
        if exc.errno == errno.EADDRINUSE:
            return None
        raise LockError(f"{what} cannot be locked: {exc.strerror}") from exc


def _listening(name: str) -> tuple[int | None, int | None]:
    """The pid and the user id of the process that listens on the name, as `peer` has them; (None, None): there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as question:
        question.setblocking(False)  # else a full queue would be waited for
        try:
            question.connect(name)
            return peer(question)
        except OSError:
            return None, None
