"""Messages to the master: who this node is and what it holds, and the answers to its orders."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from connection.errors import Failure
from connection.payload import encode, loads
from connection.reconnect import Connection
from failover.machine import Failover
from failover.node import Node
from failover.vips import Reply
from logging_setup import EventLogger

TRIES = 5
"""Connections that may end right after an answer was sent, before that answer is given up as their cause."""
TRIED_S = 5.0
"""Seconds over which they must have ended: a master that ends every connection for a moment costs no answer."""
SUSPECT = 2
"""Such ends after which an answer is sent alone, to find out whether it is the cause."""
REFUSED_AGAIN_S = 60.0
"""Seconds between two lines about the same refusal."""
WAITING_BYTES = 4 << 20
"""Bytes of JSON of the answers that wait for a connection; beyond that the oldest are given up."""


@dataclass(eq=False)
class _Waiting:
    """An answer, its data as JSON, which takes known memory, and the connections that ended with it on its way."""

    reply: Reply
    data: str
    ends: int = 0
    first_end_s: float = math.inf


class Reports:
    """Joins, and answers that each come after a join. Without a connection answers wait for the next one.

    `interval_s` is JOIN_INTERVAL, 0: no join but on connect and on a change. `refusal` is why the master refused the
    last join, None: it did not.
    """

    def __init__(
        self, node: Node, connection: Connection, failover: Failover, interval_s: float, log: EventLogger
    ) -> None:
        self._node = node
        self._connection = connection
        self._failover = failover
        self._interval_s = interval_s
        self._log = log
        self._answers: deque[_Waiting] = deque()
        # not summed up at each answer: there may be a hundred thousand
        self._bytes = 0
        # the last join on this connection, None: there was none
        self._last_join: dict[str, Any] | None = None
        self._joined_s = self._refused_s = -math.inf
        self._refusals = 0
        self.refusal: str | None = None

    def __len__(self) -> int:
        """Answers that wait."""
        return len(self._answers)

    def answer(self, reply: Reply) -> None:
        """Send it, after the next join."""
        waiting = _Waiting(replace(reply, extra={}), encode(dict(reply.extra)))
        self._answers.append(waiting)
        self._bytes += len(waiting.data)
        while self._bytes > WAITING_BYTES:
            self._give_up(self._take(), f"answers of more than {WAITING_BYTES >> 20} MiB wait")

    def answer_again(self, kept: Iterable[object], ended_by: Failure) -> None:
        """Queue what a connection that is over may not have delivered, before the answers that wait.

        An answer with which the master, or something on the way to it, ends each connection is given up.
        """
        again = [one for one in kept if isinstance(one, _Waiting)]
        for one in reversed(again):
            if ended_by.cause in ("master_gone", "refused"):
                one.ends += 1
                one.first_end_s = min(one.first_end_s, time.monotonic())
            if one.ends >= TRIES and time.monotonic() - one.first_end_s >= TRIED_S:
                self._give_up(one, f"{one.ends} connections ended when it was sent; the last: {ended_by}")
            else:
                self._put_back(one)

    def join_acknowledged(self, error: str | None, now: float) -> None:
        """The master has read a join; `error` is why it refuses this node. The same is logged once a minute."""
        before, self.refusal = self.refusal, error
        if error is None:
            return
        if error == before and now - self._refused_s < REFUSED_AGAIN_S:
            self._refusals += 1
            return
        repeats = self._refusals if error == before else 0
        self._refused_s, self._refusals = now, 0
        self._log.error("join_refused", master=self._connection.url, reason=error, repeats=repeats or None)

    def rejoin(self) -> None:
        """Join again although nothing has changed: the connection is new, or the master may have forgotten."""
        self._last_join = None

    def due(self) -> float:
        """When to join again although nothing has changed, infinity: never, or there is no connection."""
        return self._joined_s + self._interval_s if self._interval_s and self._connection.up else math.inf

    def send_due(self, now: float) -> None:
        """Join where that is due, then send the answers that wait."""
        if not self._connection.up:
            return
        if self._last_join is None or self.due() <= now:
            self._join(now)
        while self._answers and self._last_join is not None:
            on_the_way = self._connection.on_the_way
            if on_the_way and any(one.ends >= SUSPECT for one in (self._answers[0], *on_the_way)):
                break
            waiting = self._take()
            if self._failover.is_stale(waiting.reply):
                continue
            data = loads(waiting.data)
            if waiting.reply.owner is not None:
                join = self._node.join_data(self._failover.held)
                data = {**join, **data}
                self._last_join = join
            if not self._connection.send(waiting.reply.event, data, keep=waiting, order=waiting.reply.order):
                self._put_back(waiting)
                return
        if self._failover.steady and self._last_join != self._node.join_data(self._failover.held):
            self._join(now)

    def _take(self) -> _Waiting:
        waiting = self._answers.popleft()
        self._bytes -= len(waiting.data)
        return waiting

    def _put_back(self, waiting: _Waiting) -> None:
        self._answers.appendleft(waiting)
        self._bytes += len(waiting.data)

    def _give_up(self, waiting: _Waiting, reason: str) -> None:
        self._log.error(
            "answer_given_up",
            event=waiting.reply.event,
            data=waiting.data,
            reason=reason,
            order=waiting.reply.order,
        )

    def _join(self, now: float) -> None:
        join = self._node.join_data(self._failover.held)
        # one that only refreshes the master's memory would fill the log
        level = "DEBUG" if join == self._last_join else "INFO"
        if self._connection.send("join", join, level=level):
            self._last_join, self._joined_s = join, now
