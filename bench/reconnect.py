"""How soon a client notices that its master is gone and is back with it, beside a bare client with its defaults.

    python -m bench.reconnect [ROUNDS]

The worker runs with its default settings. The master is stopped (SIGSTOP) and continued, its link is cut and restored,
it disconnects the client, and it is killed and started again after 3 s. Both clients meet each fault together; the
medians of ROUNDS rounds (default 3) are printed. "never" is not within 60 s. The cut link needs Linux, root and network
namespaces, and is left out without them.
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.measure import BARE, WORKER, Master, Peer, machine, median
from tests.lab.netns import Lab, in_namespace, why_not

LIMIT_S = 60.0
Times = dict[str, tuple[float, float]]
"""For each client the seconds until it noticed and until it was back, infinity: not within LIMIT_S."""


@dataclass(frozen=True)
class Fault:
    """What happens to a master. `lasts_s` None: until every client has noticed or LIMIT_S is over."""

    begin: Callable[[], None]
    end: Callable[[], None]
    lasts_s: float | None


def meet(fault: Fault, clients: dict[str, Peer]) -> Times:
    began_s = ended_s = time.monotonic()
    fault.begin()
    if fault.lasts_s is not None:
        time.sleep(fault.lasts_s)
        fault.end()
        ended_s = time.monotonic()
    down = {
        name: client.wait("down", began_s + LIMIT_S - time.monotonic()) for name, client in clients.items()
    }
    if fault.lasts_s is None:
        fault.end()
        ended_s = time.monotonic()
    up = {
        name: client.wait("up", max(0.1, ended_s + LIMIT_S / 2 - time.monotonic()))
        for name, client in clients.items()
    }
    return {name: (_since(began_s, down[name]), _since(ended_s, up[name])) for name in clients}


def _since(began_s: float, at_s: float | None) -> float:
    return math.inf if at_s is None else max(0.0, at_s - began_s)


@contextlib.contextmanager
def running(url: str, start: Callable[[Callable[[], Peer]], Peer]) -> Iterator[dict[str, Peer]]:
    clients = {name: start(lambda name=name: Peer(name, url)) for name in (WORKER, BARE)}  # type: ignore[misc]
    try:
        for name, client in clients.items():
            if client.wait("up", 20) is None:
                sys.exit(f"{name} did not connect")
        time.sleep(5)  # so that each has pinged
        yield clients
    finally:
        for client in clients.values():
            client.end()


def local_faults() -> Iterator[tuple[str, Times]]:
    master = Master()

    def restart() -> None:
        nonlocal master
        master = Master(port=master.port)

    faults = {
        "stopped": Fault(
            lambda: master.process.send_signal(signal.SIGSTOP),
            lambda: master.process.send_signal(signal.SIGCONT),
            lasts_s=None,
        ),
        "disconnects it": Fault(lambda: master.kick(), lambda: None, lasts_s=0.0),
        "killed, back after 3 s": Fault(lambda: master.end(), restart, lasts_s=3.0),
    }
    try:
        for name, fault in faults.items():
            with running(master.url, lambda make: make()) as clients:
                yield name, meet(fault, clients)
    finally:
        master.end()


def cut_link() -> Iterator[tuple[str, Times]]:
    with Lab(nodes=(1,)) as lab:
        master = in_namespace(lab.master.ns, lambda: Master(lab.master.ip, 5000))
        try:
            fault = Fault(lab.master.cut, lab.master.mend, lasts_s=None)
            with running(master.url, lambda make: in_namespace(lab.node(1).ns, make)) as clients:
                yield "link cut", meet(fault, clients)
        finally:
            master.end()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found: dict[str, list[Times]] = {}
    for _ in range(rounds):
        for faults in (local_faults, *(() if why_not() else (cut_link,))):
            for name, times in faults():
                found.setdefault(name, []).append(times)
    print(f"seconds until a client noticed and until it was back, medians of {rounds}; {machine()}")
    print(f"{'':24}" + "".join(f"{name:>24}" for name in (WORKER, BARE)))
    print(f"{'the master is':24}" + f"{'noticed':>14}{'back':>10}" * 2)
    for name, times in found.items():
        cells = (
            f"{_text(median(one[client][0] for one in times)):>14}{_text(median(one[client][1] for one in times)):>10}"
            for client in (WORKER, BARE)
        )
        print(f"{name:24}" + "".join(cells))
    if why_not():
        print(f"no cut link: {why_not()}")


def _text(value_s: float) -> str:
    return "never" if math.isinf(value_s) else f"{value_s:.1f}"


if __name__ == "__main__":
    main()
