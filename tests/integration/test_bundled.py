"""The bundled master and its workers together, through the faults in which it must ask again or ask another."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from logs.format import Entry
from tests.integration.scene import OWNER, Scene
from tests.lab.cluster import Bundled
from tests.lab.netns import Lab, needs_namespaces, until

pytestmark = [needs_namespaces, pytest.mark.slow]


@pytest.fixture
def bundled(lab: Lab) -> Bundled:
    return Bundled(lab.master, dead_after_s=1.0)


@pytest.fixture
def scene(lab: Lab, bundled: Bundled, tmp_path: Path) -> Iterator[Scene]:
    with Scene(lab, tmp_path) as scene:
        yield scene


def start(scene: Scene, bundled: Bundled, **environ: str) -> None:
    scene.start(1, 2, 3, PING_INTERVAL="0.1", CONFLICT_PROBE="0.1", ADDRESS_LEASE="3", **environ)
    until(lambda: bundled.knows(1, 2, 3))


def grave(scene: Scene, *nodes: int) -> list[Entry]:
    """What is logged above WARNING, which is nothing on a good day."""
    lines = [entry for node in nodes for entry in scene[node].entries()]
    return [entry for entry in lines if entry.level in {"ERROR", "CRITICAL"}]


def test_cable_of_a_node_is_pulled_and_plugged_in_again(scene: Scene, bundled: Bundled) -> None:
    start(scene, bundled)
    owner = scene.lab.node(2)
    owner.cut()
    until(lambda: bundled.holder(2) == 1)
    assert scene[1].vips == [f"{OWNER}/24"]
    assert scene.lab.client.answers(OWNER)
    owner.mend()
    until(lambda: bundled.knows(1, 2, 3) and bundled.holder(2) is None, 10)
    assert scene[1].vips == scene[3].vips == []
    until(lambda: scene.holders.macs(time.monotonic() - 0.1) == {owner.mac})
    assert grave(scene, 1, 2, 3) == []


def test_owner_whose_worker_is_killed_is_left_alone_until_it_falls_silent(
    scene: Scene, bundled: Bundled
) -> None:
    """The neighbor that was ordered waits, and nobody else is ordered."""
    start(scene, bundled)
    owner = scene.lab.node(2)
    scene[2].kill()
    assert owner.mac in scene[1].wait_log("owner_alive").fields["mac"]
    assert scene.holders.macs() == {owner.mac}
    owner.cut()
    until(lambda: bundled.holder(2) in (1, 3), 7)


def test_owner_that_reboots_answers_on_for_a_while(scene: Scene, bundled: Bundled) -> None:
    start(scene, bundled)
    owner = scene.lab.node(2)
    scene[2].stop()
    assert scene[1].wait_log("owner_alive").fields["mac"] == owner.mac
    time.sleep(1.5)  # of the kernel's answers without a worker
    assert scene.holders.macs() == {owner.mac}
    owner.cut()
    until(lambda: bundled.holder(2) == 1)


def test_holder_upgraded_by_a_restart(scene: Scene, bundled: Bundled) -> None:
    """The address finds a new holder at once, and stays there."""
    start(scene, bundled)
    scene.lab.node(2).cut()
    until(lambda: bundled.holder(2) == 1)
    with scene.lab.client.pings(OWNER) as pings:
        until(lambda: pings.answered)
        stopped = time.monotonic()
        scene[1].stop()
        until(lambda: bundled.holder(2) == 3, 2)
        until(lambda: pings.outage_s(stopped + 0.2))
    scene[1].start()
    until(lambda: bundled.knows(1, 3))
    assert bundled.holder(2) == 3
    assert scene[1].vips == []
    assert scene[3].vips == [f"{OWNER}/24"]


def test_killed_holder_is_followed_when_its_lease_is_over(scene: Scene, bundled: Bundled) -> None:
    start(scene, bundled)
    scene.lab.node(2).cut()
    until(lambda: bundled.holder(2) == 1)
    scene[1].kill()
    until(lambda: bundled.holder(2) == 3)
    assert scene[1].vips == []
    assert scene[3].vips == [f"{OWNER}/24"]


def test_master_restarted_while_held(scene: Scene, bundled: Bundled) -> None:
    """It learns from the holder's join who holds what, and has it given back when the owner's worker joins."""
    start(scene, bundled)
    scene.lab.node(2).cut()
    until(lambda: bundled.holder(2) == 1)
    bundled.kill()
    bundled.start()
    until(lambda: bundled.holder(2) == 1)
    scene.lab.node(2).mend()
    until(lambda: bundled.knows(1, 2, 3) and bundled.holder(2) is None, 10)
    assert scene[1].vips == []


@pytest.mark.skipif(shutil.which("arping") is None, reason="arping (iputils-arping) is not installed")
def test_owner_that_asks_before_it_uses_its_address_gets_it_back(scene: Scene, bundled: Bundled) -> None:
    """It reboots: its worker starts only when it has its address, and until then the master believes it dead.
    Nobody takes the address meanwhile, and nothing that an operator would have to look at is logged.
    """
    start(scene, bundled)
    owner = scene.lab.node(2)
    owner.cut()
    until(lambda: bundled.holder(2) == 1)
    scene[2].kill()
    owner.run("ip", "addr", "flush", "dev", "eth0")
    owner.mend()
    ask = ("arping", "-D", "-q", "-c", "3", "-I", "eth0", OWNER)
    until(lambda: not owner.run(*ask, check=False).returncode, what="the owner finds its address in use")
    owner.run("ip", "addr", "add", f"{OWNER}/24", "dev", "eth0")
    scene[2].start()
    until(lambda: bundled.knows(1, 2, 3) and bundled.holder(2) is None)
    until(lambda: scene.holders.macs(time.monotonic() - 0.1) == {owner.mac})
    assert [entry.fields["mac"] for entry in scene[1].entries("owner_returned")] == [owner.mac]
    assert grave(scene, 1, 3) == []
