"""HTTP for polling, as a transport adapter of requests: over our own sockets, bounded, without a redirect."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.cookies import CookieError, SimpleCookie
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters
from requests.structures import CaseInsensitiveDict

from connection.dial import HEAD_BYTES, READ_BYTES, Dialer
from connection.errors import Failure, engineio_version, explain, explain_answer, proxy_fault
from connection.protocol import EIO
from connection.stream import LEAST_RATE, MESSAGE_LIMIT

COOKIES, COOKIE_BYTES = 20, 4096
"""One session's cookies, and bytes of one: a load balancer finds its way by them."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, dialer: Dialer) -> None:
        super().__init__(dialer.host, dialer.port)
        self._dialer = dialer

    def connect(self) -> None:
        self.sock = self._dialer.dial(tunnel=self._dialer.secure)


class PollingAdapter(requests.adapters.BaseAdapter):
    """One connection's requests, which `session` makes.

    `fault` is why the first of them failed, which Engine.IO's library keeps to itself. `heard` is called for every
    sign of life, `opened` with the answer to the first poll.
    """

    def __init__(self, dialer: Dialer, heard: Callable[[], None], opened: Callable[[bytes], None]) -> None:
        super().__init__()
        self.fault: Failure | None = None
        self.session = requests.Session()
        # whatever of it the environment could set is in the dialer's hands
        self.session.trust_env = False
        self.session.headers.update({"Accept-Encoding": "identity", "Connection": "close"})
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, self)
        self._dialer = dialer
        self._heard = heard
        self._opened = opened

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, timeout: Any = None, *_: Any, **__: Any
    ) -> requests.Response:
        """Raises requests.ConnectionError, with `fault` set."""
        try:
            return self._send(request, timeout)
        except Exception as exc:
            handshake = "sid=" not in str(request.url)
            self.fault = self.fault or self._explained(exc, handshake=handshake).bare()
            raise requests.exceptions.ConnectionError(str(self.fault)) from exc

    def close(self) -> None:
        """Nothing is kept open."""

    def _explained(self, exc: Exception, *, handshake: bool) -> Failure:
        if not handshake and isinstance(exc, (TimeoutError, ConnectionError, http.client.HTTPException)):
            if isinstance(exc, TimeoutError):
                return Failure("nothing from the master in time", "no_answer")
            return Failure("the master closed the connection", "master_gone")
        proxy = self._dialer.proxy
        through_it = proxy and not self._dialer.secure and not isinstance(exc, Failure)
        return (
            proxy_fault(str(proxy), self._dialer.url, exc) if through_it else explain(exc, self._dialer.url)
        )

    def _send(self, request: requests.PreparedRequest, timeout: float) -> requests.Response:
        url = str(request.url)
        handshake = "sid=" not in urlsplit(url).query
        if handshake:
            timeout = max(0.01, self._dialer.ends_s - time.monotonic())
        # a new connection for each: one that is kept may be closed by the other side just when it is used again
        connection = _Connection(self._dialer)
        try:
            answer, body = self._exchange(connection, request, timeout)
        finally:
            connection.close()
        if handshake:
            self._judge(answer, body)
        elif not 200 <= answer.status < 300:
            name = f"HTTP {answer.status} {answer.reason}"
            raise Failure(f"the master does not know this connection any more ({name})", "master_gone")
        elif request.method == "GET" and not _is_payload(body):
            raise Failure("the master sent what is no Engine.IO payload", "not_a_master")
        self._heard()
        return self._response(request, answer, body)

    def _exchange(
        self, connection: _Connection, request: requests.PreparedRequest, timeout: float
    ) -> tuple[http.client.HTTPResponse, bytes]:
        url = urlsplit(str(request.url))
        handshake = "sid=" not in url.query
        if not handshake:
            self._dialer.extend()
        connection.connect()
        if handshake:
            self._dialer.phase = "in the polling handshake"
        connection.sock.settimeout(timeout)
        content = request.body.encode() if isinstance(request.body, str) else request.body
        _ask(
            connection, self._dialer, str(request.method), f"{url.path}?{url.query}", content, request.headers
        )
        answer = connection.getresponse()
        body = _body(answer, self._heard, start=HEAD_BYTES if handshake else None)
        self._take_cookies(answer)
        return answer, body

    def _judge(self, answer: http.client.HTTPResponse, body: bytes) -> None:
        """Raises Failure unless a first poll is answered with an Engine.IO handshake."""
        if not (200 <= answer.status < 300 and engineio_version(body) == EIO):
            kind = answer.headers.get("content-type", "")
            failure = explain_answer(answer.status, kind, body, self._dialer.url)
            if self._dialer.proxy and not self._dialer.secure:
                failure.text += f" (through the proxy {self._dialer.proxy})"
                failure.cause = "network" if answer.status in (407, 502, 503, 504) else failure.cause
            raise failure
        self._opened(body)

    def _take_cookies(self, answer: http.client.HTTPResponse) -> None:
        cookies = self.session.cookies
        for header in answer.headers.get_all("set-cookie", [])[:COOKIES]:
            with suppress(CookieError):
                for name, morsel in SimpleCookie(header[:COOKIE_BYTES]).items():
                    if name in cookies or len(cookies) < COOKIES:
                        cookies.set(name, morsel.value)

    @staticmethod
    def _response(
        request: requests.PreparedRequest, answer: http.client.HTTPResponse, body: bytes
    ) -> requests.Response:
        response = requests.Response()
        response.status_code = answer.status
        response.headers = CaseInsensitiveDict(answer.headers.items())
        response.encoding = "utf-8"
        response.raw = BytesIO(body)
        response.url = str(request.url)
        response.request = request
        return response


