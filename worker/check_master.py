"""`--check` of one master: accepted as the worker would be, then asked by an Engine.IO handshake over HTTP."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from typing import Any, Optional

import requests
from requests.utils import select_proxy

from connection.attempt import HANDSHAKE_LIMIT, Attempt
from connection.errors import Failure, explain, explain_answer, spoken
from connection.link import Down, Hooks, Target, Up
from connection.protocol import EIO
from connection.reconnect import ATTEMPT_S
from connection.transport import Session, proxy_parts
from connection.wire import SOCKET_TIMEOUT_S
from logging_setup import NoLog
from worker.check_item import Item

CLOCK_S = 2.0
"""Two clocks may differ by this much; the Date header has whole seconds, and takes its time."""
CLOSE = "1" if EIO == 4 else "1:1"
"""As the body of a request."""
EXPIRY_DAYS = 7
"""Before a certificate's end that somebody should know."""


@dataclass
class MasterReport:
    """What other items need to know: whether the master accepts, and this end of the connection to it, None: not known."""

    accepted: bool = False
    local_ip: str | None = None


@dataclass(frozen=True)
class _Answer:
    """`chain` are the certificates, the master's own first, none without TLS; `asked_s` the wall clock, halfway."""

    body: bytes
    status: int
    headers: Any
    chain: tuple[dict[str, Any], ...]
    asked_s: float


def master_items(target: Target, report: MasterReport) -> Iterator[Item]:
    """Connect as the worker would, and describe the handshake; fills in `report`."""
    name = f"master {target.url}"
    failure, accepted = _connect(target, report)
    if failure:
        yield Item(False, name, str(failure), failure.remedy)
        return
    yield Item(True, name, accepted)
    session = Session(target.url, target.ca_file, _ignore)
    proxy = select_proxy(target.url, session.proxies)
    way = f"through the proxy {_without_credentials(proxy)}" if proxy else "without a proxy"
    answer = _within(ATTEMPT_S, lambda: _ask(target))
    if not isinstance(answer, _Answer):
        # a master that speaks websocket alone is served all the same
        yield Item(True, f"{name} handshake", f"{way}; by HTTP it says nothing: {answer}")
        return
    yield _handshake(f"{name} handshake", answer, way, target.url)
    if answer.chain:
        yield _certificate(f"{name} certificate", answer.chain)
    yield _clock(f"{name} clock", answer)


def master_session(target: Target) -> requests.Session:
    """An HTTP session that verifies the master as the worker does."""
    return Session(target.url, target.ca_file, _ignore)


def _connect(target: Target, report: MasterReport) -> tuple[Optional[Failure], str]:
    """Connect as the worker would, without joining; why not, or how."""
    inbox: SimpleQueue[object] = SimpleQueue()
    hooks = Hooks(inbox.put, lambda _order, _limit_s: True, lambda _ack_id: None)
    attempt = Attempt(target, hooks, NoLog())
    began_s = time.monotonic()
    attempt.start()
    try:
        answer = inbox.get(timeout=ATTEMPT_S)
    except Empty:
        answer = None
    took_ms = (time.monotonic() - began_s) * 1000
    attempt.leave(0.5)
    if isinstance(answer, Up):
        report.accepted, report.local_ip = True, answer.local_ip
        return None, f"accepts by {answer.transport} in {took_ms:.0f} ms"
    if isinstance(answer, Down):
        return answer.failure, ""
    return Failure(f"no answer in {ATTEMPT_S:g} s, {attempt.phase}"), ""


def _within(limit_s: float, call: Callable[[], object]) -> object:
    """What `call` returns or raises; after `limit_s`, which no library keeps, that it was too slow."""
    result: SimpleQueue[object] = SimpleQueue()

    def run() -> None:
        try:
            result.put(call())
        except Exception as exc:  # noqa: BLE001 - whatever an answer makes the libraries raise
            result.put(exc)

    threading.Thread(target=run, name="handshake", daemon=True).start()
    try:
        return result.get(timeout=limit_s)
    except Empty:
        return f"no answer in {limit_s:g} s"


def _ask(target: Target) -> object:
    sockets: list[object] = []
    url = f"{target.url}/socket.io/?EIO={EIO}&transport=polling"
    with Session(target.url, target.ca_file, sockets.append) as session:
        began_s = time.time()
        try:
            with session.get(url, timeout=SOCKET_TIMEOUT_S, stream=True) as answer:
                asked_s = (began_s + time.time()) / 2
                secured = [sock for sock in sockets if isinstance(sock, ssl.SSLSocket)]
                chain = _chain(secured[-1]) if secured else ()
                body = answer.raw.read(HANDSHAKE_LIMIT, decode_content=True)
        except (OSError, requests.RequestException) as exc:
            return explain(exc, target.url)
        _say_goodbye(session, url, body)
    return _Answer(body, answer.status_code, answer.headers, chain, asked_s)


