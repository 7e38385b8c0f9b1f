"""The programs that the benches compare: the worker, a bare python-socketio client, Node's socket.io-client.

Each is started against a URL, and says so itself when it is up or has lost the master: what is timed is what it knows.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parent.parent
NODE = ROOT / "bench" / "node"
WORKER, BARE, NODES = "worker", "bare client", "Node's client"
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
MASTER = """
import socketio, sys
from werkzeug.serving import make_server
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


def names() -> list[str]:
    """What can be compared here."""
    node = shutil.which("node") and (NODE / "node_modules").is_dir()
    return [WORKER, BARE, *([NODES] if node else [])]


def without_node() -> Optional[str]:
    """What to say where Node's client is missing, None: it is there."""
    return None if NODES in names() else f"Node's client is not installed: npm ci in {NODE.relative_to(ROOT)}"


class Master:
    """A plain one, in a process of its own; `kick` has it send every client away."""

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
    """One of them, running. `wait` gives the monotonic time of its next `up` or `down`."""

    def __init__(self, name: str, url: str, **settings: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._said: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
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
            NODES: ["node", str(NODE / "client.js"), url],
        }[name]
        self.began_s = time.monotonic()
        # the worker tells on stderr, as its console
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def wait(self, what: str, limit_s: float) -> Optional[float]:
        """None: not in `limit_s`."""
        end_s = time.monotonic() + limit_s
        while True:
            try:
                at_s, said = self._said.get(timeout=max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                return None
            if said == what:
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
                self._said.put((now, "up"))
            elif line.startswith("down") or "- [disconnected " in line:
                self._said.put((now, "down"))
