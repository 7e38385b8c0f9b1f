"""This node as the others know it: its own address, which it announces and defends, and what it joins with."""

import socket
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from config import Config
from logging_setup import EventLogger
from network.base import Address, ArpSeen, Interface, InterfaceMissing, Network, NetworkError, Vip

DEFEND_EVERY_S = 10.0
"""DEFEND_INTERVAL of RFC 5227 §1.1."""


class Node:
    """`primary` is the own address, and `interface` the one that it is on, None: not known. `carrier` is false when that
    interface cannot serve anybody, for longer than a flap.
    """

    def __init__(self, config: Config, network: Network, log: EventLogger) -> None:
        self.number = config.node_id
        self.primary: Address | None = None
        self.mac: str | None = None
        self.interface: str | None = None
        self.carrier = True
        self._neighbors = [str(neighbor) for neighbor in config.neighbors[config.node_id]]
        self._configured = config.interface
        self._missing = False
        self._network = network
        self._log = log
        self._defended_s = float("-inf")

    def find(self, local_ip: str | None) -> None:
        """Look up the own address; `local_ip` is this end of the connection to the master, None: not connected.

        It is the first address of INTERFACE; else this end of the connection, or, over loopback or IPv6, the first
        address of the default route's interface. One that is new is announced. Raises NetworkError.
        """
        link = self._configured_interface()
        name = link.name if link else None
        own = [there for there in self._network.addresses(name) if there.owner is None]
        routed = [there for there in own if not there.ip.ip.is_loopback]
        if self._configured:
            found = own if name else []
        elif local_ip is None and self.primary in routed:
            found = [self.primary]  # without a master nothing says that another became the right one
        elif _routable(local_ip):
            found = [there for there in routed if str(there.ip.ip) == local_ip]
        else:
            default = next((interface for interface, _ in self._network.default_routes()), None)
            found = [there for there in routed if there.interface == default] or routed
        primary = found[0] if found else None
        if primary and link is None:
            link = self._network.interface(primary.interface)
        # all is read before any of it is kept: what fails here is looked up anew the next time
        before, self.primary = self.primary, primary
        self.mac = link.mac if link and primary else None
        if link is None:
            self.interface, self.carrier = None, not self._missing
        elif link.name != self.interface:  # else the link's changes are what says so
            self.interface, self.carrier = link.name, link.fault is None
        if primary != before:
            # the kernel says nothing when an address comes, or comes back with its interface
            self.announce()

    def affected_by(self, interface: str) -> bool:
        """Whether a change of that interface may be one of the own address."""
        return self.primary is None or interface in {self.interface, self._configured}

    def interface_for(self, ip: IPv4Address, here: tuple[Address, ...]) -> str:
        """The interface on which `ip` is to be held: INTERFACE, else, of this machine with the addresses `here`, the one
        whose subnet contains it. Raises NetworkError when there is none, or it is down.
        """
        if self._configured:
            names = [self._configured]
        else:
            own = (there for there in here if there.owner is None and not there.another_worker)
            fitting = [there for there in own if ip in there.ip.network]
            if not fitting:
                raise NetworkError(f"no interface of this machine has a subnet that contains {ip}")
            longest = max(there.ip.network.prefixlen for there in fitting)
            names = [there.interface for there in fitting if there.ip.network.prefixlen == longest]
            names = list(dict.fromkeys(names))  # one may have a thousand addresses
        found = [self._network.interface(name) for name in names]
        # either of two interfaces on one segment will do
        best = next((one for one in found if one.fault is None), found[0])
        best.check()
        return best.name

    def _configured_interface(self) -> Interface | None:
        """The interface that INTERFACE names, None: there is none, or it is not set."""
        if not self._configured:
            return None
        try:
            found = self._network.interface(self._configured)
        except InterfaceMissing as exc:
            if not self._missing:
                self._missing = True
                self._log.error("interface_missing", interface=self._configured, reason=str(exc))
            return None
        if self._missing:
            self._missing = False
            self._log.info("interface_found", interface=self._configured)
        return found

    def announce(self) -> None:
        """Announce the own address (RFC 5227 §2.3), so that a node that holds it lets go."""
        if self.primary:
            self.announce_on(self.primary.interface)

    def announce_on(self, interface: str) -> None:
        """Announce this machine's own address on an interface."""
        try:
            address = self.address_on(interface)
            if address:
                self._network.announce(interface, address)
        except NetworkError as exc:
            self._log.debug("announce_failed", interface=interface, reason=str(exc))

    def address_on(self, interface: str, near: IPv4Address | None = None) -> IPv4Address | None:
        """With which to ask for `near` there: the primary one where it is there; None: it has none. Raises NetworkError."""
        here = [there for there in self._network.addresses(interface) if there.owner is None]
        if self.primary in here:
            return self.primary.ip.ip
        fitting = [there for there in here if near and near in there.ip.network] or here
        return fitting[0].ip.ip if fitting else None

    def seen(self, arp: ArpSeen, now: float) -> None:
        """Defend the own address against a claim of it, at most once in 10 s (RFC 5227 §2.4)."""
        own = self.primary
        claimed = own and (arp.interface, arp.sender_ip) == (own.interface, own.ip.ip)
        if own and claimed and now - self._defended_s >= DEFEND_EVERY_S:
            self._defended_s = now
            self._log.critical("address_conflict", address=str(own.ip), mac=arp.sender_mac, own=True)
            self.announce()

    def join_data(self, vips: Sequence[Vip]) -> dict[str, Any]:
        """What `join` says, `vips` being what is held, the newest last. `held` maps each owner to its address."""
        newest = vips[-1] if vips else None
        return {
            "system": socket.gethostname(),
            "NODE_ID": self.number,
            "neighbors": self._neighbors,
            "primary_ip": str(self.primary.ip.ip) if self.primary else None,
            "primary_netmask": str(self.primary.ip.netmask) if self.primary else None,
            "secondary_ip": str(newest.ip.ip) if newest else None,
            "secondary_netmask": str(newest.ip.netmask) if newest else None,
            "mac": self.mac,
            "held": {str(vip.owner): str(vip.ip.ip) for vip in vips},
            **({} if self.carrier else {"carrier": False}),
        }


def _routable(local_ip: str | None) -> bool:
    """Whether it is an IPv4 address that other machines may know."""
    try:
        return local_ip is not None and not IPv4Address(local_ip).is_loopback
    except AddressValueError:
        return False
