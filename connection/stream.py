"""The socket under a websocket: two threads use it, and what arrives is bounded and counts as life."""

from __future__ import annotations

import math
import re
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from http.client import parse_headers
from io import BytesIO
from typing import Any, TypeVar

import websocket

from connection.dial import DAY_S, READ_BYTES, Dialer, read_head
from connection.errors import MESSAGE_LIMIT, Failure, explain, explain_answer, no_handshake, too_large

T = TypeVar("T")
PACKET_TYPES = tuple("0123456b")
LEAST_RATE = 1024
"""Bytes a second, from which on a message that has not ended yet counts as life."""
REFUSAL_BYTES = 1 << 14


class Stream:
    """What websocket-client gets as its `socket`.

    One call at a time enters it, for OpenSSL's connections are not for two threads at once (openssl-threads(7)): left
    to themselves a reader takes what the writer received for its own answer, and the connection for ended, under load
    within a second or two. Waiting is done outside, so neither waits for the other.
    """

    def __init__(
        self,
        sock: socket.socket,
        dialer: Dialer,
        ends_s: float,
        heard: Callable[[], None],
        opened: Callable[[bytes], None] | None,
        ended: Callable[[Failure], None],
    ) -> None:
        self._sock = sock
        self._dialer = dialer
        self._turn = threading.Lock()
        self._heard = heard
        self._greeted = opened
        self._ended = ended
        self._timeout_s: float | None = None
        self._ends_s = ends_s
        self._ahead = b""
        self._at = 0
        self._opened = False
        self._taken = self._arrived = 0
        self._began_s = 0.0
        sock.setblocking(False)

    def options(self) -> dict[str, Any]:
        """What websocket-client is given for one websocket."""
        return {
            "class_": WebSocket,
            "socket": self,
            "redirect_limit": 0,
            "skip_utf8_validation": True,
            # a browser's (RFC 6455 §4.1); behind a TLS proxy a master may take its scheme for a stranger's
            "suppress_origin": True,
        }

    def recv(self, size: int) -> bytes:
        """At most `size` bytes. The socket is read in large pieces: a burst costs as much as its system calls."""
        if self._at == len(self._ahead):
            self._ahead, self._at = self._fill() if self._opened else self._handshake(), 0
        piece = self._ahead[self._at : self._at + size]
        self._at += len(piece)
        self._taken += len(piece)
        if self._taken > MESSAGE_LIMIT:
            raise too_large()
        return piece

    def send(self, data: bytes) -> int:
        return self._in_turn(lambda: self._sock.send(data), write=True)

    def message_begins(self) -> None:
        """What is read from here on belongs to the next message."""
        self._taken = self._arrived = 0

    def message_ends(self, message: Any) -> None:
        """A message is complete; the first one may have to be an Engine.IO handshake. Raises Failure."""
        greeted, self._greeted = self._greeted, None
        if greeted:
            opened = message.encode() if isinstance(message, str) else b""
            if not opened.startswith(b"0{"):
                raise no_handshake(self._dialer.url, f"its websocket says {message[:40]!r}")
            greeted(opened)
        elif isinstance(message, str) and message[:1] not in PACKET_TYPES:
            raise Failure(f"the master sent what is no Engine.IO packet: {message[:40]!r}", "not_a_master")

    def failed(self, exc: Exception) -> Failure:
        """Report in words why no message came."""
        match exc:
            case Failure():
                failure = exc
            case TimeoutError() | websocket.WebSocketTimeoutException():
                # the kernel has limits of its own
                limit = f" for {self._timeout_s:.0f} s" if self._timeout_s else ""
                failure = Failure(f"nothing from the master{limit}", blocked=True)
            case ConnectionResetError():
                failure = Failure("the connection was reset", "master_gone", blocked=True)
            case OSError() | websocket.WebSocketConnectionClosedException():
                failure = Failure("the master closed the connection", "master_gone", blocked=True)
            case websocket.WebSocketException() | ValueError():
                failure = Failure(f"the master sent what is no websocket's frame: {exc}", "not_a_master")
            case _:
                failure = explain(exc, self._dialer.url)
        self._ended(failure)
        return failure

    def settimeout(self, value: float | None) -> None:
        """`value` 0, as of a master whose times are rounded: no limit."""
        self._timeout_s = value or None

    def gettimeout(self) -> float | None:
        return self._timeout_s

    def fileno(self) -> int:
        return self._sock.fileno()

    def shutdown(self, how: int) -> None:
        socket.socket.shutdown(self._sock, how)

    def close(self) -> None:
        with self._turn:
            self._sock.close()

    def _fill(self) -> bytes:
        if not self._dialer.wanted:
            raise ConnectionAbortedError("the connection is over")  # there may be megabytes left to read
        data = self._in_turn(lambda: self._sock.recv(READ_BYTES))
        now = time.monotonic()
        if not self._arrived:
            self._began_s = now
        self._arrived += len(data)
        # what comes is life, but not a byte now and then of a message that never ends
        if data and self._arrived >= LEAST_RATE * (now - self._began_s):
            self._heard()
        return data

    def _handshake(self) -> bytes:
        """The answer to the handshake, which the library would read byte by byte and without end, and whose cookies
        it would keep for good. Raises Failure unless it is a websocket.
        """
        self._opened = True
        head, rest = read_head(self._receive)
        match = re.match(rb"HTTP/\d\.\d (\d{3})", head)
        status = int(match[1]) if match else 0
        if status == 101:
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"set-cookie")]
            return b"\r\n".join(lines) + rest
        headers = parse_headers(BytesIO(head.partition(b"\r\n")[2]))
        body = self._body(rest, headers.get("content-length", ""))
        failure = explain_answer(status, headers.get("content-type", ""), body, self._dialer.url)
        raise replace(failure, answered=True)

    def _body(self, body: bytes, length: str) -> bytes:
        """The start of a refusal, as far as it comes."""
        wanted = min(int(length), REFUSAL_BYTES) if length.isascii() and length.isdigit() else 0
        with suppress(OSError):
            while len(body) < wanted and (piece := self._receive()):
                body += piece
        return body

    def _receive(self) -> bytes:
        self._timeout_s = max(0.001, self._ends_s - time.monotonic())
        return self._in_turn(lambda: self._sock.recv(READ_BYTES))

    def _in_turn(self, call: Callable[[], T], *, write: bool = False) -> T:
        end_s = math.inf if self._timeout_s is None else time.monotonic() + self._timeout_s
        while True:
            with self._turn:
                if self._sock.fileno() == -1:
                    raise ConnectionAbortedError("the socket was closed")
                try:
                    return call()
                except BlockingIOError:
                    pass
                except ssl.SSLWantReadError:
                    write = False
                except ssl.SSLWantWriteError:
                    write = True
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("timed out")
            wait_ready(self._sock, write=write, limit_s=left_s)


