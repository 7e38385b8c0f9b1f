"""A burst of events of 500 bytes, sent faster than any client reads: the worker beside a bare client.

    python -m bench.burst [EVENTS]

How many of them (default 100000) were lost and whether the others were logged in order, how long it took, the CPU time
of one, and by how much the memory grew. The master is a bare socket that speaks Engine.IO 4 by websocket. Linux only.
"""

from __future__ import annotations

import re
import sys
import time
from contextlib import closing

from bench.measure import BARE, WORKER, Client, cpu_s, machine, memory_mib, rounds, table
from tests.lab.masters import Puppet

SIZE, AT_ONCE = 500, 500
QUIET_S = 3.0
"""Seconds without a new line after which no more are expected."""


def burst(name: str, events: int) -> list[object]:
    head = '42["news",{"n":%d,"pad":"'
    messages = [head % n + "x" * (SIZE - len(head % n) - 3) + '"}]' for n in range(events)]
    master = Puppet()
    with closing(Client(name, master.url, LOG_CONSOLE="0", LOG_MAX_BYTES="0")) as client:
        if not master.up.wait(20):
            sys.exit(f"{name} did not connect")
        time.sleep(1)
        before_s, before_mib = cpu_s(client.pid), memory_mib(client.pid)
        began_s = time.monotonic()
        for at in range(0, events, AT_ONCE):  # answers to pings find room between
            master.say(*messages[at : at + AT_ONCE])
        size, peak_mib, grown_s = -1, before_mib, time.monotonic()
        while time.monotonic() - grown_s < QUIET_S:
            time.sleep(0.1)
            peak_mib = max(peak_mib, memory_mib(client.pid))
            now = client.log.stat().st_size
            if now != size:
                size, grown_s = now, time.monotonic()
        numbers = [int(n) for n in re.findall(r"news.*?\bn\W+(\d+)", client.log.read_text(encoding="utf-8"))]
        used_s = cpu_s(client.pid) - before_s
    master.close()
    in_order = "yes" if numbers == sorted(numbers) else "no"
    cpu_us = used_s * 1e6 / max(1, len(numbers))
    return [name, events - len(numbers), in_order, grown_s - began_s, cpu_us, peak_mib - before_mib]


def main() -> None:
    events = rounds(100_000)
    table(
        f"{events} events of {SIZE} bytes into a log; {machine()}",
        ["", "lost", "in order", "s", "CPU µs each", "MiB more"],
        [burst(name, events) for name in (WORKER, BARE)],
    )


if __name__ == "__main__":
    main()
