"""What the netlink backend posts of interfaces and addresses that change."""

import pytest

from network.base import AddressesChanged, InterfaceMissing, LinkDown, LinkUp
from tests.integration.backend import VIP, Node, lab, node
from tests.lab.netns import needs_namespaces, until

__all__ = ["lab", "node"]
pytestmark = needs_namespaces


def test_a_carrier_that_goes_and_comes(node: Node) -> None:
    assert node.interface("eth0").fault is None
    node.host.cut()
    assert until(lambda: node.of(LinkDown)) == [LinkDown("eth0")]
    assert node.interface("eth0").fault == "interface eth0 has no link"
    node.host.mend()
    assert until(lambda: node.of(LinkUp)) == [LinkUp("eth0")]
    with pytest.raises(InterfaceMissing):
        node.interface("eth9")


def test_another_mac_counts_as_a_link_that_comes_up(node: Node) -> None:
    if node.host.run("ip", "link", "set", "eth0", "address", "02:fc:00:00:00:33", check=False).returncode:
        node.host.sh("ip link set eth0 down; ip link set eth0 address 02:fc:00:00:00:33; ip link set eth0 up")
    assert until(lambda: node.of(LinkUp)) == [LinkUp("eth0")]
    assert node.interface("eth0").mac == "02:fc:00:00:00:33"


def test_a_burst_of_changes_is_a_few_events_and_none_comes_too_early(node: Node) -> None:
    node.hold(VIP)
    burst = "".join(f"address add 10.7.0.{n}/32 dev lo\n" for n in range(1, 201))
    node.host.run("ip", "-batch", "-", input=burst)
    node.events.clear()
    node.host.run("ip", "-batch", "-", input=burst.replace(" add ", " del "))
    node.host.sh("ip addr add 10.6.0.1/32 dev lo; ip addr add 10.9.0.77/24 dev eth0")
    seen: list[bool] = []

    def reread() -> bool:
        """Whether the last event told to read came when the last change was there."""
        while node.events:
            assert node.events.pop(0) in {AddressesChanged("lo"), AddressesChanged("eth0")}
            seen.append(
                "10.6.0.1" in str(node.addresses("lo")) and "10.9.0.77" in str(node.addresses("eth0"))
            )
        return bool(seen) and seen[-1]

    until(reread)
    assert len(seen) < 50
    assert [there.ip for there in node.addresses("eth0")] == [
        there.ip for there in node.addresses() if there.interface == "eth0"
    ]
    assert node.addresses("eth9") == ()
