"""Sockets to a master: one for a websocket, sessions for polling, each handed over as soon as it exists.

Whoever holds a socket can shut it down, which wakes the thread that waits on it; nothing else does.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional
from urllib.parse import SplitResult, unquote, urlsplit

import requests
import requests.adapters
import websocket
from requests.utils import get_environ_proxies

from connection.errors import barred
from connection.wire import MESSAGE_LIMIT, SOCKET_TIMEOUT_S

if sys.platform == "linux":
    import fcntl
    import termios

READ_BYTES = 1 << 16
HEAD_BYTES, REFUSAL_BYTES = 1 << 16, 1 << 20
"""Of an answer to the handshake: its head, of which http.client takes as much in a line; all of one that says no."""
TEXT_FRAME, SIZE_16, EXTENDED = 0x81, 126, 4
"""RFC 6455 §5.2: a text that is one frame, not masked; a length that follows in 16 bits; where the text begins then."""
Keep = Callable[[socket.socket], None]


def open_socket(
    url: str,
    trust: Optional[ssl.SSLContext],
    keep: Keep,
    phase: Callable[[str], None],
    proxy: Optional[str] = None,
) -> socket.socket:
    """A connected socket to the host of `url`, with TLS unless `trust` is None, through the HTTP proxy at that URL
    unless it is None; `phase` is told what is being waited for. Raises OSError, of which ssl.SSLError is one, and
    Failure: the proxy does not let through.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if trust else 80)
    if proxy:
        way = proxy_parts(proxy)
        if way.scheme != "http":
            raise barred(url, f"it is a {way.scheme} one, and only http ones are known here", None)
        sock = _connected(way.hostname or "", way.port or 80, keep, phase)
        phase("waiting for the proxy")
        _tunnel(sock, host, port, way, url)
    else:
        sock = _connected(host, port, keep, phase)
    return _secured(sock, host, trust, keep, phase) if trust else sock


def proxy_parts(proxy: str) -> SplitResult:
    """A proxy as the environment names it, which may leave its scheme out."""
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _connected(host: str, port: int, keep: Keep, phase: Callable[[str], None]) -> socket.socket:
    phase(f"looking up {host}")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    trouble: Optional[OSError] = None
    for family, kind, protocol, _, address in found:
        phase(f"connecting to {address[0]}")
        sock = socket.socket(family, kind, protocol)
        try:
            keep(sock)
            sock.settimeout(SOCKET_TIMEOUT_S / len(found))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
            sock.settimeout(SOCKET_TIMEOUT_S)
            return sock
        except OSError as exc:
            sock.close()
            trouble = exc
    raise trouble or OSError(f"no address for {host}")


def _tunnel(sock: socket.socket, host: str, port: int, way: SplitResult, url: str) -> None:
    """Have the proxy connect this socket to the master (RFC 9110 §9.3.6)."""
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}"]
    if way.username:
        credentials = f"{unquote(way.username)}:{unquote(way.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    end_s, answer = time.monotonic() + SOCKET_TIMEOUT_S, b""
    while b"\r\n\r\n" not in answer:
        sock.settimeout(max(0.001, end_s - time.monotonic()))
        piece = sock.recv(4096)  # the master does not speak first
        answer += piece
        if not piece or len(answer) > READ_BYTES:
            raise barred(url, "it says nothing of HTTP", 0)
    status = re.match(rb"HTTP/1\.[01] (\d{3})\b", answer)
    if not status or not status[1].startswith(b"2"):
        said = answer.partition(b"\r\n")[0].decode(errors="replace")
        raise barred(url, f"it says {said[:100]!r}", int(status[1]) if status else 0)
    sock.settimeout(SOCKET_TIMEOUT_S)


def _secured(
    sock: socket.socket, host: str, trust: ssl.SSLContext, keep: Keep, phase: Callable[[str], None]
) -> socket.socket:
    phase("in the TLS handshake")
    secured = trust.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    keep(secured)
    secured.do_handshake()
    return secured


