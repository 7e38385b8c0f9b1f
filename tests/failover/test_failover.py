"""The transition table, cell by cell and line by line, on a machine and a wire by script."""

from __future__ import annotations

import itertools
import socket
from ipaddress import IPv4Address, IPv4Interface
from types import SimpleNamespace
from typing import Any

import pytest

from failover import machine as failover
from failover.machine import CARRIER_LOSS_S
from failover.node import Node
from failover.states import Event, State
from network.base import Address, LinkDown, LinkUp, NetworkError
from tests.lab.wire_fake import (
    HIGHER_MAC,
    LOWER_MAC,
    OWN,
    Clock,
    Desk,
    Host,
    Lines,
    Wire,
    ip_of,
    networks,
    order,
    vip_of,
)

IP = ip_of(2)
OWNER_MAC = "02:fc:00:00:00:02"
JOIN = {
    "system": str,
    "NODE_ID": int,
    "neighbors": list,
    "primary_ip": str,
    "primary_netmask": str,
    "secondary_ip": (str, type(None)),
    "secondary_netmask": (str, type(None)),
    "held": dict,
    "mac": str,
}


class Passed(dict):
    """failover.TABLE, which notes each cell that an event led to."""

    def __init__(self, table):
        super().__init__(table)
        self.cells: list[tuple[State, Event]] = []

    def get(self, key, default=None):
        if key in self:
            self.cells.append(key)
        return super().get(key, default)


@pytest.fixture(autouse=True)
def passed(monkeypatch):
    table = Passed(failover.TABLE)
    monkeypatch.setattr(failover, "TABLE", table)
    return table


def kinds(sent: list[tuple[str, dict[str, Any]]], given: dict[str, Any] | None = None) -> list[str]:
    """What each answer says, its form checked; `given` is the order that a failure must repeat."""
    return [kind(event, data, given or order()) for event, data in sent]


def kind(event: str, data: dict[str, Any], given: dict[str, Any]) -> str:
    if event == "update node" and "secondary_ip" in data:
        check_join(data, {"disconnected_node"})
        assert data["disconnected_node"] == given["disconnected_node"]
        return "taken"
    if event == "update node":
        error = data["error"]
        assert isinstance(error, str)
        assert error
        assert data == {**given, "error": error}
        return "failed"
    assert event == "restore node"
    assert data["restore_node"] == given["disconnected_node"]
    if data["status"] is True:
        check_join(data, {"restore_node", "status"} | ({"reason"} & set(data)))
        return "ceded" if data.get("reason") else "restored"
    assert data["status"] is False
    assert set(data) == {"restore_node", "status", "error"}
    assert data["error"]
    return "not restored"


def check_join(data: dict[str, Any], more: set[str]) -> None:
    assert set(data) == set(JOIN) | more
    for key, wanted in JOIN.items():
        assert isinstance(data[key], wanted), key
    assert data["system"] == socket.gethostname()
    assert (data["NODE_ID"], data["neighbors"]) == (3, ["2", "6"])
    assert (data["primary_ip"], data["primary_netmask"]) == ("10.9.0.3", "255.255.255.0")
    assert (data["secondary_ip"] is None) == (data["secondary_netmask"] is None) == (not data["held"])


def found(desk_settings: dict[str, Any] | None = None, *owners: int, wire: Wire | None = None) -> Desk:
    """A worker started anew, which finds what its earlier run left."""
    wire = wire or Wire(Clock())
    for owner in owners or (2,):
        wire.vips[vip_of(owner)] = wire.clock.now + 7
    return Desk(wire, **(desk_settings or {}))


def holding(data: dict[str, Any] | None = None, **settings: Any) -> Desk:
    desk = Desk(**settings)
    assert desk.recover(data or order()) is None
    desk.run(1)
    assert desk.held == [2]
    desk.sent.clear()
    desk.log.entries.clear()
    return desk


def reach(state: State, **more: Any) -> Desk:
    """A worker whose address for node 2 is in that state, brought there by what leads there outside; `more` is for
    the order.
    """
    if state is State.ADOPTING:
        wire = Wire(Clock(), macs={IP: OWNER_MAC})
        desk = found(wire=wire)
        desk.run(0.05)
    elif state in {State.FREE, State.PROBING, State.OWNER_ALIVE}:
        desk = Desk()
        if state is State.OWNER_ALIVE:
            desk.wire.hosts.append(Host(OWNER_MAC, IP))
        if state is not State.FREE:
            desk.recover(order(**more))
            desk.run(0.05)
    else:
        desk = holding(order(**more))
        if state is State.REVERIFYING:
            desk.wire.mend()
        elif state is State.IN_CONFLICT:
            desk.wire.claim(IP)
        elif state is State.LOST:
            desk.wire.take_away(vip_of(2))
        desk.run(0.05)
    assert desk.state() is state
    desk.sent.clear()
    desk.log.entries.clear()
    return desk


def cause(event: Event, desk: Desk) -> None:
    """Let it happen from outside."""
    if event is Event.RECOVER:
        desk.recover(order())
    elif event is Event.RESTORE:
        desk.restore({"restore_node": 2})
    elif event is Event.NO_CONFLICT:
        desk.wire.hosts.clear()
        desk.run({State.IN_CONFLICT: 3.0, State.OWNER_ALIVE: 1.25}.get(desk.state(), 0.2))
    elif event is Event.CONFLICT:
        if desk.state() is State.IN_CONFLICT:
            desk.wire.answer(IP)
        else:
            desk.wire.claim(IP)
        desk.run(0)
    elif event is Event.OWNER_PROBE:
        desk.wire.ask(IP, OWNER_MAC)
        desk.run(0)
    elif event is Event.SIMULTANEOUS_PROBE:
        desk.wire.ask(IP, LOWER_MAC)
        desk.run(0)
    elif event is Event.CONFLICT_WAIT_OVER:
        desk.run(30)
    elif event is Event.PROBE_FAILED:
        desk.wire.cut()
        desk.run(1.1)
    elif event is Event.REMOVED:
        desk.wire.take_away(vip_of(2))
        desk.run(0)
    elif event is Event.REVALIDATE:
        desk.freeze(0.1)
    elif event is Event.CARRIER_LOST:
        desk.failover.seen(LinkDown("eth0"), desk.clock.now)
        desk.clock.now += CARRIER_LOSS_S
        desk.run(0)
    elif event is Event.MASTER_LOST:
        desk.failover.master_lost(desk.clock.now)
        desk.run(0)
    elif event is Event.STOP:
        desk.stop()


