"""Making and remaking the connection: why it fails, in one line; the next master; the back-off; no token astray."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import queue
import re
import select
import signal
import socket
import subprocess
import sys
import threading

import engineio
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from connection.dial import Dialer, Target
from connection.errors import explain
from connection.messages import Callbacks, Connected, Disconnected
from connection.polling import FURTHER_S
from connection.reconnect import ATTEMPT_S, back_off
from connection.resolve import Resolver
from connection.session import Session
from logging_setup import NoLog
from tests.lab.lateness import Lateness, at_most
from tests.lab.masters import (
    OPEN,
    BlackHole,
    Master,
    NameServer,
    Puppet,
    Raw,
    answering,
    frame,
    http,
    read_frame,
    silent,
    trickling,
    upgrade,
)
from tests.lab.ports import free_port
from tests.lab.relay import UP, Relay
from tests.lab.waiting import PATIENCE_S, stays, until
from tests.lab.workers import REPOSITORY

TOKEN = "Zg7kQ-hunter2"


def session(url, post, log=None, ca_file=None):
    """One attempt on `url`, whose end or success `post` gets."""
    callbacks = Callbacks(post, lambda order, limit_s: True, lambda ack_id: None)
    return Session(Target(url, None, ca_file), callbacks, log or NoLog(), Resolver(), ATTEMPT_S)


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    """A certificate for localhost, and two authorities: the one that signed it and another."""
    folder = tmp_path_factory.mktemp("tls")
    right, wrong = trustme.CA(), trustme.CA()
    cert = right.issue_cert("localhost")
    cert.private_key_pem.write_to_path(folder / "key.pem")
    cert.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    right.cert_pem.write_to_path(folder / "right.pem")
    wrong.cert_pem.write_to_path(folder / "wrong.pem")
    return folder


V3 = "the master speaks Engine.IO v3 .* upgrade the master to Socket.IO 3 or newer, .* requirements-eio3.txt .*"
NONE = "no Socket.IO master"
FAILURES = {
    "an empty page": ("ERROR", rf"HTTP 200 OK from URL, an empty answer: {NONE}", http("200 OK")),
    "204": ("ERROR", rf"HTTP 204 No Content from URL, an empty answer: {NONE}", http("204 No Content")),
    "0": ("ERROR", rf"HTTP 200 OK from URL, no Engine.IO handshake: {NONE}", http("200 OK", b"0")),
    "0{}": ("ERROR", rf"what URL answers is no Engine.IO handshake: {NONE} .*", http("200 OK", b"0{}")),
    "a page": (
        "ERROR",
        rf"HTTP 200 OK from URL, an HTML page: a web server answers there, {NONE}",
        http("200 OK", b"<!doctype html><title>It works</title>", kind="text/html"),
    ),
    "404": ("ERROR", rf"HTTP 404 Not Found from URL, .*{NONE}", http("404 Not Found", b"nothing")),
    "502": (
        "WARNING",
        r"HTTP 502 Bad Gateway from URL: the master, or a proxy before it, is out of order",
        http("502 Bad Gateway", b"<html>", kind="text/html"),
    ),
    "v3 by polling": ("ERROR", V3, http("200 OK", b'\x00\x09\xff0{"sid":"x"}')),
    "v3 by polling, as text": ("ERROR", V3, http("200 OK", b'97:0{"sid":"x"}')),
    "v3 by its own words": (
        "ERROR",
        V3,
        http("400 Bad Request", b'{"code":5,"message":"Unsupported protocol version"}'),
    ),
    "a refusal by HTTP": (
        "ERROR",
        "the master refused this node: not tonight",
        http("401 Unauthorized", b'"not tonight"', kind="application/json"),
    ),
    "another protocol": (
        "ERROR",
        rf"what URL answers is no Engine.IO handshake: {NONE} .*",
        b"SSH-2.0-x\r\n",
    ),
    "no answer": ("WARNING", r"URL closed the connection during the handshake", b""),
}
PUPPETS = {
    "v3 by websocket": ("ERROR", V3, (OPEN, "40")),
    "a refusal": (
        "ERROR",
        r"the master refused this node: not you: \*\*\*",
        (OPEN, f'44{{"message":"not you: {TOKEN}"}}'),
    ),
    "a refusal without a reason": ("ERROR", r"the master refused this node: it gave no reason", (OPEN, "44")),
    "no open packet": ("ERROR", rf"what URL answers is no Engine.IO handshake: {NONE} .*", ("hello",)),
    "an open packet of nonsense": (
        "ERROR",
        rf"what URL answers is no Engine.IO handshake: {NONE} .*",
        ('0{"sid":"x","upgrades":[],"pingInterval":1e300,"pingTimeout":1}',),
    ),
}


@pytest.mark.slow
def test_each_way_to_fail_has_a_reason_of_its_own_in_one_line(work, serve, ca, tmp_path):
    """One worker tries as many masters that fail, one after the other, and two have authorities of their own."""
    tls = serve(Master(tls=(str(ca / "cert.pem"), str(ca / "key.pem"))))
    plain = serve(Master())
    cases = {}
    for name, (level, reason, answer) in FAILURES.items():
        cases[name] = (level, reason, serve(Raw(answering(answer))))
    for name, (level, reason, welcome) in PUPPETS.items():
        cases[name] = (level, reason, serve(Puppet(welcome=welcome)))
    cases |= {
        "nothing there": (
            "WARNING",
            "connection refused: nothing listens at URL",
            f"http://127.0.0.1:{free_port()}",
        ),
        "no TLS there": (
            "ERROR",
            r"TLS: wrong version number \(URL\); a plain http master answers there",
            plain.url.replace("http", "https"),
        ),
        "an unknown authority": (
            "ERROR",
            "TLS: the certificate of URL is not accepted: .*; MASTER_CA_FILE names the CAs to trust",
            tls,
        ),
        "another name's certificate": (
            "ERROR",
            "TLS: the certificate of URL is not accepted: .*127.0.0.1.*",
            tls.url.replace("localhost", "127.0.0.1"),
        ),
    }
    authorities = {
        "an unknown authority": ca / "wrong.pem",
        "another name's certificate": ca / "right.pem",
    }
    urls = {name: getattr(master, "url", master) for name, (_, _, master) in cases.items()}
    settings = {"MASTER_TOKEN": TOKEN, "RECONNECT_DELAY": 5, "RECONNECT_DELAY_MAX": 5}
    others = work(",".join(url for name, url in urls.items() if name not in authorities), **settings)
    workers = {
        name: work(urls[name], MASTER_CA_FILE=authority, **settings)
        for name, authority in authorities.items()
    }
    seen = {}
    for name, (level, reason, _) in cases.items():
        url, worker = urls[name], workers.get(name, others)
        entry = worker.wait("connect_failed", master=url, limit_s=30)
        assert (name, entry.level) == (name, level)
        assert re.fullmatch(reason.replace("URL", re.escape(url)), entry.fields["error"]), (name, entry)
        assert 0 <= float(entry.fields["retry_s"]) <= 5
        seen.setdefault(entry.fields["error"].replace(url, "URL"), []).append(name)
    for worker in (others, *workers.values()):
        assert not [e for e in worker.comms.read() if e.event in ("crashed", "connected")]
    # nobody was let in, and what the three speakers of v3 and two silent ones have in common is wanted
    assert len(seen) >= len(cases) - 6
    assert not plain.all("connect")
    assert not tls.all("connect")


def test_a_master_with_a_certificate_of_the_own_authority(work, serve, ca, monkeypatch):
    master = serve(Master(tls=(str(ca / "cert.pem"), str(ca / "key.pem"))))
    worker = work(master, MASTER_CA_FILE=ca / "right.pem", MASTER_TOKEN=TOKEN)
    assert master.wait("connect").data == {"token": TOKEN, "NODE_ID": 3}
    master.wait("ping", 2)
    assert worker.stop() == 0
    assert worker.wait("disconnected").fields["cause"] == "own_stop"
    assert {entry.level for entry in worker.comms.read()} <= {
        "INFO",
        "DEBUG",
    }  # a start and a stop as planned


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_only_master_ca_file_says_whom_to_trust(work, serve, ca, transport, tmp_path):
    """Whatever the libraries' own variables say: OpenSSL obeys one of them, requests another."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "WEBSOCKET_CLIENT_CA_BUNDLE")
    tls = (str(ca / "cert.pem"), str(ca / "key.pem"))
    master = serve(Master(transports=[transport], tls=tls))
    keys = tmp_path / "keys"
    wrong = dict.fromkeys(names, ca / "wrong.pem")
    worker = work(master, MASTER_CA_FILE=ca / "right.pem", SSLKEYLOGFILE=keys, **wrong)
    assert worker.wait("connected").fields["transport"] == transport
    assert not keys.exists()
    right = dict.fromkeys(names, ca / "right.pem")
    refused = [work(master, **right), work(master, MASTER_CA_FILE=ca / "wrong.pem", **right)]
    for worker in refused:
        failed = worker.wait("connect_failed", 2)
        assert "certificate" in failed.fields["error"]
        assert "MASTER_CA_FILE" in failed.fields["error"]
    assert len(master.all("connect")) == 1


