"""From the start of the process to its connection, beside others.

python -m bench.start [ROUNDS]
"""

from __future__ import annotations

import sys

from bench import peers
from bench.figures import machine, median, p99

LIMIT_S = 20.0


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    master = peers.Master()
    took: dict[str, list[float]] = {name: [] for name in peers.names()}
    try:
        for _ in range(rounds):
            for name, values in took.items():
                peer = peers.Peer(name, master.url)
                up_s = peer.wait("up", LIMIT_S)
                peer.end()
                if up_s is None:
                    sys.exit(f"{name} did not connect in {LIMIT_S:g} s")
                values.append((up_s - peer.began_s) * 1000)
    finally:
        master.end()
    bare = median(took[peers.BARE])
    highest = "p99" if rounds >= 100 else "max"
    print(f"from start to connected, in ms, {rounds} rounds; {machine()}")
    print(f"{'':14} {'median':>8} {highest:>8} {'ratio':>6}")
    for name, values in took.items():
        print(f"{name:14} {median(values):8.0f} {p99(values):8.0f} {median(values) / bare:6.2f}")
    print(peers.without_node() or "", end="")


if __name__ == "__main__":
    main()
