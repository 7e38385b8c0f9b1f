"""The socket that `client.py --status` asks: a Unix socket in LOG_DIR that only this user and root can open.

A thread of its own answers, from a snapshot that the owner's loop takes. Askers that come together share one, and
there is at most one every PAUSE_S, so that any number of them costs the loop the same.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from logging_setup import EventLogger

SOCKET_NAME = ".worker.sock"
PAUSE_S = 0.02
"""Shortest time between two snapshots, in seconds."""
TOGETHER = 64
"""Askers that are answered with one snapshot."""
SNAPSHOT_LIMIT_S = 2.0
"""Seconds that the loop may take; longer than any of its turns."""
SEND_LIMIT_S = 0.5
"""Seconds for which an asker that does not read is waited for."""
LOOK_S = 3.0
"""Seconds between two looks at whether the socket is still where it was made."""


@contextmanager
def socket_path(folder: Path) -> Iterator[str]:
    """A path of the socket that is short enough for any folder: on Linux by way of the folder's descriptor (proc(5)),
    since a socket's path has 107 bytes at most (unix(7)).
    """
    if sys.platform != "linux":
        yield str(folder / SOCKET_NAME)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


def peer_uid(connection: socket.socket) -> int | None:
    """The user of the process at the other end; None: this system does not say."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    size = struct.calcsize("3i")
    _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


class StatusSocket:
    """Answers each connection with one JSON object and closes it.

    Args:
        folder: LOG_DIR.
        ask: Has the owner's loop call `answer` with a snapshot; called by the thread.
        log: For the one line that says that there is no socket.
    """

    def __init__(self, folder: Path, ask: Callable[[], None], log: EventLogger) -> None:
        self._folder = folder
        self._ask = ask
        self._log = log
        self._answered = threading.Event()
        self._stopping = threading.Event()
        self._snapshot: Mapping[str, Any] = {}
        self._listener: socket.socket | None = None
        self._inode: int | None = None
        self._reported = False
        self._thread = threading.Thread(target=self._serve, name="status", daemon=True)

    def start(self) -> None:
        if hasattr(socket, "AF_UNIX"):
            self._thread.start()

    def answer(self, snapshot: Mapping[str, Any]) -> None:
        """Take the snapshot that was asked for; the owner's thread."""
        self._snapshot = snapshot
        self._answered.set()

    def close(self) -> None:
        """Remove the socket; the thread ends with the process or soon after."""
        self._stopping.set()
        if self._listener:
            self._unlink()
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread (Linux)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            if not self._in_place():
                self._listen()
            if self._listener is None:
                self._stopping.wait(LOOK_S)
                continue
            askers = self._accept()
            if askers:
                text = self._take_snapshot()
                for asker in askers:
                    with asker, suppress(OSError):
                        asker.settimeout(SEND_LIMIT_S)
                        asker.sendall(text)
                self._stopping.wait(PAUSE_S)

    def _in_place(self) -> bool:
        """Whether the socket is still there: LOG_DIR may have been removed and made anew."""
        try:
            return self._listener is not None and (self._folder / SOCKET_NAME).lstat().st_ino == self._inode
        except OSError:
            return False

    def _listen(self) -> None:
        if self._listener:
            self._listener.close()
        self._listener = self._inode = None
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with socket_path(self._folder) as path:
                # the instance lock is ours, so what is there was left by a worker that is no more
                with suppress(FileNotFoundError):
                    os.unlink(path)
                if sys.platform == "linux":
                    os.fchmod(listener.fileno(), 0o600)  # from the first moment on, whatever the umask is
                listener.bind(path)
                os.chmod(path, 0o600)
                self._inode = os.lstat(path).st_ino
            listener.listen(socket.SOMAXCONN)
            listener.settimeout(LOOK_S)
        except OSError as exc:
            listener.close()
            if not self._reported:
                self._reported = True
                self._log.warning(
                    "status_unavailable", folder=str(self._folder), reason=exc.strerror or str(exc)
                )
            return
        self._listener, self._reported = listener, False
        if self._stopping.is_set():
            self._unlink()

    def _accept(self) -> list[socket.socket]:
        """Those who ask, waited for; at most TOGETHER."""
        listener = self._listener
        askers: list[socket.socket] = []
        if listener is None:
            return askers
        with suppress(OSError):  # no one came, or the socket was closed
            listener.settimeout(LOOK_S)
            while len(askers) < TOGETHER:
                asker, _ = listener.accept()
                if peer_uid(asker) in (None, 0, os.geteuid()):
                    askers.append(asker)
                else:
                    asker.close()
                listener.settimeout(0)
        return askers

    def _take_snapshot(self) -> bytes:
        self._answered.clear()
        self._ask()
        if self._answered.wait(SNAPSHOT_LIMIT_S):
            snapshot = self._snapshot
        else:
            snapshot = {"error": f"the worker's loop gave no answer for {SNAPSHOT_LIMIT_S:g} s"}
        return json.dumps({"running": True, **snapshot}, ensure_ascii=False).encode(errors="replace")

    def _unlink(self) -> None:
        """Remove our socket, and nobody else's."""
        if self._in_place():
            with suppress(OSError), socket_path(self._folder) as path:
                os.unlink(path)
