"""What befalls the machine of a holder: cards, addresses, prefixes and masters beside the one that ordered."""

from __future__ import annotations

import math
import time

import pytest

from tests.integration.scene import OWNER, Scene
from tests.lab.cluster import Director, Worker, recover
from tests.lab.netns import Lab, needs_namespaces, until

pytestmark = [needs_namespaces, pytest.mark.slow]


def test_interface_gone_and_back(scene: Scene) -> None:
    scene.start(1)
    host = scene.lab.node(1)
    scene.lab.node(2).cut()
    scene.take(1)
    gone = time.monotonic()
    host.run("ip", "link", "del", "eth0")
    scene[1].wait_log("address_lost")
    scene.lab.plug(host, host.port, "eth0", host.mac)
    host.run("ip", "addr", "add", "10.9.0.1/24", "dev", "eth0")
    lost = scene.director.wait("update node", 1, gone, 15)["data"]
    assert lost["disconnected_node"] == 2
    if "secondary_ip" not in lost:  # the card was away for longer than the wire is asked
        assert "eth0" in lost["error"]
        assert scene[1].vips == []
        scene.take(1)
    assert host.addresses() == ["10.9.0.1/24", f"{OWNER}/24"]
    assert scene.lab.client.answers(OWNER)


def test_two_orders_for_two_nodes(scene: Scene) -> None:
    """The one whose owner still answers does not hold up the other."""
    scene.start(1)
    scene.lab.node(3).cut()
    at = scene.director.tell(1, "recover", recover(2, 1), recover(3, 1))
    taken = scene.director.wait("update node", 1, at)
    assert taken["data"]["disconnected_node"] == 3
    assert taken["data"]["secondary_ip"] == "10.9.0.3"
    scene.lab.node(2).cut()
    until(lambda: len(scene.director.answers("update node", 1, at)) == 2)
    second = scene.director.answers("update node", 1, at)[1]
    assert (second["disconnected_node"], second["secondary_ip"]) == (2, OWNER)
    assert second["held"] == {"2": OWNER, "3": "10.9.0.3"}
    assert scene[1].host.addresses() == ["10.9.0.1/24", "10.9.0.3/24", f"{OWNER}/24"]
    given = scene.director.restore(2, 1)
    assert (given["status"], given["secondary_ip"]) == (True, "10.9.0.3")
    assert scene[1].vips == ["10.9.0.3/24"]
    assert scene.lab.client.answers("10.9.0.3")


def test_two_masters_order_one_address_at_two_nodes_at_once(scene: Scene) -> None:
    lab = scene.lab
    other = Director(lab.add("master2", "10.9.0.11", "02:fc:00:00:01:0b"))
    scene.start(1)
    scene.workers[3] = Worker(lab, 3, scene.folder / "3", MASTER_URL="http://10.9.0.11:5000")
    other.wait("join", 3, limit_s=10)
    lab.node(2).cut()
    for _ in range(3):
        at = scene.director.tell(1, "recover", recover(2, 1))
        other.tell(3, "recover", recover(2, 3))
        answers = {1: scene.director.wait("update node", 1, at), 3: other.wait("update node", 3, at)}
        (winner,) = (node for node, answer in answers.items() if answer["data"].get("secondary_ip"))
        loser = 4 - winner
        assert scene[winner].vips == [f"{OWNER}/24"]
        assert scene[loser].vips == []
        assert scene.lab.node(winner).mac in answers[loser]["data"]["error"]
        (scene.director if winner == 1 else other).restore(2, winner)


def test_two_cards_on_one_segment(scene: Scene) -> None:
    """The holder's kernel answers its own questions from the other card's MAC."""
    scene.double_s = math.inf  # both cards answer for it, and both are the holder's
    lab = scene.lab
    second = "02:fc:00:00:01:01"
    lab.plug(lab.node(1), "n1b", "eth1", second)
    lab.node(1).run("ip", "addr", "add", "10.9.0.21/24", "dev", "eth1")
    scene.start(1)
    lab.node(2).cut()
    with lab.capture() as capture:
        scene.take(1)
        taken = time.monotonic()
        until(lambda: [one for one in capture.claims(OWNER) if one.seen.reply and one.port == "n1b"])
        until(lambda: len(capture.asked(OWNER, "10.9.0.1")) >= 5)
    assert scene.holders.macs(taken) == {lab.node(1).mac, second}
    assert scene[1].entries("address_conflict") == []
    assert scene[1].vips == [f"{OWNER}/24"]
    back = time.monotonic()
    lab.node(2).mend()
    scene.director.wait("restore node", 1, back)
    assert scene[1].vips == []


