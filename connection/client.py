"""Engine.IO by the Socket.IO client library, made to handle every message on its reading thread, in order.

Only documented parts of python-socketio, python-engineio and websocket-client are used. What the libraries would do in
threads of their own is taken over; where they keep a reason to themselves, the transports note it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import socketio
from engineio.payload import Payload

from connection import payload
from connection.dial import Dialer, Target
from connection.errors import Failure, explain, no_handshake
from connection.polling import PollingSession
from connection.protocol import EIO, make_client_v3
from connection.resolve import Resolver
from connection.stream import Stream, WebSocket

POST_PACKETS = 16
"""What a master's library takes in one request; of more, the old one drops all."""
POLL_PACKETS = 200_000
"""In one answer to a poll: the master's library sends there all that waits."""
QUIET = logging.getLogger("connection.library")
QUIET.setLevel(logging.CRITICAL)  # what the libraries have to say is in our own lines


class Outbox(queue.Queue[Any]):
    """What waits for the library's writing thread, which would take 30 s without a packet for the end, and which
    sends in one request what it can get without waiting.
    """

    Empty = queue.Empty  # where Engine.IO 3 looks for it
    _taken = 0

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        self._taken = 1 if block else self._taken + 1
        if self._taken > POST_PACKETS:
            raise queue.Empty
        packet = super().get(block)
        if packet is None and not block:
            # the end came with packets before it: the library sends those, and must then meet it again
            self.put(None)
        return packet


