"""What a master bears from anybody who reaches it, with three workers connected whose deaths it must go on finding."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import re
import resource
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.processes import Master, Process, start_master, stays, wait_until
from tests.lab.waiting import PATIENCE_S, SCALE
from tests.master.flood import GROUPS, KINDS, frame
from tests.master.test_master import MakeWorker, Stranger, Worker, workers

__all__ = ["workers"]

MOST_MIB = 200
FLOOD_S = 20 * SCALE
"""At the most; it ends when the neighbor was ordered."""


def rss_mib(master: Master) -> int:
    """Of its life, at the most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{master.pid}/status").read_text())
    assert found
    return int(found[1]) // 1024


@pytest.fixture
def master() -> Iterator[Master]:
    """With the default settings, but for descriptors: 1,024, as a service has them."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024 if limits[1] == -1 else limits[1]))
    try:
        with start_master("--nodes", "1-9") as master:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            yield master
            assert not [line for line in master.stderr if "[fault" in line]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture(scope="module")
def asked() -> Iterator[Master]:
    """A master for requests that leave no trace."""
    with start_master("--nodes", "1-9") as master:
        yield master
        assert not [line for line in master.stderr if "[fault" in line]


@pytest.fixture
def trio(master: Master, workers: MakeWorker) -> list[Worker]:
    """Nodes 1, 2 and 3, which ping."""
    made = [workers(master, n, [m for m in (1, 2, 3) if m != n]).join() for n in (1, 2, 3)]
    for worker in made:
        worker.ping_every(0.5)
    return made


def is_served(master: Master) -> bool:
    """Whether a new connection is; until the flood's are gone its address may have too many."""
    try:
        Stranger(master.url)
    except OSError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("group", GROUPS)
def test_flood(master: Master, trio: list[Worker], group: str) -> None:
    """In the middle of it a node dies, and its neighbor is ordered; nobody else loses the connection."""
    port = master.url.rpartition(":")[2]
    with Process([sys.executable, "-m", "tests.master.flood", group, port, str(FLOOD_S)]) as flood:
        flood.wait_for_line("^flooding$")
        trio[1].stop_pinging()
        order = trio[0].wait_for("recover")
        assert order["disconnected_node"] == 2
        assert flood.returncode in (None, 0), flood.output()
    assert rss_mib(master) < MOST_MIB
    assert [worker.client.connected for worker in trio] == [True] * 3
    wait_until(lambda: is_served(master), "another one is served")


def test_each_kind_of_flood_is_in_a_group() -> None:
    assert sorted(itertools.chain(*GROUPS.values())) == sorted(KINDS)


def test_a_frame_that_promises_too_much_is_ended(asked: Master) -> None:
    stranger = Stranger(asked.url)
    sock = stranger._socket.sock
    sock.sendall(b"\x81\xff" + struct.pack("!Q", 2**60) + b"\0\0\0\0" + b"x" * 1024)
    assert drained(sock)


def test_a_message_of_64_kib_is_read_and_a_longer_one_ended(asked: Master) -> None:
    stranger = Stranger(asked.url)
    stranger.send_and_hear('42{id}["ping","' + "x" * 65_000 + '"]')
    sock = stranger._socket.sock
    sock.sendall(frame(b"x" * 40_000, first_byte=0x01) + frame(b"x" * 40_000, first_byte=0x80))
    assert drained(sock)


def drained(sock: socket.socket) -> bool:
    """Whether the master ends the connection."""
    sock.settimeout(PATIENCE_S)
    with contextlib.suppress(ConnectionError):
        while sock.recv(65536):
            pass
    return True


@pytest.mark.parametrize("first_byte", [0x8A, 0x89, 0x00], ids=["pongs", "pings", "continuations"])
def test_frames_that_are_no_messages_are_bounded(master: Master, first_byte: int) -> None:
    stranger = Stranger(master.url)
    sock = stranger._socket.sock
    sock.sendall(frame(b"4", first_byte=0x01) if first_byte == 0 else b"")
    sock.sendall(frame(b"", first_byte=first_byte) * 200)
    assert drained(sock)
    master.wait_for_line(
        r"WARNING\] - \[bound_reached bound=.frames that are no messages. address=127\.0\.0\.1"
    )


def test_bytes_that_come_faster_than_they_are_parsed_are_bounded(master: Master) -> None:
    sock = socket.create_connection(("127.0.0.1", int(master.url.rpartition(":")[2])))
    with contextlib.suppress(ConnectionError):
        for _ in range(20_000):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        pytest.fail("70 MB were taken")


def test_what_strangers_send_is_no_error_of_the_master(master: Master) -> None:
    for text in (b'451-["x",{"_placeholder":true,"num":0}]', b"9abc", b'42{"a"', b"4\xc3\xa9"):
        stranger = Stranger(master.url)
        stranger._socket.sock.sendall(frame(text))
    with contextlib.suppress(OSError):
        master.request("/socket.io/?EIO=3&transport=polling")
    master.wait_for_line(r"WARNING\] - \[library ")
    assert master.stop() == 0
    assert "ERROR" not in master.output()
    assert "traceback=" not in master.output()


def test_a_body_of_unknown_length_is_refused(asked: Master) -> None:
    headers = {"Transfer-Encoding": "chunked"}
    assert asked.request("/restore/1", method="POST", headers=headers)[0] == 411


def test_sigterm_while_a_polling_session_is_being_closed(master: Master) -> None:
    """What the library still lists as a session may be closed already."""
    path = "/socket.io/?EIO=4&transport=polling"
    for _ in range(20):
        with contextlib.closing(http.client.HTTPConnection(master.url.removeprefix("http://"))) as line:
            line.request("GET", path)
            session = re.search(rb'"sid":"([^"]+)"', line.getresponse().read())
            assert session
            line.request("POST", f"{path}&sid={session[1].decode()}", b"\x1e".join([b"1"] * 16))
            line.getresponse().read()
    assert master.stop() == 0, master.output()
    assert "Traceback" not in master.output()


