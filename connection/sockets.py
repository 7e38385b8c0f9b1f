"""Sockets of which two threads make use: TLS that bears it, and whether a call will wait."""

from __future__ import annotations

import contextlib
import errno
import math
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional, TypeVar

T = TypeVar("T")
LONGEST_S = 86_400.0
"""The kernel takes no wait of a month."""


class TlsSocket(ssl.SSLSocket):
    """After its handshake one call at a time enters OpenSSL, whose connections are not for two threads at once
    (openssl-threads(7)). Left to themselves a reader takes what the writer was told for its own answer, and the
    connection for ended: under load within a second or two. Waiting is done outside, so neither waits for the other.

    Two threads may read and write; two that write must take turns by themselves.
    """

    _turn: Optional[threading.Lock] = None
    _timeout_s: Optional[float] = None

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        self._timeout_s = super().gettimeout()
        super().settimeout(0)
        self._turn = threading.Lock()

    def gettimeout(self) -> Optional[float]:
        return self._timeout_s if self._turn else super().gettimeout()

    def settimeout(self, value: Optional[float]) -> None:
        if self._turn:
            self._timeout_s = value
        else:
            super().settimeout(value)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        return self._in_turn(lambda: super(TlsSocket, self).recv(buflen, flags))

    def send(self, data: Any, flags: int = 0) -> int:
        return self._in_turn(lambda: super(TlsSocket, self).send(data, flags))

    def _in_turn(self, call: Callable[[], T]) -> T:
        if self._turn is None:
            return call()
        end_s = math.inf if self._timeout_s is None else time.monotonic() + self._timeout_s
        while True:
            with self._turn:
                if getattr(self, "_sslobj", None) is None:  # the library would go on in the clear
                    raise OSError(errno.EBADF, "the socket was closed")
                try:
                    return call()
                except ssl.SSLWantReadError:
                    write = False
                except ssl.SSLWantWriteError:
                    write = True
            in_time = ready(self, write=write, timeout_s=max(0.0, end_s - time.monotonic()))
            if not in_time and time.monotonic() >= end_s:
                raise socket.timeout("timed out")

    def _real_close(self) -> None:
        with self._turn or contextlib.nullcontext():
            super()._real_close()  # type: ignore[misc]


def verifying(ca_file: Optional[Path]) -> ssl.SSLContext:
    """For TLS with a master that the CAs of this file vouch for, None: the system's. Raises OSError: it can't be read."""
    made = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    made.sslsocket_class = TlsSocket
    # in one a writer would wait for the other end, with what it wants to send in its hands
    made.options |= ssl.OP_NO_RENEGOTIATION
    return made


def ready(sock: socket.socket, *, write: bool, timeout_s: float = 0.0) -> bool:
    """Whether a read, or a small write (Linux: a third of the send buffer is free), will not wait, or not after
    `timeout_s`, of which it may take a part only. Raises OSError: it was closed.
    """
    wait_s = min(timeout_s, LONGEST_S)
    try:
        if not hasattr(select, "poll"):
            readers, writers = ([], [sock]) if write else ([sock], [])
            return any(select.select(readers, writers, [], wait_s))
        poll = select.poll()
        poll.register(sock, select.POLLOUT if write else select.POLLIN)
        return bool(poll.poll(wait_s * 1000))
    except ValueError as exc:  # its number is -1
        raise OSError(errno.EBADF, "the socket was closed") from exc
