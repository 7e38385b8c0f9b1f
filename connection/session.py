"""One connection to a master: made once, from the first packet to the last, and its end reported exactly once.

Messages are handled in the order of their arrival: a full inbox makes TCP push back on the master.
"""

from __future__ import annotations

import re
import threading
import time
from typing import Any

from connection import payload
from connection.client import WEBSOCKET_SHARE, Client
from connection.delivery import JOIN_ACK_ID, Delivery
from connection.dial import Dialer, Target
from connection.errors import Failure, explain, mismatch, rejected, unanswered
from connection.messages import (
    ORDERS,
    Callbacks,
    Connected,
    Disconnected,
    JoinAcknowledged,
    order_numbers,
    order_of,
)
from connection.protocol import EIO
from connection.resolve import Resolver
from connection.stream import MESSAGE_LIMIT
from logging_setup import EventLogger, compact_json

WAIT_S = 0.2
"""Seconds between two looks of a reader, waiting for the owner, whether its connection is still wanted."""
BACKLOG, STUCK_S, LOOK_S = 500, 5.0, 0.005
"""Packets that wait to be sent, with which no order is taken; seconds in which one must go, and between two looks."""
HELD_S = 0.2
"""Seconds that a sender may take; one that takes longer hangs in it, and is woken by the connection's end."""
HEADER = re.compile(r"([0-6])(?:(\d{1,10})-)?(?:(/[^,]{0,200}),?)?(\d{1,19}(?!\d))?")
"""Of a Socket.IO packet: its type, its number of attachments, its namespace, its number."""