F, A, W, H, U, D, L, N = (
    State.FREE,
    State.PROBING,
    State.OWNER_ALIVE,
    State.HELD,
    State.REVERIFYING,
    State.IN_CONFLICT,
    State.LOST,
    State.ADOPTING,
)
OUTCOMES: dict[tuple[State, Event], tuple[State, list[str], list[str]]] = {
    (F, Event.RECOVER): (A, [], ["takeover_started"]),
    (A, Event.NO_CONFLICT): (H, ["taken"], ["takeover_done"]),
    (A, Event.CONFLICT): (W, [], ["owner_alive"]),
    (A, Event.SIMULTANEOUS_PROBE): (F, ["failed"], ["takeover_refused"]),
    (A, Event.OWNER_PROBE): (F, ["failed"], ["takeover_refused"]),
    (A, Event.RESTORE): (F, ["failed", "restored"], ["takeover_withdrawn"]),
    (A, Event.PROBE_FAILED): (F, ["failed"], ["takeover_failed"]),
    (A, Event.REVALIDATE): (A, [], []),
    (A, Event.STOP): (F, ["failed"], ["takeover_withdrawn"]),
    (A, Event.CARRIER_LOST): (F, ["failed"], ["carrier_lost", "takeover_failed"]),
    (W, Event.NO_CONFLICT): (H, ["taken"], ["takeover_done"]),
    (W, Event.CONFLICT): (W, [], []),
    (W, Event.SIMULTANEOUS_PROBE): (F, ["failed"], ["takeover_refused"]),
    (W, Event.CONFLICT_WAIT_OVER): (F, ["failed"], ["takeover_refused"]),
    (W, Event.OWNER_PROBE): (F, ["failed"], ["takeover_refused"]),
    (W, Event.RESTORE): (F, ["failed", "restored"], ["takeover_withdrawn"]),
    (W, Event.PROBE_FAILED): (F, ["failed"], ["takeover_failed"]),
    (W, Event.REVALIDATE): (W, [], []),
    (W, Event.STOP): (F, ["failed"], ["takeover_withdrawn"]),
    (W, Event.CARRIER_LOST): (F, ["failed"], ["carrier_lost", "takeover_failed"]),
    (H, Event.RECOVER): (H, ["taken"], ["takeover_done"]),
    (H, Event.RESTORE): (F, ["restored"], ["release_done"]),
    (H, Event.CONFLICT): (D, [], ["address_conflict", "release_done"]),
    (H, Event.OWNER_PROBE): (D, [], ["owner_returned", "release_done"]),
    (H, Event.REMOVED): (L, [], ["address_lost"]),
    (H, Event.REVALIDATE): (U, [], []),
    (H, Event.MASTER_LOST): (F, ["failed"], ["release_done"]),
    (H, Event.CARRIER_LOST): (F, ["failed"], ["carrier_lost", "release_done"]),
    (H, Event.STOP): (F, ["failed"], ["release_done"]),
    (U, Event.NO_CONFLICT): (H, [], []),
    (U, Event.CONFLICT): (D, [], ["address_conflict", "release_done"]),
    (U, Event.OWNER_PROBE): (D, [], ["owner_returned", "release_done"]),
    (U, Event.PROBE_FAILED): (H, [], ["watch_failed"]),
    (U, Event.RECOVER): (U, ["taken"], ["takeover_done"]),
    (U, Event.RESTORE): (F, ["restored"], ["release_done"]),
    (U, Event.REMOVED): (L, [], ["address_lost"]),
    (U, Event.REVALIDATE): (U, [], []),
    (U, Event.MASTER_LOST): (F, ["failed"], ["release_done"]),
    (U, Event.CARRIER_LOST): (F, ["failed"], ["carrier_lost", "release_done"]),
    (U, Event.STOP): (F, ["failed"], ["release_done"]),
    (D, Event.NO_CONFLICT): (H, [], ["address_restored"]),
    (D, Event.CONFLICT): (F, ["ceded"], ["address_ceded"]),
    (D, Event.SIMULTANEOUS_PROBE): (F, ["ceded"], ["address_ceded"]),
    (D, Event.OWNER_PROBE): (D, [], []),
    (D, Event.RESTORE): (F, ["restored"], []),
    (D, Event.PROBE_FAILED): (F, ["failed"], ["takeover_failed"]),
    (D, Event.REVALIDATE): (D, [], []),
    (D, Event.CARRIER_LOST): (F, ["failed"], ["carrier_lost", "takeover_failed"]),
    (D, Event.STOP): (F, ["failed"], []),
    (L, Event.NO_CONFLICT): (H, [], ["address_restored"]),
    (L, Event.CONFLICT): (F, ["ceded"], ["address_ceded"]),
    (L, Event.SIMULTANEOUS_PROBE): (F, ["ceded"], ["address_ceded"]),
    (L, Event.OWNER_PROBE): (D, [], ["owner_returned"]),
    (L, Event.RESTORE): (F, ["restored"], []),
    (L, Event.PROBE_FAILED): (F, ["failed"], ["takeover_failed"]),
    (L, Event.REVALIDATE): (L, [], []),
    (L, Event.CARRIER_LOST): (F, ["failed"], ["carrier_lost", "takeover_failed"]),
    (L, Event.STOP): (F, ["failed"], []),
    (N, Event.NO_CONFLICT): (H, [], ["address_adopted"]),
    (N, Event.CONFLICT): (F, [], ["release_done"]),
    (N, Event.OWNER_PROBE): (F, [], ["release_done"]),
    (N, Event.SIMULTANEOUS_PROBE): (F, [], ["release_done"]),
    (N, Event.PROBE_FAILED): (F, [], ["release_done"]),
    (N, Event.REVALIDATE): (N, [], []),
    (N, Event.CARRIER_LOST): (F, [], ["carrier_lost", "release_done"]),
    (N, Event.STOP): (F, ["failed"], ["release_done"]),
}
LEVELS = {
    "takeover_started": "INFO",
    "takeover_done": "INFO",
    "takeover_refused": "ERROR",
    "takeover_failed": "ERROR",
    "takeover_withdrawn": "INFO",
    "owner_returned": "INFO",
    "release_done": "INFO",
    "address_conflict": "CRITICAL",
    "address_adopted": "INFO",
    "address_lost": "WARNING",
    "address_restored": "WARNING",
    "owner_alive": "WARNING",
    "address_ceded": "WARNING",
    "watch_failed": "WARNING",
    "carrier_lost": "WARNING",
}


COUNTED = {"takeover_done", "takeover_refused", "takeover_failed", "takeover_withdrawn"}
"""Events after which an order is counted with that outcome."""


def named(key: tuple[State, Event]) -> str:
    return f"{key[0].name}-{key[1].name}"


