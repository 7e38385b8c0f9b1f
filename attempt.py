"""One connection to a master: a fresh Socket.IO client, used once, from the first packet to the last.

What the client library would do in threads and handlers of its own is taken from it here: every packet is
handled on its reading thread in the order of its arrival, acknowledgements are matched by their number, and
the end, whatever brought it, is reported exactly once.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

import engineio
import requests
import requests.adapters
import socketio
from engineio.payload import Payload
from requests.utils import select_proxy
from socketio.packet import ACK, DISCONNECT, EVENT

from failure import EIO3, Failure, explain, explain_answer
from logging_setup import Log, compact_json

LARGE = 8192
"""Characters above which a message is logged as it came instead of being written as JSON anew."""
HANDSHAKE_LIMIT = 65536
_SOCKET_TIMEOUT_S = 4.0


@dataclass(frozen=True)
class Up:
    """The master accepted: `local_ip` is this end of the connection, None behind a proxy."""

    attempt: Attempt
    sid: str
    transport: str
    local_ip: Optional[str]
    quiet_s: float


@dataclass(frozen=True)
class Down:
    """The attempt failed, or the connection that it had become ended."""

    attempt: Attempt
    failure: Failure


@dataclass(frozen=True)
class Received:
    """An event of the master that is for the owner: `data` as decoded, `ack_id` None where none is asked for."""

    attempt: Attempt
    event: str
    data: Any
    ack_id: Optional[int]
    arrived_s: float


@dataclass(frozen=True)
class Hooks:
    """Called from the connection's threads; none may block or raise."""

    post: Callable[[object], None]
    acknowledged: Callable[[int], None]
    orders: frozenset[str]


@dataclass(frozen=True)
class Target:
    """A master and how to speak to it. `auth` goes to it alone; `ca_file` None: the system's CAs."""

    url: str
    auth: Optional[dict[str, Any]]
    ca_file: Optional[Path]


