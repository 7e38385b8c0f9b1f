"""The netlink backend of node 3, called inside its namespace."""

from __future__ import annotations

import json
import time
from ipaddress import IPv4Interface
from types import SimpleNamespace

import pytest

import failover.node
from logging_setup import NoLog
from network.base import Vip
from tests.lab.netns import Lab
from tests.lab.observers import Inside

VIP = Vip(2, IPv4Interface("10.9.0.2/24"), "eth0")
OWN = IPv4Interface("10.9.0.3/24")
IP = VIP.ip.ip


class Node:
    """Node 3's backend, called inside its namespace, and the events that it posted."""

    def __init__(self, host, interface=None, lease_s=10, node_id=3):
        from network.netlink.backend import Netlink

        self.host, self.events = host, []
        self.inside = Inside(host.ns)
        self.net = self.inside.call(Netlink, node_id, lease_s)
        self.node = failover.node.Node(
            SimpleNamespace(node_id=node_id, neighbors={node_id: ()}, interface=interface), self.net, NoLog()
        )

    def interface_for(self, ip):
        return self.inside.call(self.node.interface_for, ip, self.addresses())

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

    def heard(self, ip):
        """The MAC that the watch saw last with that address."""
        return self.net._watch._sightings.user("eth0", ip, time.monotonic())

    def details(self):
        """What `ip` says of each address on the card."""
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