def _is_payload(body: bytes) -> bool:
    """Whether Engine.IO's library can take an answer to a poll apart; its thread would die of some that it cannot."""
    try:
        packets = body.decode().split("\x1e")
    except UnicodeDecodeError:
        return EIO == 3
    return EIO == 3 or all(packet[:1] and packet[0] in "0123456b" for packet in packets)


def _ask(
    connection: _Connection,
    dialer: Dialer,
    method: str,
    path: str,
    content: bytes | None,
    headers: Mapping[str, Any],
) -> None:
    headers = dict(headers)
    if dialer.proxy and not dialer.secure:
        path = dialer.url + path
        if dialer.proxy.authorization:
            headers["Proxy-Authorization"] = dialer.proxy.authorization
    connection.request(method, path, body=content, headers=headers)


def _body(answer: http.client.HTTPResponse, heard: Callable[[], None], *, start: int | None) -> bytes:
    """All that is answered, or some `start` bytes of it. Raises Failure: it has no end.

    `heard` is called while it comes fast enough.
    """
    body = bytearray()
    began_s = time.monotonic()
    with closing(answer):  # which by itself holds its socket's descriptor, read to its end or not
        while piece := answer.read1(READ_BYTES):
            body += piece
            if start is not None and len(body) >= start:
                break
            if len(body) > MESSAGE_LIMIT:
                raise Failure(f"a message of more than {MESSAGE_LIMIT >> 20} MiB", "not_a_master")
            if len(body) >= LEAST_RATE * (time.monotonic() - began_s):
                heard()
    return bytes(body)


@contextmanager
def exchange(
    dialer: Dialer,
    method: str,
    path: str,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    limit: int = HEAD_BYTES,
) -> Iterator[tuple[http.client.HTTPResponse, bytes, dict[str, Any] | None]]:
    """One request outside of any session: the answer, the start of its body, and the master's certificate."""
    connection = _Connection(dialer)
    try:
        connection.connect()
        connection.sock.settimeout(max(0.01, dialer.ends_s - time.monotonic()))
        _ask(connection, dialer, method, path, content, headers or {})
        sock: Any = connection.sock
        certificate = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
        answer = connection.getresponse()
        yield answer, _body(answer, lambda: None, start=limit), certificate
    finally:
        connection.close()
