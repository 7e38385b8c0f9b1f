"""One connection to a master: a fresh Socket.IO client, used once, from the first packet to the last.

Only documented parts of python-socketio, python-engineio, requests and websocket-client are used. Messages are
handled on the library's reading thread, in the order of their arrival: a full inbox makes TCP push back on the
master. The end, whatever brought it, is reported exactly once.
"""

from __future__ import annotations

import itertools
import logging
import math
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import socketio
from engineio.payload import Payload

from connection import eio3, payload
from connection.dial import Dialer, Target
from connection.errors import Failure, explain, mismatch, no_handshake, rejected, unanswered
from connection.polling import PollingAdapter
from connection.protocol import EIO
from connection.resolve import Resolver
from connection.stream import MESSAGE_LIMIT, Stream, WebSocket
from logging_setup import EventLogger, compact_json

WEBSOCKET_SHARE = 0.4
"""Of an attempt's time, what a websocket's handshake may take before polling is tried."""
ORDERS = {"recover": ("disconnected_node", "recovery_node", "ip", "netmask", "active_neighbors"),
          "restore": ("restore_node",)}  # fmt: skip
ORDER_BYTES = 64 << 10
"""Bytes of an order's JSON; a larger one is refused before it is kept."""
ERROR_CHARS = 1000
"""Characters that are kept of a master's reason."""
CUT_BYTES = 1024
"""Of those that come back of an order that is refused for its size."""
LARGE = 8192
"""Characters above which a message is logged as it came, even where it is no compact JSON."""
WAIT_S = 0.2
"""Seconds between two looks of a reader, waiting for the owner, whether its connection is still wanted."""
HASTE_S = 0.1
"""Seconds that a master may take to read what arrived."""
HELD_S = 0.2
"""Seconds that a sender may take; one that takes longer hangs in it, and is woken by the connection's end."""
UNREAD, UNREAD_BYTES = 2000, 4 << 20
"""Packets that may wait for a master that reads nothing; with more the connection is ended."""
KEPT_BYTES = 4 << 20
"""Of the answers that are kept until an acknowledgement comes; with more, the oldest count as delivered."""
POST_PACKETS = 16
"""What a master's library takes in one request; of more, the old one drops all."""
Payload.max_decode_packets = (
    200_000  # in one answer to a poll: the master's library sends there all that waits
)
JOIN_ACK_ID = 10**15
"""The number of a join's acknowledgement, above those of all pings."""
HEADER = re.compile(r"([0-6])(?:(\d{1,10})-)?(?:(/[^,]{0,200}),?)?(\d{1,19}(?!\d))?")
"""Of a Socket.IO packet: its type, its number of attachments, its namespace, its number."""
_numbers = itertools.count(1)  # of this run's orders, whichever connection they come on
QUIET_LIBRARY = logging.getLogger("connection.library")
QUIET_LIBRARY.setLevel(logging.CRITICAL)  # what it has to say is in our own lines


@dataclass(frozen=True)
class Connected:
    """The master accepted: `local_ip` is this end of the connection, None behind a proxy."""

    session: Session
    sid: str
    transport: str
    local_ip: str | None
    quiet_s: float


@dataclass(frozen=True)
class Disconnected:
    """The attempt failed, or the connection that it had become ended.

    `undelivered` is, of what was sent with `keep`, what the master may not have, in its order.
    """

    session: Session
    failure: Failure
    undelivered: tuple[object, ...] = ()


@dataclass(frozen=True)
class OrderReceived:
    """An event of the master that is for the owner. `number` is its own in this run. `ack_id` is None where no acknowledgement is asked for; `fault`
    says why the order is refused whatever it holds, and then only its own keys are here, cut.
    """

    session: Session
    event: str
    raw: bytes
    ack_id: int | None
    arrived_s: float
    number: int = 0
    fault: str | None = None

    @property
    def data(self) -> Any:
        """What the master sent with it, decoded. It waits as bytes, whose number is bounded, as objects' is not."""
        return payload.loads(self.raw)


@dataclass(frozen=True)
class JoinAcknowledged:
    """The master has read a `join`; `error` says why it refuses this node, None: it does not."""

    session: Session
    error: str | None


