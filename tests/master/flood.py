"""What strangers may do to a master, as fast as they can: `python -m tests.master.flood GROUP PORT SECONDS`.

Those of a group come at the same time, each from an address of its own; the first from 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections.abc import Awaitable, Callable

CLIENTS = 40
"""At once; IDLE for those that only sit there."""
IDLE = 1100
FULL_S = 0.5
"""After which all of them are at it."""


class Flood:
    def __init__(self, host: str, port: int, end: float) -> None:
        self._host, self._port, self._end = host, port, end

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port, local_addr=(self._host, 0))

    async def _request(self, head: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self._connect()
        writer.write(f"{head} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n".encode())
        return reader, writer

    async def _websocket(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self._request("GET /socket.io/?EIO=4&transport=websocket")
        writer.write(
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        return reader, writer

    async def _pour(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        while time.monotonic() < self._end:
            writer.write(data)
            await writer.drain()

    async def endless_frame(self) -> None:
        _, writer = await self._websocket()
        writer.write(b"\x81\xff" + struct.pack("!Q", 2**60) + b"\0\0\0\0")
        await self._pour(writer, b"x" * 65536)

    async def endless_message(self) -> None:
        _, writer = await self._websocket()
        writer.write(frame(b"x" * 1000, first_byte=0x01))
        await self._pour(writer, frame(b"x" * 1000, first_byte=0x00))

    async def tiny_messages(self) -> None:
        _, writer = await self._websocket()
        await self._pour(writer, frame(b"3") * 2000)

    async def pings(self) -> None:
        _, writer = await self._websocket()
        await self._pour(writer, frame(b"x" * 125, first_byte=0x89) * 500)

    async def pongs(self) -> None:
        _, writer = await self._websocket()
        await self._pour(writer, frame(b"", first_byte=0x8A) * 3000)

    async def empty_fragments(self) -> None:
        _, writer = await self._websocket()
        writer.write(frame(b"4", first_byte=0x01))
        await self._pour(writer, frame(b"", first_byte=0x00) * 3000)

    async def tiny_chunks(self) -> None:
        _, writer = await self._request("POST /restore/1")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        await self._pour(writer, b"1\r\na\r\n" * 3000)

    async def pipelined(self) -> None:
        _, writer = await self._connect()
        await self._pour(writer, f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n".encode() * 300)

    async def idle(self) -> None:
        reader, _ = await self._connect()
        await reader.read()

    async def idle_websockets(self) -> None:
        reader, writer = await self._websocket()
        writer.write(frame(b"40"))
        while await reader.read(1024):
            pass

    async def connections(self) -> None:
        _, writer = await self._connect()
        writer.close()

    async def requests(self) -> None:
        reader, writer = await self._request("GET /json")
        writer.write(b"\r\n")
        await reader.read(65536)
        writer.close()

    async def polling_sessions(self) -> None:
        reader, writer = await self._request("GET /socket.io/?EIO=4&transport=polling")
        writer.write(b"\r\n")
        await reader.read(65536)
        writer.close()

    async def blank_sids(self) -> None:
        """A session that is named, but by nothing, is a new one."""
        reader, writer = await self._request("GET /socket.io/?EIO=4&transport=polling&sid=")
        writer.write(b"\r\n")
        await reader.read(65536)
        writer.close()

    async def endless_body(self) -> None:
        _, writer = await self._request("POST /socket.io/?EIO=4&transport=polling&sid=x")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        await self._pour(writer, b"10000\r\n" + b"x" * 65536 + b"\r\n")

    async def endless_head(self) -> None:
        _, writer = await self._request("GET /")
        await self._pour(writer, b"X-A: " + b"y" * 4000 + b"\r\n")

    async def joins(self) -> None:
        _, writer = await self._websocket()
        writer.write(frame(b"40"))
        for node in range(10, 2510):
            join = {
                "system": "x",
                "NODE_ID": node,
                "neighbors": ["1"],
                "primary_ip": f"10.7.{node // 250}.{node % 250}",
            }
            writer.write(
                frame(f"42{json.dumps(['join', {**join, 'primary_netmask': '255.0.0.0'}])}".encode())
            )
            await writer.drain()

    async def pages(self) -> None:
        reader, writer = await self._request("GET /events")
        writer.write(b"\r\n")
        await reader.read(100)
        await asyncio.sleep(max(0.0, self._end - time.monotonic()))

    async def run(self, kind: str) -> None:
        attack: Callable[[], Awaitable[None]] = getattr(self, kind)

        async def client() -> None:
            while time.monotonic() < self._end:
                try:
                    await attack()
                except (OSError, asyncio.IncompleteReadError):
                    await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(client()) for _ in range(IDLE if kind.startswith("idle") else CLIENTS)]
        await asyncio.wait(tasks, timeout=max(0.0, self._end - time.monotonic()))
        for task in tasks:
            task.cancel()


def frame(payload: bytes, first_byte: int = 0x81) -> bytes:
    """Masked with zeros, as a client's must be."""
    size = len(payload)
    head = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
    return bytes([first_byte]) + head + b"\0\0\0\0" + payload


KINDS = {name for name in vars(Flood) if not name.startswith("_") and name != "run"}
GROUPS = {
    "messages": ("endless_frame", "endless_message", "tiny_messages"),
    "control frames": ("pings", "pongs", "empty_fragments"),
    "bodies and heads": ("tiny_chunks", "endless_body", "endless_head"),
    "requests": ("pipelined", "requests", "polling_sessions", "blank_sids", "connections"),
    "idle": ("idle", "pages"),
    "websockets": ("idle_websockets", "joins"),
}


async def main(group: str, port: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    floods = [Flood(f"127.0.{place}.1", port, end).run(kind) for place, kind in enumerate(GROUPS[group])]
    running = asyncio.gather(*floods)
    await asyncio.wait([running], timeout=FULL_S)
    print("flooding", flush=True)
    await running


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
