"""The card that serves loses its carrier; the one that leads to the master lives."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.scene import OWNER, Scene
from tests.lab.cluster import PORT, Bundled, Director
from tests.lab.netns import Lab, needs_namespaces, until
from tests.lab.waiting import stays

pytestmark = needs_namespaces
MASTER = "10.8.0.10"


SETTINGS = {
    "INTERFACE": "eth0",
    "MASTER_URL": f"http://{MASTER}:{PORT}",
    "ALLOWED_NETWORKS": "10.9.0.0/24",
    "PING_INTERVAL": "0.1",
}


@pytest.fixture
def nodes() -> tuple[int, ...]:
    return (1, 3)


@pytest.fixture
def lab(nodes: tuple[int, ...]) -> Iterator[Lab]:
    """Each node has a second card, with the default route, on the master's network."""
    with Lab(nodes=nodes) as lab:
        lab.add("mgmt", MASTER, "02:fc:00:00:02:0a")
        for node in nodes:
            host = lab.node(node)
            lab.plug(host, f"m{node}", "eth1", f"02:fc:00:00:02:{node:02x}")
            # Both cards are on one switch: each answers for its own addresses alone.
            host.sh(
                f"ip addr add 10.8.0.{node}/24 dev eth1; ip route add default via {MASTER};"
                "sysctl -qw net.ipv4.conf.all.arp_ignore=1"
            )
        yield lab


@pytest.fixture
def scene(lab: Lab, tmp_path: Path) -> Iterator[Scene]:
    with Scene(lab, tmp_path, Director(lab.hosts["mgmt"])) as scene:
        scene.start(1, 3, **SETTINGS)
        yield scene


def test_what_is_held_without_carrier_goes_to_the_next_neighbor(scene: Scene) -> None:
    scene.take(3)
    cut = time.monotonic()
    scene.lab.node(3).cut()
    failure = scene.director.wait("update node", 3, cut)
    assert failure["data"]["error"] == "eth0 has had no carrier for 3 s"
    assert "secondary_ip" not in failure["data"]
    assert failure["at"] - cut >= 3.0
    assert scene[3].vips == []
    scene.take(1)
    assert scene.lab.client.answers(OWNER)
    joined = until(lambda: [j for j in scene.director.answers("join", 3, cut) if "carrier" in j])
    assert joined[0]["carrier"] is False
    assert joined[0]["held"] == {}
    back = time.monotonic()
    scene.lab.node(3).mend()
    assert until(lambda: [j for j in scene.director.answers("join", 3, back) if "carrier" not in j])
    assert scene[3].wait_log("carrier_lost").level == "WARNING"
    assert scene[3].wait_log("carrier_restored").level == "INFO"


def test_an_order_without_carrier_is_refused_at_once(scene: Scene) -> None:
    scene.lab.node(3).cut()
    refused = scene.director.recover(2, 3)
    assert refused["error"] == "interface eth0 has no link"
    scene.lab.node(3).mend()


def test_a_flap_moves_nothing(scene: Scene) -> None:
    scene.take(3)
    cut = time.monotonic()
    scene.lab.node(3).cut()
    stays(lambda: scene[3].vips == [f"{OWNER}/24"], 1.0)
    scene.lab.node(3).mend()
    stays(lambda: scene[3].vips == [f"{OWNER}/24"], 4.0)
    assert scene.director.answers("update node", 3, cut) == []
    assert not any("carrier" in j for j in scene.director.answers("join", 3, cut))
    assert scene.lab.client.answers(OWNER)


def test_a_node_without_carrier_at_its_start_says_so(scene: Scene) -> None:
    scene[3].stop()
    scene.lab.node(3).cut()
    again = time.monotonic()
    scene[3].start()
    assert scene.director.wait("join", 3, again)["data"]["carrier"] is False


@pytest.mark.parametrize("nodes", [(1, 2, 3)])
def test_the_bundled_master_has_a_node_without_carrier_taken_over_and_given_back(
    lab: Lab, tmp_path: Path
) -> None:
    bundled = Bundled(lab.hosts["mgmt"], dead_after_s=1.0)
    owner = lab.node(2)
    with Scene(lab, tmp_path) as scene:
        scene.start(1, 2, 3, **SETTINGS)
        until(lambda: bundled.knows(1, 2, 3))
        owner.cut()
        holder = until(lambda: bundled.holder(2))
        assert scene[holder].vips == [f"{OWNER}/24"]
        assert lab.client.answers(OWNER)
        assert bundled.knows(1, 2, 3)
        owner.mend()
        until(lambda: bundled.holder(2) is None)
        until(lambda: scene.holders.macs(time.monotonic() - 0.1) == {owner.mac})
        assert scene[holder].vips == []
