"""What a connection sends is parsed a little at a time, and one that sends too much ends.

The libraries that parse are written in Python: a read of 256 KiB, filled with the smallest frames or requests, would
keep the loop for a second, in which nothing is decided. So at most TURN_S of each turn of the loop is spent on that,
in pieces of SLICE bytes, and connections take turns. What waits is bounded by BYTES_AT_ONCE for each connection.
"""

import asyncio
import time
from collections import deque
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from master.logs import warn_limited
from master.rates import Bucket

SLICE = 256
"""Bytes that are parsed at once: some 40 frames of the smallest kind."""
TURN_S = 0.005
BYTES_PER_S, BYTES_AT_ONCE = 64 * 1024, 160 * 1024
"""Of a connection, as they come on the wire. A message may have 64 KiB."""
MOST_QUEUED = 64
"""Messages that came on a websocket and are not read yet."""
FRAMES_PER_S, FRAMES_AT_ONCE = 20.0, 100.0
"""Of a websocket, that are no message: pings, pongs, continuations. Workers send none of these."""


_WAITING: "deque[Intake]" = deque()
"""The connections of which something waits to be parsed."""


def _wait(connection: "Intake") -> None:
    if not _WAITING:
        asyncio.get_running_loop().call_soon(_turn)
    _WAITING.append(connection)


def _turn() -> None:
    end = time.monotonic() + TURN_S
    try:
        while _WAITING and time.monotonic() < end:
            # the first stays in the line meanwhile, so that no second turn is scheduled
            connection = _WAITING[0]
            try:
                is_more = connection.parse_next()
            finally:
                _WAITING.popleft()
            if is_more:
                _WAITING.append(connection)
    finally:
        if _WAITING:
            asyncio.get_running_loop().call_soon(_turn)


class Intake:
    """Goes before a protocol of uvicorn."""

    transport: asyncio.Transport
    client: tuple[str, int] | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bytes = Bucket(BYTES_PER_S, BYTES_AT_ONCE)
        self._rest = bytearray()

    def data_received(self, data: bytes) -> None:
        if not self._bytes.take(len(data)):
            self._rest.clear()
            self._end("bytes a second")
        elif self._rest:
            self._rest += data
        elif len(data) <= SLICE:
            self._parse(data)
        else:
            self._rest += data
            _wait(self)

    def parse_next(self) -> bool:
        """Whether something is left."""
        if self.transport.is_closing():
            self._rest.clear()
            return False
        successor = self.transport.get_protocol()
        if isinstance(successor, WebSocket) and not isinstance(self, WebSocket):
            rest = bytes(self._rest)
            self._rest.clear()
            successor.data_received(rest)
            return False
        piece = bytes(self._rest[:SLICE])
        del self._rest[:SLICE]
        self._parse(piece)
        return bool(self._rest)

    def _parse(self, data: bytes) -> None:
        super().data_received(data)  # type: ignore[misc]

    def _end(self, bound: str) -> None:
        if not self.transport.is_closing():
            address = self.client[0] if self.client else None
            warn_limited("bound_reached", bound, bound=bound, address=address)
            self.transport.abort()


class Http(Intake, H11Protocol):
    """A connection before it becomes a websocket."""


class WebSocket(Intake, WebSocketsSansIOProtocol):
    """Ends where frames or messages come faster than they are read: tiny ones cost a hundred times their size."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._frames = Bucket(FRAMES_PER_S, FRAMES_AT_ONCE)

    def handle_ping(self) -> None:
        super().handle_ping()
        self._count()

    def handle_pong(self, event: Any) -> None:
        super().handle_pong(event)
        self._count()

    def handle_cont(self, event: Any) -> None:
        super().handle_cont(event)
        self._count()

    def _parse(self, data: bytes) -> None:
        super()._parse(data)
        if self.queue.qsize() > MOST_QUEUED:
            self._end("messages that are not read yet")

    def _count(self) -> None:
        if not self._frames.take():
            self._end("frames that are no messages")
