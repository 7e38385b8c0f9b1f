"""What is bounded, and what happens at the bound: orders that wait, packets that nobody reads, threads that hang."""

from __future__ import annotations

import contextlib
import signal
import struct
import threading
import time

import pytest

from failover.vips import Reply
from logging_setup import NoLog
from tests.lab.masters import OPEN, Master, Puppet, Raw, frame, http, read_frame, upgrade
from tests.lab.processes import stays
from tests.lab.waiting import PATIENCE_S, until
from tests.worker import hang
from worker.reports import Reports
from worker.watchdog import LOOKS, stacks

GROWTH_KB = 40 * 1024
RESTORE = frame('42["restore",{"restore_node":2}]')


class Flood(Raw):
    """Accepts a node and then sends `count` orders as fast as they are taken; `reads` False: reads nothing more."""

    def __init__(self, count, *, reads):
        self.reads = reads
        self.heard = 0
        self.over = threading.Event()
        self._count = count
        super().__init__(self._flood)

    def _flood(self, sock, head):
        upgrade(sock, head)
        sock.sendall(frame(OPEN))
        read_frame(sock)
        sock.sendall(frame('40{"sid":"flood"}'))
        read_frame(sock)  # the join
        if self.reads:
            threading.Thread(target=self._read, args=(sock,), daemon=True).start()
        with contextlib.suppress(OSError):
            for _ in range(self._count // 1000):
                sock.sendall(RESTORE * 1000)
        self.over.wait(20)

    def _read(self, sock):
        with contextlib.suppress(OSError):
            while True:
                self.heard += "restore node" in read_frame(sock)


def test_a_flood_of_orders_keeps_nothing_waiting(work, serve):
    flood = serve(Flood(1_000_000, reads=True))
    worker = work(flood, LOG_LEVEL="ERROR")
    until(lambda: flood.heard > 1000)
    before_kb = worker.status("VmRSS")
    until(lambda: flood.heard > 6000, 60)
    assert worker.status("VmRSS") < before_kb + GROWTH_KB
    assert worker.stop() == 0
    flood.over.set()


def test_a_master_that_floods_and_reads_nothing_is_left(work, serve):
    flood = serve(Flood(1_000_000, reads=False))
    worker = work(flood, LOG_LEVEL="WARNING")
    lost = worker.wait("disconnected", limit_s=90)
    assert "does not read" in lost.fields["reason"]
    assert worker.status("VmRSS") < 45 * 1024 + GROWTH_KB
    flood.over.set()


def endless_frame(sock):
    sock.sendall(b"\x81\x7f" + struct.pack("!Q", 1 << 40))
    while True:
        sock.sendall(bytes(65536))


def endless_fragments(sock):
    fragment = struct.pack("!BH", 0x7E, 50_000) + bytes(50_000)
    sock.sendall(b"\x01" + fragment)
    while True:
        sock.sendall(b"\x00" + fragment)


def endless_attachments(sock):
    sock.sendall(frame('4599999999-["recover",{"_placeholder":true,"num":0}]'))
    while True:
        sock.sendall(frame(bytes(1000)) * 50)


def endless_answer(sock):
    sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n4")
    while True:
        sock.sendall(b"x" * 65536)


class Endless(Raw):
    """Accepts a node, by polling where the message that it then sends is `endless_answer`, and ends it never."""

    def __init__(self, send):
        self._send = send
        self._polls = 0
        super().__init__(self._poll if send is endless_answer else self._speak)

    def _speak(self, sock, head):
        upgrade(sock, head)
        sock.sendall(frame(OPEN))
        read_frame(sock)
        sock.sendall(frame('40{"sid":"endless"}'))
        self._send(sock)

    def _poll(self, sock, head):
        if b"websocket" in head:
            sock.sendall(http("400 Bad Request"))
        elif head.startswith(b"POST"):
            sock.sendall(http("200 OK", b"OK"))
        elif b"sid=" not in head:
            self._polls = 0
            sock.sendall(http("200 OK", OPEN.encode()))
        else:
            self._polls += 1
            if self._polls == 1:
                sock.sendall(http("200 OK", b'40{"sid":"endless"}'))
            else:
                self._send(sock)


@pytest.mark.parametrize("send", [endless_frame, endless_fragments, endless_attachments, endless_answer])
def test_a_message_without_an_end_ends_the_connection_before_memory_does(work, serve, send):
    worker = work(serve(Endless(send)), PING_INTERVAL=5, LOG_LEVEL="WARNING")
    lost = worker.wait("disconnected", 3, limit_s=60)
    assert "a message of more than 8 MiB" in lost.fields["reason"]
    assert worker.status("VmHWM") < 45 * 1024 + 2 * GROWTH_KB
    worker.wait("disconnected", 8, limit_s=90)
    # no connection leaves its message behind, and the one that is under way has as much as it may
    until(lambda: worker.status("VmRSS") < 45 * 1024 + GROWTH_KB, what=lambda: worker.status("VmRSS"))
    assert worker.stop() == 0


@pytest.mark.parametrize(
    "head, limit",
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nX-Long: ", "an answer of more than 64 KiB"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 99999999999\r\n\r\n", "HTTP 404 Not Found"),
    ],
    ids=["head", "body"],
)
def test_an_answer_to_the_handshake_without_an_end_is_left_before_it_costs_memory(work, serve, head, limit):
    def act(sock, _):
        sock.sendall(head)
        while True:
            sock.sendall(b"y" * 65536)

    worker = work(serve(Raw(act)), LOG_LEVEL="WARNING")
    failed = worker.wait("connect_failed")
    assert limit in failed.fields["error"]
    worker.wait("connect_failed", 2, limit_s=90)
    assert worker.status("VmHWM") < 45 * 1024 + GROWTH_KB / 5
    assert worker.stop() == 0


