"""The netlink backend in a namespace of its own: what the kernel and the wire then show."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import textwrap
import threading
import time
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from network.interface import Address, AddressesChanged, ArpSeen, LinkUp, Loan, NetworkError
from tests.integration.netns import Lab, needs_namespaces, until
from tests.integration.observers import Inside

pytestmark = needs_namespaces
LOAN = Loan(2, IPv4Interface("10.9.0.2/24"), "eth0")
OWN = IPv4Interface("10.9.0.3/24")
IP = LOAN.ip.ip
ROOT = Path(__file__).parents[2]


class Node:
    """Node 3's backend, called inside its namespace, and the events that it posted."""

    def __init__(self, host, interface=None, lease_s=10, node_id=3):
        from network.linux import Netlink

        self.host, self.events = host, []
        self.inside = Inside(host.ns)
        self.net = self.inside.call(Netlink, node_id, interface, lease_s)

    def __getattr__(self, name):
        return lambda *args: self.inside.call(getattr(self.net, name), *args)

    def open(self):
        self.start(self.events.append)
        return self

    def shut(self):
        self.close()
        self.inside.close()

    def of(self, kind):
        return [event for event in list(self.events) if isinstance(event, kind)]

    def details(self):
        """What `ip` tells of each address on the card."""
        out = self.host.run("ip", "-4", "-d", "-j", "addr", "show", "dev", self.host.interface).stdout
        return {f"{a['local']}/{a['prefixlen']}": a for a in json.loads(out)[0]["addr_info"]}


@pytest.fixture
def lab():
    with Lab(nodes=(3,)) as lab:
        yield lab


@pytest.fixture
def node(lab):
    lab.node(3).sh("ip route add default via 10.9.0.10")
    node = Node(lab.node(3)).open()
    yield node
    node.shut()


def test_a_loan_as_the_kernel_shows_it(node):
    routes = node.host.sh("ip route show table all | grep -v 10.9.0.2")
    node.hold(LOAN)
    shown = node.details()["10.9.0.2/24"]
    assert shown["label"] == "eth0:f3.2"
    assert shown["noprefixroute"] and shown["secondary"] and shown["dynamic"]
    assert 9 <= shown["valid_life_time"] <= 10 and 9 <= shown["preferred_life_time"] <= 10
    assert "broadcast" not in shown
    assert node.host.addresses() == ["10.9.0.3/24", "10.9.0.2/24"]
    assert node.host.sh("ip route show table all | grep -v 10.9.0.2") == routes
    eth0 = [a for a in node.addresses() if a.interface == "eth0"]
    assert eth0 == [Address("eth0", OWN), Address("eth0", LOAN.ip, 2)]
    node.release(LOAN)
    assert node.host.addresses() == ["10.9.0.3/24"]


def test_without_a_lease_it_stays(lab):
    node = Node(lab.node(3), lease_s=0).open()
    node.hold(LOAN)
    node.renew(LOAN)
    assert "dynamic" not in node.details()["10.9.0.2/24"]
    node.shut()
    assert lab.node(3).addresses() == ["10.9.0.3/24", "10.9.0.2/24"]


def test_the_lease_runs_out_unless_it_is_renewed(lab):
    node = Node(lab.node(3), lease_s=1).open()
    node.hold(LOAN)
    began = time.monotonic()
    while time.monotonic() < began + 1.6:
        node.renew(LOAN)
        time.sleep(0.2)
    assert "10.9.0.2/24" in node.host.addresses()
    node.events.clear()
    until(lambda: "10.9.0.2/24" not in node.host.addresses(), 2.5)
    assert until(lambda: node.of(AddressesChanged))
    node.shut()


def test_a_renewed_lease_is_no_change_of_addresses(node):
    node.hold(LOAN)
    until(lambda: node.of(AddressesChanged))
    node.events.clear()
    for _ in range(5):
        node.renew(LOAN)
    node.hold(LOAN)
    node.host.sh("ip addr add 10.9.0.77/24 dev eth0")
    until(lambda: node.of(AddressesChanged))
    assert len(node.of(AddressesChanged)) == 1


