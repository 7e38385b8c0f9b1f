"""Addresses kept in memory only, for demos and tests: no privilege, and a wire on which nobody else speaks."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface

from network.base import (
    Address,
    AddressesChanged,
    Interface,
    InterfaceMissing,
    LastSeen,
    NetworkError,
    NetworkEvent,
    Probes,
    Vip,
)

INTERFACE = "simulated0"


class Simulated:
    """The node's own address is 10.9.0.NODE_ID/24 on `simulated0`. There are no other hosts, so every probe is followed
    by silence, and no leases: virtual addresses live as long as this object.
    """

    backend = "simulated"

    def __init__(self, node_id: int) -> None:
        if not 1 <= node_id <= 254:
            raise NetworkError(
                f"the simulated network has addresses for NODE_ID 1 to 254 only, not {node_id}"
            )
        self._node_id = node_id
        self._own = Address(INTERFACE, IPv4Interface(f"10.9.0.{node_id}/24"))
        self._vips: tuple[Address, ...] = ()
        self._post: Callable[[NetworkEvent], None] | None = None

    def start(self, post: Callable[[NetworkEvent], None]) -> None:
        self._post = post

    def close(self) -> None:
        self._post = None

    def addresses(self, interface: str | None = None) -> tuple[Address, ...]:
        return (self._own, *self._vips) if interface in {None, INTERFACE} else ()

    def interface(self, name: str) -> Interface:
        if name != INTERFACE:
            raise InterfaceMissing(f"there is no interface {name}: the simulated one is {INTERFACE}")
        return Interface(INTERFACE, f"02:09:00:00:00:{self._node_id:02x}", None)

    def default_routes(self) -> tuple[tuple[str, IPv4Address | None], ...]:
        return ((INTERFACE, None),)

    def watch(self, ips: frozenset[IPv4Address]) -> None:
        """Nobody else speaks, so there is nothing to post."""

    def probe(self, interface: str, ip: IPv4Address, sender: IPv4Address | None = None) -> None:
        self.interface(interface)

    def announce(self, interface: str, ip: IPv4Address) -> None:
        self.interface(interface)

    def hold(self, vip: Vip) -> None:
        self.interface(vip.interface)
        there = next((one for one in self.addresses() if one.ip.ip == vip.ip.ip), None)
        if there is None:
            if vip.ip.network != self._own.ip.network:
                raise NetworkError(f"{vip.ip} is not of {INTERFACE}'s subnet {self._own.ip.network}")
            self._change((*self._vips, Address(INTERFACE, vip.ip, vip.owner)))
        elif (there.ip, there.owner) != (vip.ip, vip.owner):
            whose = "not a virtual address" if there.owner is None else f"held for node {there.owner}"
            raise NetworkError(f"{INTERFACE} already has {there.ip}, {whose}")

    def renew(self, vip: Vip) -> None:
        if Address(INTERFACE, vip.ip, vip.owner) not in self._vips:
            raise NetworkError(
                f"{vip.ip} is no longer on {vip.interface} as a virtual address of node {vip.owner}"
            )

    def release(self, vip: Vip) -> None:
        there = Address(INTERFACE, vip.ip, vip.owner)
        if there in self._vips:
            self._change(tuple(one for one in self._vips if one != there))

    def _change(self, vips: tuple[Address, ...]) -> None:
        self._vips = vips
        if self._post:
            self._post(AddressesChanged(INTERFACE))

    def last_seen(self, interface: str, ip: IPv4Address) -> LastSeen:
        return LastSeen()

    def filter_probes(self, probes: Probes) -> None:
        """Nobody else probes."""