@pytest.mark.parametrize("promote", [0, 1])
@pytest.mark.parametrize("again", ["at once", "later"])
def test_own_address_taken_off_and_added_again(scene: Scene, promote: int, again: str) -> None:
    host = scene.lab.node(1)
    host.sh(f"sysctl -qw net.ipv4.conf.all.promote_secondaries={promote}")
    host.sh(f"sysctl -qw net.ipv4.conf.eth0.promote_secondaries={promote}")
    scene.start(1)
    scene.lab.node(2).cut()
    scene.take(1)
    at = time.monotonic()
    host.run("ip", "addr", "del", "10.9.0.1/24", "dev", "eth0")
    if again == "at once":
        host.run("ip", "addr", "add", "10.9.0.1/24", "dev", "eth0")
        scene[1].wait_log("address_restored")
    else:
        scene[1].wait_log("takeover_failed")
        assert host.addresses() == []
        host.run("ip", "addr", "add", "10.9.0.1/24", "dev", "eth0")
        assert "secondary_ip" not in scene.director.wait("update node", 1, at, 10)["data"]
        scene.take(1)
    assert host.addresses() == ["10.9.0.1/24", f"{OWNER}/24"]
    assert host.source_for("10.9.0.100") == "10.9.0.1"
    assert scene.lab.client.answers("10.9.0.1")
    assert {join["primary_ip"] for join in scene.director.answers("join", 1)} <= {"10.9.0.1", None}


def test_addresses_that_look_alike(scene: Scene) -> None:
    """110.0.0.2/24 "contains" 10.0.0.2/24; an address that is there under another prefix is this machine's."""
    host = scene.lab.node(1)
    host.sh(
        "ip addr add 110.0.0.2/24 dev eth0; ip addr add 10.0.0.1/24 dev eth0; ip addr add 10.9.0.3/32 dev eth0"
    )
    before = host.addresses()
    scene.start(1)
    answer = scene.director.recover(2, 1, ip="10.0.0.2")
    assert answer["secondary_ip"] == "10.0.0.2"
    assert sorted(host.addresses()) == sorted([*before, "10.0.0.2/24"])
    assert "own" in scene.director.recover(3, 1)["error"]
    assert scene.director.restore(2, 1)["status"] is True
    assert scene.director.restore(3, 1)["status"] is True
    assert host.addresses() == before


def test_a_virtual_address_put_under_another_prefix_by_hand_is_not_the_worker_s(scene: Scene) -> None:
    scene.start(1)
    scene.lab.node(2).cut()
    scene.take(1)
    at = time.monotonic()
    scene[1].host.sh(f"ip addr del {OWNER}/24 dev eth0; ip addr add {OWNER}/25 dev eth0")
    answer = scene.director.wait("update node", 1, at)["data"]
    assert f"{OWNER}/25" in answer["error"]
    scene[1].stop()
    assert scene[1].vips == [f"{OWNER}/25"]


@pytest.mark.parametrize(
    "length, netmask", [(24, "255.255.255.0"), (16, "255.255.0.0"), (25, "255.255.255.128")]
)
def test_the_virtual_address_is_never_the_node_s_own_nor_its_source(
    scene: Scene, length: int, netmask: str
) -> None:
    """Nor does it bring a route: not with a mask that is shorter than the subnet's, nor with a longer one."""
    scene.start(1, ALLOWED_NETWORKS="10.9.0.0/16")
    host = scene.lab.node(1)
    scene.lab.node(2).cut()
    routes = host.sh("ip route show table all")
    assert scene.director.recover(2, 1, netmask=netmask)["secondary_netmask"] == netmask
    assert scene[1].vips == [f"{OWNER}/{length}"]
    added = set(host.sh("ip route show table all").splitlines()) - set(routes.splitlines())
    # where the masks differ the kernel itself adds the virtual address's broadcast address
    assert [line for line in added if not line.startswith(("local 10.9.0.2 ", "broadcast "))] == []
    sources = {host.source_for(to) for to in ("10.9.0.100", "10.9.0.10", "10.9.0.3")}
    assert sources == {"10.9.0.1"}
    scene[1].kill()
    scene.director.kill()
    scene.director.start()
    scene[1].start()
    join = scene.director.wait("join", 1, limit_s=10)["data"]
    assert (join["primary_ip"], join["secondary_ip"]) == ("10.9.0.1", OWNER)


def test_without_an_address_of_its_own_nothing_is_taken(lab: Lab, scene: Scene) -> None:
    """A node whose card has no address in the subnet cannot lend it one: the virtual address would be the first."""
    host = scene.lab.node(1)
    scene.start(1, INTERFACE="eth0", ALLOWED_NETWORKS="10.9.0.0/24")
    # A master that never acknowledged a ping would be given as long as Engine.IO's own time-out.
    pings = scene[1].folder / "ping.log"
    until(lambda: pings.exists() and "- [ping " in pings.read_text(encoding="utf-8"))
    lab.node(2).cut()
    at = time.monotonic()
    host.sh("ip addr add 10.8.0.1/24 dev eth0; ip route add 10.9.0.10/32 dev eth0 src 10.8.0.1")
    lab.master.sh("ip route add 10.8.0.0/24 dev eth0")
    host.run("ip", "addr", "del", "10.9.0.1/24", "dev", "eth0")
    joined = until(
        lambda: [one for one in scene.director.answers("join", 1, at) if one["primary_ip"] == "10.8.0.1"], 10
    )
    assert joined
    assert "no address of its own" in scene.director.recover(2, 1)["error"]
    assert scene[1].host.addresses() == ["10.8.0.1/24"]
