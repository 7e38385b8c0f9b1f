"""The owner comes back, in every way that an owner does: the holder lets go, whoever tells it or nobody."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from network.netlink import arp
from tests.integration.scene import OWNER, Scene
from tests.lab.cluster import recover
from tests.lab.netns import Host, needs_namespaces, until
from tests.lab.observers import Inside

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


class Careful:
    """An owner that asks before it uses its address, backs off when anybody else answers or asks for it, and then
    tries again: RFC 5227 §2.1.1, quicker.
    """

    PROBES, SPACING_S, PAUSE_S = 3, 0.3, 1.0

    def __init__(self, host: Host) -> None:
        self._host = host
        self._inside = Inside(host.ns)
        self._wire: arp.Wire = self._inside.call(arp.Wire)
        self.conflicts = 0

    def close(self) -> None:
        self._wire.close()
        self._inside.close()

    def come_up(self, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while not self._is_free():
            self.conflicts += 1
            if time.monotonic() > end:
                pytest.fail(f"the owner found its address in use {self.conflicts} times")
            time.sleep(self.PAUSE_S)
        self._host.run("ip", "addr", "add", f"{OWNER}/24", "dev", "eth0")
        self._send(*arp.announcements(self._host.mac, IPv4Address(OWNER)))

    def _is_free(self) -> bool:
        self._others()
        for _ in range(self.PROBES):
            self._send(arp.probe(self._host.mac, IPv4Address(OWNER)))
            end = time.monotonic() + self.SPACING_S
            while time.monotonic() < end:
                if self._others():
                    return False
                time.sleep(0.005)
        return True

    def _send(self, *frames: bytes) -> None:
        self._inside.call(self._wire.send, "eth0", *frames)

    def _others(self) -> bool:
        """Whether another host used the address, or asked for it as one that wants to."""
        found = False
        while True:
            try:
                seen = self._wire.receive()
            except BlockingIOError:
                return found
            if seen and seen.sender_mac != self._host.mac:
                uses = seen.sender_ip == IPv4Address(OWNER)
                wants = seen.sender_ip == arp.UNSPECIFIED and seen.target_ip == IPv4Address(OWNER)
                found = found or uses or wants


@pytest.fixture
def careful(scene: Scene) -> Iterator[Careful]:
    careful = Careful(scene.lab.node(2))
    yield careful
    careful.close()


def test_owner_that_asks_before_it_uses_its_address(scene: Scene, careful: Careful) -> None:
    scene.start(1)
    scene.start(2)  # node 1 hears its announcement, and so knows its MAC
    owner = scene.lab.node(2)
    scene[2].kill()
    owner.run("ip", "addr", "flush", "dev", "eth0")
    scene.take(1)
    back = time.monotonic()
    careful.come_up(6)
    assert careful.conflicts >= 1  # the holder's kernel answered the first time
    let_go(scene, back)
    assert owner.addresses() == [f"{OWNER}/24"]
    until(lambda: scene.holders.macs(time.monotonic() - 0.1) == {owner.mac})


def test_owner_that_asks_while_its_address_is_being_taken(scene: Scene, careful: Careful) -> None:
    scene.start(1, CONFLICT_PROBE="2", CONFLICT_WAIT="3")
    scene.start(2)
    owner = scene.lab.node(2)
    scene[2].kill()
    owner.run("ip", "addr", "flush", "dev", "eth0")
    at = scene.director.tell(1, "recover", recover(2, 1))
    scene[1].wait_log("takeover_started")
    careful.come_up(10)
    answer = scene.director.wait("update node", 1, at, 10)["data"]
    assert owner.mac in answer["error"]
    assert scene[1].vips == []
