"""What happens to other addresses, the kernel's secondaries among them, when a virtual address comes and goes."""

import re
from ipaddress import IPv4Interface

import pytest

from network.base import Vip
from tests.integration.backend import Node, lab
from tests.lab.netns import needs_namespaces
from tests.lab.waiting import until

__all__ = ["lab"]
pytestmark = needs_namespaces


def promote(host, value=None, where="eth0"):
    """The kernel's setting, after it was set to `value` where there is one."""
    name = f"net.ipv4.conf.{where}.promote_secondaries"
    if value is not None:
        host.sh(f"sysctl -qw {name}={value}")
    return int(host.sh(f"sysctl -n {name}"))


@pytest.fixture(params=[0, 1])
def promoted(request, lab):
    for where in ("all", "eth0"):
        promote(lab.node(3), request.param, where)
    return request.param


@pytest.fixture
def node(lab, promoted):
    node = Node(lab.node(3)).open()
    yield node
    node.shut()


def vip(prefix):
    return Vip(2, IPv4Interface(f"10.9.0.2/{prefix}"), "eth0")


OTHERS = {
    "its subnet is the own address's": (24, "10.9.0.77/24"),
    "longer than the own address's": (25, "10.9.0.77/25"),
    "much longer": (30, "10.9.0.1/30"),
    "shorter": (16, "10.9.7.7/16"),
    "an address of its own": (32, "10.9.0.77/24"),
}


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("order", ["before", "after", "both"])
def test_a_release_removes_the_virtual_address_alone(node, promoted, case, order):
    prefix, other = OTHERS[case]
    if order != "after":
        node.host.sh(f"ip addr add {other} dev eth0")
    node.hold(vip(prefix))
    if order == "after":
        node.host.sh(f"ip addr add {other} dev eth0")
    elif order == "both":
        node.host.sh(f"ip addr add {re.sub('[.][0-9]+/', '.3/', other)} dev eth0 || true")
    before = set(node.host.addresses())
    assert f"10.9.0.2/{prefix}" in before
    node.release(vip(prefix))
    assert set(node.host.addresses()) == before - {f"10.9.0.2/{prefix}"}
    assert promote(node.host) == promoted


def test_the_setting_is_put_back_when_the_interface_loses_its_last_address(node, promoted):
    node.hold(vip(25))
    node.host.sh("ip addr del 10.9.0.3/24 dev eth0")
    assert until(lambda: node.host.addresses() == [])
    until(lambda: promote(node.host) == promoted)


def test_the_end_of_a_lease_removes_the_virtual_address_alone(lab, promoted):
    host = lab.node(3)
    node = Node(host, lease_s=1).open()
    node.hold(vip(25))
    host.sh("ip addr add 10.9.0.77/25 dev eth0; ip addr add 10.9.0.78/25 dev eth0")
    assert until(lambda: "10.9.0.2/25" not in host.addresses())
    assert set(host.addresses()) == {"10.9.0.3/24", "10.9.0.77/25", "10.9.0.78/25"}
    node.shut()
    assert promote(host) == promoted


def test_a_virtual_address_that_becomes_a_primary_is_secured_when_it_is_renewed(lab):
    host = lab.node(3)
    host.sh("ip addr add 10.9.0.77/25 dev eth0")
    node = Node(host).open()
    node.hold(vip(25))
    assert promote(host) == 0
    promote(host, 1)
    host.sh("ip addr del 10.9.0.77/25 dev eth0; ip addr add 10.9.0.78/25 dev eth0")
    promote(host, 0)
    node.renew(vip(25))
    assert promote(host) == 1
    node.release(vip(25))
    assert host.addresses() == ["10.9.0.3/24", "10.9.0.78/25"]
    assert promote(host) == 0
    node.shut()


def test_the_setting_stays_while_another_virtual_address_needs_it(lab):
    host = lab.node(3)
    node = Node(host).open()
    other = Vip(1, IPv4Interface("10.9.0.1/25"), "eth0")
    node.hold(vip(25))
    node.hold(other)
    node.release(vip(25))
    assert promote(host) == 1
    assert host.addresses() == ["10.9.0.3/24", "10.9.0.1/25"]
    node.release(other)
    assert promote(host) == 0
    node.shut()


def test_the_setting_is_put_back_when_the_lease_ran_out_before_the_stop(lab):
    host = lab.node(3)
    node = Node(host, lease_s=1).open()
    node.hold(vip(25))
    assert promote(host) == 1
    assert until(lambda: host.addresses() == ["10.9.0.3/24"])
    node.shut()
    assert promote(host) == 0


def test_where_every_virtual_address_is_a_secondary_nothing_is_set(lab):
    node = Node(lab.node(3)).open()
    node.hold(vip(24))
    assert promote(lab.node(3)) == 0
    node.shut()


def test_a_worker_takes_nothing_of_an_operator_along(scene):
    """In the order with another mask, its restore, and its lease's end after the worker was killed."""
    scene.start(3, ALLOWED_NETWORKS="10.9.0.0/24", ADDRESS_LEASE="3")
    host = scene.lab.node(3)
    assert "secondary_ip" in scene.director.recover(2, 3, netmask="255.255.255.128")
    host.sh("ip addr add 10.9.0.77/25 dev eth0")
    scene.director.restore(2, 3)
    assert host.addresses() == ["10.9.0.3/24", "10.9.0.77/25"]
    assert promote(host) == 0
    host.sh("ip addr del 10.9.0.77/25 dev eth0")
    assert "secondary_ip" in scene.director.recover(2, 3, netmask="255.255.255.128")
    host.sh("ip addr add 10.9.0.77/25 dev eth0")
    scene[3].kill()
    assert until(lambda: host.addresses() == ["10.9.0.3/24", "10.9.0.77/25"])