def test_strangers_that_are_silent_are_ended(master: Master) -> None:
    """Whether they have sent nothing, half a request, opened a websocket, or connected without a join."""
    address = ("127.0.0.1", int(master.url.rpartition(":")[2]))
    began = time.monotonic()
    silent, half = socket.create_connection(address), socket.create_connection(address)
    half.sendall(b"GET / HTTP/1.1\r\nHost: local")
    unjoined = Stranger(master.url)
    for sock in (silent, half, unjoined._socket.sock):
        assert drained(sock)
    assert time.monotonic() - began > 3, "they had no time at all"


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_worker_that_has_joined_stays(master: Master, workers: MakeWorker, transport: str) -> None:
    worker = workers(master, 1, [2], transport=transport).join()
    worker.ping_every(0.5)
    stays(lambda: worker.client.connected and "1" in master.state()["active"], 7)


def test_numbers_beyond_the_nodes_are_refused(master: Master, workers: MakeWorker) -> None:
    worker = workers(master, 10, [2])
    worker.client.connect(master.url, transports=["websocket"])
    reply = worker.client.call("join", worker.told, timeout=PATIENCE_S)
    assert "--nodes" in reply["error"]
    wait_until(lambda: not worker.client.connected, "the connection ends")
    master.wait_for_line(r"WARNING\] - \[join_refused node=10 .*--nodes")
    assert "10" not in master.state()["active"]


def test_a_refused_join_ends_with_socket_io_s_disconnect_which_workers_report_as_a_refusal(
    asked: Master,
) -> None:
    stranger = Stranger(asked.url)
    stranger.send('421["join",{"NODE_ID":10,"neighbors":[],"system":"x"}]')
    assert stranger._socket.recv().startswith('431[{"accepted":false,')
    assert stranger._socket.recv() == "41"


@pytest.mark.parametrize("change", [{"primary_ip": "10.9.0.77"}, {"system": "another"}])
def test_a_number_that_is_alive_elsewhere_is_refused_and_the_live_one_keeps_its_place(
    master: Master, trio: list[Worker], workers: MakeWorker, change: dict
) -> None:
    rival = workers(master, 2, [1, 3])
    rival.told.update({"primary_ip": trio[1].ip, **change})
    rival.client.connect(master.url, transports=["websocket"])
    reply = rival.client.call("join", rival.told, timeout=PATIENCE_S)
    assert "node 2 is alive" in reply["error"]
    wait_until(lambda: not rival.client.connected, "the rival's connection ends")
    master.wait_for_line(r"WARNING\] - \[join_refused node=2 .*is alive")
    assert trio[1].client.connected
    trio[1].close()
    assert trio[0].wait_for("recover")["ip"] == trio[1].ip


def test_another_nodes_address_and_a_changed_one_are_refused(
    master: Master, trio: list[Worker], workers: MakeWorker
) -> None:
    thief = workers(master, 4, [1], trio[1].ip)
    thief.client.connect(master.url, transports=["websocket"])
    assert "address of node 2" in thief.client.call("join", thief.told, timeout=PATIENCE_S)["error"]
    trio[2].told["primary_ip"] = "10.9.0.99"
    assert "new connection" in trio[2].client.call("join", trio[2].told, timeout=PATIENCE_S)["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:5000"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "evil.example@localhost"}, 421),
        ({"Host": "localhost"}, 200),
        ({"Host": "192.0.2.1:5000"}, 200),
        ({"Host": "[::1]:5000"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_only_known_hosts_and_the_same_origin(asked: Master, headers: dict, status: int) -> None:
    assert asked.request("/json", headers=headers)[0] == status


def test_no_jsonp_and_no_cors(asked: Master) -> None:
    assert asked.request("/socket.io/?EIO=4&transport=polling&j=0")[0] == 400
    sock = socket.create_connection(("127.0.0.1", int(asked.url.rpartition(":")[2])))
    sock.sendall(b"GET /json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert b"access-control" not in sock.makefile("rb").read().lower()


def test_pings_that_stop_and_go_on_have_the_order_withdrawn(master: Master, trio: list[Worker]) -> None:
    """Nothing is taken: the neighbor probes first, and is ordered to restore before it has answered."""
    trio[1].stop_pinging()
    order = trio[0].wait_for("recover")
    assert "2" in master.state()["inactive"]
    trio[1].ping()
    assert trio[0].wait_for("restore") == {"restore_node": 2}
    trio[0].fail(order, "withdrawn")
    stays(lambda: master.holder(2) is None and len(trio[0].events("recover")) == 1, 1)
    master.wait_for_line(r"INFO\] - \[takeover_withdrawn node=2 by=1 reason=.the node is back")


@pytest.mark.slow
def test_the_silent_node_is_asked_once_and_its_answer_lasts_for_its_own_rhythm(workers: MakeWorker) -> None:
    """One that pings rarely is not taken for dead between two pings."""
    with start_master("--dead-after", "1") as master:
        neighbor = workers(master, 1, [2]).join()
        neighbor.ping_every(0.2)
        slow = workers(master, 2, [1]).join()
        slow.ping()
        for _ in range(2):
            time.sleep(3)
            slow.ping()
        dead_before = len(neighbor.events("recover"))
        for _ in range(3):
            time.sleep(3)
            assert "2" in master.state()["active"]
            slow.ping()
        assert len(neighbor.events("recover")) == dead_before
        assert slow.events("ping request")