def test_an_address_removed_by_hand_is_told_and_not_renewed(node):
    node.hold(LOAN)
    until(lambda: node.of(AddressesChanged))
    node.events.clear()
    node.host.sh("ip addr del 10.9.0.2/24 dev eth0")
    assert until(lambda: node.of(AddressesChanged))
    with pytest.raises(NetworkError, match="no longer on eth0"):
        node.renew(LOAN)
    assert node.host.addresses() == ["10.9.0.3/24"]
    node.release(LOAN)


@pytest.mark.parametrize(
    "there",
    [
        "10.9.0.2/24 dev eth0",
        "10.9.0.2/25 dev eth0",
        "10.9.0.2/32 dev lo",
        "10.9.0.2/24 dev eth0 label eth0:f4.2",
        "10.9.0.2/24 dev eth0 label eth0:f3.1",
        "10.9.0.2/25 dev eth0 label eth0:f3.2",
    ],
)
def test_what_somebody_else_added_is_left_alone(node, there):
    node.host.sh(f"ip addr add {there}")
    before = node.host.sh("ip -o addr")
    with pytest.raises(NetworkError, match=r"already has 10\.9\.0\.2/"):
        node.hold(LOAN)
    with pytest.raises(NetworkError, match="no longer"):
        node.renew(LOAN)
    node.release(LOAN)
    assert node.host.sh("ip -o addr") == before


def test_another_worker_on_this_machine_owns_its_own_loans(lab, node):
    other = Node(lab.node(3), node_id=4).open()
    node.hold(LOAN)
    assert [a.owner for a in node.addresses()] == [None, None, 2]
    assert [a.owner for a in other.addresses()] == [None, None, None]
    other.release(LOAN)
    other.host.sh("ip addr add 10.9.0.5/24 dev eth0")
    assert "10.9.0.2/24" in node.host.addresses()
    other.shut()


def test_addresses_are_compared_parsed(node):
    node.host.sh("ip addr add 110.0.0.2/24 dev eth0; ip addr add 10.0.0.3/24 dev eth0")
    loan = Loan(2, IPv4Interface("10.0.0.2/24"), "eth0")
    node.release(loan)
    node.hold(loan)
    assert {"110.0.0.2/24", "10.0.0.2/24"} <= set(node.host.addresses())
    node.release(loan)
    assert "110.0.0.2/24" in node.host.addresses()
    assert "10.0.0.2/24" not in node.host.addresses()


def test_never_the_first_address_of_its_subnet(node):
    for ip in ("10.8.0.2/24", "192.0.2.1/32"):
        with pytest.raises(NetworkError, match="no address of its own"):
            node.hold(Loan(2, IPv4Interface(ip), "eth0"))
    node.host.sh("ip addr add 10.8.0.4/24 dev eth0 label eth0:f4.1")
    with pytest.raises(NetworkError, match="no address of its own"):
        node.hold(Loan(2, IPv4Interface("10.8.0.2/24"), "eth0"))
    assert node.host.addresses() == ["10.9.0.3/24", "10.8.0.4/24"]


@pytest.mark.parametrize("prefix", [16, 24, 25, 32])
@pytest.mark.parametrize("promote", [0, 1])
def test_the_own_address_taken_off_and_added_again(node, promote, prefix):
    """The loan goes with the address it stands behind, whatever promote_secondaries says, and so is never the
    source of the machine's own traffic."""
    node.host.sh(f"sysctl -qw net.ipv4.conf.all.promote_secondaries={promote}")
    node.host.sh(f"sysctl -qw net.ipv4.conf.eth0.promote_secondaries={promote}")
    loan = Loan(2, IPv4Interface(f"10.9.0.2/{prefix}"), "eth0")
    node.hold(loan)
    assert {node.host.source_for(to) for to in ("10.9.0.10", "10.9.0.100", "8.8.8.8")} == {"10.9.0.3"}
    node.host.sh("ip addr del 10.9.0.3/24 dev eth0")
    until(lambda: node.host.addresses() == [], 1)
    with pytest.raises(NetworkError, match="no address of its own"):
        node.hold(loan)
    node.host.sh("ip addr add 10.9.0.3/24 dev eth0; ip route replace default via 10.9.0.10")
    node.hold(loan)
    assert node.host.addresses() == ["10.9.0.3/24", f"10.9.0.2/{prefix}"]
    assert {node.host.source_for(to) for to in ("10.9.0.10", "10.9.0.100", "8.8.8.8")} == {"10.9.0.3"}