@pytest.mark.parametrize("key", failover.TABLE, ids=named)
def test_cell(key, passed):
    state, event = key
    after, answers, events = OUTCOMES[key]
    more = {"owner_mac": OWNER_MAC} if event is Event.OWNER_PROBE else {}
    desk = reach(state, **more)
    passed.cells.clear()
    before = dict(desk.failover.orders)
    cause(event, desk)
    assert key in passed.cells
    outcomes = {event.removeprefix("takeover_") for event in events if event in COUNTED}
    outcomes = {"taken" if outcome == "done" else outcome for outcome in outcomes}
    if any("in use by its owner" in entry.fields.get("reason", "") for entry in desk.log.entries):
        outcomes = {"owner_alive" if outcome == "refused" else outcome for outcome in outcomes}
    counted = {kind for kind, count in desk.failover.orders.items() if count > before[kind]}
    assert {outcome for order, outcome in counted if order == "recover"} == outcomes
    assert (("restore", "done") in counted) == (event is Event.RESTORE and "restored" in answers)
    assert desk.state() is after
    given = order(active_neighbors=["1", "3", "5"]) if state is N else order(**more)
    assert kinds(desk.sent, given) == answers
    assert desk.log.events() == events
    assert desk.held == ([2] if after in {H, U, N} else [])
    assert [vip.owner for vip in desk.failover.held] == ([2] if after in {H, U} else [])
    for entry in desk.log.entries:
        in_use = entry.event == "takeover_refused" and "in use by its owner" in entry.fields["reason"]
        assert entry.level == ("INFO" if in_use else LEVELS[entry.event])
        if entry.event == "carrier_lost":
            assert entry.fields["interface"] == "eth0"
            continue
        assert (entry.fields["node"], entry.fields["address"]) == ("2", "10.9.0.2/24")
        assert entry.fields["interface"] == "eth0"
        if entry.event in {"takeover_refused", "takeover_failed"}:
            assert entry.fields["reason"]
        if entry.event == "takeover_done":
            assert float(entry.fields["took_ms"]) >= 0
        if entry.event == "address_conflict":
            assert entry.fields["mac"] == HIGHER_MAC
        if entry.event == "owner_returned":
            assert entry.fields["mac"] == OWNER_MAC


def test_every_cell_is_told_here():
    assert set(OUTCOMES) == set(failover.TABLE)


@pytest.mark.parametrize(
    ("state", "event", "done"),
    [
        (F, Event.RESTORE, ["restored"]),
        (F, Event.CONFLICT, []),
        (F, Event.STOP, []),
        (A, Event.RECOVER, []),
        (A, Event.MASTER_LOST, []),
        (W, Event.RECOVER, []),
        (W, Event.MASTER_LOST, []),
        (H, Event.SIMULTANEOUS_PROBE, []),
        (H, Event.PROBE_FAILED, []),
        (U, Event.SIMULTANEOUS_PROBE, []),
        (D, Event.RECOVER, []),
        (D, Event.MASTER_LOST, []),
        (L, Event.RECOVER, []),
        (L, Event.MASTER_LOST, []),
    ],
)
def test_what_no_cell_is_for_changes_nothing(state, event, done):
    desk = reach(state)
    before = desk.held
    cause(event, desk)
    assert desk.state() is state
    assert desk.held == before
    assert kinds(desk.sent) == done


# the lines of the table


def test_free_and_a_valid_recover_asks_the_wire_three_times():
    desk = Desk()
    assert desk.recover(order()) is None
    desk.run(0.199)
    at = [at - desk.clock.now + 0.199 for at, ip in desk.wire.probes if ip == IP]
    assert at == pytest.approx([0, 0.2 / 3, 0.4 / 3])
    assert desk.held == []
    assert desk.sent == []


def test_asked_and_silence_adds_announces_looks_and_answers():
    desk = Desk()
    desk.recover(order())
    desk.run(0.2001)
    assert desk.held == [2]
    assert [ip for _, ip in desk.wire.announcements].count(IP) == 1
    assert kinds(desk.sent) == ["taken"]
    assert desk.sent[0][1]["secondary_ip"] == "10.9.0.2"
    assert desk.sent[0][1]["held"] == {"2": "10.9.0.2"}
    assert float(desk.log.entries[-1].fields["took_ms"]) == pytest.approx(200, abs=1)


@pytest.mark.parametrize("method", ["hold", "announce"])
def test_asked_and_an_address_that_cannot_be_added_is_a_failure(method):
    desk = Desk()
    desk.recover(order())
    desk.wire.broken[method] = "no such privilege"
    desk.run(1)
    assert desk.held == []
    assert kinds(desk.sent) == ["failed"]
    assert desk.sent[0][1]["error"] == "no such privilege"
    assert desk.log.events() == ["takeover_started", "takeover_failed"]


def test_asked_and_an_answer_waits_and_asks_every_second():
    desk = Desk()
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    desk.recover(order())
    desk.run(10)
    assert desk.state() is W
    at = [at for at, ip in desk.wire.probes if ip == IP]
    assert len(at) == 10
    assert all(0.9 < after - before < 1.1 for before, after in itertools.pairwise(at))
    assert desk.sent == []
    assert (desk.log.entries[-1].event, desk.log.entries[-1].fields["mac"]) == ("owner_alive", OWNER_MAC)


def test_an_answer_to_the_first_question_is_heard():
    desk = Desk(conflict_wait_s=0.0)
    desk.wire.hosts.append(Host(OWNER_MAC, IP, delay_s=0.0))
    desk.recover(order())
    desk.run(0.01)
    assert len([ip for _, ip in desk.wire.probes if ip == IP]) == 1
    assert kinds(desk.sent) == ["failed"]


@pytest.mark.parametrize(("mac", "goes_on"), [(LOWER_MAC, False), (HIGHER_MAC, True)])
@pytest.mark.parametrize("state", [A, W])
def test_asked_and_a_second_taker_the_lower_mac_goes_on(state, mac, goes_on):
    desk = reach(state)
    desk.wire.hosts.clear()
    desk.wire.ask(IP, mac)
    desk.run(1.5)
    assert desk.held == ([2] if goes_on else [])
    assert kinds(desk.sent) == (["taken"] if goes_on else ["failed"])
    if not goes_on:
        assert mac in desk.sent[0][1]["error"]


@pytest.mark.parametrize("state", [A, W])
def test_asked_and_a_lower_mac_that_only_looks_it_up(state):
    desk = reach(state)
    desk.wire.hosts.clear()
    desk.wire.question(IP, ip_of(1), LOWER_MAC)
    desk.run(1.5)
    assert kinds(desk.sent) == ["taken"]