@pytest.mark.parametrize("tls", [False, True])
def test_a_master_without_websocket_is_served_by_polling(work, serve, ca, tls):
    files = (str(ca / "cert.pem"), str(ca / "key.pem")) if tls else None
    master = serve(Master(transports=["polling"], tls=files))
    delays = {"RECONNECT_DELAY": 5, "RECONNECT_DELAY_MAX": 5}  # time to look between two attempts
    worker = work(master, MASTER_CA_FILE=ca / "right.pem", MASTER_TOKEN=TOKEN, **delays)
    assert worker.wait("connected").fields["transport"] == "polling"
    assert master.wait("connect").data == {"token": TOKEN, "NODE_ID": 3}
    assert master.order("restore", {"restore_node": 2}) == [{"accepted": True}]
    assert master.wait("restore node").data["status"] is True
    worker.wait("ping", 3, log="pings")
    # the threads that waited for one that is gone, or dead, are not left behind
    threads = worker.status("Threads")
    master.kick()
    worker.wait("connected", 2)
    master.wait("ping", since=len(master.heard))
    until(lambda: worker.status("Threads") <= threads, 5)
    master.send(signal.SIGSTOP)
    worker.wait("disconnected", 2)
    # between two attempts: the owner, the log's writer, the status socket, the keep-alive and the watchdog
    until(lambda: worker.status("Threads") <= 5)
    assert worker.stop() == 0


