"""What may answer in a master's place: each gives an `act` for tests.masters.Raw, drawn with its random numbers."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

from tests.lab.masters import OPEN, answering, frame, http, read_frame, silent, trickling, upgrade

Act = Callable

HTML = b"<!DOCTYPE html><title>Welcome to nginx!</title>"


def _noise(rng: random.Random, limit: int = 400) -> bytes:
    return rng.randbytes(rng.randint(1, limit))


def wrong_http(rng: random.Random) -> Act:
    """An answer that is HTTP, or nearly, and no Socket.IO master's."""
    redirect = http("302 Found", b"", "Location: http://127.0.0.1:9/elsewhere")
    answers = [
        b"",
        http("200 OK"),
        http("204 No Content"),
        http("200 OK", HTML, kind="text/html"),
        http("200 OK", b"0"),
        http("200 OK", b"0{}"),
        http("200 OK", b"0{" + b"[" * 60_000),
        http("200 OK", _noise(rng)),
        http("400 Bad Request", b'{"code":5,"message":"Unsupported protocol version"}'),
        http("401 Unauthorized", b"", "WWW-Authenticate: Basic"),
        http("404 Not Found", HTML, kind="text/html"),
        http("502 Bad Gateway", HTML, kind="text/html"),
        http("999 What"),
        redirect,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n0{",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x8bxyz",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"y" * 70_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        _noise(rng),
    ]
    return answering(rng.choice(answers))


def mute(rng: random.Random) -> Act:
    return rng.choice([silent, trickling])


def _speaking(*packets: object) -> Act:
    """Accepts a websocket, then sends these packets, whatever the node says; not for polling."""

    def act(sock, head):
        if b"Sec-WebSocket-Key" not in head:
            return
        upgrade(sock, head)
        for packet in packets:
            sock.sendall(packet if isinstance(packet, bytes) else frame(packet))
        with contextlib.suppress(OSError):
            while True:
                read_frame(sock)

    return act


def wrong_handshake(rng: random.Random) -> Act:
    """A websocket over which no Socket.IO connection comes to be."""
    packets = [
        ("",),
        ("0",),
        ("0{}",),
        ("0null",),
        ("0[]",),
        ('0{"sid":1,"upgrades":null,"pingInterval":"x","pingTimeout":[]}',),
        (OPEN, "44"),
        (OPEN, '44{"message":"go away"}'),
        (OPEN, '44["go","away"]'),
        (OPEN, "40"),
        (OPEN, "40[]"),
        (OPEN, '40{"sid":5}'),
        (OPEN, '40{"sid"'),
        (OPEN, "1"),
        (OPEN, "41"),
        (OPEN, "6"),
        ("4",),
        (frame(_noise(rng)),),
        (_noise(rng),),
        (OPEN, b"\x81\x7f" + b"\xff" * 8),
        (OPEN, b"\x88\x02\x03\xe8"),
    ]
    return _speaking(*rng.choice(packets))


def wrong_packets(rng: random.Random) -> Act:
    """A good beginning, then what no master says; at the end it may hang up in one of several ways."""
    rubbish = [
        "4",
        "42",
        "42[]",
        "42{}",
        '42"x"',
        "42[1,2",
        "42[null]",
        "43",
        "431",
        "43999999[]",
        "43-1[]",
        "42" + "[" * 5000,
        '42["recover",' + "[" * 900 + "]" * 900 + "]",
        '42["recover",NaN]',
        '42["recover",{"disconnected_node":1e999}]',
        '42["news","\\u001b[2J\\n]\\ud800\\u202e\\u0000"]',
        '42["news","' + "z" * 100_000 + '"]',
        '459-["recover",{"_placeholder":true,"num":0}]',
        "461-[]",
        "7",
        "b",
        frame(_noise(rng)),
        "3probe",
        "2",
    ]
    ends = ["1", "41", '44{"message":"enough"}', "x", b"\x88\x00", _noise(rng), b"\x81\x7f" + b"\x7f" * 8, ""]
    said = [rng.choice(rubbish) for _ in range(rng.randint(1, 12))]
    return _speaking(OPEN, '40{"sid":"impostor"}', *said, rng.choice(ends))
