"""An owner that asks before it uses its address (RFC 5227), and what a holder believes of a MAC."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from failover.states import State
from network.base import ArpSeen
from tests.lab.wire_fake import (
    HIGHER_MAC,
    LOWER_MAC,
    NOBODY,
    OWN,
    Desk,
    Host,
    Wire,
    ip_of,
    order,
    vip_of,
)

IP = ip_of(2)
OWNER_MAC = "02:fc:00:00:00:02"


def holding(desk: Desk | None = None, **more: object) -> Desk:
    desk = desk or Desk()
    assert desk.recover(order(owner_mac=OWNER_MAC) | more) is None
    desk.run(1)
    assert desk.held == [2]
    return desk


def guessing() -> Desk:
    """A holder under a master that does not name MACs: it saw who last used the address."""
    desk = Desk()
    desk.wire.macs[IP] = OWNER_MAC
    desk.recover(order())
    desk.run(1)
    assert desk.held == [2]
    return desk


def asked_with(desk: Desk) -> set[object]:
    return {sender for sender, (_, ip) in zip(desk.wire.senders, desk.wire.probes) if ip == IP}


def test_before_it_takes_an_address_it_probes_without_a_sender():
    desk = Desk()
    desk.recover(order())
    desk.run(0.19)
    assert asked_with(desk) == {None}


@pytest.mark.parametrize("doubt", ["held", "conflict", "lost", "link", "adopted"])
def test_while_held_or_in_doubt_it_asks_with_its_own_address(doubt):
    desk = holding()
    if doubt == "adopted":
        desk = Desk(desk.wire)
    desk.wire.probes.clear()
    desk.wire.senders.clear()
    if doubt == "conflict":
        desk.wire.claim(IP)
    elif doubt == "lost":
        desk.wire.take_away(vip_of(2))
    elif doubt == "link":
        desk.wire.mend()
    desk.run(0.15 if doubt == "lost" else 2.5)
    assert asked_with(desk) == {OWN.ip.ip}


def test_a_holder_yields_to_the_owner_s_probe_and_leaves_it_ten_seconds():
    desk = holding()
    desk.wire.ask(IP, OWNER_MAC)
    desk.run(0.001)
    assert desk.held == []
    assert desk.log.events()[-2:] == ["owner_returned", "release_done"]
    desk.run(9.9)
    assert (desk.held, desk.state()) == ([], State.IN_CONFLICT)
    desk.run(0.2)
    assert desk.held == [2]
    assert desk.log.events()[-1] == "address_restored"


def test_an_owner_that_probes_for_what_is_gone_gets_ten_seconds_whatever_the_machine_says():
    desk = holding()
    desk.wire.take_away(vip_of(2))
    desk.run(0.05)
    assert desk.state() is State.LOST
    desk.wire.broken["release"] = "the addresses of this machine could not be read"
    desk.wire.ask(IP, OWNER_MAC)
    desk.run(1)
    desk.wire.broken.clear()
    desk.run(8.9)
    assert (desk.held, desk.state()) == ([], State.IN_CONFLICT)
    assert desk.log.events()[-2:] == ["address_lost", "owner_returned"]
    desk.run(0.2)
    assert desk.held == [2]


def test_each_further_probe_of_the_owner_leaves_it_ten_seconds_more():
    desk = holding()
    for _ in range(3):
        desk.wire.ask(IP, OWNER_MAC)
        desk.run(4)
    desk.run(5.9)
    assert desk.held == []


def test_an_owner_that_came_up_after_its_probes_keeps_its_address():
    desk = holding()
    desk.wire.ask(IP, OWNER_MAC)
    desk.run(4)
    desk.sent.clear()
    desk.wire.hosts.append(Host(OWNER_MAC, IP))
    desk.run(1.1)
    assert desk.state() is State.FREE
    assert [(event, data["status"]) for event, data in desk.sent] == [("restore node", True)]
    assert OWNER_MAC in desk.sent[0][1]["reason"]


def test_an_owner_s_probe_while_this_node_probes_too_means_that_it_is_back():
    desk = Desk()
    desk.recover(order(owner_mac=OWNER_MAC))
    desk.run(0.1)
    desk.wire.ask(IP, OWNER_MAC)
    desk.run(5)
    assert desk.wire.added == []
    assert "in use by its owner " + OWNER_MAC in desk.sent[0][1]["error"]


def test_an_order_shortly_after_the_owner_s_probe_is_refused_without_a_probe():
    """Whether this node held the address or only heard the probe: its own would be a conflict for the owner."""
    desk = Desk()
    desk.wire.probers[IP, OWNER_MAC] = desk.clock.now
    desk.run(5)
    desk.recover(order(owner_mac=OWNER_MAC))
    assert "in use by its owner" in desk.sent[0][1]["error"]
    assert desk.wire.probes == []
    desk.run(5.1)
    desk.recover(order(owner_mac=OWNER_MAC))
    desk.run(1)
    assert desk.held == [2]


def test_another_taker_s_probe_does_not_hide_the_owner_s():
    desk = holding(owner_mac=OWNER_MAC)
    for mac in (OWNER_MAC, LOWER_MAC):
        desk.wire.ask(IP, mac)
        desk.run(0.1)
    desk.sent.clear()
    desk.recover(order(owner_mac=OWNER_MAC))
    assert "in use by its owner" in desk.sent[0][1]["error"]


def test_another_taker_s_probe_is_not_the_owner_s():
    desk = Desk()
    desk.wire.probers[IP, HIGHER_MAC] = desk.clock.now
    desk.recover(order(owner_mac=OWNER_MAC))
    desk.run(1)
    assert desk.held == [2]


def test_the_owner_s_probes_are_filtered_after_the_answer_and_not_after_the_release():
    desk = Desk()
    desk.recover(order(owner_mac=OWNER_MAC))
    while not desk.sent:
        desk.run(0.005)
    assert desk.wire.filtered == frozenset()
    desk.run(0.03)
    assert desk.wire.filtered == {("eth0", IP, OWNER_MAC)}
    desk.restore({"restore_node": 2})
    desk.run(0.03)
    assert desk.wire.filtered == frozenset()


def test_a_claim_from_another_interface_is_none():
    desk = holding()
    desk.wire.say(ArpSeen("cbr0", False, HIGHER_MAC, IP, IP))
    desk.wire.say(ArpSeen("cbr0", False, OWNER_MAC, NOBODY, IP))
    desk.wire.say(ArpSeen("cbr0", False, HIGHER_MAC, OWN.ip.ip, OWN.ip.ip))
    desk.run(1)
    assert desk.state() is State.HELD
    assert "address_conflict" not in desk.log.events()


def test_an_answer_on_another_interface_is_none():
    desk = Desk()
    desk.recover(order())
    desk.run(0.1)
    desk.wire.say(ArpSeen("cbr0", True, HIGHER_MAC, IP, NOBODY))
    desk.run(1)
    assert desk.held == [2]


def test_a_forged_frame_does_not_make_a_holder_ignore_the_owner_s_probe():
    """It says that the owner's MAC uses another address; nobody answers for that one, so it was wrong."""
    desk = guessing()
    desk.wire.probed_by(OWNER_MAC, IP, also_uses=ip_of(77))
    desk.run(0.31)
    assert desk.held == []
    assert "owner_returned" in desk.log.events()