@dataclass(frozen=True)
class Callbacks:
    """Called from the connection's threads; none may block or raise.

    `post_order` may wait for as long as it is told, and returns False when it then could not take the order; told 0
    it takes it.
    """

    post: Callable[[object], None]
    post_order: Callable[[OrderReceived, float], bool]
    acknowledged: Callable[[int], None]


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
        self.max_payload: int | None = None
        self._callbacks = callbacks
        self._log = log
        self._resolver = resolver
        self._fall_back = fall_back
        self._phase = "starting"
        # held to order what is sent and to keep it: the library's methods are not thread-safe; guards the next five
        self._sending = threading.Lock()
        self._last_ack_id = 0
        self._kept: deque[tuple[int, float, int, object]] = deque()
        self._sizes: deque[int] = deque(maxlen=UNREAD)
        self._acknowledges = False
        self._joins = 0
        # guards the flags: the end is reported once, and so is the beginning
        self._state = threading.Lock()
        self._ended = False
        self._dialer: Dialer | None = None
        self._client: Any = None
        self._polling: PollingAdapter | None = None
        self._stream: Stream | None = None
        self._quiet_s = 0.0
        self._upgrading = self._accepted = False
        self._loops = 0
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
    def on_the_way(self) -> tuple[object, ...]:
        """What was sent with `keep` and the master may not have read yet."""
        with self._sending:
            return tuple(self._undelivered())

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
        client = self._client
        if client and not self._ended:
            self._send("1")
            outbox = client.eio.queue
            with outbox.all_tasks_done:
                outbox.all_tasks_done.wait_for(lambda: not outbox.unfinished_tasks, timeout_s)
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
            read = goodbye and not hangs and self._all_arrived()
            undelivered = () if read else tuple(self._undelivered())
        finally:
            self._sending.release()
        self._callbacks.post(Disconnected(self, failure, undelivered))
        self._cut()

    def _cut(self) -> None:
        if self._dialer:
            self._dialer.cut()
        if self._polling:
            self._polling.session.close()

    def _close(self) -> None:
        """No thread uses a socket any more."""
        if self._stream:
            self._stream.close()
        if self._dialer:
            self._dialer.close()

    # what is sent

    def _send(self, text: str, ack_id: int | None = None, keep: object | None = None) -> bool:
        client = self._client
        with self._sending:
            if client is None or self._ended or client.eio.state != "connected":
                return False
            waiting = client.eio.queue.qsize()
            waiting_bytes = sum(list(self._sizes)[-waiting:]) if waiting else 0
            if waiting < UNREAD and waiting_bytes < UNREAD_BYTES:
                client.eio.send(text)
                self._sizes.append(len(text))
                if keep is not None:
                    self._kept.append((self._last_ack_id, time.monotonic(), len(text), keep))
                    while len(self._kept) > UNREAD or sum(size for _, _, size, _ in self._kept) > KEPT_BYTES:
                        self._kept.popleft()
                elif ack_id == JOIN_ACK_ID:
                    self._joins += 1
                elif ack_id is not None:
                    self._last_ack_id = ack_id
                return True
        self.end(Failure(f"the master does not read: {waiting} packets wait for it"))
        return False

    def _undelivered(self) -> Iterator[object]:
        """What no acknowledgement proves to have been read: what arrived at its machine was not where the master
        hung, or a proxy lost it. A master that acknowledges nothing has read what was sent before it last spoke.
        """
        since_s = -math.inf if self._acknowledges else self.last_packet_s - HASTE_S
        return (what for _, at_s, _, what in self._kept if at_s > since_s)

    def _all_arrived(self) -> bool:
        """Whether the other machine has every byte that was sent, soon; False where that is not known."""
        stream, eio, ends_s = self._stream, self._client and self._client.eio, time.monotonic() + HASTE_S
        while stream and time.monotonic() < ends_s:
            ends = eio.state != "connected"  # whose mark the library leaves in its queue
            if eio.queue.unfinished_tasks <= ends and stream.undelivered() == 0:
                return True
            time.sleep(0.002)  # the library says goodbye too
        return False

    # making the connection

    def _connect(self) -> None:
        try:
            self._attempt()
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is a failed attempt
            failure = explain(exc, self.target.url)
            if self._dialer and failure.cause == "no_answer" and time.monotonic() >= self._dialer.ends_s:
                failure = unanswered(self.target.url, self.limit_s, self.phase)
            self.end(failure)
            self._close()
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
        self._polling = PollingAdapter(self._dialer, self._heard, self._opened)
        options = {"reconnection": False, "logger": QUIET_LIBRARY, "json": payload,
                   "engineio_logger": QUIET_LIBRARY, "request_timeout": self.limit_s}  # fmt: skip
        try:
            if EIO == 3:
                client = eio3.make_client(self._polling.session, self._websocket_options, **options)
            else:
                websocket = self._websocket_options() if transport == "websocket" else {}
                client = socketio.Client(
                    http_session=self._polling.session,
                    websocket_extra_options=websocket,
                    handle_sigint=False,
                    **options,
                )
            self._prepare(client)
            if EIO == 3:
                self._upgrading = True
                eio3.connect(client, self.target.url)
                with self._state:
                    self._upgrading, accepted = False, self._accepted
                if accepted:
                    self._joined()
            else:
                client.connect(
                    self.target.url,
                    auth=self.target.auth,
                    transports=[transport],
                    namespaces=["/"],
                    wait=False,
                )
        except Exception as exc:  # noqa: BLE001 - whatever an answer makes the libraries raise
            client, self._client = self._client, None
            self._polling.session.close()
            if self._stream:
                self._stream.close()
            failure = self._fault or explain(exc, self.target.url)
            self._stream = None
            if client:
                client.eio.disconnect(abort=True)
            return failure
        return None

    def _websocket_options(self) -> dict[str, Any]:
        """What websocket-client is given for one websocket: a connected socket of ours."""
        assert self._dialer  # noqa: S101 - for the type
        sock = self._dialer.dial()
        self._dialer.phase = "in the websocket handshake"
        now = time.monotonic()
        ends_s = now + (WEBSOCKET_SHARE if self._fall_back else 1) * (self._dialer.ends_s - now)
        opened = self._opened if EIO == 4 else None
        self._stream = Stream(sock, self.target.url, ends_s, self._heard, opened, lambda: not self._ended)
        return {
            "class_": WebSocket,
            "socket": self._stream,
            "timeout": max(0.01, ends_s - now),
            "redirect_limit": 0,
            "skip_utf8_validation": True,
            # a browser's (RFC 6455 §4.1); behind a TLS proxy a master may take its scheme for a stranger's
            "suppress_origin": True,
        }

    def _prepare(self, client: Any) -> None:
        """Take over what the client would do in threads of its own."""
        self._client = client
        eio = client.eio
        client.register_namespace(_Namespace(self._triggered))
        self._pass_on = eio.handlers["message"]
        eio.on("message", self._message)
        library_disconnected = eio.handlers["disconnect"]

        def disconnected(*reason: Any) -> None:
            # told by the master, where the library still counts itself as connected it was not
            said = eio.state != "connected"
            gone = Failure("the master closed the connection", "master_gone")
            if self._client is client:
                self.end(gone if said else self._fault or gone, goodbye=said)
            library_disconnected(*reason)

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
        client = self._client
        self._loops += 1
        try:
            target()
        except Exception as exc:  # noqa: BLE001 - the library's own code, on what the master sent
            self.end(Failure(f"what the master sent ended it ({type(exc).__name__}: {exc})", "not_a_master"))
            client.eio.queue.put(None)
            client.eio.disconnect(abort=True)
        self.end(self._fault or Failure("the connection broke", "master_gone"))
        self._cut()
        self._loops -= 1
        if not self._loops:
            self._close()

    @property
    def _fault(self) -> Failure | None:
        """What the transports met first."""
        return (self._stream and self._stream.fault) or (self._polling and self._polling.fault) or None

    # the reading thread's

    def _heard(self) -> None:
        self.last_packet_s = time.monotonic()

    def _opened(self, opened: bytes) -> None:
        """Take an Engine.IO handshake. Raises Failure: it is none that a master sends."""
        url = self.target.url
        try:
            said = payload.first(opened[opened.index(b"{") :])
            times = [said["pingInterval"], said["pingTimeout"]]
            if not isinstance(said["sid"], str) or not isinstance(said["upgrades"], list):
                raise KeyError("sid, upgrades")
            if not all(isinstance(one, (int, float)) and 0 <= one <= 86_400_000 for one in times):
                raise ValueError(f"its ping interval and time-out are {times} ms")
        except (KeyError, TypeError, ValueError) as exc:
            raise no_handshake(url, f"{type(exc).__name__}: {exc}") from exc
        self._quiet_s = sum(times) / 1000
        limit = said.get("maxPayload")
        self.max_payload = limit if isinstance(limit, int) and limit > 0 else None

    def _message(self, data: Any) -> None:
        """One Socket.IO packet, or an attachment of one."""
        self._heard()
        if EIO == 3:
            eio3.heard(self._client)
        try:
            self._take(data)
        except Exception as exc:  # noqa: BLE001 - a mad master's packet ends no thread
            shown = data if isinstance(data, str) else repr(data)[:200]
            self._log.warning(
                "received", event="unreadable", error=f"{type(exc).__name__}: {exc}"[:200], data=shown
            )
        finally:
            self._kind = ""

    def _take(self, data: Any) -> None:
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
                self._pass_on(kind + self._raw)

    def _triggered(self, event: str, args: tuple[Any, ...]) -> None:
        """What the library makes of a packet."""
        if self._kind == "2":
            self._event(event, args)
        elif self._kind == "4" and event == "connect_error":
            said = args[0] if args else None
            self.end(rejected(said.get("message") if isinstance(said, dict) else said), goodbye=True)
        elif self._kind == "0" and event == "connect":
            self._joined()

    def _joined(self) -> None:
        with self._state:
            self._accepted = True
            if self._upgrading:  # in version 3 the first poll admits a node, and its transport may change yet
                return
        client, dialer = self._client, self._dialer
        # Socket.IO 2 has but one number for both layers
        sid = client.eio.sid if EIO == 3 else client.get_sid("/")
        if not isinstance(sid, str) or dialer is None:
            self.end(mismatch())
            return
        if self._stream:
            self._stream.settimeout(self._quiet_s or None)
        self._phase = "connected"
        transport = client.eio.current_transport
        self._callbacks.post(Connected(self, sid, transport, dialer.local_ip, self._quiet_s))

    def _event(self, event: Any, args: tuple[Any, ...]) -> None:
        raw, ack_id = self._raw, self._ack_id
        name = event if isinstance(event, str) else compact_json([event])
        number = next(_numbers) if name in ORDERS else None
        self._log.info("received", event=name, data=_shown(name, args, raw), order=number)
        if number:
            order = self._order(number, name, args, len(raw.encode(errors="replace")))
            # what was read ahead when the connection ended is handed over all the same
            while not self._callbacks.post_order(order, 0.0 if self._ended else WAIT_S):
                self._heard()  # it is not the master that is silent
        elif ack_id is not None:
            self._send(f"3{ack_id}[]")

    def _order(self, number: int, event: str, args: tuple[Any, ...], size: int) -> OrderReceived:
        data = args[0] if len(args) == 1 else list(args) or None
        fault = None
        if size > ORDER_BYTES:
            fault = f"the order has {size} bytes; at most {ORDER_BYTES} are taken"
            known = isinstance(data, dict) and {key: data[key] for key in ORDERS[event] if key in data}
            data = payload.shorten(known, CUT_BYTES) if isinstance(known, dict) else None
        raw = payload.encode(data).encode()
        return OrderReceived(self, event, raw, self._ack_id, time.monotonic(), number, fault)

    def _acknowledged(self) -> None:
        ack_id = self._ack_id
        if ack_id is None:
            return
        if ack_id == JOIN_ACK_ID:
            with self._sending:
                asked = self._joins > 0  # whatever else a mad master acknowledges would fill the inbox
                self._joins -= asked
            if asked:
                self._callbacks.post(JoinAcknowledged(self, _error(self._raw)))
            return
        with self._sending:
            self._acknowledges = True
            # whoever read the one has read what was sent before it
            while self._kept and self._kept[0][0] < ack_id:
                self._kept.popleft()
        self._callbacks.acknowledged(ack_id)


def _error(raw: str) -> str | None:
    """The reason in an acknowledgement `[{"error": "why"}]`; None: there is none."""
    try:
        data = payload.loads(raw) if len(raw) <= ORDER_BYTES else None
    except ValueError:
        return None
    first = data[0] if isinstance(data, list) and data else None
    error = first.get("error") if isinstance(first, dict) else None
    if error is None:
        return None
    return (error if isinstance(error, str) else compact_json(error))[:ERROR_CHARS]


def _shown(event: str, args: tuple[Any, ...], raw: str) -> str | None:
    """The data of an event as compact JSON, None: it has none. What came is that already, as a rule, and to write
    it anew takes longer.
    """
    if not args:
        return None
    head = f'["{event}",'
    large = len(raw) > LARGE
    if len(args) == 1 and raw.startswith(head) and (large or not any(loose in raw for loose in " \\\n\r\t")):
        return raw[len(head) : -1]
    return raw if large else compact_json(args[0] if len(args) == 1 else list(args))
