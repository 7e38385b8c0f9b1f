"""What many workers cost the master: 400 that have joined and ping every 2 s, all from this machine.

    python -m tests.master.cost [WORKERS]

The CPU time of the master as a share of one core, and its memory. The workers are bare websockets in this process,
which cost more than the master; the figures are the master's own.
"""

from __future__ import annotations

import asyncio
import json
import time

from bench.measure import cpu_s, machine, memory_mib, rounds, table
from tests.lab.processes import start_master
from tests.master.flood import frame

MEASURED_S = 20.0
PING_S = 2.0
HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PING = frame(b'421["ping","2026-11-24 22:47:01.1234"]')


async def worker(node: int, count: int, port: int, heard: dict[bytes, int]) -> None:
    """Join and ping; what comes is counted in `heard`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    join = {
        "system": f"host{node}",
        "NODE_ID": node,
        "neighbors": [str(n) for n in (node - 1, node + 1) if 1 <= n <= count],
        "primary_ip": f"10.9.{node // 250}.{node % 250 + 1}",
        "primary_netmask": "255.255.0.0",
        "held": {},
    }
    writer.write(frame(b"40") + frame(f"42{json.dumps(['join', join])}".encode()))

    async def ping() -> None:
        await asyncio.sleep(PING_S * node / count)
        while True:
            writer.write(PING)
            await asyncio.sleep(PING_S)

    pinging = asyncio.create_task(ping())
    try:
        while data := await reader.read(65536):
            for text in heard:
                heard[text] += data.count(text)
    finally:
        pinging.cancel()


async def measure(count: int) -> list[object]:
    acknowledged, ordered = b"431[]", b'"recover"'
    heard = {acknowledged: 0, ordered: 0}
    with start_master("--nodes", f"1-{count}") as master:
        port = int(master.url.rpartition(":")[2])
        tasks = [asyncio.create_task(worker(node, count, port, heard)) for node in range(1, count + 1)]
        for _ in range(240):
            await asyncio.sleep(0.5)
            if len(master.state()["active"]) == count:
                break
        await asyncio.sleep(2 * PING_S)
        before_s, pings, began_s = cpu_s(master.pid), heard[acknowledged], time.monotonic()
        await asyncio.sleep(MEASURED_S)
        took_s = time.monotonic() - began_s
        share = (cpu_s(master.pid) - before_s) / took_s
        for task in tasks:
            task.cancel()
        pings_s = (heard[acknowledged] - pings) / took_s
        return ["master", pings_s, share * 100, memory_mib(master.pid), heard[ordered]]


def main() -> None:
    count = rounds(400)
    columns = ["", "pings/s", "% of a core", "RSS MiB", "orders although all were alive"]
    table(f"{count} workers; {machine()}", columns, [asyncio.run(measure(count))])


if __name__ == "__main__":
    main()