class Session:
    """`start` begins; `Connected` is posted at most once, then or instead `Disconnected` exactly once, unless
    abandoned. `limit_s` is the time it has to be accepted; its owner abandons it past that. `fall_back`: polling is
    tried too where a websocket's handshake is swallowed or cut, which may be an accident the first time.
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
        self.last_packet_s = 0.0
        self._callbacks = callbacks
        self._log = log
        self._resolver = resolver
        self._fall_back = fall_back
        self._phase = "starting"
        self._delivery = Delivery()
        # guards the flags: the end is reported once, and so is the beginning
        self._state = threading.Lock()
        self._ended = False
        self._dialer: Dialer | None = None
        self._client: Client | None = None
        self._undecided = self._accepted = False
        # the reading thread's: what it is about to hand to the library, and attachments that are to come
        self._kind = ""
        self._raw = ""
        self._ack_id: int | None = None
        self._attachments = self._attached = 0

    def start(self) -> None:
        threading.Thread(target=self._connect, name="connect", daemon=True).start()

    @property
    def phase(self) -> str:
        """What is being waited for."""
        return self._phase or (self._dialer.phase if self._dialer else "starting")

    @property
    def reached(self) -> bool:
        """Whether a machine has answered at the master's address."""
        return self._dialer is not None and self._dialer.reached

    @property
    def max_payload(self) -> int | None:
        """Bytes of the largest packet that the master takes, None: it does not say."""
        return self._client.max_payload if self._client else None

    @property
    def on_the_way(self) -> tuple[object, ...]:
        """What was sent with `keep` and the master may not have read yet."""
        with self._delivery.lock:
            return self._delivery.undelivered(self.last_packet_s)

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
        self._cut()

    def useless(self) -> None:
        """Nothing came of this address: another one comes first next time."""
        if self._dialer:
            self._dialer.useless()

    def leave(self, timeout_s: float) -> None:
        """Send what is queued and say goodbye, in at most `timeout_s`; then as `abandon`."""
        if self._client and self._send("1"):
            self._client.flush(timeout_s)
        self.abandon()

    def end(self, failure: Failure, *, goodbye: bool = False) -> None:
        """The connection is over; `goodbye`: the master said so, and was there to read what had arrived."""
        with self._state:
            if self._ended:
                return
            self._ended = True
        arrived = goodbye and self._client is not None and self._client.all_arrived()
        lock = self._delivery.lock
        hangs = not lock.acquire(timeout=HELD_S)
        if hangs:
            self._cut()
            lock.acquire()
        try:
            undelivered = () if arrived and not hangs else self._delivery.undelivered(self.last_packet_s)
        finally:
            lock.release()
        self._callbacks.post(Disconnected(self, failure.bare(), undelivered))
        self._cut()

    def _cut(self) -> None:
        if self._dialer:
            self._dialer.cut()

    def _send(self, text: str, ack_id: int | None = None, keep: object | None = None) -> bool:
        client = self._client
        with self._delivery.lock:
            if client is None or self._ended or not client.is_up:
                return False
            waiting = client.waiting
            if self._delivery.has_room(waiting):
                client.send(text)
                self._delivery.sent(len(text), ack_id, keep)
                return True
        self.end(Failure(f"the master does not read: {waiting} packets wait for it"))
        return False

    # making the connection

    def _connect(self) -> None:
        try:
            self._attempt()
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is a failed attempt
            failure = explain(exc, self.target.url)
            if self._dialer and failure.cause == "no_answer" and time.monotonic() >= self._dialer.ends_s:
                blocked = failure.blocked
                failure = unanswered(self.target.url, self.limit_s, self.phase)
                failure.blocked = blocked
            self.end(failure)
            if self._dialer:
                self._dialer.close()
        if self._ended:
            self._cut()

    def _attempt(self) -> None:
        self._dialer = dialer = Dialer(self.target, self._resolver, time.monotonic() + self.limit_s)
        self._phase = ""
        failure = self._open("websocket") if EIO == 4 else None
        if failure and not failure.answered and not (failure.blocked and self._fall_back and dialer.reached):
            raise failure
        polled = self._open("polling") if failure or EIO == 3 else None
        if polled:
            raise failure if failure and failure.permanent and not polled.permanent else polled
        self._phase = self._phase or "waiting for the master to accept"

    def _open(self, transport: str) -> Failure | None:
        """Make the connection by one transport; why not, None: it stands, and the master may accept."""
        assert self._dialer  # noqa: S101 - for the type
        self._client = client = Client(self._dialer, self, self.target.auth, self.limit_s)
        # in version 3 the first poll admits a node, and its transport may change yet
        self._undecided = EIO == 3
        failure = client.open(transport, WEBSOCKET_SHARE if self._fall_back else 1.0)
        with self._state:
            self._undecided, accepted = False, self._accepted
        if failure:
            self._client = None
        elif accepted and EIO == 3:
            self._joined(client)
        return failure

    # the reading thread's

    def heard(self) -> None:
        """The master is alive."""
        self.last_packet_s = time.monotonic()

    def message(self, data: Any) -> None:
        """One Socket.IO packet, or an attachment of one."""
        client = self._client
        if client is None:
            return
        self.heard()
        client.heartbeat()
        try:
            self._take(client, data)
        except Exception as exc:  # noqa: BLE001 - a mad master's packet ends no thread
            shown = data if isinstance(data, str) else repr(data)[:200]
            self._log.warning(
                "received", event="unreadable", error=f"{type(exc).__name__}: {exc}"[:200], data=shown
            )
        finally:
            self._kind = ""

    def _take(self, client: Client, data: Any) -> None:
        if not isinstance(data, str):
            if not self._attachments:
                raise ValueError("binary data that no packet has announced")
            self._attachments -= 1
            self._attached += len(data)
            if self._attached > MESSAGE_LIMIT:
                self.end(Failure(f"a message of more than {MESSAGE_LIMIT >> 20} MiB", "not_a_master"))
            return
        self._attachments = 0  # those that are still missing do not come any more
        header = HEADER.match(data)
        if not header:
            raise ValueError("it has no type")
        kind, attachments, namespace, number = header.groups()
        self._kind, self._raw = kind, data[header.end() :]
        self._ack_id = None if number is None else int(number)
        if namespace not in (None, "/"):
            self._ack_id = None
            if kind != "2":
                raise ValueError("it is of another namespace")
        if self._raw[:1].isdigit() or (kind == "2" and not self._raw.startswith("[")):
            raise ValueError("it is no event")
        match kind:
            case "0" if EIO == 4 and not self._raw.startswith("{"):
                self.end(mismatch())
            case "1":
                self.end(Failure("the master disconnected this node", "refused"), goodbye=True)
            case "3":
                self._acknowledged()
            case "5" | "6":
                self._attachments, self._attached = int(attachments or 0), 0
                raise ValueError("it has binary data, as no order has")
            case _:
                # the library would acknowledge an event at once; orders are acknowledged when they are obeyed
                client.pass_on(kind + self._raw)

    def triggered(self, event: str, args: tuple[Any, ...]) -> None:
        """What the library makes of a packet."""
        if self._kind == "2":
            self._event(event, args)
        elif self._kind == "4" and event == "connect_error":
            said = args[0] if args else None
            self.end(rejected(said.get("message") if isinstance(said, dict) else said), goodbye=True)
        elif self._kind == "0" and event == "connect" and self._client:
            self._joined(self._client)

    def _joined(self, client: Client) -> None:
        with self._state:
            self._accepted = True
            if self._undecided:
                return
        sid = client.sid
        if not isinstance(sid, str) or self._dialer is None:
            self.end(mismatch())
            return
        client.accepted()
        self._phase = "connected"
        self._callbacks.post(Connected(self, sid, client.transport, self._dialer.local_ip, client.quiet_s))

    def _event(self, event: Any, args: tuple[Any, ...]) -> None:
        raw, ack_id = self._raw, self._ack_id
        name = event if isinstance(event, str) else compact_json([event])
        number = next(order_numbers) if name in ORDERS else None
        self._log.info("received", event=name, data=payload.shown(name, args, raw), order=number)
        if number:
            self._wait_for_room()
            order = order_of(self, number, name, args, raw, ack_id)
            # what was read ahead when the connection ended is handed over all the same
            while not self._callbacks.post_order(order, 0.0 if self._ended else WAIT_S):
                self.heard()  # it is not the master that is silent
        elif ack_id is not None:
            self._send(f"3{ack_id}[]")

    def _wait_for_room(self) -> None:
        """Take no order while many answers wait to be sent: TCP pushes back on the master. One that takes none of them
        for long is left.
        """
        client, since_s = self._client, time.monotonic()
        waiting = client.waiting if client else 0
        while client and not self._ended and client.waiting >= BACKLOG:
            if client.waiting < waiting:
                waiting, since_s = client.waiting, time.monotonic()
                self.heard()
            elif time.monotonic() - since_s > STUCK_S:
                self.end(Failure(f"the master does not read: {waiting} packets wait for it"))
            time.sleep(LOOK_S)

    def _acknowledged(self) -> None:
        ack_id = self._ack_id
        if ack_id is None:
            return
        # whatever else a mad master acknowledges would fill the inbox
        asked = self._delivery.acknowledged(ack_id)
        if ack_id == JOIN_ACK_ID:
            if asked:
                self._callbacks.post(JoinAcknowledged(self, payload.reason(self._raw)))
            return
        self._callbacks.acknowledged(ack_id)
