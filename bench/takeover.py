"""From `recover` to `update node`, beside what a script would do: `ip addr add` and `ip addr del`.

    python -m bench.takeover [ROUNDS]

In one namespace each, interleaved: a worker as root (netlink) and one as a user with a sudo password, both with
CONFLICT_PROBE=0, ROUNDS (default 100) times; one with the default probe, a fifth as often; and the pair of `ip`
commands as subprocesses, alone and through sudo. The master notes when it orders and when it has read the answer; the
first ARP is when the switch received it. Needs Linux, root, and for the sudo worker what tests/lab/users.py needs.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.measure import machine, require_root, rounds, table
from tests.lab import users
from tests.lab.cluster import ROOT, Director, Worker
from tests.lab.netns import Lab
from tests.lab.observers import Inside

NETLINK, SUDO, PROBING = 1, 3, 4
NAMES = {NETLINK: "netlink", SUDO: "sudo", PROBING: "netlink, default probe"}
PAIR, SUDO_PAIR, FIRST_ARP = "ip addr add + del", "sudo ip addr add + del", "netlink, to the first ARP"


def take(master: Director, node: int) -> tuple[float, float]:
    """When the order went out and when its answer came; the address is given back afterwards."""
    began_s = time.monotonic()
    answer = master.recover(2, node)
    if answer.get("secondary_ip") != "10.9.0.2":
        sys.exit(f"the {NAMES[node]} worker did not take the address: {answer}")
    master.restore(2, node)
    ordered, answered = (master.wait(event, node, began_s)["at"] for event in ("ordered", "update node"))
    return ordered, answered


def ip_pair(*before: str) -> float:
    """Milliseconds for `ip addr add` and `ip addr del` in the namespace of this thread."""
    began_s = time.monotonic()
    for verb in ("add", "del"):
        subprocess.run([*before, "ip", "addr", verb, "10.9.0.77/24", "dev", "eth0"], check=True)
    return (time.monotonic() - began_s) * 1000


@contextlib.contextmanager
def sudo_worker(lab: Lab) -> Iterator[None]:
    with users.made_up_user("ALL=(root) ALL") as user:
        logs = user.project / "log"
        logs.mkdir()
        os.chown(logs, user.uid, user.uid)
        shutil.copy(ROOT / "network_config.txt", user.project)
        Worker(
            lab,
            SUDO,
            logs,
            command=user.argv(user.python, "-B", "client.py"),
            cwd=user.project,
            VIP_BACKEND="sudo",
            PASSWORD=users.PASSWORD,
            CONFLICT_PROBE="0",
            PING_INTERVAL="2",
        )
        yield


def measure(count: int) -> dict[str, list[float]]:
    took: dict[str, list[float]] = defaultdict(list)
    nodes = [NETLINK, PROBING] if users.why_not() else [NETLINK, SUDO, PROBING]
    with (
        Lab(nodes=tuple(NAMES)) as lab,
        tempfile.TemporaryDirectory() as folder,
        contextlib.ExitStack() as stack,
    ):
        master = Director(lab.master)
        Worker(lab, NETLINK, Path(folder, "1"), CONFLICT_PROBE="0", PING_INTERVAL="2")
        Worker(lab, PROBING, Path(folder, "4"), PING_INTERVAL="2")
        if SUDO in nodes:
            stack.enter_context(sudo_worker(lab))
        for node in nodes:
            master.wait("join", node)
        inside = Inside(lab.node(NETLINK).ns)
        for number in range(count):
            seldom = number % 5 == 0
            took[PAIR].append(inside.call(ip_pair))
            if seldom and shutil.which("sudo"):
                took[SUDO_PAIR].append(inside.call(ip_pair, "sudo", "-n"))
            for node in nodes:
                if node != PROBING or seldom:
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
    if users.why_not():
        print(f"no sudo worker: {users.why_not()}")


if __name__ == "__main__":
    main()
