"""Addresses as the netlink backend holds them, and as the kernel then shows them."""

from __future__ import annotations

import re
import socket
import sys
import textwrap
import time
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from network.base import Address, AddressesChanged, NetworkError, Vip
from tests.integration.backend import OWN, VIP, Node, lab, node
from tests.lab.netns import needs_namespaces, until

__all__ = ["lab", "node"]
pytestmark = needs_namespaces
ROOT = Path(__file__).parents[2]


def test_a_virtual_address_as_the_kernel_shows_it(node):
    routes = node.host.sh("ip route show table all | grep -v 10.9.0.2")
    node.hold(VIP)
    shown = node.details()["10.9.0.2/24"]
    assert shown["label"] == "eth0:f3.2"
    assert shown["noprefixroute"] and shown["secondary"] and shown["dynamic"]
    assert 9 <= shown["valid_life_time"] <= 10 and 9 <= shown["preferred_life_time"] <= 10
    assert "broadcast" not in shown
    assert node.host.addresses() == ["10.9.0.3/24", "10.9.0.2/24"]
    assert node.host.sh("ip route show table all | grep -v 10.9.0.2") == routes
    eth0 = [a for a in node.addresses() if a.interface == "eth0"]
    assert eth0 == [Address("eth0", OWN), Address("eth0", VIP.ip, 2)]
    node.release(VIP)
    assert node.host.addresses() == ["10.9.0.3/24"]


def test_without_a_lease_it_stays(lab):
    node = Node(lab.node(3), lease_s=0).open()
    node.hold(VIP)
    node.renew(VIP)
    assert "dynamic" not in node.details()["10.9.0.2/24"]
    node.shut()
    assert lab.node(3).addresses() == ["10.9.0.3/24", "10.9.0.2/24"]


def test_the_lease_runs_out_unless_it_is_renewed(lab):
    node = Node(lab.node(3), lease_s=2).open()
    node.hold(VIP)
    began = time.monotonic()
    while time.monotonic() < began + 2.6:
        node.renew(VIP)
        time.sleep(0.2)
    assert "10.9.0.2/24" in node.host.addresses()
    node.events.clear()
    until(lambda: "10.9.0.2/24" not in node.host.addresses())
    assert until(lambda: node.of(AddressesChanged))
    node.shut()


def test_what_this_node_adds_and_renews_is_no_change_of_addresses(node):
    node.hold(VIP)
    for _ in range(5):
        node.renew(VIP)
    node.hold(VIP)
    node.host.sh("ip addr add 10.9.0.77/24 dev eth0")
    until(lambda: node.of(AddressesChanged))
    assert len(node.of(AddressesChanged)) == 1


def test_an_address_removed_by_hand_is_told_and_not_renewed(node):
    node.hold(VIP)
    node.host.sh("ip addr del 10.9.0.2/24 dev eth0")
    assert until(lambda: node.of(AddressesChanged))
    with pytest.raises(NetworkError, match="no longer on eth0"):
        node.renew(VIP)
    assert node.host.addresses() == ["10.9.0.3/24"]
    node.release(VIP)


@pytest.mark.parametrize(
    "there",
    [
        "10.9.0.2/24 dev eth0",
        "10.9.0.2/25 dev eth0",
        "10.9.0.2/32 dev lo",
        "10.9.0.2/24 dev eth0 label eth0:f4.2",
        "10.9.0.2/24 dev eth0 label eth0:f3.1",
        "10.9.0.2/25 dev eth0 label eth0:f3.2",
        "10.9.0.2/24 dev eth0 label eth0x:f3.2",
        "10.9.0.2/24 dev eth0 label eth0:f03.2",
    ],
)
def test_what_somebody_else_added_is_left_alone(node, there):
    node.host.sh(f"ip addr add {there}")
    before = node.host.sh("ip -o addr")
    with pytest.raises(NetworkError, match=r"already has 10\.9\.0\.2/"):
        node.hold(VIP)
    with pytest.raises(NetworkError, match="no longer"):
        node.renew(VIP)
    node.release(VIP)
    assert node.host.sh("ip -o addr") == before