def test_waiting_and_silence_for_as_long_as_asked_takes_it():
    desk = reach(W)
    desk.run(5)
    desk.wire.hosts.clear()
    assert 0.2 <= desk.until(H, 1.3) <= 1.21
    assert kinds(desk.sent) == ["taken"]


def test_waiting_until_conflict_wait_is_over_refuses_with_the_mac():
    desk = Desk(conflict_wait_s=5.0)
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    desk.recover(order())
    assert desk.until(F, 6) == pytest.approx(5, abs=0.02)
    assert kinds(desk.sent) == ["failed"]
    assert OWNER_MAC in desk.sent[0][1]["error"]
    assert desk.wire.added == []


@pytest.mark.parametrize("state", [A, W])
@pytest.mark.parametrize("event", [Event.RESTORE, Event.STOP])
def test_asked_or_waiting_and_restore_or_stop(state, event):
    desk = reach(state)
    cause(event, desk)
    assert kinds(desk.sent) == (["failed", "restored"] if event is Event.RESTORE else ["failed"])
    if event is Event.STOP:
        assert desk.sent[0][1]["error"] == "stopping"
    else:
        desk.run(40)
    assert desk.wire.added == []


def test_held_and_the_same_recover_announces_and_answers_again():
    desk = holding()
    added, announced = len(desk.wire.added), len(desk.wire.announcements)
    desk.recover(order())
    assert kinds(desk.sent) == ["taken"]
    assert len(desk.wire.added) == added
    assert len(desk.wire.announcements) == announced + 1
    desk.recover(order(ip="10.9.0.77"))
    assert kinds(desk.sent[1:], order(ip="10.9.0.77")) == ["failed"]
    assert desk.held == [2]


def test_held_and_restore_for_that_node_alone_removes_it():
    desk = holding()
    desk.recover(order(5))
    desk.run(1)
    desk.sent.clear()
    assert desk.restore({"restore_node": 2}) is None
    assert desk.held == [5]
    assert kinds(desk.sent) == ["restored"]
    assert desk.sent[0][1]["secondary_ip"] == "10.9.0.5"


def test_restore_that_fails_says_so_and_it_stays_held():
    desk = holding()
    desk.wire.broken["release"] = "busy"
    desk.restore({"restore_node": 2})
    assert kinds(desk.sent) == ["not restored"]
    assert desk.log.events() == ["release_failed"]
    assert desk.held == [2]
    desk.wire.broken.clear()
    desk.restore({"restore_node": 2})
    assert kinds(desk.sent) == ["not restored", "restored"]
    assert desk.held == []


@pytest.mark.parametrize(
    "claim",
    [
        lambda wire: wire.claim(IP),
        lambda wire: wire.hosts.append(Host(HIGHER_MAC, IP)),
        lambda wire: wire.ask(IP, OWNER_MAC),
    ],
    ids=["an announcement", "an answer to the probe of every second", "the owner's own probe"],
)
def test_held_and_claimed_lets_go_within_a_second(claim):
    desk = Desk()
    desk.wire.macs[IP] = OWNER_MAC
    desk.recover(order())
    desk.run(20.5)
    desk.log.entries.clear()
    claim(desk.wire)
    desk.run(1.01)
    assert desk.held == []
    name = "owner_returned" if desk.wire.probers else "address_conflict"
    assert desk.log.events()[:2] == [name, "release_done"]


@pytest.mark.parametrize(
    "noise",
    [
        lambda wire: wire.ask(IP, HIGHER_MAC),
        lambda wire: wire.ask(IP, LOWER_MAC),
        lambda wire: wire.question(IP, ip_of(6)),
        lambda wire: wire.claim(ip_of(6)),
    ],
    ids=["a stranger's probe", "a lower stranger's probe", "a stranger's question", "another address"],
)
def test_held_and_what_is_no_claim(noise):
    desk = Desk()
    desk.wire.macs[IP] = OWNER_MAC
    desk.recover(order())
    desk.run(1)
    noise(desk.wire)
    desk.run(2)
    assert desk.state() is H
    assert len(desk.wire.added) == 1


def test_held_asks_every_second():
    desk = holding()
    began_s = desk.clock.now
    desk.run(30)
    at = [at for at, ip in desk.wire.probes if ip == IP and at > began_s]
    between = [after - before for before, after in itertools.pairwise(at)]
    assert 0.9 <= min(between)
    assert max(between) < 1


def test_the_mac_of_an_owner_that_was_waited_for_is_remembered():
    desk = Desk()
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    desk.recover(order())
    desk.run(3)
    desk.wire.hosts.clear()
    desk.until(H, 2)
    desk.wire.ask(IP, OWNER_MAC)
    desk.run(0.1)
    assert desk.state() is D


def test_doubted_and_the_same_claim_again_at_once_is_no_answer():
    desk = reach(D)
    desk.wire.claim(IP)
    desk.run(0.1)
    assert desk.state() is D
    desk.until(H, 3.5)


def test_doubted_and_a_claim_that_goes_on_cedes():
    desk = reach(D)
    desk.run(1)
    desk.wire.claim(IP)
    desk.run(0.1)
    assert desk.state() is F


def test_doubted_and_an_answer_cedes_with_the_reason():
    desk = reach(D)
    desk.wire.hosts.append(Host(HIGHER_MAC, IP))
    desk.run(1.1)
    assert kinds(desk.sent) == ["ceded"]
    assert desk.sent[0][1]["secondary_ip"] is None
    assert HIGHER_MAC in desk.sent[0][1]["reason"]
    desk.run(700)
    assert len(desk.wire.added) == 1


def test_doubted_and_silence_takes_it_again_three_times_in_ten_minutes_not_four():
    desk = holding()
    for _ in range(3):
        desk.wire.claim(IP)
        desk.run(0.01)
        assert 2.9 < desk.until(H, 3.1) < 3.1
        desk.run(50)
    assert desk.log.events().count("address_restored") == 3
    assert desk.sent == []
    desk.wire.claim(IP)
    desk.run(3.1)
    assert desk.state() is F
    assert kinds(desk.sent) == ["failed"]
    assert "ten minutes" in desk.sent[0][1]["error"]
    assert desk.held == []


def test_doubts_of_more_than_ten_minutes_ago_do_not_count():
    desk = holding()
    for _ in range(5):
        desk.wire.claim(IP)
        desk.run(250)
    assert desk.state() is H
    assert desk.log.events().count("address_restored") == 5


