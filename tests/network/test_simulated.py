from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from types import SimpleNamespace

import pytest

from failover.node import Node
from logging_setup import NoLog
from network.base import Address, AddressesChanged, Network, NetworkError, Vip
from network.simulated import Simulated

VIP = Vip(owner=2, ip=IPv4Interface("10.9.0.2/24"), interface="simulated0")
OWN = Address("simulated0", IPv4Interface("10.9.0.3/24"))


@pytest.fixture
def events():
    return []


@pytest.fixture
def net(events) -> Network:
    net: Network = Simulated(3)
    net.start(events.append)
    return net


def test_own_address_is_first_and_stays(net, events):
    assert net.addresses() == (OWN,)
    net.hold(VIP)
    assert net.addresses() == (OWN, Address("simulated0", VIP.ip, 2))
    assert events == [AddressesChanged("simulated0")]


def test_hold_twice_is_one_address_and_one_event(net, events):
    net.hold(VIP)
    net.hold(VIP)
    assert len(net.addresses()) == 2
    assert len(events) == 1


def test_release_takes_only_what_matches_exactly(net, events):
    net.hold(VIP)
    net.release(Vip(1, VIP.ip, "simulated0"))
    net.release(Vip(2, IPv4Interface("10.9.0.2/25"), "simulated0"))
    net.release(Vip(3, OWN.ip, "simulated0"))
    assert len(net.addresses()) == 2
    net.release(VIP)
    net.release(VIP)
    assert net.addresses() == (OWN,)
    assert len(events) == 2


@pytest.mark.parametrize(
    ("owner", "ip"), [(2, "10.9.0.3/24"), (1, "10.9.0.2/24"), (2, "10.9.0.2/25"), (4, "10.8.0.4/24")]
)
def test_hold_refuses(net, owner, ip):
    net.hold(VIP)
    before = net.addresses()
    with pytest.raises(NetworkError):
        net.hold(Vip(owner, IPv4Interface(ip), "simulated0"))
    assert net.addresses() == before


def test_renew_never_adds(net):
    with pytest.raises(NetworkError, match="no longer"):
        net.renew(VIP)
    assert net.addresses() == (OWN,)
    net.hold(VIP)
    net.renew(VIP)


def test_interface_for_and_unknown_names(net):
    node = Node(SimpleNamespace(node_id=3, neighbors={3: ()}, interface=None), net, NoLog())
    assert node.interface_for(IPv4Address("10.9.0.200"), net.addresses()) == "simulated0"
    with pytest.raises(NetworkError, match=r"10\.9\.1\.1"):
        node.interface_for(IPv4Address("10.9.1.1"), net.addresses())
    with pytest.raises(NetworkError, match="eth7"):
        net.interface("eth7")


def test_a_wire_on_which_nobody_speaks(net, events):
    net.watch(frozenset({VIP.ip.ip}))
    net.probe("simulated0", VIP.ip.ip)
    net.announce("simulated0", VIP.ip.ip)
    assert net.last_seen("simulated0", VIP.ip.ip).mac is None
    assert net.default_routes() == (("simulated0", None),)
    assert net.interface("simulated0").mac == "02:09:00:00:00:03"
    assert events == []


@pytest.mark.parametrize("node_id", [0, 255, 1000])
def test_a_node_without_a_simulated_address(node_id):
    with pytest.raises(NetworkError, match=str(node_id)):
        Simulated(node_id)