def test_more_answers_than_a_request_may_hold_are_all_heard(work, serve):
    master = serve(Master(transports=["polling"]))
    worker = work(master)
    master.wait("join")
    owners = [1, 2, 4, 5, 6, 7, 8, 9] * 10
    for owner in owners:
        master.emit("restore", {"restore_node": owner})
    master.wait("restore node", len(owners))
    assert sorted(heard.data["restore_node"] for heard in master.all("restore node")) == sorted(owners)
    assert len(worker.all("connected")) == 1


@pytest.mark.parametrize(
    ("posted", "polled", "reason"),
    [
        (
            "400 Bad Request",
            None,
            r"the master does not know this connection any more \(HTTP 400 Bad Request\)",
        ),
        ("200 OK", "nothing", r"the master sent what is no Engine.IO payload"),
    ],
    ids=["a request that fails", "an answer that is no payload"],
)
def test_a_polled_connection_ends_at_once_with_any_of_its_threads(work, serve, posted, polled, reason):
    """Though another, which waits for the master's next words, goes on."""
    polls = itertools.count()
    joined = threading.Event()

    def act(sock, head):
        if b"transport=websocket" in head:
            return sock.sendall(http("400 Bad Request"))
        if head.startswith(b"POST"):
            sock.sendall(http(posted if joined.is_set() else "200 OK", b"ok"))
            return joined.set()
        if b"sid=" not in head:
            return sock.sendall(http("200 OK", OPEN.encode()))
        poll = next(polls)
        if poll == 0:
            return sock.sendall(http("200 OK", b'40{"sid":"raw"}'))
        joined.wait(5)
        return sock.sendall(http("200 OK", polled.encode())) if polled and poll == 1 else silent(sock, head)

    worker = work(serve(Raw(act)), PING_TIMEOUT=20)
    worker.wait("connected")
    assert re.fullmatch(reason, worker.wait("disconnected").fields["reason"])


