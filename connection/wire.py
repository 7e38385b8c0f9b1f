"""The Socket.IO client library, made to hand every packet over on its reading thread, in order.

Left to itself it starts a thread for each event, keeps a callback for each acknowledgement, and joins its own
threads when the server says goodbye.
"""

from __future__ import annotations

import json
import queue
import re
import time
from collections.abc import Callable
from typing import Any, Optional, Protocol

import engineio
import requests
import socketio
import websocket
from engineio.payload import Payload

from connection.errors import Failure, refused
from connection.protocol import EIO
from connection.sockets import ready
from logging_setup import Log

_SocketIO: Any = socketio.Client
_EngineIO: Any = engineio.Client
if EIO == 3:
    from connection import wire_eio3

    _SocketIO, _EngineIO = wire_eio3.Client, wire_eio3.Engine


class Listener(Protocol):
    """Hears what arrives. Its methods are called on the reading thread; they must not block or raise."""

    last_packet_s: float

    def joined(self, client: Client, data: object) -> None:
        """The master accepted; `data` is what it said, `{"sid": …}` where it speaks Socket.IO 3 or newer."""

    def received(self, ack_id: Optional[int], args: list[Any], raw: str) -> None:
        """An event: its name and arguments, and the JSON that they were decoded from, "" for binary ones."""

    def acknowledged(self, ack_id: Optional[int]) -> None:
        """The answer to what was sent with that number."""

    def unreadable(self, raw: object, exc: Exception) -> None:
        """A message that is none of Socket.IO's."""

    def end(self, failure: Failure, *, goodbye: bool = False) -> None:
        """The connection is over; may be told more than once. `goodbye`: by a packet of the master's."""


SOCKET_TIMEOUT_S = 4.0
"""For which one read of a handshake may last."""
MESSAGE_LIMIT = 8 << 20
"""Bytes of one message, its attachments included. A master that sends more has gone mad, or is none: the connection
ends there, before memory does.
"""
ATTACHMENT = 200
"""Bytes that the least of them takes in memory."""
POST_PACKETS = 16
"""What a master's library takes in one request; of more, the old one drops all and calls it well."""
POLL_PACKETS = 200_000
"""In one answer to a poll: the master's library sends there all that waits."""
LONG_NUMBER = re.compile(r"\d(?:\d*-)?(?:/[^,]*,)?\d{20}")
"""A packet that says so many attachments, or an acknowledgement of such a number."""
SMALL = 4096
"""Bytes of a packet that a socket with room takes whole, so that whoever sends it need not wait."""


class _LibraryLog:
    """Takes the library's log: its last warning is why a connection ended, its errors go to comms.log."""

    def __init__(self, log: Log) -> None:
        self.last = ""
        self._failed_request = ""
        self._log = log

    def info(self, text: str, *args: object) -> None:
        if text.startswith("Unexpected error"):
            self.warning(text, *args)
        elif text.startswith("HTTP %s request"):
            self._failed_request = str(args[-1])

    def warning(self, text: str, *args: object) -> None:
        self.last = text % args if args else text

    def error(self, text: str, *args: object) -> None:
        self._log.warning("library", name="socketio", text=text % args if args else text)

    exception = error

    def reason(self) -> str:
        said = self.last.replace(", aborting", "")
        # Engine.IO 3 says that of whatever a request failed of
        return self._failed_request if said == "Connection refused by the server" else said


class _Outbox(queue.Queue[Any]):
    """What waits for the library's writing thread, which would take 30 s without a packet for the end, and which
    sends in one request what it can get without waiting.
    """

    Empty = queue.Empty  # where Engine.IO 3 looks for it
    _taken = 0

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Any:
        self._taken = 1 if block else self._taken + 1
        if self._taken > POST_PACKETS:
            raise queue.Empty
        packet = super().get(block)
        if packet is None and not block:
            # the end came with packets before it: the library sends those, and must then meet it again
            self.put(None)
        return packet


class _Engine(_EngineIO):  # type: ignore[misc]
    """Engine.IO, with messages handled on the reading thread instead of a new thread for each."""

    listener: Listener

    def create_queue(self) -> _Outbox:
        return _Outbox()

    def _send_packet(self, pkt: engineio.packet.Packet) -> None:
        if self.state == "connected" and not self._written(pkt):
            super()._send_packet(pkt)

    def _written(self, pkt: engineio.packet.Packet) -> bool:
        """Write a packet on the caller's thread, where nothing waits before it and the socket has room for it.

        To wake the writing thread takes as long as to add an address.
        """
        if self.ws is None or self.current_transport != "websocket" or self.queue.unfinished_tasks:
            return False
        encoded = pkt.encode()
        if pkt.binary or len(encoded) > SMALL or not self._has_room():
            return False
        try:
            self.ws.send(encoded)
        except (websocket.WebSocketException, OSError):
            return False  # the writing thread will meet the same, and end the connection
        return True

    def _has_room(self) -> bool:
        sock = self.ws.sock
        try:
            return sock is not None and ready(sock, write=True)
        except OSError:  # it was closed meanwhile
            return False

    def _trigger_event(self, event: str, *args: Any, **kwargs: Any) -> Any:
        kwargs["run_async"] = False
        return super()._trigger_event(event, *args, **kwargs)

    def start_background_task(self, target: Callable[[], None]) -> Any:
        return super().start_background_task(self._run, target)

    def _run(self, target: Callable[[], None]) -> None:
        """Of the threads that read, write and send heartbeats none outlives another: left to themselves, those that
        go on would not know.
        """
        try:
            target()
            failure = Failure(self.logger.reason() or "the connection broke")
        except Exception as exc:  # noqa: BLE001 - the library's own code, on what the master sent
            self.listener.end(Failure(f"what the master sent ended it ({type(exc).__name__}: {exc})"))
            self.queue.put(None)
            self._trigger_event("disconnect", run_async=False)
            self.forget()
            self._reset()
            return
        self.listener.end(failure)

    def forget(self) -> None:
        """The library lists it among the connected ones, for ever where it does not end it itself."""
        connected = getattr(engineio, "base_client", engineio.client).connected_clients
        if self in connected:
            connected.remove(self)

    def _receive_packet(self, pkt: engineio.packet.Packet) -> None:
        self.listener.last_packet_s = time.monotonic()
        if pkt.packet_type == engineio.packet.CLOSE:
            # the library would wait for this very thread
            self.listener.end(Failure("the master closed the connection"), goodbye=True)
        else:
            super()._receive_packet(pkt)


