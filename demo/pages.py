"""What the bundled master answers over HTTP: how things stand, and giving an address back by hand."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterable
from typing import Any, Optional

from werkzeug.wrappers import Request, Response

from demo import messages
from demo.cluster import NotHeldError
from demo.store import Decision, StoreLostError


class Pages:
    """A WSGI application."""

    def __init__(self, token: Optional[str], ask: Callable[[Decision], Any]) -> None:
        """`token`: what whoever changes something must show; None: nothing. `ask` has something decided, and returns
        or raises what became of it.
        """
        self._token, self._ask = token, ask

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        try:
            status, answer = self._answer(request)
        except StoreLostError as exc:
            status, answer = 503, {"error": str(exc)}
        response = Response(json.dumps(answer, indent=1) + "\n", status, mimetype="application/json")
        if status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response(environ, start_response)

    def _answer(self, request: Request) -> tuple[int, object]:
        """GET /json: who is alive and who holds what. POST /restore/N: have N's address given back."""
        if request.path == "/json":
            if request.method not in ("GET", "HEAD"):
                return 405, {"error": "GET it"}
            return 200, self._ask(lambda cluster, _: cluster.as_json())
        if not request.path.startswith("/restore/"):
            return 404, {"error": "there are /json and /restore/NODE_ID"}
        if request.method != "POST":
            return 405, {"error": "POST it"}
        if self._token and not same(request.headers.get("Authorization"), f"Bearer {self._token}"):
            return 401, {"error": "the header Authorization: Bearer TOKEN is wrong or missing"}
        if request.headers.get("Origin") not in (None, request.host_url.rstrip("/")):
            return 403, {"error": "another site's page may not do this"}
        try:
            node = messages.node_number(request.path[len("/restore/") :])
            by = self._ask(lambda cluster, _: cluster.give_back(node))
        except messages.MessageError as exc:
            return 404, {"error": str(exc)}
        except KeyError:
            return 404, {"error": f"node {node} is not known"}
        except NotHeldError as exc:
            return 409, {"error": str(exc)}
        return 200, {"restore_node": node, "recovery_node": str(by)}


def same(shown: object, secret: str) -> bool:
    """Compared in a time that does not tell how much of it is right."""
    return isinstance(shown, str) and hmac.compare_digest(shown.encode("utf-8", "replace"), secret.encode())
