"""How soon a client notices that its master is gone and is back with it, beside a bare client with its defaults.

    python -m bench.reconnect [ROUNDS]

The worker runs with its default settings. The master is stopped (SIGSTOP) and continued, it disconnects the client, it
is killed and started again, and its link is cut and restored. Both clients meet each fault together, which lasts until
both have noticed; the medians of ROUNDS rounds (default 3) are printed. "never" is not within 60 s. The cut link needs
Linux, root and network namespaces, and is left out without them.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from statistics import median

from bench.measure import BARE, WORKER, Client, machine, rounds, table
from tests.lab.cluster import PORT, Director
from tests.lab.masters import Master
from tests.lab.netns import Lab, in_namespace, why_not

LIMIT_S = 60.0
Action = Callable[[], object]
Times = tuple[float, float]
"""Seconds until a client noticed, and from the end of the fault until it was back."""


def meet(clients: list[Client], begin: Action, end: Action) -> list[Times]:
    for client in clients:
        client.connected_s()
    time.sleep(5)  # so that each has pinged
    began_s = time.monotonic()
    begin()
    down_s = [client.wait("down", began_s + LIMIT_S - time.monotonic()) for client in clients]
    end()
    ended_s = time.monotonic()
    up_s = [client.wait("up", max(0.1, ended_s + LIMIT_S / 2 - time.monotonic())) for client in clients]
    return [(down - began_s, max(0.0, up - ended_s)) for down, up in zip(down_s, up_s, strict=True)]


def one_round() -> Iterator[tuple[str, list[Times]]]:
    master = Master()
    faults: list[tuple[str, Action, Action]] = [
        ("stopped", lambda: master.send(signal.SIGSTOP), lambda: master.send(signal.SIGCONT)),
        ("disconnects it", master.kick, lambda: None),
        ("killed", master.kill, master.start),
    ]
    for name, begin, end in faults:
        with closing(Client(WORKER, master.url)) as worker, closing(Client(BARE, master.url)) as bare:
            yield name, meet([worker, bare], begin, end)
    master.close()
    if why_not():
        return
    with Lab(nodes=(1,)) as lab:
        Director(lab.master)
        url = f"http://{lab.master.ip}:{PORT}"

        def client(name: str) -> Client:
            return in_namespace(lab.node(1).ns, lambda: Client(name, url))

        with closing(client(WORKER)) as worker, closing(client(BARE)) as bare:
            yield "link cut", meet([worker, bare], lab.master.cut, lab.master.mend)


def main() -> None:
    count = rounds(3)
    found: dict[str, list[list[Times]]] = {}
    for _ in range(count):
        for fault, times in one_round():
            found.setdefault(fault, []).append(times)
    table(
        f"seconds until a client noticed and until it was back, medians of {count}; {machine()}",
        [
            "the master is",
            *(f"{client} {change}" for client in (WORKER, BARE) for change in ("noticed", "back")),
        ],
        [
            [fault, *(median(one[client][change] for one in times) for client in (0, 1) for change in (0, 1))]
            for fault, times in found.items()
        ],
    )
    if why_not():
        print(f"no cut link: {why_not()}")


if __name__ == "__main__":
    main()
