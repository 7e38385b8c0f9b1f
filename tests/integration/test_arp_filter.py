"""The kernel of a holder does not answer the owner's own probes, and answers everybody else."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from network.base import ArpSeen, FilterFailed
from network.netlink import arp, arp_filter
from tests.integration.backend import IP, VIP, Node, lab, node
from tests.lab.netns import needs_namespaces, until

__all__ = ["lab", "node"]
pytestmark = [
    needs_namespaces,
    pytest.mark.skipif(arp_filter.missing() is not None, reason=str(arp_filter.missing())),
]
OWNER, OTHER = "02:fc:00:00:00:02", "02:fc:00:00:00:08"


def rules(node: Node) -> list[str]:
    return [line for line in node.host.run("nft", "list", "ruleset").stdout.splitlines() if "drop" in line]


class Asker:
    """The client's card, which sends frames under any MAC, and hears the answers."""

    def __init__(self, lab) -> None:
        self.ip = IPv4Address(lab.client.ip)
        self._host = Node(lab.client, node_id=1).open()

    def answers(self, mac: str, sender: IPv4Address | None = None) -> list[ArpSeen]:
        """What is said to one question for the address, up to the answer to another one, which comes after it."""
        self._host.watch(frozenset({IP, IPv4Address("10.9.0.3")}))
        self._host.events.clear()
        wire = self._host.net._watch
        frame = arp.request(mac, sender, IP) if sender else arp.probe(mac, IP)
        self._host.inside.call(wire.send, "eth0", frame)
        self._host.probe("eth0", IPv4Address("10.9.0.3"), self.ip)
        until(lambda: [one for one in self._host.of(ArpSeen) if one.sender_ip == IPv4Address("10.9.0.3")])
        return [one for one in self._host.of(ArpSeen) if one.sender_ip == IP]

    def shut(self) -> None:
        self._host.shut()


@pytest.fixture
def asker(lab):
    # frames to MACs that are not the card's reach it all the same
    lab.client.run("ip", "link", "set", "eth0", "promisc", "on")
    asker = Asker(lab)
    yield asker
    asker.shut()


def test_only_the_owner_s_probes_for_that_address_go_unanswered(lab, node, asker):
    node.hold(VIP)
    node.watch(frozenset({IP}))
    mine = lab.client.mac

    def probers():
        return [one.sender_mac for one in node.of(ArpSeen) if one.sender_ip == arp.UNSPECIFIED]

    assert asker.answers(mine)
    until(lambda: probers() == [mine])
    node.filter_probes(frozenset({("eth0", IP, mine)}))
    until(lambda: rules(node))
    node.events.clear()
    assert asker.answers(mine) == []
    until(lambda: probers() == [mine])
    assert asker.answers(mine, asker.ip)
    node.filter_probes(frozenset({("eth0", IP, OWNER)}))
    until(lambda: OWNER in rules(node)[0])
    assert asker.answers(mine)
    node.filter_probes(frozenset())
    until(lambda: rules(node) == [])


def test_the_filter_goes_with_the_worker_and_a_killed_one_s_at_the_next_start(lab, node):
    node.filter_probes(frozenset({("eth0", IP, OWNER), ("eth0", IPv4Address("10.9.0.5"), OTHER)}))
    until(lambda: len(rules(node)) == 2)
    another = Node(node.host, node_id=4).open()
    another.filter_probes(frozenset({("eth0", IP, OTHER)}))
    until(lambda: len(rules(node)) == 3)
    another.shut()
    assert len(rules(node)) == 2
    node.net._filter._closing = True  # as if it had been killed: the table stays
    restarted = Node(node.host).open()
    until(lambda: rules(node) == [])
    restarted.shut()


def test_an_operator_s_rules_are_left_alone(node):
    node.host.sh(
        "nft add table arp filter; nft 'add chain arp filter input { type filter hook input priority 0; }'"
    )
    node.filter_probes(frozenset({("eth0", IP, OWNER)}))
    until(lambda: rules(node))
    node.close()
    until(lambda: rules(node) == [])
    assert "table arp filter" in node.host.run("nft", "list", "ruleset").stdout


def test_a_failure_is_posted_once(node, monkeypatch):
    monkeypatch.setattr(arp_filter, "script", lambda table, probes: "no such command\n")
    node.filter_probes(frozenset({("eth0", IP, OWNER)}))
    (failed,) = until(lambda: node.of(FilterFailed))
    assert failed.reason.startswith("nft: ")
    node.filter_probes(frozenset({("eth0", IP, OTHER)}))
    node.close()
    assert node.of(FilterFailed) == [failed]
