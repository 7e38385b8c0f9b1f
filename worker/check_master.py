"""`--check` of one master: accepted as the worker would be, then asked by an Engine.IO handshake over HTTP."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from connection.dial import HEAD_BYTES, Dialer, Target
from connection.errors import Failure, engineio_version, explain, explain_answer, unanswered
from connection.messages import Callbacks, Connected, Disconnected
from connection.polling import Answer, exchange
from connection.protocol import EIO
from connection.proxies import proxy_of
from connection.reconnect import ATTEMPT_S
from connection.resolve import Resolver
from connection.session import Session
from logging_setup import NoLog
from worker.check_item import Item

CLOCK_S = 2.0
"""Two clocks may differ by this much; the Date header has whole seconds, and takes its time."""
HANDSHAKE = f"/socket.io/?EIO={EIO}&transport=polling"
CLOSE = b"1" if EIO == 4 else b"1:1"
"""Engine.IO's close packet, as the body of a request."""
NAME_SERVER_S, SLOW_NAME_SERVER_S = 12.0, 1.0
"""Seconds that the look-up of a name may take here, and from which on it is slow."""
EXPIRY_DAYS = 7
"""Days before a certificate ends from which on it is a fault."""


def master_items(target: Target) -> Generator[Item, None, Connected | None]:
    """Connect as the worker would, and describe the handshake. Returns the connection, None: it is not accepted."""
    name = f"master {target.url}"
    resolver = Resolver()
    yield from _name_server(target, resolver)
    began_s = time.monotonic()
    connected = _connect(target, resolver)
    if isinstance(connected, Failure):
        yield Item(False, name, str(connected), connected.remedy)
        return None
    took_ms = (time.monotonic() - began_s) * 1000
    yield Item(True, name, f"accepts by {connected.transport} in {took_ms:.0f} ms")
    dialer = Dialer(target, resolver)
    way = f"through the proxy {dialer.proxy}" if dialer.proxy else "without a proxy"
    began_s = time.time()
    try:
        answer = ask(dialer, HANDSHAKE, ATTEMPT_S)
        asked_s = (began_s + time.time()) / 2
        opened = _opened(answer.body)
        if isinstance(opened.get("sid"), str):
            # else the master waits for this client until its ping times out
            with suppress(Failure):
                ask(dialer, f"{HANDSHAKE}&sid={opened['sid']}", ATTEMPT_S, method="POST", content=CLOSE)
    except Failure as failure:
        # a master that speaks websocket alone is served all the same
        yield Item(True, f"{name} handshake", f"{way}; it does not answer HTTP: {failure}")
        return connected
    if opened:
        yield _handshake(f"{name} handshake", opened, way)
    else:
        kind = answer.headers.get("content-type", "")
        fault = explain_answer(answer.status, kind, answer.body, target.url)
        text = f"{way}; a websocket alone is answered, HTTP is not: {fault}"
        yield Item(True, f"{name} handshake", text)
    if answer.certificate:
        yield _certificate(f"{name} certificate", answer.certificate)
    yield _clock(f"{name} clock", answer.headers.get("date"), asked_s)
    return connected


def ask(
    dialer: Dialer,
    path: str,
    limit_s: float,
    *,
    method: str = "GET",
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    limit: int = HEAD_BYTES,
) -> Answer:
    """One request, and the start of its answer's body. Raises Failure.

    It is cut after `limit_s`, which no library keeps: each byte of a trickle would extend it.
    """
    timer = threading.Timer(limit_s, dialer.cut)
    timer.daemon = True
    timer.start()
    try:
        answer = exchange(dialer, method, path, content, headers, limit=limit)
    except Exception as exc:  # noqa: BLE001 - whatever an answer makes the libraries raise
        if dialer.wanted:
            raise explain(exc, dialer.url) from None
    finally:
        timer.cancel()
    if not dialer.wanted:
        raise Failure("its answer takes too long")
    return answer


