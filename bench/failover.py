"""A client's outage when a node fails, and for how long two answer: the bundled master and its workers beside keepalived.

    python -m bench.failover [ROUNDS]

Three nodes on a bridge run both: workers, which protect node 2's own address, and keepalived with a virtual address of
node 2's. In each round node 2 meets a fault at a random moment, and a client, whose ARP cache is warm, pings both
addresses every 5 ms through it. Its outage runs from the last answer before the fault to the first answer to a ping sent
after it. An onlooker asks the wire every 20 ms who has each address, until all is as before: "two" is the longest time
for which two machines answered.

First both have their defaults, and the cable is cut. Then both are as quick as they get (PING_INTERVAL=0.1,
CONFLICT_PROBE=0.1 and `--dead-after 0.35` beside advert_int 0.1), and the faults are: the cable is cut (ROUNDS times,
default 10); worker and keepalived are killed while their machine's kernel lives on, and started again after 4 s; the
machine is frozen, cut off and all, and goes on 4 s later (half as often each). keepalived asks nobody before it takes an
address, so a column takes the probe's time off. Needs Linux, root and keepalived.
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
from statistics import median

from bench.measure import machine, require_root, rounds, table
from master.settings import OPTIONS
from settings.schema import VARIABLES
from tests.lab.cluster import Bundled, Worker
from tests.lab.netns import Lab
from tests.lab.observers import Holders, Pings
from tests.lab.waiting import until

OURS, PEER = "10.9.0.2", "10.9.0.200"
PRIORITIES = {1: 100, 2: 150, 3: 90}
NAMES = {OURS: "bundled master, workers", PEER: "keepalived"}


@dataclass(frozen=True)
class Settings:
    """Of both: seconds until the master takes a silent node for dead, and between keepalived's advertisements."""

    name: str
    dead_after_s: float
    ping_s: float
    probe_s: float
    advert_s: float


WORKER = {variable.name: variable.default for variable in VARIABLES}
DEFAULTS = Settings(
    "all defaults",
    float(OPTIONS["dead_after"].default or 0),
    float(WORKER["PING_INTERVAL"]),
    float(WORKER["CONFLICT_PROBE"]),
    1.0,
)
QUICK = Settings("as quick as they get", 0.35, 0.1, 0.1, 0.1)


class Bench:
    """Everything that runs in the namespaces."""

    def __init__(self, lab: Lab, folder: Path, settings: Settings) -> None:
        self.lab = lab
        self._folder = folder
        self.settings = settings
        self.node = lab.node(2)
        self._master = Bundled(lab.master, settings.dead_after_s)
        self.onlooker = lab.add("onlooker", "10.9.0.101", "02:fc:00:00:01:65")
        for node in PRIORITIES:
            self._start_keepalived(node)
            self._start_worker(node)

    def _start_worker(self, node: int) -> None:
        Worker(
            self.lab,
            node,
            self._folder / str(node),
            PING_INTERVAL=str(self.settings.ping_s),
            CONFLICT_PROBE=str(self.settings.probe_s),
            PING_TIMEOUT=WORKER["PING_TIMEOUT"],
            RECONNECT_DELAY_MAX=WORKER["RECONNECT_DELAY_MAX"],
        )

    def _start_keepalived(self, node: int) -> None:
        instance = (
            f"vrrp_instance VI_51 {{ state BACKUP \n interface eth0 \n virtual_router_id 51 \n"
            f" priority {PRIORITIES[node]} \n advert_int {self.settings.advert_s} \n"
            f" virtual_ipaddress {{ {PEER}/24 }} }}\n"
        )
        config = self._folder / f"keepalived{node}.conf"
        config.write_text("global_defs { vrrp_version 3 }\n" + instance)
        files = [f"--{name}={self._folder}/{name}{node}.pid" for name in ("pid", "vrrp_pid")]
        options = ["--dont-fork", "--vrrp", "--log-console", f"--use-file={config}", *files]
        quiet = subprocess.DEVNULL
        self.lab.node(node).popen("keepalived", *options, stdout=quiet, stderr=quiet)

    def all_at_home(self) -> bool:
        """Whether node 2 has its own address and keepalived's, and nobody else has one of them."""
        held = {node: {text.split("/")[0] for text in self.lab.node(node).addresses()} for node in PRIORITIES}
        return (
            set(NAMES) <= held[2]
            and not set(NAMES) & (held[1] | held[3])
            and self._master.knows(1, 2, 3)
            and self._master.holder(2) is None
        )

    # the faults, all node 2's

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def start(self) -> None:
        for file in self._folder.glob("*pid2.pid"):
            file.unlink()
        self._start_keepalived(2)
        self._start_worker(2)

    def freeze(self) -> None:
        self.node.cut()
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)
        self.node.mend()

    def _signal(self, number: int) -> None:
        for pid in self.node.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@dataclass(frozen=True)
