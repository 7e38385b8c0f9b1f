"""A client's outage when a node fails, and for how long two answer: the bundled master and its workers beside keepalived.

    python -m bench.failover [ROUNDS]

Three nodes on a bridge run both: workers with PING_INTERVAL=0.1 and CONFLICT_PROBE=0.1 under a master with
`--dead-after 0.35`, which protect node 2's own address, and keepalived with a virtual address at advert_int 0.1 and
another at 1, both node 2's. In each round node 2 meets a fault at a random moment, and a client, whose ARP cache is
warm, pings all three addresses every 5 ms through it. Its outage runs from the last answer before the fault to the
first answer to a ping sent after it. An onlooker asks the wire every 20 ms who has each address, until all is as before:
"two" is the longest time for which two machines answered. The faults: the cable is cut (ROUNDS times, default 10); worker
and keepalived are killed while their machine's kernel lives on, and started again after 4 s; the machine is frozen,
cut off and all, and goes on 4 s later (half as often each). keepalived asks nobody before it takes an address, so a
column takes the probe's time off. Needs Linux, root and keepalived.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.measure import machine, median, require_root
from tests.lab.cluster import Bundled, Worker
from tests.lab.netns import Lab, why_not
from tests.lab.observers import Holders, Pings

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


class Bench:
    """Everything that runs in the namespaces."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self._folder = folder
        self.master = Bundled(lab.master, DEAD_AFTER_S)
        self.onlooker = lab.add("onlooker", "10.9.0.101", "02:fc:00:00:01:65")
        for node in PRIORITIES:
            start_keepalived(lab, node, folder)
        self._workers = {
            node: Worker(
                lab,
                node,
                folder / str(node),
                PING_INTERVAL=str(PING_S),
                CONFLICT_PROBE=str(PROBE_S),
                LOG_CONSOLE="0",
            )
            for node in PRIORITIES
        }

    def signal(self, number: int) -> None:
        """To worker and keepalived of node 2."""
        for pid in self.lab.node(2).pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def start(self) -> None:
        for file in self._folder.glob("*pid2.pid"):
            file.unlink()
        start_keepalived(self.lab, 2, self._folder)
        self._workers[2].start()

    def freeze(self) -> None:
        self.lab.node(2).cut()
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)
        self.lab.node(2).mend()


@dataclass(frozen=True)
class Fault:
    """`lasts_s` None: until the client is answered again."""

    name: str
    begin: Callable[[Bench], None]
    end: Callable[[Bench], None]
    lasts_s: float | None
    share: int
    """Of the rounds, one in so many."""


FAULTS = (
    Fault("the cable is cut", lambda it: it.lab.node(2).cut(), lambda it: it.lab.node(2).mend(), None, 1),
    Fault("its programs are killed", Bench.kill, Bench.start, 4.0, 2),
    Fault("the machine is frozen", Bench.freeze, Bench.thaw, 4.0, 2),
)


def one_round(bench: Bench, fault: Fault) -> dict[str, tuple[float, float]]:
    """Each address's outage, and the longest time for which two had it, in seconds."""
    lab, master, eye = bench.lab, bench.master, bench.onlooker
    wait("node 2 holds its addresses", lambda: all_at_home(lab, master))
    with contextlib.ExitStack() as stack:
        holders = {ip: stack.enter_context(Holders(eye.ns, eye.mac, eye.ip, ip, 0.02)) for ip in NAMES}
        pings = {ip: stack.enter_context(Pings(lab.client.ns, ip, 0.005)) for ip in NAMES}
        wait("the client is answered", lambda: all(len(one.answered) > 20 for one in pings.values()))
        # the caches have the owner, and neither's beat knows of the fault
        time.sleep(random.uniform(0.5, 1.5))  # noqa: S311
        fault.begin(bench)
        began_s = time.monotonic()
        wait("the client is answered again", lambda: all(one.outage_s(began_s) for one in pings.values()))
        outages = {ip: one.outage_s(began_s) or 0.0 for ip, one in pings.items()}
        time.sleep(max(0.0, began_s + (fault.lasts_s or 0.0) - time.monotonic()))
        fault.end(bench)
        wait("node 2 has its addresses back", lambda: all_at_home(lab, master))
        time.sleep(0.5)
    return {ip: (outages[ip], holders[ip].longest_double_s()) for ip in NAMES}


def measure(rounds: int) -> dict[str, dict[str, list[tuple[float, float]]]]:
    found: dict[str, dict[str, list[tuple[float, float]]]] = {
        fault.name: {ip: [] for ip in NAMES} for fault in FAULTS
    }
    with tempfile.TemporaryDirectory() as name, Lab(nodes=tuple(PRIORITIES)) as lab:
        bench = Bench(lab, Path(name))
        for fault in FAULTS:
            for count in range(-(-rounds // fault.share)):
                for ip, times in one_round(bench, fault).items():
                    found[fault.name][ip].append(times)
                print(f"{fault.name}: round {count + 1}", file=sys.stderr)
    return found


def main() -> None:
    require_root("failover")
    if why_not():
        sys.exit(str(why_not()))
    if shutil.which("keepalived") is None:
        sys.exit(
            "bench.failover compares with keepalived, which is not here; on Debian: apt install keepalived"
        )
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    found = measure(rounds)
    print(f"the client's outage and the time with two holders, in ms, when node 2 fails; {machine()}")
    for fault, outages in found.items():
        peer = median([outage_s for outage_s, _ in outages["10.9.0.200"]])
        print(
            f"\n{fault:26} {'rounds':>6} {'median':>8} {'max':>6} {'without the probe':>18} {'ratio':>6} {'two, max':>9}"
        )
        for ip, times in outages.items():
            values = [outage_s for outage_s, _ in times]
            two_ms = max(double_s for _, double_s in times) * 1000
            # a fault that nobody notices costs no probe either
            asked_s = PROBE_S if ip == OURS and median(values) > PROBE_S else 0.0
            net_s = median(values) - asked_s
            print(
                f"{NAMES[ip]:26} {len(values):6} {median(values) * 1000:8.0f} {max(values) * 1000:6.0f}"
                f" {net_s * 1000:18.0f} {net_s / peer:6.2f} {two_ms:9.0f}"
            )


if __name__ == "__main__":
    main()
