"""`--check` of one master: accepted as the worker would be, asked by HTTP, and compared with this node's settings."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from config import Config
from connection.dial import HEAD_BYTES, Dialer, Target
from connection.errors import Failure, engineio_version, explain, explain_answer, unanswered
from connection.messages import Callbacks, Connected, Disconnected
from connection.payload import loads
from connection.polling import Answer, exchange
from connection.protocol import EIO
from connection.proxies import proxy_of
from connection.reconnect import ATTEMPT_S
from connection.resolve import Resolver
from connection.session import Session
from logging_setup import NoLog
from network.base import Address
from worker.check_machine import Item

CLOCK_S = 2.0
"""Two clocks may differ by this much; the Date header has whole seconds, and takes its time."""
HANDSHAKE = f"/socket.io/?EIO={EIO}&transport=polling"
CLOSE = b"1" if EIO == 4 else b"1:1"
"""Engine.IO's close packet, as the body of a request."""
NAME_SERVER_S, SLOW_NAME_SERVER_S = 12.0, 1.0
"""Seconds that the look-up of a name may take here, and from which on it is slow."""
EXPIRY_DAYS = 7
"""Days before a certificate ends from which on it is a fault."""
NODES_BYTES, NODES_S, NODES_SHOWN = 4 << 20, 3.0, 5
"""Bytes of /json that are read, the seconds that this may take, and the nodes that are named."""


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


def cluster_items(config: Config, target: Target, own: Address | None) -> Iterator[Item]:
    """What the master's /json says of this node's number, and of the neighbors in network_config.txt.

    `own` is the address that this node joins with, None: not known. A master without /json is no fault.
    """
    name = f"master {target.url}"
    token = (target.auth or {}).get("token")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    dialer = Dialer(target, Resolver())
    try:
        answer = ask(dialer, "/json", NODES_S, headers=headers, limit=NODES_BYTES)
        data = loads(answer.body)
        active, inactive = (
            {number: node for number, node in data[key].items() if isinstance(node, dict)}
            for key in ("active", "inactive")
        )
    except Failure as failure:
        yield Item(True, f"{name} nodes", f"it does not list its nodes: {failure}")
    except (AttributeError, KeyError, TypeError, ValueError):
        text = (
            f"it does not list its nodes: HTTP {answer.status} for /json, without active and inactive nodes"
        )
        yield Item(True, f"{name} nodes", text)
    else:
        yield _number_item(f"{name} NODE_ID", config.node_id, active, own)
        yield _neighbors_item(f"{name} NETWORK_CONFIG", config, {**inactive, **active})


def _number_item(name: str, number: int, active: Mapping[str, Any], own: Address | None) -> Item:
    node = active.get(str(number))
    if node is None:
        return Item(True, name, f"no node {number} is connected there")
    system, address = node.get("system"), node.get("primary_ip")
    same_address = own is None or address is None or address == str(own.ip.ip)
    if system == socket.gethostname() and same_address:
        return Item(True, name, f"node {number} is connected there as this machine's worker ({address})")
    text = f"node {number} is alive there as another machine: {address} ({system})"
    return Item(False, name, text, f"give this machine or {address} another NODE_ID")


def _neighbors_item(name: str, config: Config, nodes: Mapping[str, Any]) -> Item:
    here = {str(number): " ".join(map(str, neighbors)) for number, neighbors in config.neighbors.items()}
    differing = []
    for number, node in sorted(nodes.items(), key=lambda pair: (len(pair[0]), pair[0])):
        neighbors = node.get("neighbors")
        if not isinstance(neighbors, list):
            continue
        there = " ".join(map(str, neighbors))
        if number not in here:
            differing.append(f"node {number} is not in this machine's file")
        elif there != here[number]:
            differing.append(f"node {number} has {there or 'none'} there and {here[number] or 'none'} here")
    if not differing:
        text = f"its {len(nodes)} nodes joined with the neighbors that this machine's file lists"
        return Item(True, name, text)
    more = f", and {len(differing) - NODES_SHOWN} more" if len(differing) > NODES_SHOWN else ""
    text = f"the neighbors that nodes joined with differ: {', '.join(differing[:NODES_SHOWN])}{more}"
    return Item(False, name, text, "put the same network_config.txt on every node, and restart the workers")
