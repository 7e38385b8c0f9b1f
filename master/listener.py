"""Accepts TCP connections, bounds them, and ends those that are slow, silent or unread.

A connection is pending until its peer has proved to be somebody: a worker by its join, a request by its token (where one
is needed). Pending ones end after PENDING_S, and where there are too many the oldest ends, so that a flood displaces
itself and a worker's handshake, which takes milliseconds, still gets through. Admitted ones are never displaced.
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from master.logs import warn_limited
from master.rates import Rates

PENDING_S = 4.5
SWEEP_S = 0.05
MOST_AT_ONCE = 25
"""That are ended in one sweep: each costs a millisecond, in which nothing is decided."""
MOST_PENDING, MOST_PENDING_OF_ADDRESS = 512, 450
MOST_OF_ADDRESS = 640
CONNECTIONS_PER_S, CONNECTIONS_AT_ONCE = 100.0, 450.0
"""New ones of an address."""
UNREAD_S = 10.0
"""For which a peer may leave what was sent to it unread."""
UNREAD_BYTES = 1024 * 1024

Address = tuple[str, int]


@dataclass
class Peer:
    address: Address
    deadline: float | None
    """When it ends; None: it is admitted."""
    task: asyncio.Task[None] | None = None
    transport: asyncio.Transport | None = None
    session: str | None = None
    """The Engine.IO session that it last spoke for."""
    sending_since: float | None = None
    """Since when it has taken nothing of what is sent to it."""

    def suspend(self) -> None:
        """Its request is answered: where that was admitted, it has PENDING_S for the next one."""
        if self.deadline is None:
            self.deadline = time.monotonic() + PENDING_S

    def abort(self) -> None:
        if self.transport:
            self.transport.abort()
        elif self.task:
            self.task.cancel()


class Listener:
    def __init__(self, limit: int) -> None:
        """`limit`: connections in all."""
        self._limit = limit
        self._peers: dict[Address, Peer] = {}
        self._new = Rates(CONNECTIONS_PER_S, CONNECTIONS_AT_ONCE)

    def __len__(self) -> int:
        return len(self._peers)

    def get(self, address: Address | None) -> Peer | None:
        return self._peers.get(address) if address else None

    def admit_session(self, session: str) -> None:
        """All connections that speak for this Engine.IO session."""
        for peer in self._peers.values():
            if peer.session == session:
                peer.deadline = None

    async def serve(
        self, listener: socket.socket, factory: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None
    ) -> None:
        loop = asyncio.get_running_loop()
        sweeper = loop.create_task(self._sweep())

        async def establish(peer: Peer, connection: socket.socket) -> None:
            try:
                peer.transport, _ = await loop.connect_accepted_socket(
                    factory, connection, ssl=tls, ssl_handshake_timeout=PENDING_S if tls else None
                )
            except (OSError, asyncio.CancelledError):
                connection.close()
                self._forget(peer)

        try:
            while True:
                try:
                    connection, (host, port, *_) = await loop.sock_accept(listener)
                except OSError as exc:  # no descriptor is left, or the peer is gone already
                    warn_limited("accept_failed", error=str(exc))
                    self._end_oldest()
                    await asyncio.sleep(0.05)
                    continue
                if self._has_room_for(host):
                    peer = self._peers[host, port] = Peer((host, port), time.monotonic() + PENDING_S)
                    peer.task = loop.create_task(establish(peer, connection))
                else:
                    connection.close()
                await asyncio.sleep(0)  # a queue of connections must not hold up the decisions
        finally:
            sweeper.cancel()

    def _has_room_for(self, host: str) -> bool:
        """Whether one more may be opened; ends the oldest pending one where that makes room."""
        if not self._new.take(host):
            warn_limited("bound_reached", "new", bound="new connections a second", address=host)
            return False
        if len(self._pending(host)) >= MOST_PENDING_OF_ADDRESS:
            warn_limited("bound_reached", "pending_of_address", bound="pending of an address", address=host)
            self._end_oldest(host)
        elif len(self._pending()) >= MOST_PENDING:
            warn_limited("bound_reached", "pending", bound="pending in all", count=MOST_PENDING)
            self._end_oldest()
        of_host = sum(address[0] == host for address in self._peers)
        if len(self) < self._limit and of_host < MOST_OF_ADDRESS:
            return True
        warn_limited("bound_reached", "connections", bound="connections", count=len(self), address=host)
        return self._end_oldest(host if of_host >= MOST_OF_ADDRESS else None)

    def end_pending(self) -> None:
        for peer in self._pending():
            peer.abort()

    def _pending(self, host: str | None = None) -> list[Peer]:
        """Those that are not admitted; of this address, or all."""
        return [p for p in self._peers.values() if p.deadline is not None and host in (None, p.address[0])]

    def _end_oldest(self, host: str | None = None) -> bool:
        """Make room for one more. False: none is pending."""
        oldest = min(self._pending(host), key=lambda peer: peer.deadline or 0.0, default=None)
        if oldest:
            self._end(oldest)
        return oldest is not None

    def _end(self, peer: Peer) -> None:
        peer.abort()
        self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        if self._peers.get(peer.address) is peer:
            del self._peers[peer.address]

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            for peer in [p for p in self._peers.values() if p.transport and p.transport.is_closing()]:
                self._forget(peer)
            now = time.monotonic()
            overdue = [p for p in self._pending() if p.deadline is not None and now > p.deadline]
            for peer in overdue[:MOST_AT_ONCE]:
                self._end(peer)
            for peer in self._peers.values():
                unsent = peer.transport.get_write_buffer_size() if peer.transport else 0
                if unsent > UNREAD_BYTES or now - (peer.sending_since or now) > UNREAD_S:
                    warn_limited(
                        "bound_reached", "unread", bound="unread by the peer", address=peer.address[0]
                    )
                    with contextlib.suppress(OSError):
                        peer.abort()
