"""NOTIFY_COMMAND: a program of the operator's that is run after each change of an address that is held for a neighbor.

A thread of its own runs it, one change at a time and in order, so that it can delay nothing. It gets the change as
arguments (`taken 2 10.9.0.2/24 eth0`), no input, and an environment without secrets.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from failover.states import HOLDING, State, VipState
from logging_setup import EventLogger
from network.base import Vip

LIMIT_S = 30.0
"""Seconds after which a run is killed."""
OUTPUT_LIMIT = 2000
"""Bytes of its output that are logged."""
WAITING_LIMIT = 1000
"""Changes that may wait; more are logged as failed."""
POLL_S = 0.02
"""Seconds between two looks at whether the program has ended."""
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEPT_VARIABLES = ("LANG", "LC_ALL", "TZ", "SystemRoot")


class NotifyCommand:
    """Runs the command for each change, from `start` to `close`."""

    def __init__(self, command: Path, node_id: int, log: EventLogger) -> None:
        self._command = command
        self._log = log
        self._environ = {"PATH": os.environ.get("PATH", DEFAULT_PATH), "NODE_ID": str(node_id)}
        self._environ.update({name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ})
        self._held: dict[Vip, None] = {}
        # None: there will be no more
        self._changes: SimpleQueue[tuple[str, Vip] | None] = SimpleQueue()
        self._running: tuple[str, Vip] | None = None
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look(self, entries: Collection[VipState]) -> None:
        """Have it run for what changed since the last look: `lost` (gone from the interface without an order),
        `released` or `taken`.
        """
        held = {entry.vip: None for entry in entries if entry.state in HOLDING}
        if held == self._held:
            return
        lost = {entry.vip for entry in entries if entry.state is State.LOST}
        before, self._held = self._held, held
        for vip in before:
            if vip not in held:
                self.put("lost" if vip in lost else "released", vip)
        for vip in held:
            if vip not in before:
                self.put("taken", vip)

    def put(self, change: str, vip: Vip) -> None:
        """Have the command run for a change, without waiting."""
        if self._changes.qsize() < WAITING_LIMIT:
            self._changes.put((change, vip))
        else:
            self._report(change, vip, f"not run: {WAITING_LIMIT} changes wait already")

    def close(self, deadline_s: float) -> None:
        """Wait until every change was run, at most until `deadline_s` of the monotonic clock.

        What runs then is left to itself; what was not begun is logged as failed.
        """
        self._changes.put(None)
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        left = []
        with suppress(Empty):
            while True:
                left.append(self._changes.get_nowait())
        if self._running:
            self._report(*self._running, "the worker stopped before it ended")
        for change in left:
            if change:
                self._report(*change, "not run: the worker stopped")

    def _run(self) -> None:
        while True:
            self._running = self._changes.get()
            if not self._running:
                return
            self._run_once(*self._running)
            self._running = None

    def _run_once(self, change: str, vip: Vip) -> None:
        began_s = time.monotonic()
        arguments = [str(self._command), change, str(vip.owner), str(vip.ip), vip.interface]
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if sys.platform == "win32" else subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                cwd=os.path.abspath(os.sep),
                env=self._environ,
                start_new_session=True,
            )
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            self._report(change, vip, f"could not be started: {why}")
            return
        output, ended = _collect(process, began_s + LIMIT_S)
        if not ended:
            _kill(process)
        code = process.returncode
        reason = None
        if not ended:
            reason = f"killed after {LIMIT_S:g} s"
        elif code:
            reason = f"exit code {code}" if code > 0 else f"ended by {_signal_name(-code)}"
        text = output.decode(errors="replace").strip() or None
        took_ms = (time.monotonic() - began_s) * 1000
        self._report(change, vip, reason, exit=code, took_ms=took_ms, output=text)

    def _report(self, change: str, vip: Vip, reason: str | None, **fields: object) -> None:
        """Log a run; `reason` None: it did what it should."""
        place = {"node": vip.owner, "address": str(vip.ip), "interface": vip.interface}
        if reason:
            self._log.warning("notify_failed", change=change, **place, reason=reason, **fields)
        else:
            self._log.info("notify_done", change=change, **place, **fields)


def _collect(process: subprocess.Popen[bytes], deadline_s: float) -> tuple[bytes, bool]:
    """What it wrote, cut at OUTPUT_LIMIT, and whether it ended in time.

    A program that it left behind may keep the pipe open, so the end of the output is not waited for.
    """
    kept = bytearray()
    if process.stdout:
        os.set_blocking(process.stdout.fileno(), False)
    while True:
        # asked before the read: what it wrote at its end is in the pipe then
        ended = process.poll() is not None
        chunk = process.stdout.read(1 << 16) if process.stdout else None
        kept += (chunk or b"")[: OUTPUT_LIMIT - len(kept)]
        if ended or time.monotonic() >= deadline_s:
            break
        if not chunk:
            time.sleep(POLL_S)
    if process.stdout:
        process.stdout.close()
    return bytes(kept), ended


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End it with everything that it started in its session."""
    with suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(1)


def _signal_name(number: int) -> str:
    """A real-time signal has no name of its own."""
    return next((known.name for known in signal.Signals if known == number), f"signal {number}")