@pytest.mark.parametrize("killed", [False, True])
def test_a_further_request_s_tls_handshake_is_not_waited_for_forever(serve, ca, killed):
    """Nor at all, where the other thread's request fails meanwhile."""
    master = serve(Master(transports=["polling"], tls=(str(ca / "cert.pem"), str(ca / "key.pem"))))
    relay = serve(Relay(master))
    hellos = []

    def count(direction, data):
        hellos.extend([data] * (direction == UP and data[:1] == b"\x16"))
        return data

    relay.alter = count
    posted = queue.Queue()
    url = relay.url.replace("http://127.0.0.1", "https://localhost")
    one = session(url, posted.put, ca_file=ca / "right.pem")
    one.start()
    assert isinstance(posted.get(timeout=PATIENCE_S), Connected)
    # a websocket in vain, the handshake, what the node sent, the master's answer, and a poll that waits for more
    until(lambda: len(hellos) == 5 and relay.connections == 1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        relay.target = deaf.getsockname()
        one.send("news", None)
        until(lambda: select.select([deaf], [], [], 0)[0])
        with at_most(FURTHER_S / 2) if killed else contextlib.nullcontext():
            if killed:
                master.kill()
            end = posted.get(timeout=PATIENCE_S)
    assert str(end.failure) == ("the master closed the connection" if killed else f"no answer from {url}")


def test_sockets_that_two_threads_make_can_all_be_cut(serve):
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    dialer = Dialer(Target(f"http://127.0.0.1:{listener.getsockname()[1]}", None, None), Resolver())
    made = []
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        dialing = [
            threading.Thread(target=lambda: made.extend(dialer.dial() for _ in range(200))) for _ in range(4)
        ]
        for thread in dialing:
            thread.start()
        for thread in dialing:
            thread.join()
    finally:
        sys.setswitchinterval(interval_s)
    dialer.cut()
    with listener, contextlib.ExitStack() as sockets:
        for sock in made:
            sockets.enter_context(sock).setblocking(False)
        assert [sock.recv(1) for sock in made] == [b""] * 800


def test_the_token_goes_to_the_master_alone(work, serve):
    elsewhere = serve(Raw(answering(http("200 OK", b"gotcha"))))
    place = f"{elsewhere.url}/socket.io/?EIO=4&transport=websocket"
    redirecting = [
        serve(Raw(answering(http(status, b"", f"Location: {place.replace('http', scheme)}"))))
        for status in ("301 Moved", "307 Temporary", "308 Permanent")
        for scheme in ("http", "ws")
    ]
    worker = work(",".join(master.url for master in redirecting), MASTER_TOKEN=TOKEN)
    for master in redirecting:
        entry = worker.wait("connect_failed", 2, master=master.url)
        assert entry.level == "ERROR"
        assert re.match(r"HTTP 30\d .* a redirect, which is not followed", entry.fields["error"])
    assert not elsewhere.heads
    for master in redirecting:
        assert TOKEN.encode() not in b"".join(master.heads)


def test_the_next_master_is_tried_at_once_and_the_back_off_comes_after_a_round(work, serve):
    dead, refusing = f"http://127.0.0.1:{free_port()}", serve(Master(refuse="not today"))
    last = serve(Master())
    urls = f"{dead},{refusing.url},{last.url}"
    worker = work(urls, MASTER_TOKEN=TOKEN, RECONNECT_DELAY=20, RECONNECT_DELAY_MAX=20)
    assert worker.wait("connected").fields["master"] == last.url
    failed = worker.all("connect_failed")
    assert [(entry.fields["master"], entry.fields["retry_s"]) for entry in failed] == [
        (dead, "0"),
        (refusing.url, "0"),
    ]
    assert failed[1].fields["error"] == "the master refused this node: not today"
    assert failed[1].level == "ERROR"
    assert last.wait("join").data["NODE_ID"] == 3


@given(
    st.floats(0.02, 10),
    st.floats(1, 1000),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=40),
)
def test_the_back_off_is_drawn_from_zero_to_a_ceiling_that_doubles(delay_s, factor, chances):
    max_s = delay_s * factor
    drawn = iter(chances)
    pairs = list(itertools.islice(back_off(delay_s, max_s, lambda: next(drawn)), len(chances)))
    for n, ((delay, ceiling), chance) in enumerate(zip(pairs, chances)):
        assert ceiling == pytest.approx(min(max_s, delay_s * 2**n))
        assert delay == pytest.approx(chance * ceiling)
        assert 0 <= delay <= ceiling <= max_s


def test_the_back_off_reaches_every_part_of_its_range():
    drawn = [next(back_off(1.0, 8.0))[0] for _ in range(1000)]
    assert all(any(part / 4 <= delay < (part + 1) / 4 for delay in drawn) for part in range(4))


def test_it_never_gives_up_and_says_the_same_failure_a_few_times_only(work):
    port = free_port()
    worker = work(
        f"http://127.0.0.1:{port}", RECONNECT_DELAY=0.02, RECONNECT_DELAY_MAX=0.02, LOG_LEVEL="DEBUG"
    )
    worker.wait("connecting", 60, limit_s=40)
    failed = worker.all("connect_failed")
    assert len(failed) == 3
    assert {entry.fields["error"] for entry in failed} == {
        f"connection refused: nothing listens at http://127.0.0.1:{port}"
    }
    master = Master(port)
    try:
        worker.wait("connected", limit_s=5)
    finally:
        master.close()
    # a new failure is said again
    worker.wait("disconnected")
    worker.wait("connect_failed", len(failed) + 1)


