"""The last resort: a thread that should turn and does not ends the process, and its supervisor starts another.

A process that holds addresses and does nothing with them is worse than none: the kernel takes them back with
their lease, and a new process finds what is left.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping

from logging_setup import Log

EXIT_HUNG = 70  # EX_SOFTWARE of sysexits.h
LOOK_S = 2.5
LOOKS = 6
"""In a row that find a thread overdue at the same turn. Looks are counted, not seconds, since a process that was
frozen, or a machine that was suspended, stood still as a whole. No turn that works takes as long.
"""


class Pulse:
    """What a thread promises: `due_s` is the monotonic time of its next turn at the latest, infinity: it waits to be
    woken. Only the thread writes it.
    """

    def __init__(self) -> None:
        self.due_s = math.inf


class Watchdog:
    """Watches the pulses of named threads from `start` to the process's end; `flush` writes the logs out."""

    def __init__(self, pulses: Mapping[str, Pulse], log: Log, flush: Callable[[], None]) -> None:
        self._pulses = pulses
        self._log = log
        self._flush = flush
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        seen = dict.fromkeys(self._pulses, math.inf)
        overdue = dict.fromkeys(self._pulses, 0)
        while True:
            time.sleep(LOOK_S)
            now = time.monotonic()
            for name, pulse in self._pulses.items():
                due_s = pulse.due_s
                overdue[name] = overdue[name] + 1 if due_s == seen[name] and due_s < now else 0
                seen[name] = due_s
                if overdue[name] >= LOOKS:
                    self._end(name, now - due_s)

    def _end(self, hung: str, since_s: float) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        self._log.critical("hung", thread=hung, since_s=since_s, exit=EXIT_HUNG)
        for ident, frame in sys._current_frames().items():  # noqa: SLF001 - there is no other way to see them
            stack = "".join(traceback.format_stack(frame))
            self._log.critical("stack", thread=names.get(ident, ident), stack=stack)
        self._flush()
        os._exit(EXIT_HUNG)
