"""INTERFACE as a worker meets it: by an alternative name, and missing."""

import time
from collections.abc import Iterator

import pytest

from tests.integration.scene import OWNER, Scene
from tests.lab.netns import Lab, needs_namespaces, until

pytestmark = needs_namespaces
LONG = "the-service-network-of-this-machine"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(nodes=(3,)) as lab:
        yield lab


@pytest.mark.parametrize("name", ["lan0", LONG])
def test_an_alternative_name(scene: Scene, name: str) -> None:
    scene.lab.node(3).run("ip", "link", "property", "add", "dev", "eth0", "altname", name)
    scene.start(3, INTERFACE=name)
    joined = scene.director.wait("join", 3)["data"]
    assert (joined["primary_ip"], joined.get("carrier")) == ("10.9.0.3", None)
    scene.take(3)
    assert scene.lab.node(3).addresses() == ["10.9.0.3/24", f"{OWNER}/24"]
    assert "eth0:f3.2" in scene.lab.node(3).sh("ip -4 addr show dev eth0")


def test_one_that_is_missing_is_an_error_and_is_found_when_it_comes(scene: Scene) -> None:
    scene.start(3, INTERFACE="eth9")
    missing = scene[3].wait_log("interface_missing")
    assert (missing.level, missing.fields["interface"]) == ("ERROR", "eth9")
    assert scene.director.wait("join", 3)["data"]["primary_ip"] is None
    refused = scene.director.recover(2, 3)
    assert refused["error"] == "there is no interface eth9"
    since = time.monotonic()
    scene.lab.plug(scene.lab.node(3), "p9", "eth9", "02:fc:00:00:09:03")
    scene.lab.node(3).sh("ip addr add 10.9.0.33/24 dev eth9")
    assert until(
        lambda: [j for j in scene.director.answers("join", 3, since) if j["primary_ip"] == "10.9.0.33"]
    )
    assert scene[3].wait_log("interface_found").level == "INFO"
    assert len(scene[3].entries("interface_missing")) == 1
