"""Owners that ask before they use their address (RFC 5227 §2.1.1) get it back: `arping -D`, systemd-networkd."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from network.netlink import arp
from tests.integration.scene import OWNER, Scene
from tests.lab.cluster import Worker, recover
from tests.lab.netns import Host, in_namespace, needs_namespaces, until
from tests.lab.observers import Capture

NETWORKD = Path("/lib/systemd/systemd-networkd")
needs_arping = pytest.mark.skipif(
    shutil.which("arping") is None, reason="arping (iputils-arping) is not installed"
)
pytestmark = [needs_namespaces, pytest.mark.slow]
TRIES = 3


def without_address(scene: Scene) -> Host:
    """Node 2's machine before it has its address: the card is up."""
    owner = scene.lab.node(2)
    owner.run("ip", "addr", "flush", "dev", "eth0")
    return owner


def is_free(owner: Host) -> bool:
    """What RHEL's network scripts ask at boot."""
    return owner.run("arping", "-D", "-q", "-c", "3", "-I", "eth0", OWNER, check=False).returncode == 0


def come_up(scene: Scene, owner: Host, pause_s: float = 0.0) -> int:
    """Ask, and add the address once it is free; returns the tries, between which the owner pauses."""
    for attempt in range(1, TRIES + 1):
        if is_free(owner):
            assert scene[1].vips == []
            owner.run("ip", "addr", "add", f"{OWNER}/24", "dev", "eth0")
            return attempt
        time.sleep(pause_s)
    pytest.fail(f"the owner found its address in use {TRIES} times")


def given_back(scene: Scene, owner: Host, since: float) -> None:
    """The master is told, and the owner alone serves the address."""
    answer = scene.director.wait("restore node", 1, since, limit_s=8)["data"]
    assert (answer["restore_node"], answer["status"], answer["secondary_ip"]) == (2, True, None)
    assert owner.mac in answer["reason"]
    until(lambda: scene.holders.macs(time.monotonic() - 0.2) == {owner.mac})
    assert [entry.fields["mac"] for entry in scene[1].entries("owner_returned")] == [owner.mac]
    assert scene[1].entries("address_conflict") == []


def announcements(capture: Capture, ip: str) -> list[str]:
    """The MACs in them; answers to those who ask are none."""
    return [one.seen.sender_mac for one in capture.claims(ip) if one.seen.target_ip == one.seen.sender_ip]


def filtered(host: Host) -> str:
    return host.run("nft", "list", "ruleset").stdout


@needs_arping
def test_an_owner_whose_mac_nobody_knows_comes_up_within_three_tries(scene: Scene) -> None:
    """Its first try shows the holder nothing that a stranger's would not; at the next one it lets go."""
    scene.start(1)
    owner = without_address(scene)
    scene[1].host.run("ip", "neigh", "flush", "all")
    scene.take(1)
    assert come_up(scene, owner) > 1
    scene.director.wait("restore node", 1, limit_s=8)
    until(lambda: scene.holders.macs(time.monotonic() - 0.2) == {owner.mac})


@needs_arping
@pytest.mark.parametrize("known", ["from the master", "from its announcement"])
def test_arping_d_finds_the_address_free(scene: Scene, known: str) -> None:
    scene.start(1)
    told = {"owner_mac": scene.lab.node(2).mac} if known == "from the master" else {}
    if not told:
        scene.start(2)
        scene[2].kill()
    owner = without_address(scene)
    assert scene.director.recover(2, 1, **told)["secondary_ip"] == OWNER
    until(lambda: owner.mac in filtered(scene[1].host))
    back = time.monotonic()
    assert come_up(scene, owner) == 1
    given_back(scene, owner, back)
    assert filtered(scene[1].host) == ""


@needs_arping
def test_without_nft_the_owner_comes_up_at_a_later_try(scene: Scene) -> None:
    """The kernel answers the first probe; the worker lets go at it all the same."""
    hidden = "for one in /usr/sbin/nft /sbin/nft; do mount --bind /dev/null $one; done; exec "
    command = ("unshare", "-m", "sh", "-c", f"{hidden} {sys.executable} client.py")
    scene.workers[1] = Worker(scene.lab, 1, scene.folder / "1", command=command)
    scene.director.wait("join", 1, limit_s=10)
    owner = without_address(scene)
    assert scene.director.recover(2, 1, owner_mac=owner.mac)["secondary_ip"] == OWNER
    assert "nft" in scene[1].wait_log("probes_not_filtered").fields["reason"]
    back = time.monotonic()
    assert come_up(scene, owner) > 1
    given_back(scene, owner, back)


