"""Masters, and what stands before them, that are sick in ways that were reported of others."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import sys
import threading
import time
import tracemalloc

import pytest

from connection import payload
from connection.dial import Target
from connection.messages import ORDER_BYTES, Callbacks, order_of
from connection.reconnect import Connection
from logging_setup import NoLog
from tests.lab.masters import (
    OPEN,
    BlackHole,
    Master,
    Puppet,
    Raw,
    answering,
    frame,
    http,
    read_frame,
    upgrade,
)
from tests.lab.ports import free_port
from tests.lab.relay import DOWN, Relay
from tests.lab.waiting import PATIENCE_S, stays, until

RECOVER = {
    "disconnected_node": 2,
    "recovery_node": "3",
    "ip": "10.9.0.2",
    "netmask": "255.255.255.0",
    "active_neighbors": [],
}
ACCEPTED = '40{"sid":"sick"}'


class Middlebox(Relay):
    """Lets everything through but websockets, of which it swallows, closes or resets the handshake."""

    def __init__(self, master, how):
        super().__init__(master)
        self.alter = self._alter
        self._how = how

    def _alter(self, direction, data):
        if direction == DOWN or b"upgrade: websocket" not in data.lower():
            return data
        if self._how == "resets":
            self.cut(reset=True)
        return b"" if self._how == "swallows" else None


@pytest.mark.parametrize("how", ["swallows", "closes", "resets"])
def test_where_websockets_do_not_come_through_polling_does(work, serve, how):
    box = serve(Middlebox(serve(Master()), how))
    worker = work(box)
    assert worker.wait("connected").fields["transport"] == "polling"
    assert len(worker.all("connect_failed")) == 1  # the first time it may be an accident
    # that is remembered; between two polls there is nothing to cut
    until(lambda: box.cut() or worker.all("disconnected"))
    assert worker.wait("connected", 2).fields["transport"] == "polling"


def test_where_the_answer_to_a_websocket_comes_without_its_headers_polling_does(work, serve):
    """They are meant for one hop only (RFC 9110 §7.6.1)."""

    def strip(direction, data):
        headers = rb"(?i)\r\n(upgrade: websocket|connection: upgrade)"
        return re.sub(headers, b"", data) if direction == DOWN else data

    box = serve(Relay(serve(Master())))
    box.alter = strip
    worker = work(box)
    assert worker.wait("connected").fields["transport"] == "polling"
    assert not worker.all("connect_failed")


@pytest.mark.parametrize("said", [b"ICAP/1.0 500 Error\r\n\r\n", b"x" * 60_000 + b"\r\n\r\n"])
def test_where_a_websocket_is_answered_by_no_http_polling_is_tried(work, serve, said):
    master = serve(Raw(lambda sock, head: sock.sendall(said)))
    failed = work(master).wait("connect_failed")
    assert "no Socket.IO master (no HTTP: " in failed.fields["error"]
    assert len(failed.fields["error"]) < 300
    assert failed.fields["error"].isprintable()
    assert [b"websocket" in head for head in master.heads[:2]] == [True, False]


def test_a_handshake_that_is_cut_once_is_no_reason_for_polling(work, serve):
    box = serve(Middlebox(serve(Master()), "closes"))
    cut = []

    def once(direction, data):
        if cut or direction == DOWN or b"upgrade: websocket" not in data.lower():
            return data
        cut.append(data)
        return None

    box.alter = once
    worker = work(box)
    worker.wait("connect_failed")
    assert worker.wait("connected").fields["transport"] == "websocket"


class Sick(Raw):
    """Accepts a node, and then: `drops` it at once, `drops later` after a while, `kicks` it after its join, or is `mute`."""

    def __init__(self, how):
        self._how = how
        super().__init__(self._converse)

    def _converse(self, sock, head):
        upgrade(sock, head)
        sock.sendall(frame(OPEN))
        read_frame(sock)
        sock.sendall(frame(ACCEPTED))
        if self._how == "drops":
            return
        read_frame(sock)
        if self._how == "drops later":
            time.sleep(2)
        elif self._how == "kicks":
            sock.sendall(frame("41"))
        else:
            while True:
                read_frame(sock)


@pytest.mark.parametrize("how", ["drops", "drops later", "kicks", "mute"])
def test_a_first_master_that_keeps_nobody_leaves_the_second_its_turn(work, serve, how):
    sick, good = serve(Sick(how)), serve(Master())
    worker = work(f"{sick.url},{good.url}")
    worker.wait("connected", master=good.url)
    assert len(worker.all("connected")) == 2
    stays(lambda: len(worker.all("disconnected")) == 1, 1)


def test_a_master_that_is_slow_to_accept_gets_more_time(work, serve):
    """Its handler takes 6 s, and an attempt 5."""

    class Slow(Puppet):
        def _converse(self, sock, head):
            upgrade(sock, head)
            sock.sendall(frame(OPEN))
            read_frame(sock)
            time.sleep(6)
            sock.sendall(frame(ACCEPTED))
            while True:
                read_frame(sock)

    slow = serve(Slow())
    worker = work(slow)
    failed = worker.wait("connect_failed")
    assert failed.fields["error"] == f"no answer from {slow.url} in 5 s, waiting for the master to accept"
    assert failed.fields["cause"] == "no_answer"
    worker.wait("connected")
    assert len(worker.all("connect_failed")) == 1


def _in_pieces(puppet, data, pieces, pause_s):
    size = len(data) // pieces + 1
    for at in range(0, len(data), size):
        puppet.send_raw(data[at : at + size])
        time.sleep(pause_s)


def test_a_message_that_is_on_its_way_for_long_is_life(work, serve):
    """Nothing else comes meanwhile: for longer than pings are waited for."""
    puppet = serve(Puppet())
    worker = work(puppet)
    worker.wait("ping", 2, log="pings")
    puppet.acks = False
    text = "x" * 1_500_000
    _in_pieces(puppet, frame(f'42["news","{text}"]'), 30, 0.1)
    puppet.acks = True
    worker.wait("received", event="news")
    assert not worker.all("disconnected")


def test_a_byte_now_and_then_is_no_life(work, serve):
    puppet = serve(Puppet())
    worker = work(puppet)
    worker.wait("ping", 2, log="pings")
    puppet.acks = False
    over = threading.Event()

    def trickle():
        data = frame(f'42["news","{"x" * 1_500_000}"]')
        for at in range(len(data)):
            puppet.send_raw(data[at : at + 1])
            if over.wait(0.1):
                return

    threading.Thread(target=trickle, daemon=True).start()
    lost = worker.wait("disconnected")
    over.set()
    assert lost.fields["reason"] == "3 pings in a row without an answer"
    assert lost.fields["cause"] == "no_answer"


class Allergic(Raw):
    """Accepts a node, orders `orders` of it, and hangs up on each answer to the first of them."""

    def __init__(self, *orders):
        self.heard = []
        self._orders = list(orders)
        super().__init__(self._converse)

    def _converse(self, sock, head):
        upgrade(sock, head)
        sock.sendall(frame(OPEN))
        read_frame(sock)
        sock.sendall(frame(ACCEPTED))
        orders, self._orders = self._orders, []
        for order in orders:
            sock.sendall(frame("42" + json.dumps(["restore", order])))
        while True:
            text = read_frame(sock)
            ping = re.match(r'42(\d+)\["ping"', text)
            if ping:
                sock.sendall(frame(f"43{ping[1]}[]"))
            elif '"restore node"' in text:
                number = json.loads(text[2:])[1]["restore_node"]
                self.heard.append(number)
                if number == 2:
                    return


def test_an_answer_that_ends_each_connection_is_given_up_and_no_other(work, serve):
    master = serve(Allergic({"restore_node": 2}, {"restore_node": 6}))
    worker = work(master)
    given_up = worker.wait("answer_given_up")
    assert given_up.level == "ERROR"
    assert json.loads(given_up.fields["data"])["restore_node"] == 2
    assert given_up.fields["order"] == "1"
    until(lambda: 6 in master.heard)
    count = len(worker.all("disconnected"))
    worker.wait("ping", 3, log="pings", since=len(worker.pings.read()))
    assert len(worker.all("disconnected")) == count
    assert master.heard.count(2) >= 5
    assert len(worker.all("answer_given_up")) == 1


def test_an_answer_is_cut_to_what_the_master_takes(work, serve):
    limit = 1000
    said = OPEN[:-1] + f',"maxPayload":{limit}}}'
    puppet = serve(Puppet(welcome=(said, ACCEPTED)))
    worker = work(puppet)
    worker.wait("ping", log="pings")
    order = {**RECOVER, "disconnected_node": 99, "note": "n" * 5000}
    puppet.say("42" + json.dumps(["recover", order]))
    until(lambda: any("update node" in text for text in puppet.said))
    text = next(text for text in puppet.said if "update node" in text)
    assert len(text) <= limit
    answer = json.loads(text[2:])[1]
    assert {key: answer[key] for key in RECOVER} == {**RECOVER, "disconnected_node": 99}
    assert answer["error"]
    worker.wait("ping", 2, log="pings", since=len(worker.pings.read()))
    assert not worker.all("disconnected")


def test_a_mad_master_s_numbers_of_many_digits_hold_nobody_up(work, serve):
    """On Python before 3.10.7 each would take minutes."""
    puppet = serve(Puppet())
    worker = work(puppet, PING_TIMEOUT=5)
    worker.wait("ping", log="pings")
    digits = "7" * 4_000_000
    puppet.say(
        f"4{digits}",
        f"4[{digits}]",
        f'42["news",{digits}]',
        f"43{digits}[]",
        f'42{digits}["x"]',
        f"45{digits}-[]",
    )
    puppet.say('42["after"]')
    worker.wait("received", event="after")
    assert not worker.all("disconnected")
    assert len(worker.all("received")) == 7


@pytest.mark.parametrize("read", [payload.loads, lambda text: payload.first(text.encode())])
def test_a_number_of_many_digits_is_refused_where_python_has_no_limit(read):
    """As Python before 3.10.7 has none."""
    if not hasattr(sys, "set_int_max_str_digits"):
        pytest.skip("this Python has no limit that could be lifted")
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        for text in ("7" * 20_000, f'["x",{{"a":-{"7" * 20_000}}}]'):
            with pytest.raises(ValueError, match="digits"):
                read(text)
        assert read(f'["x",{"7" * 4000}]')[1] == int("7" * 4000)
    finally:
        sys.set_int_max_str_digits(limit)


def test_a_packet_that_no_parser_survives_is_logged_and_no_more(work, serve):
    puppet = serve(Puppet())
    worker = work(puppet)
    worker.wait("ping", log="pings")
    puppet.say('42["news",' + "[" * 100_000, "4" + "[" * 100_000)
    puppet.say('42["after"]')
    worker.wait("received", event="after")
    assert len(worker.all("received")) == 3
    assert not worker.all("disconnected")


# the owner's side, without a worker around it


@pytest.fixture
def connection():
    """A Connection to these masters, and its owner's inbox."""
    made = []

    def make(*urls, delay_s=60.0, max_s=60.0, **options):
        inbox = queue.SimpleQueue()
        callbacks = Callbacks(inbox.put, lambda order, limit_s: True, lambda ack_id: None)
        targets = tuple(Target(url, None, None) for url in urls)
        made.append(Connection(targets, delay_s, max_s, callbacks, NoLog(), **options))
        return made[-1], inbox

    yield make
    for one in made:
        one.close(0)


