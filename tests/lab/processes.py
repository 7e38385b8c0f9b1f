"""Real processes for tests: started, waited for with a deadline, and ended by their pid whatever happens."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tests.lab.forked import Forked, can_be_forked
from tests.lab.waiting import PATIENCE_S, stays, until  # noqa: F401 - stays is imported from here too

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str = "", deadline_s: float = 0.0) -> T:
    """As `until`, with the description before the limit."""
    return until(condition, deadline_s, what)


class Process:
    """A child process whose two outputs are collected line by line."""

    def __init__(
        self, arguments: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        """`env`: the whole environment; None: this process's own."""
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        env = dict(os.environ if env is None else env)
        pipes = [os.pipe() for _ in range(2)]
        outputs = [writing for _, writing in pipes]
        if arguments[0] == sys.executable and can_be_forked(arguments[1:], env):
            self._child: Forked | subprocess.Popen[bytes] = Forked(
                arguments[1:], cwd, env, outputs[0], outputs[1]
            )
        else:
            self._child = subprocess.Popen(
                arguments, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=outputs[0], stderr=outputs[1]
            )
        for writing in outputs:
            os.close(writing)
        self.pid = self._child.pid
        # Pipes that nobody reads would stop the child once they are full.
        self._readers = [
            threading.Thread(target=self._collect, args=(reading, lines), daemon=True)
            for (reading, _), lines in zip(pipes, (self.stdout, self.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _collect(descriptor: int, lines: list[str]) -> None:
        with open(descriptor, encoding="utf-8", errors="backslashreplace") as pipe:
            for line in pipe:
                lines.append(line.rstrip("\n"))  # noqa: PERF401 - others read it meanwhile

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def returncode(self) -> int | None:
        """None: it runs."""
        return self._child.poll()

    def output(self) -> str:
        return "\n".join(["--- stdout", *self.stdout, "--- stderr", *self.stderr])

    def wait_for_line(self, pattern: str, deadline_s: float = PATIENCE_S) -> re.Match[str]:
        """The first match of `pattern` in a line of either output. AssertionError when it ends or says nothing such."""

        def search() -> re.Match[str] | None:
            running = self.returncode is None
            if not running:
                self._join_readers()
            found = next(
                filter(None, (re.search(pattern, line) for line in [*self.stdout, *self.stderr])), None
            )
            assert found or running, f"ended with {self.returncode} before {pattern!r}\n{self.output()}"
            return found

        return until(search, deadline_s, lambda: f"a line like {pattern!r}\n{self.output()}")

    def wait(self, deadline_s: float = PATIENCE_S) -> int:
        """Its exit code, once it has ended by itself; both outputs are complete then."""
        try:
            code = self._child.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {deadline_s:g} s\n{self.output()}") from None
        self._join_readers()
        return code

    def signal(self, number: int) -> None:
        self._child.send_signal(number)

    def stop(self, deadline_s: float = PATIENCE_S) -> int:
        """Ask it to end (SIGTERM) and return its exit code."""
        self._child.terminate()
        return self.wait(deadline_s)

    def kill(self) -> None:
        """End it at once, with no chance to clean up."""
        self._child.kill()
        self.wait()

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def end(self) -> None:
        """End it in whatever state it is."""
        if self.returncode is None:
            self._child.kill()  # SIGKILL ends a stopped process too
        self._child.wait()
        self._join_readers()

    def _join_readers(self) -> None:
        # A grandchild may hold the pipes open; its output is not waited for long.
        for reader in self._readers:
            reader.join(2)


class Master(Process):
    """The bundled master; `url` is where it listens."""

    _token: str | None = None

    def __init__(self, *options: str, token: str | None = None, **environ: str) -> None:
        env = {**os.environ, **environ, **({"MASTER_TOKEN": token} if token else {})}
        command = [sys.executable, "-m", "master", "serve", "--env-file", os.devnull, "--nodes", "1-9999"]
        super().__init__([*command, *options], env=env)
        self.url, self._token = "", token

    def request(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """The status and the JSON of an HTTP request."""
        request = urllib.request.Request(self.url + path, method=method, headers=dict(headers or {}))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=PATIENCE_S) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, json.load(exc)

    def state(self) -> dict[str, dict[str, Any]]:
        """What GET /json says."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        status, state = self.request("/json", headers=headers)
        assert status == 200, state
        return dict(state)

    def holder(self, node: int) -> str | None:
        """Who holds the address of `node`, as text. None: nobody."""
        found = self.state()["recovery_mapper"].get(str(node))
        return found and found["recovery_node"]


@contextmanager
def start_master(*options: str, token: str | None = None, **environ: str) -> Iterator[Master]:
    """A bundled master that listens; on a free port unless `--port` is among the options."""
    if "--port" not in options:
        options = (*options, "--port", "0")
    with Master(*options, token=token, **environ) as master:
        master.url = master.wait_for_line(r"^listening on (\S+)$").group(1)
        yield master
