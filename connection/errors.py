"""Why there is no connection: any exception, and any answer, in one line for a person, with its cause."""

from __future__ import annotations

import http
import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import websocket

from connection.payload import first, loads
from connection.protocol import EIO, MISMATCH, REMEDY

Cause = Literal["master_gone", "network", "no_answer", "refused", "tls", "not_a_master", "frozen", "own_stop"]
"""What an outage is put down to, in the logs and in their analysis."""

MESSAGE_LIMIT = 8 << 20
"""Bytes of one message. A master that sends more has gone mad, or is none: the connection ends before memory does."""
SHOWN = 100
"""Characters of what answers and speaks no HTTP."""
_SET_URL = "set MASTER_URL to the master's own address"
_CHECK_PROXY = "correct or start the proxy, or name the master's host in no_proxy"


@dataclass(eq=False)
class Failure(Exception):
    """Why one attempt failed, or a connection ended.

    Attributes:
        permanent: Waiting does not help: the master refused this node, or a setting is wrong.
        answered: A websocket was asked for, and something else answered; polling may get through.
        blocked: The handshake was swallowed or cut; if that is no accident, polling may get through.
        remedy: What a person can do about it.
    """

    text: str
    cause: Cause = "no_answer"
    permanent: bool = False
    answered: bool = False
    blocked: bool = False
    remedy: str = "check that the master runs, and everything on the way to it"

    def __str__(self) -> str:
        return self.text

    def bare(self) -> Failure:
        """The same without its traceback, whose frames keep what was read of the connection, up to megabytes."""
        return replace(self)


def explain(exc: BaseException, url: str) -> Failure:
    """The first of the exception and its causes that says something, in words; `url` is the master's."""
    causes = list(_causes(exc))
    for cause in causes:
        failure = _known(cause, url)
        if failure:
            return failure
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return Failure(f"{cause.strerror} ({url})", "network")
    last = causes[-1]
    return Failure(
        f"a fault of this worker or of a library it uses, on the way to {url}: {type(last).__name__}: {last}",
        remedy="report it, with the versions that client.py --version prints",
    )


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """The exception, and what it was raised from."""
    seen: list[BaseException] = []
    following: BaseException | None = exc
    while following is not None and following not in seen:
        seen.append(following)
        yield following
        following = following.__cause__ or following.__context__


def _known(exc: BaseException, url: str) -> Failure | None:
    match exc:
        case Failure():
            return exc
        case socket.gaierror():
            return Failure(
                f"the name in {url} could not be resolved: {exc.strerror}",
                "network",
                permanent=exc.errno == socket.EAI_NONAME,
                remedy="correct the name in MASTER_URL or the name server, or set an address",
            )
        case ConnectionRefusedError():
            return Failure(
                f"connection refused: nothing listens at {url}",
                "master_gone",
                remedy="start the master, or correct MASTER_URL",
            )
        case ssl.SSLCertVerificationError():
            return Failure(
                f"TLS: the certificate of {url} is not accepted: {exc.verify_message}; "
                "MASTER_CA_FILE names the CAs to trust",
                "tls",
                permanent=True,
                remedy="renew the master's certificate, or set MASTER_CA_FILE to the CA that signed it",
            )
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | ConnectionError() | http.client.IncompleteRead():
            return Failure(f"{url} closed the connection during the handshake", "master_gone", blocked=True)
        case ssl.SSLError() if exc.reason:
            hint = "; a plain http master answers there" if exc.reason == "WRONG_VERSION_NUMBER" else ""
            return Failure(
                f"TLS: {exc.reason.replace('_', ' ').lower()} ({url}){hint}",
                "tls",
                permanent=True,
                remedy="set MASTER_URL to http:// or https:// as the master speaks it",
            )
        case TimeoutError():
            return Failure(f"no answer from {url}", "no_answer", blocked=True)
        case http.client.HTTPException():
            return replace(no_handshake(url, f"no HTTP: {_start(exc)}"), answered=True)
        case websocket.WebSocketException() if type(exc) is websocket.WebSocketException:
            # such as an answer from whose head a middlebox took what is meant for one hop only
            return replace(no_handshake(url, f"no websocket: {exc}"), answered=True)
    return None


def _start(exc: http.client.HTTPException) -> str:
    return repr(str(exc).strip()[:SHOWN])


def unanswered(url: str, limit_s: float, phase: str) -> Failure:
    """An attempt's time is over; `phase` is what was being waited for."""
    text = f"no answer from {url} in {limit_s:g} s, {phase}"
    if phase.startswith("looking up"):
        return Failure(f"{text}: its name server is slow", "network", remedy="correct /etc/resolv.conf")
    return Failure(text, "no_answer")


def too_large() -> Failure:
    """A message, whichever way it comes, has more than MESSAGE_LIMIT bytes."""
    return Failure(f"a message of more than {MESSAGE_LIMIT >> 20} MiB", "not_a_master")