def test_a_changed_network_is_tried_at_once(connection, serve):
    port = free_port()
    one, inbox = connection(f"http://127.0.0.1:{port}")
    one.begin(0.0)
    now = 1.0
    one.ended(inbox.get(timeout=PATIENCE_S), now)
    while one.due() < now + 2:  # the jitter may choose 0
        now = one.due()
        one.tick(now)
        one.ended(inbox.get(timeout=PATIENCE_S), now)
    serve(Master(port))
    one.wake(now + 1)
    assert one.due() <= now + 1
    one.tick(now + 1)
    assert one.accepted(inbox.get(timeout=PATIENCE_S), now + 1.1)
    one.wake(now + 1.2)  # a connection that stands is left alone
    assert one.up


def test_a_network_that_changes_all_the_time_leaves_an_attempt_its_time(connection, serve):
    one, inbox = connection(serve(BlackHole()).url)
    one.begin(0.0)
    one.wake(1.0)
    one.tick(1.0)  # begun anew
    for tenth in range(10, 55):
        one.wake(tenth / 10)
        one.tick(tenth / 10)
    assert one.due() == 6.0
    until(lambda: one._session.phase.startswith("connecting"))  # its thread may come late
    one.tick(6.0)
    assert "in 5 s, connecting to 127.0.0.1" in one.trouble
    assert inbox.empty()