def wait_ready(sock: socket.socket, *, write: bool, limit_s: float) -> bool:
    """Whether a read or a write will not wait, after `limit_s` or a day at most: the kernel takes no wait of a month.

    Raises OSError: it was closed.
    """
    # not every system has the one that takes descriptors above 1023
    with getattr(selectors, "PollSelector", selectors.SelectSelector)() as selector:
        try:
            selector.register(sock, selectors.EVENT_WRITE if write else selectors.EVENT_READ)
        except ValueError as exc:  # its number is -1
            raise ConnectionAbortedError("the socket was closed") from exc
        return bool(selector.select(min(limit_s, DAY_S)))


class WebSocket(websocket.WebSocket):  # type: ignore[misc]
    """Notifies its Stream where a message begins; its one override, by the public option `class_`."""

    def recv(self) -> Any:
        """The next message. Raises Failure."""
        stream = self.sock
        stream.message_begins()
        try:
            message = super().recv()
            if not message and not self.connected:
                raise Failure("the master closed the websocket", "master_gone", blocked=True)
            stream.message_ends(message)
        except Exception as exc:  # noqa: BLE001 - the library raises what it meets
            # free what came of a message: these objects refer to each other in circles, and may be collected late
            self.frame_buffer.recv_buffer = []
            self.cont_frame.cont_data = None
            raise stream.failed(exc) from None
        return message
