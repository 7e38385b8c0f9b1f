"""The one inbox: whatever happens becomes a message in it, and the owner's loop takes them in their order."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import Optional

from connection.messages import OrderReceived
from network.base import AddressesChanged, NetworkEvent

ORDERS = 200
"""The master's orders that may wait here. The thread that reads the connection waits with the next one, and TCP
makes the master wait: none is lost, no memory grows, and what is urgent has few before it.
"""


class Inbox:
    """`put` is for any thread and for signal handlers, `put_event` for the network's; `get` is the owner's."""

    def __init__(self) -> None:
        # the one queue of the standard library that a signal handler may put into
        self._messages: SimpleQueue[object] = SimpleQueue()
        self._room = threading.Semaphore(ORDERS)
        self._beyond = threading.Semaphore(0)
        self._changes: set[AddressesChanged] = set()
        self.put = self._messages.put

    def put_event(self, event: NetworkEvent) -> None:
        """Of each AddressesChanged one at a time: its reader will see all that has changed until then."""
        if isinstance(event, AddressesChanged):
            if event in self._changes:
                return
            self._changes.add(event)
        self._messages.put(event)

    def put_order(self, order: OrderReceived, limit_s: float) -> bool:
        """False: there was no room for it in `limit_s`. 0: it is taken though there is none, the last of a
        connection that is over.
        """
        if not limit_s:
            self._beyond.release()
        elif not self._room.acquire(timeout=limit_s):
            return False
        self._messages.put(order)
        return True

    def get(self, limit_s: float) -> Optional[object]:
        """The next message, waited for; None: none came in `limit_s`."""
        try:
            message = self._messages.get(timeout=limit_s)
        except Empty:
            return None
        if isinstance(message, OrderReceived):
            if not self._beyond.acquire(blocking=False):
                self._room.release()
        elif isinstance(message, AddressesChanged):
            self._changes.discard(message)
        return message
