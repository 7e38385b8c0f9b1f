"""Which interface an address belongs on, and the routes, as the netlink backend reads them."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from network.base import Address, LinkUp, NetworkError, Vip
from tests.integration.backend import IP, VIP, Node, lab, node
from tests.lab.netns import needs_namespaces, until

__all__ = ["lab", "node"]
pytestmark = needs_namespaces


def test_a_renamed_interface_keeps_its_virtual_address(node):
    node.hold(VIP)
    node.host.sh("ip link set eth0 down; ip link set eth0 name uplink0; ip link set uplink0 up")
    until(lambda: LinkUp("uplink0") in node.events)
    assert Address("uplink0", VIP.ip, 2) in node.addresses()
    node.renew(Vip(2, VIP.ip, "uplink0"))
    node.probe("uplink0", IP)
    node.release(VIP)
    assert VIP.ip not in [a.ip for a in node.addresses()]


def test_an_interface_that_is_renamed_while_it_is_up(node):
    if node.host.run("ip", "link", "set", "eth0", "name", "uplink0", check=False).returncode != 0:
        pytest.skip("this kernel renames only what is down")
    assert until(lambda: node.of(LinkUp)) == [LinkUp("uplink0")]


def test_the_interface_for_an_address(lab, node):
    assert node.interface_for(IP) == "eth0"
    with pytest.raises(NetworkError, match=r"no interface .* contains 10\.7\.0\.1"):
        node.interface_for(IPv4Address("10.7.0.1"))
    node.host.sh("ip addr add 10.6.0.2/24 dev eth0 label eth0:f4.2")
    with pytest.raises(NetworkError, match=r"no interface .* contains 10\.6\.0\.9"):
        node.interface_for(IPv4Address("10.6.0.9"))
    lab.plug(node.host, "n3b", "eth1", "02:fc:00:00:01:03")
    node.host.sh("ip addr add 10.9.1.3/16 dev eth1")
    assert node.interface_for(IP) == "eth0"
    assert node.interface_for(IPv4Address("10.9.7.7")) == "eth1"
    node.host.sh("ip addr add 10.9.0.133/25 dev eth1")
    assert node.interface_for(IPv4Address("10.9.0.200")) == "eth1"
    node.host.sh("ip addr flush dev eth1; ip addr add 10.9.0.33/24 dev eth1")
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


def test_default_routes(lab, node):
    def routes():
        return [(interface, str(gateway)) for interface, gateway in node.default_routes()]

    assert routes() == [("eth0", "10.9.0.10")]
    lab.plug(node.host, "n3b", "eth1", "02:fc:00:00:01:03")
    node.host.sh("ip addr add 10.5.0.3/24 dev eth1; ip route add default via 10.5.0.1 metric 50")
    node.host.sh("ip route add default table 99 via 10.5.0.9")
    node.host.sh("ip route add default metric 9 nexthop via 10.9.0.11 nexthop via 10.9.0.12")
    assert routes() == [
        ("eth0", "10.9.0.10"),
        ("eth0", "10.9.0.11"),
        ("eth0", "10.9.0.12"),
        ("eth1", "10.5.0.1"),
        ("eth1", "10.5.0.9"),
    ]
    node.host.sh("ip route flush exact 0.0.0.0/0; ip route add default via 10.5.0.1 metric 50")
    assert routes()[0] == ("eth1", "10.5.0.1")
    node.host.sh("ip route flush exact 0.0.0.0/0; ip route flush table 99; ip route add default dev eth1")
    assert routes() == [("eth1", "None")]
    node.host.sh("ip route flush exact 0.0.0.0/0")
    assert routes() == []
