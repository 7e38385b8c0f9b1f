"""The same behavior against every master that people write: join, ping, orders, kick, refusal, restart.

`make masters` installs what these need (such as Flask-SocketIO and Node's socket.io) and runs them.
"""

import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.masters import Raw, http, silent
from tests.lab.ports import free_port
from tests.lab.waiting import PATIENCE_S, until
from tests.lab.workers import Tail

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
EIO3 = ROOT / "build/eio3"
OF_2020 = ["socketio-2020", "flask-2020"]
KINDS = ["socketio", "uvicorn", "gunicorn", "flask", "node", *OF_2020]
TRANSPORTS = {"flask-2020": "polling"}


def has(module):
    return subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True).returncode == 0


NEEDS = {
    "socketio": True,
    "uvicorn": has("uvicorn"),
    "gunicorn": has("gunicorn"),
    "flask": has("flask_socketio"),
    "node": bool(shutil.which("node")) and (HERE / "node_modules/socket.io").is_dir(),
    **dict.fromkeys(OF_2020, (EIO3 / ".made").is_file()),
}


def python(kind, part):
    """The interpreter whose libraries speak to masters of that kind; `part` is worker or masters."""
    return str(EIO3 / part / "bin/python") if kind in OF_2020 else sys.executable


class Master:
    def __init__(self, kind, port, *more):
        self.kind, self.port, self.more = kind, port, more
        self.url, self.settings = f"http://127.0.0.1:{port}", {}
        self.transports = [TRANSPORTS.get(kind, "websocket")]
        """The first one at first, the others perhaps later."""
        self.all = []
        self.start()

    def start(self):
        if self.kind == "node":
            command = ["node", "node_master.js", str(self.port)]
        elif self.kind == "gunicorn":
            options = f"-k gthread --threads 100 -w 1 -b 127.0.0.1:{self.port}".split()
            command = [sys.executable, "-m", "gunicorn", *options, "python_master:gunicorn()"]
        else:
            command = [
                python(self.kind, "masters"),
                "python_master.py",
                self.kind,
                str(self.port),
                *self.more,
            ]
        self.process = subprocess.Popen(
            command,
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # gunicorn's workers outlive their arbiter by a while
        )
        self.heard = queue.Queue()
        threading.Thread(target=self.listen, args=(self.process, self.heard), daemon=True).start()

    def listens(self):
        """Whether it can be connected to by now."""
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

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
            self.all.append(said["event"])
            if said["event"] == event:
                return said["data"]

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()


def installed(kinds):
    return [
        pytest.param(kind, marks=pytest.mark.skipif(not NEEDS[kind], reason=f"{kind} is not installed"))
        for kind in kinds
    ]


@pytest.fixture(params=installed(KINDS))
def master(request):
    master = Master(request.param, free_port())
    yield master
    master.kill()


@pytest.fixture
def worker(master, tmp_path):
    with running(master, tmp_path, python(master.kind, "worker")) as process:
        tmp_path.joinpath("pid").write_text(str(process.pid))
        yield tmp_path


@contextmanager
def running(master, tmp_path, interpreter):
    environ = {
        **os.environ,
        "NODE_ID": "1",
        "MASTER_URL": master.url,
        "MASTER_TOKEN": "a token for tests",
        "VIP_BACKEND": "simulated",
        "LOG_DIR": str(tmp_path),
        "PING_INTERVAL": "0.2",
        "RECONNECT_DELAY_MAX": "1",
        **getattr(master, "settings", {}),
    }
    process = subprocess.Popen([interpreter, "client.py"], cwd=ROOT, env=environ, stderr=subprocess.PIPE)
    yield process
    process.terminate()
    _, stderr = process.communicate(timeout=5)
    assert process.returncode == 0, stderr


def lines(folder, name, event):
    return [entry for entry in Tail(folder / name).read() if entry.event == event]


def assert_join(data, secondary):
    assert {key: type(data[key]) for key in JOIN_KEYS} == JOIN_KEYS
    assert (data["NODE_ID"], data["neighbors"], data["primary_ip"]) == (1, ["2", "4"], "10.9.0.1")
    assert (data["secondary_ip"], data["secondary_netmask"]) == secondary