def test_a_promoted_loan_is_removed_at_start_and_never_renewed(lab):
    host = lab.node(3)
    host.sh(
        "sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1;"
        "ip addr add 10.9.0.2/24 dev eth0 label eth0:f3.2; ip addr del 10.9.0.3/24 dev eth0;"
        "ip addr add 10.9.0.3/24 dev eth0"
    )
    assert host.addresses() == ["10.9.0.2/24", "10.9.0.3/24"]
    node = Node(host)
    with pytest.raises(NetworkError, match="stands before"):
        node.renew(LOAN)
    node.open()
    assert host.addresses() == ["10.9.0.3/24"]
    assert host.source_for("10.9.0.10") == "10.9.0.3"
    node.shut()


@pytest.mark.parametrize("name", ["enx001122334455", "eth0.100", "br-0123456789ab"])
def test_interfaces_with_long_names(lab, name):
    host = lab.add("n5", "10.9.0.5", "02:fc:00:00:00:05", interface=name)
    node = Node(host, node_id=5).open()
    loan = Loan(2, LOAN.ip, name)
    node.hold(loan)
    assert re.fullmatch(r".{1,10}:f5\.2", node.details()["10.9.0.2/24"]["label"])
    restarted, another = Node(host, node_id=5), Node(host, node_id=3)
    assert restarted.addresses()[-1] == Address(name, LOAN.ip, 2)
    assert another.addresses()[-1] == Address(name, LOAN.ip, None)
    restarted.renew(loan)
    restarted.release(loan)
    assert host.addresses() == ["10.9.0.5/24"]
    for one in (node, restarted, another):
        one.shut()


def test_node_numbers_too_long_for_a_label(node):
    with pytest.raises(NetworkError, match="too long for a label"):
        node.hold(Loan(12345678901234, LOAN.ip, "eth0"))


def test_a_renamed_interface_keeps_its_loan(node):
    node.hold(LOAN)
    node.host.sh("ip link set eth0 down; ip link set eth0 name uplink0; ip link set uplink0 up")
    until(lambda: LinkUp("uplink0") in node.events)
    assert Address("uplink0", LOAN.ip, 2) in node.addresses()
    node.renew(Loan(2, LOAN.ip, "uplink0"))
    node.probe("uplink0", IP)
    node.release(LOAN)
    assert LOAN.ip not in [a.ip for a in node.addresses()]


def test_the_interface_for_an_address(lab, node):
    assert node.interface_for(IP) == "eth0"
    with pytest.raises(NetworkError, match=r"no interface .* holds 10\.7\.0\.1"):
        node.interface_for(IPv4Address("10.7.0.1"))
    node.host.sh("ip addr add 10.6.0.2/24 dev eth0 label eth0:f4.2")
    with pytest.raises(NetworkError, match=r"no interface .* holds 10\.6\.0\.9"):
        node.interface_for(IPv4Address("10.6.0.9"))
    lab.plug(node.host, "n3b", "eth1", "02:fc:00:00:01:03")
    node.host.sh("ip addr add 10.9.1.3/16 dev eth1")
    assert node.interface_for(IP) == "eth0"
    assert node.interface_for(IPv4Address("10.9.7.7")) == "eth1"
    node.host.sh("ip addr del 10.9.1.3/16 dev eth1; ip addr add 10.9.0.33/24 dev eth1")
    node.host.down()
    assert node.interface_for(IP) == "eth1"
    node.host.sh("ip link del eth1")
    with pytest.raises(NetworkError, match="eth0 is down"):
        node.interface_for(IP)
    node.host.up()
    node.host.cut()
    with pytest.raises(NetworkError, match="eth0 has no link"):
        node.interface_for(IP)


