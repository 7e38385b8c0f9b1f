"""A client's outage when a node's cable is cut: the bundled master and its workers beside keepalived.

    python -m bench.failover [ROUNDS]

Three nodes on a bridge run both: workers with PING_INTERVAL=0.1 and CONFLICT_PROBE=0.1 under a master with
`--dead-after 0.35`, which protect node 2's own address, and keepalived with a virtual address at advert_int 0.1 and
another at 1, both node 2's. In each of ROUNDS rounds (default 10) node 2's cable is cut at a random moment, and a
client, whose ARP cache is warm, pings all three addresses every 5 ms through the same cut. Its outage runs from the
last answer before the cut to the first answer to a ping sent after it. keepalived asks nobody before it takes an
address, so a column takes the probe's time off. Needs Linux, root and keepalived.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import machine, median, need_linux_and_root, p99
from tests.integration.cluster import Bundled, Worker
from tests.integration.netns import Lab, why_not
from tests.integration.observers import Pings

DEAD_AFTER_S, PING_S, PROBE_S = 0.35, 0.1, 0.1
OURS = "10.9.0.2"
ADVERTS = {"10.9.0.200": 0.1, "10.9.0.201": 1.0}
"""keepalived's addresses, and the seconds between its advertisements of each."""
PRIORITIES = {1: 100, 2: 150, 3: 90}
NAMES = {
    OURS: "bundled master, workers",
    **{ip: f"keepalived, advert_int {s:g}" for ip, s in ADVERTS.items()},
}
BACK_S = 30.0
"""In which everything must be as it was before a cut."""


def keepalived_config(node: int) -> str:
    instances = [
        f"""
        vrrp_instance VI_{number} {{
            state BACKUP
            interface eth0
            virtual_router_id {number}
            priority {PRIORITIES[node]}
            advert_int {advert_s}
            virtual_ipaddress {{ {ip}/24 }}
        }}"""
        for number, (ip, advert_s) in enumerate(ADVERTS.items(), 51)
    ]
    return "global_defs { vrrp_version 3 }\n" + "".join(instances)


def start_keepalived(lab: Lab, node: int, folder: Path) -> None:
    config = folder / f"keepalived{node}.conf"
    config.write_text(keepalived_config(node))
    files = [f"--{name}={folder}/{name}{node}.pid" for name in ("pid", "vrrp_pid")]
    lab.node(node).popen(
        "keepalived",
        "--dont-fork",
        "--vrrp",
        "--log-console",
        f"--use-file={config}",
        *files,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait(what: str, condition: Callable[[], bool], limit_s: float = BACK_S) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"not within {limit_s:g} s: {what}")
        time.sleep(0.05)


def all_at_home(lab: Lab, master: Bundled) -> bool:
    """Whether node 2 has its own address and keepalived's, and nobody else has one of them."""
    held = {node: {text.split("/")[0] for text in lab.node(node).addresses()} for node in PRIORITIES}
    return (
        set(NAMES) <= held[2]
        and not set(NAMES) & (held[1] | held[3])
        and master.knows(1, 2, 3)
        and master.holder(2) is None
    )


def one_round(lab: Lab, master: Bundled) -> dict[str, float]:
    """Each address's outage in seconds."""
    wait("node 2 holds its addresses", lambda: all_at_home(lab, master))
    with contextlib.ExitStack() as stack:
        pings = {ip: stack.enter_context(Pings(lab.client.ns, ip, 0.005)) for ip in NAMES}
        wait("the client is answered", lambda: all(len(one.answered) > 20 for one in pings.values()))
        # the caches have the owner, and neither's beat knows of the cut
        time.sleep(random.uniform(0.5, 1.5))  # noqa: S311
        lab.node(2).cut()
        cut = time.monotonic()
        wait("the client is answered again", lambda: all(one.outage_s(cut) for one in pings.values()))
        outages = {ip: one.outage_s(cut) or 0.0 for ip, one in pings.items()}
    lab.node(2).mend()
    return outages


def measure(rounds: int) -> dict[str, list[float]]:
    outages: dict[str, list[float]] = {ip: [] for ip in NAMES}
    with tempfile.TemporaryDirectory() as name, Lab(nodes=tuple(PRIORITIES)) as lab:
        folder = Path(name)
        master = Bundled(lab.master, DEAD_AFTER_S)
        for node in PRIORITIES:
            start_keepalived(lab, node, folder)
            Worker(
                lab,
                node,
                folder / str(node),
                PING_INTERVAL=str(PING_S),
                CONFLICT_PROBE=str(PROBE_S),
                LOG_CONSOLE="0",
            )
        for count in range(rounds):
            for ip, outage_s in one_round(lab, master).items():
                outages[ip].append(outage_s)
            print(f"round {count + 1} of {rounds}", file=sys.stderr)
    return outages


def main() -> None:
    need_linux_and_root("failover")
    if why_not():
        sys.exit(str(why_not()))
    if shutil.which("keepalived") is None:
        sys.exit(
            "bench.failover compares with keepalived, which is not here; on Debian: apt install keepalived"
        )
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    outages = measure(rounds)
    peer = median(outages["10.9.0.200"])
    highest = "p99" if rounds >= 100 else "max"
    print(f"the client's outage after a cut cable, in ms, {rounds} rounds; {machine()}")
    print(f"{'':26} {'median':>8} {highest:>8} {'median without the probe':>25} {'ratio':>6}")
    for ip, values in outages.items():
        asked_s = PROBE_S if ip == OURS else 0.0
        middle, high = median(values), p99(values)
        net = middle - asked_s
        print(f"{NAMES[ip]:26} {middle * 1000:8.0f} {high * 1000:8.0f} {net * 1000:25.0f} {net / peer:6.2f}")
    print("ratio: of the medians without the probe, to keepalived's at advert_int 0.1")


if __name__ == "__main__":
    main()
