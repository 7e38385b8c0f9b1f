"""What many workers cost the master: 400 that have joined and ping every 2 s, all from this machine.

    python -m bench.master [WORKERS]

Printed are the CPU time of the master as a share of one core over 20 s, and its memory. The workers are bare websockets
in this process, which cost more than the master; the figure is the master's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time

from bench.measure import cpu_s, machine, memory_kib
from tests.lab.processes import start_master
from tests.master.flood import frame

MEASURED_S = 20.0
PING_S = 2.0
HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Workers:
    def __init__(self, count: int, port: int) -> None:
        self._count, self._port = count, port
        self.acknowledged = 0
        self.ordered = 0

    async def run(self, node: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        beside = [str(n) for n in (node - 1, node + 1) if 1 <= n <= self._count]
        join = {"system": f"host{node}", "NODE_ID": node, "neighbors": beside, "held": {}}
        join |= {"primary_ip": f"10.9.{node // 250}.{node % 250 + 1}", "primary_netmask": "255.255.0.0"}
        writer.write(frame(b"40") + frame(f"42{json.dumps(['join', join])}".encode()))
        pinging = asyncio.create_task(self._ping(writer, PING_S * node / self._count))
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.acknowledged += data.count(b"[]")
                self.ordered += data.count(b'"recover"')
        pinging.cancel()

    async def _ping(self, writer: asyncio.StreamWriter, delay_s: float) -> None:
        number = 0
        await asyncio.sleep(delay_s)
        while True:
            number += 1
            writer.write(frame(f'42{number}["ping","2026-11-24 22:47:01.1234"]'.encode()))
            await asyncio.sleep(PING_S)


async def measure(count: int) -> None:
    with start_master("--nodes", f"1-{count}") as master:
        workers = Workers(count, int(master.url.rpartition(":")[2]))
        tasks = [asyncio.create_task(workers.run(node)) for node in range(1, count + 1)]
        for _ in range(240):
            await asyncio.sleep(0.5)
            if len(master.state()["active"]) == count:
                break
        await asyncio.sleep(2 * PING_S)
        before, acknowledged, began = cpu_s(master.pid), workers.acknowledged, time.monotonic()
        await asyncio.sleep(MEASURED_S)
        took = time.monotonic() - began
        share = (cpu_s(master.pid) - before) / took
        pings = (workers.acknowledged - acknowledged) / took
        print(
            f"{count} workers, {pings:.0f} pings a second: {share:.1%} of one core, {memory_kib(master.pid)['Rss'] // 1024} MiB"
        )
        print(f"orders although all were alive: {workers.ordered}")
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    print(machine())
    asyncio.run(measure(int(sys.argv[1]) if sys.argv[1:] else 400))
