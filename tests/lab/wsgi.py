"""The request handler of masters that are timed."""

from __future__ import annotations

from werkzeug.serving import WSGIRequestHandler


class RequestHandler(WSGIRequestHandler):
    """Sends each packet at once, without waiting for the acknowledgement of the one before (RFC 896)."""

    disable_nagle_algorithm = True

    def connection_dropped(self, *_: object) -> None:
        """A websocket is over: what still comes on its connection is not a request."""
        self.close_connection = True
