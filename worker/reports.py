"""What the master is told: who this node is and what it holds, and the answers to its orders."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any, Optional

from connection.reconnect import Connection
from failover.machine import Failover
from failover.node import Node
from failover.vips import Reply


class Reports:
    """Joins, and answers that each come after a join. Without a connection answers wait for the next one.

    `interval_s` is JOIN_INTERVAL, 0: no join but on connect and on a change.
    """

    def __init__(self, node: Node, connection: Connection, failover: Failover, interval_s: float) -> None:
        self._node = node
        self._connection = connection
        self._failover = failover
        self._interval_s = interval_s
        self._answers: deque[Reply] = deque()
        # what the last join on this connection said, None: there was none
        self._said: Optional[dict[str, Any]] = None
        self._said_s = -math.inf

    def __len__(self) -> int:
        """Answers that wait."""
        return len(self._answers)

    def answer(self, reply: Reply) -> None:
        self._answers.append(reply)

    def answer_again(self, kept: Iterable[object]) -> None:
        """What a connection that is over may not have delivered, before whatever waits."""
        self._answers.extendleft(reversed([reply for reply in kept if isinstance(reply, Reply)]))

    def join_anew(self) -> None:
        """Whatever was said, say it again: the connection is new, or the master may have forgotten."""
        self._said = None

    def due(self) -> float:
        """When to join again although nothing has changed, infinity: never, or there is no connection."""
        return self._said_s + self._interval_s if self._interval_s and self._connection.up else math.inf

    def tell(self, now: float) -> None:
        """Join where that is due, then send the answers that wait."""
        if not self._connection.up:
            return
        if self._said is None or self.due() <= now:
            self._join(now)
        while self._answers and self._said is not None:
            reply = self._answers.popleft()
            if self._failover.is_stale(reply):
                continue
            data = dict(reply.extra)
            if reply.with_join:
                join = self._node.join_data(self._failover.held)
                data = {**join, **data}
                self._said = join
            if not self._connection.send(reply.event, data, keep=reply):
                self._answers.appendleft(reply)
                return
        if self._failover.steady and self._said != self._node.join_data(self._failover.held):
            self._join(now)

    def _join(self, now: float) -> None:
        join = self._node.join_data(self._failover.held)
        if self._connection.send("join", join):
            self._said, self._said_s = join, now