def test_held_and_gone_asks_before_it_takes_it_again():
    desk = holding()
    desk.wire.take_away(vip_of(2))
    desk.run(0.19)
    assert desk.held == []
    assert desk.log.events() == ["address_lost"]
    desk.run(0.02)
    assert desk.held == [2]
    assert desk.log.events() == ["address_lost", "address_restored"]
    desk.wire.hosts.append(Host(HIGHER_MAC, IP))
    desk.wire.take_away(vip_of(2))
    desk.run(0.1)
    assert kinds(desk.sent) == ["ceded"]
    assert desk.held == []


def test_gone_again_and_again_is_no_doubt():
    desk = holding()
    for _ in range(6):
        desk.wire.take_away(vip_of(2))
        desk.run(1)
    assert desk.state() is H
    assert desk.sent == []


def test_held_and_gone_without_being_told_is_seen_at_the_next_renewal():
    desk = holding()
    del desk.wire.vips[vip_of(2)]
    desk.run(3.4)
    assert desk.log.events()[0] == "address_lost"


def test_held_and_the_link_comes_back_asks_then_announces():
    desk = holding()
    desk.wire.cut()
    desk.run(2.5)
    assert desk.state() is H
    desk.wire.mend()
    announced = len([ip for _, ip in desk.wire.announcements if ip == IP])
    desk.run(0.15)
    assert desk.state() is U
    assert [ip for _, ip in desk.wire.announcements].count(IP) == announced
    desk.run(1.2)
    assert desk.state() is H
    assert [ip for _, ip in desk.wire.announcements].count(IP) == announced + 3
    assert desk.log.events() == ["watch_failed"]
    assert len(desk.wire.added) == 1


def test_held_and_without_carrier_for_longer_than_a_flap_is_released():
    desk = holding()
    desk.wire.cut()
    desk.run(2.9)
    assert (desk.state(), desk.sent) == (H, [])
    desk.run(0.2)
    assert desk.held == []
    assert kinds(desk.sent) == ["failed"]
    assert desk.sent[0][1]["error"] == "eth0 has had no carrier for 3 s"
    assert desk.node.join_data([])["carrier"] is False
    desk.wire.mend()
    desk.run(1)
    assert desk.state() is F
    assert "carrier" not in desk.node.join_data([])
    assert desk.log.events() == ["watch_failed", "carrier_lost", "release_done", "carrier_restored"]


def test_flaps_move_nothing():
    desk = holding()
    for _ in range(5):
        desk.wire.cut()
        desk.run(2)
        desk.wire.mend()
        desk.run(2)
    assert (desk.state(), desk.sent, len(desk.wire.added)) == (H, [], 1)


def test_an_order_for_what_is_held_without_carrier_is_refused_at_once():
    desk = holding()
    desk.wire.cut()
    desk.run(1)
    desk.recover(order())
    desk.run(0)
    assert desk.held == []
    assert kinds(desk.sent) == ["failed"]
    assert desk.sent[0][1]["error"] == "eth0 has no carrier"


def test_the_carrier_of_another_interface_is_none_of_its_business():
    desk = holding()
    desk.failover.seen(LinkDown("eth1"), desk.clock.now)
    desk.run(10)
    assert desk.state() is H
    assert desk.log.events() == []
    assert "carrier" not in desk.node.join_data([])


def test_the_link_of_another_interface_is_none_of_its_business():
    desk = holding()
    desk.failover.seen(LinkUp("eth1"), desk.clock.now)
    assert desk.state() is H


@pytest.mark.parametrize("frozen_s", [1.0, 5.0, 60.0])
def test_held_and_frozen_while_the_owner_came_back(frozen_s):
    desk = holding()
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    added = len(desk.wire.added)
    desk.freeze(frozen_s)
    desk.run(3)
    assert desk.held == []
    assert len(desk.wire.added) == added
    assert kinds(desk.sent) == ["ceded"]


def test_held_and_frozen_beyond_its_lease_is_taken_again_after_a_question():
    desk = holding()
    desk.freeze(60)
    assert desk.held == []
    assert desk.log.events() == ["address_lost"]
    desk.run(0.19)
    assert desk.held == []
    desk.run(0.02)
    assert desk.held == [2]


def test_held_and_gone_in_a_freeze_without_being_told():
    desk = holding()
    del desk.wire.vips[vip_of(2)]
    desk.freeze(1)
    assert desk.log.events() == ["address_lost"]


def test_held_and_the_worker_stops():
    desk = holding()
    desk.recover(order(5))
    desk.run(1)
    desk.sent.clear()
    desk.stop()
    assert desk.held == []
    assert [kind(*sent, given) for sent, given in zip(desk.sent, [order(), order(5)])] == ["failed", "failed"]
    assert {data["error"] for _, data in desk.sent} == {"stopping"}


@pytest.mark.parametrize(("probe_s", "probing_since_s"), [(0.2, 0.2), (0.0, 0.2), (1.0, 1.0)])
def test_found_at_start_and_silence_adopts_it_before_the_first_join(probe_s, probing_since_s):
    desk = found({"conflict_probe_s": probe_s})
    assert not desk.failover.settled
    assert desk.failover.held == []
    desk.run(probing_since_s - 0.01)
    assert not desk.failover.settled
    desk.run(0.02)
    assert desk.failover.settled
    assert desk.node.join_data(desk.failover.held)["secondary_ip"] == "10.9.0.2"
    assert desk.log.events() == ["address_adopted"]
    assert desk.wire.added == []
    desk.run(60)
    assert desk.held == [2]


def test_found_at_start_and_an_answer_removes_it():
    desk = found()
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    desk.run(0.1)
    assert desk.failover.settled
    assert desk.held == []
    assert desk.sent == []


def test_found_at_start_the_owner_s_probe_is_known_from_the_neighbor_table():
    wire = Wire(Clock(), macs={IP: OWNER_MAC})
    wire.vips[vip_of(2)] = wire.clock.now + 7
    desk = Desk(wire)
    desk.run(1)
    desk.wire.ask(IP, OWNER_MAC)
    desk.run(0.1)
    assert desk.state() is D


def test_found_at_start_what_cannot_be_removed_is_tried_again_each_second():
    desk = found()
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    desk.wire.broken["release"] = "busy"
    desk.run(2.5)
    assert desk.failover.settled
    assert (desk.held, desk.log.events()) == ([2], ["release_failed"])
    desk.wire.broken.clear()
    desk.run(1)
    assert (desk.held, desk.log.events()) == ([], ["release_failed", "release_done"])


def test_what_could_not_be_removed_and_is_held_again_stays():
    desk = found()
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    desk.wire.broken["release"] = "busy"
    desk.run(0.5)
    desk.wire.hosts.clear()
    desk.recover(order())
    desk.run(0.25)
    desk.wire.broken.clear()
    desk.run(30)
    assert desk.held == [2]
    assert "address_lost" not in desk.log.events()
    assert len(desk.wire.added) == 0


