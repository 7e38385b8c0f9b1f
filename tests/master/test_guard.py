"""What the guard reads a query as, which is what Engine.IO behind it does, and whom the listener ends."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import socketio

from master.guard import Guard
from master.listener import Listener, Peer
from master.messages import Join
from master.sessions import MOST_UNJOINED, Sessions
from tests.lab.waiting import PATIENCE_S

ADDRESS = ("127.0.0.1", 1)


class Asked:
    """A guard before a Socket.IO server, and one connection to it."""

    def __init__(self) -> None:
        self.sio = socketio.AsyncServer(async_mode="asgi")
        self.sessions = Sessions(self.sio)
        listener = Listener(16)
        self.peer = listener._peers[ADDRESS] = Peer(ADDRESS, deadline=1.0)
        self._guard = Guard(self._app, listener, self.sessions, frozenset())
        self._engine = socketio.ASGIApp(self.sio)
        self.deadline_inside: float | None = None

    def fill(self) -> None:
        """As many sessions without a join as there may be."""
        self.sio.eio.sockets.update({f"session{number}": None for number in range(MOST_UNJOINED)})

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.deadline_inside = self.peer.deadline
        await self._engine(scope, receive, send)

    def status(self, query: str) -> int:
        """Of a GET of Engine.IO's polling."""
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "path": "/socket.io/",
            "query_string": query.encode(),
            "headers": [(b"host", b"localhost")],
            "client": ADDRESS,
        }
        asyncio.run(asyncio.wait_for(self._guard(scope, receive, send), 60))
        return int(sent[0]["status"])


@pytest.fixture
def asked() -> Asked:
    return Asked()


BLANK = ["", "&sid", "&sid=", "&sid=&sid="]
POLLING = "EIO=4&transport=polling"


@pytest.mark.parametrize("query", BLANK)
def test_a_session_that_is_not_named_is_a_new_one_and_bounded(asked: Asked, query: str) -> None:
    assert asked.status(POLLING + query) == 200
    asked.fill()
    before = len(asked.sio.eio.sockets)
    assert [asked.status(POLLING + query) for _ in range(20)] == [503] * 20
    assert len(asked.sio.eio.sockets) == before


@pytest.mark.parametrize("query", ["&sid=mine&sid=joined", "&sid=&sid=mine&sid=joined"])
def test_of_several_sessions_the_one_that_is_served_counts(asked: Asked, query: str) -> None:
    """Nobody has the bounds of a worker that has joined by naming its session behind another."""
    asked.sessions.begin("a", "joined", "127.0.0.1", None)
    session = asked.sessions.get("a")
    assert session
    session.join = Join(1, "host", (), "10.9.0.1", "255.255.255.0", None, None)
    asked.status(POLLING + query)
    assert asked.peer.session == "mine"
    assert asked.deadline_inside is not None
    asked.status(f"{POLLING}&sid=joined&sid=mine")
    assert asked.peer.session == "joined"
    assert asked.deadline_inside is None


@pytest.mark.parametrize(("query", "status"), [("&j=0", 400), ("&j=", 200), ("&j=&j=1", 400)])
def test_no_jsonp_however_it_is_asked_for(asked: Asked, query: str, status: int) -> None:
    assert asked.status(POLLING + query) == status


class Line:
    """A transport of which the peer leaves so many bytes unread."""

    def __init__(self, unread: int) -> None:
        self.unread = unread
        self.aborted = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.aborted.is_set()

    def abort(self) -> None:
        self.aborted.set()


def test_a_peer_that_reads_nothing_or_leaves_too_much_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("master.listener.UNREAD_S", 0.2)
    lines = [Line(1), Line(1), Line(1024 * 1024 + 1)]

    async def sweep() -> None:
        listener = Listener(16)
        for port, line in enumerate(lines):
            peer = listener._peers["127.0.0.1", port] = Peer(("127.0.0.1", port), None, transport=line)
            peer.sending_since = time.monotonic() if port == 1 else None
        sweeping = asyncio.create_task(listener._sweep())
        await lines[1].aborted.wait()
        sweeping.cancel()

    asyncio.run(asyncio.wait_for(sweep(), PATIENCE_S))
    assert [line.aborted.is_set() for line in lines] == [False, True, True]
