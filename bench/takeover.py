"""From `recover` to `update node`, beside what a script would do: `ip addr add` and `ip addr del`.

    python -m bench.takeover [ROUNDS]

In one namespace each, interleaved: a worker with CONFLICT_PROBE=0, ROUNDS (default 100) times; one with the default
probe, a fifth as often; and the pair of `ip` commands as subprocesses. The master notes when it orders and when it has
read the answer; the first ARP is when the switch received it. Needs Linux and root.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from bench.measure import machine, require_root, rounds, table
from tests.lab.cluster import Director, Worker
from tests.lab.netns import Lab
from tests.lab.observers import Inside

NETLINK, PROBING = 1, 4
NAMES = {NETLINK: "netlink", PROBING: "netlink, default probe"}
PAIR, FIRST_ARP = "ip addr add + del", "netlink, to the first ARP"


def take(master: Director, node: int) -> tuple[float, float]:
    """When the order went out and when its answer came; the address is given back afterwards."""
    began_s = time.monotonic()
    answer = master.recover(2, node)
    if answer.get("secondary_ip") != "10.9.0.2":
        sys.exit(f"the {NAMES[node]} worker did not take the address: {answer}")
    master.restore(2, node)
    ordered, answered = (master.wait(event, node, began_s)["at"] for event in ("ordered", "update node"))
    return ordered, answered


def ip_pair() -> float:
    """Milliseconds for `ip addr add` and `ip addr del` in the namespace of this thread."""
    began_s = time.monotonic()
    for verb in ("add", "del"):
        subprocess.run(["ip", "addr", verb, "10.9.0.77/24", "dev", "eth0"], check=True)  # noqa: S607
    return (time.monotonic() - began_s) * 1000


def measure(count: int) -> dict[str, list[float]]:
    took: dict[str, list[float]] = defaultdict(list)
    with Lab(nodes=tuple(NAMES)) as lab, tempfile.TemporaryDirectory() as folder:
        master = Director(lab.master)
        Worker(lab, NETLINK, Path(folder, "1"), CONFLICT_PROBE="0", PING_INTERVAL="2")
        Worker(lab, PROBING, Path(folder, "4"), PING_INTERVAL="2")
        for node in NAMES:
            master.wait("join", node)
        inside = Inside(lab.node(NETLINK).ns)
        for number in range(count):
            took[PAIR].append(inside.call(ip_pair))
            for node in NAMES if number % 5 == 0 else (NETLINK,):
                ordered_s, answered_s = take(master, node)
                took[NAMES[node]].append((answered_s - ordered_s) * 1000)
        with lab.capture() as wire:
            for _ in range(count):
                wire.frames.clear()
                ordered_s, _answered_s = take(master, NETLINK)
                took[FIRST_ARP].append((wire.claims("10.9.0.2")[0].at - ordered_s) * 1000)
        inside.close()
    return took


def main() -> None:
    require_root()
    took = measure(rounds(100))
    pair_ms = median(took[PAIR])
    rows = []
    for name, values in took.items():
        middle_ms, p99_ms = median(values), sorted(values)[math.ceil(0.99 * len(values)) - 1]
        rows.append([name, len(values), middle_ms, p99_ms, middle_ms / pair_ms, p99_ms / pair_ms])
    columns = ["", "rounds", "median", "p99", "median/pair", "p99/pair"]
    table(f"from recover to update node, in ms; {machine()}", columns, rows)


if __name__ == "__main__":
    main()
