"""Where the master's state lives: the seam, and how a master that is alone fills it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Optional, Protocol

from demo.cluster import Cluster, Send

Decision = Callable[[Cluster, float], Any]
"""Is given the cluster and the time, in seconds of a monotonic clock. It may be made again on another state, so it
does nothing else.
"""
Outcome = tuple[Any, Optional[Exception]]
"""What a decision returned, and what it raised instead."""


class StoreLostError(Exception):
    """The state is out of reach just now; the text says why."""


class Store(Protocol):
    def address(self, sid: str) -> str:
        """What the cluster knows a connection of this master by."""

    def heard(self, sid: str) -> bool:
        """A ping came. True: that is all, there is nothing to decide. May be called from any thread."""

    def turn(self, decisions: Sequence[Decision]) -> list[Outcome]:
        """Make them in their order, then what is due, and send what follows.

        Raises StoreLostError where the state is out of reach: then none was made, or nobody knows; try again.
        """

    def next_due(self) -> float:
        """When `turn` has something to do next without any decision."""

    def close(self) -> None:
        """This master stops."""


def decide(cluster: Cluster, decisions: Sequence[Decision]) -> list[Outcome]:
    """One that raises does not keep the others from being made."""
    outcomes: list[Outcome] = []
    for decision in [*decisions, Cluster.tick]:
        try:
            outcomes.append((decision(cluster, time.monotonic()), None))
        except Exception as exc:  # noqa: BLE001 - whoever takes the outcome logs it
            outcomes.append((None, exc))
    return outcomes


class Memory:
    """The state of a master that is alone."""

    def __init__(self, send: Send, dead_after: float, order_timeout: float) -> None:
        self._cluster = Cluster(send, dead_after, order_timeout, time.monotonic())

    def address(self, sid: str) -> str:
        return sid

    def heard(self, sid: str) -> bool:
        return False

    def turn(self, decisions: Sequence[Decision]) -> list[Outcome]:
        return decide(self._cluster, decisions)

    def next_due(self) -> float:
        return self._cluster.next_due()

    def close(self) -> None:
        pass
