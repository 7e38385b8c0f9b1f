"""Whatever comes, in whatever order: what must always be true of the addresses that a worker holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from failover.conflicts import REPEATS_S
from failover.owners import OwnerMacs
from failover.states import HOLDING, OWNER_START_S, State
from network.base import ArpSeen, Vip
from tests.lab.wire_fake import (
    GRID,
    HIGHER_MAC,
    LOWER_MAC,
    NOBODY,
    OWN,
    OWN_MAC,
    Clock,
    Desk,
    Host,
    Wire,
    ip_of,
    order,
    vip_of,
)

PROBE_S = 0.2
A_LITTLE = 1e-6
OWNERS = (2, 5)
owners = st.sampled_from(OWNERS)
macs = st.sampled_from([LOWER_MAC, HIGHER_MAC])
spans = st.sampled_from([0.001, 0.02, 0.07, 0.2, 0.5, 1.05, 3.0, 12.0])


def mac_of(node: int) -> str:
    return f"02:fc:00:00:00:{node:02x}"


class Worker(RuleBasedStateMachine):
    """`waiting` are the accepted orders without an answer, by their number; `taken` the number of the order
    with which each node's address was last taken; `since` when each virtual address came to the interface; `up_s` when
    each node's machine came up; `fresh_s` when the worker, its process or its link last began.
    """

    @initialize(wait_s=st.sampled_from([0.0, 2.0, 30.0]), known=st.sampled_from(["no", "seen", "told"]))
    def begin(self, wait_s: float, known: str) -> None:
        self.wait_s = wait_s
        self.told = known == "told"
        self.yielded: dict[int, float] = {}
        self.owners = OwnerMacs(None, GRID)
        macs = {ip_of(owner): mac_of(owner) for owner in OWNERS} if known == "seen" else {}
        self.wire = Wire(Clock(), macs=macs)
        self.wire.on_added = self.added
        self.number = 0
        self.since: dict[Vip, float] = {}
        self.up_s: dict[int, float] = {}
        self.start()

    def start(self) -> None:
        self.waiting: dict[int, dict[str, Any]] = {}
        self.taken: dict[int, int] = {}
        self.fresh_s = self.wire.clock.now
        self.desk = Desk(self.wire, owners=self.owners, conflict_wait_s=self.wait_s)
        while not self.desk.failover.settled:
            self.desk.run(0.05)
        self.adopted = set(self.desk.held)
        self.read = 0

    # what must be true when an address is added

    def added(self, vip: Vip) -> None:
        now, ip = self.wire.clock.now, vip.ip.ip
        asked = [at for at, probed in self.wire.probes if probed == ip][-3:]
        assert len(asked) == 3
        assert asked[0] >= self.fresh_s, "it was asked before the link or the process came back"
        assert asked[2] - asked[0] >= PROBE_S * 2 / 3 - A_LITTLE
        assert now - asked[2] >= PROBE_S / 3 - A_LITTLE
        for at, arp in self.wire.heard:
            # after a doubt, what is still said of it at once belongs to the claim that raised it
            echo = asked[2] - asked[0] > 1 and at - asked[0] < REPEATS_S and not arp.reply
            assert at <= asked[0] or echo or not self.is_claim(arp, vip), f"{arp} after it was asked"
            rival = (arp.sender_ip, arp.target_ip) == (NOBODY, ip) and arp.sender_mac < OWN_MAC
            assert at <= asked[0] or not rival, f"{arp} goes first"
        if self.told:
            assert now - self.yielded.get(vip.owner, -OWNER_START_S) >= OWNER_START_S - A_LITTLE
        self.since[vip] = now

    def is_claim(self, arp: ArpSeen, vip: Vip) -> bool:
        ip = vip.ip.ip
        owner_s = arp.sender_mac == self.desk.failover._entries[vip.owner].owner_mac
        probe = arp.sender_ip == NOBODY and arp.target_ip == ip and not arp.reply
        return arp.sender_ip == ip or (owner_s and probe)

    # what the master does

    @rule(owner=owners, rival=st.none() | macs)
    def recover(self, owner: int, rival: str | None) -> None:
        """`rival` is a second taker that asks at the same time."""
        self.number += 1
        data = order(owner, number=self.number)
        if self.told:
            data["owner_mac"] = mac_of(owner)
        self.waiting[self.number] = data
        assert self.desk.recover(data) is None or self.wire.down
        self.read_answers()
        if rival:
            self.desk.run(0.01)
            self.probed(owner, rival)

    @rule(owner=owners)
    def recover_with_time_to_succeed(self, owner: int) -> None:
        self.recover(owner, None)
        self.desk.run(0.3)

    @rule(owner=owners)
    def restore(self, owner: int) -> None:
        before = len(self.desk.sent)
        assert self.desk.restore({"restore_node": owner}) is None
        event, data = self.desk.sent[-1]
        assert len(self.desk.sent) > before
        assert (event, data["restore_node"], data["status"]) == ("restore node", owner, True)
        assert owner not in self.desk.held
        for _, other in self.desk.sent[before:-1]:
            assert other["error"]
            assert other["disconnected_node"] == owner
        self.taken.pop(owner, None)
        self.adopted.discard(owner)

    @rule(
        data=st.dictionaries(
            st.sampled_from(["disconnected_node", "ip", "netmask", "recovery_node", "active_neighbors"]),
            st.sampled_from([None, 3, "2", "10.9.0.3", "10.9.0.0", "255.0.0.0", ["1"], "long"]).map(
                lambda value: "x" * 70_000 if value == "long" else value
            ),
            min_size=1,
        )
    )
    def recover_what_is_no_order(self, data: dict[str, Any]) -> None:
        held, before = list(self.desk.held), len(self.desk.sent)
        if self.desk.recover(order(1, **data)) is None:
            assert list(data.values()) == [["1"]]
            self.desk.restore({"restore_node": 1})
        else:
            assert len(self.desk.sent) == before + 1
            assert self.desk.held == held
        self.read = len(self.desk.sent)

    @rule()
    def master_lost(self) -> None:
        self.desk.failover.master_lost(self.desk.clock.now)
        self.desk.run(0)
        assert self.desk.failover.held == []

    # what the wire and the machine do

    @rule(owner=owners, delay_s=st.sampled_from([0.0, 0.0001, 0.02]))
    def machine_comes_up(self, owner: int, delay_s: float) -> None:
        self.wire.hosts.append(Host(mac_of(owner), ip_of(owner), delay_s))
        self.up_s.setdefault(owner, self.wire.clock.now)

    @rule()
    def machines_die(self) -> None:
        self.wire.hosts.clear()
        for owner in self.up_s:
            self.yielded.pop(owner, None)  # it had come up, and is gone again
        self.up_s.clear()

    @rule(owner=owners, mac=macs, times=st.integers(1, 3))
    def claimed(self, owner: int, mac: str, times: int) -> None:
        for _ in range(times):
            self.wire.claim(ip_of(owner), mac)
        self.desk.run(0)

    @rule(owner=owners, mac=macs)
    def probed(self, owner: int, mac: str) -> None:
        self.wire.ask(ip_of(owner), mac)
        self.desk.run(0)

    @rule(owner=owners)
    def owner_probes(self, owner: int) -> None:
        if owner in self.desk.held and not self.wire.down:
            self.yielded[owner] = self.wire.clock.now
        self.wire.ask(ip_of(owner), mac_of(owner))
        self.desk.run(0)

    @rule(owner=owners)
    def looked_up(self, owner: int) -> None:
        before = self.desk.held
        self.wire.question(ip_of(owner), ip_of(9))
        self.desk.run(0)
        assert self.desk.held == before

    @rule(owner=owners)
    def taken_away(self, owner: int) -> None:
        self.wire.take_away(vip_of(owner))
        self.desk.run(0)

    @precondition(lambda self: not self.wire.down)
    @rule()
    def link_goes(self) -> None:
        self.wire.cut()

    @precondition(lambda self: self.wire.down)
    @rule()
    def link_comes(self) -> None:
        self.fresh_s = self.wire.clock.now
        self.wire.mend()
        self.desk.run(0)

    @rule(
        method=st.sampled_from(["probe", "announce", "hold", "renew", "release", "addresses", "watch"]),
        for_s=spans,
    )
    def machine_fails(self, method: str, for_s: float) -> None:
        self.wire.broken[method] = f"{method} does not work"
        self.desk.run(for_s)
        self.wire.broken.clear()
        self.desk.run(4.5)  # a renewal later everything is known again
        self.read_answers()

    @rule(for_s=spans)
    def time_passes(self, for_s: float) -> None:
        self.desk.run(for_s)

    @rule(for_s=spans)
    def frozen(self, for_s: float) -> None:
        self.fresh_s = self.wire.clock.now + for_s
        self.desk.freeze(for_s)

    @rule(for_s=spans)
    def killed_and_started_again(self, for_s: float) -> None:
        self.desk.clock.now += for_s
        self.start()

    @rule()
    def every_order_is_answered_in_the_end(self) -> None:
        self.desk.run(self.wait_s + OWNER_START_S + 1)
        self.read_answers()
        assert self.waiting == {}

    # what is always true

    @invariant()
    def each_answer_is_to_an_order_and_each_order_has_one(self) -> None:
        self.read_answers()

    def read_answers(self) -> None:
        for event, data in self.desk.sent[self.read :]:
            if event == "restore node":
                assert data["status"] is True
                self.taken.pop(data["restore_node"], None)
                self.adopted.discard(data["restore_node"])
                continue
            owner = data["disconnected_node"]
            first = next(
                (n for n, given in self.waiting.items() if given["disconnected_node"] == owner), None
            )
            if "secondary_ip" in data:
                assert first is not None, "a success that nobody asked for"
                self.taken[owner] = first
                del self.waiting[first]
            elif data.get("number") in self.waiting:
                assert data == {**self.waiting.pop(data["number"]), "error": data["error"]}
            elif "number" in data:
                assert self.taken.pop(owner) == data["number"], "answered twice"
            else:
                self.adopted.remove(owner)
        self.read = len(self.desk.sent)

    @invariant()
    def held_is_what_the_interface_holds(self) -> None:
        held = self.desk.failover.held
        assert set(held) == set(self.wire.vips)
        assert len({vip.owner for vip in held}) == len(held)
        entries = self.desk.failover._entries
        assert {owner for owner, entry in entries.items() if entry.state in HOLDING} == set(self.desk.held)
        assert all(entry.state is not State.FREE for entry in entries.values())

    @invariant()
    def join_says_what_is_held(self) -> None:
        held = self.desk.failover.held
        join = self.desk.node.join_data(held)
        assert join["held"] == {str(vip.owner): str(vip.ip.ip) for vip in held}
        newest = max(held, key=lambda vip: self.since.get(vip, 0.0), default=None)
        assert (join["secondary_ip"] is None) == (newest is None)
        if newest and self.since.get(newest, 0.0) > self.fresh_s and not self.adopted:
            assert self.since[held[-1]] == self.since[newest]
        assert join["primary_ip"] == str(OWN.ip.ip)

    @invariant()
    def what_another_claims_is_let_go_within_a_second(self) -> None:
        for vip in self.wire.vips:
            since_s = max(self.since.get(vip, 0.0), self.wire.clock.now - 100)
            for at, arp in self.wire.heard:
                if at > since_s and self.is_claim(arp, vip):
                    assert self.wire.clock.now - at <= 1.0, f"{vip} is held, claimed at {at} by {arp}"

    @invariant()
    def two_machines_never_hold_one_address_for_longer_than_a_second(self) -> None:
        for vip in self.wire.vips:
            if vip.owner in self.up_s and not self.wire.down:
                both_s = max(self.up_s[vip.owner], self.since.get(vip, 0.0), self.fresh_s)
                assert self.wire.clock.now - both_s <= 1.02 + A_LITTLE

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            self.desk.stop()
            self.read_answers()
            assert self.waiting == {}
            assert self.desk.held == []
            assert self.desk.failover.held == []


Worker.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
TestWorker = Worker.TestCase
TestWorker.pytestmark = [pytest.mark.timeout(400)]  # a failure is first made small
