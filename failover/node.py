"""This node as the others know it: its own address, which it announces and defends, and what it joins with."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Optional

from logging_setup import Log
from network.base import Address, ArpSeen, Network, NetworkError, Vip

DEFEND_EVERY_S = 10.0
"""DEFEND_INTERVAL of RFC 5227 §1.1."""


class Node:
    """`interface` is INTERFACE, None: the interface of the connection to the master tells."""

    def __init__(
        self, number: int, neighbors: Sequence[int], interface: Optional[str], network: Network, log: Log
    ) -> None:
        self.number = number
        self.primary: Optional[Address] = None
        self._neighbors = [str(neighbor) for neighbor in neighbors]
        self._interface = interface
        self._network = network
        self._log = log
        self._defended_s = float("-inf")

    def find(self, local_ip: Optional[str]) -> None:
        """Look up the own address; `local_ip` is this end of the connection to the master, None: not connected.

        It is the first address of INTERFACE; else this end of the connection, or, over loopback or IPv6, the
        first address of the default route's interface. Never a virtual address. One that is new is announced. Raises
        NetworkError.
        """
        own = [there for there in self._network.addresses() if there.owner is None]
        routed = [there for there in own if not there.ip.ip.is_loopback]
        if self._interface:
            found = [there for there in own if there.interface == self._interface]
        elif local_ip is None and self.primary in routed:
            found = [self.primary]  # without a master nothing says that another became the right one
        elif _routable(local_ip):
            found = [there for there in routed if str(there.ip.ip) == local_ip]
        else:
            default = self._network.default_interface()
            found = [there for there in routed if there.interface == default] or routed
        before, self.primary = self.primary, found[0] if found else None
        if self.primary != before:
            # the kernel says nothing when an address comes, or comes back with its interface
            self.announce()

    def announce(self) -> None:
        """Tell the segment whose the own address is (RFC 5227 §2.3), so that a holder lets go."""
        if self.primary:
            try:
                self._network.announce(self.primary.interface, self.primary.ip.ip)
            except NetworkError as exc:
                self._log.debug("announce_failed", address=str(self.primary.ip), reason=str(exc))

    def seen(self, arp: ArpSeen, now: float) -> None:
        """Defend the own address against a claim of it, at most once in 10 s (RFC 5227 §2.4)."""
        if self.primary and arp.sender_ip == self.primary.ip.ip and now - self._defended_s >= DEFEND_EVERY_S:
            self._defended_s = now
            self._log.critical("address_conflict", address=str(self.primary.ip), mac=arp.sender_mac, own=True)
            self.announce()

    def join_data(self, vips: Sequence[Vip]) -> dict[str, Any]:
        """What `join` says, `virtual addresses` being what is held, the newest last. `held` maps each owner to its address."""
        newest = vips[-1] if vips else None
        return {
            "system": socket.gethostname(),
            "NODE_ID": self.number,
            "neighbors": self._neighbors,
            "primary_ip": str(self.primary.ip.ip) if self.primary else None,
            "primary_netmask": str(self.primary.ip.netmask) if self.primary else None,
            "secondary_ip": str(newest.ip.ip) if newest else None,
            "secondary_netmask": str(newest.ip.netmask) if newest else None,
            "held": {str(vip.owner): str(vip.ip.ip) for vip in vips},
        }


def _routable(local_ip: Optional[str]) -> bool:
    """Whether it is an IPv4 address that other machines may know."""
    try:
        return local_ip is not None and not IPv4Address(local_ip).is_loopback
    except AddressValueError:
        return False
