"""Memory: what a mad or hostile master sends is bounded in bytes, whatever it is."""

from __future__ import annotations

import contextlib
import json
import re
import threading

import pytest

from tests.lab.masters import OPEN, Puppet, Raw, frame, http, read_frame, upgrade
from tests.lab.waiting import stays, until

GROWTH_KB = 40 * 1024
RECOVER = {
    "disconnected_node": 2,
    "recovery_node": "3",
    "ip": "10.9.0.2",
    "netmask": "255.255.255.0",
    "active_neighbors": [],
}


def test_orders_of_8_mib_are_refused_and_leave_nothing(work, serve):
    puppet = serve(Puppet())
    worker = work(puppet, PING_TIMEOUT=10, LOG_LEVEL="WARNING")
    until(lambda: len(puppet.pings) > 2)
    before_kb = worker.status("VmRSS")
    pad = "p" * (8_000_000)
    for n in range(8):
        order = {**RECOVER, "active_neighbors": [str(n)], "pad": pad}
        puppet.say("42" + json.dumps(["recover", order]))
        until(lambda n=n: sum("update node" in text for text in puppet.said) == n + 1)
    answers = [json.loads(text[2:])[1] for text in puppet.said if "update node" in text]
    assert all(
        re.match(r"the order has \d{7} bytes; at most 65536 are taken", one["error"]) for one in answers
    )
    assert all({**one, "error": 0} == {**RECOVER, "active_neighbors": [str(n)], "error": 0}
               for n, one in enumerate(answers))  # fmt: skip
    asked = len(puppet.pings)
    until(lambda: len(puppet.pings) > asked + 2)
    assert worker.status("VmRSS") < before_kb + GROWTH_KB
    assert not worker.all("disconnected")


@pytest.mark.parametrize(
    ("filler", "enough"),
    [('"' + "x" * 60_000 + '"', 25_000_000), ("[" + "[]," * 20_000 + "[]]", 5_000_000)],
    ids=["text", "lists"],
)
def test_answers_that_nobody_acknowledges_are_bounded(work, serve, filler, enough):
    """Refusals of 60 kB, which come back whole: of those that may not have arrived some are kept to be sent again.

    As lists each takes a megabyte of memory.
    """
    order = frame(
        "42" + json.dumps(["recover", {**RECOVER, "disconnected_node": 99}])[:-2] + f',"pad":{filler}}}]'
    )

    class Flood(Raw):
        read = 0

        def _serve(self, sock, head):
            upgrade(sock, head)
            sock.sendall(frame(OPEN))
            read_frame(sock)
            sock.sendall(frame('40{"sid":"flood"}'))
            threading.Thread(target=self._drain, args=(sock,), daemon=True).start()
            for _ in range(1000):
                sock.sendall(order)

        def _drain(self, sock):
            with contextlib.suppress(OSError):
                while data := sock.recv(1 << 16):
                    self.read += len(data)

        def __init__(self):
            super().__init__(self._serve)

    flood = serve(Flood())
    worker = work(flood, LOG_LEVEL="CRITICAL")
    until(lambda: flood.read > 2_000_000, 60)
    before_kb = worker.status("VmRSS")
    until(lambda: flood.read > enough, 120)
    assert worker.status("VmRSS") < before_kb + GROWTH_KB
    assert worker.stop() == 0


COOKIES = [f"Set-Cookie: c%d_{n}={'v' * 1500}; Domain=.test%d.example" for n in range(30)]


def test_no_cookies_are_kept_but_a_session_s(work, serve):
    """Websocket-client keeps each that names a domain, of every connection, until the process ends."""
    count = 0

    def act(sock, head):
        nonlocal count
        count += 1
        lines = [line % (count, count) for line in COOKIES]
        if b"transport=websocket" in head:
            key = upgrade_head(head, lines)
            sock.sendall(key)
            sock.sendall(frame(OPEN))
            read_frame(sock)
            sock.sendall(frame('44{"message":"no"}'))
        else:
            sock.sendall(http("200 OK", OPEN.encode(), *lines))

    worker = work(serve(Raw(act)), LOG_LEVEL="ERROR", RECONNECT_DELAY=0.02, RECONNECT_DELAY_MAX=0.02)
    until(lambda: count > 50)
    before_kb = worker.status("VmRSS")
    until(lambda: count > 400, 60)
    assert worker.status("VmRSS") < before_kb + 4096


def upgrade_head(head, lines):
    """The answer to a websocket's handshake with more lines in it."""

    class Sock:
        sent = b""

        def sendall(self, data):
            self.sent += data

    sock = Sock()
    upgrade(sock, head)
    return sock.sent[:-2] + "\r\n".join([*lines, "", ""]).encode()


def test_a_polling_session_s_cookies_are_few(work, serve):
    """By polling each answer may bring more of them, and each request would carry them all."""
    polls, sizes = [0], []

    def act(sock, head):
        lines = [line % (polls[0], polls[0]) for line in COOKIES]
        sizes.append(len(head))
        if b"transport=websocket" in head:
            sock.sendall(http("400 Bad Request"))
        elif head.startswith(b"POST"):
            sock.sendall(http("200 OK", b"OK", *lines))
        elif b"sid=" not in head:
            sock.sendall(http("200 OK", OPEN.encode(), *lines))
        else:
            polls[0] += 1
            sock.sendall(http("200 OK", b'40{"sid":"raw"}' if polls[0] == 1 else b"2", *lines))

    worker = work(serve(Raw(act)), LOG_LEVEL="ERROR", PING_INTERVAL=5)
    until(lambda: polls[0] > 20)
    before_kb = worker.status("VmRSS")
    until(lambda: polls[0] > 300)
    assert worker.status("VmRSS") < before_kb + 4096
    assert max(sizes) < 100_000
    stays(lambda: worker.process.poll() is None, 0.1)
