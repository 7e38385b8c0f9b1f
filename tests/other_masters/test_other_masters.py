"""The same behaviour against every master that people write: join, ping, orders, kick, refusal, restart.

`make masters` installs what these need (Flask-SocketIO, Node's socket.io) and runs them.
"""

import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from logging_setup import parse_line

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RECOVER = {
    "disconnected_node": 2,
    "recovery_node": "1",
    "ip": "10.9.0.2",
    "netmask": "255.255.255.0",
    "active_neighbors": ["1", "3"],
}
JOIN_KEYS = {
    "system": str,
    "NODE_ID": int,
    "neighbors": list,
    "primary_ip": str,
    "primary_netmask": str,
}
KINDS = ["socketio", "flask", "node"]


def has(module):
    return subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True).returncode == 0


NEEDS = {
    "socketio": True,
    "flask": has("flask_socketio"),
    "node": bool(shutil.which("node")) and (HERE / "node_modules/socket.io").is_dir(),
}


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Master:
    def __init__(self, kind, port):
        self.kind, self.port = kind, port
        self.start()

    def start(self):
        if self.kind == "node":
            command = ["node", "node_master.js", str(self.port)]
        else:
            command = [sys.executable, "python_master.py", self.kind, str(self.port)]
        self.process = subprocess.Popen(
            command,
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.heard = queue.Queue()
        threading.Thread(target=self.listen, args=(self.process, self.heard), daemon=True).start()

    @staticmethod
    def listen(process, heard):
        for line in process.stdout:
            if line.startswith("{"):
                heard.put(json.loads(line))

    def tell(self, event, data=None):
        self.process.stdin.write(json.dumps([event, data]) + "\n")
        self.process.stdin.flush()

    def wait_for(self, event, timeout_s=15):
        """The data of the next `event`; what came before it is dropped."""
        end = time.monotonic() + timeout_s
        while True:
            said = self.heard.get(timeout=max(0.01, end - time.monotonic()))
            if said["event"] == event:
                return said["data"]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


@pytest.fixture(
    params=[
        pytest.param(kind, marks=pytest.mark.skipif(not NEEDS[kind], reason=f"{kind} is not installed"))
        for kind in KINDS
    ]
)
def master(request):
    master = Master(request.param, free_port())
    yield master
    master.kill()


@pytest.fixture
def worker(master, tmp_path):
    environ = {
        **os.environ,
        "NODE_ID": "1",
        "MASTER_URL": f"http://127.0.0.1:{master.port}",
        "MASTER_TOKEN": "a token for tests",
        "VIP_BACKEND": "simulated",
        "LOG_DIR": str(tmp_path),
        "PING_INTERVAL": "0.2",
        "RECONNECT_DELAY_MAX": "1",
    }
    process = subprocess.Popen([sys.executable, "client.py"], cwd=ROOT, env=environ, stderr=subprocess.PIPE)
    yield tmp_path
    process.terminate()
    _, stderr = process.communicate(timeout=5)
    assert process.returncode == 0, stderr


def lines(folder, name, event):
    entries = [parse_line(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
    return [entry for entry in entries if entry.event == event]


def assert_join(data, secondary):
    assert {key: type(data[key]) for key in JOIN_KEYS} == JOIN_KEYS
    assert (data["NODE_ID"], data["neighbors"], data["primary_ip"]) == (1, ["2", "4"], "10.9.0.1")
    assert (data["secondary_ip"], data["secondary_netmask"]) == secondary


def test_behaviour(master, worker):
    assert master.wait_for("connect") == {"token": "a token for tests", "NODE_ID": 1}
    assert_join(master.wait_for("join"), (None, None))
    for _ in range(6):
        assert len(master.wait_for("ping")) == len("2026-11-24 22:47:01.1234")

    master.tell("recover", RECOVER)
    held = ("10.9.0.2", "255.255.255.0")
    answer = master.wait_for("update node")
    assert_join(answer, held)
    assert answer["disconnected_node"] == 2
    assert "error" not in answer

    wrong = {**RECOVER, "ip": "10.9.0.1"}
    master.tell("recover", {**wrong, "disconnected_node": 4})
    answer = master.wait_for("update node")
    assert answer.pop("error")
    assert answer == {**wrong, "disconnected_node": 4}

    master.tell("ask", ["recover", RECOVER])
    accepted = master.wait_for("answer")
    assert accepted in ([{"accepted": True}], [[{"accepted": True}]])

    master.tell("kick")
    assert_join(master.wait_for("join"), held)
    master.tell("refuse", True)
    master.tell("kick")
    time.sleep(1.5)  # of being refused; nothing to wait for on this side
    master.tell("refuse", False)
    assert_join(master.wait_for("join", 3), held)

    master.kill()
    master.start()
    assert_join(master.wait_for("join"), held)

    master.tell("restore", {"restore_node": 2})
    answer = master.wait_for("restore node")
    assert_join(answer, (None, None))
    assert (answer["restore_node"], answer["status"]) == (2, True)
    master.wait_for("ping")

    pings = [float(entry.fields["rtt_ms"]) for entry in lines(worker, "ping.log", "ping")]
    assert len(pings) >= 5
    assert max(pings) < 2000
    refused = [entry for entry in lines(worker, "comms.log", "connect_failed") if entry.level == "ERROR"]
    assert any("not now" in entry.fields["error"] for entry in refused)
