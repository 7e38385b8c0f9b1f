"""Processes as `subprocess` starts them, of Python alone: forked from one that has the libraries imported."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab import template
from tests.lab.waiting import PATIENCE_S

if sys.platform != "win32":
    import resource

ROOT = Path(__file__).resolve().parents[2]
MODULES = {"client.py": ("client", "worker.loop"), "master": ("master.server",)}
"""By what is started: the modules that import its libraries."""


def can_be_forked(arguments: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether `python ARGUMENTS` is one of those; what starts with coverage is started as it is."""
    return sys.platform == "linux" and _name(arguments) in MODULES and "COVERAGE_PROCESS_CONFIG" not in env


def _name(arguments: Sequence[str]) -> str:
    return arguments[1] if arguments[0] == "-m" else arguments[0]


class _Template:
    def __init__(self, modules: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, template.__file__, str(theirs.fileno()), *modules],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()

    def ask(self, descriptors: Sequence[int] = (), **wanted: Any) -> Any:
        with self._lock:
            socket.send_fds(self._control, [json.dumps(wanted).encode()], descriptors)
            return json.loads(self._control.recv(template.MESSAGE))


@functools.cache
def _template(modules: Sequence[str]) -> _Template:
    return _Template(modules)


class Forked:
    """`python ARGUMENTS`, with standard input from nowhere and its outputs to two descriptors; in a network namespace
    of that name, or in this process's own.
    """

    stdin = stdout = stderr = None  # no pipes of its own

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        stdout: int,
        stderr: int,
        namespace: str | None = None,
    ) -> None:
        self.args = arguments
        self.returncode: int | None = None
        self._template = _template(MODULES[_name(arguments)])
        self._lock = threading.Lock()
        with open(os.devnull) as nothing:
            self.pid: int = self._template.ask(
                (nothing.fileno(), stdout, stderr),
                run=list(arguments),
                cwd=str(cwd),
                env=dict(env),
                files=resource.getrlimit(resource.RLIMIT_NOFILE),
                namespace=namespace,
            )

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None:
                self.returncode = self._template.ask(poll=self.pid)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end_s = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end_s is not None and time.monotonic() > end_s:
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:  # until it is waited for, its pid is no other's
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    arguments: Sequence[str], env: Mapping[str, str], before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """What `python ARGUMENTS` says until it ends, in the clone; `env` is the whole environment, `before` a command that
    starts it, such as `ip netns exec`.
    """
    if before or not can_be_forked(arguments, env):
        return subprocess.run(
            [*before, sys.executable, *arguments],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
        )
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        child = Forked(arguments, ROOT, env, out.fileno(), errors.fileno())
        try:
            code = child.wait(2 * PATIENCE_S)
        finally:
            child.kill()
        out.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(list(arguments), code, out.read(), errors.read())
