"""The master's decisions alone: random histories of workers that come, die, freeze, obey, refuse and lose things."""

from __future__ import annotations

import itertools
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from master import messages
from master.cluster import ASK, ROUND_S, Cluster, NotHeldError
from master.state import StateError, decode, encode

DEAD_AFTER, ORDER_TIMEOUT = 5.0, 40.0
NEIGHBORS = {1: [2, 4], 2: [1, 3], 3: [2, 4], 4: [3, 1]}
numbers = st.sampled_from(sorted(NEIGHBORS))


class Worker:
    """What a node's worker does and really holds, whatever the master believes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.sid: str | None = None
        self.holds: list[int] = []
        """Newest last."""

    def told(self) -> dict:
        newest = f"10.9.0.{self.holds[-1]}" if self.holds else None
        told = {
            "system": "host",
            "NODE_ID": self.number,
            "neighbors": [str(n) for n in NEIGHBORS[self.number]],
            "primary_ip": f"10.9.0.{self.number}",
            "primary_netmask": "255.255.255.0",
            "secondary_ip": newest,
            "secondary_netmask": newest and "255.255.255.0",
        }
        if len(self.holds) > 1:
            told["held"] = {str(n): f"10.9.0.{n}" for n in self.holds}
        return told


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.cluster = Cluster(self.receive, DEAD_AFTER, ORDER_TIMEOUT, self.now)
        self.workers = {n: Worker(n) for n in NEIGHBORS}
        self.mail: dict[str, deque[tuple[str, dict]]] = {}
        """What is under way to each open connection."""
        self.orders: dict[int, str] = {}
        """Where the open order for each node went, as the workers see it."""
        self.sids = (f"sid{i}" for i in itertools.count())

    def receive(self, sid: str, event: str, data: dict) -> None:
        """The master sends: this is where its promises are held against it."""
        if event == "recover":
            node = data["disconnected_node"]
            assert node not in self.orders, f"a second order for {node}"
            assert sid in self.mail, "an order to a connection that is closed"
            assert self.workers[int(data["recovery_node"])].sid == sid
            assert str(node) in self.cluster.as_json()["inactive"], "an order for a live node"
            self.orders[node] = sid
        elif event == "restore" and self.orders.get(data["restore_node"]) == sid:
            del self.orders[data["restore_node"]]
        if sid in self.mail and event != ASK:
            self.mail[sid].append((event, data))

    def join(self, worker: Worker) -> None:
        for node in worker.holds:
            if self.orders.get(node) == worker.sid:
                del self.orders[node]  # to say that it is held answers the order
        self.cluster.joined(worker.sid or "", messages.join(worker.told()), self.now)

    def answer_recover(self, worker: Worker, node: int, success: bool) -> None:
        if self.orders.get(node) == worker.sid:
            del self.orders[node]
        answer = (
            {**worker.told(), "disconnected_node": node}
            if success
            else {"disconnected_node": node, "error": "no"}
        )
        self.cluster.answered_recover(worker.sid or "", messages.recover_answer(answer), self.now)

    def read_one(self, worker: Worker, willing: bool) -> None:
        event, data = self.mail[worker.sid or ""].popleft()
        if event == "recover":
            node = data["disconnected_node"]
            if willing and node not in worker.holds:
                worker.holds.append(node)
            self.answer_recover(worker, node, node in worker.holds)
        else:
            node = data["restore_node"]
            if willing and node in worker.holds:
                worker.holds.remove(node)
            answer = {"restore_node": node, "status": node not in worker.holds}
            self.cluster.answered_restore(worker.sid or "", messages.restore_answer(answer), self.now)

    def close(self, worker: Worker) -> None:
        sid, worker.sid = worker.sid or "", None
        del self.mail[sid]
        self.orders = {node: at for node, at in self.orders.items() if at != sid}
        self.cluster.left(sid, self.now)

    def pass_time(self, seconds: float, pinging: set[int]) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            for worker in self.workers.values():
                if worker.sid and worker.number in pinging:
                    self.cluster.pinged(worker.sid, self.now)
            self.cluster.tick(self.now)

    @rule(number=numbers, kept=st.booleans())
    def connects(self, number: int, kept: bool) -> None:
        """A worker starts, or connects anew while its old connection is not known to be gone."""
        worker = self.workers[number]
        if worker.sid:
            self.mail[worker.sid].clear()
            self.orders = {node: at for node, at in self.orders.items() if at != worker.sid}
        old, worker.sid = worker.sid, next(self.sids)
        if not kept:
            worker.holds.clear()
        self.mail[worker.sid] = deque()
        self.join(worker)
        if old:
            del self.mail[old]
            self.cluster.left(old, self.now)

    @rule(number=numbers, lapsed=st.booleans())
    def dies(self, number: int, lapsed: bool) -> None:
        worker = self.workers[number]
        if worker.sid:
            self.close(worker)
        if lapsed:
            worker.holds.clear()

    @rule(number=numbers)
    def joins_again(self, number: int) -> None:
        if self.workers[number].sid:
            self.join(self.workers[number])

    @rule(willing=st.sets(numbers))
    def everybody_reads(self, willing: set[int]) -> None:
        self.all_read(willing)

    @rule(number=numbers, willing=st.booleans())
    def reads(self, number: int, willing: bool) -> None:
        worker = self.workers[number]
        if worker.sid and self.mail[worker.sid]:
            self.read_one(worker, willing)

    @rule(number=numbers)
    def loses(self, number: int) -> None:
        worker = self.workers[number]
        if worker.sid and worker.holds:
            node = worker.holds.pop()
            self.answer_recover(worker, node, success=False)

    @rule(seconds=st.floats(0.1, 60), pinging=st.sets(numbers))
    def time_passes(self, seconds: float, pinging: set[int]) -> None:
        self.pass_time(seconds, pinging)

    @rule(seconds=st.floats(1, 100))
    def master_is_frozen(self, seconds: float) -> None:
        before = self.cluster.as_json()["active"].keys()
        self.now += seconds
        self.cluster.resumed(self.now, seconds)
        self.cluster.tick(self.now)
        assert self.cluster.as_json()["active"].keys() == before, "evicted for the master's own silence"

    @rule(number=numbers)
    def given_back_by_hand(self, number: int) -> None:
        try:
            self.cluster.give_back(number)
        except (KeyError, NotHeldError):
            assert str(number) not in self.cluster.as_json()["recovery_mapper"]

    def all_read(self, willing: set[int]) -> None:
        for _ in range(100):
            reading = [worker for worker in self.workers.values() if worker.sid and self.mail[worker.sid]]
            if not reading:
                return
            for worker in reading:
                restores = self.mail[worker.sid or ""][0][0] == "restore"
                self.read_one(worker, restores or worker.number in willing)
        raise AssertionError("the master never tires of asking the same ones")

    @rule(willing=st.sets(numbers))
    def all_is_calm(self, willing: set[int]) -> None:
        """Workers ping, read all and give back; those that are willing take: every address finds its place."""
        self.pass_time(DEAD_AFTER, set(NEIGHBORS))  # what a freeze has put off is over
        for worker in self.workers.values():
            if worker.sid:
                self.join(worker)
        for _ in range(int(3 * ROUND_S)):
            self.pass_time(1, set(NEIGHBORS))
            self.all_read(willing)
        state = self.cluster.as_json()
        for worker in self.workers.values():
            node = str(worker.number)
            holders = [w.number for w in self.workers.values() if w.sid and worker.number in w.holds]
            if node in state["active"]:
                assert worker.sid
                assert holders == []
                assert node not in state["recovery_mapper"]
            elif node in state["inactive"]:
                assert len(holders) <= 1
                believed = state["recovery_mapper"].get(node, {}).get("recovery_node")
                assert [believed] == [str(h) for h in holders] or (believed is None and not holders)
                neighbors = [n for n in NEIGHBORS[worker.number] if n in willing and self.workers[n].sid]
                if neighbors and state["inactive"][node]["primary_netmask"]:
                    assert holders or state["inactive"][node]["set_aside"]

    @invariant()
    def what_it_says_is_possible(self) -> None:
        state = self.cluster.as_json()
        assert not state["active"].keys() & state["inactive"].keys()
        for node, held in state["recovery_mapper"].items():
            assert held["recovery_node"] in state["active"], "a dead holder"
            assert held["recovery_node"] != node
        for node, shown in state["active"].items():
            assert shown["ordered"] is None, f"an order is open for live node {node}"
        for shown in state["inactive"].values():
            assert shown["ordered"] is None or shown["ordered"] in state["active"]
        assert self.cluster.next_due() <= self.now + ROUND_S + 0.001

    @precondition(lambda self: self.orders)
    @invariant()
    def open_orders_are_the_masters(self) -> None:
        state = self.cluster.as_json()["inactive"]
        for node, sid in self.orders.items():
            by = next(w.number for w in self.workers.values() if w.sid == sid)
            assert state[str(node)]["ordered"] == str(by), (
                f"node {by} works on an order that the master forgot"
            )


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


class Written(Cluster):
    """One whose state is written as text and read back before each call, as several masters do."""

    def __getattribute__(self, name: str) -> object:
        if not name.startswith("_") and name not in (
            "load",
            "state",
            "members",
            "leads",
            "conflicts",
        ):
            state = self.state
            read = decode(encode(state, lambda _: False), 0.0)
            for number, member in read.members.items():
                for connection, before in zip(member.connections, state.members[number].connections):
                    connection.pulse = before.pulse
            for number, takeover in read.takeovers.items():
                if takeover.order:
                    takeover.order.since = state.takeovers[number].order.since
            assert read == state
            self.load(read)
        return super().__getattribute__(name)


class WrittenHistories(Histories):
    def __init__(self) -> None:
        super().__init__()
        self.cluster = Written(self.receive, DEAD_AFTER, ORDER_TIMEOUT, self.now)


TestWrittenHistories = WrittenHistories.TestCase
TestWrittenHistories.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"form": 2}', '{"form": 3, "members": 5, "takeovers": {}}']
)
def test_a_text_that_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(StateError):
        decode(text, 0.0)


def test_a_silent_connection_stays_silent_whoever_reads_of_it() -> None:
    cluster = Cluster(lambda *_: None, DEAD_AFTER, ORDER_TIMEOUT, 0)
    cluster.joined("sid", messages.join(Worker(1).told()), 0)
    for now, silent in ((DEAD_AFTER - 1, False), (DEAD_AFTER, True)):
        text = encode(cluster.state, lambda c, now=now: cluster.members.is_silent(c, now))
        (connection,) = decode(text, 1000.0).members[1].connections
        assert connection.pulse.seen == (float("-inf") if silent else 1000.0)


def test_a_connection_to_a_master_that_is_gone_counts_only_while_it_is_the_newest_and_gets_no_order() -> None:
    sent: list[tuple[str, str]] = []
    cluster = Cluster(lambda sid, event, _: sent.append((sid, event)), DEAD_AFTER, ORDER_TIMEOUT, 0)
    for node in (1, 2):
        cluster.joined(f"sid{node}", messages.join(Worker(node).told()), 0)
    cluster.members.get(1).connections[0].is_reachable = False
    cluster.left("sid2", 1)
    assert cluster.as_json()["active"].keys() == {"1"}
    assert sent == []
    cluster.joined("new1", messages.join(Worker(1).told()), 2)
    assert sent == [("new1", "recover")]
    cluster.left("new1", 3)
    assert cluster.as_json()["active"].keys() == set()


def test_after_a_freeze_a_closed_connection_is_no_death_yet_but_gets_no_orders() -> None:
    sent: list[tuple[str, str]] = []
    cluster = Cluster(lambda sid, event, _: sent.append((sid, event)), DEAD_AFTER, ORDER_TIMEOUT, 0)
    for node in (1, 2):
        cluster.joined(f"sid{node}", messages.join(Worker(node).told()), 0)
    cluster.resumed(100, 98)
    cluster.pinged("sid1", 103)
    cluster.left("sid1", 104)
    cluster.tick(105)
    assert cluster.as_json()["active"].keys() == {"1"}
    assert cluster.as_json()["inactive"].keys() == {"2"}
    assert sent == [("sid2", ASK)]
    cluster.joined("sid3", messages.join(Worker(1).told()), 106)
    assert sent[1:] == [("sid3", "recover")]


def test_after_a_short_freeze_a_closed_connection_is_no_death_either() -> None:
    """Workers with a short patience close theirs while the master stands still, and come back at once."""
    sent: list[tuple[str, str]] = []
    cluster = Cluster(lambda sid, event, _: sent.append((sid, event)), DEAD_AFTER, ORDER_TIMEOUT, 0)
    for node in (1, 2):
        cluster.joined(f"sid{node}", messages.join(Worker(node).told()), 0)
    now = DEAD_AFTER * 0.6
    cluster.resumed(now, DEAD_AFTER * 0.5)
    for node in (1, 2):
        cluster.left(f"sid{node}", now)
    assert cluster.as_json()["active"].keys() == {"1", "2"}
    for node in (1, 2):
        cluster.joined(f"new{node}", messages.join(Worker(node).told()), now + 0.1)
    assert sent == []


def test_standing_still_again_and_again_hides_no_death() -> None:
    sent: list[tuple[str, str]] = []
    cluster = Cluster(lambda sid, event, _: sent.append((sid, event)), DEAD_AFTER, ORDER_TIMEOUT, 0)
    for node in (1, 2, 3):
        cluster.joined(f"sid{node}", messages.join(Worker(node).told()), 0)
    cluster.left("sid3", 0.5)
    assert cluster.as_json()["inactive"].keys() == {"3"}, "closed, with no long freeze before"
    now = 0.5
    while now < 2.2 * DEAD_AFTER:  # half of the time is the master's own
        now += DEAD_AFTER / 10
        cluster.resumed(now, DEAD_AFTER / 20)
        cluster.pinged("sid1", now)
        cluster.tick(now)
    assert cluster.as_json()["active"].keys() == {"1"}


GOOD = {
    "system": "host",
    "NODE_ID": 3,
    "neighbors": ["2", "6"],
    "primary_ip": "10.9.0.3",
    "primary_netmask": "255.255.255.0",
    "secondary_ip": None,
    "secondary_netmask": None,
}


def test_a_join_is_read() -> None:
    join = messages.join(
        {**GOOD, "neighbors": ["2", 6, "3", 2], "held": {"2": "10.9.0.2/24"}, "more": object()}
    )
    assert join == messages.Join(3, "host", (2, 6), "10.9.0.3", "255.255.255.0", None, {2: "10.9.0.2"})


@pytest.mark.parametrize("missing", ["primary_ip", "primary_netmask"])
def test_half_an_address_is_none(missing: str) -> None:
    join = messages.join({**GOOD, missing: None})
    assert (join.ip, join.netmask) == (None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {"NODE_ID": value}
            for value in (None, 0, -1, True, 3.0, "", "-3", "3 ", "٣", 10_000, "99999999999", [3], {})
        ),
        *({"neighbors": value} for value in (None, "2", {"2": 1}, [None], ["x"], [[2]], ["2"] * 65)),
        *(
            {"primary_ip": value}
            for value in (5, "", "10.9.0", "10.9.0.300", "::1", "10.9.0.3\n", ["10.9.0.3"])
        ),
        *({"primary_netmask": value} for value in (24, "", "255.0.255.0", "33", "x" * 1000)),
        *({"secondary_ip": value} for value in (True, "x", {})),
        *(
            {"held": value}
            for value in ([], "2", {"x": "10.9.0.2"}, {"2": 5}, {str(n): "10.9.0.2" for n in range(1, 99)})
        ),
    ],
)
def test_a_wrong_join_is_refused_with_what_is_wrong_in_one_short_line(wrong: dict) -> None:
    with pytest.raises(messages.MessageError) as caught:
        messages.join({**GOOD, **wrong})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "data", [None, 5, "x", [], {}, {"restore_node": 2}, {"restore_node": 2, "status": "true"}]
)
def test_a_wrong_answer_to_restore_is_refused(data: object) -> None:
    with pytest.raises(messages.MessageError):
        messages.restore_answer(data)


class Trio:
    """Nodes 1, 2 and 3 of a master; 1 and 3 are node 2's neighbors. The clock stands where the test puts it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sent: list[tuple[str, str, dict]] = []
        self.cluster = Cluster(
            lambda *message: self.sent.append(message), 2.5, ORDER_TIMEOUT, self.now, frozenset({1, 2, 3})
        )
        for node in (1, 2, 3):
            self.join(node)

    def join(self, node: int, **more: object) -> None:
        neighbors = [n for n in (1, 2, 3) if abs(n - node) == 1]
        data = {
            **GOOD,
            "NODE_ID": node,
            "neighbors": neighbors,
            "primary_ip": f"10.9.0.{node}",
            "held": {},
            **more,
        }
        self.cluster.joined(f"sid{node}", messages.join(data), self.now)

    def wait(self, seconds: float) -> None:
        """Nodes 1 and 3 ping."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.1)
            for node in (1, 3):
                self.cluster.pinged(f"sid{node}", self.now)
            self.cluster.tick(self.now)

    def orders(self) -> list[tuple[str, dict]]:
        return [(sid, data) for sid, event, data in self.sent if event == "recover"]

    def refuse(self, reason: str) -> None:
        sid, data = self.orders()[-1]
        answer = messages.recover_answer({**data, "error": reason})
        self.cluster.answered_recover(sid, answer, self.now)


IN_USE = "10.9.0.2 is in use by its owner 02:fc:00:00:00:02: it is alive, only its worker is gone"


def test_after_in_use_by_its_owner_nobody_is_ordered_for_30_s_then_1_2_and_5_minutes() -> None:
    trio = Trio()
    trio.cluster.left("sid2", trio.now)
    for count, pause_s in enumerate([30, 60, 120, 300, 300], 1):
        assert len(trio.orders()) == count
        trio.refuse(IN_USE)
        trio.wait(pause_s - 0.5)
        assert len(trio.orders()) == count, f"ordered before {pause_s} s"
        trio.wait(1)
    trio.join(2)
    trio.cluster.left("sid2", trio.now)
    assert len(trio.orders()) == 7, "its return did not end the pause"


def test_another_refusal_has_the_next_neighbor_ordered_at_once() -> None:
    trio = Trio()
    trio.cluster.left("sid2", trio.now)
    trio.refuse("no route to it")
    assert [sid for sid, _ in trio.orders()] == ["sid1", "sid3"]


@pytest.mark.parametrize(
    "which", ["which asks before it uses it", "which probed for it and is about to use it"]
)
def test_an_owner_that_is_starting_has_ten_seconds(which: str) -> None:
    trio = Trio()
    trio.cluster.left("sid2", trio.now)
    trio.refuse(f"10.9.0.2 is in use by its owner 02:fc:00:00:00:02, {which}")
    trio.wait(9.5)
    assert len(trio.orders()) == 1
    trio.wait(1)
    assert len(trio.orders()) == 2


def test_an_order_carries_the_mac_of_the_owners_last_join() -> None:
    trio = Trio()
    trio.join(2, mac="02:FC:00:00:00:02")
    trio.cluster.left("sid2", trio.now)
    assert trio.orders()[0][1]["owner_mac"] == "02:fc:00:00:00:02"
    trio = Trio()
    trio.join(2, mac="nonsense")
    trio.cluster.left("sid2", trio.now)
    assert "owner_mac" not in trio.orders()[0][1]


def test_a_node_without_carrier_is_alive_and_its_address_is_taken_until_its_link_is_back() -> None:
    trio = Trio()
    trio.join(1, carrier=False)
    assert trio.orders()[0][0] == "sid2"
    assert "1" in trio.cluster.as_json()["active"]
    trio.join(2, held={"1": "10.9.0.1"})
    assert trio.cluster.as_json()["recovery_mapper"]["1"]["recovery_node"] == "2"
    assert not [event for _, event, _ in trio.sent if event == "restore"]
    trio.join(3, carrier=False)
    trio.join(1)
    assert [(sid, data["restore_node"]) for sid, event, data in trio.sent if event == "restore"] == [
        ("sid2", 1)
    ]


def test_the_silent_node_is_asked_0_3_s_before_its_time_is_over_and_dead_then() -> None:
    trio = Trio()
    trio.wait(2.1)
    assert [event for _, event, _ in trio.sent] == []
    trio.wait(0.2)
    assert trio.sent == [("sid2", ASK, {})]
    trio.wait(0.1)
    assert trio.orders() == []
    trio.wait(0.2)
    assert len(trio.orders()) == 1
    assert [event for _, event, _ in trio.sent].count(ASK) == 1


def levels(caplog: pytest.LogCaptureFixture) -> set[str]:
    return {record.levelname for record in caplog.records}


def test_on_good_days_nothing_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A stop, its takeover, the return, and an upgrade that comes back before anybody has taken the address."""
    caplog.set_level("DEBUG", "master")
    trio = Trio()
    trio.cluster.left("sid2", trio.now, planned=True)
    trio.join(1, held={"2": "10.9.0.2"})
    trio.join(2)
    trio.cluster.answered_restore(
        "sid1", messages.restore_answer({"restore_node": 2, "status": True}), trio.now
    )
    trio.cluster.left("sid2", trio.now, planned=True)
    trio.join(2)
    assert len(trio.orders()) == 2
    assert levels(caplog) == {"INFO"}, caplog.messages


def test_a_worker_that_is_stopped_on_a_living_machine_is_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "master")
    trio = Trio()
    trio.cluster.left("sid2", trio.now, planned=True)
    for count in range(1, 5):
        trio.refuse(IN_USE)
        while len(trio.orders()) == count:
            trio.wait(1)
    assert [record.msg.event for record in caplog.records if record.levelname == "WARNING"] == [
        "takeover_failed"
    ]
