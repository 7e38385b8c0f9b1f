"""`client.py --status`: it asks a Unix socket in LOG_DIR that only the worker's user and root can open.

A thread of the worker's answers, from a snapshot that the owner's loop takes. Askers that come together share one, and
there is at most one every PAUSE_S, so that any number of them costs the loop the same.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from logging_setup import EventLogger
from settings.types import printable
from worker.inbox import StatusAsked
from worker.instance_lock import peer

SOCKET_NAME = ".worker.sock"
PAUSE_S = 0.02
"""Shortest time between two snapshots, in seconds."""
TOGETHER = 64
"""Askers at most that are answered with one snapshot: each takes a descriptor."""
SNAPSHOT_LIMIT_S = 2.0
"""Seconds that the loop may take; longer than any of its turns."""
SEND_LIMIT_S = 0.5
"""Seconds for which an asker that does not read is waited for."""
LOOK_S = 3.0
"""Seconds between two looks at whether the socket is still where it was made."""

EXIT_NOT_CONNECTED = 1
EXIT_NOT_RUNNING = 3
ANSWER_LIMIT_S = 5
ANSWER_LIMIT = 16 << 20
"""Bytes of an answer that are read."""


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


class StatusSocket:
    """Answers each connection to the socket in `folder` with one JSON object; `ask` puts the question to the owner's loop."""

    def __init__(self, folder: Path, ask: Callable[[StatusAsked], None], log: EventLogger) -> None:
        self._folder = folder
        self._ask = ask
        self._log = log
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._inode: int | None = None
        self._thread = threading.Thread(target=self._serve, name="status", daemon=True)

    def start(self) -> None:
        if hasattr(socket, "AF_UNIX"):
            self._thread.start()

    def close(self) -> None:
        """Remove the socket; the thread ends with the process or soon after."""
        self._stopping.set()
        if self._listener:
            if self._in_place():  # else it may be another worker's
                with suppress(OSError), socket_path(self._folder) as path:
                    os.unlink(path)
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread (Linux)

    def _serve(self) -> None:
        reported = False
        while not self._stopping.is_set():
            try:
                listener = self._listener if self._listener and self._in_place() else self._listen()
                reported = False
            except OSError as exc:
                if not reported:
                    reason = exc.strerror or str(exc)
                    self._log.warning("status_unavailable", folder=str(self._folder), reason=reason)
                reported = True
                self._stopping.wait(LOOK_S)
                continue
            askers = _accept(listener)
            answer = self._answer() if askers else b""
            for asker in askers:
                with asker, suppress(OSError):  # it has gone, or does not read
                    asker.settimeout(SEND_LIMIT_S)
                    asker.sendall(answer)
            self._stopping.wait(PAUSE_S)

    def _in_place(self) -> bool:
        """Whether the socket is still there: LOG_DIR may have been removed and made anew."""
        try:
            return (self._folder / SOCKET_NAME).lstat().st_ino == self._inode
        except OSError:
            return False

    def _listen(self) -> socket.socket:
        """Make the socket. Raises OSError."""
        if self._listener:
            self._listener.close()
        self._listener = None
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
        except OSError:
            listener.close()
            raise
        self._listener = listener
        return listener

    def _answer(self) -> bytes:
        """A snapshot of the loop's, as JSON."""
        replies: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._ask(StatusAsked(replies.put))
        try:
            snapshot = replies.get(timeout=SNAPSHOT_LIMIT_S)
        except Empty:
            snapshot = {"error": f"the worker's loop gave no answer for {SNAPSHOT_LIMIT_S:g} s"}
        return json.dumps({"running": True, **snapshot}, ensure_ascii=False).encode(errors="replace")


def _accept(listener: socket.socket) -> list[socket.socket]:
    """Those who ask and may, waited for."""
    askers: list[socket.socket] = []
    listener.settimeout(LOOK_S)
    with suppress(OSError):  # nobody asks, or nobody more, or the socket was closed
        for _ in range(TOGETHER):
            asker, _ = listener.accept()
            listener.settimeout(0)
            if peer(asker)[1] in (None, 0, os.geteuid()):
                askers.append(asker)
            else:
                asker.close()
    return askers