def test_attempts_come_well_within_master_loss_release(connection):
    one, inbox = connection(f"http://127.0.0.1:{free_port()}", release_s=4.0)
    now = 0.0
    one.begin(now)
    for _ in range(20):
        one.ended(inbox.get(timeout=PATIENCE_S), now)
        assert one.due() - now <= 1.0
        now = one.due()
        one.tick(now)


def test_an_end_after_a_freeze_is_put_down_to_it(connection, serve):
    class Log(NoLog):
        def write(self, level, event, fields):
            lines.append((event, fields))

    lines = []
    master = serve(Master())
    one, inbox = connection(master.url)
    one._log = Log()
    one.begin(time.monotonic())
    assert one.accepted(inbox.get(timeout=PATIENCE_S), time.monotonic())
    one.froze(time.monotonic())
    master.kill()
    one.ended(inbox.get(timeout=PATIENCE_S), time.monotonic())
    assert [fields["cause"] for event, fields in lines if event == "disconnected"] == ["frozen"]


# proxies


def test_a_proxy_whose_name_nobody_knows_is_named(work, serve):
    worker = work(serve(Master()), http_proxy="http://me:secret-word@no.such.name.invalid:3128")
    failed = worker.wait("connect_failed")
    assert "the proxy http://no.such.name.invalid:3128" in failed.fields["error"]
    assert "its name could not be resolved" in failed.fields["error"]
    assert failed.fields["cause"] == "network"
    assert "secret-word" not in worker.comms.path.read_text() + worker.said


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-x\r\n", "it speaks no HTTP"),
        (http("407 Proxy Authentication Required"), "407"),
        (http("503 Service Unavailable"), "503"),
        (b"", "it closed the connection"),
    ],
)
def test_a_proxy_that_is_out_of_order_is_named(work, serve, answer, why):
    proxy = serve(Raw(answering(answer)))
    worker = work("http://master.invalid:5000", http_proxy=proxy.url)
    failed = worker.wait("connect_failed")
    assert f"the proxy {proxy.url}" in failed.fields["error"]
    assert why in failed.fields["error"]
    assert failed.fields["cause"] == "network"
    assert "no Socket.IO master" not in failed.fields["error"]