def test_behavior(master, worker):
    shown = None if master.kind in OF_2020 else {"token": "a token for tests", "NODE_ID": 1}
    assert master.wait_for("connect") == shown
    assert_join(master.wait_for("join"), (None, None))
    for _ in range(6):
        assert len(master.wait_for("ping")) == len("2026-11-24 22:47:01.1234")
    # no try of another transport was taken for one more node
    assert master.all.count("connect") == 1

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
    assert {entry.fields["error"] for entry in refused} == {"the master refused this node: not now"}
    ways = [entry.fields["transport"] for entry in lines(worker, "comms.log", "connected")]
    assert ways[0] == master.transports[0]
    assert set(ways) <= set(master.transports)
    told = [entry.fields["text"] for entry in lines(worker, "comms.log", "setting")]
    assert [text.startswith("MASTER_TOKEN is not sent") for text in told] == [True] * (shown is None)


def threads(worker):
    status = Path(f"/proc/{(worker / 'pid').read_text()}/status").read_text()
    return int(status.split("Threads:")[1].split()[0])


of_2020 = pytest.mark.parametrize("master", installed(OF_2020), indirect=True)


@of_2020
def test_heartbeats_hold_a_master_of_2020_and_one_that_stands_still_is_left(master, worker):
    master.wait_for("join")
    until(lambda: len(lines(worker, "ping.log", "ping")) > 20, 10)  # over 4 s; it forgives a silence of 2
    assert "disconnect" not in master.all
    while not master.heard.empty():
        assert master.heard.get()["event"] != "disconnect"
    connected = threads(worker)
    assert connected <= 8  # one more than with the libraries of today: the heartbeats
    master.process.send_signal(signal.SIGSTOP)
    until(lambda: lines(worker, "comms.log", "disconnected"), 12)
    master.process.send_signal(signal.SIGCONT)
    master.wait_for("join")
    until(lambda: threads(worker) <= connected, 5)


@of_2020
def test_a_master_of_2020_gets_every_answer_in_order(master, worker):
    master.wait_for("join")
    nodes = [2, 3, 4, 5, 6, 7, 8, 9] * 8
    for node in nodes:
        master.tell("restore", {"restore_node": node})
    assert [master.wait_for("restore node")["restore_node"] for _ in nodes] == nodes
    master.tell("recover", RECOVER)
    until(lambda: lines(worker, "comms.log", "takeover_started"), 5)
    master.kill()
    master.start()
    master.wait_for("join")
    assert master.wait_for("update node")["disconnected_node"] == 2


@of_2020
def test_the_check_tells_how_a_master_of_2020_is_reached(master, tmp_path):
    environ = {
        **os.environ,
        "NODE_ID": "1",
        "MASTER_URL": f"http://127.0.0.1:{master.port}",
        "VIP_BACKEND": "simulated",
        "LOG_DIR": str(tmp_path),
    }
    command = [python(master.kind, "worker"), "client.py", "--check"]

    def said():
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
        return done.returncode == 0 and done.stdout

    text = until(said, 15)  # until it listens
    ways = "polling" if master.kind in TRANSPORTS else "polling, websocket"
    assert f"transports {ways}; pings every 1 s and waits 60 s\n" in text
    assert "handshake: Engine.IO 3, " in text
    # each of the two that came has said goodbye
    heard = [master.heard.get(timeout=PATIENCE_S)["event"] for _ in range(4)]
    assert sorted(heard) == ["connect"] * 2 + ["disconnect"] * 2


def packed(*packets):
    """As Engine.IO v3 answers a poll: each with its length before it."""
    return b"".join(
        b"\0" + bytes(map(int, str(len(packet)))) + b"\xff" + packet.encode() for packet in packets
    )


def welcome(interval_ms=25000, upgrades="[]"):
    opened = f'{{"sid":"x","upgrades":{upgrades},"pingInterval":{interval_ms},"pingTimeout":60000}}'
    return packed(f"0{opened}", "40")


