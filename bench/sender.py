"""A master that only sends, faster than any client reads: Engine.IO 4 by websocket (RFC 6455) on a bare socket."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import struct
import threading
from typing import BinaryIO, Optional

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_OPEN = '0{"sid":"bench","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
SILENT_S = 20


def frame(text: str) -> bytes:
    """A text frame of a server."""
    data = text.encode()
    if len(data) < 126:
        return struct.pack("!BB", 0x81, len(data)) + data
    return struct.pack("!BBH", 0x81, 126, len(data)) + data


class Sender:
    """Takes one client, answers its pings, and sends what it is told. `ready` is set once the client has joined."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.ready = threading.Event()
        self.ended = threading.Event()
        self._sock: Optional[socket.socket] = None
        # a frame must go out whole
        self._sending = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def send(self, *frames: bytes) -> None:
        """In pieces, so that answers to pings find room between them. OSError: the client has gone, or has read
        nothing for SILENT_S.
        """
        if self._sock is None:
            raise OSError("nobody has connected")
        for at in range(0, len(frames), 500):
            with self._sending:
                self._sock.sendall(b"".join(frames[at : at + 500]))

    def close(self) -> None:
        for sock in (self._listener, self._sock):
            if sock is not None:
                sock.close()

    def _serve(self) -> None:
        try:
            sock = self._listener.accept()[0]
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", SILENT_S, 0))
            self._sock = sock
            stream = sock.makefile("rb")
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += stream.readline()
            found = re.search(rb"(?i)sec-websocket-key: (\S+)", head)
            key = found.group(1) if found else b""
            accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
            sock.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + frame(_OPEN)
            )
            while True:
                text = _read(stream)
                ping = re.match(r'42(\d+)\["ping"', text)
                if text.startswith("40"):
                    self.send(frame('40{"sid":"bench"}'))
                    self.ready.set()
                elif ping:
                    self.send(frame(f"43{ping.group(1)}[]"))
        except (OSError, struct.error, ValueError):
            self.ended.set()


def _read(stream: BinaryIO) -> str:
    """The next frame of a client, unmasked. struct.error: there is none."""
    size = struct.unpack("!xB", stream.read(2))[0] & 0x7F
    if size == 126:
        size = struct.unpack("!H", stream.read(2))[0]
    elif size == 127:
        size = struct.unpack("!Q", stream.read(8))[0]
    mask = stream.read(4)
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(stream.read(size))).decode(errors="replace")
