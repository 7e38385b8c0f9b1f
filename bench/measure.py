"""What the benchmarks share: the two clients that they compare, what the kernel says of a process, and one table."""

from __future__ import annotations

import math
import os
import platform
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.lab.netns import why_not

ROOT = Path(__file__).resolve().parent.parent
WORKER, BARE = "worker", "bare client"
BARE_CLIENT = """
import logging, socketio, sys, time
logging.basicConfig(filename=sys.argv[2], level=logging.INFO, format="[%(asctime)s] : [%(levelname)s] - [%(message)s]")
for name in ("socketio", "engineio"):
    logging.getLogger(name).setLevel(logging.ERROR)
sio = socketio.Client()
sio.on("connect", lambda: print("up", flush=True))
sio.on("disconnect", lambda *_: print("down", flush=True))
sio.on("news", lambda data: logging.info("received event=news data=%s", data))
sio.connect(sys.argv[1], transports=["websocket"])
while True:
    time.sleep(2)
    if sio.connected:
        sio.emit("ping", time.strftime("%F %T"), callback=lambda *_: None)
"""
"""python-socketio's client as its documentation shows it, with a log and the worker's ping."""


class Client:
    """The worker or a bare client, running until `close`."""

    def __init__(self, name: str, url: str, **settings: str) -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory()
        self.log = Path(self._folder.name, "comms.log")
        self._changes: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
        environ = {
            "NODE_ID": "3",
            "MASTER_URL": url,
            "VIP_BACKEND": "simulated",
            "LOG_DIR": self._folder.name,
        }
        command = {
            WORKER: ["client.py", "--env-file", os.devnull],
            BARE: ["-c", BARE_CLIENT, url, str(self.log)],
        }[name]
        self.began_s = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # the worker's console
            text=True,
        )
        self.pid = self._process.pid
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def connected_s(self) -> float:
        """When it first connected, by time.monotonic()."""
        at_s = self.wait("up", 20)
        if math.isinf(at_s):
            sys.exit(f"{self.name} did not connect")
        return at_s

    def wait(self, change: str, limit_s: float) -> float:
        """When it was next "up" or "down", by time.monotonic(); infinity: not within `limit_s`."""
        end_s = time.monotonic() + limit_s
        while True:
            try:
                at_s, seen = self._changes.get(timeout=max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                return math.inf
            if seen == change:
                return at_s

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            if found := re.match(r"(up|down)$|.* - \[(connected|disconnected) ", line):
                up = found[1] == "up" or found[2] == "connected"
                self._changes.put((time.monotonic(), "up" if up else "down"))


def cpu_s(pid: int) -> float:
    """The CPU time of a process, as clock_getcpuclockid(3) gives it."""
    return time.clock_gettime(~pid << 3 | 2)


def memory_mib(pid: int, kind: str = "Rss") -> float:
    """The resident (Rss) or proportional (Pss) memory of a process."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(re.findall(rf"^{kind}:\s+(\d+)", text, re.MULTILINE)[0]) / 1024


def machine() -> str:
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def require_root() -> None:
    """Exit where no network namespaces can be made."""
    if why_not():
        sys.exit(str(why_not()))


def rounds(default: int) -> int:
    """The argument of the command line."""
    return int(sys.argv[1]) if len(sys.argv) > 1 else default


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows of a name and its figures."""
    cells = [columns, *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(title)
    for name, *figures in cells:
        row = (figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True))
        print(name.ljust(widths[0]), *row, sep="  ")
    print(flush=True)


def _text(cell: object) -> str:
    if not isinstance(cell, float):
        return "" if cell is None else str(cell)
    if math.isinf(cell):
        return "never"
    return f"{cell:.2f}" if cell < 100 else f"{cell:.0f}"