class _Answering:
    """A socket while its answer to the handshake is read, which the library does byte by byte and without end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._read = b""
        self._at = 0
        self._taken = 0

    def recv(self, size: int) -> bytes:
        if self._at == len(self._read):
            self._read, self._at = self.sock.recv(READ_BYTES), 0
        piece = self._read[self._at : self._at + size]
        self._at += len(piece)
        self._taken += len(piece)
        # a body, which only a refusal has, is read in larger pieces
        limit = HEAD_BYTES if size == 1 else REFUSAL_BYTES
        if self._taken > limit:
            raise websocket.WebSocketException(f"an answer of more than {limit >> 10} KiB")
        return piece

    def rest(self) -> bytes:
        return self._read[self._at :]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


class WebSocket(websocket.WebSocket):  # type: ignore[misc]
    """Takes nothing but a websocket for one: some releases of the library, told to follow no redirect, take the
    redirect itself for the connection. And keeps its socket when it ends, to tell what had not arrived.
    """

    _ahead = b""
    _at = 0
    _taken = 0

    def connect(self, url: str, **options: Any) -> None:
        answering = _Answering(options["socket"])
        super().connect(url, **{**options, "socket": answering})
        self.sock, self._ahead = answering.sock, answering.rest()
        answer = self.handshake_response
        if answer is not None and answer.status != 101:
            self.shutdown()
            raise websocket.WebSocketBadStatusException(
                f"handshake status {answer.status}", answer.status, None, answer.headers, b""
            )

    def recv(self) -> Any:
        """The next message. Whole text frames that were read already are taken out here, in a tenth of the time."""
        ahead, at = self._ahead, self._at
        if len(ahead) - at > EXTENDED and ahead[at] == TEXT_FRAME:
            size, body = ahead[at + 1], at + 2
            if size == SIZE_16:
                size, body = ahead[body] << 8 | ahead[body + 1], at + EXTENDED
            if (size < SIZE_16 or body > at + 2) and body + size <= len(ahead):
                self._at = body + size
                return ahead[body : self._at].decode()
        self._taken = 0
        return super().recv()

    def _recv(self, bufsize: int) -> bytes:
        """At most `bufsize` bytes. The socket is read in large pieces, since a burst costs as much as its system
        calls; it stays open at its end, which the library's own would close, and with it goes what TCP knows.
        """
        if self._at == len(self._ahead):
            self._ahead, self._at = websocket._socket.recv(self.sock, READ_BYTES), 0  # noqa: SLF001
        piece = self._ahead[self._at : self._at + bufsize]
        self._at += len(piece)
        self._taken += len(piece)
        if self._taken > MESSAGE_LIMIT:
            raise websocket.WebSocketException(f"a message of more than {MESSAGE_LIMIT >> 20} MiB")
        return piece

    def unacknowledged(self) -> Optional[int]:
        """Bytes sent that the other machine has not acknowledged (tcp(7), SIOCOUTQ); None: it can't be told."""
        if sys.platform != "linux" or self.sock is None:
            return None
        try:
            answer = fcntl.ioctl(self.sock, termios.TIOCOUTQ, b"\0" * 4)
        except (OSError, ValueError):  # it was closed
            return None
        return int.from_bytes(answer, sys.byteorder)


class Session(requests.Session):
    """For polling, and for the settings that the websocket shares with it: the environment's proxies, never its
    CAs; no redirects, which could carry the token to another host.
    """

    def __init__(self, url: str, ca_file: Optional[Path], keep: Keep) -> None:
        super().__init__()
        self.trust_env = False
        self.proxies = get_environ_proxies(url)
        system = ssl.get_default_verify_paths()
        # the library's own default is a bundle of its own
        self.verify = str(ca_file or system.cafile or system.capath or "") or True
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(keep))

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["allow_redirects"] = False
        # the library waits for a new connection as long as for what a long poll brings
        kwargs["timeout"] = (SOCKET_TIMEOUT_S, kwargs["timeout"])
        if kwargs.get("stream"):
            return super().request(*args, **kwargs)
        kwargs["stream"] = True
        answer = super().request(*args, **kwargs)
        body = bytearray()
        for piece in answer.iter_content(READ_BYTES):
            body += piece
            if len(body) > MESSAGE_LIMIT:
                answer.close()
                raise requests.exceptions.ContentDecodingError(
                    f"a message of more than {MESSAGE_LIMIT >> 20} MiB"
                )
        answer._content = bytes(body)  # noqa: SLF001 - where the library keeps it when it reads by itself
        return answer


class _Adapter(requests.adapters.HTTPAdapter):
    def __init__(self, keep: Keep) -> None:
        super().__init__()
        self._keep = keep
        _hand_over(self.poolmanager, keep)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options)
        if is_new:
            _hand_over(manager, self._keep)
        return manager


def _hand_over(manager: Any, keep: Keep) -> None:
    pools = {}
    for scheme, pool in manager.pool_classes_by_scheme.items():

        class Connection(pool.ConnectionCls):  # type: ignore[misc,name-defined]
            def _new_conn(self) -> socket.socket:
                sock: socket.socket = super()._new_conn()
                keep(sock)
                return sock

            def connect(self) -> None:
                super().connect()
                keep(self.sock)  # TLS made it another one

        pools[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": Connection})
    manager.pool_classes_by_scheme = pools
