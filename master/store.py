"""Where the master's state lives: in this process, for a master that is alone; redis_store.py has it in Redis."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from master.cluster import Cluster

Decision = Callable[[Cluster, float], Any]
"""Is given the cluster and the time, in seconds of a monotonic clock. It may be made again on another state, so it
does nothing else.
"""
Outcome = tuple[Any, Exception | None]
"""What a decision returned, and what it raised instead."""
Emit = Callable[[str, str, dict[str, Any]], Awaitable[None]]
"""Is given a connection's sid, an event and its data."""


class StoreLostError(Exception):
    """The state is out of reach just now; the text says why."""


def decide(cluster: Cluster, decisions: Sequence[Decision]) -> list[Outcome]:
    """One that raises does not keep the others from being made."""
    outcomes: list[Outcome] = []
    # for all: should this process be frozen from here on, nobody is judged by the time after it
    now = time.monotonic()
    cluster.members.epoch = time.time() - now
    for decision in [*decisions, Cluster.tick]:
        try:
            outcomes.append((decision(cluster, now), None))
        except Exception as exc:  # noqa: BLE001 - the caller logs it
            outcomes.append((None, exc))
    return outcomes


class Store:
    def __init__(
        self, emit: Emit, dead_after: float, order_timeout: float, nodes: frozenset[int] | None
    ) -> None:
        self._emit = emit
        self._outbox: list[tuple[str, str, dict[str, Any]]] = []
        """What follows from the decisions, and is not sent yet: a connection's address, an event and its data."""
        self.cluster = Cluster(
            lambda *message: self._outbox.append(message), dead_after, order_timeout, time.monotonic(), nodes
        )
        """As of the last turn; to be read only."""

    def address(self, sid: str) -> str:
        """What the cluster knows a connection of this master by."""
        return sid

    def heard(self, sid: str) -> bool:
        """A ping came. True: that is all, there is nothing to decide."""
        return self.cluster.members.heard(sid, time.monotonic())

    async def turn(self, decisions: Sequence[Decision]) -> list[Outcome]:
        """Make them in their order, then what is due, and send what follows.

        Raises StoreLostError where the state is out of reach: then none was made, or nobody knows; try again.
        """
        outcomes = decide(self.cluster, decisions)
        while self._outbox:
            await self._emit(*self._outbox.pop(0))
        return outcomes

    def next_due(self) -> float:
        """When `turn` has something to do next without any decision."""
        return self.cluster.next_due()

    async def close(self) -> None:
        pass
