"""One connection to a master: made once, from the first packet to the last, and its end reported exactly once.

Engine.IO is spoken by the client library, of which only documented parts are used. What it would do in threads of its
own is done here: every message is handled on the reading thread, in order, so that a full inbox makes TCP push back on
the master, and all threads of a connection end together.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import socketio
from engineio.payload import Payload

from connection import payload
from connection.dial import DAY_S, Dialer, Target
from connection.errors import MESSAGE_LIMIT, Failure, explain, handshake, mismatch, rejected, too_large
from connection.messages import (
    BINARY,
    ORDERS,
    Callbacks,
    Connected,
    Disconnected,
    JoinAcknowledged,
    order_numbers,
    order_of,
    parse,
)
from connection.outbox import HASTE_S, JOIN_ACK_ID, Outbox
from connection.polling import PollingSession
from connection.protocol import EIO, end_v3, heard_v3, make_client_v3
from connection.resolve import Resolver
from connection.stream import Stream
from logging_setup import EventLogger
from logs.format import compact_json

POLL_PACKETS = 200_000
"""In one answer to a poll: the master's library sends there all that waits."""
WAIT_S = 0.2
"""Seconds between two looks of a reader, waiting for the owner, whether its connection is still wanted."""
BACKLOG, STUCK_S, LOOK_S = 500, 5.0, 0.005
"""Packets that wait to be sent, with which no order is taken; seconds in which one must go, and between two looks."""
WEBSOCKET_SHARE = 0.4
"""Of an attempt's time, what a websocket's handshake may take where polling is tried after it."""
QUIET = logging.getLogger("connection.library")
QUIET.setLevel(logging.CRITICAL)  # what the libraries have to say is in our own lines


