"""What it costs to read days of logs of nine nodes back: time and peak memory of diagnose.py, the page included.

    python -m tests.analysis.cost [DAYS]

First of one day, then of DAYS (default 4). A day is some 388,800 lines of pings and 13,000 others: each hour one node
is killed, its neighbor takes its address and gives it back, and every third hour the master is restarted. Then hostile
logs of 1, 2 and 4 MB, each of one kind of line, which must cost time in proportion.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.measure import ROOT, machine, rounds, table
from tests.analysis.logs import Worker, joined, recover

NODES, HOUR_S, DEAD_S = 9, 3600, 60
METER = """
import os, sys, time
began_s = time.monotonic()
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
_, status, used = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet), 0)
took_s = time.monotonic() - began_s
print(os.waitstatus_to_exitcode(status), took_s, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
"""Runs a command from a small process: what a child has at its most begins with what its parent has."""
Say = Callable[[Any, int], object]
HOSTILE: dict[str, Say] = {
    "no order": lambda log, n: log.say(n, "received", event="recover", data="[1]"),
    "orders": lambda log, n: log.say(n, "received", **recover(n % 5, 1)),
    "orders of many": lambda log, n: log.say(n, "received", **recover(n, 1)),
    "takeovers": lambda log, n: log.say(n, "takeover_done", node=n, address=f"{n}", took_ms=1.0),
    "takeovers, returned": lambda log, n: log.take(n, n % 5).release(n, n % 5),
    "starts": lambda log, n: log.say(n, "started", node=2, run=f"{n}"),
    "losses": lambda log, n: log.say(n, "disconnected", reason="closed").say(
        n, "connected", master="http://m"
    ),
    "failures": lambda log, n: log.say(n, "connect_failed", error=f"{n}"),
}
"""A line of a hostile log, by its number."""


def node_log(node: int, days: int) -> Any:
    log = Worker(node).start(0)
    for hour in range(24 * days):
        begin_s, killed = hour * HOUR_S, hour % NODES + 1
        log.say(begin_s + 1, "sent", **joined(node))
        if hour % 3 == 0:
            log.say(begin_s + 600, "disconnected", reason="closed", connected_s=900.0)
            log.say(begin_s + 602, "connected", master="http://10.9.0.10:5000", sid="b", took_ms=9.0)
        middle_s, end_s = begin_s + HOUR_S // 2, begin_s + HOUR_S - 2
        if killed == node:
            log.ping(begin_s + 2, middle_s).start(middle_s + DEAD_S).ping(middle_s + DEAD_S + 2, end_s)
        else:
            log.ping(begin_s + 2, end_s)
        if killed % NODES + 1 == node:
            log.take(middle_s + 5, killed).release(middle_s + DEAD_S, killed)
    return log


def cost(*arguments: object) -> tuple[float, float, float]:
    """Seconds by the clock, seconds of CPU, and MiB of resident memory at the most, of one run of diagnose.py."""
    command = [sys.executable, "-c", METER, sys.executable, "diagnose.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    code, took_s, cpu_s, peak_kib = map(float, done.stdout.split())
    if code:
        sys.exit(f"{' '.join(command[3:])}: exit code {code:g}")
    return took_s, cpu_s, peak_kib / 1024


def days_rows(days: int) -> Iterator[list[object]]:
    with tempfile.TemporaryDirectory() as name:
        folders = [node_log(node, days).write(Path(name, f"node{node}")) for node in range(1, NODES + 1)]
        lines = sum(file.read_bytes().count(b"\n") for folder in folders for file in folder.iterdir())
        for output in ("--json", f"--html={name}/page.html"):
            yield [f"{days} days, {output.partition('=')[0]}", lines, *cost(*folders, output)]


def hostile_row(kind: str) -> list[object]:
    row: list[object] = [kind]
    for megabytes in (1, 2, 4):
        log, written, number = Worker(2), 0, 0
        lines = log.lines["comms.log"]
        while written < megabytes << 20:
            seen = len(lines)
            HOSTILE[kind](log, number)
            written += sum(len(line) + 1 for line in lines[seen:])
            number += 1
        with tempfile.TemporaryDirectory() as name:
            row.append(cost(log.write(Path(name)), f"--html={name}/page.html")[1])
    return row


def main() -> None:
    rows = [row for days in (1, rounds(4)) for row in days_rows(days)]
    table(machine(), ["", "lines", "s", "CPU s", "MiB"], rows)
    columns = ["CPU s of a hostile log, with the page", "1 MB", "2 MB", "4 MB"]
    table("", columns, [hostile_row(kind) for kind in HOSTILE])


if __name__ == "__main__":
    main()
