"""Failovers in whose middle a master is killed: two bundled masters on one Redis, three nodes, one wire."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from tests.integration.scene import OWNER, Scene
from tests.lab.cluster import PORT, Bundled
from tests.lab.netns import Lab, until

REDIS_PORT = 6379
LATEST_S = 0.3
"""After the order at which the master is killed: an order takes 0.2 s of asking the wire, and its answer."""


@dataclass
class Failover:
    """One whose master was killed."""

    decided: bool
    """Whether it was the one that had elected, else the other."""
    after_s: float
    """The kill, after the order."""
    took_s: float
    """From the kill until one holder answered and both the masters' state and the cards agreed."""
    holder: int


def kill_masters(folder: Path, times: int) -> list[Failover]:
    """Let node 2 die `times` times, and kill a master each time; returns those that ended with exactly one holder.

    AssertionError where one does not.
    """
    with Lab(nodes=(1, 2, 3)) as lab:
        hosts = [lab.master, lab.add("master2", "10.9.0.11", "02:fc:00:00:01:0b")]
        redis = lab.add("redis", "10.9.0.12", "02:fc:00:00:01:0c")
        redis.popen(
            "redis-server", "--bind", redis.ip, "--port", str(REDIS_PORT), "--save", "",
            "--protected-mode", "no", "--dir", str(folder), "--logfile", str(folder / "redis.log"),
        )  # fmt: skip
        until(lambda: "Ready to accept" in read(folder / "redis.log"))
        url = f"--redis=redis://{redis.ip}:{REDIS_PORT}/0"
        masters = [Bundled(host, 0.6, folder / f"master{i}.log", [url]) for i, host in enumerate(hosts)]
        with Scene(lab, folder) as scene:
            urls = [f"http://{host.ip}:{PORT}" for host in hosts]
            for node, order in ((1, urls), (3, urls), (2, urls[::-1])):
                scene.start(node, MASTER_URL=",".join(order), PING_INTERVAL="0.1", ADDRESS_LEASE="3")
            return [one_failover(lab, scene, masters, folder, number, times) for number in range(times)]


def one_failover(
    lab: Lab, scene: Scene, masters: list[Bundled], folder: Path, number: int, times: int
) -> Failover:
    until(lambda: all(m.knows(1, 2, 3) and m.holder(2) is None for m in masters), 15)
    until(lambda: scene[1].vips == scene[3].vips == [], 5)
    logs = [folder / f"master{i}.log" for i in range(2)]
    before = [len(read(log)) for log in logs]
    lab.node(2).cut()
    decider = until(
        lambda: [i for i in range(2) if "[takeover_ordered node=2" in read(logs[i])[before[i] :]],
        5,
        pause_s=0.002,
    )[0]
    after_s = LATEST_S * number / max(1, times - 1)
    time.sleep(after_s)
    decided = number % 2 == 0
    victim = decider if decided else 1 - decider
    killed = time.monotonic()
    masters[victim].kill()
    survivor = masters[1 - victim]

    def settled() -> bool:
        state = survivor.told()
        holder = survivor.holder(2)
        vips = {node: scene[node].vips for node in (1, 3)}
        return (
            holder is not None
            and state["inactive"].get("2", {}).get("ordered", "") is None
            and vips == {node: [f"{OWNER}/24"] if node == holder else [] for node in (1, 3)}
        )

    until(settled, 15, lambda: (survivor.told(), scene[1].vips, scene[3].vips))
    took_s = time.monotonic() - killed
    time.sleep(0.5)  # of the wire alone: another holder would answer
    assert settled()
    holder = survivor.holder(2)
    assert scene.holders.macs(time.monotonic() - 0.4) == {lab.node(holder or 0).mac}
    lab.node(2).mend()
    masters[victim].start()
    return Failover(decided, after_s, took_s, holder or 0)


def told(failovers: list[Failover], times: int) -> str:
    """A line for people."""
    took = sorted(one.took_s for one in failovers)
    deciders = sum(one.decided for one in failovers)
    return (
        f"a master killed in the middle of a failover: exactly one holder {len(failovers)} times of {times} "
        f"({deciders} times it was the one that elected); settled {statistics.median(took):.2f} s after the kill "
        f"(median), {took[-1]:.2f} s at most"
    )


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
