"""Taking an address on real kernels, watched on the wire."""

from __future__ import annotations

import sys
import time

import pytest

from tests.integration.scene import OWNER, Scene
from tests.lab.cluster import ROOT, recover
from tests.lab.netns import needs_namespaces, until
from tests.lab.waiting import SCALE

pytestmark = [needs_namespaces, pytest.mark.slow]


def test_dead_node_s_address_is_taken_announced_and_given_back(scene: Scene) -> None:
    lab = scene.lab
    assert lab.client.answers(OWNER)  # a warm cache
    scene.start(1)
    lab.node(2).cut()
    with lab.capture() as capture, lab.client.pings(OWNER) as pings:
        ordered = scene.director.tell(1, "recover", recover(2, 1))
        answer = scene.director.wait("update node", 1, ordered)
        added = answer["at"]
        until(lambda: any(at > ordered for at in pings.answered.values()))
        first = min(at for at in pings.answered.values() if at > ordered)
        until(lambda: len(capture.claims(OWNER)) >= 8, 3)
    assert scene[1].vips == [f"{OWNER}/24"]
    assert first - added < 0.1 + scene.late_s
    forms = {frame.seen.reply for frame in capture.claims(OWNER)}
    assert forms == {True, False}
    data = answer["data"]
    assert (data["primary_ip"], data["secondary_ip"], data["disconnected_node"]) == ("10.9.0.1", OWNER, 2)

    lab.node(2).mend()
    assert scene.director.restore(2, 1)["status"] is True
    assert scene[1].vips == []


def test_living_owner_is_left_alone(scene: Scene) -> None:
    scene.start(1, CONFLICT_WAIT="1")
    answer = scene.director.recover(2, 1)
    assert "02:fc:00:00:00:02" in answer["error"]
    assert "secondary_ip" not in answer
    assert scene.holders.macs() == {scene.lab.node(2).mac}
    assert scene[1].vips == []


def test_owner_that_falls_silent_later_is_replaced(scene: Scene) -> None:
    scene.start(1, CONFLICT_WAIT="10")
    ordered = scene.director.tell(1, "recover", recover(2, 1))
    scene[1].wait_log("owner_alive")
    scene.lab.node(2).cut()
    cut = time.monotonic()
    answer = scene.director.wait("update node", 1, ordered)
    assert answer["data"]["secondary_ip"] == OWNER
    assert answer["at"] - cut < 2 + scene.late_s
    assert scene[1].vips == [f"{OWNER}/24"]


@pytest.mark.parametrize("with_worker", [True, False])
def test_owner_back_without_a_restore_ends_the_virtual_address(scene: Scene, with_worker: bool) -> None:
    lab = scene.lab
    scene.start(1)
    lab.node(2).cut()
    scene.take(1)
    lab.node(2).mend()
    back = time.monotonic()
    if with_worker:
        scene.start(2)
    ended = scene.director.wait("restore node", 1, back, limit_s=8)["data"]
    until(lambda: not scene[1].vips)
    assert (ended["status"], ended["restore_node"]) == (True, 2)
    assert lab.node(2).mac in ended["reason"]
    assert scene[1].wait_log("address_conflict").fields["mac"] == lab.node(2).mac


def test_killed_holder_loses_the_address_and_restarted_in_time_adopts_it(scene: Scene) -> None:
    scene.start(1, ADDRESS_LEASE=str(round(4 * SCALE)))
    scene.lab.node(2).cut()
    scene.take(1)
    scene[1].kill()
    again = time.monotonic()
    scene[1].start()
    joined = scene.director.wait("join", 1, again)["data"]
    assert joined["secondary_ip"] == OWNER
    scene[1].wait_log("address_adopted")
    scene[1].kill()
    until(lambda: not scene[1].vips)


def test_killed_holder_restarted_with_its_owner_back_gives_up(scene: Scene) -> None:
    scene.start(1)
    scene.lab.node(2).cut()
    scene.take(1)
    scene[1].kill()
    again = time.monotonic()
    scene.lab.node(2).mend()
    scene[1].start()
    joined = scene.director.wait("join", 1, again)
    scene.double_s += joined["at"] - again  # until the restarted worker had its first look
    assert joined["data"]["secondary_ip"] is None
    assert scene[1].vips == []


def test_frozen_holder_loses_the_address_and_lets_go_when_it_thaws(scene: Scene) -> None:
    scene.start(1, 3, ADDRESS_LEASE="3")
    scene.lab.node(2).cut()
    scene.take(1)
    scene[1].freeze()
    ordered = scene.director.tell(3, "recover", recover(2, 3))
    answer = scene.director.wait("update node", 3, ordered, 8)["data"]
    assert answer["secondary_ip"] == OWNER
    scene[1].thaw()
    scene[1].wait_log("address_lost")
    scene[1].wait_log("address_ceded")
    assert scene[1].vips == []
    assert scene[3].vips == [f"{OWNER}/24"]
    assert scene[3].entries("address_conflict") == []


