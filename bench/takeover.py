"""From `recover` to `update node`, beside what a script would do: `ip addr add` and `ip addr del`.

    python -m bench.takeover [ROUNDS]

In one namespace each, interleaved: a worker as root (netlink) and one as a user with a sudo password, both with
CONFLICT_PROBE=0, ROUNDS (default 100) times; one with the default probe, a fifth as often; and the pair of `ip`
commands as subprocesses, alone and through sudo. The master is in this process, so that a round is timed from before
the order is written to after its answer was read; the first ARP is when the switch received it. Needs Linux, root, and
for the sudo worker what tests/lab/users.py needs.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import socketio
from werkzeug.serving import make_server

from bench.measure import machine, median, p99, require_root
from tests.lab import users
from tests.lab.cluster import PORT, ROOT, Worker, recover
from tests.lab.netns import Lab, in_namespace, why_not
from tests.lab.observers import Inside
from tests.lab.wsgi import RequestHandler

NETLINK, SUDO, PROBING = 1, 3, 4
NAMES = {NETLINK: "netlink", SUDO: "sudo", PROBING: "netlink, default probe"}
PAIR, SUDO_PAIR, FIRST_ARP = "ip addr add + del", "sudo ip addr add + del", "netlink, to the first ARP"
ANSWER_S = 10.0


class Master:
    """Orders one worker at a time, and waits for its answer."""

    def __init__(self, lab: Lab) -> None:
        self._sids: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[float, Any]] = queue.SimpleQueue()
        self._sid_of: dict[int, str] = {}
        self._sio = socketio.Server(async_mode="threading", async_handlers=False)
        self._sio.on("join", lambda sid, data: self._sids.put((data["NODE_ID"], sid)))
        self._sio.on("ping", lambda _sid, _data: None)
        for event in ("update node", "restore node"):
            self._sio.on(event, lambda _sid, data: self._answers.put((time.perf_counter(), data)))
        listener = in_namespace(lab.master.ns, lambda: socket.create_server((lab.master.ip, PORT)))
        app = socketio.WSGIApp(self._sio)
        self._server = make_server(
            lab.master.ip, PORT, app, threaded=True, request_handler=RequestHandler, fd=listener.fileno()
        )
        listener.close()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def wait_for(self, *nodes: int) -> None:
        while not set(nodes) <= set(self._sid_of):
            node, sid = self._sids.get(timeout=ANSWER_S)
            self._sid_of[node] = sid

    def round(self, node: int) -> float:
        """Milliseconds from the order to its answer; the address is given back afterwards."""
        began = time.perf_counter()
        self._sio.emit("recover", recover(2, node), to=self._sid_of[node])
        at, answer = self._answers.get(timeout=ANSWER_S)
        if answer.get("secondary_ip") != "10.9.0.2":
            sys.exit(f"the {NAMES[node]} worker did not take the address: {answer}")
        self._sio.emit("restore", {"restore_node": 2}, to=self._sid_of[node])
        self._answers.get(timeout=ANSWER_S)
        return (at - began) * 1000


def ip_pair(*before: str) -> float:
    """Milliseconds for `ip addr add` and `ip addr del` in the namespace of this thread."""
    ip = shutil.which("ip") or "ip"
    began = time.perf_counter()
    for verb in ("add", "del"):
        command = [*before, ip, "addr", verb, f"{IPv4Address('10.9.0.77')}/24", "dev", "eth0"]
        subprocess.run(command, check=True)
    return (time.perf_counter() - began) * 1000


@contextlib.contextmanager
def sudo_worker(lab: Lab) -> Iterator[str | None]:
    """Start it; why there is none, None: there is one."""
    if users.why_not():
        yield users.why_not()
        return
    with users.made_up_user("ALL=(root) ALL") as user:
        logs = user.project / "log"
        logs.mkdir()
        os.chown(logs, user.uid, user.uid)
        shutil.copy(ROOT / "network_config.txt", user.project)
        Worker(
            lab,
            SUDO,
            logs,
            command=user.argv(user.python, "-B", "client.py"),
            cwd=user.project,
            VIP_BACKEND="sudo",
            PASSWORD=users.PASSWORD,
            CONFLICT_PROBE="0",
            PING_INTERVAL="2",
        )
        yield None


def measure(rounds: int) -> tuple[dict[str, list[float]], str | None]:
    took: dict[str, list[float]] = {name: [] for name in (PAIR, SUDO_PAIR, *NAMES.values(), FIRST_ARP)}
    sudo = shutil.which("sudo")
    with Lab(nodes=tuple(NAMES)) as lab, tempfile.TemporaryDirectory() as folder:
        master = Master(lab)
        with sudo_worker(lab) as without_sudo:
            Worker(lab, NETLINK, Path(folder, "1"), CONFLICT_PROBE="0", PING_INTERVAL="2")
            Worker(lab, PROBING, Path(folder, "4"), PING_INTERVAL="2")
            nodes = [NETLINK, *([] if without_sudo else [SUDO])]
            master.wait_for(*nodes, PROBING)
            inside = Inside(lab.node(NETLINK).ns)
            for count in range(rounds):
                took[PAIR].append(inside.call(ip_pair))
                if sudo and count % 5 == 0:
                    took[SUDO_PAIR].append(inside.call(lambda: ip_pair(sudo, "-n")))
                for node in (*nodes, *([PROBING] if count % 5 == 0 else [])):
                    took[NAMES[node]].append(master.round(node))
            with lab.capture() as wire:  # which has a part in this process's time
                for _ in range(rounds):
                    wire.frames.clear()
                    began_s = time.monotonic()
                    master.round(NETLINK)
                    took[FIRST_ARP].append((wire.claims("10.9.0.2")[0].at - began_s) * 1000)
            inside.close()
    return took, without_sudo


def main() -> None:
    require_root("takeover")
    if why_not():
        sys.exit(str(why_not()))
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    took, without_sudo = measure(rounds)
    print(f"from recover to update node, in ms; {machine()}")
    print(f"{'':26} {'rounds':>6} {'median':>8} {'p99':>8} {'median/pair':>12} {'p99/pair':>9}")
    pair = median(took[PAIR])
    for name, values in took.items():
        if values:
            middle, high = median(values), p99(values)
            print(
                f"{name:26} {len(values):6} {middle:8.2f} {high:8.2f} {middle / pair:12.2f} {high / pair:9.2f}"
            )
    netlink = median(took["netlink"])
    print(f"the default probe adds {median(took[NAMES[PROBING]]) - netlink:.1f} ms")
    if without_sudo:
        print(f"no sudo worker: {without_sudo}")
    else:
        print(f"sudo takes {median(took['sudo']) / netlink:.2f} times as long as netlink")


if __name__ == "__main__":
    main()
