"""What every request passes before it is handled: bounds and refusals that do not depend on what it asks for."""

import ipaddress
import json
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from master.listener import Bucket, Listener, Peer, Rates
from master.logs import Limited

MESSAGE_LIMIT = 64 * 1024
"""Bytes of a message or a request's body."""
MESSAGES_PER_S, MESSAGES_AT_ONCE = 100.0, 300.0
"""On a websocket in which a worker has joined."""
UNJOINED_PER_S, UNJOINED_AT_ONCE = 5.0, 20.0
"""Messages on one in which nobody has joined."""
REQUESTS_PER_S, REQUESTS_AT_ONCE = 100.0, 200.0
"""Of an address, without those of workers that have joined."""

_OWN_PORTS = (("http", 80), ("ws", 80), ("https", 443), ("wss", 443))

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Sessions(Protocol):
    def has_joined(self, session: str) -> bool:
        """Whether a worker has joined in this Engine.IO session."""

    def has_room(self) -> bool:
        """Whether a new Engine.IO session by polling may begin; those by websocket are bounded as connections."""


class Guard:
    """An ASGI application around another."""

    def __init__(
        self, app: App, listener: Listener, sessions: Sessions, hosts: frozenset[str], limited: Limited
    ) -> None:
        """`hosts`: the names by which the master may be asked, besides localhost, this machine's and IP addresses."""
        self._app, self._listener, self._sessions, self._limited = app, listener, sessions, limited
        self._hosts = hosts | {"localhost", socket.gethostname().lower(), socket.getfqdn().lower()}
        self._requests = Rates(REQUESTS_PER_S, REQUESTS_AT_ONCE)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        peer = self._listener.get(tuple(scope["client"]) if scope["client"] else None)
        if peer is None:
            await _refuse(scope, send, 503, "this connection is just being ended")
            return
        headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
        query = parse_qs(scope["query_string"].decode("latin-1"))
        peer.session = query.get("sid", [None])[0]
        has_joined = peer.session is not None and self._sessions.has_joined(peer.session)
        refusal = self._refusal(scope, headers, query, peer, has_joined)
        if refusal:
            await _refuse(scope, send, *refusal)
            return
        if has_joined:
            self._listener.admit(peer)
        if scope["type"] == "websocket":
            await self._app(scope, self._paced(receive, peer), self._watched(send, peer))
            return
        scope["admit"] = lambda: self._listener.admit(peer)
        try:
            await self._app(scope, receive, self._watched(send, peer))
        finally:
            self._listener.suspend(peer)

    def _refusal(
        self,
        scope: Message,
        headers: dict[bytes, str],
        query: dict[str, list[str]],
        peer: Peer,
        has_joined: bool,
    ) -> tuple[int, str] | None:
        host = headers.get(b"host", "")
        if not self._is_known(host):
            self._limited.warn(
                "host_refused", host=host[:100], address=peer.address[0], hint="see --allowed-hosts"
            )
            return 421, "this master is not known by that name; see its --allowed-hosts"
        origin = headers.get(b"origin")
        if origin is not None and not _is_same(origin, f"{scope['scheme']}://{host}", scope["path"]):
            return 403, "another site's page may not do this"
        if b"transfer-encoding" in headers:  # its chunks may have one byte each
            return 411, "the length of a body must be known; send Content-Length"
        if (
            len(headers.get(b"content-length", "")) > 9
            or int(headers.get(b"content-length") or 0) > MESSAGE_LIMIT
        ):
            return 413, f"a body has at most {MESSAGE_LIMIT} bytes"
        if not has_joined and scope["type"] == "http" and not self._requests.take(peer.address[0]):
            self._limited.warn(
                "bound_reached", "requests", bound="requests of an address", address=peer.address[0]
            )
            return 429, "too many requests"
        if scope["path"].startswith("/socket.io"):
            if "j" in query:
                return 400, "there is no JSONP"
            if scope["type"] == "http" and peer.session is None and not self._sessions.has_room():
                self._limited.warn("bound_reached", "sessions", bound="sessions without a join")
                return 503, "too many sessions"
        return None

    def _is_known(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name = parts.hostname or ""
        except ValueError:
            return False
        if parts.netloc != host or "@" in host:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.rstrip(".") in self._hosts
        return True

    def _paced(self, receive: Receive, peer: Peer) -> Receive:
        """Ends a websocket that sends too much; binary messages, which no worker sends, are too much."""
        joined = Bucket(MESSAGES_PER_S, MESSAGES_AT_ONCE)
        unjoined = Bucket(UNJOINED_PER_S, UNJOINED_AT_ONCE)

        async def paced() -> Message:
            message = await receive()
            bucket = unjoined if peer.deadline else joined
            if message["type"] == "websocket.receive" and (message.get("text") is None or not bucket.take()):
                self._limited.warn(
                    "bound_reached", "messages", bound="messages a second", address=peer.address[0]
                )
                peer.abort()
                return {"type": "websocket.disconnect", "code": 1008}
            return message

        return paced

    def _watched(self, send: Send, peer: Peer) -> Send:
        async def watched(message: Message) -> None:
            peer.sending_since = time.monotonic()
            await send(message)
            peer.sending_since = None

        return watched


def _is_same(origin: str, asked: str, path: str) -> bool:
    """Whether a page of `origin` may ask. A worker's library sends one too, with a proxy's port where there is one."""
    ours, theirs = _netloc(asked), _netloc(origin)
    return ours == theirs or (path.startswith("/socket.io") and ours[0] is not None and ours[0] == theirs[0])


def _netloc(url: str) -> tuple[str | None, int | None]:
    """Host and port, without a port that is its scheme's own."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None, None
    return parts.hostname, None if (parts.scheme, port) in _OWN_PORTS else port


async def _refuse(scope: Message, send: Send, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers.append((b"connection", b"close"))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
