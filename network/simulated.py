"""Addresses kept in memory only, for demos and tests: no privilege, and a wire on which nobody else speaks."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface

from network.base import Address, AddressesChanged, LastSeen, NetworkError, NetworkEvent, Vip

INTERFACE = "simulated0"


def _ignore(_event: NetworkEvent) -> None:
    """Take events until start() says where they go."""


class Simulated:
    """The node's own address is 10.9.0.NODE_ID/24 on `simulated0`; virtual addresses live as long as this object.

    There are no leases to run out, no gateways and no other hosts, so a probe is always followed by silence.
    Raises NetworkError where NODE_ID leaves no such address (it fits 1 to 254).
    """

    backend = "simulated"

    def __init__(self, node_id: int) -> None:
        if not 1 <= node_id <= 254:
            msg = f"the simulated network has addresses for NODE_ID 1 to 254 only, not {node_id}"
            raise NetworkError(msg)
        self._node_id = node_id
        self._own = Address(INTERFACE, IPv4Interface(f"10.9.0.{node_id}/24"))
        self._vips: dict[IPv4Address, Address] = {}
        self._post: Callable[[NetworkEvent], None] = _ignore

    def start(self, post: Callable[[NetworkEvent], None]) -> None:
        self._post = post

    def close(self) -> None:
        self._post = _ignore

    def addresses(self, interface: str | None = None) -> tuple[Address, ...]:
        return (self._own, *self._vips.values()) if interface in {None, INTERFACE} else ()

    def resolve(self, interface: str) -> str:
        self._check_interface(interface)
        return interface

    def has_carrier(self, interface: str) -> bool:
        return interface == INTERFACE

    def interface_for(self, ip: IPv4Address) -> str:
        if ip not in self._own.ip.network:
            raise NetworkError(
                f"no interface has a subnet that contains {ip}: {INTERFACE} has {self._own.ip}"
            )
        return INTERFACE

    def default_interface(self) -> str | None:
        return INTERFACE

    def gateways(self) -> frozenset[IPv4Address]:
        return frozenset()

    def mac(self, interface: str) -> str:
        self._check_interface(interface)
        return f"02:09:00:00:00:{self._node_id:02x}"

    def watch(self, ips: frozenset[IPv4Address]) -> None:
        """Nobody else speaks, so there is nothing to post."""

    def probe(self, interface: str, ip: IPv4Address, sender: IPv4Address | None = None) -> None:
        self._check_interface(interface)

    def announce(self, interface: str, ip: IPv4Address) -> None:
        self._check_interface(interface)

    def hold(self, vip: Vip) -> None:
        self._check_interface(vip.interface)
        there = self._there(vip)
        if there is None:
            if vip.ip.network != self._own.ip.network:
                raise NetworkError(f"{vip.ip} is not of {INTERFACE}'s subnet {self._own.ip.network}")
            self._vips[vip.ip.ip] = Address(INTERFACE, vip.ip, vip.owner)
            self._post(AddressesChanged(INTERFACE))
        elif (there.ip, there.owner) != (vip.ip, vip.owner):
            whose = "not a virtual address" if there.owner is None else f"held for node {there.owner}"
            raise NetworkError(f"{INTERFACE} already has {there.ip}, {whose}")

    def renew(self, vip: Vip) -> None:
        there = self._there(vip)
        if there is None or (there.ip, there.owner) != (vip.ip, vip.owner):
            raise NetworkError(
                f"{vip.ip} is no longer on {vip.interface} as a virtual address of node {vip.owner}"
            )

    def release(self, vip: Vip) -> None:
        there = self._there(vip)
        if there is not None and (there.ip, there.owner) == (vip.ip, vip.owner):
            del self._vips[vip.ip.ip]
            self._post(AddressesChanged(INTERFACE))

    def last_seen(self, interface: str, ip: IPv4Address) -> LastSeen:
        return LastSeen()

    def filter_probes(self, probes: frozenset[tuple[str, IPv4Address, str]]) -> None:
        """Nobody else probes."""

    def _there(self, vip: Vip) -> Address | None:
        if vip.ip.ip == self._own.ip.ip:
            return self._own
        return self._vips.get(vip.ip.ip)

    def _check_interface(self, name: str) -> None:
        if name != INTERFACE:
            raise NetworkError(f"there is no interface {name}: the simulated one is {INTERFACE}")
