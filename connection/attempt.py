"""One connection to a master: a fresh Socket.IO client, used once, from the first packet to the last.

What the client library would do in threads and handlers of its own is taken from it here: every packet is
handled on its reading thread in the order of its arrival, acknowledgements are matched by their number, and
the end, whatever brought it, is reported exactly once.
"""

from __future__ import annotations

import errno
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Optional

import socketio
from requests.utils import select_proxy
from socketio.packet import ACK, DISCONNECT, EVENT

from connection.errors import Failure, explain, explain_answer, spoken
from connection.link import Down, Hooks, Received, Target, Up
from connection.protocol import EIO, MISMATCH, REMEDY
from connection.sockets import verifying
from connection.transport import Session, WebSocket, open_socket
from connection.wire import SOCKET_TIMEOUT_S, Client
from logging_setup import Log, compact_json

LARGE = 8192
"""Characters above which a message is logged as it came, even where it is no compact JSON."""
HANDSHAKE_LIMIT = 65536
ORDERS = ("recover", "restore")
WAIT_S = 0.2
"""Between two looks of a reader that waits for the owner whether its connection is still wanted."""
HASTE_S = 0.1
"""For which a master may take to read what arrived."""
HELD_S = 0.2
"""For which whoever sends may take; who takes longer hangs in it, and is woken by the connection's end."""
UNREAD = 2000
"""Packets that may wait for a master that reads nothing; with more the connection is ended. And answers that are kept
until a ping's acknowledgement comes; of more, the oldest count as delivered.
"""