def test_the_interface_that_is_configured(lab):
    node = Node(lab.node(3), interface="eth0")
    assert node.interface_for(IPv4Address("203.0.113.1")) == "eth0"
    lab.node(3).cut()
    with pytest.raises(NetworkError, match="has no link"):
        node.interface_for(IP)
    node.shut()
    node = Node(lab.node(3), interface="nosuch0")
    with pytest.raises(NetworkError, match="there is no interface nosuch0"):
        node.interface_for(IP)
    node.shut()


def test_gateways_and_the_default_interface(lab, node):
    assert node.gateways() == {IPv4Address("10.9.0.10")}
    assert node.default_interface() == "eth0"
    lab.plug(node.host, "n3b", "eth1", "02:fc:00:00:01:03")
    node.host.sh("ip addr add 10.5.0.3/24 dev eth1; ip route add default via 10.5.0.1 metric 50")
    node.host.sh("ip route add default table 99 via 10.5.0.9")
    node.host.sh("ip route add default metric 9 nexthop via 10.9.0.11 nexthop via 10.9.0.12")
    expected = {"10.9.0.10", "10.5.0.1", "10.5.0.9", "10.9.0.11", "10.9.0.12"}
    assert {str(ip) for ip in node.gateways()} == expected
    assert node.default_interface() == "eth0"
    node.host.sh("ip route flush exact 0.0.0.0/0; ip route add default via 10.5.0.1 metric 50")
    assert node.default_interface() == "eth1"
    node.host.sh("ip route flush exact 0.0.0.0/0; ip route flush table 99")
    assert (node.default_interface(), node.gateways()) == (None, frozenset())


def test_a_probe_is_answered_by_who_holds_the_address(lab, node):
    client = IPv4Address(lab.client.ip)
    node.watch(frozenset({client, IP, OWN.ip}))
    with lab.capture() as capture:
        began = time.monotonic()
        node.probe("eth0", client)
        (seen,) = until(lambda: node.of(ArpSeen))
        took_s = time.monotonic() - began
        node.probe("eth0", IP)
        node.probe("eth0", OWN.ip)
        until(lambda: len(capture.probes("10.9.0.3")) == 1)
        (probe,) = capture.probes("10.9.0.2")
    assert (seen.interface, seen.reply) == ("eth0", True)
    assert (seen.sender_mac, seen.sender_ip) == (lab.client.mac, client)
    assert took_s < 0.1
    assert probe.seen == ArpSeen("n3", False, lab.node(3).mac, IPv4Address(0), IP)
    assert len(node.of(ArpSeen)) == 1


def test_an_announcement_moves_a_warm_cache_at_once(lab, node):
    dead = lab.add("n2", "10.9.0.2", "02:fc:00:00:00:02")
    assert lab.client.answers("10.9.0.2")
    with lab.capture() as capture, lab.client.pings("10.9.0.2", every_s=0.005) as pings:
        dead.cut()
        # The kernel ignores a change within 1 s of the last (locktime).
        time.sleep(1.1)
        node.hold(LOAN)
        node.announce("eth0", IP)
        there_s = time.monotonic()
        until(lambda: any(at > there_s for at in pings.answered.values()))
        first_s = min(at for at in pings.answered.values() if at > there_s)
        told = [frame.seen for frame in capture.claims("10.9.0.2") if frame.seen.target_ip == IP]
    assert first_s - there_s < 0.1
    assert told == [ArpSeen("n3", reply, node.host.mac, IP, IP) for reply in (False, True)]


