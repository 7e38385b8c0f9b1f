"""The wire and the links, as the netlink backend asks them and hears of them."""

from __future__ import annotations

import socket
import threading
import time
from ipaddress import IPv4Address

import pytest

from network.base import AddressesChanged, ArpSeen, LinkUp, NetworkError
from network.netlink import arp
from tests.integration.backend import IP, OWN, VIP, Node, lab, node
from tests.lab.netns import needs_namespaces, until
from tests.lab.observers import in_namespace
from tests.lab.waiting import PATIENCE_S

__all__ = ["lab", "node"]
pytestmark = needs_namespaces


def test_a_probe_is_answered_by_who_holds_the_address(lab, node):
    client = IPv4Address(lab.client.ip)
    node.watch(frozenset({client, IP, OWN.ip}))
    with lab.capture() as capture:
        for n in range(1, 4):
            node.probe("eth0", client)
            seen = until(lambda: node.of(ArpSeen)[n - 1 :])[0]
        node.probe("eth0", IP)
        node.probe("eth0", OWN.ip)
        until(lambda: len(capture.probes("10.9.0.3")) == 1)
        (probe,) = capture.probes("10.9.0.2")
    assert (seen.interface, seen.reply) == ("eth0", True)
    assert (seen.sender_mac, seen.sender_ip) == (lab.client.mac, client)
    assert probe.seen == ArpSeen("n3", False, lab.node(3).mac, IPv4Address(0), IP)
    assert len(node.of(ArpSeen)) == 3


def test_an_announcement_moves_a_warm_cache_at_once(lab, node):
    dead = lab.add("n2", "10.9.0.2", "02:fc:00:00:00:02")
    assert lab.client.answers("10.9.0.2")
    with lab.capture() as capture, lab.client.pings("10.9.0.2", every_s=0.005) as pings:
        dead.cut()
        # The kernel ignores a change within 1 s of the last (locktime).
        time.sleep(1.1)
        node.hold(VIP)
        node.announce("eth0", IP)
        there_s = time.monotonic()
        until(lambda: any(at > there_s for at in pings.answered.values()))

        def told():
            return [frame.seen for frame in capture.claims("10.9.0.2") if frame.seen.target_ip == IP]

        until(lambda: len(told()) >= 2)
    assert told() == [ArpSeen("n3", reply, node.host.mac, IP, IP) for reply in (False, True)]


def test_what_cannot_be_sent_is_never_silence(lab, node):
    def fails(reason, interface="eth0"):
        for send in (node.probe, node.announce):
            with pytest.raises(NetworkError, match=reason):
                send(interface, IP)

    fails("lo speaks no ARP", "lo")
    fails("there is no interface nosuch0", "nosuch0")
    node.host.cut()
    fails("eth0 has no link")
    with pytest.raises(NetworkError, match="has no link"):
        node.hold(VIP)
    node.host.mend()
    node.host.sh("ip link set eth0 arp off")
    fails("speaks no ARP")
    node.host.sh("ip link set eth0 arp on; ip link set eth0 down")
    fails("eth0 is down")
    node.host.sh("ip link del eth0")
    fails("there is no interface eth0")
    with pytest.raises(NetworkError, match="there is no interface eth0"):
        node.hold(VIP)
    node.release(VIP)


def test_a_cut_is_known_at_once(node):
    """The interface's flags lag behind; a probe in that gap would take silence for an answer."""
    for _ in range(60):
        node.host.cut()
        with pytest.raises(NetworkError, match="has no link"):
            node.probe("eth0", IP)
        node.host.mend()
        until(lambda: not refuses(node))


def refuses(node):
    try:
        node.probe("eth0", IP)
    except NetworkError:
        return True
    return False


