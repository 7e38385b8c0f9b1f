"""Lines on their way to a file or to stderr: bounded, and those that found no room are counted. No I/O."""

from __future__ import annotations


class Waiting:
    """`limit` are the bytes that may wait; lines past that are dropped.

    `append`, `take` and `settle` want the caller's lock; whoever writes works on what it took without it, and keeps
    account in the attributes of a subclass that are named here.
    """

    def __init__(self, limit: int) -> None:
        self.lost_in_all = 0
        self._limit = limit
        # under the lock
        self._queue: list[bytes] = []
        self._queued_bytes = self._lost = 0
        # the writer's
        self._pending: list[bytes] = []
        self._written_bytes = self._told_lost = 0

    def append(self, line: bytes) -> None:
        if self._queued_bytes + len(line) > self._limit:
            self._lost += 1
            self.lost_in_all += 1
            return
        self._queue.append(line)
        self._queued_bytes += len(line)

    def waiting(self) -> bool:
        """Whether there are lines to write."""
        return bool(self._queue)

    def take(self) -> tuple[list[bytes], int]:
        """What waits to be written, and the number of lines that were dropped and not yet told of."""
        batch, self._queue = self._queue, []
        return batch, self._lost

    def settle(self) -> None:
        """After a write: what could not be written goes back to the front of the queue."""
        self._queue[:0] = self._pending
        self._queued_bytes -= self._written_bytes
        self._lost -= self._told_lost
        self._pending = []
        self._written_bytes = self._told_lost = 0