def test_found_at_start_two_for_one_owner_only_one_stays():
    wire = Wire(Clock())
    wire.vips[vip_of(2)] = wire.clock.now + 7
    other = type(vip_of(2))(2, type(vip_of(2).ip)("10.9.0.22/24"), "eth0")
    wire.vips[other] = wire.clock.now + 7
    desk = Desk(wire)
    desk.run(1)
    assert list(desk.wire.vips) == [other]
    assert list(desk.failover.held) == [other]


def test_found_for_a_node_no_longer_listed_it_can_be_given_back():
    desk = found({}, 77)
    desk.run(1)
    assert desk.held == [77]
    assert desk.restore({"restore_node": 77}) is None
    assert desk.held == []
    assert desk.restore({"restore_node": 77})


def test_an_adopted_address_that_is_lost_fails_with_the_keys_of_an_order():
    desk = found()
    desk.run(1)
    desk.stop()
    assert kinds(desk.sent, order(active_neighbors=["1", "3", "5"])) == ["failed"]


# What goes with them


def test_announcing_three_in_the_first_second_then_1_5_s_5_s_and_each_minute():
    desk = holding()
    began_s = desk.clock.now - 0.8
    desk.run(200)
    at = [at - began_s for at, ip in desk.wire.announcements if ip == IP]
    assert at == pytest.approx([0, 0.4, 0.8, 1.5, 5, 65, 125, 185], abs=0.001)


def test_the_lease_is_renewed_at_a_third():
    desk = holding(address_lease_s=9.0)
    began_s = desk.clock.now - 0.8
    desk.run(20)
    assert [at - began_s for at, _ in desk.wire.renewed] == pytest.approx([3, 6, 9, 12, 15, 18], abs=0.001)


def test_no_lease_is_never_renewed():
    desk = holding(address_lease_s=0.0)
    desk.run(100)
    assert desk.wire.renewed == []
    assert desk.held == [2]


def test_a_renewal_never_adds_what_is_gone():
    desk = holding()
    there = desk.wire.addresses()
    desk.wire.addresses = lambda interface=None: there  # it vanishes between the look and the renewal
    del desk.wire.vips[vip_of(2)]
    desk.run(4)
    assert len(desk.wire.added) == 1
    assert desk.held == []


def test_a_renewal_that_fails_is_said_once_and_tried_again():
    desk = holding()
    desk.wire.broken["renew"] = "busy"
    desk.run(7)
    assert desk.log.events() == ["watch_failed"]
    desk.wire.broken.clear()
    desk.run(60)
    assert desk.held == [2]
    assert len(desk.wire.added) == 1


def test_conflict_probe_0_takes_it_at_once_and_watches_it_all_the_same():
    desk = Desk(conflict_probe_s=0.0)
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    desk.recover(order())
    assert desk.held == [2]
    assert kinds(desk.sent) == ["taken"]
    desk.run(1.1)
    assert desk.held == []
    assert "address_conflict" in desk.log.events()


def test_conflict_wait_0_refuses_at_once():
    desk = Desk(conflict_wait_s=0.0)
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    desk.recover(order())
    desk.run(0.01)
    assert kinds(desk.sent) == ["failed"]
    assert OWNER_MAC in desk.sent[0][1]["error"]
    assert desk.log.events() == ["takeover_started", "owner_alive", "takeover_refused"]


def levels(desk: Desk, event: str) -> list[str]:
    return [entry.level for entry in desk.log.entries if entry.event == event]


@pytest.mark.parametrize("conflict_wait_s", [0.0, 5.0])
def test_a_worker_stopped_on_a_living_machine_is_one_warning(conflict_wait_s):
    desk = Desk(conflict_wait_s=conflict_wait_s)
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    for wait_s in (30, 60, 120, 300, 600):
        desk.recover(order())
        desk.run(conflict_wait_s + 1)
        desk.clock.now += wait_s
    assert levels(desk, "owner_alive") == ["WARNING", *["INFO"] * 4]
    assert levels(desk, "takeover_refused") == ["INFO"] * 5
    orders = desk.failover.orders
    assert (orders["recover", "owner_alive"], orders["recover", "refused"]) == (5, 0), (
        "no alert on a good day"
    )


@pytest.mark.parametrize("ended", ["taken", "long ago", "another machine"])
def test_the_next_absence_is_another_warning(ended):
    desk = Desk(conflict_wait_s=5.0)
    owner = Host(OWNER_MAC, IP)
    desk.wire.hosts.append(owner)
    desk.recover(order())
    desk.run(6)
    if ended == "taken":
        desk.wire.hosts.clear()
        desk.recover(order())
        desk.run(1)
        desk.failover.restore({"restore_node": 2}, desk.clock.now)
        desk.wire.hosts.append(owner)
    elif ended == "long ago":
        desk.clock.now += 1200
    else:
        desk.wire.hosts[:] = [Host(HIGHER_MAC, IP)]
    desk.recover(order())
    desk.run(1)
    assert levels(desk, "owner_alive") == ["WARNING", "WARNING"]


def test_an_address_that_a_stranger_uses_is_an_error():
    desk = Desk(conflict_wait_s=5.0)
    desk.wire.hosts.append(Host(HIGHER_MAC, IP))
    desk.recover(order(owner_mac=OWNER_MAC))
    desk.run(6)
    assert levels(desk, "takeover_refused") == ["ERROR"]


def test_an_order_that_waits_does_not_hold_up_another_node_s():
    desk = Desk()
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    desk.recover(order(2))
    desk.recover(order(5))
    desk.run(0.25)
    assert desk.held == [5]
    assert kinds(desk.sent, order(5)) == ["taken"]
    desk.wire.hosts.clear()
    desk.run(1.3)
    assert desk.held == [5, 2]
    assert desk.sent[1][1]["secondary_ip"] == "10.9.0.2"
    assert desk.sent[1][1]["held"] == {"5": "10.9.0.5", "2": "10.9.0.2"}


def test_one_address_for_two_nodes_is_refused():
    desk = reach(A)
    assert "for node 2" in desk.recover(order(5, ip="10.9.0.2"))
    desk.run(1)
    assert desk.held == [2]


def test_recover_restore_recover_in_50_ms_the_last_wins():
    desk = Desk()
    desk.recover(order(n=1))
    desk.run(0.02)
    desk.restore({"restore_node": 2})
    desk.run(0.02)
    desk.recover(order(n=2))
    desk.run(1)
    assert desk.held == [2]
    assert kinds(desk.sent, order(n=1)) == ["failed", "restored", "taken"]


