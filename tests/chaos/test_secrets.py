"""The token and the password are found nowhere: not in a file that the worker writes, nor its stderr, nor the arguments
or the environment of any process that it starts, nor on the wire to another host than the master.

What a master that echoes them brings about is tested in test_worker.py, the wire of each transport in
test_connection.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import threading
from pathlib import Path

import pytest

from tests.chaos.commands import recover
from tests.lab import users
from tests.lab.masters import Master, Raw, answering, http
from tests.lab.netns import Lab, in_namespace, needs_namespaces
from tests.lab.relay import Relay
from tests.lab.users import PASSWORD, made_up_user
from tests.lab.waiting import PATIENCE_S, until
from tests.lab.workers import Tail, Worker

TOKEN = "tok-hunter2-7Qz"


class Processes:
    """Reads /proc all the time: the arguments of a process and of all that it starts, the environment of these.

    What lives for milliseconds is seen because only the process's own descendants are looked for, and stays seen: a
    process that has ended but is not yet reaped has neither.
    """

    def __init__(self, above: int) -> None:
        self.arguments: set[bytes] = set()
        self.environments: set[bytes] = set()
        self._above = above
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.001):
            self._look(self._above, b"")

    def _look(self, pid: int, parents: bytes) -> None:
        with contextlib.suppress(OSError):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
            self.arguments.add(arguments)
            # between fork and exec a child still has its parent's memory
            if pid != self._above and arguments != parents:
                self.environments.add(Path(f"/proc/{pid}/environ").read_bytes())
            for thread in os.listdir(f"/proc/{pid}/task"):
                for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                    self._look(int(child), arguments)

    def close(self) -> None:
        self._over.set()
        self._thread.join()


def written(*folders: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()
    }


def stand_nowhere(places: dict[str, bytes], *secrets: str) -> None:
    for name, text in places.items():
        for secret in secrets:
            assert secret.encode() not in text, name


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_neither_is_written_nor_told_to_another_host(tmp_path, serve):
    elsewhere = serve(Raw(answering(http("200 OK", b"0{}"))))
    redirect = http(
        "307 Temporary Redirect", b"", f"Location: {elsewhere.url}/socket.io/?EIO=4&transport=websocket"
    )
    redirecting = serve(Raw(answering(redirect)))
    master = serve(Master())
    relay = serve(Relay(redirecting))
    worker = Worker(
        tmp_path / "logs",
        relay,
        MASTER_TOKEN=TOKEN,
        PASSWORD=PASSWORD,
        METRICS_FILE=tmp_path / "metrics.prom",
        LOG_CONSOLE=1,
        LOG_LEVEL="DEBUG",
    )
    processes = Processes(worker.pid)
    try:
        worker.wait("connect_failed", 2)
        relay.target = (master.host, master.port)
        assert master.wait("connect").data == {"token": TOKEN, "NODE_ID": 3}
        master.wait("ping", 2)
        master.order("recover", {**recover(2), "active_neighbors": [TOKEN, PASSWORD]})
        master.wait("update node")
        until((tmp_path / "metrics.prom").exists)
        assert worker.stop() == 0
    finally:
        processes.close()
        worker.end()
    assert not elsewhere.heads
    assert redirecting.heads
    places = {
        **written(tmp_path),
        "arguments": b"".join(processes.arguments),
        "environments": b"".join(processes.environments),
        "wire": b"".join(redirecting.heads),
    }
    assert any(name.endswith("comms.log") for name in places)
    stand_nowhere(places, TOKEN, PASSWORD)


@needs_namespaces
@pytest.mark.skipif(users.why_not() is not None, reason=str(users.why_not()))
@pytest.mark.slow
def test_with_sudo_no_process_that_it_starts_has_them(tmp_path):
    with made_up_user("ALL=(root) ALL") as user, Lab(nodes=(3,)) as lab, contextlib.ExitStack() as last:
        shutil.copy(users.ROOT / "network_config.txt", user.project)
        logs = user.project / "log"
        logs.mkdir()
        os.chown(logs, user.uid, user.uid)
        master = Master()
        last.callback(master.close)
        place = lab.master
        relay = Relay(
            master, listen=lambda port: in_namespace(place.ns, lambda: socket.create_server((place.ip, port)))
        )
        last.callback(relay.close)
        process = lab.node(3).popen(
            *user.argv(user.python, "-B", "client.py", "--env-file", os.devnull),
            cwd=user.project,
            env={
                "PATH": os.environ["PATH"],
                "NODE_ID": "3",
                "MASTER_URL": relay.url,
                "MASTER_TOKEN": TOKEN,
                "PASSWORD": PASSWORD,
                "VIP_BACKEND": "sudo",
                "LOG_DIR": str(logs),
                "METRICS_FILE": str(logs / "metrics.prom"),
            },
            stdout=(user.project / "stdout").open("wb"),
            stderr=(user.project / "stderr").open("wb"),
        )
        processes = Processes(process.pid)
        last.callback(processes.close)
        until(lambda: master.all("connect"), 20, (user.project / "stderr").read_text)
        assert master.wait("connect").data == {"token": TOKEN, "NODE_ID": 3}
        master.wait("join")
        assert master.order("recover", recover(2)) == [{"accepted": True}]
        assert "error" not in master.wait("update node").data
        assert "10.9.0.2/24" in lab.node(3).addresses()

        def seen():
            sudo_and_helper = {a for a in processes.arguments.copy() if b"helper.py" in a}
            return len(sudo_and_helper) >= 2 and any(processes.environments.copy())

        # sudo and its helper are there for milliseconds
        for n in range(1, 50):
            if seen():
                break
            master.order("restore", {"restore_node": 2})
            master.wait("restore node", n)
            master.order("recover", recover(2))
            master.wait("update node", n + 1)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        processes.close()
        assert seen()
        assert Tail(logs / "comms.log").read()
        places = {
            **written(logs),
            "stdout": (user.project / "stdout").read_bytes(),
            "stderr": (user.project / "stderr").read_bytes(),
            "arguments": b"".join(processes.arguments),
            "environments": b"".join(processes.environments),
        }
        stand_nowhere(places, TOKEN, PASSWORD)