class Client(_SocketIO):  # type: ignore[misc]
    """Socket.IO, with each kind of packet handed to the listener."""

    _binary_packet: Optional[socketio.packet.Packet]
    _raw = ""
    _attached = 0

    def __init__(
        self, listener: Listener, log: Log, session: requests.Session, options: dict[str, Any]
    ) -> None:
        self._listener = listener
        self._ear = _LibraryLog(log)
        Payload.max_decode_packets = POLL_PACKETS
        super().__init__(
            reconnection=False,
            handle_sigint=False,
            logger=self._ear,
            engineio_logger=self._ear,
            http_session=session,
            request_timeout=SOCKET_TIMEOUT_S,
            websocket_extra_options=options,
        )
        self.eio.listener = listener

    def transmit(self, packet: socketio.packet.Packet) -> None:
        """Queue a packet; the library's `emit` would keep a callback for each that wants an answer."""
        self._send_packet(packet)

    def all_arrived(self) -> bool:
        """Whether the other machine has acknowledged every byte that was sent; False where that is unknown."""
        eio = self.eio
        if eio.current_transport != "websocket" or eio.queue.unfinished_tasks:
            return False
        return bool(eio.ws.unacknowledged() == 0)

    def _engineio_client_class(self) -> type[_Engine]:
        return _Engine

    def _handle_eio_message(self, data: Any) -> None:
        if self._binary_packet and not isinstance(data, bytes):
            # the library would take this text, and those after it, for the attachments it still wants
            self._listener.unreadable(
                self._raw, ValueError("a binary packet whose attachments do not follow")
            )
            self._binary_packet = None
        self._attached = self._attached + len(data) + ATTACHMENT if self._binary_packet else 0
        if self._attached > MESSAGE_LIMIT:
            self._listener.end(Failure(f"a message of more than {MESSAGE_LIMIT >> 20} MiB"))
            return
        try:
            if self._is_plain_event(data):
                return
            self._raw = data if isinstance(data, str) else ""
            if LONG_NUMBER.match(self._raw):
                raise ValueError("a number of 20 digits and more")  # which take the old library minutes
            super()._handle_eio_message(data)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as exc:
            self._binary_packet = None
            self._listener.unreadable(data, exc)

    def _is_plain_event(self, data: Any) -> bool:
        """Take an event without attachments, which the library decodes with three times the work. ValueError and
        RecursionError: its data are no JSON.
        """
        if self._binary_packet or not isinstance(data, str) or not data.startswith("2"):
            return False
        at = data.find("[")
        number = data[1:at]
        if at < 0 or (number and not (number.isascii() and number.isdigit() and len(number) < 20)):
            return False
        raw = data[at:]
        self._listener.received(int(number) if number else None, json.loads(raw), raw)
        return True

    def _handle_connect(self, namespace: Optional[str], data: Any = None) -> None:
        if (namespace or "/") == "/":
            self.namespaces = {"/": self.sid}
            # Socket.IO 2 has but the one number for both layers, and says nothing here
            self._listener.joined(self, {"sid": self.sid} if EIO == 3 else data)

    def _handle_disconnect(self, namespace: Optional[str]) -> None:
        self._listener.end(Failure("the master disconnected this node"), goodbye=True)

    def _handle_event(self, namespace: Optional[str], id: Optional[int], data: Any) -> None:  # noqa: A002
        raw = self._raw[max(0, self._raw.find("[")) :]
        self._listener.received(id, data if isinstance(data, list) else [data], raw)

    def _handle_ack(self, namespace: Optional[str], id: Optional[int], data: Any) -> None:  # noqa: A002
        self._listener.acknowledged(id)

    def _handle_error(self, namespace: Optional[str], data: Any) -> None:
        self._listener.end(refused(data.get("message") if isinstance(data, dict) else data), goodbye=True)

    def _handle_eio_disconnect(self, reason: str = "the connection broke") -> None:
        self._listener.end(Failure(self._ear.reason() or reason))
        if self.eio.ws is not None:
            self.eio.ws.shutdown()  # no thread reads or writes any more
        self.eio.http.close()
