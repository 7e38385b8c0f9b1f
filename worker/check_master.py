"""`--check` of one master: accepted as the worker would be, then asked by an Engine.IO handshake over HTTP."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from connection.dial import Dialer, Target
from connection.errors import Failure, engineio_version, explain, explain_answer
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
CLOSE = b"1" if EIO == 4 else b"1:1"
"""Engine.IO's close packet, as the body of a request."""
NAME_SERVER_S, SLOW_NAME_SERVER_S = 12.0, 1.0
"""Seconds that the look-up of a name may take here, and from which on it is slow."""
EXPIRY_DAYS = 7
"""Days before a certificate ends from which on it is a fault."""


@dataclass
class MasterReport:
    """What other items need to know: whether the master accepts, and this end of the connection to it, None: not known."""

    accepted: bool = False
    local_ip: str | None = None


def master_items(target: Target, report: MasterReport) -> Iterator[Item]:
    """Connect as the worker would, and describe the handshake; fills in `report`."""
    name = f"master {target.url}"
    resolver = Resolver()
    yield from _name_server(target, resolver)
    failure, accepted = _connect(target, resolver, report)
    if failure:
        yield Item(False, name, str(failure), failure.remedy)
        return
    yield Item(True, name, accepted)
    dialer = Dialer(target, resolver, time.monotonic() + ATTEMPT_S)
    way = f"through the proxy {dialer.proxy}" if dialer.proxy else "without a proxy"
    answer = _within(ATTEMPT_S, lambda: _ask(dialer))
    dialer.cut()
    if not isinstance(answer, tuple):
        # a master that speaks websocket alone is served all the same
        yield Item(True, f"{name} handshake", f"{way}; it does not answer HTTP: {answer}")
        return
    handshake, asked_s = answer
    yield _handshake(f"{name} handshake", handshake, way, target.url)
    if handshake.certificate:
        yield _certificate(f"{name} certificate", handshake.certificate)
    yield _clock(f"{name} clock", handshake.headers["date"], asked_s)


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


def _connect(target: Target, resolver: Resolver, report: MasterReport) -> tuple[Failure | None, str]:
    """Connect as the worker would, without joining; why not, or how."""
    inbox: SimpleQueue[object] = SimpleQueue()
    callbacks = Callbacks(inbox.put, lambda _order, _limit_s: True, lambda _ack_id: None)
    session = Session(target, callbacks, NoLog(), resolver, ATTEMPT_S, fall_back=True)
    began_s = time.monotonic()
    session.start()
    try:
        answer = inbox.get(timeout=ATTEMPT_S)
    except Empty:
        answer = None
    took_ms = (time.monotonic() - began_s) * 1000
    session.leave(0.5)
    if isinstance(answer, Connected):
        report.accepted, report.local_ip = True, answer.local_ip
        return None, f"accepts by {answer.transport} in {took_ms:.0f} ms"
    if isinstance(answer, Disconnected):
        return answer.failure, ""
    return Failure(f"no answer in {ATTEMPT_S:g} s, {session.phase}"), ""


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


def _ask(dialer: Dialer) -> tuple[Answer, float] | Failure:
    """The answer to a first poll, and the wall clock halfway."""
    path = f"/socket.io/?EIO={EIO}&transport=polling"
    began_s = time.time()
    try:
        answer = exchange(dialer, "GET", path)
        asked_s = (began_s + time.time()) / 2
        opened = _opened(answer.body)
        if isinstance(opened.get("sid"), str):
            # else the master waits for this client until its ping times out
            with suppress(OSError, HTTPException, Failure):
                exchange(dialer, "POST", f"{path}&sid={opened['sid']}", CLOSE)
    except Exception as exc:  # noqa: BLE001 - whatever the libraries raise at an answer is shown
        return explain(exc, dialer.url)
    return answer, asked_s


def _opened(body: bytes) -> dict[str, Any]:
    """The fields of an Engine.IO open packet; empty where there is none."""
    try:
        text = body[body.index(b"{") :].decode(errors="replace") if engineio_version(body) == EIO else "{}"
        opened, _ = json.JSONDecoder().raw_decode(text)  # version 3 may send more in the same answer
    except ValueError:
        return {}
    return opened if isinstance(opened, dict) else {}


def _handshake(name: str, answer: Answer, way: str, url: str) -> Item:
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


def _certificate(name: str, certificate: dict[str, Any]) -> Item:
    end_s = ssl.cert_time_to_seconds(certificate["notAfter"])
    days = (end_s - time.time()) / 86400
    names = " ← ".join(_common_name(certificate.get(whose, ())) for whose in ("subject", "issuer"))
    text = f"{names}; good until {time.strftime('%Y-%m-%d', time.gmtime(end_s))}, {days:.0f} days"
    return Item(days >= EXPIRY_DAYS, name, text, "renew it: after that day no worker connects any more")


def _clock(name: str, date: str | None, asked_s: float) -> Item:
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


def _common_name(name: object) -> str:
    """Of a subject or issuer as getpeercert() gives it."""
    pairs = [pair for part in name for pair in part] if isinstance(name, tuple) else []
    found = dict(pairs)
    return str(found.get("commonName") or found.get("organizationName") or "a certificate without a name")
