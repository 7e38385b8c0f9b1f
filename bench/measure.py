"""What the benchmarks share: figures, /proc, the machine, and the peers that the worker is compared with."""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORKER, BARE = "worker", "bare client"
BARE_CLIENT = """
import socketio, sys, time
sio = socketio.Client()
sio.on("connect", lambda: print("up", flush=True))
sio.on("disconnect", lambda *_: print("down", flush=True))
sio.connect(sys.argv[1], transports=["websocket"])
while True:
    time.sleep(2)
    if sio.connected:
        sio.emit("ping", time.strftime("%F %T"), callback=lambda *_: None)
"""
"""python-socketio's client as its documentation shows it, with the worker's ping."""
MASTER = """
import logging, socketio, sys
from werkzeug.serving import make_server
logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
sio = socketio.Server(async_mode="threading")
up = set()
sio.on("connect", lambda sid, *_: up.add(sid))
sio.on("disconnect", lambda sid, *_: up.discard(sid))
sio.on("join", lambda sid, data: None)
sio.on("ping", lambda sid, data: None)
server = make_server(sys.argv[1], int(sys.argv[2]), socketio.WSGIApp(sio), threaded=True)
sio.start_background_task(server.serve_forever)
print(server.port, flush=True)
for line in sys.stdin:
    for sid in list(up):
        sio.disconnect(sid)
"""


def p99(values: Sequence[float]) -> float:
    """Return the value that 99 of 100 do not exceed; of fewer than 100 values, the largest."""
    ordered = sorted(values)
    return ordered[-(-99 * len(ordered) // 100) - 1]


median = statistics.median


def machine() -> str:
    """Describe the machine, for the head of a table."""
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def require_root(name: str) -> None:
    """Exit with a message where no network namespaces can be made."""
    if sys.platform != "linux" or os.geteuid() != 0:
        sys.exit(f"bench.{name} makes network namespaces: it needs Linux and root")


def memory_kib(pid: int) -> dict[str, int]:
    """Return the resident (Rss) and proportional (Pss) memory of a process, in KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return {name: int(size) for name, size in re.findall(r"^(Rss|Pss):\s+(\d+)", text, re.MULTILINE)}


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process, in seconds, at the resolution of a clock tick."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_ns(pid: int) -> int:
    """Return the scheduler's account of the running threads, finer than a tick; ended threads are not in it."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total


class Master:
    """A plain master in a process of its own; `kick` disconnects every client."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MASTER, host, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        pipe: Any = self.process.stdout
        self.port = int(pipe.readline())
        self.url = f"http://{host}:{self.port}"

    def kick(self) -> None:
        pipe: Any = self.process.stdin
        pipe.write("\n")
        pipe.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Peer:
    """The worker or a bare client, running. `wait` returns the monotonic time of its next "up" or "down"."""

    def __init__(self, name: str, url: str, **settings: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._changes: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
        environ = {
            **os.environ,
            "NODE_ID": "3",
            "MASTER_URL": url,
            "VIP_BACKEND": "simulated",
            "LOG_DIR": self._folder.name,
            **settings,
        }
        command = {
            WORKER: [sys.executable, "client.py", "--env-file", os.devnull],
            BARE: [sys.executable, "-c", BARE_CLIENT, url],
        }[name]
        self.began_s = time.monotonic()
        # the worker's console is stderr
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.pid = self.process.pid
        threading.Thread(target=self._listen, daemon=True).start()

    def wait(self, change: str, limit_s: float) -> float | None:
        """Return when the change came, None: not within `limit_s`."""
        end_s = time.monotonic() + limit_s
        while True:
            try:
                at_s, seen = self._changes.get(timeout=max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                return None
            if seen == change:
                return at_s

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._folder.cleanup()

    def _listen(self) -> None:
        pipe: Any = self.process.stdout
        for line in pipe:
            now = time.monotonic()
            if line.startswith("up") or "- [connected " in line:
                self._changes.put((now, "up"))
            elif line.startswith("down") or "- [disconnected " in line:
                self._changes.put((now, "down"))
