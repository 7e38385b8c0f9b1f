"""A burst of events of 500 bytes, sent faster than any client reads: the worker beside a bare client.

    python -m bench.burst [EVENTS ...]

For each number of events (default 20000 and 100000): how many were logged and whether in order, how long it took, the
CPU time of one, and by how much the memory grew. The bare client is python-socketio's as its documentation shows it,
with logging's FileHandler. The master is a bare socket that speaks Engine.IO 4 by websocket (RFC 6455). Linux only: it
reads /proc.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bench.measure import BARE, ROOT, WORKER, cpu_s, machine, memory_kib

SIZE = 500
QUIET_S = 3.0
"""Seconds without a new line after which no more are expected."""
SILENT_S = 20
"""Seconds after which a client that reads nothing is given up."""
BARE_LOGGER = """
import logging, socketio, sys
logging.basicConfig(filename=sys.argv[2], level=logging.INFO, format="[%(asctime)s] : [%(levelname)s] - [%(message)s]")
for name in ("socketio", "engineio"):
    logging.getLogger(name).setLevel(logging.ERROR)
sio = socketio.Client()
sio.on("news", lambda data: logging.info("received event=news data=%s", data))
sio.connect(sys.argv[1], transports=["websocket"])
sio.wait()
"""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_OPEN = '0{"sid":"bench","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'


def frame(text: str) -> bytes:
    """Return a text frame as a server sends it."""
    data = text.encode()
    if len(data) < 126:
        return struct.pack("!BB", 0x81, len(data)) + data
    return struct.pack("!BBH", 0x81, 126, len(data)) + data


class Sender:
    """A master for one client: answers its pings and sends frames. `ready` is set once the client has joined."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.ready = threading.Event()
        self.ended = threading.Event()
        self._sock: socket.socket | None = None
        # a frame must go out whole
        self._sending = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def send(self, *frames: bytes) -> None:
        """Send in pieces, so that answers to pings find room between them. Raises OSError when the client is gone."""
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
    """Return the next frame of a client, unmasked. Raises struct.error at the end."""
    size = struct.unpack("!xB", stream.read(2))[0] & 0x7F
    if size == 126:
        size = struct.unpack("!H", stream.read(2))[0]
    elif size == 127:
        size = struct.unpack("!Q", stream.read(8))[0]
    mask = stream.read(4)
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(stream.read(size))).decode(errors="replace")


@dataclass(frozen=True)
class Result:
    """`cpu_us` is the CPU time of one event that was logged, in microseconds."""

    logged: int
    in_order: bool
    took_s: float
    cpu_us: float
    grew_mib: float


def command(name: str, url: str, log: Path) -> list[str]:
    if name == WORKER:
        return [sys.executable, "client.py", "--env-file", os.devnull]
    return [sys.executable, "-c", BARE_LOGGER, url, str(log)]


def run(name: str, events: int) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        sender = Sender()
        log = Path(folder, "comms.log" if name == WORKER else "log")
        environ = {
            **os.environ,
            "NODE_ID": "3",
            "MASTER_URL": sender.url,
            "VIP_BACKEND": "simulated",
            "LOG_DIR": folder,
            "LOG_CONSOLE": "0",
            "LOG_MAX_BYTES": "0",
        }
        process = subprocess.Popen(
            command(name, sender.url, log),
            cwd=ROOT,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            if not sender.ready.wait(20):
                sys.exit(f"{name} did not connect")
            time.sleep(1)
            before_s, before_kib = cpu_s(process.pid), memory_kib(process.pid)["Rss"]
            began_s = time.monotonic()
            frames = [frame(_event(number)) for number in range(events)]
            with contextlib.suppress(OSError):  # it is gone: what it has logged is counted
                sender.send(*frames)
            size, grown_s, peak_kib = -1, time.monotonic(), 0
            while time.monotonic() - grown_s < QUIET_S:
                time.sleep(0.1)
                peak_kib = max(peak_kib, memory_kib(process.pid)["Rss"])
                now = log.stat().st_size if log.exists() else 0
                if now != size:
                    size, grown_s = now, time.monotonic()
            used_s = cpu_s(process.pid) - before_s
            numbers = [int(number) for number in re.findall(r"news.*?\bn\W+(\d+)", log.read_text())]
            return Result(
                len(numbers),
                numbers == sorted(numbers),
                grown_s - began_s,
                used_s * 1e6 / max(1, len(numbers)),
                (peak_kib - before_kib) / 1024,
            )
        finally:
            process.kill()
            process.wait()
            sender.close()


def _event(number: int) -> str:
    head = f'42["news",{{"n":{number},"pad":"'
    return head + "x" * (SIZE - len(head) - 3) + '"}]'


def main() -> None:
    counts = [int(text) for text in sys.argv[1:]] or [20_000, 100_000]
    print(f"events of {SIZE} bytes into a log; {machine()}")
    print(f"{'':14} {'events':>8} {'lost':>8} {'in order':>9} {'s':>7} {'CPU µs each':>12} {'MiB more':>9}")
    for events in counts:
        for name in (WORKER, BARE):
            result = run(name, events)
            print(
                f"{name:14} {events:8} {events - result.logged:8} {'yes' if result.in_order else 'no':>9}"
                f" {result.took_s:7.1f} {result.cpu_us:12.1f} {result.grew_mib:9.1f}"
            )


if __name__ == "__main__":
    main()