class Attempt:
    """`start` begins; `Up` is posted at most once, then or instead `Down` exactly once, unless abandoned."""

    def __init__(self, target: Target, hooks: Hooks, log: Log) -> None:
        self.target = target
        self.phase = "starting"
        self.last_packet_s = 0.0
        self._hooks = hooks
        self._log = log
        # held to number and order what is sent: the library's emit is not thread-safe; guards the next three
        self._sending = threading.Lock()
        self._last_ack_id = 0
        self._kept: deque[tuple[int, float, object]] = deque(maxlen=UNREAD)
        self._acknowledges = False
        # guards the two flags and the sockets below
        self._state = threading.Lock()
        self._ended = False
        self._direct = True
        self._sockets: list[socket.socket] = []
        self._client: Optional[Client] = None

    def start(self) -> None:
        threading.Thread(target=self._connect, name="connect", daemon=True).start()

    def send(
        self, event: str, data: object, ack_id: Optional[int] = None, keep: Optional[object] = None
    ) -> bool:
        """Send or queue an event; False: the connection is down, nothing was sent. Any thread.

        `ack_id`, greater than those before, asks for an acknowledgement; `keep` is what `Down` gives back
        unless the master surely has the event.
        """
        return self._send(socketio.packet.Packet(EVENT, data=[event, data], id=ack_id), keep)

    def acknowledge(self, ack_id: int, data: object) -> bool:
        return self._send(socketio.packet.Packet(ACK, data=[data], id=ack_id))

    def abandon(self) -> None:
        """End it from any thread, at once: nothing is posted any more, and its threads run out."""
        with self._state:
            self._ended = True
        self._cut()

    def drop(self, reason: str) -> None:
        """End it for a reason of the worker's own, which `Down` then gives."""
        self.end(Failure(reason))

    def leave(self, timeout_s: float) -> None:
        """Send what is queued and say goodbye, in at most `timeout_s`; then as `abandon`."""
        client = self._client
        if client and not self._ended:
            self._send(socketio.packet.Packet(DISCONNECT))
            queue = client.eio.queue
            with queue.all_tasks_done:
                queue.all_tasks_done.wait_for(lambda: not queue.unfinished_tasks, timeout_s)
        self.abandon()

    def end(self, failure: Failure, *, goodbye: bool = False) -> None:
        """The connection is over; `goodbye`: the master said so, and was there to read what had arrived."""
        with self._state:
            if self._ended:
                return
            self._ended = True
        hangs = not self._sending.acquire(timeout=HELD_S)
        if hangs:
            self._cut()
            self._sending.acquire()
        try:
            read = goodbye and not hangs and self._client is not None and self._client.all_arrived()
            undelivered = () if read else tuple(self._unread())
        finally:
            self._sending.release()
        self._hooks.post(Down(self, failure, undelivered))
        self._cut()

    def _unread(self) -> Iterator[object]:
        """What no acknowledgement proves to have been read: what arrived at its machine was not where the master
        hung, or a proxy lost it. A master that acknowledges nothing has read what was sent before it last spoke.
        """
        since_s = -math.inf if self._acknowledges else self.last_packet_s - HASTE_S
        return (what for _, at_s, what in self._kept if at_s > since_s)

    # the reading thread's

    def joined(self, client: Client, data: object) -> None:
        sid = data.get("sid") if isinstance(data, dict) else None
        if not isinstance(sid, str):
            self.end(Failure(MISMATCH, mend=True, remedy=REMEDY))
            return
        eio = client.eio
        local = None
        if self._direct and self._sockets:
            try:
                local = self._sockets[-1].getsockname()[0]
            except OSError:
                pass
        quiet_s = eio.ping_interval + eio.ping_timeout
        self._hooks.post(Up(self, sid, eio.current_transport, local, quiet_s))

    def received(self, ack_id: Optional[int], args: list[Any], raw: str) -> None:
        event = args[0] if args and isinstance(args[0], str) else compact_json(args[:1])
        data = args[1] if len(args) == 2 else args[1:] or None
        self._log.info("received", event=event, data=_shown(event, args, raw))
        if event in ORDERS:
            order = Received(self, event, data, ack_id, time.monotonic())
            # what was read ahead when the connection ended is handed over all the same
            while not self._hooks.post_order(order, 0.0 if self._ended else WAIT_S):
                self.last_packet_s = time.monotonic()  # it is not the master that is silent
        elif ack_id is not None:
            self._send(socketio.packet.Packet(ACK, data=[], id=ack_id))

    def unreadable(self, raw: object, exc: Exception) -> None:
        shown = (
            raw if isinstance(raw, str) else f"<{len(raw)} bytes>" if isinstance(raw, bytes) else repr(raw)
        )
        self._log.warning("received", event="unreadable", error=f"{type(exc).__name__}: {exc}", data=shown)

    def acknowledged(self, ack_id: Optional[int]) -> None:
        if ack_id is not None:
            with self._sending:
                self._acknowledges = True
                # whoever read the one has read what was sent before it
                while self._kept and self._kept[0][0] < ack_id:
                    self._kept.popleft()
            self._hooks.acknowledged(ack_id)

    # making the connection

    def _send(self, packet: socketio.packet.Packet, keep: Optional[object] = None) -> bool:
        client = self._client
        with self._sending:
            if client is None or self._ended or client.eio.state != "connected":
                return False
            if client.eio.queue.qsize() < UNREAD:
                client.transmit(packet)
                if keep is not None:
                    self._kept.append((self._last_ack_id, time.monotonic(), keep))
                elif packet.packet_type == EVENT and packet.id is not None:
                    self._last_ack_id = packet.id
                return True
        self.drop(f"the master does not read: {UNREAD} packets wait for it")
        return False

    def _cut(self) -> None:
        """Shut the sockets down: that wakes every thread that waits on them, where closing would not."""
        with self._state:
            sockets, self._sockets = self._sockets, []
        eio = self._client.eio if self._client else None
        if eio is not None and eio.ws is not None and eio.ws.sock is not None:
            sockets.append(eio.ws.sock)
        for sock in sockets:
            try:
                # not SSLSocket's own, which makes a thread that still writes go on in the clear
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass

    def _keep(self, sock: socket.socket) -> None:
        with self._state:
            if not self._ended:
                others = [kept for kept in self._sockets if kept.fileno() != -1 and kept is not sock]
                self._sockets = [*others, sock]
                return
        sock.close()
        raise ConnectionAbortedError(errno.ECONNABORTED, "the attempt is over")

    def _in_phase(self, phase: str) -> None:
        self.phase = phase

    def _connect(self) -> None:
        # version 3 begins with polling, and changes to a websocket where the master has one
        failure = self._connect_by("websocket" if EIO == 4 else "polling")
        if EIO == 4 and failure and failure.answered is not None:
            # it speaks HTTP, but no websocket comes through: polling may, or tells why not
            failure = self._connect_by("polling")
        if failure:
            self.end(failure)

    def _connect_by(self, transport: str) -> Optional[Failure]:
        url, ca_file = self.target.url, self.target.ca_file
        session = Session(url, ca_file, self._keep)
        options: dict[str, Any] = {
            "class_": WebSocket,
            "redirect_limit": 0,
            "skip_utf8_validation": True,
            # a browser's (RFC 6455 §4.1); behind a TLS proxy a master may take its scheme for a stranger's
            "suppress_origin": True,
        }
        try:
            proxy = select_proxy(url, session.proxies)
            self._direct = proxy is None
            dial = transport == "websocket"
            if transport == "polling":
                opened = self._ask_by_polling(session)
                if EIO == 3:
                    dial = b'"websocket"' in opened
                    options["opened"] = opened
            if dial:
                trust = verifying(ca_file) if url.startswith("https:") else None
                options["socket"] = open_socket(url, trust, self._keep, self._in_phase, proxy)
            self.phase = f"in the {transport} handshake"
            client = Client(self, self._log, session, options)
            self._client = client
            client.connect(url, auth=self.target.auth, transports=[transport], namespaces=["/"], wait=False)
        except Exception as exc:  # noqa: BLE001 - whatever an answer makes the libraries raise is a failed attempt
            if self._client:
                self._client.eio.forget()
            # its pool is on a list of urllib3's, by which it would keep this attempt in memory for ever
            session.close()
            return explain(exc, url)
        self.phase = "waiting for the master to accept"
        if self._ended:
            self._cut()
        return None

    def _ask_by_polling(self, session: Session) -> bytes:
        """What a first poll is answered. Raises Failure unless it is an Engine.IO handshake."""
        self.phase = "in the polling handshake"
        url = f"{self.target.url}/socket.io/?EIO={EIO}&transport=polling"
        with session.get(url, timeout=SOCKET_TIMEOUT_S, stream=True) as answer:
            body = answer.raw.read(HANDSHAKE_LIMIT, decode_content=True)
            if not (answer.ok and spoken(body) == EIO):
                kind = answer.headers.get("content-type", "")
                raise explain_answer(answer.status_code, kind, body, self.target.url)
            return bytes(body)


def _shown(event: str, args: list[Any], raw: str) -> Optional[str]:
    """The data of an event as compact JSON, None: it has none. What came is that already, as a rule, and to write
    it anew takes ten times as long.
    """
    if len(args) < 2:
        return None
    head = f'["{event}",'
    large = len(raw) > LARGE
    if len(args) == 2 and raw.startswith(head) and (large or not any(loose in raw for loose in " \\\n\r\t")):
        return raw[len(head) : -1]
    return raw if large else compact_json(args[1] if len(args) == 2 else args[1:])
