"""Lines on their way to a file or to stderr: bounded, and those that found no room are counted. No I/O."""

from __future__ import annotations


class LineBuffer:
    """Lines of at most `limit` bytes in all; further ones are dropped.

    `append`, `take` and `requeue_unwritten` need the caller's lock. The writer works on what it took without the
    lock, and keeps account of it in the attributes of a subclass.
    """

    def __init__(self, limit: int) -> None:
        self.lost_total = 0
        self._limit = limit
        # under the lock
        self._queue: list[bytes] = []
        self._queued_bytes = self._lost = 0
        # the writer's
        self._pending: list[bytes] = []
        self._written_bytes = self._reported_lost = 0

    def append(self, line: bytes) -> None:
        if self._queued_bytes + len(line) > self._limit:
            self._lost += 1
            self.lost_total += 1
            return
        self._queue.append(line)
        self._queued_bytes += len(line)

    def has_lines(self) -> bool:
        """Whether there are lines to write."""
        return bool(self._queue)

    def take(self) -> tuple[list[bytes], int]:
        """The lines to write, and the number of lines that were dropped and not yet reported."""
        batch, self._queue = self._queue, []
        return batch, self._lost

    def requeue_unwritten(self) -> None:
        """After a write: put what could not be written back to the front of the queue."""
        self._queue[:0] = self._pending
        self._queued_bytes -= self._written_bytes
        self._lost -= self._reported_lost
        self._pending = []
        self._written_bytes = self._reported_lost = 0