def show_status(log_dir: Path, *, as_json: bool = False) -> int:
    """Print the worker's state; returns 0 when it is connected, 1 when it is not or does not answer, 3 when none runs."""
    if not hasattr(socket, "AF_UNIX"):
        state: dict[str, Any] = {"running": False, "error": "--status is not available on this system"}
    else:
        state = _ask(log_dir)
    if as_json:
        print(json.dumps(state, indent=1, ensure_ascii=False), flush=True)
    elif "error" in state:
        print(printable(str(state["error"])), flush=True)
    else:
        print(*map(printable, _lines(state)), sep="\n", flush=True)
    if not state["running"]:
        return EXIT_NOT_RUNNING
    return 0 if state.get("connected") is True else EXIT_NOT_CONNECTED


def _ask(log_dir: Path) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with socket_path(log_dir) as path:
                # waits where so many ask at once that the queue is full, which a time-out of Python's would not
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", ANSWER_LIMIT_S, 0)
                )
                connection.connect(path)
            connection.settimeout(ANSWER_LIMIT_S)
            _pid, uid = peer(connection)
            if uid not in {None, 0, os.geteuid(), log_dir.stat().st_uid}:
                return {
                    "running": False,
                    "error": f"a process of another user (uid {uid}) has the worker's socket in {log_dir}; remove it",
                }
            with connection.makefile("rb") as stream:
                received = stream.read(ANSWER_LIMIT)
            answer = json.loads(received) if received else {"error": "the worker closed the connection"}
        except (FileNotFoundError, ConnectionRefusedError):
            return {"running": False, "error": f"no worker runs with LOG_DIR {log_dir}"}
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            return {"running": True, "error": f"the worker with LOG_DIR {log_dir} does not answer: {reason}"}
    return {**answer, "running": True}


def _lines(state: dict[str, Any]) -> Iterator[str]:
    """The state for people."""

    def row(name: str, text: object) -> str:
        return f"{name:<15} {text}"

    yield row("node", f"{state['node']}, own address {state['primary'] or 'not known'}")
    worker = f"version {state['version']}, pid {state['pid']}, run {state['run']}, {state['backend']}"
    yield row("worker", f"{worker}, running for {_duration(state['uptime_s'])}")
    link = f"{state['master']} for {_duration(state['connection_s'])}"
    if state["connected"]:
        yield row("master", f"connected to {link} by {state['transport']}")
    else:
        trouble = f": {state['trouble']}" if state["trouble"] else ""
        yield row("master", f"NOT CONNECTED to {link}{trouble}")
    rtt_ms = state["rtt_ms"]
    yield row("round trip", "no answer yet" if rtt_ms is None else f"{rtt_ms:.1f} ms at the last ping")
    pings = f"{state['pings_sent']} sent, {state['pings_missed']} missed"
    yield row("pings", f"{pings}; {state['reconnects']} reconnects")
    for held in state["held"]:
        yield row("holds", f"{_place(held)} for {_duration(held['held_s'])}")
    if not state["held"]:
        yield row("holds", "no address for others")
    for entry in state["in_progress"]:
        yield row("in progress", f"{_place(entry)}: {entry['state'].replace('_', ' ')}")
    orders = [f"{name.replace('_', ' ')} {count}" for name, count in state["orders"].items() if count]
    if state["answers_waiting"]:
        orders.append(f"answers that wait for a connection {state['answers_waiting']}")
    yield row("orders", ", ".join(orders) or "none yet")
    yield row("log lines lost", state["lines_lost"])
    if state["unusable"]:
        yield row("PROBLEM", state["unusable"])


def _place(entry: dict[str, Any]) -> str:
    return f"{entry['address']} of node {entry['node']} on {entry['interface']}"


def _duration(seconds: float) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"
