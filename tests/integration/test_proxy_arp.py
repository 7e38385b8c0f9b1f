"""A router on the segment that answers for everybody, as Linux's proxy_arp does."""

from queue import SimpleQueue

import pytest

from network.base import Address
from network.proxy_arp import answers_for_all, strangers
from tests.integration.backend import OWN, Node, lab
from tests.lab.netns import needs_namespaces

__all__ = ["lab"]
pytestmark = needs_namespaces
HERE = Address("eth0", OWN)
ROUTER = "02:fc:00:00:02:fe"


def found(node, heard):
    asked = node.inside.call(strangers, node.net, HERE)
    assert len(asked) == 4
    return node.inside.call(answers_for_all, node.net, HERE, asked, heard)


@pytest.fixture
def heard():
    return SimpleQueue()


@pytest.fixture
def node(lab, heard):
    node = Node(lab.node(3))
    node.start(heard.put)
    yield node
    node.shut()


def test_nobody_answers_for_all(node, heard):
    assert found(node, heard) is None


@pytest.mark.parametrize("setting", ["proxy_arp", "proxy_arp_pvlan"])
def test_a_router_that_answers_for_all_is_found(lab, node, heard, setting):
    router = lab.add("router", "10.9.0.254", ROUTER)
    router.sh(
        f"sysctl -qw net.ipv4.conf.eth0.{setting}=1 net.ipv4.ip_forward=1 net.ipv4.conf.eth0.proxy_delay=0 || true;"
        f"sysctl -qw net.ipv4.neigh.eth0.proxy_delay=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0"
    )
    if setting == "proxy_arp":
        router.sh(
            "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up;"
            "ip route add 10.9.0.0/25 dev up0; ip route add 10.9.0.128/25 dev up0; ip route add 10.9.0.3/32 dev eth0"
        )
    assert found(node, heard) == ROUTER