@pytest.mark.slow
def test_no_master_is_waited_for_longer_than_5_s(work, serve):
    """A connection that is not taken, one that is not answered, one byte a second; all at once."""
    good = serve(Master())
    lateness = Lateness()
    cases = {
        "no answer from URL in 5 s, connecting to 127.0.0.1": serve(BlackHole()),
        "no answer from URL in 5 s, in the websocket handshake": serve(Raw(silent)),
        "no answer from URL in 5 s, in the websocket handshake ": serve(Raw(trickling)),
    }
    workers = [work(f"{master.url},{good.url}") for master in cases.values()]
    for worker, (reason, master) in zip(workers, cases.items()):
        connected = worker.wait("connected", limit_s=15)
        (failed,) = worker.all("connect_failed")
        assert failed.level == "WARNING"
        assert failed.fields["error"] == reason.replace("URL", master.url).strip()
        began = worker.all("connecting")[0].when
        late_s = 5 * lateness.worst_of_all_s
        assert (failed.when - began).total_seconds() < ATTEMPT_S + 0.5 + late_s
        assert (connected.when - failed.when).total_seconds() < 2 + late_s
        assert connected.fields["master"] == good.url
    lateness.close()


@pytest.mark.slow
def test_a_name_that_nobody_knows_and_a_name_server_that_is_silent(serve, work, tmp_path):
    knows_none = serve(NameServer("127.0.53.1", answers=True))
    silent_one = serve(NameServer("127.0.53.2", answers=False))
    unknown = work("http://master.test:5000", **knows_none.settings(tmp_path / "a"))
    hanging = work("http://master.test:5000", **silent_one.settings(tmp_path / "b"))
    entry = unknown.wait("connect_failed")
    assert entry.level == "ERROR"
    assert re.match(r"the name in http://master.test:5000 could not be resolved: ", entry.fields["error"])
    entry = hanging.wait("connect_failed")
    assert entry.level == "WARNING"
    assert (
        entry.fields["error"]
        == "no answer from http://master.test:5000 in 5 s, looking up master.test: its name server is slow"
    )
    assert hanging.stop() == 0  # in the next look-up by now


@pytest.mark.parametrize(
    ("first", "comes"),
    [('40{"sid":"a"}', Connected), *((f'40{{"sid":{sid}}}', Disconnected) for sid in ('""', "null", "0", "[]")),
     ("40", Disconnected), ("41", Disconnected)],
    ids=repr,
)  # fmt: skip
def test_an_acceptance_that_is_said_again_or_too_late_means_nothing(serve, first, comes):
    """Each would take its place in the inbox."""
    posted = []
    again = ['40{"sid":"a"}'] if comes is Disconnected else []

    def act(sock, head):
        upgrade(sock, head)
        sock.sendall(frame(OPEN))
        read_frame(sock)
        sock.sendall(b"".join(map(frame, [first, *again] * 300)))
        silent(sock, head)

    master = serve(Raw(act))
    session(master.url, posted.append).start()
    until(lambda: posted)
    stays(lambda: [type(one) for one in posted] == [comes], 0.5, "one message")
    master.close()
    until(lambda: isinstance(posted[-1], Disconnected))
    assert len(posted) == (1 if comes is Disconnected else 2)


def test_an_attempt_that_failed_leaves_nothing_behind_in_the_library(serve):
    puppet = serve(Puppet(welcome=PUPPETS["an open packet of nonsense"][2]))
    ends = queue.SimpleQueue()
    session(puppet.url, ends.put).start()
    assert isinstance(ends.get(timeout=PATIENCE_S), Disconnected)
    assert not engineio.base_client.connected_clients


