"""The bundled master: `python -m demo.master`. This file is the wire; the decisions are cluster.py's.

Socket.IO handlers run on their connection's own thread. They check what came and put a call into the inbox, nothing
else; the main thread takes the calls one by one, so the cluster needs no lock, and it alone sends orders, so that they
leave in the order in which they were decided. HTTP requests take the same way and wait for their answer.
"""

from __future__ import annotations

import ipaddress
import logging
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Optional

import engineio.exceptions
import socketio
import socketio.exceptions
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from demo import messages, options
from demo.cluster import Cluster, NotHeldError, Send
from demo.pages import Pages, same
from demo.store import Decision, Memory, Store, StoreLostError

LOG = logging.getLogger("demo.master")

TICK_S = 0.05
"""The main thread wakes at least this often, so that a gap in its own time shows."""
ENGINEIO_PING_S, ENGINEIO_TIMEOUT_S = 25, 20
"""Whole seconds: python-engineio rounds a fraction down when it tells the client."""
MESSAGE_LIMIT = 128 * 1024
"""Bytes of a message from a worker; a refused order may come back with up to 64 KiB."""
REPLY_TIMEOUT_S = 5.0
LONGEST_INBOX = 10_000
"""Calls that wait while the state is out of reach; what comes then is dropped, and the log says so."""
RETRY_S = 0.2
"""Between tries to reach the state."""


class Call:
    """What is to be decided; `answer` is called with what it returned and what it raised instead."""

    def __init__(
        self, decide: Decision, answer: Optional[Callable[[Any, Optional[Exception]], None]] = None
    ) -> None:
        self.decide, self.answer = decide, answer


class Master:
    def __init__(
        self, token: Optional[str], dead_after: float, order_timeout: float, redis_url: Optional[str]
    ) -> None:
        """`token`: what workers must show; None: nothing. `dead_after`, `order_timeout`: seconds. `redis_url`: where
        the state is kept; None: here. Raises StoreLostError where it cannot be.
        """
        self._token = token
        # A gap in the main loop's time longer than this was a freeze; less is a busy machine.
        self._frozen_after = max(2 * TICK_S, dead_after / 10)
        self._inbox: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._stopping = False
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
        self._on("join", messages.join, Cluster.joined)
        self._on("update node", messages.recover_answer, Cluster.answered_recover)
        self._on("restore node", messages.restore_answer, Cluster.answered_restore)
        self._sio.on("ping", self._on_ping)
        self._sio.on("*", self._on_unknown)
        self.app = socketio.WSGIApp(self._sio, Pages(token, self._ask))
        self._store: Store = _store(redis_url, self._send, dead_after, order_timeout)

    def run(self) -> None:
        """Take calls and do what is due, until `stop`."""
        calls: list[Call] = []
        lost_at: Optional[float] = None
        before = time.monotonic()
        while not self._stopping:
            # after a failure time must pass, whether or not something comes
            wait = min(self._store.next_due() - time.monotonic(), TICK_S) if lost_at is None else RETRY_S
            calls += self._take(max(wait, 0), LONGEST_INBOX - len(calls))
            now = time.monotonic()
            if now - before > self._frozen_after:
                LOG.warning("resumed: this master stood still for %.2f s", now - before)
                calls.insert(0, Call(Cluster.resumed))
            if calls or now >= self._store.next_due():
                try:
                    self._turn(calls)
                except StoreLostError as exc:
                    if lost_at is None:
                        LOG.error("state_lost: %s; nothing is decided until it is back", exc)
                        lost_at = now
                else:
                    calls = []
                    if lost_at is not None:
                        LOG.warning("state_back after_s=%.1f", time.monotonic() - lost_at)
                        lost_at = None
            before = time.monotonic()  # waiting for the state is no freeze
        self._store.close()

    def _take(self, wait: float, most: int) -> list[Call]:
        """What has come, or comes first within `wait` seconds, and what waits already then: it goes before the
        deadlines, since a ping may be among it.
        """
        if most <= 0:
            time.sleep(wait)
            return []
        try:
            first = self._inbox.get(timeout=wait)
        except queue.Empty:
            return []
        return [first, *(self._inbox.get() for _ in range(min(self._inbox.qsize(), most - 1)))]

    def _turn(self, calls: list[Call]) -> None:
        outcomes = self._store.turn([call.decide for call in calls])
        for call, (result, error) in zip([*calls, Call(Cluster.tick)], outcomes):
            if call.answer:
                call.answer(result, error)
            if error and not (call.answer and isinstance(error, (KeyError, NotHeldError))):
                LOG.error("fault", exc_info=error)  # of one decision, which must not end the master

    def stop(self) -> None:
        """May be called from a signal handler."""
        self._stopping = True
        self._inbox.put(Call(_nothing))

    def _call(self, decide: Decision) -> None:
        if self._inbox.qsize() < LONGEST_INBOX:
            self._inbox.put(Call(decide))
        else:
            LOG.warning("dropped: %d calls wait for the state already", LONGEST_INBOX)

    def _on(
        self, event: str, parse: Callable[[object], Any], handle: Callable[[Cluster, str, Any, float], None]
    ) -> None:
        def handler(sid: str, *data: object) -> None:
            try:
                message = parse(data[0] if data else None)
            except messages.MessageError as exc:
                LOG.warning("ignored event=%r sid=%s: %s", event, sid, exc)
            else:
                address = self._store.address(sid)
                self._call(lambda cluster, now: handle(cluster, address, message, now))

        self._sio.on(event, handler)

    def _on_connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        if self._token is None:
            return
        shown = auth.get("token") if isinstance(auth, dict) else None
        if not same(shown, self._token):
            LOG.warning("refused sid=%s from=%s: wrong or missing token", sid, environ.get("REMOTE_ADDR"))
            raise socketio.exceptions.ConnectionRefusedError(
                "the token is wrong or missing: see MASTER_TOKEN"
            )

    def _on_disconnect(self, sid: str, reason: str) -> None:
        LOG.info("closed sid=%s reason=%r", sid, reason)
        address = self._store.address(sid)
        self._call(lambda cluster, now: cluster.left(address, now))

    def _on_ping(self, sid: str, *_: object) -> None:
        """What it carries is of no interest. Returning nothing acknowledges with an empty list."""
        if not self._store.heard(sid):
            address = self._store.address(sid)
            self._call(lambda cluster, now: cluster.pinged(address, now))

    def _on_unknown(self, event: str, sid: str, *_: object) -> None:
        LOG.warning("ignored event=%.100r sid=%s: no such event", event, sid)

    def _send(self, sid: str, event: str, data: dict[str, Any]) -> None:
        try:
            self._sio.emit(event, data, to=sid)
        except engineio.exceptions.SocketIsClosedError:
            LOG.warning("not_sent event=%r sid=%s: its connection is just closing", event, sid)

    def _ask(self, decide: Decision) -> Any:
        """The result of `decide`, made by the main thread; what it raises is raised here.

        Raises StoreLostError when there is none in time.
        """
        replies: queue.SimpleQueue[tuple[Any, Optional[Exception]]] = queue.SimpleQueue()
        call = Call(decide, lambda result, error: replies.put((result, error)))
        self._inbox.put(call)
        try:
            result, error = replies.get(timeout=REPLY_TIMEOUT_S)
        except queue.Empty:
            call.decide = _nothing  # nobody waits for it any more
            raise StoreLostError(f"no answer in {REPLY_TIMEOUT_S:g} s; the master's log says why") from None
        if error:
            raise error
        return result