class Attempt:
    """`start` begins; `Up` is posted at most once, then or instead `Down` exactly once, unless abandoned."""

    def __init__(self, target: Target, hooks: Hooks, log: Log) -> None:
        self.target = target
        self.phase = "starting"
        self.last_packet_s = 0.0
        self._hooks = hooks
        self._log = log
        # held to number and order what is sent: the library's emit is not thread-safe
        self._sending = threading.Lock()
        # guards the two flags and the sockets below
        self._state = threading.Lock()
        self._ended = False
        self._sockets: list[socket.socket] = []
        self._client: Optional[_Client] = None

    def start(self) -> None:
        threading.Thread(target=self._connect, name="connect", daemon=True).start()

    def send(self, event: str, data: object, ack_id: Optional[int] = None) -> bool:
        """Queue an event; False: the connection is down, nothing was queued. Any thread."""
        return self._send(socketio.packet.Packet(EVENT, data=[event, data], id=ack_id))

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

    def end(self, failure: Failure) -> None:
        with self._state:
            if self._ended:
                return
            self._ended = True
        self._hooks.post(Down(self, failure))
        self._cut()

    # the reading thread's

    def joined(self, client: _Client, data: object) -> None:
        sid = data.get("sid") if isinstance(data, dict) else None
        if not isinstance(sid, str):
            self.end(Failure(EIO3, mend=True))
            return
        eio = client.eio
        local = None
        if self._sockets:
            try:
                local = self._sockets[-1].getsockname()[0]
            except OSError:
                pass
        quiet_s = eio.ping_interval + eio.ping_timeout
        self._hooks.post(Up(self, sid, eio.current_transport, local, quiet_s))

    def received(self, ack_id: Optional[int], args: list[Any], raw: str) -> None:
        event = args[0] if args and isinstance(args[0], str) else compact_json(args[:1])
        data = args[1] if len(args) == 2 else args[1:] or None
        shown = raw if len(raw) > LARGE else compact_json(data)
        self._log.info("received", event=event, data=None if len(args) < 2 else shown)
        if event in self._hooks.orders:
            self._hooks.post(Received(self, event, data, ack_id, time.monotonic()))
        elif ack_id is not None:
            self._send(socketio.packet.Packet(ACK, data=[], id=ack_id))

    def unreadable(self, raw: object, exc: Exception) -> None:
        shown = raw if isinstance(raw, str) else f"<{len(raw)} bytes>" if isinstance(raw, bytes) else repr(raw)
        self._log.warning("received", event="unreadable", error=f"{type(exc).__name__}: {exc}", data=shown)

    def acknowledged(self, ack_id: Optional[int]) -> None:
        if ack_id is not None:
            self._hooks.acknowledged(ack_id)

    # making the connection

    def _send(self, packet: socketio.packet.Packet) -> bool:
        client = self._client
        with self._sending:
            if client is None or self._ended or client.eio.state != "connected":
                return False
            client._send_packet(packet)  # noqa: SLF001
            return True

    def _cut(self) -> None:
        """Shut the sockets down: that wakes every thread that waits on them, where closing would not."""
        with self._state:
            sockets, self._sockets = self._sockets, []
        eio = self._client.eio if self._client else None
        if eio is not None and eio.ws is not None and eio.ws.sock is not None:
            sockets.append(eio.ws.sock)
        for sock in sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _keep(self, sock: socket.socket) -> socket.socket:
        with self._state:
            if not self._ended:
                self._sockets.append(sock)
                return sock
        sock.close()
        raise Failure("given up")

    def _connect(self) -> None:
        url = self.target.url
        try:
            try:
                self._connect_by("websocket")
            except Exception as exc:
                # whatever a server's answer makes the libraries raise is a failed attempt
                failure = explain(exc, url)
                if failure.answered is None:
                    raise failure from exc
                # it speaks HTTP, but no websocket comes through: polling may, or tells why not
                self._ask_by_polling()
                self._connect_by("polling")
        except Exception as exc:
            self.end(explain(exc, url))

    def _connect_by(self, transport: str) -> None:
        with self._session() as session:
            options: dict[str, Any] = {"redirect_limit": 0, "skip_utf8_validation": True}
            if not select_proxy(self.target.url, session.proxies):
                if transport == "websocket":
                    options["socket"] = self._open_socket()
            self.phase = f"in the {transport} handshake"
            client = _Client(self, session, options)
            self._client = client
            client.connect(
                self.target.url, auth=self.target.auth, transports=[transport], namespaces=["/"], wait=False
            )
            self.phase = "waiting for the master to accept"

    def _ask_by_polling(self) -> None:
        self.phase = "in the polling handshake"
        url = f"{self.target.url}/socket.io/?EIO=4&transport=polling"
        with self._session() as session, session.get(url, timeout=_SOCKET_TIMEOUT_S, stream=True) as answer:
            body = answer.raw.read(HANDSHAKE_LIMIT, decode_content=True)
            if not (answer.ok and body.startswith(b"0{")):
                kind = answer.headers.get("content-type", "")
                raise explain_answer(answer.status_code, kind, body, self.target.url)

    def _open_socket(self) -> socket.socket:
        parts = urlsplit(self.target.url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        self.phase = f"looking up {host}"
        found = socket.getaddrinfo(host, parts.port or (443 if secure else 80), type=socket.SOCK_STREAM)
        self.phase = "connecting"
        trouble: Optional[OSError] = None
        for family, kind, protocol, _, address in found:
            sock = self._keep(socket.socket(family, kind, protocol))
            try:
                sock.settimeout(_SOCKET_TIMEOUT_S / len(found))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
                sock.settimeout(_SOCKET_TIMEOUT_S)
                if secure:
                    self.phase = "in the TLS handshake"
                    ca_file = str(self.target.ca_file) if self.target.ca_file else None
                    context = ssl.create_default_context(cafile=ca_file)
                    sock = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
                    self._keep(sock).do_handshake()
                return sock
            except ssl.SSLError:
                sock.close()
                raise
            except OSError as exc:
                sock.close()
                trouble = exc
        raise trouble or OSError(f"no address for {host}")

    def _session(self) -> requests.Session:
        """Settings of both transports: proxies of the environment, but never its CAs; no redirects."""
        session = _Session(self._keep)
        session.proxies = requests.utils.get_environ_proxies(self.target.url)
        if self.target.ca_file:
            session.verify = str(self.target.ca_file)
        return session


class _Session(requests.Session):
    """Follows no redirect, and hands every socket to the attempt, which can then cut it."""

    def __init__(self, keep: Callable[[socket.socket], socket.socket]) -> None:
        super().__init__()
        self.trust_env = False
        for scheme in ("http://", "https://"):
            adapter = requests.adapters.HTTPAdapter()
            _hand_over(adapter, keep)
            self.mount(scheme, adapter)

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["allow_redirects"] = False
        return super().request(*args, **kwargs)


def _hand_over(adapter: requests.adapters.HTTPAdapter, keep: Callable[[socket.socket], socket.socket]) -> None:
    """Make the adapter's connections give their sockets to `keep` as soon as they are connected."""
    manager = adapter.poolmanager
    pools = {}
    for scheme, pool in manager.pool_classes_by_scheme.items():

        class Connection(pool.ConnectionCls):  # type: ignore[misc,name-defined]
            def _new_conn(self) -> socket.socket:
                return keep(super()._new_conn())

        pools[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": Connection})
    manager.pool_classes_by_scheme = pools


class _LibraryLog:
    """Takes the library's log: its last warning is why a connection ended, its errors go to comms.log."""

    def __init__(self, log: Log) -> None:
        self.last = ""
        self._log = log

    def info(self, *args: object) -> None:
        pass

    def warning(self, text: str, *args: object) -> None:
        self.last = text % args

    def error(self, text: str, *args: object) -> None:
        self._log.warning("library", name="socketio", text=text % args)

    exception = error


class _Engine(engineio.Client):  # type: ignore[misc]
    """Engine.IO, with messages handled on the reading thread instead of a new thread for each."""

    attempt: Attempt

    def _trigger_event(self, event: str, *args: Any, **kwargs: Any) -> Any:
        kwargs["run_async"] = False
        return super()._trigger_event(event, *args, **kwargs)

    def _receive_packet(self, pkt: engineio.packet.Packet) -> None:
        self.attempt.last_packet_s = time.monotonic()
        if pkt.packet_type == engineio.packet.CLOSE:
            # the library would wait for this very thread
            self.attempt.end(Failure("the master closed the connection"))
        else:
            super()._receive_packet(pkt)


class _Client(socketio.Client):  # type: ignore[misc]
    """Socket.IO, with each kind of packet handed to the attempt that made it."""

    def __init__(self, attempt: Attempt, session: requests.Session, options: dict[str, Any]) -> None:
        self._attempt = attempt
        self._ear = _LibraryLog(attempt._log)  # noqa: SLF001
        Payload.max_decode_packets = 10_000
        super().__init__(
            reconnection=False,
            handle_sigint=False,
            logger=self._ear,
            engineio_logger=self._ear,
            http_session=session,
            request_timeout=_SOCKET_TIMEOUT_S,
            websocket_extra_options=options,
        )
        self.eio.attempt = attempt

    def _engineio_client_class(self) -> type[_Engine]:
        return _Engine

    def _handle_eio_message(self, data: Any) -> None:
        try:
            self._raw = data if isinstance(data, str) else ""
            super()._handle_eio_message(data)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as exc:
            self._binary_packet = None
            self._attempt.unreadable(data, exc)

    def _handle_connect(self, namespace: Optional[str], data: Any) -> None:
        if (namespace or "/") == "/":
            self.namespaces["/"] = self.sid
            self._attempt.joined(self, data)

    def _handle_disconnect(self, namespace: Optional[str]) -> None:
        self._attempt.end(Failure("the master disconnected this node"))

    def _handle_event(self, namespace: Optional[str], id: Optional[int], data: Any) -> None:  # noqa: A002
        self._attempt.received(id, data if isinstance(data, list) else [data], self._raw)

    def _handle_ack(self, namespace: Optional[str], id: Optional[int], data: Any) -> None:  # noqa: A002
        self._attempt.acknowledged(id)

    def _handle_error(self, namespace: Optional[str], data: Any) -> None:
        reason = data.get("message") if isinstance(data, dict) else data
        self._attempt.end(Failure(f"the master refused this node: {reason}", mend=True))

    def _handle_eio_disconnect(self, reason: str) -> None:
        self._attempt.end(Failure(self._ear.last or str(reason)))

