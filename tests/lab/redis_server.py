"""A real Redis for tests, and bundled masters that share their state in it."""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ports import free_port
from tests.lab.processes import Master, Process, start_master
from tests.lab.waiting import PATIENCE_S, until


def why_not() -> str | None:
    """Why there can be no Redis here; None: there can."""
    if shutil.which("redis-server") is None:
        return "this needs redis-server"
    try:
        import redis  # noqa: F401
    except ImportError:
        return "this needs Redis's Python client"
    return None


needs_redis = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


class RedisServer:
    """A process of its own on a free port, that keeps what it holds only while it runs."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        options = {"port": self._port, "bind": "127.0.0.1", "save": "", "dir": self._folder}
        argv = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self.process = Process(["redis-server", *argv])
        self.process.wait_for_line("Ready to accept connections")

    def end(self) -> None:
        self.process.end()

    def ask(self, *words: str) -> str:
        """What it answers to one command."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S) as sock:
            told = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
            sock.sendall(f"*{len(words)}\r\n{''.join(told)}".encode())
            return sock.recv(1 << 20).decode()


class Several(Master):
    """Masters that share their state: whatever is asked of them is asked of one after the other."""

    def __init__(self, masters: list[Master]) -> None:
        self.masters = masters
        self._next = itertools.cycle(masters)

    @property
    def url(self) -> str:
        return next(self._next).url

    @property
    def stderr(self) -> list[str]:
        return [line for master in self.masters for line in master.stderr]

    def wait_for_line(self, pattern: str, deadline_s: float = PATIENCE_S) -> re.Match[str]:
        return until(
            lambda: next(filter(None, (re.search(pattern, line) for line in self.stderr)), None),
            deadline_s,
            f"a line like {pattern!r}",
        )

    def stop(self, deadline_s: float = PATIENCE_S) -> int:
        return max(master.stop(deadline_s) for master in self.masters)


@contextlib.contextmanager
def start_several(folder: Path, *options: str, count: int = 2) -> Iterator[tuple[RedisServer, list[Master]]]:
    """A Redis, and masters on it."""
    with contextlib.ExitStack() as stack:
        server = RedisServer(folder)
        stack.callback(server.end)
        masters = [stack.enter_context(start_master("--redis", server.url, *options)) for _ in range(count)]
        yield server, masters
