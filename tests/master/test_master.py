"""The bundled master as a process, and workers spelled by hand on real Socket.IO clients."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import socketio
import websocket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lab.lateness import at_most
from tests.lab.ports import free_port
from tests.lab.processes import Master, Process, start_master, stays, wait_until
from tests.lab.redis_server import Several, needs_redis, start_several
from tests.lab.waiting import PATIENCE_S

MASK = "255.255.255.0"
LOG_LINE = re.compile(
    r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d{4}\] : \[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\] - \[.*\]"
)


class Worker:
    """A worker as the wire sees it. What it is told is collected; it answers only what the test has it answer."""

    def __init__(
        self, url: str, node: int, neighbors: list[int], ip: str | None, transport: str = "websocket"
    ) -> None:
        self.node, self.ip = node, ip
        self.told = {
            "system": f"host{node}",
            "NODE_ID": node,
            "neighbors": [str(n) for n in neighbors],
            "primary_ip": ip,
            "primary_netmask": ip and MASK,
            "secondary_ip": None,
            "secondary_netmask": None,
        }
        self.got: list[tuple[float, str, dict]] = []
        self.client = socketio.Client(reconnection=False, handle_sigint=False)
        self.client.on("*", lambda event, data: self.got.append((time.monotonic(), event, data)))
        self._url, self._transport = url, transport
        self._stop_pinging = threading.Event()

    def join(self, **changed: object) -> Worker:
        """Connect where it is not yet, and join; `changed` keys replace what is told, from now on."""
        if not self.client.connected:
            self.client.connect(self._url, transports=[self._transport], wait_timeout=PATIENCE_S)
        self.told.update(changed)
        assert self.client.call("join", self.told, timeout=PATIENCE_S) is None
        # it is acknowledged when it was heard, and of two masters the other may decide something before it counts;
        # a question to the same master is answered behind it
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self._url}/json", timeout=PATIENCE_S):
            return self

    def ping(self) -> None:
        assert self.client.call("ping", "2026-11-24 22:47:01.1234", timeout=PATIENCE_S) is None

    def ping_every(self, interval_s: float) -> None:
        def beat() -> None:
            while not self._stop_pinging.wait(interval_s):
                with contextlib.suppress(socketio.exceptions.SocketIOError):  # it is just closing
                    self.client.emit("ping", "2026-11-24 22:47:01.1234")

        threading.Thread(target=beat, daemon=True).start()

    def stop_pinging(self) -> None:
        self._stop_pinging.set()

    def events(self, event: str) -> list[dict]:
        return [data for _, name, data in self.got if name == event]

    def wait_for(self, event: str, count: int = 1, deadline_s: float = 15) -> dict:
        """The data of the `count`th such event."""
        wait_until(lambda: len(self.events(event)) >= count, f"{event} at node {self.node}", deadline_s)
        return self.events(event)[count - 1]

    def succeed(self, order: dict) -> None:
        self.told.update(secondary_ip=order["ip"], secondary_netmask=order["netmask"])
        self.client.emit("update node", {**self.told, "disconnected_node": order["disconnected_node"]})

    def fail(self, order: dict, error: str = "it cannot be") -> None:
        self.client.emit("update node", {**order, "error": error})

    def give_back(self, node: int, **more: object) -> None:
        self.told.update(secondary_ip=None, secondary_netmask=None)
        self.client.emit("restore node", {**self.told, "restore_node": node, "status": True, **more})

    def close(self) -> None:
        self._stop_pinging.set()
        # by polling the library waits 30 s for a thread of its own, with nothing more to do
        leaving = threading.Thread(target=self.client.disconnect, daemon=True)
        leaving.start()
        leaving.join(None if self._transport == "websocket" else 1)


@pytest.fixture(scope="module", params=["alone", pytest.param("two_on_redis", marks=needs_redis)])
def patient(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    """A master that waits a minute for pings, so that workers need none, and half a second for answers; or two that
    share their state, used in turn.
    """
    options = ("--dead-after", "60", "--order-timeout", "0.5")
    with contextlib.ExitStack() as stack:
        if request.param == "alone":
            master = stack.enter_context(start_master(*options))
        else:
            _, masters = stack.enter_context(start_several(tmp_path_factory.mktemp("redis"), *options))
            master = Several(masters)
        yield master
        assert master.stop() == 0
        for line in master.stderr:
            assert LOG_LINE.fullmatch(line), line
        assert not [line for line in master.stderr if "[fault" in line]


MakeWorker = Callable[..., Worker]
_numbers = itertools.count(10, 10)


@pytest.fixture
def workers() -> Iterator[MakeWorker]:
    """Makes workers; all are closed at the end, whatever happens."""
    made: list[Worker] = []

    def make(master: Master, node: int, neighbors: list[int], ip: str | None = "", **options: str) -> Worker:
        ip = f"10.{node // 250 % 250}.{node % 250}.9" if ip == "" else ip
        made.append(Worker(master.url, node, neighbors, ip, **options))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


class Trio:
    """Three workers of a master that others use too, with numbers and addresses of their own.

    The second one's neighbors are the first and the third, in this order.
    """

    def __init__(self, master: Master, make: MakeWorker) -> None:
        base = next(_numbers)
        self.master, self.make = master, make
        self.a, self.b, self.c = (
            make(master, node, neighbors).join()
            for node, neighbors in (
                (base + 1, [base + 2]),
                (base + 2, [base + 1, base + 3]),
                (base + 3, [base + 2]),
            )
        )

    @property
    def b_holder(self) -> int | None:
        holder = self.master.holder(self.b.node)
        return None if holder is None else int(holder)

    def b_held_by(self, worker: Worker) -> None:
        wait_until(lambda: self.b_holder == worker.node, f"node {self.b.node} held by {worker.node}")

    def b_held_by_nobody(self) -> None:
        wait_until(lambda: self.b_holder is None, f"node {self.b.node} held by nobody")

    def b_again(self) -> Worker:
        return self.make(self.master, self.b.node, [self.a.node, self.c.node], self.b.ip).join()


@pytest.fixture
def trio(patient: Master, workers: MakeWorker) -> Trio:
    return Trio(patient, workers)


def test_a_closed_connection_has_the_first_neighbor_ordered_in_the_form_of_the_protocol(trio: Trio) -> None:
    trio.b.close()
    assert trio.a.wait_for("recover") == {
        "disconnected_node": trio.b.node,
        "recovery_node": str(trio.a.node),
        "ip": trio.b.ip,
        "netmask": MASK,
        "active_neighbors": [str(trio.a.node), str(trio.c.node)],
    }
    trio.a.succeed(trio.a.events("recover")[0])
    trio.b_held_by(trio.a)
    state = trio.master.state()
    assert state["recovery_mapper"][str(trio.b.node)] == {
        "recovery_node": str(trio.a.node),
        "ip": trio.b.ip,
        "netmask": MASK,
        "giving_back": False,
    }
    assert str(trio.b.node) in state["inactive"]
    assert str(trio.a.node) in state["active"]
    assert trio.c.got == []


def test_the_next_neighbor_is_ordered_when_one_fails(trio: Trio) -> None:
    trio.b.close()
    trio.a.fail(trio.a.wait_for("recover"))
    order = trio.c.wait_for("recover")
    assert order["recovery_node"] == str(trio.c.node)
    trio.c.succeed(order)
    trio.b_held_by(trio.c)


def test_an_answer_without_secondary_ip_is_a_failure_even_without_an_error(trio: Trio) -> None:
    trio.b.close()
    trio.a.client.emit("update node", trio.a.wait_for("recover"))
    trio.c.wait_for("recover")


def test_the_next_neighbor_is_ordered_when_one_does_not_answer_and_that_one_is_told_to_stop(
    trio: Trio,
) -> None:
    closed = time.monotonic()
    trio.b.close()
    trio.a.wait_for("recover")
    trio.c.wait_for("recover")
    assert time.monotonic() - closed > 0.4
    assert trio.a.wait_for("restore") == {"restore_node": trio.b.node}


def test_the_next_neighbor_is_ordered_when_the_one_ordered_dies(trio: Trio) -> None:
    trio.b.close()
    trio.a.wait_for("recover")
    trio.a.close()
    trio.c.wait_for("recover")
    trio.master.wait_for_line(
        rf"takeover_withdrawn node={trio.b.node} by={trio.a.node} reason=.its connection is gone"
    )


def test_a_late_success_counts_and_the_one_ordered_meanwhile_is_told_to_stop(trio: Trio) -> None:
    trio.b.close()
    late = trio.a.wait_for("recover")
    trio.c.wait_for("recover")
    trio.a.succeed(late)
    assert trio.c.wait_for("restore") == {"restore_node": trio.b.node}
    trio.master.wait_for_line(rf"takeover_withdrawn node={trio.b.node} .* {trio.a.node} holds it already")
    trio.b_held_by(trio.a)


def test_a_neighbor_that_holds_something_comes_last_but_is_asked(trio: Trio, workers: MakeWorker) -> None:
    other = workers(trio.master, trio.b.node + 5, [trio.a.node]).join()
    other.close()
    trio.a.succeed(trio.a.wait_for("recover"))
    wait_until(lambda: trio.master.holder(other.node) == str(trio.a.node))
    trio.b.close()
    trio.c.fail(trio.c.wait_for("recover"))
    assert trio.a.wait_for("recover", 2)["disconnected_node"] == trio.b.node


def test_a_neighbor_that_comes_is_ordered_what_nobody_holds(trio: Trio) -> None:
    trio.a.close()
    trio.c.close()
    trio.b.close()
    wait_until(lambda: str(trio.b.node) in trio.master.state()["inactive"])
    again = trio.make(trio.master, trio.c.node, [trio.b.node]).join()
    assert again.wait_for("recover", deadline_s=2)["disconnected_node"] == trio.b.node


def test_the_holder_restores_when_the_node_is_back(trio: Trio) -> None:
    trio.b.close()
    trio.a.succeed(trio.a.wait_for("recover"))
    trio.b_held_by(trio.a)
    trio.b_again()
    assert trio.a.wait_for("restore") == {"restore_node": trio.b.node}
    assert trio.master.state()["recovery_mapper"][str(trio.b.node)]["giving_back"] is True
    trio.a.give_back(trio.b.node)
    trio.b_held_by_nobody()
    assert str(trio.b.node) in trio.master.state()["active"]
    stays(lambda: len(trio.a.events("recover")) == 1, 0.2, "no new order for a node that is back")


@pytest.mark.slow
def test_restore_is_said_again_until_it_is_answered_with_success(trio: Trio) -> None:
    trio.b.close()
    trio.a.succeed(trio.a.wait_for("recover"))
    trio.b_held_by(trio.a)
    trio.b_again()
    trio.a.client.emit(
        "restore node", {**trio.a.wait_for("restore"), "status": False, "error": "no right to"}
    )
    trio.a.wait_for("restore", 2, deadline_s=7)
    assert trio.b_holder == trio.a.node
    trio.a.give_back(trio.b.node)
    trio.b_held_by_nobody()


@pytest.mark.slow
def test_it_elects_again_after_five_seconds(trio: Trio) -> None:
    trio.b.close()
    trio.a.fail(trio.a.wait_for("recover"))
    trio.c.fail(trio.c.wait_for("recover"))
    trio.a.wait_for("recover", 2, deadline_s=7)


def test_an_order_that_waits_when_the_node_comes_back_is_withdrawn(trio: Trio) -> None:
    trio.b.close()
    order = trio.a.wait_for("recover")
    trio.b_again()
    assert trio.a.wait_for("restore") == {"restore_node": trio.b.node}
    trio.a.succeed(order)  # it crossed the restore on its way
    trio.a.wait_for("restore", 2)
    trio.a.give_back(trio.b.node)
    trio.b_held_by_nobody()


def test_a_holder_that_dies_is_replaced(trio: Trio) -> None:
    trio.b.close()
    trio.a.succeed(trio.a.wait_for("recover"))
    trio.b_held_by(trio.a)
    trio.a.close()
    trio.c.succeed(trio.c.wait_for("recover"))
    trio.b_held_by(trio.c)


def test_a_holder_that_stops_is_replaced(trio: Trio) -> None:
    trio.b.close()
    order = trio.a.wait_for("recover")
    trio.a.succeed(order)
    trio.b_held_by(trio.a)
    trio.a.fail(order, "stopping")
    trio.c.succeed(trio.c.wait_for("recover"))
    trio.b_held_by(trio.c)


@pytest.mark.slow
def test_a_holder_that_lets_go_because_it_saw_the_owner_leaves_the_address_to_the_next(trio: Trio) -> None:
    trio.b.close()
    trio.a.succeed(trio.a.wait_for("recover"))
    trio.b_held_by(trio.a)
    trio.a.give_back(trio.b.node, reason="claimed by 02:fc:00:00:00:02")
    trio.b_held_by_nobody()
    stays(lambda: trio.c.events("recover") == [], 1, "its owner's worker has had no time to start")
    trio.c.wait_for("recover", deadline_s=30)


def test_a_holder_that_joins_again_without_the_address_holds_it_no_more(trio: Trio) -> None:
    trio.b.close()
    trio.a.succeed(trio.a.wait_for("recover"))
    trio.b_held_by(trio.a)
    trio.a.join(secondary_ip=None, secondary_netmask=None)
    trio.a.wait_for("recover", 2)


def test_two_connections_of_one_node_the_newer_counts(trio: Trio) -> None:
    newer = trio.b_again()
    trio.b.close()
    stays(lambda: trio.a.got == [] and trio.c.got == [], 0.3, "the older connection's end is no death")
    assert str(trio.b.node) in trio.master.state()["active"]
    newer.close()
    trio.a.wait_for("recover")


def test_when_the_newer_of_two_connections_closes_the_older_one_counts_again(trio: Trio) -> None:
    newer = trio.b_again()
    newer.close()
    stays(lambda: trio.a.got == [], 0.3, "a live node's address was ordered")
    assert str(trio.b.node) in trio.master.state()["active"]


@pytest.mark.parametrize("way", ["secondary_ip", "held"])
def test_a_master_that_was_restarted_learns_from_the_holder(
    patient: Master, workers: MakeWorker, way: str
) -> None:
    base = next(_numbers)
    owner = workers(patient, base + 2, [base + 1])
    told = {"secondary_ip": owner.ip, "secondary_netmask": MASK}
    if way == "held":
        told = {"secondary_ip": "10.200.0.1", "secondary_netmask": MASK, "held": {str(owner.node): owner.ip}}
    holder = workers(patient, base + 1, [base + 2]).join(**told)
    stays(lambda: holder.got == [], 0.2, "there is no reason to give it back yet")
    owner.join()
    assert holder.wait_for("restore") == {"restore_node": owner.node}
    holder.give_back(owner.node)
    wait_until(lambda: patient.holder(owner.node) is None)


def test_a_holder_that_joins_after_its_owner_gives_back_at_once(patient: Master, workers: MakeWorker) -> None:
    base = next(_numbers)
    owner = workers(patient, base + 2, [base + 1]).join()
    holder = workers(patient, base + 1, [base + 2]).join(secondary_ip=owner.ip, secondary_netmask=MASK)
    assert holder.wait_for("restore") == {"restore_node": owner.node}


def test_a_second_holder_is_told_to_let_go(trio: Trio) -> None:
    trio.b.close()
    trio.a.succeed(trio.a.wait_for("recover"))
    trio.b_held_by(trio.a)
    trio.c.join(secondary_ip=trio.b.ip, secondary_netmask=MASK)
    assert trio.c.wait_for("restore") == {"restore_node": trio.b.node}
    assert trio.b_holder == trio.a.node


def test_given_back_by_hand_it_stays_free_until_its_owner_was_back(trio: Trio) -> None:
    assert trio.master.request(f"/restore/{trio.b.node}", "POST")[0] == 409
    trio.b.close()
    trio.a.succeed(trio.a.wait_for("recover"))
    trio.b_held_by(trio.a)
    assert trio.master.request(f"/restore/{trio.b.node}", "POST") == (
        200,
        {"restore_node": trio.b.node, "recovery_node": str(trio.a.node)},
    )
    assert trio.a.wait_for("restore") == {"restore_node": trio.b.node}
    trio.a.give_back(trio.b.node)
    trio.b_held_by_nobody()
    trio.a.join()
    stays(lambda: len(trio.a.events("recover")) == 1 and trio.c.got == [], 0.3, "taken again")
    back = trio.b_again()
    back.close()
    trio.a.wait_for("recover", 2)


def test_an_order_can_be_withdrawn_by_hand(trio: Trio) -> None:
    trio.b.close()
    trio.a.wait_for("recover")
    assert trio.master.request(f"/restore/{trio.b.node}", "POST")[1]["recovery_node"] == str(trio.a.node)
    assert trio.a.wait_for("restore") == {"restore_node": trio.b.node}


def test_requests_that_do_not_fit(patient: Master) -> None:
    assert patient.request("/restore/9998", "POST")[0] == 404
    assert patient.request("/restore/0", "POST")[0] == 404
    assert patient.request("/restore/x", "POST")[0] == 404
    assert patient.request("/restore/9998")[0] == 405
    assert patient.request("/json", "POST")[0] == 405
    assert patient.request("/elsewhere")[0] == 404
    assert patient.request("/restore/9998", "POST", {"Origin": "http://elsewhere.example"})[0] == 403


def test_numbers_as_text_and_a_node_without_an_address(patient: Master, workers: MakeWorker) -> None:
    base = next(_numbers)
    neighbor = workers(patient, base + 1, [base + 2]).join(NODE_ID=str(base + 1), neighbors=[base + 2])
    protected = workers(patient, base + 2, [base + 1]).join(NODE_ID=str(base + 2))
    unprotected = workers(patient, base + 3, [base + 1], None).join()
    patient.wait_for_line(rf"node_unprotected node={base + 3}\b")
    unprotected.close()
    wait_until(lambda: str(base + 3) in patient.state()["inactive"])
    assert neighbor.got == []
    protected.close()
    neighbor.wait_for("recover")


def test_polling_is_served_too(patient: Master, workers: MakeWorker) -> None:
    base = next(_numbers)
    neighbor = workers(patient, base + 1, [base + 2], transport="polling").join()
    neighbor.ping()
    assert neighbor.client.transport() == "polling"
    workers(patient, base + 2, [base + 1]).join().close()
    neighbor.wait_for("recover")


def test_silence_of_dead_after_is_death_and_a_ping_brings_the_node_back(
    workers: MakeWorker,
) -> None:
    with start_master("--dead-after", "1") as master:
        a = workers(master, 1, [2]).join()
        b = workers(master, 2, [1]).join()
        a.ping_every(0.05)
        late = []
        for death in range(1, 4):
            for _ in range(3):
                silent_since = time.monotonic()  # the master hears the ping before its answer is here
                b.ping()  # a quick rhythm: the answer to the master's question does not prolong its life
            a.wait_for("recover", death)
            late.append([at for at, event, _ in a.got if event == "recover"][-1] - silent_since - 1)
            b.ping()  # on the same connection: it was only frozen
            assert a.wait_for("restore", death) == {"restore_node": 2}
        assert min(late) > -0.05, late


def test_a_holder_that_only_fell_silent_finds_a_restore_when_it_wakes(workers: MakeWorker) -> None:
    with start_master("--dead-after", "1") as master:
        a, b, c = (workers(master, n, neighbors).join() for n, neighbors in ((1, [2]), (2, [1, 3]), (3, [2])))
        a.ping_every(0.1)
        c.ping_every(0.1)
        b.close()
        a.succeed(a.wait_for("recover"))
        wait_until(lambda: master.holder(2) == "1")
        a.stop_pinging()
        assert c.wait_for("recover")["disconnected_node"] == 2
        assert a.wait_for("restore") == {"restore_node": 2}


def test_a_frozen_master_evicts_nobody_when_it_goes_on(workers: MakeWorker) -> None:
    with start_master("--dead-after", "2") as master:
        steady = [workers(master, n, [m for m in (1, 2, 3) if m != n]).join() for n in (1, 2)]
        impatient = workers(master, 3, [1, 2]).join()
        for worker in steady:
            worker.ping_every(0.1)
        master.freeze()
        time.sleep(2.5)  # longer than --dead-after
        threading.Thread(target=impatient.close, daemon=True).start()
        again = workers(master, 3, [1, 2])
        joining = threading.Thread(target=again.join, daemon=True)
        joining.start()
        time.sleep(0.1)
        master.thaw()
        joining.join(10)
        again.ping_every(0.1)
        master.wait_for_line("resumed")
        stays(lambda: len(master.state()["active"]) == 3, 2.2)
        assert [w.events("recover") for w in (*steady, again)] == [[], [], []]
        again.close()
        steady[0].wait_for("recover", deadline_s=3)


def test_the_token_guards_workers_and_restore(workers: MakeWorker) -> None:
    with start_master(token="s3cret-één") as master:
        for auth in (
            None,
            {},
            "s3cret-één",
            ["token"],
            {"token": "wrong"},
            {"token": None},
            {"token": ["s3cret-één"]},
        ):
            reasons: list[object] = []
            client = socketio.Client(reconnection=False, handle_sigint=False)
            client.on("connect_error", reasons.append)
            with pytest.raises(socketio.exceptions.ConnectionError):
                client.connect(master.url, transports=["websocket"], auth=auth, wait_timeout=PATIENCE_S)
            assert "token" in str(reasons), auth
            client.disconnect()
        client.connect(
            master.url,
            transports=["websocket"],
            auth={"token": "s3cret-één", "NODE_ID": 1},
            wait_timeout=PATIENCE_S,
        )
        client.disconnect()
        assert master.request("/restore/1", "POST")[0] == 401
        assert master.request("/restore/1", "POST", {"Authorization": "Bearer wrong"})[0] == 401
        assert master.request("/json")[0] == 401
        assert master.request("/healthz")[0] == 200
        assert "s3cret" not in master.output()
    with start_master(token="s3cret") as master:
        assert master.request("/restore/1", "POST", {"Authorization": "Bearer s3cret"})[0] == 404


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_with_exit_0(workers: MakeWorker, number: int) -> None:
    with start_master() as master:
        workers(master, 1, [2]).join()
        with at_most(2.0):
            master.signal(number)
            assert master.wait() == 0


def test_a_port_in_use_is_one_clear_line_and_exit_1() -> None:
    with start_master() as first:
        port = first.url.rpartition(":")[2]
        with Process([*_command(), "--port", port]) as second:
            assert second.wait() == 1
            assert second.stdout == []
            (line,) = second.stderr
            assert port in line
            assert "--port" in line


@pytest.mark.parametrize(
    "options", [["--dead-after", "nan"], ["--dead-after", "0"], ["--port", "70000"], ["--nodes", "x"]]
)
def test_a_wrong_option_is_named(options: list[str]) -> None:
    with Process([*_command(), *options]) as process:
        assert process.wait() == 2
        assert options[0] in process.stderr[-1]


def test_it_warns_when_it_listens_to_others_without_a_token() -> None:
    with start_master("--host", "0.0.0.0") as master:
        master.wait_for_line("WARNING.*MASTER_TOKEN")
    with start_master("--host", "0.0.0.0", token="x") as master:
        assert master.stop() == 0
        assert not [line for line in master.stderr if "INFO" not in line]
    with start_master() as master:
        assert master.stop() == 0
        assert not [line for line in master.stderr if "INFO" not in line]


def _command() -> list[str]:
    import sys

    return [sys.executable, "-m", "master", "serve"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KEYS = (
    "NODE_ID system neighbors primary_ip primary_netmask secondary_ip held disconnected_node restore_node status reason error"
).split()
PLAUSIBLE = st.sampled_from(
    [
        1,
        "2",
        9000,
        "9001",
        0,
        -1,
        10**30,
        True,
        None,
        "10.9.0.2",
        "10.9.0.2/24",
        MASK,
        "::1",
        {"9001": "10.9.0.2"},
        ["9002"],
    ]
)
NEARLY = st.dictionaries(st.sampled_from(KEYS), PLAUSIBLE | JSON, max_size=len(KEYS))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    event=st.sampled_from(["join", "ping", "update node", "restore node", "recover", "*", ""]),
    data=JSON | NEARLY,
)
def test_no_payload_is_too_strange(patient: Master, stranger: Stranger, event: str, data: object) -> None:
    stranger.send_and_hear(f"42{{id}}{json.dumps([event, data])}")


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "4",
        "42",
        "42[]",
        "42{}",
        '42[{"a":1}]',
        '42[["join"],1]',
        "42[null]",
        '42["connect",{}]',
        '42["disconnect"]',
        '42["join"]',
        '42["join",1,2,3]',
        '42["join",' + "[" * 50_000,
        '42["join",' + "9" * 5000 + "]",
        '42["join","' + "x" * 5_000_000 + '"]',
        '451-["join",{"_placeholder":true,"num":7}]',
        "459999999999-[]",
        "44{}",
        "49",
        "40/other,",
        "9",
        b"\x00\xff",
    ],
    ids=lambda frame: repr(frame)[:20],
)
def test_no_frame_ends_it(patient: Master, frame: str | bytes) -> None:
    """A frame that is no Socket.IO may cost its sender the connection, and nobody else anything."""
    stranger = Stranger(patient.url)
    bystander = Stranger(patient.url)
    try:
        stranger.send(frame)
        bystander.send_and_hear('42{id}["ping","x"]')
        Stranger(patient.url).close()
    finally:
        stranger.close()
        bystander.close()


class Stranger:
    """A bare WebSocket that speaks as much Engine.IO as is needed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._acknowledgements = itertools.count(1)
        self._socket = websocket.create_connection(
            url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket",
            timeout=PATIENCE_S,
            http_no_proxy=["*"],
        )
        assert self._socket.recv().startswith("0{")
        self._socket.send("40")
        assert self._socket.recv().startswith("40{")

    def send(self, frame: str | bytes) -> None:
        send = self._socket.send_binary if isinstance(frame, bytes) else self._socket.send
        try:
            send(frame)
        except (OSError, websocket.WebSocketException):
            pass  # it was cut off in the middle of what it sent, as it should be

    def send_and_hear(self, frame: str) -> None:
        """Send an event for which an acknowledgement is asked, and wait for it, or for the end of the connection."""
        number = next(self._acknowledgements)
        try:
            self._socket.send(frame.replace("{id}", str(number), 1))
            while True:
                answer = self._socket.recv()
                if answer == "2":
                    self._socket.send("3")
                if answer == "41":
                    raise ConnectionResetError
                if answer.startswith(f"43{number}["):
                    (*reply,) = json.loads(answer[len(f"43{number}") :])
                    assert reply == [] or reply[0].keys() == {"accepted", "error"}, answer
                    return
        except (OSError, websocket.WebSocketException):
            self.__init__(self._url)

    def close(self) -> None:
        self._socket.shutdown()


@pytest.fixture
def stranger(patient: Master) -> Iterator[Stranger]:
    stranger = Stranger(patient.url)
    yield stranger
    stranger.close()


def test_a_free_port_is_free() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass
