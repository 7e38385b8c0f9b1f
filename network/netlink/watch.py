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
from typing import Any

from network.base import ArpSeen, LastSeen, NetworkError, NetworkEvent
from network.netlink import arp
from network.netlink.kernel_events import KernelEvents, OnRemoved

_END_S = 2.0
_AT_ONCE = 64  # packets read before the other sockets have their turn
_PER_MAC, _PER_ADDRESS = 10, 100  # events a second
_USED_FOR_S = 86400.0
"""Seconds for which the last user of an address is remembered."""
_ALSO_USED_FOR_S = 60.0
"""Seconds for which a MAC counts as one that uses another address; a worker announces its own before it probes."""
PROBED_FOR_S = 10.0
"""Seconds for which a probe is remembered: an owner that asks first needs about that long to come up."""
_REMEMBERED = 4096


class Sightings:
    """What ARP packets said about who uses which address. Anybody on the segment can forge such a packet, so this is a
    hint: it expires, and nothing is decided by it alone. One thread notes, any asks; times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._users: dict[tuple[str, IPv4Address], tuple[str, float]] = {}
        self._probers: dict[tuple[str, IPv4Address, str], float] = {}

    def note(self, seen: ArpSeen, now_s: float) -> None:
        if seen.sender_ip != arp.UNSPECIFIED:
            _keep(self._users, (seen.interface, seen.sender_ip), (seen.sender_mac, now_s))
            # it has come up since: if it is silent now, it is gone again
            self._probers.pop((seen.interface, seen.sender_ip, seen.sender_mac), None)
        elif not seen.reply:
            _keep(self._probers, (seen.interface, seen.target_ip, seen.sender_mac), now_s)

    def user(self, interface: str, ip: IPv4Address, now_s: float) -> str | None:
        """The MAC that last used `ip`."""
        mac, at_s = self._users.get((interface, ip), (None, 0.0))
        return mac if now_s - at_s < _USED_FOR_S else None

    def other_address(self, interface: str, mac: str, ip: IPv4Address, now_s: float) -> IPv4Address | None:
        """An address other than `ip` that `mac` was the last to use, a short while ago."""
        for (there, other), (user, at_s) in list(self._users.items()):
            if user == mac and there == interface and other != ip and now_s - at_s < _ALSO_USED_FOR_S:
                return other
        return None

    def probed_ago_s(self, interface: str, ip: IPv4Address, now_s: float) -> dict[str, float]:
        """The MACs that probed for `ip` and have not used it since, and how many seconds ago."""
        return {
            mac: now_s - at_s
            for (there, asked, mac), at_s in list(self._probers.items())
            if (there, asked) == (interface, ip) and now_s - at_s < PROBED_FOR_S
        }


def _keep(memory: dict[Any, Any], key: object, value: object) -> None:
    """The newest last; the oldest is dropped."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > _REMEMBERED:
        del memory[next(iter(memory))]


class RateLimiter:
    """Says which events of a flood are passed on. Claims and questions are counted apart, so that who claims is heard
    among many who ask, and each of this machine's own questions makes room for its answers: silence must mean silence.
    """

    def __init__(self) -> None:
        self._second = 0
        self._passed: Counter[tuple[object, ...]] = Counter()
        self._questions: Counter[tuple[str, IPv4Address]] = Counter()

    def asked(self, interface: str, ip: IPv4Address) -> None:
        self._questions[interface, ip] += 1

    def passes(self, seen: ArpSeen, ip: IPv4Address, now_s: float) -> bool:
        if int(now_s) != self._second:
            self._second = int(now_s)
            self._passed.clear()
            self._questions.clear()
        of_all = (seen.interface, ip, seen.sender_ip == ip, self._questions[seen.interface, ip])
        of_mac = (*of_all, seen.sender_mac)
        if self._passed[of_all] >= _PER_ADDRESS or self._passed[of_mac] >= _PER_MAC:
            return False
        self._passed.update((of_all, of_mac))
        return True


class Watch:
    """One thread, which alone reads both sockets; the methods are for the owner's. Raises NetworkError, PermissionError."""

    def __init__(self, post: Callable[[NetworkEvent], None], on_removed: OnRemoved) -> None:
        self._post = post
        self._ips: frozenset[IPv4Address] = frozenset()
        self._sightings = Sightings()
        self._limiter = RateLimiter()
        self._wire = arp.Wire()
        self._kernel = KernelEvents(post, on_removed)
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="network-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._wake.close()
        self._thread.join(_END_S)
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
        self._limiter.asked(interface, ip)
        self.send(interface, frame)

    def last_seen(self, interface: str, ip: IPv4Address, neighbor: str | None) -> LastSeen:
        """`neighbor` is what the neighbor table says of `ip`, None: nothing."""
        now_s = time.monotonic()
        users = (neighbor, self._sightings.user(interface, ip, now_s))
        mac = next((user for user in users if user and user not in self._kernel.own_macs), None)
        also_uses = self._sightings.other_address(interface, mac, ip, now_s) if mac else None
        return LastSeen(mac, also_uses, self._sightings.probed_ago_s(interface, ip, now_s))

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for source in (self._wire, self._kernel, self._woken):
                selector.register(source, selectors.EVENT_READ)
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
        self._sightings.note(seen, now_s)
        for ip in (seen.sender_ip, seen.target_ip):
            if ip in self._ips:
                if self._limiter.passes(seen, ip, now_s):
                    self._post(self._with_other_address(seen, ip, now_s))
                return

    def _with_other_address(self, seen: ArpSeen, ip: IPv4Address, now_s: float) -> ArpSeen:
        """The packet; a probe with another address that its MAC uses."""
        if seen.sender_ip != arp.UNSPECIFIED:
            return seen
        other = self._sightings.other_address(seen.interface, seen.sender_mac, ip, now_s)
        return replace(seen, also_uses=other) if other else seen
