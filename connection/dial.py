"""A socket to the master, for both transports alike: the name, the addresses, a proxy, TLS."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import BadStatusLine, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from connection.errors import SHOWN, Failure, proxy_fault, proxy_refused
from connection.proxies import Proxy, proxy_of
from connection.resolve import Resolver, connect
from connection.tls import client_context

READ_BYTES = 1 << 16
HEAD_BYTES = 1 << 16
"""Bytes of the head of an HTTP answer, beyond which it is no answer."""
DAY_S = 86_400.0
"""No limit: it is the owner who ends it, long before."""


@dataclass(frozen=True)
class Target:
    """A master and how to speak to it. `auth` goes to it alone; `ca_file` None: the system's CAs."""

    url: str
    auth: dict[str, Any] | None
    ca_file: Path | None


class Dialer:
    """Makes sockets to one master, for one connection. Its owner cuts what takes too long.

    Every socket is kept, so that `cut` can shut it down from any thread: that wakes a thread that waits on it, where
    closing would not. `phase` says what is being waited for, `reached` that a machine has answered.
    """

    def __init__(self, target: Target, resolver: Resolver) -> None:
        parts = urlsplit(target.url)
        self.url = target.url
        self.secure = parts.scheme == "https"
        self.host, self.port = parts.hostname or "", parts.port or (443 if self.secure else 80)
        self.phase = "starting"
        self.reached = False
        self.local_ip: str | None = None
        self._ca_file = target.ca_file
        self._resolver = resolver
        self._address: tuple[str, str] | None = None
        self._cut = False
        self._sockets: list[socket.socket] = []
        # guards the two: a reader and a writer both dial, and a socket that was lost could not be cut
        self._guard = threading.Lock()

    @cached_property
    def proxy(self) -> Proxy | None:
        """The proxy on the way, None: there is none."""
        return proxy_of(self.url)

    @cached_property
    def _context(self) -> ssl.SSLContext | None:
        return client_context(self._ca_file) if self.secure else None

    @property
    def wanted(self) -> bool:
        """Whether nobody has cut it."""
        return not self._cut

    def dial(self, *, tunnel: bool = True, limit_s: float = DAY_S) -> socket.socket:
        """A connected socket with TLS where the URL says https; through the proxy, where there is one: by a tunnel,
        unless the request itself is made to the proxy. It may take `limit_s`. Raises OSError or Failure.
        """
        proxy, context, ends_s = self.proxy, self._context, time.monotonic() + limit_s
        if proxy:
            sock = self._proxied(proxy, ends_s, tunnel=tunnel)
        else:
            sock = self._connected(self.host, self.port, ends_s)
            self.local_ip = sock.getsockname()[0]
        return self._secured(sock, context, ends_s) if context else sock

    def useless(self) -> None:
        """What answers at the address is no good: another one comes first next time."""
        if self._address:
            self._resolver.failed(*self._address)

    def cut(self) -> None:
        """End every socket, and make no more. Any thread, at once."""
        with self._guard:
            self._cut = True
            for sock in self._sockets:
                with suppress(OSError):
                    # not SSLSocket's own, after which a thread that still writes would go on in the clear
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close every socket: nobody uses one any more."""
        self.cut()
        for sock in self._sockets:
            sock.close()

    def _keep(self, sock: socket.socket) -> None:
        with self._guard:
            self._sockets = [*(kept for kept in self._sockets if kept.fileno() != -1), sock]
        if self._cut:
            sock.close()
            raise ConnectionAbortedError("the attempt is over")

    def _connected(self, host: str, port: int, ends_s: float) -> socket.socket:
        self.phase = f"looking up {host}"
        addresses = self._resolver.look_up(host, _left_s(ends_s), lambda: self.wanted)
        self.phase = f"connecting to {', '.join(addresses)}"
        try:
            sock, address = connect(addresses, port, ends_s, lambda: self.wanted)
        except OSError:
            self._resolver.failed(host, addresses[0])
            raise
        self._address = (host, address)
        self.reached = True
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._keep(sock)
        sock.settimeout(_left_s(ends_s))
        return sock

    def _proxied(self, proxy: Proxy, ends_s: float, *, tunnel: bool) -> socket.socket:
        if proxy.scheme != "http":
            why = f"it is a {proxy.scheme} one, and only http ones are known here"
            raise proxy_refused(str(proxy), self.url, why, answered=False)
        try:
            sock = self._connected(proxy.host, proxy.port, ends_s)
            if tunnel:
                self._tunnel(sock, proxy, ends_s)
        except (OSError, HTTPException, Failure) as exc:
            raise proxy_fault(str(proxy), self.url, exc) from None
        return sock

    def _tunnel(self, sock: socket.socket, proxy: Proxy, ends_s: float) -> None:
        """Have the proxy connect this socket to the master (RFC 9110 §9.3.6)."""
        self.phase = f"waiting for the proxy {proxy}"
        name = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        sock.sendall("\r\n".join([*lines, "", ""]).encode())

        def receive() -> bytes:
            sock.settimeout(_left_s(ends_s))
            return sock.recv(READ_BYTES)

        head, _ = read_head(receive)  # the master does not speak first
        status = re.match(rb"HTTP/1\.[01] (\d{3})\b", head)
        if not status or not status[1].startswith(b"2"):
            # for a master without TLS polling needs no tunnel
            why = f"it says {_first_line(head)!r}"
            raise proxy_refused(str(proxy), self.url, why, answered=not self.secure)

    def _secured(self, sock: socket.socket, context: ssl.SSLContext, ends_s: float) -> ssl.SSLSocket:
        self.phase = "in the TLS handshake"
        secured = context.wrap_socket(sock, server_hostname=self.host, do_handshake_on_connect=False)
        self._keep(secured)
        secured.settimeout(_left_s(ends_s))
        secured.do_handshake()
        return secured


def _left_s(ends_s: float) -> float:
    """The seconds until then. Raises TimeoutError: there are none."""
    left_s = ends_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    return left_s


def _first_line(data: bytes) -> str:
    """Its start: what sends a request back would have the credentials for a proxy shown."""
    return data.partition(b"\r\n")[0][:SHOWN].decode(errors="replace")


def read_head(receive: Callable[[], bytes]) -> tuple[bytes, bytes]:
    """The head of an HTTP answer, its blank line included, and what came with it.

    Raises OSError: it did not come; BadStatusLine: it is none; Failure: it has no end.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        piece = receive()
        data += piece
        if not data.startswith(b"HTTP/"[: len(data)]):
            raise BadStatusLine(_first_line(data))
        if not piece:
            raise ConnectionResetError("closed in the head of an answer")
        if len(data) > HEAD_BYTES and b"\r\n\r\n" not in data[:HEAD_BYTES]:
            raise Failure(f"an answer of more than {HEAD_BYTES >> 10} KiB", "not_a_master", permanent=True)
    head, separator, rest = data.partition(b"\r\n\r\n")
    return head + separator, rest
