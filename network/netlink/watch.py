"""The background thread of the netlink backend: what the wire and the kernel say becomes events."""

import math
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

from network.base import ArpSeen, NetworkError, NetworkEvent
from network.netlink import arp
from network.netlink.kernel_events import KernelEvents, OnRemoved

_START_S = 2.0
_AT_ONCE = 64  # packets read before the other sockets have their turn
_REMEMBERED = 4096
_PER_MAC, _PER_ADDRESS = 10, 100  # events a second


class RateLimiter:
    """Says which events of a flood are passed on. Claims and questions are counted apart, so that a host
    whom many ask does not lose sight of one who claims, and each question of this machine's own makes room
    for its answers anew: in a flood too, silence must mean that nobody answered.
    """

    def __init__(self) -> None:
        self._second = 0
        self._passed: Counter[tuple[object, ...]] = Counter()
        self._questions: Counter[IPv4Address] = Counter()

    def asked(self, ip: IPv4Address) -> None:
        self._questions[ip] += 1

    def passes(self, seen: ArpSeen, ip: IPv4Address, now_s: float) -> bool:
        if int(now_s) != self._second:
            self._second = int(now_s)
            self._passed.clear()
            self._questions.clear()
        of_all = (ip, seen.sender_ip == ip, self._questions[ip])
        of_mac = (*of_all, seen.sender_mac)
        if self._passed[of_all] >= _PER_ADDRESS or self._passed[of_mac] >= _PER_MAC:
            return False
        self._passed.update((of_all, of_mac))
        return True


class Watch:
    """One thread, which alone reads both sockets; `watch`, `send` and `last_mac` are for the owner's thread.

    `on_removed` is KernelEvents's. Raises PermissionError without CAP_NET_RAW.
    """

    def __init__(
        self,
        post: Callable[[NetworkEvent], None],
        on_removed: OnRemoved,
    ) -> None:
        self._post = post
        self._ips: frozenset[IPv4Address] = frozenset()
        self._last: dict[tuple[str, IPv4Address], str] = {}
        self._thinning = RateLimiter()
        self._wire = arp.Wire()
        self._kernel = KernelEvents(post, on_removed)
        self._wake, self._woken = socket.socketpair()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="network-watch", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_S):
            self.close()
            raise NetworkError("the watch for network events did not start")

    def close(self) -> None:
        self._wake.close()
        self._thread.join(_START_S)
        self._wire.close()
        self._kernel.close()
        self._woken.close()

    def watch(self, ips: frozenset[IPv4Address]) -> None:
        self._ips = ips

    def send(self, interface: str, *frames: bytes) -> None:
        """Raises NetworkError also where nobody would hear the answer."""
        if not self._thread.is_alive():
            raise NetworkError("the watch for network events has ended")
        self._wire.send(interface, *frames)

    def ask(self, interface: str, frame: bytes, ip: IPv4Address) -> None:
        """Send a question for `ip`, whose answers the thinning of a flood will not drop."""
        self._thinning.asked(ip)
        self.send(interface, frame)

    def last_mac(self, interface: str, ip: IPv4Address) -> str | None:
        return self._last.get((interface, ip))

    def uses_others(self, interface: str, mac: str, ip: IPv4Address) -> bool:
        """Whether that MAC was last seen to use addresses other than `ip`, as another node that held it does."""
        last = list(self._last.items())
        return any(user == mac and there == interface and other != ip for (there, other), user in last)

    def is_own(self, mac: str) -> bool:
        return mac in self._kernel.own_macs

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for source in (self._wire, self._kernel, self._woken):
                selector.register(source, selectors.EVENT_READ)
            self._kernel.start()
            self._ready.set()
            while True:
                due_s = self._kernel.due_s()
                wait_s = None if math.isinf(due_s) else max(due_s - time.monotonic(), 0.0)
                ready = [key.fileobj for key, _ in selector.select(wait_s)]
                now_s = time.monotonic()
                if self._woken in ready:
                    return
                if self._kernel in ready:
                    self._kernel.receive(now_s)
                self._kernel.flush(now_s)
                if self._wire in ready:
                    self._read_wire(now_s)

    def _read_wire(self, now_s: float) -> None:
        for _ in range(_AT_ONCE):
            try:
                seen = self._wire.receive()
            except BlockingIOError:
                return
            except OSError:  # what happened to one interface; the socket lives on
                continue
            if seen is not None and seen.sender_mac not in self._kernel.own_macs:
                self._heard(seen, now_s)

    def _heard(self, seen: ArpSeen, now_s: float) -> None:
        if seen.sender_ip != arp.UNSPECIFIED:
            self._last[seen.interface, seen.sender_ip] = seen.sender_mac
            if len(self._last) > _REMEMBERED:
                del self._last[next(iter(self._last))]
        for ip in (seen.sender_ip, seen.target_ip):
            if ip in self._ips:
                if self._thinning.passes(seen, ip, now_s):
                    probe = seen.sender_ip == arp.UNSPECIFIED
                    others = probe and self.uses_others(seen.interface, seen.sender_mac, ip)
                    self._post(replace(seen, uses_others=True) if others else seen)
                return
