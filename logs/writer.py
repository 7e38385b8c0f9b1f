"""The queue in front of a file or of stderr, and the thread that writes the lines of all of them."""

from __future__ import annotations

import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

from logs.format import line_now

GATHER_S = 0.01
"""How long lines gather before they are written."""
FOLLOW_S = 2.5
"""Seconds at most between two looks at whether a file was moved away."""
RETRY_S = 1.0
BATCH = 200
"""Lines at most that are written together."""


class LineQueue(ABC):
    """The lines on their way to one target, at most `limit` bytes. Those that find no room are dropped and counted, and
    the count is a line once there is room. All but `put` is for the writer's thread.
    """

    def __init__(self, target: str, limit: int) -> None:
        self.lost_total = 0
        self.closing = False
        self.retry_s = float("-inf")
        """Until when, by the monotonic clock, another try is not worthwhile."""
        self._target = target
        self._limit = limit
        # held for these four, never across a system call
        self._lock = threading.Lock()
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = self._lost = 0
        # taken from the queue, and not yet written
        self._batch = b""

    @abstractmethod
    def write(self, data: bytes) -> int:
        """Write the beginning of `data`; returns the number of bytes. Raises OSError."""

    def put(self, line: bytes, *, own: bool = False) -> None:
        """Queue a line; `own`: it is about the log itself, and finds room whatever waits."""
        with self._lock:
            if not own and self._waiting_bytes + len(line) > self._limit:
                self._lost += 1
                self.lost_total += 1
                return
            self._lines.append(line)
            self._waiting_bytes += len(line)

    def drain(self, *, closing: bool) -> None:
        """Write what waits now, then how many lines were lost; `closing`: for the last time. Raises OSError.

        Lines that come meanwhile are left for the next time, since the other queues wait for the same thread.
        """
        self.closing = closing
        self._write_waiting()
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost:
            self.put(line_now("WARNING", "log_lines_lost", file=self._target, count=lost), own=True)
            self._write_waiting()

    def failed(self, exc: Exception) -> None:
        """Log a fault of our own."""
        trace = traceback.format_exc()
        line = line_now("CRITICAL", "crashed", thread="log-writer", error=repr(exc), traceback=trace)
        self.put(line, own=True)

    def _write_waiting(self) -> None:
        left = len(self._lines)
        while self._batch or left:
            if not self._batch:
                count = min(left, BATCH)
                left -= count
                with self._lock:
                    self._batch = b"".join([self._lines.popleft() for _ in range(count)])
            written = self.write(self._batch)
            self._batch = self._batch[written:]
            with self._lock:
                self._waiting_bytes -= written


class Writer(threading.Thread):
    """Empties the queues, in their order, whenever `wake` is set."""

    def __init__(self, queues: Sequence[LineQueue]) -> None:
        super().__init__(name="log-writer", daemon=True)
        self.wake = threading.Event()
        self._queues = queues
        self._closing = threading.Event()

    def close(self, timeout_s: float) -> None:
        """Try to write what waits, and end; abandon a disk that stalls for longer than that."""
        self._closing.set()
        self.wake.set()
        self.join(timeout_s)

    def run(self) -> None:
        closing = False
        while not closing:
            self.wake.wait(FOLLOW_S)
            self.wake.clear()
            # lines that come together are written together, and the work that they tell of comes before the disk
            closing = self._closing.wait(GATHER_S)
            for queue in self._queues:
                if closing or time.monotonic() >= queue.retry_s:
                    try:
                        queue.drain(closing=closing)
                    except Exception as exc:  # noqa: BLE001 - whatever it is, the logs go on
                        queue.retry_s = time.monotonic() + RETRY_S
                        queue.failed(exc)
