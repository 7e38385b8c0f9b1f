"""Masters and workers as processes on the hosts of a Lab."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from logs.format import Entry, parse_line
from tests.lab import director
from tests.lab.lateness import at_most
from tests.lab.masters import FORKS
from tests.lab.netns import Host, Lab, in_namespace, until
from tests.lab.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
PORT = 5000


def recover(node: int, by: int, **other: Any) -> dict[str, Any]:
    """The order that takes node's address 10.9.0.N."""
    return {
        "disconnected_node": node,
        "recovery_node": str(by),
        "ip": f"10.9.0.{node}",
        "netmask": "255.255.255.0",
        "active_neighbors": [str(by)],
        **other,
    }


class Director:
    """tests.lab.director on a host of its own."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.start()

    def start(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self._pipe, theirs = FORKS.Pipe()
        self._process = FORKS.Process(
            target=director.serve, args=(theirs, self._host.ns, self._host.ip, PORT), daemon=True
        )
        self._process.start()
        theirs.close()
        threading.Thread(target=self._listen, args=(self._pipe,), daemon=True).start()
        self.wait("listening")

    def _listen(self, pipe: Connection) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self.heard.append(pipe.recv())

    def tell(self, node: int, event: str, *data: Any, ack: bool = False) -> float:
        """Order, once for each of `data`, with or without an acknowledgement; returns when, time.monotonic()."""
        at = time.monotonic()
        for one in data:
            self._pipe.send((node, event, one, ack))
        return at

    def answers(self, event: str, node: int, since: float = 0.0) -> list[Any]:
        """The data of every such event since then."""
        heard = [one for one in list(self.heard) if one["at"] >= since]
        return [one["data"] for one in heard if (one["event"], one["node"]) == (event, node)]

    def wait(
        self, event: str, node: int | None = None, since: float = 0.0, limit_s: float = 5.0
    ) -> dict[str, Any]:
        """The first such event since then: its data, with `at`."""

        def find() -> dict[str, Any] | None:
            for heard in list(self.heard):
                if heard["event"] == event and heard["at"] >= since and node in (None, heard["node"]):
                    return heard
            return None

        return until(find, limit_s)

    def recover(self, node: int, by: int, limit_s: float = 5.0, **other: Any) -> Any:
        """Order a takeover and wait for its answer's data."""
        at = self.tell(by, "recover", recover(node, by, **other))
        return self.wait("update node", by, at, limit_s)["data"]

    def restore(self, node: int, by: int) -> Any:
        at = self.tell(by, "restore", {"restore_node": node})
        return self.wait("restore node", by, at)["data"]

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


class Bundled:
    """The bundled master on a host of its own; `log` is the file for what it says, None: nowhere."""

    def __init__(
        self, host: Host, dead_after_s: float = 1.0, log: Path | None = None, options: Sequence[str] = ()
    ) -> None:
        self._host = host
        self._log = log
        self._arguments = ["-m", "master", "serve", f"--host={host.ip}", f"--port={PORT}"]
        self._arguments += [f"--dead-after={dead_after_s}", *options]
        self.start()

    def start(self) -> None:
        reading, writing = os.pipe()
        with open(reading, encoding="utf-8") as out, open(self._log or os.devnull, "a") as log:
            self.process = self._host.python(
                *self._arguments, cwd=ROOT, env=os.environ, stdout=writing, stderr=log.fileno()
            )
            os.close(writing)
            assert out.readline().startswith("listening")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def told(self) -> Any:
        """What GET /json says."""
        sock = in_namespace(
            self._host.ns, lambda: socket.create_connection((self._host.ip, PORT), timeout=PATIENCE_S)
        )
        with sock, sock.makefile("rb") as answer:
            sock.sendall(f"GET /json HTTP/1.0\r\nHost: {self._host.ip}:{PORT}\r\n\r\n".encode())
            return json.loads(answer.read().partition(b"\r\n\r\n")[2])

    def holder(self, node: int) -> int | None:
        """The node that holds node's address; None: nobody."""
        found = self.told()["recovery_mapper"].get(str(node))
        return int(found["recovery_node"]) if found else None

    def knows(self, *nodes: int) -> bool:
        """Whether exactly these are alive."""
        return set(self.told()["active"]) == set(map(str, nodes))


class Worker:
    """`python client.py` of a node, on the node's host or another's; `command` where it is not started so."""

    def __init__(
        self,
        lab: Lab,
        node: int,
        folder: Path,
        host: Host | None = None,
        command: Sequence[str] = (sys.executable, "client.py"),
        cwd: Path = ROOT,
        **environ: str,
    ) -> None:
        self.node, self.host, self.folder = node, host or lab.node(node), folder
        self._command, self._cwd = command, cwd
        self.environ = {
            "PATH": os.environ["PATH"],
            "NODE_ID": str(node),
            "MASTER_URL": f"http://{lab.master.ip}:{PORT}",
            "LOG_DIR": str(folder),
            "VIP_BACKEND": "netlink",
            "PING_INTERVAL": "0.2",
            "PING_TIMEOUT": "1",
            "RECONNECT_DELAY_MAX": "0.5",
            **environ,
        }
        self.start()

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        program, *arguments = self._command
        with open(os.devnull, "wb") as nowhere:
            out = nowhere.fileno()
            if program == sys.executable:
                self.process = self.host.python(
                    *arguments, cwd=self._cwd, env=self.environ, stdout=out, stderr=out
                )
            else:
                self.process = self.host.popen(
                    *self._command, cwd=self._cwd, env=self.environ, stdout=out, stderr=out
                )

    def entries(self, event: str | None = None) -> list[Entry]:
        try:
            text = (self.folder / "comms.log").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        lines = list(text.split("\n")[:-1])
        found = [parse_line(line) for line in lines if event is None or f"- [{event}" in line]
        return [entry for entry in found if event in (None, entry.event)]

    def wait_log(self, event: str, count: int = 1, limit_s: float = 5.0) -> Entry:
        """The count-th such line."""
        return until(lambda: self.entries(event)[count - 1 : count], limit_s)[0]

    def stop(self) -> None:
        """SIGTERM, and its end within 2 s."""
        with at_most(2.0):
            self.process.terminate()
            assert self.process.wait(PATIENCE_S) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    @property
    def vips(self) -> list[str]:
        """What the card holds beside the host's own address."""
        return [ip for ip in self.host.addresses() if ip != f"{self.host.ip}/24"]
