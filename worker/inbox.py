"""The one inbox: everything that happens becomes a message, and the owner's loop handles them in order."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue

from connection.messages import OrderReceived
from network.base import AddressesChanged, NetworkEvent
from worker.messages import Stop

ORDERS = 200
"""Orders of the master that may wait. With more, the thread that reads the connection waits, and TCP makes the master
wait: none is lost, memory stays bounded, and what is urgent has few messages ahead of it.
"""


class Inbox:
    """`put` is for any thread and for signal handlers, `put_event` for the network's; `get` is the owner's."""

    def __init__(self) -> None:
        # the one queue of the standard library that a signal handler may put into
        self._messages: SimpleQueue[object] = SimpleQueue()
        self._room = threading.Semaphore(ORDERS)
        self._beyond = threading.Semaphore(0)
        self._changes: set[AddressesChanged] = set()
        self._stop: Stop | None = None

    def put(self, message: object) -> None:
        """Put a message. A Stop overtakes all that wait: hundreds of large orders could take longer than it has."""
        if isinstance(message, Stop):
            self._stop = message
        self._messages.put(message)

    def put_event(self, event: NetworkEvent) -> None:
        """Put an event. Of each AddressesChanged one at a time: its reader sees everything that changed until then."""
        if isinstance(event, AddressesChanged):
            if event in self._changes:
                return
            self._changes.add(event)
        self._messages.put(event)

    def put_order(self, order: OrderReceived, limit_s: float) -> bool:
        """Put an order, waiting up to `limit_s` for room; False: there was none.

        With 0 it is put even without room: it is one of the last of a connection that is over.
        """
        if not limit_s:
            self._beyond.release()
        elif not self._room.acquire(timeout=limit_s):
            return False
        self._messages.put(order)
        return True

    def get(self, limit_s: float) -> object | None:
        """Wait for the next message; None: there was none within `limit_s` seconds."""
        try:
            message = self._messages.get(timeout=limit_s)
        except Empty:
            return None
        if self._stop:
            return self._stop
        if isinstance(message, OrderReceived):
            if not self._beyond.acquire(blocking=False):
                self._room.release()
        elif isinstance(message, AddressesChanged):
            self._changes.discard(message)
        return message
