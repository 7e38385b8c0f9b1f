"""The owner comes back, in every way that an owner does: the holder lets go, with or without an order."""

from __future__ import annotations

import time

import pytest

from tests.integration.scene import OWNER, Scene
from tests.lab.netns import needs_namespaces, until

pytestmark = [needs_namespaces, pytest.mark.slow]


def let_go(scene: Scene, since: float) -> dict:
    """Wait until node 1 has given the address back by itself: what it told the master."""
    told = scene.director.wait("restore node", 1, since, limit_s=8)["data"]
    assert (told["restore_node"], told["status"], told["secondary_ip"]) == (2, True, None)
    assert scene.lab.node(2).mac in told["reason"]
    assert scene[1].vips == []
    return told


def test_master_restarted_while_held_and_no_restore_ever_sent(scene: Scene) -> None:
    scene.start(1)
    scene.lab.node(2).cut()
    scene.take(1)
    scene.director.kill()
    scene.director.start()
    joined = scene.director.wait("join", 1, limit_s=10)["data"]
    assert (joined["secondary_ip"], joined["primary_ip"]) == (OWNER, "10.9.0.1")
    assert scene[1].vips == [f"{OWNER}/24"]
    back = time.monotonic()
    scene.lab.node(2).mend()
    let_go(scene, back)


@pytest.mark.parametrize("how", ["cable", "card"])
def test_link_down_and_up_on_the_owner(scene: Scene, how: str) -> None:
    scene.start(1, 2)
    owner = scene.lab.node(2)
    (owner.cut if how == "cable" else owner.down)()
    scene.take(1)
    with scene.lab.capture() as capture:
        back = time.monotonic()
        (owner.mend if how == "cable" else owner.up)()
        let_go(scene, back)
        until(lambda: [one for one in capture.claims(OWNER) if one.port == "n2" and not one.seen.reply])
    assert f"{OWNER}/24" in owner.addresses()
    until(lambda: scene.lab.client.answers(OWNER))
    until(lambda: scene.holders.macs(time.monotonic() - 0.1) == {owner.mac})