def no_handshake(url: str, why: str) -> Failure:
    """What answers is no master: neither its HTTP nor its websocket speaks Engine.IO."""
    return Failure(
        f"what {url} answers is no Engine.IO handshake: no Socket.IO master ({why})",
        "not_a_master",
        permanent=True,
        remedy=_SET_URL,
    )


def handshake(opened: bytes, url: str) -> tuple[float, int | None]:
    """Of an Engine.IO handshake the seconds for which the master may be silent, and the bytes of the largest packet that
    it takes, None: it does not say. Raises Failure: it is none that a master sends.
    """
    try:
        said = first(opened[opened.index(b"{") :])
        times = [said["pingInterval"], said["pingTimeout"]]
        if not isinstance(said["sid"], str) or not isinstance(said["upgrades"], list):
            raise KeyError("sid, upgrades")
        if not all(isinstance(one, (int, float)) and 0 <= one <= 86_400_000 for one in times):
            raise ValueError(f"its ping interval and time-out are {times} ms")
    except (KeyError, TypeError, ValueError) as exc:
        raise no_handshake(url, f"{type(exc).__name__}: {exc}") from exc
    limit = said.get("maxPayload")
    return sum(times) / 1000, limit if isinstance(limit, int) and limit > 0 else None


def mismatch() -> Failure:
    """The master speaks the other version of Engine.IO."""
    return Failure(f"{MISMATCH}: {REMEDY}", "not_a_master", permanent=True, remedy=REMEDY)


def explain_answer(status: int, content_type: str, body: bytes, url: str) -> Failure:
    """What an HTTP answer says that is no Engine.IO handshake."""
    start = body[:2048]
    if b"unsupported version" in start.lower() or b"unsupported protocol version" in start.lower():
        return mismatch()
    if engineio_version(start) not in (None, EIO):
        return mismatch()
    if status == 401 and "json" in content_type.lower():
        # how Engine.IO v3 passes on what the master's own code said
        return rejected(_reason_of(body))
    try:
        name = f"HTTP {status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        name = f"HTTP {status}"
    if status >= 500:
        return Failure(f"{name} from {url}: the master, or a proxy before it, is out of order", "master_gone")
    if status in (301, 302, 303, 307, 308):
        what = "a redirect, which is not followed: MASTER_URL must name the master itself"
    elif status == 407:
        what = "which is a proxy's: it wants a user and a password"
    elif "html" in content_type.lower() or start.lstrip()[:1] == b"<":
        what = "an HTML page: a web server answers there, no Socket.IO master"
    elif not start.strip():
        what = "an empty answer: no Socket.IO master"
    else:
        what = "no Engine.IO handshake: no Socket.IO master"
    return Failure(f"{name} from {url}, {what}", "not_a_master", permanent=True, remedy=_SET_URL)


def proxy_fault(proxy: str, url: str, exc: BaseException | str) -> Failure:
    """The proxy cannot be reached or makes no sense; `proxy` is its URL without credentials."""
    match exc:
        case Failure():
            return exc
        case socket.gaierror():
            why = f"its name could not be resolved: {exc.strerror}"
        case ConnectionRefusedError():
            why = "connection refused: nothing listens there"
        case TimeoutError():
            why = "no answer"
        case OSError():
            why = exc.strerror or "it closed the connection"
        case http.client.HTTPException():
            why = f"it speaks no HTTP: {_start(exc)}"
        case _:
            why = str(exc)
    # a tunnel was swallowed or cut
    blocked = isinstance(exc, (ConnectionResetError, TimeoutError))
    text = f"the proxy {proxy}, on the way to {url}: {why}"
    return Failure(text, "network", blocked=blocked, remedy=_CHECK_PROXY)


def proxy_refused(proxy: str, url: str, why: str, *, answered: bool) -> Failure:
    """The proxy gave no tunnel to the master."""
    return Failure(
        f"the proxy {proxy} did not let through to {url}: {why}",
        "network",
        permanent=True,
        answered=answered,
        remedy="have the proxy allow CONNECT to the master's port, or name its host in no_proxy",
    )


def engineio_version(body: bytes) -> int | None:
    """The version of Engine.IO in which a poll was answered with a handshake, None: it is none."""
    if body.startswith(b"0{"):
        return 4
    return 3 if re.match(rb"(?s)\x00[\x00-\x09]+\xff0\{|\d+:0\{", body) else None


def rejected(reason: object) -> Failure:
    """The master's own code did not admit this node."""
    return Failure(
        f"the master refused this node: {reason or 'it gave no reason'}",
        "refused",
        permanent=True,
        remedy="correct what the reason names; for a token that is MASTER_TOKEN",
    )


def _reason_of(body: bytes) -> str | None:
    try:
        said = loads(body)
    except ValueError:
        return None
    return said if isinstance(said, str) and said != "Unauthorized" else None
