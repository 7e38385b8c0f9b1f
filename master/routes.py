"""What the master answers over HTTP."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from master import messages, tokens, view
from master.cluster import NotHeldError
from master.master import Master
from master.store import StoreLostError
from master.tokens import Tokens

PAGE = Path(__file__).parent / "dashboard"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/dashboard.css": ("dashboard.css", "text/css; charset=utf-8"),
    "/dashboard.js": ("dashboard.js", "text/javascript; charset=utf-8"),
}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
LOOK_S, REPEAT_S = 0.1, 0.5
"""Seconds between looks for events, which are sent at once, and after which the state is sent without one."""
MOST_READERS = 32
"""Pages that are open at once."""

Handler = Callable[[Request], Awaitable[Response]]


class Routes:
    def __init__(self, master: Master, admitted: Tokens) -> None:
        self._master, self._tokens = master, admitted
        self._readers = 0
        self._state, self._looked_at, self._looked_after = "", float("-inf"), 0
        pages = [
            *(Route(path, self._guarded(self._file)) for path in FILES),
            Route("/json", self._guarded(self._json)),
            Route("/events", self._guarded(self._stream)),
            Route("/metrics", self._guarded(self._metrics)),
            Route("/restore/{node}", self._guarded(self._restore), methods=["POST"]),
            Route("/healthz", self._health),
        ]
        faults: Any = {HTTPException: self._fault, StoreLostError: self._lost}
        self.app = Starlette(routes=pages, exception_handlers=faults)

    def _guarded(self, handler: Handler) -> Handler:
        """Wants a token where there is one."""

        async def guarded(request: Request) -> Response:
            try:
                request.state.nodes = self._tokens.nodes(
                    tokens.from_header(request.headers.get("authorization"))
                )
            except PermissionError as exc:
                challenge = 'Basic realm="failover master", charset="UTF-8"'
                return _error(401, str(exc), {"WWW-Authenticate": challenge})
            request.scope["peer"].deadline = None
            response = await handler(request)
            response.headers.update(HEADERS)
            return response

        return guarded

    async def _file(self, request: Request) -> Response:
        name, kind = FILES[request.url.path]
        return Response((PAGE / name).read_bytes(), media_type=kind)

    async def _json(self, _: Request) -> Response:
        self._check_reachable()
        return JSONResponse(await self._master.ask(lambda cluster, _: cluster.as_json()))

    async def _stream(self, _: Request) -> Response:
        self._check_reachable()
        if self._readers >= MOST_READERS:
            return _error(503, f"{MOST_READERS} pages are open already")
        return StreamingResponse(self._states(), media_type="text/event-stream")

    async def _states(self) -> AsyncIterator[bytes]:
        """Server-sent events: the state, and what was logged since the last one."""
        last_id, sent_at = 0, float("-inf")
        self._readers += 1
        self._looked_at = float("-inf")
        try:
            while not self._master.is_stopping:
                events = self._master.events.since(last_id)
                if events or time.monotonic() - sent_at >= REPEAT_S:
                    last_id, sent_at = events[-1]["id"] if events else last_id, time.monotonic()
                    yield f'event: state\ndata: {{{self._look(last_id)},"events":{json.dumps(events)}}}\n\n'.encode()
                await asyncio.sleep(LOOK_S)
        finally:
            self._readers -= 1

    def _look(self, last_id: int) -> str:
        """The state after that event, as the inside of a JSON object; one look serves every reader."""
        if time.monotonic() - self._looked_at >= LOOK_S or last_id > self._looked_after:
            cluster, self._looked_at, self._looked_after = self._master.cluster, time.monotonic(), last_id
            state = {
                "at": view.iso(time.time()),
                "nodes": view.nodes(cluster),
                "layout": view.layout(cluster),
                "decides": not self._master.is_lost,
            }
            self._state = json.dumps(state, separators=(",", ":"))[1:-1]
        return self._state

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._master.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _restore(self, request: Request) -> Response:
        self._check_reachable()
        try:
            node = messages.node_number(request.path_params["node"])
            if request.state.nodes is not None and node not in request.state.nodes:
                return _error(403, f"this token is bound to another node than {node}")
            by = await self._master.ask(lambda cluster, _: cluster.give_back(node))
        except messages.MessageError as exc:
            return _error(404, str(exc))
        except KeyError:
            return _error(404, f"node {node} is not known")
        except NotHeldError as exc:
            return _error(409, str(exc))
        return JSONResponse({"restore_node": node, "recovery_node": str(by)})

    async def _health(self, _: Request) -> Response:
        self._check_reachable()
        return JSONResponse({"status": "ok"})

    def _check_reachable(self) -> None:
        if self._master.is_lost:
            raise StoreLostError("Redis is out of reach; nothing is decided until it is back")

    async def _fault(self, _: Request, exc: Any) -> Response:
        return _error(exc.status_code, exc.detail, exc.headers)

    async def _lost(self, _: Request, exc: Exception) -> Response:
        return _error(503, str(exc))


def _error(code: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": text}, code, headers={**HEADERS, **(headers or {})})
