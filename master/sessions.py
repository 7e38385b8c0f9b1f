"""The Socket.IO connections of workers, and how long those are kept in which nobody joins."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import socketio
import socketio.packet

from master import messages
from master.listener import MOST_AT_ONCE

UNJOINED_S = 5.0
"""After which a session without a join ends."""
MOST_UNJOINED = 1024


@dataclass
class Session:
    engine: str
    """The Engine.IO session."""
    host: str
    nodes: frozenset[int] | None
    """The nodes that its token speaks for; None: every one without a token of its own."""
    join: messages.Join | None = None
    """The last that was accepted."""


class TextPacket(socketio.packet.Packet):  # type: ignore[misc]
    """Refuses packets that announce binary attachments, of which any number would be kept."""

    def decode(self, encoded_packet: Any) -> int:
        count = super().decode(encoded_packet)
        if self.packet_type in (socketio.packet.BINARY_EVENT, socketio.packet.BINARY_ACK):
            raise ValueError("binary packets are not accepted")
        return int(count)


class Sessions:
    def __init__(self, sio: socketio.AsyncServer) -> None:
        self._sio = sio
        self._by_sid: dict[str, Session] = {}

    def get(self, sid: str) -> Session | None:
        return self._by_sid.get(sid)

    def begin(self, sid: str, engine: str, host: str, nodes: frozenset[int] | None) -> bool:
        """False: this Engine.IO session has one already."""
        if any(session.engine == engine for session in self._by_sid.values()):
            return False
        self._by_sid[sid] = Session(engine, host, nodes)
        return True

    def end(self, sid: str) -> Session | None:
        return self._by_sid.pop(sid, None)

    def has_joined(self, engine: str) -> bool:
        return engine in self._joined()

    def has_room(self) -> bool:
        """Whether a new Engine.IO session by polling may begin; those by websocket are bounded as connections."""
        return len(self._sio.eio.sockets) - len(self._joined()) < MOST_UNJOINED

    def _joined(self) -> set[str]:
        return {session.engine for session in self._by_sid.values() if session.join}

    async def end_polling(self) -> None:
        """Answer the polls that are open, so that their workers look for another master at once."""
        sockets = self._sio.eio.sockets.items()
        polls = [session for session, one in sockets if not one.upgraded and not one.closed]
        ends = [asyncio.create_task(self._sio.eio.disconnect(session)) for session in polls]
        if ends:
            await asyncio.wait(ends, timeout=0.1)

    async def end_unjoined(self) -> None:
        """End the sessions in which nobody joins: a polling one is no connection that could be ended."""
        seen: dict[str, float] = {}
        while True:
            await asyncio.sleep(0.1)
            now, joined = time.monotonic(), self._joined()
            seen = {s: seen.get(s, now) for s in self._sio.eio.sockets if s not in joined}
            overdue = [session for session, since in seen.items() if now - since > UNJOINED_S][:MOST_AT_ONCE]
            # it would wait until the peer has fetched what is left for it
            ends = [asyncio.wait_for(self._sio.eio.disconnect(session), 0.2) for session in overdue]
            await asyncio.gather(*ends, return_exceptions=True)
            for session in overdue:
                self._sio.eio.sockets.pop(session, None)
