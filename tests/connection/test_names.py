"""Names and addresses: slow name servers, several addresses, and what is said of them."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from unittest.mock import Mock

import pytest

from connection import resolve
from connection.resolve import Resolver
from tests.lab import forked
from tests.lab.masters import BlackHole, Master, NameServer, Raw, silent
from tests.lab.waiting import until

NAME = "master.test"


@pytest.fixture
def named(serve, tmp_path):
    """Have a worker find `name` at these addresses: the settings for it, and its name server."""

    def start(addresses, name=NAME, first=None, **options):
        server = serve(NameServer("127.0.53.7", records={name: addresses}, **options))
        servers = (first, server) if first else (server,)
        return server, servers[0].settings(tmp_path / "names", *servers[1:])

    return start


def url(master, name=NAME):
    return f"http://{name}:{master.port}"


def test_a_dead_first_name_server_delays_it_only(work, serve, named):
    """glibc waits 5 s for it, which is all the time that an attempt has."""
    master = serve(Master())
    _, settings = named(["127.0.0.1"], first=serve(NameServer("127.0.53.8", answers=False)))
    worker = work(url(master), **settings)
    failed = worker.wait("connect_failed")
    assert failed.fields["cause"] == "network"
    assert failed.fields["error"].endswith(f"looking up {NAME}: its name server is slow")
    worker.wait("connected")
    # it is not asked for that long again: what is known serves meanwhile
    failures = len(worker.all("connect_failed"))
    master.kick()
    worker.wait("connected", 2)
    assert len(worker.all("connect_failed")) == failures


def test_questions_for_ipv6_addresses_that_nobody_answers_delay_nothing(work, serve, named):
    master = serve(Master())
    server, settings = named(["127.0.0.1"], silent_about={"6"})
    worker = work(url(master), **settings)
    worker.wait("connected")
    assert not worker.all("connect_failed")
    assert (NAME, 28) in server.asked


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize("hole", ["::1", "127.0.0.2"])
def test_a_first_address_that_swallows_everything_is_passed_by(work, serve, named, transport, hole):
    master = serve(Master(transports=[transport]))
    serve(BlackHole(hole, master.port))
    _, settings = named([hole, "127.0.0.1"])
    worker = work(url(master), **settings)
    assert worker.wait("connected").fields["transport"] == transport
    assert not worker.all("connect_failed")


def test_after_an_address_that_answers_nothing_another_one_comes_first(work, serve, named):
    master = serve(Master(host="127.0.0.3"))
    serve(Raw(silent, master.port, "127.0.0.2"))
    _, settings = named(["127.0.0.2", "127.0.0.3"])
    worker = work(url(master), **settings)
    worker.wait("connected")
    assert len(worker.all("connect_failed")) <= 1


def test_a_changed_entry_is_followed(work, serve, named):
    old = serve(Master(host="127.0.0.2"))
    new = serve(Master(old.port, host="127.0.0.3"))
    server, settings = named(["127.0.0.2"])
    worker = work(url(old), **settings)
    worker.wait("connected")
    server.records[NAME] = ["127.0.0.3"]
    old.kick()
    new.wait("join")


def test_a_further_request_s_connection_is_not_waited_for_forever(work, serve, named):
    """The kernel would try for two minutes."""
    master = serve(Master(transports=["polling"]))
    serve(BlackHole("127.0.0.2", master.port))
    server, settings = named(["127.0.0.1"])
    worker = work(url(master), PING_TIMEOUT=60, **settings)
    worker.wait("ping", log="pings")
    server.records[NAME] = ["127.0.0.2"]
    assert worker.wait("disconnected").fields["reason"] == f"no answer from {url(master)}"


def test_a_name_with_a_dot_at_its_end(work, serve, named):
    master = serve(Master())
    _, settings = named(["127.0.0.1"])
    worker = work(url(master, f"{NAME}."), **settings)
    worker.wait("connected")


def test_the_reason_is_the_most_telling_one(work, serve, named):
    """A machine without IPv6 says of the other address that the network is unreachable, of whatever master."""
    master = serve(Master())
    _, settings = named(["2001:db8::1", "127.0.0.1"])
    master.kill()
    worker = work(url(master), **settings)
    failed = worker.wait("connect_failed")
    assert failed.fields["error"] == f"connection refused: nothing listens at {url(master)}"
    assert failed.fields["cause"] == "master_gone"


def test_the_check_says_that_the_name_server_is_slow(serve, named, tmp_path):
    master = serve(Master())
    _, settings = named(["127.0.0.1"], first=serve(NameServer("127.0.53.8", answers=False)))
    environ = {
        "NODE_ID": "3",
        "MASTER_URL": url(master),
        "VIP_BACKEND": "simulated",
        "LOG_DIR": str(tmp_path),
    }
    (tmp_path / "no.env").touch()
    environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    done = forked.run(
        ["client.py", "--env-file", str(tmp_path / "no.env"), "--check"], environ, settings["before"]
    )
    assert f"FAIL name server for {NAME}: the name server is slow: the look-up of {NAME} took " in done.stdout
    assert "accepts by websocket" in done.stdout


def test_a_name_that_is_no_name_is_unknown():
    with pytest.raises(socket.gaierror) as raised:
        Resolver().look_up("a..b", 5, lambda: True)
    assert raised.value.errno == socket.EAI_NONAME


@pytest.fixture
def answers(monkeypatch):
    """What is said to look-ups for IPv4 addresses, one after the other: an address each, or an event, which is waited
    for first, and an address. No IPv6 address is known. What waits in the end does so no more.
    """
    queued = []
    awaited = []

    def getaddrinfo(_host, _port, family, *_):
        if family == socket.AF_INET6:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        said = queued.pop(0)
        if not isinstance(said, str):
            event, said = said
            awaited.append(event)
            event.wait()
        return [(family, socket.SOCK_STREAM, 0, "", (said, 0))]

    monkeypatch.setattr(resolve.socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(resolve, "AGAIN_S", 0.05)
    yield queued
    for event in awaited:
        event.set()
    until(lambda: not hanging())


def look_up(resolver):
    with contextlib.suppress(TimeoutError):
        return resolver.look_up(NAME, 0.1, lambda: True)


def hanging():
    return sum(thread.name == "look-up" for thread in threading.enumerate())


def test_look_ups_that_hang_for_good_lock_nobody_out(answers):
    """glibc waits without a limit for a name server that went away after it was asked by TCP."""
    never = (threading.Event(), "127.0.0.1")
    answers += [never] * 4 + ["127.0.0.2"] * 100
    resolver = Resolver()
    assert until(lambda: look_up(resolver)) == ["127.0.0.2"]
    until(lambda: hanging() == 4)
    # nor do they delay what comes after them
    answers[:] = ["127.0.0.3"]
    assert look_up(resolver) == ["127.0.0.3"]


def test_look_ups_that_hang_stay_few(answers):
    answers += [(threading.Event(), "127.0.0.1")] * 100
    resolver = Resolver()
    began_s = time.monotonic()
    for _ in range(10):
        look_up(resolver)
    waits = (time.monotonic() - began_s) / resolve.AGAIN_S
    until(lambda: 2 <= hanging() <= 2 + math.log2(waits))


def test_what_a_look_up_that_hung_says_in_the_end_is_out_of_date(answers):
    late = threading.Event()
    answers += [(late, "127.0.0.1")] + ["127.0.0.2"] * 100
    resolver = Resolver()
    until(lambda: look_up(resolver))
    late.set()
    until(lambda: not hanging())
    answers[:] = [(threading.Event(), "127.0.0.3")]
    assert look_up(resolver) == ["127.0.0.2"]


def test_a_look_up_whose_thread_cannot_be_started_is_made_the_next_time(answers, monkeypatch):
    answers += ["127.0.0.1"]
    resolver = Resolver()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))
        for _ in range(3):
            with pytest.raises(RuntimeError):
                look_up(resolver)
    until(lambda: look_up(resolver) == ["127.0.0.1"])
