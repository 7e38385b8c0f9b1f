"""The rehearsal of docs/operations.md, as a new user follows it: worker and master as installed, on real namespaces."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from logs.format import parse_line
from tests.lab import installed
from tests.lab.installed import NOBODY, Unit, why_not
from tests.lab.netns import Lab, needs_namespaces
from tests.lab.waiting import PATIENCE_S, until

TOKEN = "hunter2hunter2"
PORT = 5000

pytestmark = [
    needs_namespaces,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with installed.image(tmp_path_factory, "install", "install-master") as folder:
        yield folder


class Node:
    """A worker as the unit runs it, its settings in a file as `make install` leaves it for the operator."""

    def __init__(self, lab: Lab, image: Path, number: int) -> None:
        self.host, self.number = lab.node(number), number
        self.folder = image / "nodes" / str(number)
        self.folder.mkdir(parents=True)
        os.chown(self.folder, NOBODY, NOBODY)
        (self.folder / "token").write_text(TOKEN)
        os.chown(self.folder / "token", NOBODY, NOBODY)
        (self.folder / "token").chmod(0o600)
        settings = {
            "NODE_ID": number,
            "MASTER_URL": f"http://{lab.master.ip}:{PORT}",
            "MASTER_TOKEN_FILE": self.folder / "token",
            "NETWORK_CONFIG": image / "etc/failover-worker/network_config.txt",
            "LOG_DIR": self.folder,
        }
        env_file = self.folder / "worker.env"
        env_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        unit = Unit(image, "failover-worker.service")
        argv = [str(env_file) if word.endswith("/worker.env") else word for word in unit.argv()]
        self._command = [str(image / "opt/failover-worker/lib/failover-worker"), "--env-file", str(env_file)]
        self.process = self.host.popen(*argv, cwd="/", env={"PATH": os.environ["PATH"], **unit.environ})

    def failover_worker(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        program, *rest = self._command if command != "diagnose" else self._command[:1]
        return subprocess.run(
            self.host.argv(program, command, *rest, *options),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            cwd="/",
        )

    def events(self) -> list[str]:
        path = self.folder / "comms.log"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        found = [parse_line(line) for line in lines]
        return [
            f"received event={entry.fields['event']}" if entry.event == "received" else entry.event
            for entry in found
        ]

    def levels(self) -> set[str]:
        return set(
            re.findall(r"\] : \[(\w+)\] - \[", (self.folder / "comms.log").read_text(encoding="utf-8"))
        )


def test_the_rehearsal(image: Path) -> None:
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab(nodes=(1, 2, 3)))
        unit = Unit(image, "failover-master.service")
        logs = image / "master-logs"
        logs.mkdir()
        os.chown(logs, NOBODY, NOBODY)
        os.chown(image / "etc/failover-master/master.env", 0, NOBODY)
        lab.master.popen(
            *unit.argv(),
            cwd=unit.folder,
            env={
                "PATH": os.environ["PATH"],
                **unit.environ,
                "MASTER_HOST": lab.master.ip,
                "MASTER_LOG_DIR": str(logs),
                "MASTER_TOKEN": TOKEN,
            },
        )
        until(
            lambda: (
                lab.master.run("curl", "-sf", f"http://{lab.master.ip}:{PORT}/healthz", check=False).stdout
            )
        )
        nodes = {number: Node(lab, image, number) for number in (1, 2, 3)}

        # 1. all nodes are alive, and say that they are connected
        for node in nodes.values():
            until(lambda node=node: node.failover_worker("status").returncode == 0)
            assert "connected to http://10.9.0.10:5000" in node.failover_worker("status").stdout
        checked = nodes[1].failover_worker("check", "--json", "--as", "nobody")
        items = {item["name"]: item for item in json.loads(checked.stdout)["items"]}
        assert [item for item in items.values() if not item["ok"] and item["name"] != "privilege"] == []
        assert items["interface"]["text"].startswith("joins with 10.9.0.1 of eth0")
        assert lab.client.answers("10.9.0.2")

        # 2. the cable is pulled: a neighbor answers for node 2
        lab.node(2).cut()
        until(lambda: any("takeover_done" in nodes[number].events() for number in (1, 3)))
        (holder,) = (nodes[number] for number in (1, 3) if "takeover_done" in nodes[number].events())
        found = iter(holder.events())
        assert all(
            event in found for event in ("received event=recover", "takeover_started", "takeover_done")
        )
        until(lambda: lab.client.answers("10.9.0.2"))
        assert "10.9.0.2/24 of node 2 on eth0" in holder.failover_worker("status").stdout

        # 3. node 2 has no master meanwhile
        until(lambda: {"disconnected", "connect_failed"} <= set(nodes[2].events()))
        assert nodes[2].failover_worker("status").returncode == 1

        # 4. the cable is put back: node 2 has its address
        lab.node(2).mend()
        until(lambda: "release_done" in holder.events())
        assert {"received event=restore", "owner_returned"} & set(holder.events())
        until(lambda: nodes[2].failover_worker("status").returncode == 0)
        until(lambda: lab.client.answers("10.9.0.2"))
        assert "no address for others" in holder.failover_worker("status").stdout

        # a planned stop, and on such a day nobody else logged anything above WARNING
        for node in nodes.values():
            node.process.terminate()
            assert node.process.wait(PATIENCE_S) == 0
        for node in nodes.values():
            assert node.levels() <= {"INFO", "WARNING"}, node.folder

        # 5. diagnose says it in one sentence
        told = nodes[1].failover_worker("diagnose", *(str(node.folder) for node in nodes.values()))
        assert re.search(rf"node 2.*node {holder.number}", told.stdout, re.DOTALL), told.stdout
