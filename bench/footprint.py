"""What the idle worker costs beside a bare python-socketio client with the same ping, in the same run.

    python -m bench.footprint [STARTS]

Proportional and resident memory, threads, the CPU time of a minute of idling, and the median time from the start of
the process to its connection (default 10 starts). Linux only.
"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from statistics import median

from bench.measure import BARE, WORKER, Client, cpu_s, machine, memory_mib, rounds, table
from tests.lab.masters import Master

IDLE_S = 60.0


def idle(worker: Client, bare: Client) -> list[list[float]]:
    """Of each client PSS and RSS in MiB, the number of threads, and CPU seconds an hour."""
    for client in (worker, bare):
        client.connected_s()
    time.sleep(5)
    before_s = [cpu_s(client.pid) for client in (worker, bare)]
    time.sleep(IDLE_S)
    return [
        [
            memory_mib(client.pid, "Pss"),
            memory_mib(client.pid),
            len(list(Path(f"/proc/{client.pid}/task").iterdir())),
            (cpu_s(client.pid) - used_s) / IDLE_S * 3600,
        ]
        for client, used_s in zip((worker, bare), before_s, strict=True)
    ]


def start_ms(name: str, url: str) -> float:
    with closing(Client(name, url)) as client:
        return (client.connected_s() - client.began_s) * 1000


def main() -> None:
    starts = rounds(10)
    master = Master()
    with closing(Client(WORKER, master.url)) as worker, closing(Client(BARE, master.url)) as bare:
        ours, theirs = idle(worker, bare)
    took_ms = [(start_ms(WORKER, master.url), start_ms(BARE, master.url)) for _ in range(starts)]
    master.close()
    for figures, took in zip((ours, theirs), zip(*took_ms, strict=True), strict=True):
        figures.append(median(took))
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    table(
        f"idle for {IDLE_S:g} s, {starts} starts; {machine()}",
        ["", "PSS MiB", "RSS MiB", "threads", "CPU s/h", "start ms"],
        [[WORKER, *ours], [BARE, *theirs], ["ratio", *ratios]],
    )


if __name__ == "__main__":
    main()
