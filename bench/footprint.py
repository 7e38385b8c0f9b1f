"""What the idle worker costs beside a bare python-socketio client with the same ping, in the same run.

    python -m bench.footprint [SECONDS]

Prints proportional and resident memory, threads, and the CPU time of SECONDS (default 60) of idling. Linux only:
it reads /proc.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BARE = """
import socketio, sys, time
sio = socketio.Client()
sio.connect(sys.argv[1], transports=["websocket"])
while True:
    sio.emit("ping", time.strftime("%F %T"), callback=lambda *_: None)
    time.sleep(2)
"""
MASTER = """
import socketio
from werkzeug.serving import make_server
sio = socketio.Server(async_mode="threading")
sio.on("join", lambda sid, data: None)
sio.on("ping", lambda sid, data: None)
server = make_server("127.0.0.1", 0, socketio.WSGIApp(sio), threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


def memory_kib(pid: int) -> dict[str, int]:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return {name: int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1]) for name in ("Rss", "Pss")}  # type: ignore[index]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_ns(pid: int) -> int:
    """The scheduler's own account of all threads, finer than a clock tick; of those that have ended it has none."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with tempfile.TemporaryDirectory() as folder:
        master = subprocess.Popen([sys.executable, "-c", MASTER], stdout=subprocess.PIPE, text=True)
        started: list[subprocess.Popen[Any]] = [master]
        try:
            url = f"http://127.0.0.1:{int(master.stdout.readline())}"  # type: ignore[union-attr]
            environ = {
                **os.environ,
                "NODE_ID": "1",
                "MASTER_URL": url,
                "VIP_BACKEND": "simulated",
                "LOG_DIR": folder,
                "LOG_CONSOLE": "0",
            }
            worker = subprocess.Popen([sys.executable, "client.py"], cwd=ROOT, env=environ)
            bare = subprocess.Popen([sys.executable, "-c", BARE, url])
            started += [worker, bare]
            time.sleep(5)
            names = {"worker": worker.pid, "bare client": bare.pid}
            before = {name: cpu_ns(pid) for name, pid in names.items()}
            time.sleep(seconds)
            print(f"{'':12} {'PSS MiB':>8} {'RSS MiB':>8} {'threads':>8} {'CPU s/h':>8}")
            rows = {}
            for name, pid in names.items():
                memory = memory_kib(pid)
                used = (cpu_ns(pid) - before[name]) / 1e9 / seconds * 3600
                threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
                rows[name] = (memory["Pss"] / 1024, memory["Rss"] / 1024, threads, used)
                print(f"{name:12} {rows[name][0]:8.1f} {rows[name][1]:8.1f} {threads:8} {used:8.2f}")
            ratios = [a / b for a, b in zip(rows["worker"], rows["bare client"])]
            print(f"{'ratio':12} {ratios[0]:8.2f} {ratios[1]:8.2f} {'':8} {ratios[3]:8.2f}")
        finally:
            for process in started:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
