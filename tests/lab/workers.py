"""Workers for the tests: `python client.py` as a process of its own, and its logs read as they grow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import client
from logs.format import parse_line
from tests.lab.forked import Forked, can_be_forked
from tests.lab.waiting import PATIENCE_S, until

REPOSITORY = Path(client.__file__).parent

# what the rules allow to be shorter is: they scale
QUICK = {
    "VIP_BACKEND": "simulated",
    "PING_INTERVAL": "0.2",
    "PING_TIMEOUT": "0.5",
    "RECONNECT_DELAY": "0.05",
    "RECONNECT_DELAY_MAX": "0.3",
    "CONFLICT_PROBE": "0.06",
    "LOG_CONSOLE": "0",
}


class Tail:
    """A log file's lines as they come; each must be whole and of the form."""

    def __init__(self, path):
        self.path = path
        self.entries = []
        self._at = 0

    def read(self):
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._at += len(whole)
            self.entries += [parse_line(line.decode()) for line in whole.split(b"\n")[:-1]]
        return self.entries


class Worker:
    """Started with QUICK's settings and those given; `log_dir` holds its logs and what it says on stderr."""

    def __init__(self, log_dir, master, node=3, *, before=(), module=("client.py",), stderr=None, **settings):
        log_dir.mkdir(parents=True, exist_ok=True)
        self.log_dir = log_dir
        self.comms = Tail(log_dir / "comms.log")
        self.pings = Tail(log_dir / "ping.log")
        nothing = log_dir / "no.env"
        nothing.touch()
        environ = {
            name: os.environ[name]
            for name in ("PATH", "HOME", "LANG", "TZ", "COVERAGE_PROCESS_CONFIG")
            if name in os.environ
        }
        said = (log_dir / "stderr").open("wb") if stderr is None else stderr
        arguments = [*module, "--env-file", str(nothing)]
        env = {
            **environ,
            "NODE_ID": str(node),
            "MASTER_URL": getattr(master, "url", master),
            "LOG_DIR": str(log_dir),
            **QUICK,
            **{name: str(value) for name, value in settings.items()},
        }
        if not before and can_be_forked(arguments, env):
            with open(os.devnull, "wb") as nowhere:
                err = said if isinstance(said, int) else said.fileno()
                self.process = Forked(arguments, REPOSITORY, env, nowhere.fileno(), err)
        else:
            self.process = subprocess.Popen(
                [*before, sys.executable, *arguments],
                cwd=REPOSITORY,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
        self.pid = self.process.pid
        if stderr is None:
            said.close()

    @property
    def said(self):
        """What stands on its stderr."""
        return (self.log_dir / "stderr").read_text(errors="replace")

    def wait(self, event, /, n=1, *, since=0, limit_s=10.0, log="comms", **fields):
        """The n-th line of that event and those fields, not counting the first `since` lines of the log."""
        tail = getattr(self, log)

        def found():
            return [
                entry
                for entry in tail.read()[since:]
                if entry.event == event
                and all(entry.fields.get(key) == value for key, value in fields.items())
            ][n - 1 : n]

        return until(found, limit_s, lambda: f"{n} × {event} {fields} in {tail.entries[since:]} {self.said}")[
            0
        ]

    def all(self, event, log="comms"):
        return [entry for entry in getattr(self, log).read() if entry.event == event]

    @property
    def lines(self):
        """How many lines comms.log has by now."""
        return len(self.comms.read())

    def send(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Signal it and wait for its end; returns the exit code."""
        self.send(number)
        return self.process.wait(PATIENCE_S)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    # Linux: what the kernel says of it

    def status(self, name):
        """A number of /proc/PID/status, such as Threads or VmRSS (in kB)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise KeyError(name)

    @property
    def stopped(self):
        """Whether SIGSTOP has reached it."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def opened(self):
        """What each descriptor is."""
        fds = Path(f"/proc/{self.pid}/fd")
        return {fd.name: os.readlink(fd) for fd in fds.iterdir() if fd.is_symlink()}

    @property
    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))