def test_restore_recover_restore_in_50_ms_the_last_wins():
    desk = holding()
    desk.restore({"restore_node": 2})
    desk.run(0.02)
    desk.recover(order())
    desk.run(0.02)
    desk.restore({"restore_node": 2})
    desk.run(40)
    assert desk.held == []
    assert kinds(desk.sent) == ["restored", "failed", "restored"]


@pytest.mark.parametrize("state", [A, W, D, L])
def test_the_same_order_again_while_it_is_asked_for_is_answered_too_and_done_once(state):
    desk = reach(state)
    added = len(desk.wire.added)
    desk.recover(order())
    desk.recover(order())
    desk.wire.hosts.clear()
    desk.run(3.5)
    assert kinds(desk.sent) == ["taken"] * (3 if state in {A, W} else 2)
    assert len(desk.wire.added) == added + 1


@pytest.mark.parametrize("state", [A, W, D, L])
def test_the_same_order_again_is_answered_when_it_fails_too(state):
    desk = reach(state)
    desk.recover(order())
    desk.wire.ask(IP, LOWER_MAC)
    desk.run(0.1)
    assert kinds(desk.sent) == (["failed", "failed"] if state in {A, W} else ["failed", "ceded"])


def test_a_recover_that_finds_it_gone_is_answered_once_it_is_back():
    desk = holding()
    del desk.wire.vips[vip_of(2)]
    desk.recover(order())
    assert desk.sent == []
    desk.run(0.25)
    assert kinds(desk.sent) == ["taken"]
    assert desk.held == [2]


def test_a_machine_that_cannot_be_asked_fails_the_order_and_keeps_what_is_held():
    desk = holding()
    desk.wire.broken["addresses"] = "netlink is silent"
    assert desk.recover(order()) is None
    assert desk.recover(order(5)) == "netlink is silent"
    assert [data["error"] for _, data in desk.sent] == ["netlink is silent"] * 2
    desk.wire.broken.clear()
    desk.run(1)
    assert desk.held == [2]
    assert desk.state() is H
    desk.recover(order())
    assert len(desk.sent) == 3


def test_an_owner_s_mac_that_cannot_be_looked_up_is_unknown():
    desk = Desk()
    desk.wire.broken["last_seen"] = "no such neighbor"
    desk.recover(order())
    desk.run(1)
    assert kinds(desk.sent) == ["taken"]


@pytest.mark.parametrize("method", ["interface", "default_routes", "addresses", "probe", "watch"])
def test_each_failure_of_the_machine_is_an_answer(method):
    desk = Desk(conflict_wait_s=0.0)
    desk.wire.broken[method] = "the card fell out"
    desk.recover(order())
    desk.run(2)
    assert kinds(desk.sent) == ["failed"]
    assert desk.state() is F
    assert desk.wire.added == []


def test_a_worker_that_can_change_nothing_refuses_with_the_reason():
    desk = Desk()
    desk.failover.unusable = "this worker can change no address: no CAP_NET_RAW"
    assert desk.recover(order()) == desk.failover.unusable
    assert kinds(desk.sent) == ["failed"]
    assert desk.restore({"restore_node": 2}) is None


def test_frozen_while_asking_silence_is_not_judged_from_before():
    desk = reach(A)
    desk.wire.hosts.append(Host(OWNER_MAC, IP, delay_s=0.01))
    desk.freeze(10)
    desk.run(0.3)
    assert desk.wire.added == []
    assert desk.state() is W


def test_a_loop_that_comes_late_sends_every_question_before_it_judges():
    desk = Desk()
    desk.failover.recover(order(), desk.clock.now, desk.clock.now)
    desk.wire.hosts.append(Host(OWNER_MAC, IP, delay_s=0.03))
    desk.clock.now += 1.0
    desk.run(0.5)
    assert desk.wire.added == []
    assert desk.state() is W


def test_the_link_comes_back_while_asking_begins_anew():
    desk = reach(A)
    desk.run(0.1)
    desk.wire.mend()
    desk.run(0.15)
    assert desk.wire.added == []
    desk.run(0.06)
    assert desk.held == [2]


@pytest.mark.parametrize("state", [s for s in State if s is not F])
def test_stop_in_each_state_leaves_nothing(state):
    desk = reach(state)
    desk.recover(order(5))
    desk.run(0)
    desk.stop()
    assert desk.held == []
    assert len(desk.sent) == 2
    assert {data["error"] for _, data in desk.sent} == {"stopping"}


def test_stop_on_a_machine_that_fails_answers_all_the_same():
    desk = holding()
    desk.wire.broken["release"] = "busy"
    desk.stop()
    assert kinds(desk.sent) == ["failed"]
    assert "release_failed" in desk.log.events()


def test_master_lost_gives_back_and_tells_at_the_next_join():
    desk = holding()
    desk.failover.master_lost(desk.clock.now)
    desk.run(0)
    assert desk.held == []
    assert kinds(desk.sent) == ["failed"]
    assert "MASTER_LOSS_RELEASE" in desk.sent[0][1]["error"]


def test_master_lost_on_a_machine_that_fails_is_told_once_and_tried_until_it_is_done():
    desk = holding()
    desk.wire.broken["release"] = "busy"
    for _ in range(5):
        desk.failover.master_lost(desk.clock.now)
        desk.run(0.5)
    assert desk.log.events().count("release_failed") == 1
    assert kinds(desk.sent) == ["failed"]
    desk.wire.broken.clear()
    desk.run(1.01)
    assert desk.wire.vips == {}
    assert desk.log.events()[-1] == "release_done"


def test_a_claim_whose_address_cannot_be_removed_is_tried_again_at_the_next():
    desk = holding()
    desk.wire.hosts.append(Host(HIGHER_MAC, IP))
    desk.wire.broken["release"] = "busy"
    desk.run(2)
    assert desk.held == [2]
    desk.wire.broken.clear()
    desk.run(1.01)
    assert desk.held == []
    assert kinds(desk.sent) == ["ceded"]


def test_two_loans_the_newest_is_secondary():
    desk = holding()
    desk.clock.now += 1
    desk.recover(order(5))
    desk.run(1)
    assert desk.node.join_data(desk.failover.held)["secondary_ip"] == "10.9.0.5"
    desk.wire.take_away(vip_of(2))
    desk.run(1)
    assert desk.node.join_data(desk.failover.held)["secondary_ip"] == "10.9.0.2"


def test_not_steady_while_an_address_is_between_held_and_not():
    for state in State:
        if state is not F:
            assert reach(state).failover.steady is (state not in {D, L})


def test_a_simulated_line_says_so():
    wire = Wire(Clock(), backend="simulated")
    desk = Desk(wire)
    desk.recover(order())
    desk.run(1)
    desk.recover({})
    desk.restore({})
    assert [entry.fields.get("simulated") for entry in desk.log.entries] == ["true"] * 4