def _name_server(target: Target, resolver: Resolver) -> Iterator[Item]:
    """A fault where the look-up of the master's name takes long: a worker's first attempts fail because of it."""
    host = urlsplit(target.url).hostname or ""
    if proxy_of(target.url):
        return  # which looks it up
    began_s = time.monotonic()
    try:
        resolver.look_up(host, NAME_SERVER_S, lambda: True)
        took = f"took {time.monotonic() - began_s:.1f} s"
    except TimeoutError:
        took = f"was not done after {NAME_SERVER_S:g} s"
    except OSError:
        return  # the attempt to connect says it
    if time.monotonic() - began_s > SLOW_NAME_SERVER_S:
        text = f"the name server is slow: the look-up of {host} {took}"
        remedy = (
            "remove name servers that do not answer from /etc/resolv.conf, or set an address in MASTER_URL"
        )
        yield Item(False, f"name server for {host}", text, remedy)


def _connect(target: Target, resolver: Resolver) -> Connected | Failure:
    """Connect as the worker would, without joining."""
    inbox: SimpleQueue[object] = SimpleQueue()
    callbacks = Callbacks(inbox.put, lambda _order, _limit_s: True, lambda _ack_id: None)
    session = Session(target, callbacks, NoLog(), resolver, ATTEMPT_S, fall_back=True)
    session.start()
    try:
        answer = inbox.get(timeout=ATTEMPT_S)
    except Empty:
        answer = None
    session.leave(0.5)
    if isinstance(answer, Disconnected):
        return answer.failure
    if isinstance(answer, Connected):
        return answer
    return unanswered(target.url, ATTEMPT_S, session.phase)


def _opened(body: bytes) -> dict[str, Any]:
    """The fields of an Engine.IO open packet; empty where there is none."""
    try:
        text = body[body.index(b"{") :].decode(errors="replace") if engineio_version(body) == EIO else "{}"
        opened, _ = json.JSONDecoder().raw_decode(text)  # version 3 may send more in the same answer
    except ValueError:
        return {}
    return opened if isinstance(opened, dict) else {}


def _handshake(name: str, opened: dict[str, Any], way: str) -> Item:
    upgrades = opened.get("upgrades")
    transports = ["polling", *(upgrades if isinstance(upgrades, list) else [])]
    interval_ms, timeout_ms = opened.get("pingInterval"), opened.get("pingTimeout")
    text = f"Engine.IO {EIO}, {way}; transports {', '.join(map(str, transports))}"
    times = [value for value in (interval_ms, timeout_ms) if isinstance(value, (int, float)) and value > 0]
    if len(times) < 2:
        text += f"; its ping interval and time-out are {interval_ms} and {timeout_ms} ms"
        return Item(
            False, name, text, "set both to a second or more; python-engineio rounds what is less to 0"
        )
    return Item(True, name, f"{text}; pings every {times[0] / 1000:g} s and waits {times[1] / 1000:g} s")


def _certificate(name: str, certificate: dict[str, Any]) -> Item:
    end_s = ssl.cert_time_to_seconds(certificate["notAfter"])
    days = (end_s - time.time()) / 86400
    names = " ← ".join(_common_name(certificate.get(whose, ())) for whose in ("subject", "issuer"))
    text = f"{names}; good until {time.strftime('%Y-%m-%d', time.gmtime(end_s))}, {days:.0f} days"
    return Item(days >= EXPIRY_DAYS, name, text, "renew it: after that day no worker connects any more")


def _clock(name: str, date: str | None, asked_s: float) -> Item:
    """`date` is the master's Date header, `asked_s` the wall clock, halfway."""
    try:
        date_s = parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError):
        return Item(True, name, "the master sends no time (no Date header)")
    # the header says the second that has begun
    ahead_s = asked_s - (date_s + 0.5)
    if abs(ahead_s) <= CLOCK_S:
        return Item(True, name, f"this machine's and the master's agree within {CLOCK_S:g} s")
    way = "ahead of" if ahead_s > 0 else "behind"
    return Item(
        False,
        name,
        f"this machine's is {abs(ahead_s):.0f} s {way} the master's: the logs of several nodes will not fit together",
        "let NTP set both, for example with: timedatectl set-ntp true",
    )


def _common_name(name: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """Of a subject or issuer as getpeercert() gives it."""
    found = dict(pair for part in name for pair in part)
    return found.get("commonName") or found.get("organizationName") or "a certificate without a name"