def test_another_vlan_is_not_heard(lab, node):
    """The kernel hands frames of a VLAN that it does not know to the card itself, their tag taken off."""
    node.watch(frozenset({IP}))
    frame = arp.announcements("02:fc:00:00:00:99", IP)[0]
    other = IPv4Address("10.9.0.9")
    sock = in_namespace(lab.client.ns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    with sock:
        in_namespace(lab.client.ns, lambda: sock.bind(("eth0", 0)))
        sock.send(frame[:12] + b"\x81\x00\x00\x4d" + frame[12:])
        sock.send(arp.announcements("02:fc:00:00:00:99", other)[0])
    until(lambda: node.heard(other))
    assert node.last_seen("eth0", IP).mac is None
    assert node.of(ArpSeen) == []


def test_only_other_machines_are_heard(lab, node):
    """A machine with two cards on one segment answers its own probe from the other card's MAC."""
    lab.plug(node.host, "n3b", "eth1", "02:fc:00:00:01:03")
    node.hold(VIP)
    node.watch(frozenset({IP}))
    with lab.capture() as capture:
        node.probe("eth1", IP)
        until(lambda: [frame for frame in capture.claims("10.9.0.2") if frame.seen.reply])
        lab.client.run("ip", "neigh", "flush", "all")
        assert lab.client.answers("10.9.0.2")
        until(lambda: node.of(ArpSeen))
    assert {seen.sender_mac for seen in node.of(ArpSeen)} == {lab.client.mac}
    assert {(seen.sender_ip, seen.target_ip) for seen in node.of(ArpSeen)} == {
        (IPv4Address(lab.client.ip), IP)
    }


def test_only_watched_addresses_are_told_of(lab, node):
    lab.client.run("ip", "addr", "add", "10.9.0.2/24", "dev", "eth0")
    client = Node(lab.client, node_id=1).open()
    other = IPv4Address("10.9.0.7")
    client.announce("eth0", IP)
    client.announce("eth0", other)
    until(lambda: node.heard(other))
    node.watch(frozenset({IP}))
    client.announce("eth0", other)
    client.announce("eth0", IP)
    until(lambda: len(node.of(ArpSeen)) == 2)
    client.shut()
    assert [seen.reply for seen in node.of(ArpSeen)] == [False, True]
    assert {seen.sender_ip for seen in node.of(ArpSeen)} == {IP}


def test_a_flood_is_thinned(lab, node):
    client = Node(lab.client, node_id=1).open()
    node.watch(frozenset({IP}))
    for _ in range(500):
        client.announce("eth0", IP)
    last = IPv4Address("10.9.0.9")
    client.announce("eth0", last)
    until(lambda: node.heard(last))
    client.shut()
    assert 10 <= len(node.of(ArpSeen)) <= 40


def test_a_mac_that_uses_other_addresses_too_is_told_with_one_of_them(lab, node):
    client = Node(lab.client, node_id=1).open()
    client.announce("eth0", IP)
    assert until(lambda: node.last_seen("eth0", IP).mac) == lab.client.mac
    client.announce("eth0", IPv4Address("10.9.0.9"))
    until(lambda: node.heard(IPv4Address("10.9.0.9")))
    client.shut()
    seen = node.last_seen("eth0", IP)
    assert (seen.mac, seen.also_uses) == (lab.client.mac, IPv4Address("10.9.0.9"))


def test_a_probe_is_told_with_the_other_address_of_its_mac_and_remembered(lab, node):
    node.watch(frozenset({IP}))
    client = Node(lab.client, node_id=1).open()
    client.announce("eth0", IPv4Address("10.9.0.9"))
    until(lambda: node.heard(IPv4Address("10.9.0.9")))
    client.probe("eth0", IP)
    (probe,) = until(lambda: node.of(ArpSeen))
    client.probe("eth0", IP, IPv4Address(lab.client.ip))
    asked = until(lambda: node.of(ArpSeen)[1:])[0]
    client.shut()
    assert (probe.sender_ip, probe.also_uses) == (arp.UNSPECIFIED, IPv4Address("10.9.0.9"))
    assert (asked.sender_ip, asked.also_uses) == (IPv4Address(lab.client.ip), None)
    seen = node.last_seen("eth0", IP)
    assert seen.mac is None
    assert 0 < seen.probed_ago_s[lab.client.mac] < 10


def test_the_link_comes_back(node):
    node.hold(VIP)
    node.host.cut()
    time.sleep(0.05)
    assert node.of(LinkUp) == []
    node.host.mend()
    assert until(lambda: node.of(LinkUp)) == [LinkUp("eth0")]
    node.host.down()
    node.host.up()
    until(lambda: len(node.of(LinkUp)) == 2)
    node.events.clear()
    node.host.sh("ip link set eth0 mtu 1400; ip addr add 10.9.0.77/24 dev eth0")
    until(lambda: node.of(AddressesChanged))
    assert node.of(LinkUp) == []
    node.probe("eth0", IP)


def test_leaving_a_bridge_is_no_new_link(node):
    """The kernel reports it like a link that went, in the family of bridges."""
    node.host.sh("ip link add br1 type bridge; ip link set eth0 master br1; ip link set eth0 nomaster")
    node.host.sh("ip link set eth0 mtu 1400; ip addr add 10.9.0.77/24 dev eth0")
    until(lambda: node.of(AddressesChanged))
    assert LinkUp("eth0") not in node.events


def test_the_interface_goes_and_comes_back(lab, node):
    node.hold(VIP)
    node.watch(frozenset({IPv4Address(lab.client.ip)}))
    node.host.sh("ip link del eth0")
    assert until(lambda: node.of(AddressesChanged))
    assert node.host.addresses() == []
    lab.plug(node.host, "n3", "eth0", "02:fc:00:00:00:33")
    assert until(lambda: node.of(LinkUp)) == [LinkUp("eth0")]
    node.host.sh("ip addr add 10.9.0.3/24 dev eth0")
    node.hold(VIP)
    node.probe("eth0", IPv4Address(lab.client.ip))
    assert until(lambda: node.of(ArpSeen))
    assert node.interface("eth0").mac == "02:fc:00:00:00:33"


def test_the_owner_s_mac_is_remembered(lab, node):
    client = IPv4Address(lab.client.ip)
    assert node.last_seen("eth0", client).mac is None
    assert node.last_seen("nosuch0", client).mac is None
    node.host.sh("ip neigh add 10.9.0.100 lladdr 02:aa:00:00:00:01 dev eth0 nud stale")
    assert node.last_seen("eth0", client).mac == "02:aa:00:00:00:01"
    node.host.sh("ip neigh flush all")
    assert node.last_seen("eth0", client).mac is None
    lab.client.answers("10.9.0.10")
    assert until(lambda: node.last_seen("eth0", client).mac) == lab.client.mac
    assert node.last_seen("eth0", IPv4Address("10.9.0.99")).mac is None


def test_events_that_the_kernel_could_not_deliver_are_made_up_for(lab):
    node = Node(lab.node(3), lease_s=0)  # the bursts may take longer than a lease
    blocked, held_up = threading.Event(), threading.Event()

    def post(event):
        node.events.append(event)
        held_up.set()
        blocked.wait(20)

    node.start(post)
    node.hold(VIP)
    node.host.sh("ip addr add 10.9.0.77/24 dev eth0")
    assert held_up.wait(PATIENCE_S)
    burst = "".join(f"address add 10.8.{n // 250}.{n % 250 + 1}/32 dev lo\n" for n in range(2500))
    for command in (burst, burst.replace(" add ", " del "), burst, burst.replace(" add ", " del ")):
        node.host.run("ip", "-batch", "-", input=command)
    node.host.sh("ip addr del 10.9.0.2/24 dev eth0")
    node.events.clear()
    blocked.set()
    # No link had changed: only what was lost can have raised this.
    until(lambda: LinkUp("eth0") in node.events, 10)
    until(lambda: node.of(AddressesChanged))
    node.shut()


def test_close_leaves_addresses_and_nothing_else(lab):
    node = Node(lab.node(3)).open()
    node.hold(VIP)
    before = threading.active_count()
    node.shut()
    assert threading.active_count() <= before - 2  # its watch, and the thread inside the namespace
    assert "10.9.0.2/24" in lab.node(3).addresses()