def test_another_worker_on_this_machine_owns_its_own_virtual_addresses(lab, node):
    other = Node(lab.node(3), node_id=4).open()
    node.hold(VIP)
    assert [a.owner for a in node.addresses()] == [None, None, 2]
    assert [a.owner for a in other.addresses()] == [None, None, None]
    other.release(VIP)
    other.host.sh("ip addr add 10.9.0.5/24 dev eth0")
    assert "10.9.0.2/24" in node.host.addresses()
    other.shut()


def test_addresses_are_compared_parsed(node):
    node.host.sh("ip addr add 110.0.0.2/24 dev eth0; ip addr add 10.0.0.3/24 dev eth0")
    vip = Vip(2, IPv4Interface("10.0.0.2/24"), "eth0")
    node.release(vip)
    node.hold(vip)
    assert {"110.0.0.2/24", "10.0.0.2/24"} <= set(node.host.addresses())
    node.release(vip)
    assert "110.0.0.2/24" in node.host.addresses()
    assert "10.0.0.2/24" not in node.host.addresses()


def test_never_the_first_address_of_its_subnet(node):
    for ip in ("10.8.0.2/24", "192.0.2.1/32"):
        with pytest.raises(NetworkError, match="no address of its own"):
            node.hold(Vip(2, IPv4Interface(ip), "eth0"))
    node.host.sh("ip addr add 10.8.0.4/24 dev eth0 label eth0:f4.1")
    with pytest.raises(NetworkError, match="no address of its own"):
        node.hold(Vip(2, IPv4Interface("10.8.0.2/24"), "eth0"))
    assert node.host.addresses() == ["10.9.0.3/24", "10.8.0.4/24"]


@pytest.mark.parametrize("prefix", [16, 24, 25, 32])
@pytest.mark.parametrize("promote", [0, 1])
def test_the_own_address_taken_off_and_added_again(node, promote, prefix):
    """The vip goes with the address it stands behind, whatever promote_secondaries says, and so is never the
    source of the machine's own traffic."""
    node.host.sh(f"sysctl -qw net.ipv4.conf.all.promote_secondaries={promote}")
    node.host.sh(f"sysctl -qw net.ipv4.conf.eth0.promote_secondaries={promote}")
    vip = Vip(2, IPv4Interface(f"10.9.0.2/{prefix}"), "eth0")
    node.hold(vip)
    assert {node.host.source_for(to) for to in ("10.9.0.10", "10.9.0.100", "8.8.8.8")} == {"10.9.0.3"}
    node.host.sh("ip addr del 10.9.0.3/24 dev eth0")
    until(lambda: node.host.addresses() == [], 1)
    with pytest.raises(NetworkError, match="no address of its own"):
        node.hold(vip)
    node.host.sh("ip addr add 10.9.0.3/24 dev eth0; ip route replace default via 10.9.0.10")
    node.hold(vip)
    assert node.host.addresses() == ["10.9.0.3/24", f"10.9.0.2/{prefix}"]
    assert {node.host.source_for(to) for to in ("10.9.0.10", "10.9.0.100", "8.8.8.8")} == {"10.9.0.3"}


def test_a_promoted_virtual_address_is_removed_at_start_and_never_renewed(lab):
    host = lab.node(3)
    host.sh(
        "sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1;"
        "ip addr add 10.9.0.2/24 dev eth0 label eth0:f3.2; ip addr del 10.9.0.3/24 dev eth0;"
        "ip addr add 10.9.0.3/24 dev eth0"
    )
    assert host.addresses() == ["10.9.0.2/24", "10.9.0.3/24"]
    node = Node(host)
    with pytest.raises(NetworkError, match="stands before"):
        node.renew(VIP)
    node.open()
    assert host.addresses() == ["10.9.0.3/24"]
    assert host.source_for("10.9.0.10") == "10.9.0.3"
    node.shut()


