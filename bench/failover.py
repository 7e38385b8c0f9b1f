"""A client's outage when a node fails, and for how long two answer: the bundled master and its workers beside keepalived.

    python -m bench.failover [ROUNDS]

Three nodes on a bridge run both: workers with PING_INTERVAL=0.1 and CONFLICT_PROBE=0.1 under a master with
`--dead-after 0.35`, which protect node 2's own address, and keepalived with a virtual address at advert_int 0.1 and
another at 1, both node 2's. In each of ROUNDS rounds (default 10) node 2's cable is cut at a random moment, and a client,
whose ARP cache is warm, pings all three addresses every 5 ms through it. Its outage runs from the last answer before
the cut to the first answer to a ping sent after it. An onlooker asks the wire every 20 ms who has each address, until all
is as before: "two" is the longest time for which two machines answered. keepalived asks nobody before it takes an
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
from pathlib import Path
from statistics import median

from bench.measure import machine, require_root, rounds, table
from tests.lab.cluster import Bundled, Worker
from tests.lab.netns import Host, Lab
from tests.lab.observers import Holders, Pings
from tests.lab.waiting import until

DEAD_AFTER_S, PING_S, PROBE_S = 0.35, 0.1, 0.1
OURS, PEER = "10.9.0.2", "10.9.0.200"
ADVERTS = {PEER: 0.1, "10.9.0.201": 1.0}
"""keepalived's addresses, and the seconds between its advertisements of each."""
PRIORITIES = {1: 100, 2: 150, 3: 90}
NAMES = {
    OURS: "bundled master, workers",
    **{ip: f"keepalived, advert_int {s:g}" for ip, s in ADVERTS.items()},
}
Times = dict[str, tuple[float, float]]
"""Each address's outage, and the longest time for which two had it, in milliseconds."""


def start_keepalived(lab: Lab, node: int, folder: Path) -> None:
    instances = [
        f"vrrp_instance VI_{number} {{ state BACKUP \n interface eth0 \n virtual_router_id {number} \n"
        f" priority {PRIORITIES[node]} \n advert_int {advert_s} \n virtual_ipaddress {{ {ip}/24 }} }}\n"
        for number, (ip, advert_s) in enumerate(ADVERTS.items(), 51)
    ]
    config = folder / f"keepalived{node}.conf"
    config.write_text("global_defs { vrrp_version 3 }\n" + "".join(instances))
    files = [f"--{name}={folder}/{name}{node}.pid" for name in ("pid", "vrrp_pid")]
    options = ["--dont-fork", "--vrrp", "--log-console", f"--use-file={config}", *files]
    lab.node(node).popen("keepalived", *options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def all_at_home(lab: Lab, master: Bundled) -> bool:
    """Whether node 2 has its own address and keepalived's, and nobody else has one of them."""
    held = {node: {text.split("/")[0] for text in lab.node(node).addresses()} for node in PRIORITIES}
    return (
        set(NAMES) <= held[2]
        and not set(NAMES) & (held[1] | held[3])
        and master.knows(1, 2, 3)
        and master.holder(2) is None
    )


def one_round(lab: Lab, master: Bundled, onlooker: Host) -> Times:
    until(lambda: all_at_home(lab, master))
    with contextlib.ExitStack() as stack:
        holders = {
            ip: stack.enter_context(Holders(onlooker.ns, onlooker.mac, onlooker.ip, ip, 0.02)) for ip in NAMES
        }
        pings = {ip: stack.enter_context(Pings(lab.client.ns, ip, 0.005)) for ip in NAMES}
        until(lambda: all(len(one.answered) > 20 for one in pings.values()))
        # the caches have the owner, and neither's beat knows of the fault
        time.sleep(random.uniform(0.5, 1.5))  # noqa: S311
        lab.node(2).cut()
        began_s = time.monotonic()
        until(lambda: all(one.outage_s(began_s) for one in pings.values()))
        outages_s = {ip: one.outage_s(began_s) or 0.0 for ip, one in pings.items()}
        lab.node(2).mend()
        until(lambda: all_at_home(lab, master))
        time.sleep(0.5)
    return {ip: (outages_s[ip] * 1000, holders[ip].longest_double_s() * 1000) for ip in NAMES}


def measure(count: int) -> list[Times]:
    with tempfile.TemporaryDirectory() as name, Lab(nodes=tuple(PRIORITIES)) as lab:
        master = Bundled(lab.master, DEAD_AFTER_S)
        onlooker = lab.add("onlooker", "10.9.0.101", "02:fc:00:00:01:65")
        for node in PRIORITIES:
            start_keepalived(lab, node, Path(name))
            folder = Path(name, str(node))
            Worker(lab, node, folder, PING_INTERVAL=str(PING_S), CONFLICT_PROBE=str(PROBE_S))
        return [one_round(lab, master, onlooker) for _ in range(count)]


def main() -> None:
    require_root()
    if shutil.which("keepalived") is None:
        sys.exit("keepalived, with which it compares, is not here; on Debian: apt install keepalived")
    found = measure(rounds(10))
    outages_ms = {ip: [times[ip][0] for times in found] for ip in NAMES}
    rows = []
    for ip, values in outages_ms.items():
        net_ms = median(values) - (PROBE_S * 1000 if ip == OURS else 0.0)
        two_ms = max(times[ip][1] for times in found)
        ratio = net_ms / median(outages_ms[PEER])
        rows.append([NAMES[ip], len(values), median(values), max(values), net_ms, ratio, two_ms])
    title = (
        f"the client's outage and the time with two holders, in ms, when node 2's cable is cut; {machine()}"
    )
    table(title, ["", "rounds", "median", "max", "without the probe", "ratio", "two, max"], rows)


if __name__ == "__main__":
    main()
