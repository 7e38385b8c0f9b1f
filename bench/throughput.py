"""Events of 500 bytes, as fast as they are taken, into a log: the worker, a bare client, and Node's.

    python -m bench.throughput [EVENTS ...]

For each number of events (default 50000 and 100000): how many were logged and whether in order, how long it took, the
CPU time of one, and by how much the memory grew. The bare client is python-socketio's as its documentation shows it,
with logging's FileHandler; Node's writes to a stream, and needs npm. Linux only: it reads /proc.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.figures import machine
from bench.footprint import cpu_s, memory_kib
from bench.sender import Sender, frame

ROOT = Path(__file__).resolve().parent.parent
NODE = ROOT / "bench" / "node"
SIZE = 500
QUIET_S = 3.0
"""Without a new line after which no more are expected."""
BARE = """
import logging, socketio, sys
logging.basicConfig(filename=sys.argv[2], level=logging.INFO, format="[%(asctime)s] : [%(levelname)s] - [%(message)s]")
for name in ("socketio", "engineio"):
    logging.getLogger(name).setLevel(logging.ERROR)
sio = socketio.Client()
sio.on("news", lambda data: logging.info("received event=news data=%s", data))
sio.connect(sys.argv[1], transports=["websocket"])
sio.wait()
"""


@dataclass(frozen=True)
class Result:
    """`cpu_us` is of one event that was logged."""

    logged: int
    in_order: bool
    took_s: float
    cpu_us: float
    grew_mib: float


def commands(url: str, log: Path) -> dict[str, list[str]]:
    found = {
        "worker": [sys.executable, "client.py", "--env-file", os.devnull],
        "bare client": [sys.executable, "-c", BARE, url, str(log)],
    }
    if (NODE / "node_modules").is_dir() and shutil.which("node"):
        found["Node's client"] = ["node", str(NODE / "client.js"), url, str(log)]
    return found


def count_lines(log: Path) -> int:
    return log.read_bytes().count(b'"n') if log.exists() else 0


def run(name: str, events: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        sender = Sender()
        log = Path(folder, "comms.log" if name == "worker" else "log")
        environ = {
            **os.environ,
            "NODE_ID": "3",
            "MASTER_URL": sender.url,
            "VIP_BACKEND": "simulated",
            "LOG_DIR": folder,
            "LOG_CONSOLE": "0",
            "LOG_MAX_BYTES": "0",
        }
        process = subprocess.Popen(
            commands(sender.url, log)[name],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            if not sender.ready.wait(20):
                sys.exit(f"{name} did not connect")
            time.sleep(1)
            before_s, before_kib = cpu_s(process.pid), memory_kib(process.pid)["Rss"]
            began_s = time.monotonic()
            frames = [frame(_event(number)) for number in range(events)]
            try:
                sender.send(*frames)
            except OSError:
                pass  # it went: what it has logged is counted
            size, grown_s, peak_kib = -1, time.monotonic(), 0
            while time.monotonic() - grown_s < QUIET_S:
                time.sleep(0.1)
                peak_kib = max(peak_kib, memory_kib(process.pid)["Rss"])
                now = log.stat().st_size if log.exists() else 0
                if now != size:
                    size, grown_s = now, time.monotonic()
            used_s = cpu_s(process.pid) - before_s
            numbers = [int(number) for number in re.findall(r"news.*?\bn\W+(\d+)", log.read_text())]
            return Result(
                len(numbers),
                numbers == sorted(numbers),
                grown_s - began_s,
                used_s * 1e6 / max(1, len(numbers)),
                (peak_kib - before_kib) / 1024,
            )
        finally:
            process.kill()
            process.wait()
            sender.close()


def _event(number: int) -> str:
    head = f'42["news",{{"n":{number},"pad":"'
    return head + "x" * (SIZE - len(head) - 3) + '"}]'


def main() -> None:
    counts = [int(text) for text in sys.argv[1:]] or [50_000, 100_000]
    names = list(commands("", Path()))
    print(f"events of {SIZE} bytes into a log; {machine()}")
    print(f"{'':14} {'events':>8} {'lost':>8} {'in order':>9} {'s':>7} {'CPU µs each':>12} {'MiB more':>9}")
    for events in counts:
        for name in names:
            result = run(name, events)
            print(
                f"{name:14} {events:8} {events - result.logged:8} {'yes' if result.in_order else 'no':>9}"
                f" {result.took_s:7.1f} {result.cpu_us:12.1f} {result.grew_mib:9.1f}"
            )
    if "Node's client" not in names:
        print(f"Node's client is not installed: npm ci in {NODE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