@needs_arping
def test_a_holder_that_was_started_anew_knows_the_owner_s_mac(scene: Scene) -> None:
    scene.start(1, ADDRESS_LEASE="0")
    owner = without_address(scene)
    assert scene.director.recover(2, 1, owner_mac=owner.mac)["secondary_ip"] == OWNER
    until(lambda: owner.mac in filtered(scene[1].host))
    scene[1].kill()
    assert owner.mac in filtered(scene[1].host)
    scene[1].start()
    scene[1].wait_log("address_adopted")
    until(lambda: owner.mac in filtered(scene[1].host))
    assert come_up(scene, owner) == 1
    scene[1].wait_log("owner_returned")


@needs_arping
def test_an_owner_that_asks_while_its_address_is_being_taken(scene: Scene) -> None:
    scene.start(1, CONFLICT_PROBE="2", CONFLICT_WAIT="5")
    owner = without_address(scene)
    at = scene.director.tell(1, "recover", recover(2, 1, owner_mac=owner.mac))
    scene[1].wait_log("takeover_started")
    come_up(scene, owner)
    answer = scene.director.wait("update node", 1, at, 10)["data"]
    assert f"in use by its owner {owner.mac}" in answer["error"]
    assert scene[1].vips == []


def test_after_an_owner_s_probe_nobody_takes_its_address_for_ten_seconds(scene: Scene) -> None:
    """Not another node either, whom a master orders meanwhile; then, if the owner did not come up, it is served again."""
    scene.start(1, 3)
    owner = without_address(scene)
    mac = {"owner_mac": owner.mac}
    assert scene.director.recover(2, 1, **mac)["secondary_ip"] == OWNER
    wire = in_namespace(owner.ns, arp.Wire)
    in_namespace(owner.ns, lambda: wire.send("eth0", arp.probe(owner.mac, IPv4Address(OWNER))))
    wire.close()
    probed = time.monotonic()
    scene[1].wait_log("release_done")
    released = time.monotonic()
    assert f"in use by its owner {owner.mac}" in scene.director.recover(2, 3, **mac)["error"]
    scene[1].wait_log("address_restored", limit_s=15)
    assert [at for at, _ in scene.holders.seen if released + 0.1 < at < probed + 9.8] == []
    assert scene[1].vips == [f"{OWNER}/24"]


NETWORK = """
[Match]
Name=eth0
[Network]
LinkLocalAddressing=no
IPv6AcceptRA=no
[Address]
Address=10.9.0.2/24
DuplicateAddressDetection=ipv4
"""
START_NETWORKD = f"""
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
chown -R systemd-network: /run/systemd/netif
printf '%s' "$NETWORK" > /run/systemd/network/10-eth0.network
mount -o remount,ro,bind /sys || mount -o remount,ro /sys
exec {NETWORKD} > "$LOG" 2>&1
"""


@pytest.mark.skipif(not NETWORKD.exists(), reason="systemd-networkd is not installed")
def test_systemd_networkd_with_ipv4_duplicate_detection_gets_its_address(scene: Scene) -> None:
    scene.start(1)
    owner = without_address(scene)
    with scene.lab.capture() as capture:
        assert scene.director.recover(2, 1, owner_mac=owner.mac)["secondary_ip"] == OWNER
        # five announcements in both forms in the first 5 s; an owner that hears one before its probes gives up at once
        until(lambda: len(announcements(capture, OWNER)) >= 10)
    until(lambda: owner.mac in filtered(scene[1].host))
    back = time.monotonic()
    log = scene.folder / "networkd.log"
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NETWORK": NETWORK, "LOG": str(log)}
    environ["SYSTEMD_LOG_LEVEL"] = "debug"
    networkd = owner.popen("unshare", "-m", "sh", "-ec", START_NETWORKD, env=environ)
    until(lambda: owner.addresses() == [f"{OWNER}/24"], 30, lambda: log.read_text()[-3000:])
    given_back(scene, owner, back)
    networkd.kill()