def test_address_removed_by_hand_is_taken_again(scene: Scene) -> None:
    scene.start(1)
    scene.lab.node(2).cut()
    scene.take(1)
    scene[1].host.run("ip", "addr", "del", f"{OWNER}/24", "dev", "eth0")
    scene[1].wait_log("address_lost")
    scene[1].wait_log("address_restored")
    assert scene[1].vips == [f"{OWNER}/24"]


def test_link_down_and_up_on_the_holder(scene: Scene) -> None:
    scene.start(1)
    scene.lab.node(2).cut()
    scene.take(1)
    scene.lab.node(1).cut()
    time.sleep(0.3)  # of no link; nothing else to wait for
    with scene.lab.capture() as capture:
        scene.lab.node(1).mend()
        until(lambda: capture.claims(OWNER), 5)
        until(lambda: capture.claims("10.9.0.1"), 5)
    assert scene[1].vips == [f"{OWNER}/24"]


def test_stop_gives_the_address_back_and_tells_the_master(scene: Scene) -> None:
    scene.start(1)
    scene.lab.node(2).cut()
    scene.take(1)
    at = time.monotonic()
    scene[1].stop()
    answer = scene.director.wait("update node", 1, at)["data"]
    assert answer["error"] == "stopping"
    assert "secondary_ip" not in answer
    assert scene[1].vips == []


def test_stop_in_the_middle_of_a_takeover(scene: Scene) -> None:
    scene.start(1, CONFLICT_PROBE="2")
    scene.lab.node(2).cut()
    at = scene.director.tell(1, "recover", recover(2, 1))
    scene[1].wait_log("takeover_started")
    scene[1].stop()
    assert scene.director.wait("update node", 1, at)["data"]["error"] == "stopping"
    assert scene[1].vips == []


def test_two_nodes_ordered_to_take_one_address_at_once(scene: Scene) -> None:
    scene.start(1, 3)
    scene.lab.node(2).cut()
    at = scene.director.tell(1, "recover", recover(2, 1))
    scene.director.tell(3, "recover", recover(2, 3))
    answers = [scene.director.wait("update node", node, at)["data"] for node in (1, 3)]
    time.sleep(1.5)  # of watching that it stays with one
    assert [answer.get("secondary_ip") for answer in answers].count(OWNER) == 1
    assert sorted(scene[1].vips + scene[3].vips) == [f"{OWNER}/24"]


def test_recover_restore_recover_at_once(scene: Scene) -> None:
    scene.start(1, CONFLICT_PROBE="1")  # the wire is still being asked when the next ones come
    scene.lab.node(2).cut()
    at = scene.director.tell(1, "recover", recover(2, 1))
    scene.director.tell(1, "restore", {"restore_node": 2})
    scene.director.tell(1, "recover", recover(2, 1))
    assert scene.director.wait("restore node", 1, at)["data"]["status"] is True

    def answers() -> list:
        return [heard["data"] for heard in scene.director.heard if heard["event"] == "update node"]

    until(lambda: len(answers()) == 2)
    assert [answer.get("secondary_ip") for answer in answers()] == [None, OWNER]
    assert scene[1].vips == [f"{OWNER}/24"]


def test_one_spoofed_claim_costs_seconds_and_a_thousand_do_not_flap(scene: Scene) -> None:
    scene.start(1)
    scene.lab.node(2).cut()
    scene.take(1)
    spoof = (
        "import socket,sys;from network.netlink import arp;from ipaddress import IPv4Address as A;"
        "s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW);s.bind(('eth0',0));"
        "[s.send(f) for _ in range(int(sys.argv[1])) for f in arp.announcements('02:fc:00:00:09:99',A('10.9.0.2'))]"
    )
    scene.lab.client.run(sys.executable, "-c", spoof, "1", cwd=ROOT)
    scene[1].wait_log("address_conflict")
    scene[1].wait_log("address_restored")
    assert scene[1].vips == [f"{OWNER}/24"]
    scene.lab.client.run(sys.executable, "-c", spoof, "1000", cwd=ROOT)
    scene[1].wait_log("address_conflict", 2)
    until(lambda: len(scene[1].entries("address_conflict")) + len(scene[1].entries("address_ceded")) >= 2, 8)
    assert len(scene[1].entries("address_conflict")) == 2
