"""The Socket.IO client library, made to handle every message on its reading thread, in order.

Only documented parts of python-socketio, python-engineio and websocket-client are used. What the libraries would do in
threads of their own is taken over; where they keep a reason to themselves, the transports note it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import socketio
from engineio.payload import Payload

from connection import eio3, payload
from connection.dial import Dialer
from connection.errors import Failure, explain, no_handshake
from connection.polling import PollingAdapter
from connection.protocol import EIO
from connection.stream import Stream, WebSocket

WEBSOCKET_SHARE = 0.4
"""Of an attempt's time, what a websocket's handshake may take where polling is tried after it."""
GOODBYE_S = 0.5
"""Seconds in which what was sent must have arrived at a master that says goodbye."""
POST_PACKETS = 16
"""What a master's library takes in one request; of more, the old one drops all."""
POLL_PACKETS = 200_000
"""In one answer to a poll: the master's library sends there all that waits."""
QUIET = logging.getLogger("connection.library")
QUIET.setLevel(logging.CRITICAL)  # what the libraries have to say is in our own lines


class Listener(Protocol):
    """Hears what happens to a client, on the library's threads. None of its methods may raise."""

    def heard(self) -> None:
        """Call this for every sign of life."""

    def message(self, data: Any) -> None:
        """Take one Engine.IO message: a Socket.IO packet, or an attachment of one."""

    def triggered(self, event: str, args: tuple[Any, ...]) -> None:
        """Take what the library made of a packet that `pass_on` gave it. This one may raise."""

    def end(self, failure: Failure, *, goodbye: bool = False) -> None:
        """The connection is over; may be called more than once. `goodbye`: the master said so."""


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


class _Namespace(socketio.ClientNamespace):  # type: ignore[misc]
    """Every event of namespace `/`, by the documented override."""

    def __init__(self, triggered: Callable[[str, tuple[Any, ...]], None]) -> None:
        super().__init__("/")
        self._triggered = triggered

    def trigger_event(self, event: str, *args: Any) -> None:
        self._triggered(event, args)