def test_a_proxy_that_is_not_there_is_named(work):
    port = free_port()
    worker = work("http://master.invalid:5000", http_proxy=f"http://127.0.0.1:{port}")
    error = worker.wait("connect_failed").fields["error"]
    assert error.startswith(f"the proxy http://127.0.0.1:{port}, on the way to http://master.invalid:5000: ")


def test_a_proxy_whose_address_swallows_everything_is_named(work, serve):
    hole = serve(BlackHole("127.0.0.2"))
    worker = work("http://master.invalid:5000", http_proxy=hole.url.replace("//", "//me:hunter2@"))
    error = worker.wait("connect_failed").fields["error"]
    assert error.endswith(f"connecting to 127.0.0.2 of the proxy {hole.url}")


@pytest.mark.parametrize("password", ["pa/ss", "pa#ss", "pa?ss", "pa@ss"])
def test_a_proxy_s_password_reaches_no_log(work, serve, password):
    port = free_port()
    worker = work("http://master.invalid:5000", http_proxy=f"http://me:{password}@127.0.0.1:{port}")
    error = worker.wait("connect_failed").fields["error"]
    assert f"the proxy http://127.0.0.1:{port}" in error
    assert password not in worker.comms.path.read_text() + worker.said
    assert "pa" not in error.replace("pass", "").split("5000")[-1]


