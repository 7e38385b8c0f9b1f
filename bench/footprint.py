"""What the idle worker costs beside a bare python-socketio client with the same ping, in the same run.

    python -m bench.footprint [SECONDS] [STARTS]

Prints proportional and resident memory, threads, the CPU time of SECONDS (default 60) of idling, and the median time
from the start of the process to its connection (default 10 starts). Linux only: it reads /proc.
"""

from __future__ import annotations

import sys
import time

from bench.measure import BARE, WORKER, Master, Peer, cpu_ns, machine, median, memory_kib, threads

LIMIT_S = 20.0


def started(name: str, url: str, **settings: str) -> tuple[Peer, float]:
    """Start a peer and wait for its connection; returns it and the milliseconds that this took."""
    peer = Peer(name, url, **settings)
    up_s = peer.wait("up", LIMIT_S)
    if up_s is None:
        peer.end()
        sys.exit(f"{name} did not connect in {LIMIT_S:g} s")
    return peer, (up_s - peer.began_s) * 1000


def idle(url: str, seconds: float) -> dict[str, tuple[float, float, int, float]]:
    """Return PSS and RSS in MiB, the number of threads, and CPU seconds an hour of each peer."""
    peers = {name: started(name, url)[0] for name in (WORKER, BARE)}
    try:
        time.sleep(5)
        before = {name: cpu_ns(peer.pid) for name, peer in peers.items()}
        time.sleep(seconds)
        found = {}
        for name, peer in peers.items():
            memory = memory_kib(peer.pid)
            used = (cpu_ns(peer.pid) - before[name]) / 1e9 / seconds * 3600
            found[name] = (memory["Pss"] / 1024, memory["Rss"] / 1024, threads(peer.pid), used)
        return found
    finally:
        for peer in peers.values():
            peer.end()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    starts = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    master = Master()
    took: dict[str, list[float]] = {WORKER: [], BARE: []}
    try:
        found = idle(master.url, seconds)
        for _ in range(starts):
            for name, values in took.items():
                peer, took_ms = started(name, master.url)
                values.append(took_ms)
                peer.end()
    finally:
        master.end()
    print(f"idle for {seconds:g} s, {starts} starts; {machine()}")
    print(f"{'':12} {'PSS MiB':>8} {'RSS MiB':>8} {'threads':>8} {'CPU s/h':>8} {'start ms':>9}")
    rows = {name: (*found[name], median(took[name])) for name in took}
    for name, (pss, rss, count, used, start_ms) in rows.items():
        print(f"{name:12} {pss:8.1f} {rss:8.1f} {count:8} {used:8.2f} {start_ms:9.0f}")
    ratios = [ours / bare for ours, bare in zip(rows[WORKER], rows[BARE], strict=True)]
    print(f"{'ratio':12} {ratios[0]:8.2f} {ratios[1]:8.2f} {'':8} {ratios[3]:8.2f} {ratios[4]:9.2f}")


if __name__ == "__main__":
    main()