def test_another_worker_s_promoted_virtual_address_is_no_address_to_stand_behind(node):
    node.host.sh(
        "sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1;"
        "ip addr add 10.9.0.50/24 dev eth0 label eth0:f4.1"
    )
    node.hold(VIP)
    node.host.sh("ip addr del 10.9.0.3/24 dev eth0")
    until(lambda: node.host.addresses() == ["10.9.0.50/24"], 1)


@pytest.mark.parametrize("name", ["enx001122334455", "eth0.100", "br-0123456789ab"])
def test_interfaces_with_long_names(lab, name):
    host = lab.add("n5", "10.9.0.5", "02:fc:00:00:00:05", interface=name)
    node = Node(host, node_id=5).open()
    vip = Vip(2, VIP.ip, name)
    node.hold(vip)
    assert re.fullmatch(r".{1,10}:f5\.2", node.details()["10.9.0.2/24"]["label"])
    restarted, another = Node(host, node_id=5), Node(host, node_id=3)
    assert restarted.addresses()[-1] == Address(name, VIP.ip, 2)
    assert another.addresses()[-1] == Address(name, VIP.ip, None)
    restarted.renew(vip)
    restarted.release(vip)
    assert host.addresses() == ["10.9.0.5/24"]
    for one in (node, restarted, another):
        one.shut()


def test_node_numbers_too_long_for_a_label(node):
    with pytest.raises(NetworkError, match="too long for a label"):
        node.hold(Vip(12345678901234, VIP.ip, "eth0"))


def test_what_went_between_the_look_and_the_removal_is_gone(node):
    from network.netlink import addresses as rtnl
    from network.netlink.netlink_socket import NetlinkSocket

    index = node.inside.call(socket.if_nametoindex, "eth0")
    route = node.inside.call(NetlinkSocket)
    for at in (index, 4711):
        node.inside.call(rtnl.remove, route, rtnl.KernelAddress(at, "eth0", VIP.ip, 3, 2))
    with pytest.raises(NetworkError, match="is no virtual address"):
        node.inside.call(rtnl.remove, route, rtnl.KernelAddress(index, "eth0", OWN))
    route.close()
    assert node.host.addresses() == ["10.9.0.3/24"]


@pytest.mark.parametrize(
    ("dropped", "named"),
    [("net_admin", "CAP_NET_ADMIN"), ("net_raw", "CAP_NET_RAW"), ("net_admin,-net_raw", "CAP_NET_RAW")],
)
def test_without_the_capability_it_says_how_to_grant_it(lab, dropped, named):
    script = textwrap.dedent("""
        import sys
        from ipaddress import IPv4Address, IPv4Interface
        from network.base import Vip, NetworkError
        from network.netlink.backend import Netlink
        net = Netlink(3, 10)
        print(len(net.addresses()), net.interface("eth0").mac, net.default_routes())
        vip = Vip(2, IPv4Interface("10.9.0.2/24"), "eth0")
        for act in (lambda: net.start(print), lambda: net.probe("eth0", vip.ip.ip), lambda: net.release(vip)):
            try:
                act()
            except NetworkError as exc:
                print(exc)
    """)
    lab.node(3).sh("ip addr add 10.9.0.2/24 dev eth0 label eth0:f3.2")
    done = (
        lab.node(3)
        .run("setpriv", f"--bounding-set=-{dropped}", sys.executable, "-c", script, cwd=str(ROOT))
        .stdout.splitlines()
    )
    assert done[0] == "3 02:fc:00:00:00:03 ()"
    for reason in done[1:3]:
        assert f"lacks {named}" in reason or f"and {named}" in reason
        assert "AmbientCapabilities" in reason and "setcap" in reason and "VIP_BACKEND=sudo" in reason
    if "net_admin" in dropped:
        assert done[3:] == ["10.9.0.2/24 could not be removed from eth0: Operation not permitted"]
    else:
        assert (done[3:], lab.node(3).addresses()) == ([], ["10.9.0.3/24"])