def test_what_cannot_be_sent_is_never_silence(lab, node):
    def fails(reason, interface="eth0"):
        for send in (node.probe, node.announce):
            with pytest.raises(NetworkError, match=reason):
                send(interface, IP)

    fails("not Ethernet", "lo")
    fails("there is no interface nosuch0", "nosuch0")
    node.host.cut()
    fails("eth0 has no link")
    with pytest.raises(NetworkError, match="has no link"):
        node.hold(LOAN)
    node.host.mend()
    node.host.sh("ip link set eth0 arp off")
    fails("speaks no ARP")
    node.host.sh("ip link set eth0 arp on; ip link set eth0 down")
    fails("eth0 is down")
    node.host.sh("ip link del eth0")
    fails("there is no interface eth0")
    with pytest.raises(NetworkError, match="there is no interface eth0"):
        node.hold(LOAN)
    node.release(LOAN)


def test_only_other_machines_are_heard(lab, node):
    """A machine with two cards on one segment answers its own probe from the other card's MAC."""
    lab.plug(node.host, "n3b", "eth1", "02:fc:00:00:01:03")
    node.hold(LOAN)
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
    until(lambda: node.net._watch.last_mac("eth0", other))
    node.watch(frozenset({IP}))
    client.announce("eth0", other)
    client.announce("eth0", IP)
    until(lambda: len(node.of(ArpSeen)) == 2)
    client.shut()
    assert [seen.reply for seen in node.of(ArpSeen)] == [False, True]
    assert {seen.sender_ip for seen in node.of(ArpSeen)} == {IP}


def test_a_probe_tells_whether_its_sender_uses_other_addresses(lab, node):
    """Then it may be another node that held the address; it need not be its owner."""
    client = Node(lab.client, node_id=1).open()
    client.announce("eth0", IP)
    until(lambda: node.last_mac("eth0", IP))
    node.watch(frozenset({IP}))
    client.probe("eth0", IP)
    client.announce("eth0", IPv4Address(lab.client.ip))
    client.probe("eth0", IP)

    def probes():
        return [seen for seen in node.of(ArpSeen) if seen.sender_ip == IPv4Address(0)]

    until(lambda: len(probes()) == 2)
    client.shut()
    assert [seen.uses_others for seen in probes()] == [False, True]


def test_a_flood_is_thinned(lab, node):
    client = Node(lab.client, node_id=1).open()
    node.watch(frozenset({IP}))
    for _ in range(500):
        client.announce("eth0", IP)
    last = IPv4Address("10.9.0.9")
    client.announce("eth0", last)
    until(lambda: node.net._watch.last_mac("eth0", last))
    client.shut()
    assert 10 <= len(node.of(ArpSeen)) <= 40


def test_a_flood_does_not_drown_the_answer_to_a_question(lab, node):
    lab.client.run("ip", "addr", "add", f"{IP}/24", "dev", "eth0")
    client = Node(lab.client, node_id=1).open()
    node.watch(frozenset({IP}))
    for _ in range(5):
        for _ in range(20):
            client.announce("eth0", IP)
        node.probe("eth0", IP)
        until(lambda: [seen for seen in node.of(ArpSeen) if seen.target_ip == IPv4Address(0)], 0.5)
        node.events.clear()
    client.shut()


def test_the_link_comes_back(node):
    node.hold(LOAN)
    node.host.cut()
    time.sleep(0.05)
    assert node.of(LinkUp) == []
    node.host.mend()
    assert until(lambda: node.of(LinkUp)) == [LinkUp("eth0")]
    node.host.sh("ip link set eth0 mtu 1400")
    node.host.down()
    node.host.up()
    until(lambda: len(node.of(LinkUp)) == 2)
    node.probe("eth0", IP)


