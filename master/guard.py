"""What every request passes before it is handled: bounds and refusals that do not depend on what it asks for."""

import ipaddress
import socket
import time
from urllib.parse import parse_qs, urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from master.listener import Listener, Peer
from master.logs import warn_limited
from master.rates import Bucket, Rates
from master.sessions import Sessions

MESSAGE_LIMIT = 64 * 1024
"""Bytes of a message or a request's body."""
MESSAGES_PER_S, MESSAGES_AT_ONCE = 100.0, 300.0
"""On a websocket in which a worker has joined."""
UNJOINED_PER_S, UNJOINED_AT_ONCE = 5.0, 20.0
"""Messages on one in which nobody has joined."""
REQUESTS_PER_S, REQUESTS_AT_ONCE = 100.0, 200.0
"""Of an address, without those of workers that have joined."""


class Guard:
    def __init__(self, app: ASGIApp, listener: Listener, sessions: Sessions, hosts: frozenset[str]) -> None:
        """`hosts`: the names by which the master may be asked, besides localhost, this machine's and IP addresses."""
        self._app, self._listener, self._sessions = app, listener, sessions
        self._hosts = hosts | {"localhost", socket.gethostname().lower(), socket.getfqdn().lower()}
        self._requests = Rates(REQUESTS_PER_S, REQUESTS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = HTTPConnection(scope)
        peer = self._listener.get(asked.client)
        if peer is None:
            await _refuse(503, "this connection is just being ended")(scope, receive, send)
            return
        # Read as Engine.IO does, which drops blank values and takes the first of several. Starlette's query_params
        # keep blanks and take the last: a request that begins a session could pass as one of a session that exists.
        query = parse_qs(scope["query_string"].decode())
        peer.session = query["sid"][0] if "sid" in query else None
        has_joined = peer.session is not None and self._sessions.has_joined(peer.session)
        refusal = self._refusal(asked, peer, has_joined, is_jsonp="j" in query)
        if refusal:
            await refusal(scope, receive, send)
            return
        if has_joined:
            peer.deadline = None
        if scope["type"] == "websocket":
            await self._app(scope, self._paced(receive, peer), self._watched(send, peer))
            return
        scope["peer"] = peer
        try:
            await self._app(scope, receive, self._watched(send, peer))
        finally:
            peer.suspend()

    def _refusal(
        self, asked: HTTPConnection, peer: Peer, has_joined: bool, is_jsonp: bool
    ) -> Response | None:
        host, origin, address = asked.headers.get("host", ""), asked.headers.get("origin"), peer.address[0]
        if not self._is_known(host):
            warn_limited("host_refused", host=host[:100], address=address, hint="see --allowed-hosts")
            return _refuse(421, "this master is not known by that name; see its --allowed-hosts")
        path, is_request = asked.scope["path"], asked.scope["type"] == "http"
        if origin is not None and not _is_same(origin, host, path):
            return _refuse(403, "another site's page may not do this")
        if "transfer-encoding" in asked.headers:  # its chunks may have one byte each
            return _refuse(411, "the length of a body must be known; send Content-Length")
        length = asked.headers.get("content-length") or "0"
        if len(length) > 9 or int(length) > MESSAGE_LIMIT:
            return _refuse(413, f"a body has at most {MESSAGE_LIMIT} bytes")
        if not has_joined and is_request and not self._requests.take(address):
            warn_limited("bound_reached", "requests", bound="requests of an address", address=address)
            return _refuse(429, "too many requests")
        if path.startswith("/socket.io"):
            if is_jsonp:
                return _refuse(400, "there is no JSONP")
            if is_request and peer.session is None and not self._sessions.has_room():
                warn_limited("bound_reached", "sessions", bound="sessions without a join")
                return _refuse(503, "too many sessions")
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
                warn_limited("bound_reached", "messages", bound="messages a second", address=peer.address[0])
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


def _is_same(origin: str, host: str, path: str) -> bool:
    """Whether a page of `origin` may ask. A worker's library sends one too, with a proxy's port where there is one."""
    try:
        theirs, ours = urlsplit(origin), urlsplit(f"//{host}")
    except ValueError:
        return False
    same_host = theirs.hostname == ours.hostname
    return same_host and (path.startswith("/socket.io") or theirs.netloc.lower() == host.lower())


def _refuse(status: int, reason: str) -> Response:
    return JSONResponse({"error": reason}, status, {"connection": "close"})
