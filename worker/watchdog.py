"""The last resort: a thread that hangs ends the process, and its supervisor starts another.

A process that holds addresses and does nothing with them is worse than none: the kernel removes them when their
lease ends, and a new process adopts what is left. A thread that hangs in a library's C code without releasing the
interpreter is beyond this watchdog; systemd's ends that one.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping

from logging_setup import EventLogger

EXIT_HUNG = 70  # EX_SOFTWARE of sysexits.h
LOOK_S = 2.5
LOOKS = 6
"""Looks in a row that find a thread overdue in the same turn. Looks are counted, not seconds, since a process that was
frozen or a machine that was suspended stood still as a whole. No turn that works takes as long.
"""


class Heartbeat:
    """What a thread promises: `due_s` is the monotonic time by which its next turn begins, infinity: it waits to be
    woken. Only the thread writes it.
    """

    def __init__(self) -> None:
        self.due_s = math.inf


class Watchdog:
    """Watches the heartbeats of named threads from `start` to the process's end; `flush` writes the logs out."""

    def __init__(
        self, heartbeats: Mapping[str, Heartbeat], log: EventLogger, flush: Callable[[], None]
    ) -> None:
        self._heartbeats = heartbeats
        self._log = log
        self._flush = flush
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        seen = dict.fromkeys(self._heartbeats, math.inf)
        overdue = dict.fromkeys(self._heartbeats, 0)
        while True:
            time.sleep(LOOK_S)
            now = time.monotonic()
            for name, heartbeat in self._heartbeats.items():
                due_s = heartbeat.due_s
                overdue[name] = overdue[name] + 1 if due_s == seen[name] and due_s < now else 0
                seen[name] = due_s
                if overdue[name] >= LOOKS:
                    self._end(name, now - due_s)

    def _end(self, hung: str, since_s: float) -> None:
        try:
            self._log.critical("hung", thread=hung, since_s=since_s, exit=EXIT_HUNG)
            for thread, stack in stacks():
                self._log.critical("stack", thread=thread, stack=stack)
            self._flush()
        finally:
            os._exit(EXIT_HUNG)


def stacks() -> Iterator[tuple[str, str]]:
    """The name and stack of each thread that runs, the most recent call first, without the source: a disk may be what
    hangs.
    """
    frames = sys._current_frames()  # noqa: SLF001 - documented, for this purpose
    for thread in threading.enumerate():
        last = frames.get(thread.ident or 0)
        if last:
            lines = [
                f'File "{frame.f_code.co_filename}", line {line} in {frame.f_code.co_name}'
                for frame, line in traceback.walk_stack(last)
            ]
            yield thread.name, "\n".join(lines)
