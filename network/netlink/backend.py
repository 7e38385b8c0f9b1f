"""Addresses by rtnetlink, the wire by a packet socket: the `netlink` backend.

It needs CAP_NET_ADMIN and CAP_NET_RAW, in the network namespace that it is made in. Reading needs neither.
"""

import contextlib
import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Interface

from network.base import (
    Address,
    FilterFailed,
    InterfaceMissing,
    LastSeen,
    NetworkError,
    NetworkEvent,
    Probes,
    Vip,
)
from network.netlink import addresses as rtnl
from network.netlink import arp, links
from network.netlink.arp_filter import ProbeFilter
from network.netlink.netlink_socket import NetlinkSocket, reasons
from network.netlink.secondaries import SecondaryGuard
from network.netlink.watch import Watch
from network.privilege import HOW_TO_GRANT, missing_capabilities


class Netlink:
    """`lease_s` 0: virtual addresses have no lease. The methods are for the thread that made the object."""

    backend = "netlink"

    def __init__(self, node_id: int, lease_s: int) -> None:
        self._node_id = node_id
        self._lease_s = lease_s
        self._watch: Watch | None = None
        self._filter: ProbeFilter | None = None
        self._not_started = "the network was not opened"
        self._guard = SecondaryGuard()
        self._vips: frozenset[tuple[int, IPv4Address]] = frozenset()
        with reasons("netlink could not be opened"):
            self._route = NetlinkSocket()

    def start(self, post: Callable[[NetworkEvent], None]) -> None:
        try:
            missing = missing_capabilities()
            if missing:
                raise NetworkError(f"this process lacks {' and '.join(missing)}: {HOW_TO_GRANT}")
            with reasons("the network could not be opened"):
                self._watch = Watch(post, self._on_removed)
            self._filter = ProbeFilter(self._node_id, lambda reason: post(FilterFailed(reason)))
        except NetworkError as exc:
            self._not_started = str(exc)
            raise

    def close(self) -> None:
        if self._filter is not None:
            self._filter.close()
            self._filter = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        with contextlib.suppress(NetworkError):  # it could not be put back, and there is nobody to say it to
            self._guard.put_back(self._route)
        self._route.close()

    def addresses(self, interface: str | None = None) -> tuple[Address, ...]:
        return tuple(
            Address(there.interface, there.ip, there.owner)
            if there.holder in (None, self._node_id)
            else Address(there.interface, there.ip, another_worker=True)
            for there in self._read(interface)
        )

    def interface(self, name: str) -> links.Link:
        return links.find(self._route, name)

    def _read(self, interface: str | None = None) -> tuple[rtnl.KernelAddress, ...]:
        """The addresses of an interface, None: of all; the virtual ones among them are remembered."""
        try:
            index = 0 if interface is None else self._index(interface)
        except InterfaceMissing:
            return ()
        found = rtnl.read(self._route, index)
        ours = {(there.index, there.ip.ip) for there in found if there.holder == self._node_id}
        self._vips = frozenset(ours | {vip for vip in self._vips if index not in {0, vip[0]}})
        return found

    def _index(self, interface: str) -> int:
        try:
            return socket.if_nametoindex(interface)
        except OSError:  # it is gone, or no descriptor is left to ask with
            return self.interface(interface).index

    def _on_removed(self, requests: NetlinkSocket, index: int, removed: IPv4Interface | None) -> None:
        """In the watch's thread, since each millisecond counts: a virtual address that has come to stand before the
        machine's own would get in the way of the own one's return.
        """
        if removed is None or any(of == index and ip in removed.network for of, ip in self._vips):
            with contextlib.suppress(NetworkError):  # renew() refuses it, and its lease runs out
                self._guard.remove_leading(requests, self._node_id, index)

    def default_routes(self) -> tuple[tuple[str, IPv4Address | None], ...]:
        return links.default_routes(self._route)

    def watch(self, ips: frozenset[IPv4Address]) -> None:
        if self._watch is not None:
            self._watch.watch(ips)

    def probe(self, interface: str, ip: IPv4Address, sender: IPv4Address | None = None) -> None:
        watch, mac = self._started(), self._speaking(interface)
        watch.ask(interface, arp.request(mac, sender, ip) if sender else arp.probe(mac, ip), ip)

    def announce(self, interface: str, ip: IPv4Address) -> None:
        watch, mac = self._started(), self._speaking(interface)
        watch.send(interface, *arp.announcements(mac, ip))

    def hold(self, vip: Vip) -> None:
        before = self._read()
        there = self._held(vip, [one for one in before if one.interface == vip.interface])
        if there is not None:
            self._renew(there, before)
            return
        for other in before:
            if other.ip.ip == vip.ip.ip:
                whose = "which is no virtual address"
                if other.holder is not None:
                    whose = f"held by node {other.holder} for node {other.owner}"
                raise NetworkError(f"{other.interface} already has {other.ip}, {whose}")
        link = self.interface(vip.interface)
        link.check()
        if not any(
            own.interface == vip.interface and own.holder is None and vip.ip.ip in own.ip.network
            for own in before
        ):
            raise NetworkError(
                f"{vip.interface} has no address of its own in a subnet that contains {vip.ip}"
            )
        added = rtnl.KernelAddress(link.index, vip.interface, vip.ip, self._node_id, vip.owner)
        rtnl.add(self._route, added, self._lease_s)
        after = self._read(vip.interface)
        there = self._held(vip, after)
        if there is None:
            raise NetworkError(f"{vip.ip} was added to {vip.interface} and is not there")
        self._guard.protect(self._route, there)
        if not rtnl.stands_behind(there, after):
            self._guard.remove(self._route, there)
            raise NetworkError(f"{vip.interface} lost its own address while {vip.ip} was added")

    def renew(self, vip: Vip) -> None:
        addresses = self._read(vip.interface)
        there = self._held(vip, addresses)
        if there is None:
            raise NetworkError(
                f"{vip.ip} is no longer on {vip.interface} as a virtual address of node {vip.owner}"
            )
        self._renew(there, addresses)

    def _renew(self, there: rtnl.KernelAddress, addresses: tuple[rtnl.KernelAddress, ...]) -> None:
        if not rtnl.stands_behind(there, addresses):
            raise NetworkError(f"{there.ip} stands before {there.interface}'s own address")
        self._guard.protect(self._route, there)
        rtnl.renew(self._route, there, self._lease_s)

    def release(self, vip: Vip) -> None:
        """On whatever interface it is: one that was renamed still has it."""
        there = self._held(vip, self._read(vip.interface)) or self._held(vip, self._read())
        if there is not None:
            self._guard.remove(self._route, there)

    def last_seen(self, interface: str, ip: IPv4Address) -> LastSeen:
        if self._watch is None:
            return LastSeen()
        return self._watch.last_seen(interface, ip, links.neighbor_mac(self._route, interface, ip))

    def filter_probes(self, probes: Probes) -> None:
        if self._filter is not None:
            self._filter.set(probes)

    def _started(self) -> Watch:
        if self._watch is None:
            raise NetworkError(self._not_started)
        return self._watch

    def _held(self, vip: Vip, among: Iterable[rtnl.KernelAddress]) -> rtnl.KernelAddress | None:
        wanted = (vip.ip, self._node_id, vip.owner)
        return next((one for one in among if (one.ip, one.holder, one.owner) == wanted), None)

    def _speaking(self, interface: str) -> str:
        """The MAC with which to speak ARP on an interface. On one that can't, the kernel drops frames in silence."""
        link = self.interface(interface)
        if link.mac is None or not link.arp:
            raise NetworkError(f"interface {link.name} speaks no ARP")
        link.check()
        return link.mac
