"""Orders that nobody should give: each is refused, and nothing on the machine changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.scene import OWNER, Scene
from tests.lab.cluster import Worker, recover
from tests.lab.netns import needs_namespaces, until

pytestmark = [needs_namespaces, pytest.mark.slow]
GATEWAY = "10.9.0.10"
LONG = "x" * 1_000_000

NODES = [None, True, "2", 2.0, -1, 0, 1, 99, 10**30, [2], {"2": 2}, "", "2; reboot", LONG]
ADDRESSEES = [None, 1, "3", "", "1 ", ["1"], "--help"]
ADDRESSES = [
    None, 5, 0x0A090002, [OWNER], {"ip": OWNER}, "", LONG,
    f"{OWNER}; reboot", "$(reboot)", "`reboot`", f"{OWNER}|reboot", "-h", "--help", f"{OWNER}\0", "\0", f" {OWNER}",
    f"{OWNER}\n", f"{OWNER}/24", "010.009.000.002", "10.9.2", "0x0a090002", "१०.9.0.2", "eth0", "lo",
    "::1", "fe80::1", "2001:db8::2", f"::ffff:{OWNER}", "fe80::1%eth0", f"{OWNER}%eth0",
    "0.0.0.0", "0.0.0.2", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "10.9.0.0", "10.9.0.255", GATEWAY, "10.9.0.1", "10.9.1.2", "192.168.7.2", "169.254.1.2", "8.8.8.8",
]  # fmt: skip
MASKS = [
    None, 24, "24", "/24", "", LONG, "255.255.0.0", "255.255.255.128", "255.255.255.252", "0.0.0.0",
    "255.255.255.255", "255.0.255.0", "0.0.0.255", "ffff:ff00::", "255.255.255.0; reboot", "-1", ["255.255.255.0"],
]  # fmt: skip
RECOVERS: list[dict[str, Any]] = [
    {},
    *({key: value for key, value in recover(2, 1).items() if key != left_out} for left_out in list(recover(2, 1))[:4]),
    *(recover(2, 1, disconnected_node=node) for node in NODES),
    *(recover(2, 1, recovery_node=node) for node in ADDRESSEES),
    *(recover(2, 1, ip=ip) for ip in ADDRESSES),
    *(recover(2, 1, netmask=mask) for mask in MASKS),
    {"ip": OWNER, "more": {"deep": [None, "\x1b[2J\r\n"]}, "secondary_ip": OWNER, "error": "none"},
]  # fmt: skip
RESTORES: list[dict[str, Any]] = [{}, *({"restore_node": node} for node in NODES)]
NO_OBJECTS = [None, True, 5, 1.5, "", "recover", LONG, [], [recover(2, 1)], ["-h", None]]
KEYS = ("disconnected_node", "recovery_node", "ip", "netmask", "active_neighbors", "restore_node")


def processes_started(worker: Worker) -> int:
    """Grows with each child of the worker's that came to an end: the page faults of all of them (proc(5))."""
    return int(Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()[8])


class Machine:
    """What must be the same afterwards."""

    def __init__(self, worker: Worker) -> None:
        # nft, which a start runs to remove what a killed worker left, may take its time on a busy machine
        until(lambda: worker.host.pids() == [worker.process.pid])
        self.addresses = worker.host.sh("ip -d -4 addr; ip -6 addr; ip route show table all")
        self.running = worker.host.pids()
        self.children = processes_started(worker)

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other)

    __hash__ = None

    def __repr__(self) -> str:
        return repr(vars(self))


def test_every_hostile_order_is_refused(scene: Scene) -> None:
    scene.start(1)
    worker, director = scene[1], scene.director
    worker.host.sh(f"ip route add default via {GATEWAY}")
    scene.lab.node(2).cut()
    before = Machine(worker)

    director.tell(1, "recover", *RECOVERS, ack=True)
    director.tell(1, "restore", *RESTORES, ack=True)
    director.tell(1, "recover", *NO_OBJECTS, ack=True)
    director.tell(1, "restore", *NO_OBJECTS, ack=True)
    count = len(RECOVERS) + len(RESTORES) + 2 * len(NO_OBJECTS)
    until(lambda: len(director.answers("ack", 1)) == count, 20)
    for ack in director.answers("ack", 1):
        assert ack["accepted"] is False
        assert ack["error"]
    until(lambda: len(director.answers("restore node", 1)) == len(RESTORES))
    assert Machine(worker) == before

    for order, answer in zip(RECOVERS, director.answers("update node", 1)):
        assert answer.pop("error"), order
        if LONG in order.values():
            assert set(answer) <= set(KEYS)
            assert len(str(answer)) < 5000
        else:
            assert answer == {k: v for k, v in order.items() if k not in ("secondary_ip", "error")}
    assert len(director.answers("update node", 1)) == len(RECOVERS)
    for order, answer in zip(RESTORES, director.answers("restore node", 1)):
        assert answer.pop("error"), order
        assert answer.pop("status") is False
        assert LONG in order.values() or answer == order

    assert worker.entries("crashed") == []
    scene.take(1)


def test_three_thousand_orders_in_a_burst(scene: Scene) -> None:
    scene.start(1, CONFLICT_WAIT="0", PING_TIMEOUT="20")  # the director reads 3,000 answers first
    worker, director = scene[1], scene.director
    worker.host.sh(f"ip route add default via {GATEWAY}")
    before = Machine(worker)
    # with a living owner's address among them: each time the wire is asked, and the answer must be heard
    short = [recover(2, 1), *(order for order in RECOVERS if LONG not in order.values())]
    director.tell(1, "recover", *(short[i % len(short)] for i in range(3000)))
    until(lambda: len(director.answers("update node", 1)) == 3000, 40, pause_s=0.2)
    assert all(
        answer["error"] and "secondary_ip" not in answer for answer in director.answers("update node", 1)
    )
    assert Machine(worker) == before
    assert worker.process.poll() is None
    assert [one for one in director.heard if one["event"] == "disconnect"] == []
    assert worker.entries("crashed") == []
    scene.lab.node(2).cut()
    scene.take(1)


def test_the_same_valid_order_a_thousand_times(scene: Scene) -> None:
    scene.start(1)
    scene.lab.node(2).cut()
    scene.director.tell(1, "recover", *[recover(2, 1)] * 1000)
    until(lambda: len(scene.director.answers("update node", 1)) == 1000, 20, pause_s=0.1)
    assert {answer.get("secondary_ip") for answer in scene.director.answers("update node", 1)} == {OWNER}
    assert scene[1].vips == [f"{OWNER}/24"]


def test_another_address_for_a_node_whose_address_is_held(scene: Scene) -> None:
    scene.start(1)
    scene.lab.node(2).cut()
    scene.take(1)
    at = scene.director.tell(1, "recover", recover(2, 1, ip="10.9.0.7"), recover(5, 1, ip=OWNER))
    until(lambda: len(scene.director.answers("update node", 1, at)) == 2)
    for answer in scene.director.answers("update node", 1, at):
        assert f"{OWNER}" in answer["error"]
    assert scene[1].vips == [f"{OWNER}/24"]
