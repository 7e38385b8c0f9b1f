"""Masters for the tests: a plain one in a process of its own that takes commands, and raw ones with tricks."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import logging
import multiprocessing
import os
import re
import select
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest
import socketio
from werkzeug.serving import make_server

from tests.lab.ports import free_port
from tests.lab.waiting import until

# a process that has the libraries loaded and is forked for each master: they start in milliseconds
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.lab.masters", "tests.lab.director"])


@dataclass(frozen=True)
class Heard:
    """What a master noted: `event` is a Socket.IO event, `connect` (and `polls` before it, for one that has no socket
    of its own), `disconnect`, or `ack` and an event's name.
    """

    at_s: float
    event: str
    sid: str
    data: Any


class Master:
    """python-socketio's Server on werkzeug. `refuse` is the reason why nobody is let in, None: all are;
    `acks` False: pings are never acknowledged; `tls` a certificate's and a key's file.
    """

    def __init__(self, port=None, *, host="127.0.0.1", refuse=None, acks=True, tls=None, **server):
        self.host, self.port = host, port or free_port(host)
        self.url = f"http{'s' if tls else ''}://{'localhost' if tls else host}:{self.port}"
        self.heard = []
        # handlers that run one after the other note what they hear in its order
        self._options = (host, self.port, refuse, acks, tls, {"async_handlers": False, **server})
        self._process = self._pipe = None
        self.start()

    def start(self):
        self._pipe, theirs = FORKS.Pipe()
        self._process = FORKS.Process(target=_serve, args=(theirs, *self._options), daemon=True)
        self._process.start()
        theirs.close()
        since = len(self.heard)
        threading.Thread(target=self._listen, args=(self._pipe,), daemon=True).start()
        self.wait("listening", since=since)

    def _listen(self, pipe):
        with contextlib.suppress(EOFError, OSError):
            while True:
                self.heard.append(Heard(*pipe.recv()))

    def wait(self, event, n=1, *, since=0, limit_s=10.0, where=lambda heard: True):
        """The n-th of what it heard of that event, not counting the first `since` of all."""

        def found():
            return [h for h in self.heard[since:] if h.event == event and where(h)][n - 1 : n]

        return until(found, limit_s, lambda: f"{n} × {event} in {self.heard[since:]}")[0]

    def all(self, event):
        return [heard for heard in list(self.heard) if heard.event == event]

    @property
    def sids(self):
        """Those that are connected."""
        up = []
        for heard in list(self.heard):
            if heard.event == "connect":
                up.append(heard.sid)
            elif heard.event in ("disconnect", "refused"):
                up.remove(heard.sid)
            elif heard.event == "listening":
                up.clear()
        return up

    def emit(self, event, data, ack=False):
        self._pipe.send(("emit", event, data, ack))

    def order(self, event, data):
        """Emit with an acknowledgement asked for; returns that."""
        since = len(self.heard)
        self.emit(event, data, ack=True)
        return self.wait(f"ack {event}", since=since).data

    def kick(self):
        self._pipe.send(("kick",))

    def refuse(self, reason):
        self._pipe.send(("refuse", reason))

    def slow(self, seconds):
        """From now on each handler takes so long."""
        self._pipe.send(("slow", seconds))

    def burst(self, event, number, size, order=None):
        """Emit so many events, numbered, of so many bytes each; in the middle `order`, an event and its data."""
        self._pipe.send(("burst", event, number, size, order))

    def send(self, number):
        os.kill(self._process.pid, number)

    def kill(self):
        if self._process.is_alive():
            self.send(signal.SIGKILL)
        self._process.join()

    close = kill


def _serve(pipe, host, port, refuse, acks, tls, server):
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    lock = threading.Lock()
    refusal = [refuse]
    slow_s = [0.0]
    up = set()
    sio = socketio.Server(async_mode="threading", **server)

    def note(event, sid="", data=None):
        with lock, contextlib.suppress(OSError):
            pipe.send((time.monotonic(), event, sid, data))

    @sio.on("connect")
    def connect(sid, environ, auth):
        if "transport=polling" in environ.get("QUERY_STRING", ""):
            note("polls", sid)
        note("connect", sid, auth)
        if refusal[0]:
            note("refused", sid)
            raise socketio.exceptions.ConnectionRefusedError(refusal[0])
        up.add(sid)

    @sio.on("disconnect")
    def disconnect(sid, reason=None):  # older servers give none
        if sid in up:
            up.remove(sid)
            note("disconnect", sid, reason)

    @sio.on("*")
    def anything(event, sid, *args):
        note(event, sid, args[0] if len(args) == 1 else args)
        time.sleep(slow_s[0])
        return None if acks else sio.not_handled

    def acknowledged(event, sid, *data):
        note(f"ack {event}", sid, list(data))

    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    http = make_server(host, port, socketio.WSGIApp(sio), threaded=True, ssl_context=context)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    note("listening")
    with contextlib.suppress(EOFError):
        while True:
            what, *args = pipe.recv()
            if what == "refuse":
                refusal[0] = args[0]
            elif what == "slow":
                slow_s[0] = args[0]
            for sid in list(up):
                if what == "kick":
                    sio.disconnect(sid)
                elif what == "emit":
                    event, data, ack = args
                    wanted = functools.partial(acknowledged, event, sid)
                    sio.emit(event, data, to=sid, callback=wanted if ack else None)
                elif what == "burst":
                    event, number, size, order = args
                    for n in range(number):
                        sio.emit(event, {"n": n, "fill": "x" * size}, to=sid)
                        if order and n == number // 2:
                            sio.emit(*order, to=sid)
    os._exit(0)


class Raw:
    """Listens, and gives each connection and the head of its request to `act`, on a thread of its own."""

    def __init__(self, act, port=0, host="127.0.0.1"):
        self._act = act
        self._sockets = []
        self._closed = False
        self.heads = []
        self._listener = socket.create_server((host, port))
        self.host, self.port = self._listener.getsockname()[:2]
        self.url = f"http://{host}:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while not self._closed:
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            sock, _ = self._listener.accept()
            self._sockets.append(sock)
            threading.Thread(target=self._meet, args=(sock,), daemon=True).start()
        self._listener.close()

    def _meet(self, sock):
        with contextlib.suppress(OSError), sock:
            sock.settimeout(20)
            head = b""
            while b"\r\n\r\n" not in head:
                piece = sock.recv(4096)
                if not piece:
                    return
                head += piece
            self.heads.append(head)
            self._act(sock, head)

    def close(self):
        self._closed = True
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        # until the listener is closed the port cannot be used again
        until(lambda: self._listener.fileno() == -1, 5)


def http(status, body=b"", *headers, kind="text/plain"):
    """One HTTP answer as bytes."""
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    if not status.startswith("204"):
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answering(whole):
    """An `act` for Raw that gives one answer to everything."""
    return lambda sock, head: sock.sendall(whole)


def trickling(sock, head):
    """One byte a second of an answer that never ends."""
    for byte in b"HTTP/1.1 101 Switching Protocols\r\nX-Slow: " + b"z" * 100:
        sock.sendall(bytes([byte]))
        time.sleep(1)


def silent(sock, head):
    """Accepts, reads the request, and never says a word."""
    with contextlib.suppress(OSError):
        while sock.recv(4096):
            pass


OPEN = '0{"sid":"raw","upgrades":[],"pingInterval":25000,"pingTimeout":20000}'


def upgrade(sock, head):
    """The server's half of a websocket handshake (RFC 6455 §4.2.2)."""
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", head).group(1)
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
    sock.sendall(
        "\r\n".join(
            [
                "HTTP/1.1 101 Switching Protocols",
                "Upgrade: websocket",
                "Connection: Upgrade",
                f"Sec-WebSocket-Accept: {accept}",
                "",
                "",
            ]
        ).encode()
    )


