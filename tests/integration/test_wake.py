"""The network is back: the worker connects at once, whatever its back-off says."""

from __future__ import annotations

import socket

import pytest

from tests.lab.masters import Master
from tests.lab.netns import Lab, in_namespace, needs_namespaces
from tests.lab.relay import Relay
from tests.lab.waiting import until

DAY_S = 86000
"""So long a delay that no luck with its jitter ends it within a test."""


@needs_namespaces
@pytest.mark.parametrize("how", ["the cable", "the interface"])
def test_a_link_that_comes_up_is_an_attempt_at_once(work, serve, how):
    with Lab(nodes=(3,)) as lab:
        host, place, master = lab.node(3), lab.master, serve(Master())
        relay = serve(
            Relay(
                master,
                listen=lambda port: in_namespace(place.ns, lambda: socket.create_server((place.ip, port))),
            )
        )
        worker = work(
            relay,
            before=host.argv(),
            VIP_BACKEND="netlink",
            RECONNECT_DELAY=DAY_S,
            RECONNECT_DELAY_MAX=DAY_S,
        )
        worker.wait("ping", log="pings")
        host.cut() if how == "the cable" else host.down()
        worker.wait("disconnected")
        until(
            lambda: lab.node(3).run("cat", "/sys/class/net/eth0/carrier", check=False).stdout.strip() != "1"
        )
        host.mend() if how == "the cable" else host.up()
        worker.wait("connected", 2)
        master.wait("join", 2)
        assert worker.stop() == 0


@needs_namespaces
def test_a_route_that_is_there_is_an_attempt_at_once(work, serve):
    """The master is behind a router, and neither a link nor an address changes."""
    behind = "10.77.0.1"
    with Lab(nodes=(3,)) as lab:
        host, place, master = lab.node(3), lab.master, serve(Master())
        place.run("ip", "addr", "add", f"{behind}/32", "dev", "lo")
        relay = serve(
            Relay(
                master,
                listen=lambda port: in_namespace(place.ns, lambda: socket.create_server((behind, port))),
            )
        )
        worker = work(
            relay,
            before=host.argv(),
            VIP_BACKEND="netlink",
            RECONNECT_DELAY=DAY_S,
            RECONNECT_DELAY_MAX=DAY_S,
        )
        worker.wait("connect_failed")
        host.run("ip", "route", "add", behind, "via", place.ip)
        worker.wait("connected")
        master.wait("join")
        assert worker.stop() == 0
