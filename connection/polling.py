"""HTTP to a master, over our own sockets, bounded, without a redirect: one request, and polling made of such."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.utils import default_user_agent

from connection.dial import DAY_S, HEAD_BYTES, READ_BYTES, Dialer
from connection.errors import (
    MESSAGE_LIMIT,
    Failure,
    engineio_version,
    explain,
    explain_answer,
    proxy_fault,
    too_large,
)
from connection.protocol import EIO
from connection.stream import LEAST_RATE, PACKET_TYPES

FURTHER_S = 4.0
"""Seconds that the socket of a further request may take to be made."""
COOKIES, COOKIE_BYTES = 20, 4096
"""One session's cookies, and bytes of one: a load balancer finds its way by them."""


@dataclass(frozen=True)
class Answer:
    """What was answered, of its body as much as was asked for; `certificate` is the master's, None without TLS."""

    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: bytes
    certificate: dict[str, Any] | None


def exchange(
    dialer: Dialer,
    method: str,
    path: str,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    limit: int = HEAD_BYTES,
    dial_s: float = DAY_S,
    timeout_s: float | None = None,
    heard: Callable[[], None] = lambda: None,
) -> Answer:
    """One request, over a connection of its own: one that is kept may be closed by the other side just when it is used
    again.

    The body is read until it has more than `limit` bytes; `heard` is called while it comes fast enough. The
    connection may take `dial_s` to be made, then each read `timeout_s`, None: until the dialer is cut.
    Raises OSError, http.client.HTTPException or Failure.
    """
    connection = http.client.HTTPConnection(dialer.host, dialer.port)
    sock: Any = dialer.dial(tunnel=dialer.secure, limit_s=dial_s)
    connection.sock = sock
    dialer.phase = "in the polling handshake"
    headers = {"User-Agent": default_user_agent(), "Connection": "close", **(headers or {})}
    if dialer.proxy and not dialer.secure:
        path = dialer.url + path
        if dialer.proxy.authorization:
            headers["Proxy-Authorization"] = dialer.proxy.authorization
    with closing(connection):
        sock.settimeout(timeout_s)
        connection.request(method, path, body=content, headers=headers)
        certificate = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
        with connection.getresponse() as answer:
            body, began_s = bytearray(), time.monotonic()
            try:
                while len(body) <= limit and (piece := answer.read1(READ_BYTES)):
                    body += piece
                    if len(body) >= LEAST_RATE * (time.monotonic() - began_s):
                        heard()
                if len(body) > MESSAGE_LIMIT:
                    raise too_large()
                return Answer(answer.status, answer.reason, answer.headers, bytes(body), certificate)
            finally:
                body.clear()  # a failure's traceback keeps this frame, and may be collected late


class PollingSession(requests.Session):
    """The HTTP of one connection, as Engine.IO's library uses it.

    `heard` is called for every sign of life, `opened` with the answer to the first poll.
    """

    def __init__(self, dialer: Dialer, heard: Callable[[], None], opened: Callable[[bytes], None]) -> None:
        super().__init__()
        self._dialer = dialer
        self._heard = heard
        self._opened = opened

    def request(self, method: Any, url: Any, *_: Any, **options: Any) -> requests.Response:
        """Raises Failure, which the library does not catch: it ends the thread of a connection that stands."""
        first = "sid=" not in url
        limits = {"limit": MESSAGE_LIMIT, "dial_s": FURTHER_S, "timeout_s": options["timeout"]}
        try:
            answer = self._exchange(
                method, url, options.get("data"), options.get("headers"), **({} if first else limits)
            )
            if first:
                self._check_handshake(answer)
            else:
                _check_further(answer, method)
        except Exception as exc:  # noqa: BLE001 - whatever an answer makes the libraries raise
            raise self._explained(exc, first=first) from None  # it may be the same: a circle would be kept
        self._heard()
        response = requests.Response()
        response.status_code, response.raw = 200, BytesIO(answer.body)
        return response

    def _check_handshake(self, answer: Answer) -> None:
        """Raises Failure unless a first poll was answered with an Engine.IO handshake."""
        if 200 <= answer.status < 300 and engineio_version(answer.body) == EIO:
            self._opened(answer.body)
            return
        kind = answer.headers.get("content-type", "")
        failure = explain_answer(answer.status, kind, answer.body, self._dialer.url)
        if self._dialer.proxy and not self._dialer.secure:
            failure.text += f" (through the proxy {self._dialer.proxy})"
            failure.cause = "network" if answer.status in (407, 502, 503, 504) else failure.cause
        raise failure

    def _exchange(self, method: str, url: str, data: Any, headers: Any, **limits: Any) -> Answer:
        parts, headers = urlsplit(url), dict(headers or {})
        content = data.encode() if isinstance(data, str) else data
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        path = f"{parts.path}?{parts.query}"
        answer = exchange(self._dialer, method, path, content, headers, heard=self._heard, **limits)
        for header in answer.headers.get_all("set-cookie", [])[:COOKIES]:
            with suppress(CookieError):
                for name, morsel in SimpleCookie(header[:COOKIE_BYTES]).items():
                    if name in self.cookies or len(self.cookies) < COOKIES:
                        self.cookies.set(name, morsel.coded_value)
        return answer

    def _explained(self, exc: Exception, *, first: bool) -> Failure:
        if not first and isinstance(exc, TimeoutError):
            return Failure(f"no answer from {self._dialer.url}")  # a proxy that is silent was named already
        if not first and isinstance(exc, (ConnectionError, http.client.HTTPException)):
            return Failure("the master closed the connection", "master_gone")
        proxy, url = self._dialer.proxy, self._dialer.url
        return proxy_fault(str(proxy), url, exc) if proxy and not self._dialer.secure else explain(exc, url)


def _check_further(answer: Answer, method: str) -> None:
    """Raises Failure for an answer to a further request that is none, of which one would end the library's thread."""
    if not 200 <= answer.status < 300:
        name = f"HTTP {answer.status} {answer.reason}"
        raise Failure(f"the master does not know this connection any more ({name})", "master_gone")
    try:
        packets = answer.body.decode().split("\x1e") if method == "GET" and EIO == 4 else []
        if not all(packet[:1] in PACKET_TYPES for packet in packets):
            raise ValueError("it has a packet of no known type")
    except ValueError as exc:
        raise Failure("the master sent what is no Engine.IO payload", "not_a_master") from exc