@pytest.fixture
def hanging(work, serve, tmp_path):
    """A worker that is up, one of whose threads hangs as soon as the file that comes with it is there."""

    def start(thread):
        puppet, file = serve(Puppet()), tmp_path / "hang"
        worker = work(
            puppet, module=("-m", "tests.worker.hang", str(file), thread), PASSWORD="not in a stack"
        )
        worker.wait("ping", log="pings")
        return worker, file

    return start


@pytest.mark.parametrize("thread", ["owner", "ping"])
def test_a_thread_that_hangs_ends_the_process_with_70_and_every_stack_in_the_log(hanging, thread):
    worker, file = hanging(thread)
    file.touch()
    began_s = time.monotonic()
    assert worker.process.wait(PATIENCE_S) == 70
    assert time.monotonic() - began_s > (LOOKS - 1) * hang.LOOK_S
    hung = worker.wait("hung")
    assert (hung.level, hung.fields["thread"]) == ("CRITICAL", thread)
    shown = {entry.fields["thread"]: entry.fields["stack"] for entry in worker.all("stack")}
    assert {"MainThread", "ping", "watchdog", "log-writer"} <= set(shown)
    assert "in hanging" in shown["MainThread" if thread == "owner" else "ping"]
    assert "not in a stack" not in worker.said + str(shown)


def test_a_thread_that_does_not_run_has_no_stack(monkeypatch):
    """One that is being started, or that ended meanwhile: what is shown as its stack would be the watchdog's own."""
    threads = [*threading.enumerate(), threading.Thread(name="not yet")]
    monkeypatch.setattr(threading, "enumerate", lambda: threads)
    shown = dict(stacks())
    assert "not yet" not in shown
    assert "in test_a_thread_that_does_not_run_has_no_stack" in shown["MainThread"]


def test_a_process_that_was_frozen_is_not_taken_for_hung(hanging):
    worker, _ = hanging("owner")
    for _ in range(2):
        worker.send(signal.SIGSTOP)
        try:
            until(lambda end_s=time.monotonic() + 1.5 * LOOKS * hang.LOOK_S: time.monotonic() > end_s)
        finally:
            worker.send(signal.SIGCONT)
    since = len(worker.pings.read())
    worker.wait("ping", 3, since=since, log="pings")
    assert not worker.all("hung")
    assert worker.stop() == 0


def test_a_worker_without_a_master_is_not_taken_for_hung(work):
    """Its ping thread waits to be woken, and its owner only for the back-off."""
    worker = work(
        "http://127.0.0.1:1", module=("-m", "tests.worker.hang", "/nowhere", "owner"), RECONNECT_DELAY_MAX=2
    )
    worker.wait("connect_failed")
    stays(lambda: worker.process.poll() is None, 2 * LOOKS * hang.LOOK_S)
    assert worker.stop() == 0


POLL_OPEN = b'0{"sid":"%d","upgrades":[],"pingInterval":25000,"pingTimeout":20000}'


def garbled(answer):
    """A master by polling that lets everybody in, and then says what no master says."""
    polls = {}

    def act(sock, head):
        if head.startswith(b"POST"):
            sock.sendall(http("200 OK", b"ok"))
        elif b"transport=websocket" in head:
            sock.sendall(http("400 Bad Request", b"no websocket"))
        elif b"sid=" not in head:
            polls[len(polls)] = 0
            sock.sendall(http("200 OK", POLL_OPEN % (len(polls) - 1)))
        else:
            number = int(head.partition(b"sid=")[2].split(b"&")[0].split(b" ")[0])
            polls[number] += 1
            sock.sendall(http("200 OK", b'40{"sid":"raw"}' if polls[number] == 1 else answer))

    return act


@pytest.mark.parametrize("answer", [b"d=", b"9" + b"[" * 50_000, b"\xff\xfe", b"2\x1e" * 3], ids=repr)
def test_a_connection_that_garbage_ends_leaves_no_thread(work, serve, answer):
    """The library's writer, which had taken the end together with what to send, waited forever."""
    worker = work(serve(Raw(garbled(answer))), RECONNECT_DELAY=0.02, RECONNECT_DELAY_MAX=0.05)
    worker.wait("disconnected", 20, limit_s=60)
    until(lambda: worker.status("Threads") <= 8, 5, lambda: worker.status("Threads"))


def test_a_burst_by_polling_is_read_whole(work, serve):
    master = serve(Master(transports=["polling"]))
    worker = work(master, LOG_CONSOLE=0)
    master.wait("ping")
    master.burst("n", 10_000, 1)
    until(lambda: sum(e.fields["event"] == "n" for e in worker.all("received")) == 10_000)
    assert not worker.all("disconnected")


def test_an_answer_costs_as_much_however_many_wait():
    reports = Reports(None, None, None, 0, NoLog())

    def cost_s():
        began_s = time.thread_time()
        for _ in range(1000):
            reports.answer(Reply("restore node", {"restore_node": 9, "status": True}))
        return time.thread_time() - began_s

    few_s = cost_s()
    for _ in range(60):
        cost_s()
    # summed anew each time it is a thousand times as much; one of the three may meet the garbage collector
    assert min(cost_s() for _ in range(3)) < 20 * few_s