HOSTILE = {
    "an interval beyond all clocks": ((welcome("1e300"),), "connect_failed", "its ping interval"),
    "a length without an end": ((welcome(), b"\0\1"), "disconnected", "IndexError"),
    "a value in a value in a value": (
        (welcome(), packed("4" + "[" * 100_000)),
        "received",
        "it has no type that is known",
    ),
    "nine MiB": ((welcome(), b"0" * (9 << 20)), "disconnected", "more than 8 MiB"),
    "a number of a million digits": (
        (welcome(), packed("42" + "9" * 1_000_000)),
        "received",
        "it has a number of too many digits",
    ),
}


@pytest.mark.skipif(not NEEDS["socketio-2020"], reason="socketio-2020 is not installed")
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_master_of_2020_ends_its_own_connection_alone(case, tmp_path):
    answers, event, said = HOSTILE[case]
    left = list(answers)

    def act(sock, head):
        if head.startswith(b"POST"):
            return sock.sendall(http("200 OK", b"ok"))
        return sock.sendall(http("200 OK", left.pop(0))) if left else silent(sock, head)

    master = Raw(act)
    with running(master, tmp_path, python("socketio-2020", "worker")):
        (line,) = until(lambda: lines(tmp_path, "comms.log", event)[:1], 10)
        assert said in " ".join(line.fields.values())
        assert not lines(tmp_path, "comms.log", "crashed")
    master.close()


@pytest.mark.skipif(not NEEDS["socketio-2020"], reason="socketio-2020 is not installed")
@pytest.mark.parametrize("answer", [http("400 Bad Request"), http("502 Bad Gateway"), b"no HTTP\r\n\r\n"])
def test_a_master_of_2020_behind_a_proxy_that_knows_no_websocket_is_polled(answer, tmp_path):
    def act(sock, head):
        if b"transport=websocket" in head:
            return sock.sendall(answer)
        if b"sid=" not in head.partition(b"\r\n")[0]:
            return sock.sendall(http("200 OK", welcome(upgrades='["websocket"]')))
        return sock.sendall(http("200 OK", b"ok")) if head.startswith(b"POST") else silent(sock, head)

    master = Raw(act)
    with running(master, tmp_path, python("socketio-2020", "worker")):
        (line,) = until(lambda: lines(tmp_path, "comms.log", "connected")[:1], 10)
        assert line.fields["transport"] == "polling"
        assert any(b"transport=websocket" in head for head in master.heads)
    master.close()


@pytest.mark.skipif(not NEEDS["socketio-2020"], reason="socketio-2020 is not installed")
def test_a_polled_connection_to_a_master_of_2020_ends_with_all_its_threads(tmp_path):
    """The library's heartbeat would go on until its next beat, after 25 s."""

    def act(sock, head):
        if b"sid=" not in head.partition(b"\r\n")[0]:
            return sock.sendall(http("200 OK", welcome()))
        if head.startswith(b"POST"):
            return sock.sendall(http("200 OK", b"ok"))
        time.sleep(0.1)
        return sock.sendall(http("400 Bad Request"))

    master = Raw(act)
    with running(master, tmp_path, python("socketio-2020", "worker")) as process:
        tmp_path.joinpath("pid").write_text(str(process.pid))
        until(lambda: len(lines(tmp_path, "comms.log", "disconnected")) >= 5)
        assert threads(tmp_path) <= 9  # with the next attempt's
    master.close()


@pytest.mark.parametrize(
    ("master", "kind", "remedy"),
    [
        *[(each, "socketio", "install requirements-eio3.txt") for each in OF_2020],
        *[(each, "socketio-2020", "install requirements.txt") for each in ("socketio", "node")],
    ],
    indirect=["master"],
)
def test_a_worker_of_the_other_protocol_says_what_to_install(master, kind, remedy, tmp_path):
    if not (NEEDS[kind] and NEEDS[master.kind]):
        pytest.skip(f"{kind} or {master.kind} is not installed")
    with running(master, tmp_path, python(kind, "worker")):
        # until it listens, the connection is refused
        error = until(
            lambda: [e for e in lines(tmp_path, "comms.log", "connect_failed") if e.level == "ERROR"], 10
        )
    assert re.match(r"the master speaks Engine.IO v\d .*, this worker v\d: ", error[0].fields["error"])
    assert remedy in error[0].fields["error"]