@pytest.fixture
def forger(scene: Scene) -> Iterator[socket.socket]:
    """Sends what it likes from the client's card."""
    host = scene.lab.client
    sock = in_namespace(host.ns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    with sock:
        in_namespace(host.ns, lambda: sock.bind(("eth0", 0)))
        yield sock


@needs_arping
def test_one_forged_frame_does_not_keep_the_owner_away(scene: Scene, forger: socket.socket) -> None:
    """It gives the owner's MAC another address. The holder learned that MAC from the wire, so it does not trust it."""
    scene.start(1)  # first, so that it hears node 2 announce itself
    scene.start(2)
    scene[2].kill()
    owner = without_address(scene)
    scene.take(1)
    forger.send(arp.announcements(owner.mac, IPv4Address("10.9.0.77"))[0])
    back = time.monotonic()
    # the holder asks who has the other address before it believes the owner's probe
    come_up(scene, owner, pause_s=1.0)
    given_back(scene, owner, back)


def test_a_claim_on_another_interface_counts_for_nothing(scene: Scene) -> None:
    """One from a container's bridge, say. It neither ends what is held nor has the own address defended."""
    scene.start(1)
    holder = scene.lab.node(1)
    holder.sh(
        "ip link add cbr0 type bridge; ip link set cbr0 up; ip link add c0 type veth peer name c1; "
        "ip link set c0 master cbr0; ip link set c0 up; ip link set c1 up; ip addr add 172.17.0.1/24 dev cbr0"
    )
    scene.lab.node(2).cut()
    scene.take(1)
    until(lambda: "state UP" in holder.run("ip", "link", "show", "cbr0").stdout)
    sock = in_namespace(holder.ns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    with sock:
        in_namespace(holder.ns, lambda: sock.bind(("c1", 0)))
        for claimed in (OWNER, "10.9.0.1"):
            for frame in arp.announcements("02:fc:00:00:00:99", IPv4Address(claimed)):
                sock.send(frame)
    assert scene.director.recover(2, 1)["secondary_ip"] == OWNER  # handled after what was heard
    assert scene[1].vips == [f"{OWNER}/24"]
    assert [scene[1].entries(event) for event in ("address_conflict", "release_done")] == [[], []]


def test_a_changed_mac_of_the_card_is_announced_at_once(scene: Scene) -> None:
    scene.start(1)
    holder = scene.lab.node(1)
    scene.lab.node(2).cut()
    with scene.lab.capture() as capture:
        scene.take(1)
        until(lambda: len(announcements(capture, OWNER)) >= 10)  # the next would come a minute later
        holder.run("ip", "link", "set", "eth0", "address", "02:fc:00:00:00:88")
        for ip in (OWNER, "10.9.0.1"):
            until(lambda ip=ip: "02:fc:00:00:00:88" in announcements(capture, ip))
    assert scene[1].vips == [f"{OWNER}/24"]
    join = until(
        lambda: [one for one in scene.director.answers("join", 1) if one["mac"] == "02:fc:00:00:00:88"]
    )
    assert join[-1]["secondary_ip"] == OWNER


@pytest.mark.parametrize(("holder", "heir"), [(1, 3), (3, 1)])
def test_hand_over_does_not_depend_on_whose_mac_is_lower(scene: Scene, holder: int, heir: int) -> None:
    """The heir is ordered while the holder still has the address, and waits until it lets go."""
    scene.start(1, 3)
    scene.lab.node(2).cut()
    scene.take(holder)
    at = scene.director.tell(heir, "recover", recover(2, heir))
    scene[heir].wait_log("owner_alive")
    with scene.lab.capture() as capture:  # each asks for it twice
        until(lambda: len(capture.asked(OWNER, f"10.9.0.{holder}")) >= 2 and len(capture.probes(OWNER)) >= 2)
    assert scene.director.answers("update node", heir, at) == []
    assert scene.director.restore(2, holder)["status"] is True
    assert scene.director.wait("update node", heir, at)["data"]["secondary_ip"] == OWNER
    assert scene[holder].vips == []
    assert scene[heir].vips == [f"{OWNER}/24"]
    assert scene[holder].entries("address_conflict") == []
