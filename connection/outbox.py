"""What is sent on one connection: in order, bounded, and given back unless the master surely has it."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

UNREAD, UNREAD_BYTES = 2000, 4 << 20
"""Packets that may wait for a master that reads nothing, and their size; with more the connection is ended."""
KEPT_BYTES = 4 << 20
"""Of what is kept until an acknowledgement comes; with more, the oldest counts as delivered."""
HASTE_S = 0.1
"""Seconds that a master may take to read what arrived."""
POST_PACKETS = 16
"""What a master's library takes in one request; of more, the old one drops all."""
JOIN_ACK_ID = 10**15
"""The number of a join's acknowledgement, above those of all pings."""


@dataclass(frozen=True)
class _Kept:
    """Something sent as the `number`-th packet, after the event whose acknowledgement has the number `after`."""

    number: int
    after: int
    at_s: float
    size: int
    what: object


class Outbox(queue.Queue[Any]):
    """What waits for the library's writing thread, which would take 30 s without a packet for the end, and which
    sends in one request what it can get without waiting; and what may have to be sent again.

    `sending` is held to order what is sent: the library's methods are not thread-safe.
    """

    Empty = queue.Empty  # where Engine.IO 3 looks for it

    def __init__(self) -> None:
        super().__init__()
        self.sending = threading.Lock()
        self._taken = 0
        self._packets = 0
        self._last_ack_id = 0
        self._kept: deque[_Kept] = deque()
        self._bytes = 0
        self._sizes: deque[int] = deque(maxlen=UNREAD)
        self._acknowledges = False
        self._joins = 0

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        self._taken = 1 if block else self._taken + 1
        if self._taken > POST_PACKETS:
            raise queue.Empty
        packet = super().get(block)
        if packet is None and not block:
            # the end came with packets before it: the library sends those, and must then meet it again
            self.put(None)
        return packet

    def flush(self, limit_s: float) -> None:
        """Wait until all that is queued is sent."""
        with self.all_tasks_done:
            self.all_tasks_done.wait_for(lambda: not self.unfinished_tasks, limit_s)

    def has_room(self) -> bool:
        """Whether more may wait. `sending` is held."""
        waiting = self.qsize()
        size = sum(list(self._sizes)[-waiting:]) if waiting else 0
        return waiting < UNREAD and size < UNREAD_BYTES

    def sent(self, size: int, ack_id: int | None, keep: object | None) -> None:
        """Note what was sent. `sending` is held."""
        self._packets += 1
        self._sizes.append(size)
        if ack_id == JOIN_ACK_ID:
            self._joins += 1
        elif ack_id is not None:
            self._last_ack_id = ack_id
        if keep is not None:
            self._kept.append(_Kept(self._packets, self._last_ack_id, time.monotonic(), size, keep))
            self._bytes += size
            self._forget(lambda _: len(self._kept) > UNREAD or self._bytes > KEPT_BYTES)

    def acknowledged(self, ack_id: int) -> bool:
        """Take the acknowledgement of that number; False: nobody waits for it."""
        with self.sending:
            if ack_id == JOIN_ACK_ID:
                asked = self._joins > 0
                self._joins -= asked
                return asked
            self._acknowledges = True
            # a master that read the one has read what was sent before it
            self._forget(lambda kept: kept.after < ack_id)
            return True

    def undelivered(self, heard_s: float, haste_s: float, *, up: bool) -> tuple[object, ...]:
        """What no acknowledgement proves to have been read: what arrived at its machine was not where the master hung,
        or a proxy lost it. A master that acknowledges nothing has read what was sent `haste_s` before it last spoke, at
        the monotonic time `heard_s`, but for what was not sent yet.
        """
        with self.sending:
            since_s = -math.inf if self._acknowledges else heard_s - haste_s
            # where the master ended it (not `up`), the library's own two at the end are none of ours
            sent = self._packets - max(0, self.unfinished_tasks - (0 if up else 2))
            return tuple(kept.what for kept in self._kept if kept.at_s > since_s or kept.number > sent)

    def _forget(self, done: Callable[[_Kept], bool]) -> None:
        while self._kept and done(self._kept[0]):
            self._bytes -= self._kept.popleft().size