class Session:
    """`start` begins; `Connected` is posted at most once, then or instead `Disconnected` exactly once, unless
    abandoned. `limit_s` is the time it has to be accepted; its owner abandons it past that. `fall_back`: polling is
    tried too where a websocket's handshake is swallowed or cut, which may be an accident the first time.

    `max_payload` is the bytes of the largest packet that the master takes, None: it does not say; `last_packet_s` is
    the monotonic time of its last sign of life.
    """

    def __init__(
        self,
        target: Target,
        callbacks: Callbacks,
        log: EventLogger,
        resolver: Resolver,
        limit_s: float,
        *,
        fall_back: bool = False,
    ) -> None:
        self.target = target
        self.limit_s = limit_s
        self.dialer = Dialer(target, resolver)
        self.last_packet_s = 0.0
        self.max_payload: int | None = None
        self._callbacks = callbacks
        self._log = log
        self._fall_back = fall_back
        self._phase = ""
        self._quiet_s = 0.0
        self._outbox = Outbox()
        self._eio: Any = None
        self._stream: Stream | None = None
        # guards the flags, since the beginning and the end are reported once, and the number of threads
        self._state = threading.Lock()
        self._threads = 0
        self._ended = False
        self._undecided = False
        self._sid: str | None = None  # "": the master accepted, and said none
        self._attached: int | None = None
        """Bytes so far of the data that a binary packet announced; None: none did."""

    def start(self) -> None:
        threading.Thread(target=self._connect, name="connect", daemon=True).start()

    @property
    def phase(self) -> str:
        """What is being waited for."""
        return self._phase or self.dialer.phase

    @property
    def waiting(self) -> int:
        """Packets that wait to be sent."""
        return self._outbox.qsize()

    @property
    def on_the_way(self) -> tuple[object, ...]:
        """What was sent with `keep` and the master may not have read yet."""
        return self._outbox.undelivered(self.last_packet_s, HASTE_S, up=self._is_up)

    def send(self, event: str, data: object, ack_id: int | None = None, keep: object | None = None) -> bool:
        """Send or queue an event; False: the connection is down, nothing was sent. Any thread.

        `ack_id`, greater than those before, asks for an acknowledgement; `keep` is what `Disconnected` gives back
        unless the master surely has the event.
        """
        return self._send(f"2{'' if ack_id is None else ack_id}{payload.encode([event, data])}", ack_id, keep)

    def acknowledge(self, ack_id: int, data: object) -> bool:
        """Acknowledge an event of the master."""
        return self._send(f"3{ack_id}{payload.encode([data])}")

    def abandon(self) -> None:
        """End it from any thread, at once: nothing is posted any more, and its threads run out."""
        with self._state:
            self._ended = True
        self.dialer.cut()

    def leave(self, timeout_s: float) -> None:
        """Send what is queued and say goodbye, in at most `timeout_s`; then as `abandon`."""
        if self._send("1"):
            self._outbox.flush(timeout_s)
        self.abandon()

    def end(self, failure: Failure, *, goodbye: bool = False) -> None:
        """The connection is over; `goodbye`: the master said so, having read what was sent before."""
        with self._state:
            if self._ended:
                return
            self._ended = True
        if goodbye:
            # what the master answered with it may not be noted as sent yet
            self._outbox.flush(HASTE_S)
        haste_s = 0.0 if goodbye else HASTE_S
        undelivered = self._outbox.undelivered(self.last_packet_s, haste_s, up=self._is_up)
        self._callbacks.post(Disconnected(self, failure.bare(), undelivered))
        self.dialer.cut()

    def _send(self, text: str, ack_id: int | None = None, keep: object | None = None) -> bool:
        with self._outbox.sending:
            if self._ended or not self._is_up:
                return False
            if self._outbox.has_room():
                self._eio.send(text)
                self._outbox.sent(len(text), ack_id, keep)
                return True
        self._left_unread()
        return False

    @property
    def _is_up(self) -> bool:
        """Whether the library takes packets for this connection."""
        return self._eio is not None and self._eio.state == "connected"

    # making the connection

    def _connect(self) -> None:
        try:
            self._attempt()
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is a failed attempt
            self.end(explain(exc, self.target.url))
            self.dialer.close()

    def _attempt(self) -> None:
        failure = self._open("websocket") if EIO == 4 else None
        if failure and not failure.answered:
            cut = failure.blocked and self.dialer.reached
            if not (cut and self._fall_back):
                raise failure
        polled = self._open("polling") if failure or EIO == 3 else None
        if polled:
            raise failure if failure and failure.permanent and not polled.permanent else polled
        self._phase = "waiting for the master to accept"

    def _open(self, transport: str) -> Failure | None:
        """Make the connection; why not, None: it stands, and the master may accept."""
        Payload.max_decode_packets = POLL_PACKETS
        # in version 3 the first poll admits a node, and its transport may change yet
        self._undecided = EIO == 3
        self._stream = None
        polling = PollingSession(self.dialer, self._heard, self._opened)
        options = {"reconnection": False, "logger": QUIET, "engineio_logger": QUIET, "json": payload,
                   "request_timeout": self.limit_s, "http_session": polling}  # fmt: skip
        try:
            if EIO == 3:
                sio = make_client_v3(self._websocket, **options)
                self._take_over(sio.eio)
                sio.connect(self.target.url, namespaces=["/"])
            else:
                websocket = self._websocket() if transport == "websocket" else {}
                sio = socketio.Client(websocket_extra_options=websocket, handle_sigint=False, **options)
                self._take_over(sio.eio)
                auth = self.target.auth
                sio.connect(self.target.url, auth=auth, transports=[transport], namespaces=["/"], wait=False)
        except Exception as exc:  # noqa: BLE001 - whatever an answer makes the libraries raise
            failure = explain(exc, self.target.url).bare()
            if self._eio:
                self._eio.on("disconnect", lambda *_: None)
                self._eio.disconnect(abort=True)
            if self._stream:
                self._stream.close()
            return failure
        if self._stream:
            # from here on only Engine.IO's own silence ends it
            self._stream.settimeout(self._quiet_s)
        with self._state:
            accepted = self._undecided and self._sid is not None and not self._ended
            self._undecided = False
        if accepted:
            self._joined()
        return None

    def _websocket(self) -> dict[str, Any]:
        """What websocket-client is given for one websocket: a connected socket of ours."""
        share_s = self.limit_s * WEBSOCKET_SHARE if self._fall_back else DAY_S
        # a tunnel may be swallowed as a handshake may
        sock = self.dialer.dial(limit_s=share_s if self.dialer.proxy else DAY_S)
        self.dialer.phase = "in the websocket handshake"
        opened = self._opened if EIO == 4 else None
        ends_s = time.monotonic() + share_s
        self._stream = Stream(sock, self.dialer, ends_s, self._heard, opened, self._websocket_ended)
        return self._stream.options()

    def _take_over(self, eio: Any) -> None:
        self._eio = eio
        eio.on("message", self._message)
        eio.on("disconnect", self._disconnected)
        eio.start_background_task = self._run
        eio.create_queue = lambda: self._outbox
        eio.queue = self._outbox

    def _opened(self, opened: bytes) -> None:
        self._quiet_s, self.max_payload = handshake(opened, self.target.url)

    # the library's threads

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
        with self._state:
            self._threads += 1
        try:
            target()
        except Failure as exc:
            self.end(exc)
        except Exception as exc:  # noqa: BLE001 - the library's own code, on what the master sent
            self.end(Failure(f"what the master sent ended it ({type(exc).__name__}: {exc})", "not_a_master"))
        self.end(Failure("the connection broke", "master_gone"))
        self.dialer.cut()
        self._outbox.put(None)  # the thread that writes may wait for a packet
        if EIO == 3:
            end_v3(self._eio)
        with self._state:
            self._threads -= 1
            last = not self._threads
        if last:
            self._eio.disconnect(abort=True)  # the library lists all that are connected
            self.dialer.close()

    def _websocket_ended(self, failure: Failure) -> None:
        # one that the library does not use yet is an attempt
        if self._eio.transport() == "websocket":
            self.end(failure)

    def _disconnected(self, *_reason: Any) -> None:
        # where the library still counts itself as connected, it was not the master that said so
        self.end(Failure("the master closed the connection", "master_gone"), goodbye=not self._is_up)

    def _heard(self) -> None:
        """The master is alive."""
        self.last_packet_s = time.monotonic()

    # the messages, on the reading thread

    def _message(self, data: Any) -> None:
        """One Engine.IO message: a Socket.IO packet, or the binary data of one.

        The library itself would acknowledge an event at once; orders are acknowledged when they are obeyed.
        """
        self._heard()
        if EIO == 3:
            heard_v3(self._eio)
        try:
            self._take(data)
        except Exception as exc:  # noqa: BLE001 - a mad master's packet ends no thread
            shown = data if isinstance(data, str) else repr(data)[:200]
            self._log.warning(
                "received", event="unreadable", error=f"{type(exc).__name__}: {exc}"[:200], data=shown
            )

    def _take(self, data: Any) -> None:
        if isinstance(data, bytes):
            if self._attached is None:
                raise ValueError("it is binary data that no packet has announced")
            self._attached += len(data)
            if self._attached > MESSAGE_LIMIT:
                self.end(too_large())
            return
        text = data if isinstance(data, str) else ""
        # a binary packet is logged, so its data, which comes next, need not be
        self._attached = 0 if text.startswith(BINARY) else None
        kind, ack_id, raw = parse(text)
        match kind:
            case "0":
                self._accepted(raw)
            case "1":
                self.end(Failure("the master disconnected this node", "refused"), goodbye=True)
            case "2":
                self._event(raw, ack_id)
            case "3" if ack_id is not None:
                self._acknowledged(ack_id, raw)
            case "4":
                said = payload.loads(raw) if raw else None
                self.end(rejected(said.get("message") if isinstance(said, dict) else said), goodbye=True)

    def _accepted(self, raw: str) -> None:
        """The master let this node in; said again, or after the end, it means nothing."""
        with self._state:
            if self._ended or self._sid is not None:
                return
            said = payload.loads(raw) if EIO == 4 and raw else None
            # Socket.IO 2 has but Engine.IO's number
            sid = self._eio.sid if EIO == 3 else isinstance(said, dict) and said.get("sid")
            self._sid = sid if isinstance(sid, str) else ""
            if self._undecided:
                return
        self._joined()

    def _joined(self) -> None:
        if not self._sid:
            self.end(mismatch())
            return
        transport = str(self._eio.transport())
        self._callbacks.post(Connected(self, self._sid, transport, self.dialer.local_ip, self._quiet_s))

    def _event(self, raw: str, ack_id: int | None) -> None:
        said = payload.loads(raw)
        if not isinstance(said, list) or not said:
            raise ValueError("it is no event")
        name = said[0] if isinstance(said[0], str) else compact_json(said[:1])
        args = tuple(said[1:])
        number = next(order_numbers) if name in ORDERS else None
        self._log.info("received", event=name, data=payload.shown(name, args, raw), order=number)
        if number:
            self._wait_for_room()
            order = order_of(self, number, name, args, raw, ack_id)
            # what was read ahead when the connection ended is handed over all the same
            while not self._callbacks.post_order(order, 0.0 if self._ended else WAIT_S):
                self._heard()  # it is not the master that is silent
        elif ack_id is not None:
            self._send(f"3{ack_id}[]")

    def _wait_for_room(self) -> None:
        """Take no order while many answers wait to be sent: TCP pushes back on the master. One that takes none of them
        for long is left.
        """
        waiting, since_s = self.waiting, time.monotonic()
        while self.waiting >= BACKLOG and not self._ended:
            if self.waiting < waiting:
                since_s = time.monotonic()
                self._heard()
            elif time.monotonic() - since_s > STUCK_S:
                self._left_unread()
            waiting = self.waiting
            time.sleep(LOOK_S)

    def _left_unread(self) -> None:
        self.end(Failure(f"the master does not read: {self.waiting} packets wait for it"))

    def _acknowledged(self, ack_id: int, raw: str) -> None:
        # whatever else a mad master acknowledges would fill the inbox
        if not self._outbox.acknowledged(ack_id):
            return
        if ack_id == JOIN_ACK_ID:
            self._callbacks.post(JoinAcknowledged(self, payload.reason(raw)))
        else:
            self._callbacks.acknowledged(ack_id)