def _store(redis_url: Optional[str], send: Send, dead_after: float, order_timeout: float) -> Store:
    """Raises StoreLostError."""
    if redis_url is None:
        return Memory(send, dead_after, order_timeout)
    try:
        from demo.shared import Shared
    except ImportError as exc:
        raise StoreLostError(
            f"--redis needs Redis's Python client ({exc}): {sys.executable} -m pip install redis"
        ) from exc
    try:
        return Shared(redis_url, send, dead_after, order_timeout)
    except StoreLostError as exc:
        raise StoreLostError(f"--redis: {exc}; start Redis there, or mend the URL") from exc


def _nothing(_cluster: Cluster, _now: float) -> None:
    pass


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


def _listen(host: str, port: int) -> socket.socket:
    """Raises OSError with a text for people."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as exc:
        raise OSError(
            f"cannot listen on {host} port {port}: {exc.strerror or exc}; choose another --port or --host"
        ) from exc


def main(arguments: Optional[list[str]] = None) -> int:
    chosen = options.parse(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    logging.basicConfig(handlers=[handler], level=logging.ERROR)
    LOG.setLevel(logging.INFO)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would log each request
    try:
        listener = _listen(chosen.host, chosen.port)
    except OSError as exc:
        print(exc, file=sys.stderr)
        return 1
    host, port = listener.getsockname()[:2]
    if chosen.token is None and not ipaddress.ip_address(host).is_loopback:
        LOG.warning("open host=%s: anybody who reaches it can join and give orders; use --token", host)
    try:
        master = Master(chosen.token, chosen.dead_after, chosen.order_timeout, chosen.redis)
    except StoreLostError as exc:
        print(exc, file=sys.stderr)
        return 1
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