# The node's own address


def own_announcements(desk: Desk) -> list[float]:
    return [at for at, ip in desk.wire.announcements if ip == OWN.ip.ip]


def test_own_address_is_announced_at_start_when_its_link_comes_back_and_after_a_freeze():
    desk = Desk()
    assert len(own_announcements(desk)) == 1
    desk.wire.mend()
    desk.run(1)
    assert len(own_announcements(desk)) == 2
    desk.freeze(5)
    assert len(own_announcements(desk)) == 3
    desk.run(600)
    assert len(own_announcements(desk)) == 3


def test_own_address_is_announced_before_another_s_is_asked_for():
    desk = Desk()
    desk.run(5)
    desk.recover(order())
    desk.recover(order())
    assert [at - 1000 for at in own_announcements(desk)] == pytest.approx([0, 5])
    desk.run(1)
    desk.recover(order())
    assert len(own_announcements(desk)) == 2


def test_own_address_claimed_is_defended_at_most_once_in_10_s():
    desk = Desk()
    for _ in range(24):
        desk.wire.claim(OWN.ip.ip)
        desk.run(1)
    assert [at - 1000 for at in own_announcements(desk)[1:]] == pytest.approx([0, 10, 20])
    assert desk.log.events() == ["address_conflict"] * 3
    entry = desk.log.entries[0]
    assert (entry.level, entry.fields["address"], entry.fields["mac"]) == (
        "CRITICAL",
        "10.9.0.3/24",
        HIGHER_MAC,
    )
    assert desk.wire.own == [OWN]


def test_own_address_asked_for_is_left_to_the_kernel():
    desk = Desk()
    desk.wire.ask(OWN.ip.ip, LOWER_MAC)
    desk.wire.question(OWN.ip.ip, ip_of(6))
    desk.run(1)
    assert len(own_announcements(desk)) == 1


def test_own_address_that_comes_back_with_its_interface_is_announced():
    desk = Desk()
    desk.wire.own.clear()
    desk.node.find(None)
    desk.failover.seen(LinkUp("eth0"), desk.clock.now)
    assert desk.node.primary is None
    desk.wire.own.append(OWN)
    desk.node.find(None)
    assert len(own_announcements(desk)) == 2


def test_an_interface_with_a_thousand_addresses_is_looked_up_once_for_an_order():
    desk = Desk()
    asked = []
    look_up = desk.wire.interface
    desk.wire.interface = lambda name: asked.append(name) or look_up(name)
    here = tuple(Address("eth0", IPv4Interface((0x0A090000 + n, 16))) for n in range(1, 1001))
    assert desk.node.interface_for(IPv4Address("10.9.200.1"), here) == "eth0"
    assert asked == ["eth0"]


def test_a_configured_interface_that_could_not_be_read_is_not_missing():
    wire, log = Wire(Clock()), Lines()
    node = Node(SimpleNamespace(node_id=3, neighbors={3: ()}, interface="eth0"), wire, log)
    node.find(None)
    wire.broken["interface"] = "the kernel did not answer in time"
    with pytest.raises(NetworkError, match="did not answer"):
        node.find(None)
    assert (node.primary, node.carrier, log.events()) == (OWN, True, [])
    wire.broken.clear()
    wire.own.clear()
    node.find(None)
    assert (node.primary, node.carrier, log.events()) == (None, False, ["interface_missing"])


@pytest.mark.parametrize("down", [False, True])
def test_own_address_whose_link_could_not_be_read_is_looked_up_again(down):
    desk = Desk()
    desk.wire.own.clear()
    desk.node.find(None)
    desk.wire.own.append(OWN)
    desk.wire.down = down
    desk.wire.broken["interface"] = "the kernel did not answer in time"
    with pytest.raises(NetworkError):
        desk.node.find(None)
    desk.wire.broken.clear()
    desk.node.find(None)
    assert desk.node.primary == OWN
    assert desk.node.join_data([]).get("carrier", True) is not down
    assert len(own_announcements(desk)) == (1 if down else 2)


@pytest.mark.parametrize(
    ("local_ip", "primary"),
    [
        ("10.9.0.3", "10.9.0.3"),
        ("192.168.7.3", "192.168.7.3"),
        ("127.0.0.1", "10.9.0.3"),
        ("::1", "10.9.0.3"),
        ("fe80::1%eth0", "10.9.0.3"),
        (None, "10.9.0.3"),
    ],
)
def test_own_address_is_this_end_of_the_connection_else_the_default_route_s(local_ip, primary):
    wire = Wire(Clock())
    wire.own.insert(0, Address("lo", type(OWN.ip)("127.0.0.1/8")))
    wire.own.insert(1, Address("eth1", type(OWN.ip)("192.168.7.3/24")))
    desk = Desk(wire)
    desk.node.find(local_ip)
    assert str(desk.node.primary.ip.ip) == primary
    desk.node.find(None)
    assert str(desk.node.primary.ip.ip) == primary


def test_own_address_is_never_a_virtual_address():
    desk = holding(allowed_networks=networks("10.9.0.0/24"))
    desk.node.find("10.9.0.2")
    assert desk.node.primary is None or desk.node.primary == OWN


def test_of_orders_that_wait_so_many_and_each_is_answered():
    desk = Desk()
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    for _ in range(failover.WAITING_ORDERS):
        assert desk.recover(order()) is None
    reason = desk.recover(order())
    assert "wait already" in reason
    assert [data["error"] for _, data in desk.sent] == [reason]
    desk.run(31)  # CONFLICT_WAIT is over
    assert len(desk.sent) == failover.WAITING_ORDERS + 1


def test_orders_that_wait_are_bounded_in_bytes():
    desk = Desk()
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    accepted = 0
    while (reason := desk.recover(order(pad="x" * 60_000, number=accepted))) is None:
        accepted += 1
    assert "wait already" in reason
    assert 8 < accepted <= failover.WAITING_BYTES // 60_000
    desk.run(31)
    assert len(desk.sent) == accepted + 1
    assert [data["number"] for _, data in desk.sent[1:]] == list(range(accepted))
    assert all(len(data["pad"]) == 60_000 for _, data in desk.sent)


def test_what_could_not_be_removed_is_removed_once():
    """However often it was ordered meanwhile, by a master that repeats."""
    desk = Desk()
    desk.wire.broken.update(probe="the helper ended", release="the helper ended")
    for _ in range(20):
        desk.recover(order())
        desk.run(0.5)
    desk.wire.broken.clear()
    desk.run(2)
    assert desk.log.events().count("release_done") == 1