def test_what_the_master_said_of_a_mac_needs_no_proof():
    desk = holding()
    desk.wire.probed_by(OWNER_MAC, IP, also_uses=ip_of(77))
    desk.run(0.001)
    assert desk.held == []


def test_a_node_that_once_held_the_address_is_not_its_owner():
    """It answers for its own address; and it hears that the address is held, whatever kept that from it."""
    desk = guessing()
    desk.wire.hosts.append(Host(OWNER_MAC, ip_of(4)))
    announced = len(desk.wire.announcements)
    desk.wire.probed_by(OWNER_MAC, IP, also_uses=ip_of(4))
    desk.run(0.4)
    assert desk.state() is State.HELD
    assert len(desk.wire.announcements) > announced
    assert desk.wire.filtered == frozenset()


def test_the_answer_for_the_other_address_must_come_from_that_mac():
    desk = guessing()
    desk.wire.hosts.append(Host(HIGHER_MAC, ip_of(4)))
    desk.wire.probed_by(OWNER_MAC, IP, also_uses=ip_of(4))
    desk.run(0.31)
    assert desk.held == []


@pytest.mark.parametrize("mac", [LOWER_MAC, HIGHER_MAC])
def test_a_mac_that_answered_is_a_holder_and_no_rival(mac):
    """Another worker that asks for what it holds, as older ones do, without a sender."""
    desk = Desk()
    desk.wire.hosts.append(Host(mac, IP))
    desk.recover(order(owner_mac=OWNER_MAC))
    for _ in range(5):
        desk.run(1)
        desk.wire.ask(IP, mac)
    assert desk.state() is State.OWNER_ALIVE
    desk.wire.hosts.clear()
    desk.run(1.5)
    assert desk.held == [2]


@pytest.mark.parametrize("lower", [True, False])
def test_hand_over_does_not_depend_on_which_mac_is_lower(lower):
    """The holder's requests are no rival's; it lets go at the `restore`, and the other takes it."""
    desk = Desk()
    mac = LOWER_MAC if lower else HIGHER_MAC
    desk.wire.hosts.append(Host(mac, IP))
    desk.recover(order())
    for _ in range(3):
        desk.run(0.95)
        desk.wire.question(IP, ip_of(1), mac)
    desk.wire.hosts.clear()
    desk.run(1.5)
    assert desk.held == [2]


def test_a_former_holder_s_probe_is_not_taken_for_an_owner_s_that_starts():
    """Another node that took the address a moment ago, and died: its MAC is the last that used it."""
    desk = Desk()
    desk.wire.macs[IP] = HIGHER_MAC
    desk.wire.other_uses[IP] = ip_of(9)
    desk.wire.probers[IP, HIGHER_MAC] = desk.clock.now
    desk.recover(order())
    desk.run(1)
    assert desk.held == [2]


