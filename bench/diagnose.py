"""What it costs to read days of logs of nine nodes back: time and peak memory of diagnose.py, the page included.

    python -m bench.diagnose [DAYS ...]

DAYS are 1 and 7 unless given. A day is 388,800 ping lines and 50,000 of comms.log: each hour one node is killed,
its neighbor takes its address and gives it back, and every third hour the master is restarted. Then hostile logs of
1, 2 and 4 MB, each of one kind of line, which must cost time in proportion.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from bench.measure import machine
from logging_setup import format_line

ROOT = Path(__file__).resolve().parent.parent
NODES = 9
DAY_S, BEAT_S = 86400, 2
COMMS_A_DAY = 5556
"""Lines of a node's comms.log a day."""
BEGIN = datetime(2026, 11, 24, tzinfo=timezone.utc)
MASTER = "http://10.9.0.10:5000"
DEAD_S = 60.0
METER = """
import os, sys, time
began_s = time.monotonic()
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
_, status, used = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet), 0)
took_s = time.monotonic() - began_s
print(os.waitstatus_to_exitcode(status), took_s, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
"""Runs a command from a small process: what a child has at its most begins with what its parent has."""
Event = tuple[float, str, str, dict[str, object]]


def write_days(root: Path, days: float) -> list[Path]:
    """Write the logs of nine nodes and return their folders."""
    chance = random.Random(1)  # noqa: S311 - so that each run reads the same
    folders = []
    for node in range(1, NODES + 1):
        folder = root / f"node{node}"
        folder.mkdir(parents=True)
        events = sorted(_events(node, days), key=lambda event: event[0])
        with open(folder / "comms.log", "w", encoding="utf-8") as file:
            file.writelines(
                format_line(_when(at), level, event, fields) + "\n" for at, level, event, fields in events
            )
        with open(folder / "ping.log", "w", encoding="utf-8") as file:
            file.writelines(_pings(node, days, chance))
        folders.append(folder)
    return folders


def _when(at: float) -> datetime:
    return BEGIN + timedelta(milliseconds=round(at * 1000))


def _is_dead(node: int, at: float) -> bool:
    hour, into_s = divmod(at, 3600)
    return hour % NODES + 1 == node and 1800 <= into_s < 1800 + DEAD_S


def _has_no_master(at: float) -> bool:
    hour, into_s = divmod(at, 3600)
    return hour % 3 == 0 and 600 <= into_s < 602.5


def _pings(node: int, days: float, chance: random.Random) -> Iterator[str]:
    for seq in range(int(DAY_S * days / BEAT_S)):
        at = seq * BEAT_S + 0.1 * node
        if not _is_dead(node, at) and not _has_no_master(at):
            stamp = f"{_when(at):%Y-%m-%d %H:%M:%S}.{round(at * 1000) % 1000:03d}+0000"
            yield f"[{stamp}] : [INFO] - [ping seq={seq} rtt_ms={chance.lognormvariate(0.5, 0.4):.2f}]\n"


def _events(node: int, days: float) -> Iterator[Event]:
    yield from _start(node, 0)
    hours = int(24 * days)
    count = 0
    for hour in range(hours):
        killed, at = hour % NODES + 1, hour * 3600 + 1800.0
        if killed == node:
            yield from _start(node, at + DEAD_S)
            count += 4
        elif killed % NODES + 1 == node:
            yield from _failover(killed, node, at + 5)
            count += 7
        if hour % 3 == 0:
            yield from _loss(hour * 3600 + 600 + 0.003 * node)
            count += 5
    joins = int(COMMS_A_DAY * days) - count
    for place in range(joins):
        at = 1 + place * (DAY_S * days - 2) / joins
        if not _is_dead(node, at):
            yield at, "INFO", "sent", {"event": "join", "data": _join(node)}


def _start(node: int, at: float) -> Iterator[Event]:
    yield (
        at,
        "INFO",
        "started",
        {"node": node, "version": "1.0.0", "pid": 7, "master": MASTER, "backend": "netlink"},
    )
    yield at, "INFO", "connecting", {"master": MASTER}
    yield (
        at + 0.04,
        "INFO",
        "connected",
        {"master": MASTER, "sid": "a", "transport": "websocket", "took_ms": 40.0},
    )
    yield at + 0.04, "INFO", "sent", {"event": "join", "data": _join(node)}


def _loss(at: float) -> Iterator[Event]:
    lost = {"reason": "WebSocket connection was closed", "connected_s": 900.0}
    yield at, "WARNING", "disconnected", lost
    yield at + 0.4, "INFO", "connecting", {"master": MASTER}
    refused = {"master": MASTER, "error": f"connection refused: nothing listens at {MASTER}", "retry_s": 1.0}
    yield at + 0.41, "WARNING", "connect_failed", refused
    yield at + 2.0, "INFO", "connecting", {"master": MASTER}
    yield (
        at + 2.2,
        "INFO",
        "connected",
        {"master": MASTER, "sid": "b", "transport": "websocket", "took_ms": 9.0},
    )


def _failover(killed: int, node: int, at: float) -> Iterator[Event]:
    order = {
        "disconnected_node": killed,
        "recovery_node": str(node),
        "ip": f"10.9.0.{killed}",
        "netmask": "255.255.255.0",
        "active_neighbors": [str(node)],
    }
    place = {"node": killed, "address": f"10.9.0.{killed}/24", "interface": "eth0"}
    yield at, "INFO", "received", {"event": "recover", "data": order}
    yield at, "INFO", "takeover_started", dict(place)
    yield at + 0.2, "INFO", "takeover_done", {**place, "took_ms": 201.3}
    yield (
        at + 0.2,
        "INFO",
        "sent",
        {"event": "update node", "data": {**_join(node), "disconnected_node": killed}},
    )
    back = at + DEAD_S - 4.95
    yield back, "INFO", "received", {"event": "restore", "data": {"restore_node": killed}}
    yield back, "INFO", "release_done", {**place, "reason": "restore", "held_s": back - at - 0.2}
    yield (
        back,
        "INFO",
        "sent",
        {"event": "restore node", "data": {**_join(node), "restore_node": killed, "status": True}},
    )


def _join(node: int) -> dict[str, object]:
    return {
        "system": "host",
        "NODE_ID": node,
        "neighbors": ["2", "6"],
        "primary_ip": f"10.9.0.{node}",
        "primary_netmask": "255.255.255.0",
        "secondary_ip": None,
        "secondary_netmask": None,
        "held": {},
    }


HOSTILE: dict[str, Callable[[int], Sequence[tuple[str, dict[str, object]]]]] = {
    "no order": lambda _: [("received", {"event": "recover", "data": "[1]"})],
    "orders": lambda number: [("received", {"event": "recover", "data": {"disconnected_node": number % 5}})],
    "orders of many": lambda number: [
        ("received", {"event": "recover", "data": {"disconnected_node": number}})
    ],
    "takeovers": lambda number: [("takeover_done", {"node": number, "address": f"{number}", "took_ms": 1.0})],
    "takeovers, returned": lambda number: [
        ("takeover_done", {"node": number % 5, "address": "10.9.0.2/24", "took_ms": 1.0}),
        ("release_done", {"node": number % 5, "address": "10.9.0.2/24", "reason": "restore"}),
    ],
    "starts": lambda number: [("started", {"node": 2, "run": f"{number}"})],
    "losses": lambda _: [("disconnected", {"reason": "closed"}), ("connected", {"master": MASTER})],
    "failures": lambda number: [("connect_failed", {"error": f"{number}"})],
}
"""What stands in a hostile log, by the number of the line."""


def write_hostile(folder: Path, kind: str, size: int) -> None:
    """Write a comms.log of about that many bytes."""
    written = number = 0
    with open(folder / "comms.log", "w", encoding="utf-8") as file:
        while written < size:
            for event, fields in HOSTILE[kind](number):
                written += file.write(format_line(_when(number * 0.007), "INFO", event, fields) + "\n")
            number += 1


def cost(folders: Sequence[Path], *options: str) -> tuple[float, float, float]:
    """Seconds by the clock, seconds of CPU, and MiB of resident memory at the most, of one run; its output is
    dropped. Raises RuntimeError when it fails.
    """
    command = [sys.executable, "diagnose.py", *map(str, folders), *options]
    done = subprocess.run(
        [sys.executable, "-c", METER, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    code, took_s, cpu_s, peak_kib = map(float, done.stdout.split())
    if code:
        raise RuntimeError(f"{' '.join(command)}: exit code {code:g}")
    return took_s, cpu_s, peak_kib / 1024


def main() -> None:
    print(machine())
    print(f"{'days':>5} {'output':8} {'lines':>9} {'s':>6} {'CPU s':>6} {'MiB':>6} {'page kB':>8}")
    for days in [float(text) for text in sys.argv[1:]] or [1.0, 7.0]:
        with tempfile.TemporaryDirectory() as name:
            folders = write_days(Path(name), days)
            lines = sum(file.read_bytes().count(b"\n") for folder in folders for file in folder.iterdir())
            page = Path(name) / "page.html"
            for output, options in (
                ("--json", ["--json"]),
                ("tables", []),
                ("--html", ["--json", f"--html={page}"]),
            ):
                took_s, cpu_s, mib = cost(folders, *options)
                size = f"{page.stat().st_size / 1000:8.0f}" if page.exists() else ""
                print(
                    f"{days:5g} {output:8} {lines:9} {took_s:6.2f} {cpu_s:6.2f} {mib:6.1f} {size}", flush=True
                )

    print(f"\n{'CPU seconds of a hostile log, with the page':44} {'1 MB':>6} {'2 MB':>6} {'4 MB':>6}")
    for kind in HOSTILE:
        row = []
        for megabytes in (1, 2, 4):
            with tempfile.TemporaryDirectory() as name:
                write_hostile(Path(name), kind, megabytes << 20)
                row.append(cost([Path(name)], f"--html={Path(name) / 'page.html'}")[1])
        print(f"{kind:44}", *(f"{cpu_s:6.2f}" for cpu_s in row), flush=True)


if __name__ == "__main__":
    main()
