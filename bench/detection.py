"""How long until a client knows that its master is gone, and until it is back, beside others with their defaults.

    python -m bench.detection

The master is stopped (SIGSTOP), its link is cut, it sends the client away, and it is killed and started again after 3 s.
All clients meet each fault together, once. "never" is not within 60 s. The cut link needs Linux, root and network
namespaces, and is left out without them.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Optional

from bench import peers
from bench.figures import machine
from tests.lab.netns import Lab, in_namespace, why_not

LIMIT_S = 60.0


@dataclass(frozen=True)
class Fault:
    """`begin` and `end` of what happens to a master; `lasts_s` None: until every client has noticed or never will."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]
    lasts_s: Optional[float]


def meet(fault: Fault, clients: dict[str, peers.Peer]) -> dict[str, tuple[Optional[float], Optional[float]]]:
    """For each client the seconds from the fault's beginning until it noticed, and from its end until it was back."""
    began_s = time.monotonic()
    fault.begin()
    if fault.lasts_s is not None:
        time.sleep(fault.lasts_s)
        fault.end()
        ended_s = time.monotonic()
    noticed = {
        name: client.wait("down", began_s + LIMIT_S - time.monotonic()) for name, client in clients.items()
    }
    if fault.lasts_s is None:
        fault.end()
        ended_s = time.monotonic()
    found: dict[str, tuple[Optional[float], Optional[float]]] = {}
    for name, client in clients.items():
        back_s = client.wait("up", max(0.1, ended_s + LIMIT_S / 2 - time.monotonic()))
        down_s = noticed[name]
        found[name] = (
            None if down_s is None else down_s - began_s,
            None if back_s is None else max(0.0, back_s - ended_s),
        )
    return found


@contextlib.contextmanager
def running(
    url: str, start: Callable[[Callable[[], peers.Peer]], peers.Peer]
) -> Iterator[dict[str, peers.Peer]]:
    clients = {name: start(lambda name=name: peers.Peer(name, url)) for name in peers.names()}  # type: ignore[misc]
    try:
        for name, client in clients.items():
            if client.wait("up", 20) is None:
                raise SystemExit(f"{name} did not connect")
        time.sleep(5)  # so that each has pinged
        yield clients
    finally:
        for client in clients.values():
            client.end()


def local_faults() -> Iterator[tuple[str, dict[str, tuple[Optional[float], Optional[float]]]]]:
    master = peers.Master()

    def restart() -> None:
        nonlocal master
        master = peers.Master(port=master.port)

    try:
        faults = [
            Fault(
                "stopped",
                lambda: master.process.send_signal(signal.SIGSTOP),
                lambda: master.process.send_signal(signal.SIGCONT),
                lasts_s=None,
            ),
            Fault("sent away", lambda: master.kick(), lambda: None, lasts_s=0.0),
            Fault("killed, back after 3 s", lambda: master.end(), restart, lasts_s=3.0),
        ]
        for fault in faults:
            with running(master.url, lambda make: make()) as clients:
                yield fault.name, meet(fault, clients)
    finally:
        master.end()


def cut_link() -> Iterator[tuple[str, dict[str, tuple[Optional[float], Optional[float]]]]]:
    with Lab(nodes=(1,)) as lab:
        host, port = lab.master.ip, 5000
        master = in_namespace(lab.master.ns, lambda: peers.Master(host, port))
        try:
            fault = Fault("link cut", lab.master.cut, lab.master.mend, lasts_s=None)
            with running(master.url, lambda make: in_namespace(lab.node(1).ns, make)) as clients:
                yield fault.name, meet(fault, clients)
        finally:
            master.end()


def main() -> None:
    print(f"seconds until a client knew, and until it was back; {machine()}")
    columns = peers.names()
    print(f"{'':24}" + "".join(f"{name:>24}" for name in columns))
    print(f"{'the master is':24}" + f"{'noticed':>14}{'back':>10}" * len(columns))
    for faults in (local_faults, *(() if why_not() else (cut_link,))):
        for name, found in faults():
            cells = (f"{_text(found[one][0]):>14}{_text(found[one][1]):>10}" for one in columns)
            print(f"{name:24}" + "".join(cells))
    print("\n".join(filter(None, (why_not(), peers.without_node()))), end="")


def _text(value_s: Optional[float]) -> str:
    return "never" if value_s is None else f"{value_s:.1f}"


if __name__ == "__main__":
    main()