class Client:
    """One connection, by one transport or, in vain, by one after the other; what its messages mean is the subclass's.

    `quiet_s` is how long the master may be silent, `max_payload` the bytes of the largest packet that it takes, None:
    it does not say; `last_packet_s` is the monotonic time of its last sign of life.
    """

    def __init__(self, target: Target, resolver: Resolver, limit_s: float) -> None:
        self.target = target
        self.limit_s = limit_s
        self.dialer = Dialer(target, resolver)
        self.last_packet_s = self.quiet_s = 0.0
        self.max_payload: int | None = None
        self._eio: Any = None
        self._stream: Stream | None = None
        # guards the number of threads that use the sockets
        self._count = threading.Lock()
        self._loops = 0

    def message(self, data: Any) -> None:
        """Take one Engine.IO message, on the reading thread. May not raise."""
        raise NotImplementedError

    def end(self, failure: Failure, *, goodbye: bool = False) -> None:
        """The connection is over; may be called more than once. `goodbye`: the master said so."""
        raise NotImplementedError

    def heard(self) -> None:
        """The master is alive."""
        self.last_packet_s = time.monotonic()

    @property
    def is_up(self) -> bool:
        """Whether the library takes packets for this connection."""
        return self._eio is not None and self._eio.state == "connected"

    @property
    def waiting(self) -> int:
        """Packets that wait to be sent."""
        return int(self._eio.queue.qsize())

    @property
    def unsent(self) -> int:
        """Packets that wait or are being sent, but for the library's own two at the end, when the master said so."""
        if self._eio is None:
            return 0
        return max(0, int(self._eio.queue.unfinished_tasks) - (0 if self.is_up else 2))

    def open(self, transport: str, handshake_s: float) -> Failure | None:
        """Make the connection; why not, None: it stands, and the master may accept.

        `handshake_s` is how long a websocket's handshake may take.
        """
        Payload.max_decode_packets = POLL_PACKETS
        url = self.dialer.url
        self._stream = None
        polling = PollingSession(self.dialer, self.heard, self._opened)
        options = {"reconnection": False, "logger": QUIET, "engineio_logger": QUIET, "json": payload,
                   "request_timeout": self.limit_s, "http_session": polling}  # fmt: skip
        try:
            if EIO == 3:
                sio = make_client_v3(lambda: self._websocket(handshake_s), **options)
                self._take_over(sio.eio)
                sio.connect(url, namespaces=["/"])
            else:
                websocket = self._websocket(handshake_s) if transport == "websocket" else {}
                sio = socketio.Client(websocket_extra_options=websocket, handle_sigint=False, **options)
                self._take_over(sio.eio)
                auth = self.target.auth
                sio.connect(url, auth=auth, transports=[transport], namespaces=["/"], wait=False)
        except Exception as exc:  # noqa: BLE001 - whatever an answer makes the libraries raise
            failure = explain(exc, url).bare()
            if self._eio:
                self._eio.on("disconnect", lambda *_: None)
                self._eio.disconnect(abort=True)
            if self._stream:
                self._stream.close()
            return failure
        if self._stream:
            # from here on only Engine.IO's own silence ends it
            self._stream.settimeout(self.quiet_s)
        return None

    def flush(self, limit_s: float) -> None:
        """Wait until all that is queued is sent."""
        outbox = self._eio.queue
        with outbox.all_tasks_done:
            outbox.all_tasks_done.wait_for(lambda: not outbox.unfinished_tasks, limit_s)

    def _websocket(self, handshake_s: float) -> dict[str, Any]:
        """What websocket-client is given for one websocket: a connected socket of ours."""
        sock = self.dialer.dial()
        self.dialer.phase = "in the websocket handshake"
        opened = self._opened if EIO == 4 else None
        ends_s = time.monotonic() + handshake_s
        self._stream = Stream(sock, self.dialer, ends_s, self.heard, opened, self._websocket_ended)
        return {
            "class_": WebSocket,
            "socket": self._stream,
            "redirect_limit": 0,
            "skip_utf8_validation": True,
            # a browser's (RFC 6455 §4.1); behind a TLS proxy a master may take its scheme for a stranger's
            "suppress_origin": True,
        }

    def _take_over(self, eio: Any) -> None:
        """Have done here what the library would do in threads of its own."""
        self._eio = eio
        eio.on("message", self.message)
        eio.on("disconnect", self._disconnected)
        eio.start_background_task = self._run
        eio.create_queue = Outbox
        eio.queue = Outbox()

    def _websocket_ended(self, failure: Failure) -> None:
        # one that the library does not use yet is an attempt
        if self._eio.transport() == "websocket":
            self.end(failure)

    def _disconnected(self, *_reason: Any) -> None:
        # where the library still counts itself as connected, it was not the master that said so
        gone = Failure("the master closed the connection", "master_gone")
        self.end(gone, goodbye=not self.is_up)

    def _run(self, target: Callable[..., None], *args: Any) -> Any:
        """In place of the library's start_background_task: a message is handled here, at once."""
        if args:
            target(*args)
            return None
        thread = threading.Thread(target=self._loop, args=(target,), name="engine.io", daemon=True)
        thread.start()
        return thread

    def _loop(self, target: Callable[[], None]) -> None:
        """Of the threads that read, write and send heartbeats none outlives another: left to themselves, those that
        go on would not know.
        """
        with self._count:
            self._loops += 1
        try:
            target()
        except Failure as exc:
            self.end(exc)
        except Exception as exc:  # noqa: BLE001 - the library's own code, on what the master sent
            self.end(Failure(f"what the master sent ended it ({type(exc).__name__}: {exc})", "not_a_master"))
        self.end(Failure("the connection broke", "master_gone"))
        self.dialer.cut()
        self._eio.queue.put(None)  # the thread that writes may wait for a packet
        with self._count:
            self._loops -= 1
            last = not self._loops
        if last:
            self._eio.disconnect(abort=True)  # the library lists all that are connected
            self.dialer.close()

    def _opened(self, opened: bytes) -> None:
        """Take an Engine.IO handshake. Raises Failure: it is none that a master sends."""
        try:
            said = payload.first(opened[opened.index(b"{") :])
            times = [said["pingInterval"], said["pingTimeout"]]
            if not isinstance(said["sid"], str) or not isinstance(said["upgrades"], list):
                raise KeyError("sid, upgrades")
            if not all(isinstance(one, (int, float)) and 0 <= one <= 86_400_000 for one in times):
                raise ValueError(f"its ping interval and time-out are {times} ms")
        except (KeyError, TypeError, ValueError) as exc:
            raise no_handshake(self.dialer.url, f"{type(exc).__name__}: {exc}") from exc
        self.quiet_s = sum(times) / 1000
        limit = said.get("maxPayload")
        self.max_payload = limit if isinstance(limit, int) and limit > 0 else None
