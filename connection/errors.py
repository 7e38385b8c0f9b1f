"""Why a connection to the master could not be made: any exception, and any answer, in one line for a person."""

from __future__ import annotations

import http
import json
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

import requests
import websocket

from connection.protocol import EIO, MISMATCH, REMEDY

_URL = "set MASTER_URL to the master's own address"


@dataclass(eq=False)
class Failure(Exception):
    """One failed attempt. `mend` tells that no patience helps: the master refused, or a setting is wrong.

    `answered` is the HTTP status that a websocket handshake got instead of a websocket, None: it got none.
    `remedy` is what a person may do about it.
    """

    text: str
    mend: bool = False
    answered: Optional[int] = None
    remedy: str = "see that the master runs, and that nothing on the way to it is out of order"

    def __str__(self) -> str:
        return self.text


def explain(exc: BaseException, url: str) -> Failure:
    """The first cause of `exc` that says something, in words; `url` is the master's."""
    causes = list(_causes(exc))
    for cause in causes:
        failure = _known(cause, url)
        if failure:
            return failure
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return Failure(f"{cause.strerror} ({url})")
    last = causes[-1]
    return Failure(
        f"what {url} answers is no Engine.IO handshake: no Socket.IO master ({type(last).__name__}: {last})",
        mend=True,
        remedy=_URL,
    )


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """The exception, what it was raised from, and those that urllib3 and requests wrap as arguments."""
    seen: set[int] = set()
    following: Optional[BaseException] = exc
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        wrapped = getattr(following, "reason", None) or (following.args[0] if following.args else None)
        inner = wrapped if isinstance(wrapped, BaseException) else None
        following = inner or following.__cause__ or following.__context__


def _known(exc: BaseException, url: str) -> Optional[Failure]:
    if isinstance(exc, Failure):
        return exc
    if isinstance(exc, websocket.WebSocketBadStatusException):
        kind = (exc.resp_headers or {}).get("content-type", "")
        return explain_answer(exc.status_code, kind, exc.resp_body or b"", url)
    if isinstance(exc, websocket.WebSocketException) and "redirect" in str(exc).lower():
        return explain_answer(302, "", b"", url)
    if isinstance(exc, socket.gaierror):
        unknown = exc.errno == socket.EAI_NONAME
        return Failure(
            f"the name in {url} could not be resolved: {exc.strerror}",
            mend=unknown,
            remedy="mend the name in MASTER_URL or the name server, or set an address",
        )
    if isinstance(exc, ConnectionRefusedError):
        return Failure(
            f"connection refused: nothing listens at {url}", remedy="start the master, or mend MASTER_URL"
        )
    if isinstance(exc, ssl.SSLCertVerificationError):
        return Failure(
            f"TLS: the certificate of {url} is not accepted: {exc.verify_message}; "
            "MASTER_CA_FILE names the CAs to trust",
            mend=True,
            remedy="renew the master's certificate, or set MASTER_CA_FILE to the CA that signed it",
        )
    if isinstance(exc, ssl.SSLError) and exc.reason:
        hint = "; a plain http master answers there" if exc.reason == "WRONG_VERSION_NUMBER" else ""
        return Failure(
            f"TLS: {exc.reason.replace('_', ' ').lower()} ({url}){hint}",
            mend=True,
            remedy="set MASTER_URL to http:// or https:// as the master speaks it",
        )
    if isinstance(exc, (TimeoutError, socket.timeout, websocket.WebSocketTimeoutException, requests.Timeout)):
        return Failure(f"no answer from {url}")
    if isinstance(exc, (ConnectionResetError, BrokenPipeError, websocket.WebSocketConnectionClosedException)):
        return Failure(f"{url} closed the connection during the handshake")
    return None


def explain_answer(status: int, content_type: str, body: bytes, url: str) -> Failure:
    """What an HTTP answer says that is no Engine.IO handshake."""
    start = body[:2048]
    if b"unsupported version" in start.lower() or b"unsupported protocol version" in start.lower():
        return Failure(MISMATCH, mend=True, answered=status, remedy=REMEDY)
    if spoken(start) not in (None, EIO):
        return Failure(MISMATCH, mend=True, answered=status, remedy=REMEDY)
    if status == 401 and "json" in content_type.lower():
        # how Engine.IO v3 passes on what the master's own code said
        return refused(_said(body), status)
    try:
        name = f"HTTP {status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        name = f"HTTP {status}"
    if status >= 500:
        return Failure(
            f"{name} from {url}: the master, or a proxy before it, is out of order", answered=status
        )
    if status in (301, 302, 303, 307, 308):
        what = "a redirect, which is not followed: MASTER_URL must name the master itself"
    elif "html" in content_type.lower() or start.lstrip()[:1] == b"<":
        what = "an HTML page: a web server answers there, no Socket.IO master"
    elif not start.strip():
        what = "an empty answer: no Socket.IO master"
    else:
        what = "no Engine.IO handshake: no Socket.IO master"
    return Failure(f"{name} from {url}, {what}", mend=True, answered=status, remedy=_URL)


def barred(url: str, why: str, answered: Optional[int]) -> Failure:
    """A proxy gave no tunnel to the master. For one without TLS polling needs none."""
    return Failure(
        f"the proxy did not let through to {url}: {why}",
        mend=True,
        answered=answered if url.startswith("http:") else None,
        remedy="have the proxy allow CONNECT to the master's port, or name its host in no_proxy",
    )


def spoken(body: bytes) -> Optional[int]:
    """The version of Engine.IO in which a poll was answered with a handshake, None: it is none."""
    if body.startswith(b"0{"):
        return 4
    return 3 if re.match(rb"(?s)\x00[\x00-\x09]+\xff0\{|\d+:0\{", body) else None


def refused(reason: object, answered: Optional[int] = None) -> Failure:
    """The master's own code let this node not in."""
    return Failure(
        f"the master refused this node: {reason or 'it gave no reason'}",
        mend=True,
        answered=answered,
        remedy="mend what the reason names; MASTER_TOKEN must hold what the master wants",
    )


def _said(body: bytes) -> Optional[str]:
    try:
        said = json.loads(body)
    except ValueError:
        return None
    return said if isinstance(said, str) and said != "Unauthorized" else None