@pytest.mark.parametrize(
    "exc",
    [
        ValueError(),
        KeyError("sid"),
        OSError(),
        OSError(113, "No route to host"),
        RecursionError("x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        Exception(Exception(ConnectionResetError(104, "reset"))),
    ],
)
def test_any_exception_is_explained_in_a_line(exc):
    text = str(explain(exc, "http://10.9.0.10:5000"))
    assert "http://10.9.0.10:5000" in text
    assert text.isprintable()


def test_causes_that_go_in_circles_end():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert "a fault of this worker or of a library it uses" in str(explain(one, "http://x"))


def test_messages_arrive_whole_and_in_order_however_their_frames_are_cut(work, serve):
    """Frames of every kind of length, whole ones and fragments, in pieces that end anywhere."""
    puppet = serve(Puppet())
    worker = work(puppet, PING_INTERVAL=60)  # an acknowledgement would come between the pieces
    worker.wait("ping", log="pings")
    texts = [
        f'42["news",{json.dumps("ä" * n, ensure_ascii=False)}]' for n in (0, 50, 55, 56, 57, 58, 1500, 40_000)
    ]
    data = b"".join(map(frame, texts))
    opening, rest = b'42["news","in ', b'fragments"]'
    data += bytes([0x01, len(opening)]) + opening + bytes([0x80, len(rest)]) + rest + frame('42["last"]')
    for step in (1, 2, 3, 7, 1000, len(data)):
        since = worker.lines
        for at in range(0, min(len(data), 400 * step), step):
            puppet.send_raw(data[at : at + step])
        puppet.send_raw(data[400 * step :])
        worker.wait("received", since=since, event="last")
        said = [e.fields.get("data", "") for e in worker.comms.entries[since:] if e.event == "received"]
        assert [len(json.loads(text)) for text in said[:7]] == [0, 50, 55, 56, 57, 58, 1500]
        assert said[7].startswith('"ä')
        assert said[8] == '"in fragments"'
    assert not worker.all("disconnected")


@pytest.mark.parametrize(
    ("packet", "shown"),
    [
        ('42["news",{"a":1}]', '{"a":1}'),
        ('42["news", {"a": [1, 2]}]', '{"a":[1,2]}'),
        ('42["news","\\u00e4 \\" ]"]', '"ä \\" ]"'),
        ('42["news",1,2]', "[1,2]"),
        ('42["news"]', None),
        ('42["ne\\"ws",null]', "null"),
        ('42[ "news" , true ] ', "true"),
        ('4212["news",[]]', "[]"),
        ('42/other,["news",7]', "7"),
        ('42/other,12["news",7]', "7"),
    ],
)
def test_the_data_of_an_event_is_compact_json_however_it_came(serve, packet, shown):
    heard = queue.SimpleQueue()
    log = NoLog()
    log.write = lambda level, event, fields: heard.put((event, fields["data"]))
    puppet = serve(Puppet())
    one = session(puppet.url, lambda message: None, log)
    one.start()
    assert puppet.up.wait(PATIENCE_S)
    puppet.say(packet)
    assert heard.get(timeout=PATIENCE_S) == ("received", shown)
    one.abandon()


def test_the_version_names_the_protocol_and_loads_no_library_for_it():
    code = (
        "import client, sys; code = client.main(['--version']); sys.exit(code or 'socketio' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    pattern = r"failover worker \S+, Engine\.IO 4 \(python-socketio 5\.\S+, python-engineio 4\.\S+\)\n"
    assert re.fullmatch(pattern, ran.stdout)


@pytest.mark.parametrize(
    "master",
    [
        lambda: Raw(answering(http("200 OK", b"0{}"))),
        lambda: Raw(answering(http("200 OK", b"nothing"))),
        lambda: Puppet(welcome=("0{}",)),
        lambda: Puppet(welcome=(OPEN, "44")),
        lambda: Master(transports=["polling"], refuse="no"),
    ],
    ids=[
        "a handshake of nothing",
        "no handshake",
        "nothing by websocket",
        "a refusal",
        "a refusal by polling",
    ],
)
def test_attempts_that_failed_are_forgotten(serve, master):
    master = serve(master())
    ends = queue.SimpleQueue()

    def fail():
        session(master.url, ends.put).start()
        ends.get(timeout=PATIENCE_S)

    def alive():
        gc.collect()
        return sum(type(one) is Session for one in gc.get_objects())

    def descriptors():
        return sum(os.path.exists(f"/proc/self/fd/{fd}") for fd in range(256))

    for _ in range(8):
        fail()
    until(lambda: alive() <= 1, 5, alive)
    # neither is a descriptor kept until somebody collects the garbage
    gc.disable()
    try:
        fail()
        before = descriptors()
        for _ in range(8):
            fail()
        until(lambda: descriptors() <= before, 5, lambda: (before, descriptors()))
    finally:
        gc.enable()
