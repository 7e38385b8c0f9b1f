"""The bundled master: `python -m demo.master`. This file is the wire; the decisions are cluster.py's.

Socket.IO handlers run on their connection's own thread. They check what came and put a call into the inbox, nothing
else; the main thread takes the calls one by one, so the cluster needs no lock, and it alone sends orders, so that they
leave in the order in which they were decided. HTTP requests take the same way and wait for their answer.
"""

from __future__ import annotations

import argparse
import hmac
import ipaddress
import json
import logging
import math
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Optional

import engineio.exceptions
import socketio
import socketio.exceptions
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from demo import messages
from demo.cluster import Cluster, NotHeldError

LOG = logging.getLogger("demo.master")

TICK_S = 0.05
"""The main thread wakes at least this often, so that a gap in its own time shows."""
ENGINEIO_PING_S, ENGINEIO_TIMEOUT_S = 25, 20
"""Whole seconds: python-engineio rounds a fraction down when it tells the client."""
MESSAGE_LIMIT = 128 * 1024
"""Bytes of a message from a worker; a refused order may come back with up to 64 KiB."""
REPLY_TIMEOUT_S = 5.0


class Master:
    def __init__(self, token: Optional[str], dead_after: float, order_timeout: float) -> None:
        """`token`: what workers must show; None: nothing. `dead_after`, `order_timeout`: seconds."""
        self._token = token
        # A gap in the main loop's time longer than this was a freeze; less is a busy machine.
        self._frozen_after = max(2 * TICK_S, dead_after / 10)
        self._inbox: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._stopping = False
        self._cluster = Cluster(self._send, dead_after, order_timeout, time.monotonic())
        # Handlers run where they are read (async_handlers=False), in the order of arrival.
        self._sio = socketio.Server(
            async_mode="threading",
            async_handlers=False,
            ping_interval=ENGINEIO_PING_S,
            ping_timeout=ENGINEIO_TIMEOUT_S,
            max_http_buffer_size=MESSAGE_LIMIT,
            logger=logging.getLogger("socketio.server"),
            engineio_logger=logging.getLogger("engineio.server"),
        )
        self._sio.on("connect", self._on_connect)
        self._sio.on("disconnect", self._on_disconnect)
        self._on("join", messages.join, self._cluster.joined)
        self._on("update node", messages.recover_answer, self._cluster.answered_recover)
        self._on("restore node", messages.restore_answer, self._cluster.answered_restore)
        self._sio.on("ping", self._on_ping)
        self._sio.on("*", self._on_unknown)
        self.app = socketio.WSGIApp(self._sio, self._http)

    def run(self) -> None:
        """Take calls and do what is due, until `stop`."""
        before = time.monotonic()
        while not self._stopping:
            wait = min(self._cluster.next_due() - time.monotonic(), TICK_S)
            calls: list[Callable[[], object]] = []
            try:
                calls.append(self._inbox.get(timeout=max(wait, 0)))
            except queue.Empty:
                pass
            now = time.monotonic()
            if now - before > self._frozen_after:
                LOG.warning("resumed: this master stood still for %.2f s", now - before)
                self._cluster.resumed(now)
            before = now
            # What waits already goes before the deadlines: a ping may be among it.
            calls += [self._inbox.get() for _ in range(self._inbox.qsize())]
            calls.append(lambda: self._cluster.tick(time.monotonic()))
            for call in calls:
                try:
                    call()
                except Exception:  # the top: a fault in one decision must not end the master
                    LOG.exception("fault")

    def stop(self) -> None:
        """May be called from a signal handler."""
        self._stopping = True
        self._inbox.put(lambda: None)

    def _on(
        self, event: str, parse: Callable[[object], Any], handle: Callable[[str, Any, float], None]
    ) -> None:
        def handler(sid: str, *data: object) -> None:
            try:
                message = parse(data[0] if data else None)
            except messages.MessageError as exc:
                LOG.warning("ignored event=%r sid=%s: %s", event, sid, exc)
            else:
                self._inbox.put(lambda: handle(sid, message, time.monotonic()))

        self._sio.on(event, handler)

    def _on_connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        if self._token is None:
            return
        shown = auth.get("token") if isinstance(auth, dict) else None
        if not _same(shown, self._token):
            LOG.warning("refused sid=%s from=%s: wrong or missing token", sid, environ.get("REMOTE_ADDR"))
            raise socketio.exceptions.ConnectionRefusedError(
                "the token is wrong or missing: see MASTER_TOKEN"
            )

    def _on_disconnect(self, sid: str, reason: str) -> None:
        LOG.info("closed sid=%s reason=%r", sid, reason)
        self._inbox.put(lambda: self._cluster.left(sid, time.monotonic()))

    def _on_ping(self, sid: str, *_: object) -> None:
        """What it carries is of no interest. Returning nothing acknowledges with an empty list."""
        self._inbox.put(lambda: self._cluster.pinged(sid, time.monotonic()))

    def _on_unknown(self, event: str, sid: str, *_: object) -> None:
        LOG.warning("ignored event=%.100r sid=%s: no such event", event, sid)

    def _send(self, sid: str, event: str, data: dict[str, Any]) -> None:
        try:
            self._sio.emit(event, data, to=sid)
        except engineio.exceptions.SocketIsClosedError:
            LOG.warning("not_sent event=%r sid=%s: its connection is just closing", event, sid)

    def _http(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        status, answer = self._answer(request)
        response = Response(json.dumps(answer, indent=1) + "\n", status, mimetype="application/json")
        if status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response(environ, start_response)

    def _answer(self, request: Request) -> tuple[int, object]:
        """GET /json: who is alive and who holds what. POST /restore/N: have N's address given back."""
        if request.path == "/json":
            if request.method not in ("GET", "HEAD"):
                return 405, {"error": "GET it"}
            return 200, self._ask(self._cluster.as_json)
        if not request.path.startswith("/restore/"):
            return 404, {"error": "there are /json and /restore/NODE_ID"}
        if request.method != "POST":
            return 405, {"error": "POST it"}
        if self._token and not _same(request.headers.get("Authorization"), f"Bearer {self._token}"):
            return 401, {"error": "the header Authorization: Bearer TOKEN is wrong or missing"}
        if request.headers.get("Origin") not in (None, request.host_url.rstrip("/")):
            return 403, {"error": "another site's page may not do this"}
        try:
            node = messages.node_number(request.path[len("/restore/") :])
            by = self._ask(lambda: self._cluster.give_back(node))
        except messages.MessageError as exc:
            return 404, {"error": str(exc)}
        except KeyError:
            return 404, {"error": f"node {node} is not known"}
        except NotHeldError as exc:
            return 409, {"error": str(exc)}
        return 200, {"restore_node": node, "recovery_node": str(by)}

    def _ask(self, call: Callable[[], Any]) -> Any:
        """The result of `call`, made by the main thread; what it raises is raised here."""
        replies: queue.SimpleQueue[tuple[Any, Optional[Exception]]] = queue.SimpleQueue()

        def reply() -> None:
            try:
                replies.put((call(), None))
            except (KeyError, NotHeldError) as exc:
                replies.put((None, exc))

        self._inbox.put(reply)
        result, error = replies.get(timeout=REPLY_TIMEOUT_S)
        if error:
            raise error
        return result


class RequestHandler(WSGIRequestHandler):
    # An order must not wait for the acknowledgement of the packet before it (RFC 896).
    disable_nagle_algorithm = True

    def connection_dropped(self, *_: object) -> None:
        """A WebSocket is over; what still comes on it is no next request."""
        self.close_connection = True


class OneLine(logging.Formatter):
    """`[TIMESTAMP] : [LEVEL] - [MESSAGE]`, tracebacks and control characters included."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        zone = time.strftime("%z", time.localtime(record.created))
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in super().format(record))
        return f"[{when}.{int(record.msecs):03d}{zone}] : [{record.levelname}] - [{text}]"


def _same(shown: object, secret: str) -> bool:
    """Compared in a time that does not tell how much of it is right."""
    return isinstance(shown, str) and hmac.compare_digest(shown.encode("utf-8", "replace"), secret.encode())


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.02 <= value <= 86400:  # nan is not either
        raise argparse.ArgumentTypeError(f"{text!r} is not from 0.02 to 86400 seconds")
    return value


def _port(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 0 to 65535")
    return value


def _token(text: str) -> str:
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError("it is empty or holds a character that cannot be shown")
    return text


def _arguments(arguments: Optional[list[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m demo.master", description="A master for demos, tests and a first cluster."
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=5000, help="0: a free one (default: %(default)s)")
    parser.add_argument(
        "--token", type=_token, help="what workers must show as MASTER_TOKEN (default: nothing)"
    )
    parser.add_argument(
        "--dead-after",
        type=_seconds,
        default=5,
        metavar="S",
        help="a node silent for S seconds is dead (default: 5)",
    )
    parser.add_argument(
        "--order-timeout", type=_seconds, default=40, metavar="S",
        help="a neighbour may take S seconds to answer an order; more than the workers' CONFLICT_WAIT (default: 40)",
    )  # fmt: skip
    return parser.parse_args(arguments)


def _listen(host: str, port: int) -> socket.socket:
    """Raises OSError with a text for people."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as exc:
        raise OSError(
            f"cannot listen on {host} port {port}: {exc.strerror or exc}; choose another --port or --host"
        ) from exc


def main(arguments: Optional[list[str]] = None) -> int:
    options = _arguments(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    logging.basicConfig(handlers=[handler], level=logging.ERROR)
    LOG.setLevel(logging.INFO)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would log each request
    try:
        listener = _listen(options.host, options.port)
    except OSError as exc:
        print(exc, file=sys.stderr)
        return 1
    host, port = listener.getsockname()[:2]
    if options.token is None and not ipaddress.ip_address(host).is_loopback:
        LOG.warning("open host=%s: anybody who reaches it can join and give orders; use --token", host)
    master = Master(options.token, options.dead_after, options.order_timeout)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: master.stop())
    server: BaseWSGIServer = make_server(
        host, port, master.app, threaded=True, request_handler=RequestHandler, fd=listener.fileno()
    )
    listener.close()  # the server works on a copy
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    shown = f"[{host}]" if ":" in host else host
    print(f"listening on http://{shown}:{port}", flush=True)
    master.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
