"""What grows with the nodes: how they come back to a master that restarts, and what they cost it.

    python -m bench.growth [WORKERS ...]

For each number of workers (default 10, 100 and 400), all in one process but each with the worker's own connection,
back-off and keep-alive, and with its default settings: the master is killed and started again after 5 s; until all are
back, how many connect in the busiest second, and the master's CPU time per worker when all is quiet. 2,000 workers are
simulated: their back-off is the worker's own code, the master one that accepts at once. Then what ping.log and the
master's pings come to, and the CPU time of writing a day's lines, from a tenth of them, one each millisecond. Linux
only: it reads /proc.
"""

from __future__ import annotations

import contextlib
import heapq
import queue
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from bench import peers
from bench.figures import machine
from bench.footprint import cpu_ns
from connection.link import Down, Hooks, Target, Up
from connection.reconnect import Connection, back_off
from logging_setup import Logs, NoLog
from ping_monitor import PingMonitor

DELAY_S, DELAY_MAX_S = 0.5, 10.0
PING_S, TIMEOUT_S, MAX_MISSED = 2.0, 2.0, 3
GONE_S, QUIET_S = 5.0, 10.0
LIMIT_S = 60.0
SIMULATED = 2000
TICK_S = 0.02
PING_LINE = "[2026-11-24 22:47:01.123+0000] : [INFO] - [ping seq=123456 rtt_ms=1.23]\n"
DAY_S = 86400
ROOT = Path(__file__).resolve().parent.parent


class Fleet:
    """Workers' connections and keep-alives, owned by one loop; `ups` are the monotonic times of each acceptance."""

    def __init__(self, url: str, count: int) -> None:
        self.ups: list[float] = []
        self._inbox: queue.SimpleQueue[tuple[int, object]] = queue.SimpleQueue()
        self._connections = [self._connection(url, number) for number in range(count)]
        self._pings = [
            PingMonitor(connection, PING_S, TIMEOUT_S, MAX_MISSED, NoLog(), connection.drop)
            for connection in self._connections
        ]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def up(self) -> int:
        return sum(connection.up is not None for connection in self._connections)

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        for pings, connection in zip(self._pings, self._connections):
            pings.stop(0)
            connection.close(0)

    def _connection(self, url: str, number: int) -> Connection:
        hooks = Hooks(
            lambda message: self._inbox.put((number, message)),
            lambda _order, _limit_s: True,
            lambda seq: self._pings[number].acknowledged(seq),
        )
        return Connection((Target(url, None, None),), DELAY_S, DELAY_MAX_S, hooks, NoLog())

    def _run(self) -> None:
        for connection, pings in zip(self._connections, self._pings):
            pings.start()
            connection.begin(time.monotonic())
        while not self._over.is_set():
            with contextlib.suppress(queue.Empty):
                number, message = self._inbox.get(timeout=TICK_S)
                self._take(self._connections[number], self._pings[number], message)
            now = time.monotonic()
            for connection in self._connections:
                if connection.due() <= now:
                    connection.tick(now)

    def _take(self, connection: Connection, pings: PingMonitor, message: object) -> None:
        now = time.monotonic()
        if isinstance(message, Up) and connection.accepted(message, now):
            self.ups.append(now)
            pings.resume(message.quiet_s)
        elif isinstance(message, Down):
            reason = connection.ended(message, now)
            if reason:
                pings.pause(reason)


def busiest_second(times: Iterable[float]) -> int:
    """The most of them in any second, its beginning at one of them."""
    ordered = sorted(times)
    most = first = 0
    for last, at in enumerate(ordered):
        while ordered[first] < at - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def wait_for(fleet: Fleet, count: int) -> None:
    end_s = time.monotonic() + LIMIT_S
    while fleet.up() < count:
        if time.monotonic() > end_s:
            sys.exit(f"only {fleet.up()} of {count} workers are connected after {LIMIT_S:g} s")
        time.sleep(TICK_S)


def real(count: int) -> tuple[float, int, float]:
    """Seconds until all are back, connects in the busiest second, the master's CPU milliseconds per worker and minute."""
    master = peers.Master()
    fleet = Fleet(master.url, count)
    try:
        wait_for(fleet, count)
        time.sleep(PING_S)
        before_ns = cpu_ns(master.process.pid)
        time.sleep(QUIET_S)
        used_ms = (cpu_ns(master.process.pid) - before_ns) / 1e6 / count * 60 / QUIET_S
        master.end()
        time.sleep(GONE_S)
        fleet.ups.clear()
        master = peers.Master(port=master.port)
        began_s = time.monotonic()
        wait_for(fleet, count)
        return max(fleet.ups) - began_s, busiest_second(fleet.ups), used_ms
    finally:
        fleet.end()
        master.end()


def simulated(count: int) -> tuple[float, int]:
    """The same for a master that refuses for GONE_S and then accepts whoever comes, at once."""
    chance = random.Random(1).random  # noqa: S311
    # when each tries next; all lose the master at 0
    attempts = [(0.0, number) for number in range(count)]
    delays = [back_off(DELAY_S, DELAY_MAX_S, chance) for _ in range(count)]
    times = []
    while attempts:
        at_s, number = heapq.heappop(attempts)
        if at_s >= GONE_S:
            times.append(at_s - GONE_S)
        else:
            heapq.heappush(attempts, (at_s + next(delays[number])[0], number))
    return max(times), busiest_second(times)


def ping_lines_s(count: int) -> float:
    """CPU seconds for so many lines of ping.log, each by itself as in a worker, not in a batch; what waiting for the
    next costs is not counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        logs = Logs(Path(folder), console=False)
        began_s = time.process_time()
        for _ in range(count):
            time.sleep(0.001)
        waited_s = time.process_time() - began_s
        for seq in range(count):
            logs.ping.info("ping", seq=seq, rtt_ms=1.23, late=None)
            time.sleep(0.001)
        logs.close()
        return time.process_time() - began_s - 2 * waited_s


def main() -> None:
    counts = [int(text) for text in sys.argv[1:]] or [10, 100, 400]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    print(f"a master that restarts after {GONE_S:g} s; {machine()}")
    print(
        f"{'workers':>10} {'all back, s':>12} {'connects in a second':>21} {'master, CPU ms/worker/min':>26}"
    )
    for count in counts:
        back_s, most, used_ms = real(count)
        print(f"{count:10} {back_s:12.1f} {most:21} {used_ms:26.1f}")
    back_s, most = simulated(SIMULATED)
    print(f"{SIMULATED:10} {back_s:12.1f} {most:21} {'simulated':>26}")
    print(f"\n{'nodes':>10} {'pings/s at the master':>22} {'ping.log, MB a day':>19}")
    for nodes in (1, 9, *counts[1:]):
        pings = DAY_S / PING_S * nodes
        print(f"{nodes:10} {nodes / PING_S:22.1f} {pings * len(PING_LINE) / 1e6:19.1f}")
    lines = round(DAY_S / PING_S)
    # in a process without the connections of those before, whose memory would be looked through
    alone = [sys.executable, "-c", f"from bench.growth import *; print(ping_lines_s({lines // 10}) * 10)"]
    used_s = float(subprocess.run(alone, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout)
    print(f"\nthe {lines} lines of a node's day: {used_s:.1f} s of CPU")


if __name__ == "__main__":
    main()