def test_the_interface_goes_and_comes_back(lab, node):
    node.hold(LOAN)
    node.watch(frozenset({IPv4Address(lab.client.ip)}))
    node.host.sh("ip link del eth0")
    assert until(lambda: node.of(AddressesChanged))
    assert node.host.addresses() == []
    lab.plug(node.host, "n3", "eth0", "02:fc:00:00:00:33")
    assert until(lambda: node.of(LinkUp)) == [LinkUp("eth0")]
    node.host.sh("ip addr add 10.9.0.3/24 dev eth0")
    node.hold(LOAN)
    node.probe("eth0", IPv4Address(lab.client.ip))
    assert until(lambda: node.of(ArpSeen))
    assert node.mac("eth0") == "02:fc:00:00:00:33"


def test_the_owner_s_mac_is_remembered(lab, node):
    client = IPv4Address(lab.client.ip)
    assert node.last_mac("eth0", client) is None
    assert node.last_mac("nosuch0", client) is None
    node.host.sh("ip neigh add 10.9.0.100 lladdr 02:aa:00:00:00:01 dev eth0 nud stale")
    assert node.last_mac("eth0", client) == "02:aa:00:00:00:01"
    node.host.sh("ip neigh flush all")
    assert node.last_mac("eth0", client) is None
    lab.client.answers("10.9.0.10")
    assert until(lambda: node.last_mac("eth0", client)) == lab.client.mac
    assert node.last_mac("eth0", IPv4Address("10.9.0.99")) is None


def test_events_that_the_kernel_could_not_deliver_are_made_up_for(lab):
    node = Node(lab.node(3))
    blocked, held_up = threading.Event(), threading.Event()

    def post(event):
        node.events.append(event)
        held_up.set()
        blocked.wait(20)

    node.start(post)
    node.hold(LOAN)
    assert held_up.wait(5)
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
    node.hold(LOAN)
    before = threading.active_count()
    began = time.monotonic()
    node.shut()
    assert time.monotonic() - began < 0.5
    assert threading.active_count() <= before - 2  # its watch, and the thread inside the namespace
    assert "10.9.0.2/24" in lab.node(3).addresses()


@pytest.mark.parametrize(
    ("dropped", "named"),
    [("net_admin", "CAP_NET_ADMIN"), ("net_raw", "CAP_NET_RAW"), ("net_admin,-net_raw", "CAP_NET_RAW")],
)
def test_without_the_capability_it_says_how_to_grant_it(lab, dropped, named):
    script = textwrap.dedent("""
        import sys
        from ipaddress import IPv4Address, IPv4Interface
        from network.interface import Loan, NetworkError
        from network.linux import Netlink
        net = Netlink(3, None, 10)
        print(len(net.addresses()), net.interface_for(IPv4Address("10.9.0.2")), net.mac("eth0"), net.gateways())
        for act in (lambda: net.start(print), lambda: net.probe("eth0", IPv4Address("10.9.0.2"))):
            try:
                act()
            except NetworkError as exc:
                print(exc)
    """)
    done = (
        lab.node(3)
        .run("setpriv", f"--bounding-set=-{dropped}", sys.executable, "-c", script, cwd=str(ROOT))
        .stdout.splitlines()
    )
    assert done[0] == "2 eth0 02:fc:00:00:00:03 frozenset()"
    for reason in done[1:3]:
        assert f"lacks {named}" in reason or f"and {named}" in reason
        assert "AmbientCapabilities" in reason and "setcap" in reason and "VIP_BACKEND=sudo" in reason
    assert len(done) == 3


def test_it_is_quicker_than_one_ip_command_pair(node):
    def ip_pair():
        for verb in ("add", "del"):
            subprocess.run(node.host.argv("ip", "addr", verb, "10.9.0.2/24", "dev", "eth0"), check=True)

    def hold_and_announce():
        node.hold(LOAN)
        node.announce("eth0", IP)

    ours, theirs = [], []
    for _ in range(40):
        for rounds, act in ((ours, hold_and_announce), (theirs, ip_pair)):
            began = time.perf_counter()
            act()
            rounds.append(time.perf_counter() - began)
            node.release(LOAN)
    assert statistics.median(ours) < 0.5 * statistics.median(theirs)