def _say_goodbye(session: Session, url: str, body: bytes) -> None:
    """Else the master waits for this client until its ping times out."""
    opened = _opened(body)
    if isinstance(opened.get("sid"), str):
        try:
            session.post(url, params={"sid": opened["sid"]}, data=CLOSE, timeout=SOCKET_TIMEOUT_S)
        except (OSError, requests.RequestException):
            pass


def _opened(body: bytes) -> dict[str, Any]:
    """What an Engine.IO open packet says, nothing where there is none."""
    try:
        text = body[body.index(b"{") :].decode(errors="replace") if spoken(body) == EIO else "{}"
        opened, _ = json.JSONDecoder().raw_decode(text)  # version 3 may say more in the same answer
    except ValueError:
        return {}
    return opened if isinstance(opened, dict) else {}


def _handshake(name: str, answer: _Answer, way: str, url: str) -> Item:
    opened = _opened(answer.body)
    if not opened:
        failure = explain_answer(answer.status, answer.headers.get("content-type", ""), answer.body, url)
        return Item(True, name, f"{way}; a websocket alone is answered, HTTP is not: {failure}")
    upgrades = opened.get("upgrades")
    transports = ["polling", *(upgrades if isinstance(upgrades, list) else [])]
    interval_ms, timeout_ms = opened.get("pingInterval"), opened.get("pingTimeout")
    text = f"Engine.IO {EIO}, {way}; transports {', '.join(map(str, transports))}"
    times = [value for value in (interval_ms, timeout_ms) if isinstance(value, (int, float)) and value > 0]
    if len(times) < 2:
        return Item(
            False,
            name,
            f"{text}; its ping interval and time-out are {interval_ms} and {timeout_ms} ms",
            "set both to a second or more; python-engineio rounds what is less to 0",
        )
    return Item(True, name, f"{text}; pings every {times[0] / 1000:g} s and waits {times[1] / 1000:g} s")


def _certificate(name: str, chain: tuple[dict[str, Any], ...]) -> Item:
    ends = [ssl.cert_time_to_seconds(one["notAfter"]) for one in chain]
    first = min(range(len(chain)), key=ends.__getitem__)
    days = (ends[first] - time.time()) / 86400
    names = " ← ".join(_common_name(one.get("subject", ())) for one in chain)
    if len(chain) == 1:
        names += f" ← {_common_name(chain[0].get('issuer', ()))}"
    end = time.strftime("%Y-%m-%d", time.gmtime(ends[first]))
    whose = "" if first == 0 else f" ({_common_name(chain[first].get('subject', ()))} is the first to end)"
    text = f"{names}; good until {end}, {days:.0f} days{whose}"
    return Item(days >= EXPIRY_DAYS, name, text, "renew it: after that day no worker connects any more")


def _clock(name: str, answer: _Answer) -> Item:
    try:
        date_s = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return Item(True, name, "the master tells no time (it sends no Date)")
    # the header says the second that has begun
    ahead_s = answer.asked_s - (date_s + 0.5)
    if abs(ahead_s) <= CLOCK_S:
        return Item(True, name, f"this machine's and the master's agree within {CLOCK_S:g} s")
    way = "ahead of" if ahead_s > 0 else "behind"
    return Item(
        False,
        name,
        f"this machine's is {abs(ahead_s):.0f} s {way} the master's: the logs of several nodes will not fit together",
        "have both set by NTP, such as: timedatectl set-ntp true",
    )


def _chain(sock: ssl.SSLSocket) -> tuple[dict[str, Any], ...]:
    """The verified chain, the master's own certificate first; that one alone before Python 3.10."""
    try:
        # public since 3.13, where it gives bytes that nothing in the library reads
        verified = sock._sslobj.get_verified_chain()  # type: ignore[attr-defined]  # noqa: SLF001
        return tuple(certificate.get_info() for certificate in verified)
    except AttributeError:
        own: Any = sock.getpeercert()
        return (own,) if own else ()


def _common_name(name: object) -> str:
    """Of a subject or issuer as getpeercert() gives it."""
    pairs = [pair for part in name for pair in part] if isinstance(name, tuple) else []
    found = dict(pairs)
    return str(found.get("commonName") or found.get("organizationName") or "a certificate without a name")


def _without_credentials(proxy: str) -> str:
    parts = proxy_parts(proxy)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def _ignore(_socket: object) -> None:
    """A session that is never used has no sockets."""