def frame(message):
    """A websocket frame, a text's or a binary one (RFC 6455 §5.2)."""
    data = message if isinstance(message, bytes) else message.encode("utf-8", "surrogatepass")
    kind = 0x82 if isinstance(message, bytes) else 0x81
    if len(data) < 126:
        return struct.pack("!BB", kind, len(data)) + data
    if len(data) < 65536:
        return struct.pack("!BBH", kind, 126, len(data)) + data
    return struct.pack("!BBQ", kind, 127, len(data)) + data


def _exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise OSError("closed")
        data += piece
    return data


def read_frame(sock):
    """The next frame's payload as text; frames of a client are masked."""
    _, size = _exactly(sock, 2)
    size &= 0x7F
    if size == 126:
        size = int.from_bytes(_exactly(sock, 2), "big")
    elif size == 127:
        size = int.from_bytes(_exactly(sock, 8), "big")
    mask = _exactly(sock, 4)
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(_exactly(sock, size))).decode(
        "utf-8", "replace"
    )


class Puppet(Raw):
    """A master by hand: accepts a node by websocket, acknowledges its pings, and sends what `say` is given.

    `welcome` are the packets with which it answers, in place of those of a good master. `acks` may be changed at
    any time: whether it acknowledges, or after how many seconds.
    """

    def __init__(self, port=0, welcome=(OPEN, '40{"sid":"puppet"}')):
        self.said = []
        self.pings = []
        self.pings_s = []
        self.acks = True
        self.up = threading.Event()
        self._welcome = welcome
        self._node = None
        # a frame must go out whole
        self._sending = threading.Lock()
        super().__init__(self._converse, port)

    def _converse(self, sock, head):
        upgrade(sock, head)
        sock.sendall(frame(self._welcome[0]))
        read_frame(sock)
        for packet in self._welcome[1:]:
            sock.sendall(frame(packet))
        self._node = sock
        self.up.set()
        while True:
            text = read_frame(sock)
            ping = re.match(r'42(\d+)\["ping",(.*)\]$', text)
            if not ping:
                self.said.append(text)
                continue
            self.pings.append(ping.groups())
            self.pings_s.append(time.monotonic())
            if self.acks is True:
                self.say(f"43{ping.group(1)}[]")
            elif self.acks:
                threading.Timer(self.acks, self.say, (f"43{ping.group(1)}[]",)).start()

    def say(self, *messages):
        self.send_raw(b"".join(map(frame, messages)))

    def send_raw(self, data):
        with self._sending, contextlib.suppress(OSError):
            self._node.sendall(data)