def test_it_asks_on_the_service_interface_with_an_address_of_that_interface():
    """The primary address may lie on another interface; its sender would be dropped by the owner's kernel."""
    from ipaddress import IPv4Interface

    from network.base import Address
    from tests.lab.wire_fake import Clock

    wire = Wire(Clock(), own=[Address("eth1", IPv4Interface("192.0.2.3/24")), OWN])
    desk = holding(Desk(wire))
    desk.run(2)
    assert asked_with(desk) == {None, OWN.ip.ip}
    assert desk.node.address_on("eth1", IPv4Address("192.0.2.9")) == IPv4Address("192.0.2.3")


def test_each_line_of_an_order_carries_its_number():
    desk = Desk()
    desk.failover.recover(order(), desk.clock.now, desk.clock.now, 7)
    desk.run(1)
    desk.failover.restore({"restore_node": 2}, desk.clock.now, 8)
    desk.failover.recover(order(ip="::1"), desk.clock.now, desk.clock.now, 9)
    desk.failover.restore({"restore_node": "x"}, desk.clock.now, 10)
    numbers = {entry.event: entry.fields.get("order") for entry in desk.log.entries if entry.level != "DEBUG"}
    assert numbers == {
        "takeover_started": "7",
        "takeover_done": "7",
        "release_done": "8",
        "takeover_refused": "9",
        "release_failed": "10",
    }


def test_answers_carry_their_order_and_are_dropped_once_they_are_untrue():
    desk = Desk()
    replies = []
    desk.failover._table.answer = replies.append
    desk.failover.recover(order(), desk.clock.now, desk.clock.now, 7)
    desk.run(1)
    (taken,) = replies
    assert (taken.order, desk.failover.is_stale(taken)) == (7, False)
    desk.failover.restore({"restore_node": 2}, desk.clock.now, 8)
    restored = replies[-1]
    assert (restored.order, desk.failover.is_stale(restored), desk.failover.is_stale(taken)) == (
        8,
        False,
        True,
    )
    desk.failover.recover(order(), desk.clock.now, desk.clock.now, 9)
    desk.run(1)
    assert desk.failover.is_stale(restored)
    assert not desk.failover.is_stale(replies[-1])


@pytest.mark.parametrize("guess", [None, HIGHER_MAC])
def test_an_unknown_host_that_insists_is_taken_for_the_owner(guess):
    """The master did not say which MAC is the owner's, and the kernel answered the host; then it asks again."""
    desk = Desk()
    if guess:
        desk.wire.macs[IP] = guess
    desk.recover(order())
    desk.run(1)
    desk.wire.ask(IP, OWNER_MAC)
    desk.run(1)
    assert desk.held == [2]
    desk.wire.ask(IP, OWNER_MAC)
    desk.run(0.001)
    assert desk.held == []
    assert desk.log.events()[-2:] == ["address_conflict", "release_done"]
    desk.run(4)
    desk.wire.ask(IP, OWNER_MAC)
    desk.run(9.9)
    assert desk.held == []


@pytest.mark.parametrize("case", ["another owner", "another node", "two strangers", "a minute later"])
def test_a_stranger_that_asks_is_not_taken_for_the_owner(case):
    desk = holding() if case == "another owner" else Desk()
    if case != "another owner":
        desk.recover(order())
        desk.run(1)
    if case == "another node":
        desk.wire.hosts.append(Host(HIGHER_MAC, ip_of(9)))
    for mac in (HIGHER_MAC, LOWER_MAC if case == "two strangers" else HIGHER_MAC):
        desk.wire.probed_by(mac, IP, also_uses=ip_of(9) if case == "another node" else None)
        desk.run(61 if case == "a minute later" else 1)
    assert desk.state() is State.HELD


def test_an_unknown_host_that_insists_is_asked_for_the_other_address_that_it_was_seen_with():
    """Nobody answers for that one, so the frame that said so was forged."""
    desk = Desk()
    desk.recover(order())
    desk.run(1)
    for _ in range(2):
        desk.wire.probed_by(OWNER_MAC, IP, also_uses=ip_of(77))
        desk.run(0.31)
    assert desk.held == []


def test_before_it_probes_it_announces_its_own_address_there():
    """So that others can tell it from an owner: on the interface of the order, whatever the primary one is."""
    desk = Desk()
    desk.recover(order())
    assert [ip for _, ip in desk.wire.announcements][-1] == OWN.ip.ip


def test_an_announcement_of_the_other_address_proves_nothing():
    """It can be forged like the frame before it; an answer to this node's question has to come from that MAC."""
    desk = guessing()
    desk.wire.probed_by(OWNER_MAC, IP, also_uses=ip_of(77))
    desk.run(0.05)
    for reply in (False, True):
        desk.wire.say(ArpSeen("eth0", reply, OWNER_MAC, ip_of(77), ip_of(77)))
    desk.run(0.3)
    assert desk.held == []


def test_the_probes_of_what_may_be_another_node_are_not_filtered():
    desk = Desk()
    desk.wire.macs[IP] = HIGHER_MAC
    desk.wire.other_uses[IP] = ip_of(9)
    desk.recover(order())
    desk.run(1)
    assert (desk.held, desk.wire.filtered) == ([2], frozenset())
