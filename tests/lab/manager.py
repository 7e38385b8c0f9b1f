"""A service manager for the tests: a real notify socket, and what came to it."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass

from tests.lab.waiting import until


@dataclass(frozen=True)
class Told:
    at_s: float
    assignments: dict[str, str]


class Manager:
    """`address` is what NOTIFY_SOCKET holds; with `abstract` it has no file."""

    def __init__(self, folder, *, abstract=False):
        name = f"{folder}/notify"
        self.address = f"@{name}" if abstract else name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name}" if abstract else name)
        if not abstract:
            os.chmod(name, 0o666)  # workers of other users
        self.told = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            try:
                text = self._socket.recv(1 << 16).decode()
            except OSError:
                return
            if not text:
                return
            self.told.append(Told(time.monotonic(), dict(line.split("=", 1) for line in text.split("\n"))))

    def wait(self, name, value=None, *, since=0, limit_s=10.0):
        """The first message, not counting the first `since`, with that assignment; `value` may be a test of it."""

        def fits(told):
            held = told.assignments.get(name)
            return held is not None and (value is None or (value(held) if callable(value) else held == value))

        return until(
            lambda: next((told for told in self.told[since:] if fits(told)), None),
            limit_s,
            lambda: f"{name}={value} in {self.told[since:]}",
        )

    def all(self, name):
        return [told for told in list(self.told) if name in told.assignments]

    @property
    def status(self):
        """The last that was told."""
        statuses = self.all("STATUS")
        return statuses[-1].assignments["STATUS"] if statuses else ""

    def close(self):
        # an end for the listener, which closing alone would not wake
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            name = self.address
            sock.sendto(b"", f"\0{name[1:]}" if name.startswith("@") else name)
        self._socket.close()