class BlackHole:
    """An address that takes no connection: its queue is full, so every further SYN is dropped (Linux)."""

    def __init__(self, host="127.0.0.1", port=0):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family)
        self._listener.bind((host, port))
        self._listener.listen(0)
        self.url = f"http://{host}:{self._listener.getsockname()[1]}"
        self._fillers = []
        for _ in range(4):
            filler = socket.socket(family)
            filler.setblocking(False)
            filler.connect_ex(self._listener.getsockname())
            self._fillers.append(filler)

    def close(self):
        for sock in (self._listener, *self._fillers):
            sock.close()


class NameServer:
    """A name server of which a worker alone learns, by a /etc/resolv.conf of its own; Linux and root.

    `answers` False: it says nothing. `records` are the addresses of names, which may be changed; other names don't
    exist. Of the names in `silent_about`, `6` of IPv6 addresses, it says nothing. `delay_s` is for each answer.
    """

    def __init__(self, host, answers=True, records=None, silent_about=(), delay_s=0.0):
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("a name server of one's own needs Linux and root")
        self.records = records or {}
        self.asked = []
        self._silent_about = set(silent_about)
        self._delay_s = delay_s
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((host, 53))
        except OSError:  # another run of these tests has it
            host = f"127.54.{os.getpid() % 250 + 1}.{host.rpartition('.')[2]}"
            self._socket.bind((host, 53))
        self._host = host
        if answers:
            threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self):
        with contextlib.suppress(OSError):
            while True:
                query, sender = self._socket.recvfrom(512)
                if not query:
                    return
                answer = self._answer_to(query)
                if answer:
                    threading.Timer(self._delay_s, self._send, (answer, sender)).start()

    def _send(self, answer, sender):
        with contextlib.suppress(OSError):
            self._socket.sendto(answer, sender)

    def _answer_to(self, query):
        """An answer to one question (RFC 1035 §4.1), None: it gets none."""
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        question, (kind,) = query[12 : at + 5], struct.unpack("!H", query[at + 1 : at + 3])
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        name = ".".join(labels)
        self.asked.append((name, kind))
        if (kind == 28 and "6" in self._silent_about) or name in self._silent_about:
            return None
        found = self.records.get(name)
        packed = [
            socket.inet_pton(family, ip) for ip in found or () if family and (":" in ip) == (kind == 28)
        ]
        flags = b"\x81\x83" if found is None else b"\x81\x80"
        head = query[:2] + flags + struct.pack("!HHHH", 1, len(packed), 0, 0) + question
        return head + b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(one)) + one for one in packed
        )

    def settings(self, folder, *others):
        """What starts a worker in a mount namespace where this, and then others, are the only name servers."""
        folder.mkdir()
        lines = [f"nameserver {one._host}\n" for one in (self, *others)]
        (folder / "resolv.conf").write_text("".join(lines))
        mount = f'mount --bind "{folder}/resolv.conf" /etc/resolv.conf && exec "$0" "$@"'
        return {"before": ("unshare", "--mount", "sh", "-c", mount)}

    def close(self):
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
