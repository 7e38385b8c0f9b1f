"""The one inbox: everything that happens becomes a message, and the owner's loop handles them in order.

Here are the messages that are neither the connection's nor the network's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from connection.messages import OrderReceived
from network.base import AddressesChanged, NetworkEvent

ORDERS = 200
"""Orders of the master that may wait. With more, the thread that reads the connection waits, and TCP makes the master
wait: none is lost, memory stays bounded, and what is urgent has few messages ahead of it.
"""


@dataclass(frozen=True)
class Stop:
    """SIGTERM, SIGINT or Windows' SIGBREAK."""

    signal: str


@dataclass(frozen=True)
class ReopenLogs:
    """SIGHUP."""


@dataclass(frozen=True)
class DumpState:
    """SIGUSR1."""


@dataclass(frozen=True)
class StatusAsked:
    """`client.py --status` waits until `reply` is called with a snapshot."""

    reply: Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class MasterTimeout:
    """The keep-alive takes the master for dead."""

    reason: str


@dataclass(frozen=True)
class ProbeTimeout:
    """Posted when probes may have gone unanswered: whatever the wire said before is ahead of it in the inbox.

    `as_of` is the monotonic time up to which silence counts.
    """

    as_of: float


class Inbox:
    """`put` is for any thread and for signal handlers, `put_event` for the network's; `get` is the owner's."""

    def __init__(self) -> None:
        # the one queue of the standard library that a signal handler may put into; each message with whether it takes room
        self._messages: SimpleQueue[tuple[object, bool]] = SimpleQueue()
        self._room = threading.Semaphore(ORDERS)
        self._changes: set[AddressesChanged] = set()
        self._stop: Stop | None = None

    def put(self, message: object) -> None:
        """Put a message. A Stop overtakes all that wait: hundreds of large orders could take longer than it has."""
        if isinstance(message, Stop):
            self._stop = message
        self._messages.put((message, False))

    def put_event(self, event: NetworkEvent) -> None:
        """Put an event. Of each AddressesChanged one at a time: its reader sees everything that changed until then."""
        if isinstance(event, AddressesChanged):
            if event in self._changes:
                return
            self._changes.add(event)
        self.put(event)

    def put_order(self, order: OrderReceived, limit_s: float) -> bool:
        """Put an order, waiting up to `limit_s` for room; False: there was none.

        With 0 it is put even without room: it is one of the last of a connection that is over.
        """
        if limit_s and not self._room.acquire(timeout=limit_s):
            return False
        self._messages.put((order, limit_s > 0))
        return True

    def get(self, limit_s: float) -> object | None:
        """Wait for the next message; None: there was none within `limit_s` seconds."""
        try:
            message, takes_room = self._messages.get(timeout=limit_s)
        except Empty:
            return None
        if self._stop:
            return self._stop
        if takes_room:
            self._room.release()
        if isinstance(message, AddressesChanged):
            self._changes.discard(message)
        return message
