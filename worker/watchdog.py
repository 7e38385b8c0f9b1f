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


def watch(due_s: Mapping[str, Callable[[], float]], log: EventLogger, flush: Callable[[], None]) -> None:
    """Watch threads by name until the process ends.

    `due_s` gives for each the monotonic time by which its next turn begins, infinity: it waits to be woken. `flush` writes
    the logs out.
    """
    seen = dict.fromkeys(due_s, math.inf)
    overdue = dict.fromkeys(due_s, 0)
    while True:
        time.sleep(LOOK_S)
        now = time.monotonic()
        for name, ask in due_s.items():
            due = ask()
            overdue[name] = overdue[name] + 1 if due == seen[name] and due < now else 0
            seen[name] = due
            if overdue[name] >= LOOKS:
                _end(name, now - due, log, flush)


def _end(hung: str, since_s: float, log: EventLogger, flush: Callable[[], None]) -> None:
    try:
        log.critical("hung", thread=hung, since_s=since_s, exit=EXIT_HUNG)
        for thread, stack in stacks():
            log.critical("stack", thread=thread, stack=stack)
        flush()
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