def test_what_sends_a_proxy_s_credentials_back_has_no_part_of_them_logged(work, serve):
    proxy = serve(Raw(lambda sock, head: sock.sendall(head)))
    worker = work("http://m.test:5000", http_proxy=proxy.url.replace("//", "//me:hunter2@"))
    failed = worker.wait("connect_failed")
    assert "it speaks no HTTP: 'CONNECT m.test:5000 HTTP/1.1'" in failed.fields["error"]
    assert "authorization" not in failed.fields["error"].lower()


def test_a_token_that_goes_through_a_proxy_is_warned_of(work):
    worker = work(
        "http://localhost:5000", http_proxy="http://proxy.invalid:3128", MASTER_TOKEN="hunter2-token"
    )
    warned = worker.wait("insecure_master")
    assert warned.fields["reason"] == "plain http through the proxy http://proxy.invalid:3128"
    assert warned.fields["token"] == "MASTER_TOKEN travels in the clear"


def test_a_ca_file_that_is_gone_is_named(work, serve, tmp_path):
    import trustme

    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    worker = work(f"https://127.0.0.1:{free_port()}", MASTER_CA_FILE=path)
    worker.wait("connect_failed")
    path.unlink()
    failed = until(
        lambda: next((e for e in worker.all("connect_failed") if "MASTER_CA_FILE" in e.fields["error"]), None)
    )
    assert failed.fields["error"].startswith(f"MASTER_CA_FILE {path} cannot be used: No such file")
    assert (failed.level, failed.fields["cause"]) == ("ERROR", "tls")


@pytest.mark.parametrize("levels", [50, 150, 600, 850, 900])
@pytest.mark.parametrize("form", ['["recover",{"ip":%s}]', '["recover",%s]'], ids=["object", "list"])
def test_an_order_is_read_with_less_room_on_the_stack_than_it_was_heard_with(form, levels):
    """The reader's thread has some, the owner's calls may be nested deeper."""
    raw = form % ("[" * levels + "]" * levels)
    order = order_of(None, 1, "recover", tuple(json.loads(raw)[1:]), raw, None)

    def deeper(calls):
        return deeper(calls - 1) if calls else order.data

    kept = json.dumps(deeper(300)).count("[")
    assert (kept, bool(order.fault)) == ((levels, False) if levels < 100 else (0, True))


@pytest.mark.parametrize(
    "pad", ['"' + "\u00e9" * 30_000 + '"', "[" + "1e15," * 12_000 + "1]", '"\\ud800"', '"\ud800"']
)
def test_an_order_waits_as_the_bytes_that_came(pad):
    """Written anew it may take four times as many."""
    raw = f'["recover",{{"pad":{pad}}}]'
    args = tuple(payload.loads(raw)[1:])
    order = order_of(None, 1, "recover", args, raw, None)
    assert order.data == args[0]
    assert len(order.raw) <= ORDER_BYTES


@pytest.mark.parametrize("form", ['[{"pad":%s}]', '[{"ip":%s}]', "[%s]", "[1,%s]"])
def test_an_order_that_is_too_large_is_not_copied(form):
    """As lists it takes 20 times its length."""
    raw = '["recover",' + (form % f"[{'[],' * 300_000}[]]")[1:]
    args = tuple(json.loads(raw)[1:])
    tracemalloc.start()
    try:
        order = order_of(None, 1, "recover", args, raw, None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert re.match(r"the order has \d+ bytes", order.fault)
    assert peak < 5 * len(raw)


def test_an_order_that_is_large_and_deep_is_refused():
    """What can just be read cannot always be written again."""
    for levels in range(800, 1000):
        raw = f'["recover",{{"ip":{"[" * levels}{"]" * levels},"pad":"{"x" * 70_000}"}}]'
        with contextlib.suppress(ValueError):  # it cannot be read
            args = tuple(payload.loads(raw)[1:])
            assert order_of(None, 1, "recover", args, raw, None).fault
