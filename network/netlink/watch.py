"""The background thread of the netlink backend: what the wire and the kernel say becomes events."""

from __future__ import annotations

import errno
import math
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from network.base import AddressesChanged, ArpSeen, LastSeen, LinkUp, NetworkError, NetworkEvent
from network.netlink import addresses as rtnl
from network.netlink import arp
from network.netlink.messages import (
    IFA_LABEL,
    IFA_LOCAL,
    IFINFOMSG,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_PERM_ADDRESS,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    Message,
)
from network.netlink.netlink_socket import NetlinkSocket, reasons
from network.netlink.secondaries import SecondaryGuard
from network.netlink.sightings import Sightings

_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR = 0x1, 0x10
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_START_S = 2.0
_AT_ONCE = 64  # packets read before the other sockets have their turn
_PER_MAC, _PER_ADDRESS = 10, 100  # events a second


@dataclass(frozen=True)
class _Link:
    name: str
    up: bool
    macs: frozenset[str]


def _link(message: Message) -> _Link:
    flags = message.head[3]
    macs = {arp.mac_text(message.attributes.get(name, b"")) for name in (IFLA_ADDRESS, IFLA_PERM_ADDRESS)}
    return _Link(
        message.text(IFLA_IFNAME),
        bool(flags & _IFF_UP and flags & _IFF_RUNNING),
        frozenset(macs - {"", arp.NOBODY}),
    )


class RateLimiter:
    """Says which events of a flood are passed on. Claims and questions are counted apart, so that a host
    whom many ask does not lose sight of one who claims, and each question of this machine's own makes room
    for its answers anew: in a flood too, silence must mean that nobody answered.
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
    """One thread, which alone reads both sockets; `watch`, `send` and `last_seen` are for the owner's thread.

    Raises PermissionError without CAP_NET_RAW.
    """

    def __init__(self, node_id: int, post: Callable[[NetworkEvent], None], guard: SecondaryGuard) -> None:
        self._guard = guard
        self._node_id = node_id
        self._post = post
        self._ips: frozenset[IPv4Address] = frozenset()
        self._links: dict[int, _Link] = {}
        self._own: frozenset[str] = frozenset()
        self._known: set[tuple[int, bytes, int]] = set()
        self._sightings = Sightings()
        self._limiter = RateLimiter()
        self._wire = arp.Wire()
        self._kernel = NetlinkSocket(_RTMGRP_LINK | _RTMGRP_IPV4_IFADDR)
        self._route = NetlinkSocket()
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
        self._route.close()
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
        mac = next((user for user in users if user and user not in self._own), None)
        prober, ago_s = self._sightings.prober(interface, ip, now_s) or (None, math.inf)
        also_uses = self._sightings.other_address(interface, mac, ip, now_s) if mac else None
        return LastSeen(mac, also_uses, prober, ago_s)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for source in (self._wire, self._kernel, self._woken):
                selector.register(source, selectors.EVENT_READ)
            self._read_links()
            self._tidy()
            self._ready.set()
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._woken in ready:
                    return
                if self._kernel in ready:
                    self._kernel_says()
                if self._wire in ready:
                    self._wire_says()

    def _wire_says(self) -> None:
        now_s = time.monotonic()
        for _ in range(_AT_ONCE):
            try:
                seen = self._wire.receive()
            except BlockingIOError:
                return
            except OSError:  # what happened to one interface; the socket lives on
                continue
            if seen is not None and seen.sender_mac not in self._own:
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

    def _kernel_says(self) -> None:
        try:
            messages = self._kernel.receive()
        except OSError as exc:
            if exc.errno == errno.ENOBUFS:
                self._missed_some()
            return  # else it was woken for nothing
        except ValueError:
            self._missed_some()
            return
        for message in messages:
            if message.kind in {RTM_NEWADDR, RTM_DELADDR}:
                self._address_changed(message, gone=message.kind == RTM_DELADDR)
            # A bridge tells of its ports in its own family.
            elif message.kind in {RTM_NEWLINK, RTM_DELLINK} and message.head[0] == socket.AF_UNSPEC:
                self._link_changed(message, gone=message.kind == RTM_DELLINK)

    def _link_changed(self, message: Message, *, gone: bool) -> None:
        before = self._links.pop(message.head[2], None)
        if not gone:
            link = self._links[message.head[2]] = _link(message)
            if link.up and not (before and before.up and before.name == link.name):
                self._post(LinkUp(link.name))
        self._own = frozenset().union(*(link.macs for link in self._links.values()))

    def _address_changed(self, message: Message, *, gone: bool) -> None:
        address = (message.head[4], message.attributes.get(IFA_LOCAL, b""), message.head[1])
        if gone:
            self._known.discard(address)
            if not rtnl.is_vip_label(message.text(IFA_LABEL)):
                self._tidy()
        elif address in self._known:
            return  # a renewed lease is told in the same words as a new address
        else:
            self._known.add(address)
        self._post(AddressesChanged())

    def _missed_some(self) -> None:
        """The kernel had more to say than fitted: take everything for changed."""
        self._known.clear()
        with suppress(NetworkError):  # the links as they were known are better than no watch
            self._read_links()
        for link in self._links.values():
            if link.up:
                self._post(LinkUp(link.name))
        self._tidy()
        self._post(AddressesChanged())

    def _read_links(self) -> None:
        with reasons("the interfaces of this machine could not be read"):
            links = self._route.dump(RTM_GETLINK, IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
        self._links = {message.head[2]: _link(message) for message in links}
        self._own = frozenset().union(*(link.macs for link in self._links.values()))

    def _tidy(self) -> None:
        """Here, not in the owner's thread, since each millisecond counts: a virtual address that stands before the
        machine's own address spoils its return.
        """
        try:
            self._guard.remove_leading(self._route, self._node_id)
        except NetworkError:
            return  # renew() refuses it, and its lease runs out