class Fault:
    """`lasts_s` 0: until the client is answered again. Of the rounds, one in `share` has it."""

    name: str
    begin: Callable[[Bench], None]
    end: Callable[[Bench], None]
    lasts_s: float
    share: int


FAULTS = (
    Fault("the cable is cut", lambda bench: bench.node.cut(), lambda bench: bench.node.mend(), 0.0, 1),
    Fault("its programs are killed", Bench.kill, Bench.start, 4.0, 2),
    Fault("the machine is frozen", Bench.freeze, Bench.thaw, 4.0, 2),
)
Times = dict[str, tuple[float, float]]
"""Each address's outage, and the longest time for which two had it, in milliseconds."""


def one_round(bench: Bench, fault: Fault) -> Times:
    until(bench.all_at_home)
    eye = bench.onlooker
    with contextlib.ExitStack() as stack:
        holders = {ip: stack.enter_context(Holders(eye.ns, eye.mac, eye.ip, ip, 0.02)) for ip in NAMES}
        pings = {ip: stack.enter_context(Pings(bench.lab.client.ns, ip, 0.005)) for ip in NAMES}
        until(lambda: all(len(one.answered) > 20 for one in pings.values()))
        # the caches have the owner, and neither's beat knows of the fault
        time.sleep(0.5 + random.uniform(0, 2 * max(bench.settings.ping_s, bench.settings.advert_s)))  # noqa: S311
        fault.begin(bench)
        began_s = time.monotonic()
        until(lambda: all(one.outage_s(began_s) for one in pings.values()))
        outages_s = {ip: one.outage_s(began_s) or 0.0 for ip, one in pings.items()}
        time.sleep(max(0.0, began_s + fault.lasts_s - time.monotonic()))
        fault.end(bench)
        until(bench.all_at_home)
        time.sleep(0.5)
    return {ip: (outages_s[ip] * 1000, holders[ip].longest_double_s() * 1000) for ip in NAMES}


def show(title: str, probe_s: float, found: list[Times]) -> None:
    outages_ms = {ip: [times[ip][0] for times in found] for ip in NAMES}
    rows = []
    for ip, values in outages_ms.items():
        # a fault that nobody notices costs no probe either
        probe_ms = probe_s * 1000 if ip == OURS and median(values) > probe_s * 1000 else 0.0
        net_ms = median(values) - probe_ms
        two_ms = max(times[ip][1] for times in found)
        ratios = [ms / median(outages_ms[PEER]) for ms in (median(values), net_ms)]
        rows.append([NAMES[ip], len(values), median(values), max(values), ratios[0], ratios[1], two_ms])
    table(title, ["", "rounds", "median", "max", "ratio", "without the probe", "two, max"], rows)


def main() -> None:
    require_root()
    if shutil.which("keepalived") is None:
        sys.exit("keepalived, with which it compares, is not here; on Debian: apt install keepalived")
    count = rounds(10)
    print(f"the client's outage and the time with two holders, in ms, when node 2 fails; {machine()}\n")
    for settings, faults in (DEFAULTS, FAULTS[:1]), (QUICK, FAULTS):
        with tempfile.TemporaryDirectory() as name, Lab(nodes=tuple(PRIORITIES)) as lab:
            bench = Bench(lab, Path(name), settings)
            for fault in faults:
                found = [one_round(bench, fault) for _ in range(-(-count // fault.share))]
                show(f"{settings.name}: {fault.name}", settings.probe_s, found)


if __name__ == "__main__":
    main()