class Client:
    """One client of the library, for one transport of one attempt."""

    def __init__(
        self, dialer: Dialer, listener: Listener, auth: dict[str, Any] | None, limit_s: float
    ) -> None:
        self.quiet_s = 0.0
        self.max_payload: int | None = None
        self._dialer = dialer
        self._listener = listener
        self._auth = auth
        self._limit_s = limit_s
        self._polling = PollingAdapter(dialer, listener.heard, self._opened)
        self._stream: Stream | None = None
        self._sio: Any = None
        self._given_up = False
        # guards the number of threads that use the sockets
        self._lock = threading.Lock()
        self._loops = 0

    @property
    def sid(self) -> object:
        """The connection's number; Socket.IO 2 has but one for both layers."""
        return self._sio.eio.sid if EIO == 3 else self._sio.get_sid("/")

    @property
    def transport(self) -> str:
        """`websocket` or `polling`."""
        return str(self._sio.transport())

    @property
    def is_up(self) -> bool:
        """Whether the library takes packets for this connection."""
        return self._sio is not None and self._sio.eio.state == "connected"

    @property
    def waiting(self) -> int:
        """Packets that wait to be sent."""
        return int(self._sio.eio.queue.qsize())

    @property
    def fault(self) -> Failure | None:
        """What the transports met first."""
        return (self._stream.fault if self._stream else None) or self._polling.fault

    def open(self, transport: str, websocket_share: float) -> Failure | None:
        """Make the connection; why not, None: it stands, and the master may accept.

        `websocket_share` is the part of the time that is left for a websocket's handshake.
        """
        Payload.max_decode_packets = POLL_PACKETS
        options = {"reconnection": False, "logger": QUIET, "engineio_logger": QUIET, "json": payload,
                   "request_timeout": self._limit_s, "http_session": self._polling.session}  # fmt: skip
        try:
            if EIO == 3:
                self._take_over(eio3.make_client(lambda: self._websocket(websocket_share), **options))
                eio3.connect(self._sio, self._dialer.url)
                return None
            websocket = self._websocket(websocket_share) if transport == "websocket" else {}
            self._take_over(
                socketio.Client(websocket_extra_options=websocket, handle_sigint=False, **options)
            )
            self._sio.connect(
                self._dialer.url, auth=self._auth, transports=[transport], namespaces=["/"], wait=False
            )
        except Exception as exc:  # noqa: BLE001 - whatever an answer makes the libraries raise
            self._given_up = True
            failure = self.fault or explain(exc, self._dialer.url)
            if self._stream:
                self._stream.close()
            self.forget()
            return failure
        return None

    def send(self, text: str) -> None:
        """Queue a Socket.IO packet."""
        self._sio.eio.send(text)

    def pass_on(self, packet: str) -> None:
        """Have the library read a packet. Raises whatever it makes of it."""
        self._library_message(packet)

    def flush(self, limit_s: float) -> None:
        """Wait until all that is queued is sent."""
        outbox = self._sio.eio.queue
        with outbox.all_tasks_done:
            outbox.all_tasks_done.wait_for(lambda: not outbox.unfinished_tasks, limit_s)

    def all_arrived(self) -> bool:
        """Whether the other machine has every byte that was sent, soon; False where that is not known."""
        eio, ends_s = self._sio and self._sio.eio, time.monotonic() + GOODBYE_S
        while eio and self._stream and time.monotonic() < ends_s:
            mark = eio.state != "connected"  # the end's own, which the library leaves in its queue
            if eio.queue.unfinished_tasks <= mark and self._stream.undelivered() == 0:
                return True
            time.sleep(0.002)  # the library says goodbye too
        return False

    def accepted(self) -> None:
        """The master accepted: from here on only Engine.IO's own silence ends it."""
        if self._stream:
            self._stream.settimeout(self.quiet_s or None)

    def heartbeat(self) -> None:
        """The master is alive, whatever became of Engine.IO 3's heartbeats."""
        if EIO == 3:
            eio3.heard(self._sio)

    def forget(self) -> None:
        """Have the library forget this client, which it lists among all that are connected."""
        self._polling.session.close()
        if self._sio:
            self._sio.eio.disconnect(abort=True)

    def _websocket(self, share: float) -> dict[str, Any]:
        """What websocket-client is given for one websocket: a connected socket of ours."""
        sock = self._dialer.dial()
        self._dialer.phase = "in the websocket handshake"
        now = time.monotonic()
        ends_s = now + share * (self._dialer.ends_s - now)
        opened = self._opened if EIO == 4 else None
        self._stream = Stream(
            sock, self._dialer.url, ends_s, self._listener.heard, opened, lambda: self._dialer.wanted
        )
        return {
            "class_": WebSocket,
            "socket": self._stream,
            "timeout": max(0.01, ends_s - now),
            "redirect_limit": 0,
            "skip_utf8_validation": True,
            # a browser's (RFC 6455 §4.1); behind a TLS proxy a master may take its scheme for a stranger's
            "suppress_origin": True,
        }

    def _take_over(self, sio: Any) -> None:
        """Have done here what the library would do in threads of its own."""
        self._sio = sio
        eio = sio.eio
        sio.register_namespace(_Namespace(self._listener.triggered))
        self._library_message, library_disconnected = eio.handlers["message"], eio.handlers["disconnect"]

        def disconnected(*reason: Any) -> None:
            if not self._given_up:
                # where the library still counts itself as connected, it was not the master that said so
                said = eio.state != "connected"
                gone = Failure("the master closed the connection", "master_gone")
                self._listener.end(gone if said else self.fault or gone, goodbye=said)
            library_disconnected(*reason)

        eio.on("message", self._listener.message)
        eio.on("disconnect", disconnected)
        eio.start_background_task = self._run
        eio.create_queue = Outbox
        eio.queue = Outbox()

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
        with self._lock:
            self._loops += 1
        try:
            target()
        except Exception as exc:  # noqa: BLE001 - the library's own code, on what the master sent
            what = f"what the master sent ended it ({type(exc).__name__}: {exc})"
            self._listener.end(Failure(what, "not_a_master"))
            self._sio.eio.queue.put(None)
            self.forget()
        self._listener.end(self.fault or Failure("the connection broke", "master_gone"))
        self._dialer.cut()
        with self._lock:
            self._loops -= 1
            last = not self._loops
        if last:
            self._polling.session.close()
            if self._stream:
                self._stream.close()
            self._dialer.close()

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
            raise no_handshake(self._dialer.url, f"{type(exc).__name__}: {exc}") from exc
        self.quiet_s = sum(times) / 1000
        limit = said.get("maxPayload")
        self.max_payload = limit if isinstance(limit, int) and limit > 0 else None
