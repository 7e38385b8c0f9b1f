"""Addresses by a system's own commands: what the `ifconfig` and `netsh` backends share.

The kernel gives no lease and no label: a journal file tells virtual addresses from the machine's own addresses, and a
worker that is killed keeps them until it is started again. There is no packet socket either: an address is
asked for through the system's own ARP, which cannot ask for an address that the machine itself holds, so a
second holder goes unseen; the system announces an address when it is added, and not again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Optional, Protocol

from network.base import Address, AddressesChanged, ArpSeen, LastSeen, LinkUp, NetworkError, NetworkEvent, Vip
from network.command.interfaces import InterfaceInfo, read_cards
from network.command.journal import Journal

_LOOK_S = 1.0
_UNSPECIFIED = IPv4Address(0)


class System(Protocol):
    """The commands of one system. Each raises NetworkError."""

    backend: str

    def check_privilege(self) -> None:
        """NetworkError, with how to get it, where this process may not change addresses."""

    def add(self, vip: Vip) -> None: ...

    def remove(self, vip: Vip) -> None: ...

    def default_routes(self) -> tuple[tuple[str, IPv4Address], ...]:
        """(interface, gateway) of each default route, the preferred one first."""

    def ask(self, ip: IPv4Address) -> Optional[str]:
        """The MAC that answers for `ip` now; None: silence. Takes up to 3 s."""


class CommandBackend:
    """`interface` None: the one whose subnet holds the address."""

    def __init__(
        self,
        system: System,
        interface: Optional[str],
        journal: Journal,
        interfaces: Callable[[], tuple[InterfaceInfo, ...]] = read_cards,
    ) -> None:
        self.backend = system.backend
        self._system = system
        self._interface = interface
        self._journal = journal
        self._cards = interfaces
        self._post: Optional[Callable[[NetworkEvent], None]] = None
        self._over = threading.Event()
        self._questions: queue.SimpleQueue[Optional[tuple[str, IPv4Address]]] = queue.SimpleQueue()
        self._asked: frozenset[IPv4Address] = frozenset()
        self._ips: frozenset[IPv4Address] = frozenset()
        self._last: dict[tuple[str, IPv4Address], str] = {}
        self._failed: Optional[str] = None
        self._threads: list[threading.Thread] = []

    def start(self, post: Callable[[NetworkEvent], None]) -> None:
        self._system.check_privilege()
        present = {(card.name, ip) for card in self._cards() for ip in card.ips}
        for (
            vip
        ) in self._journal.read():  # what a restart of the machine took away is no virtual address any more
            if (vip.interface, vip.ip) not in present:
                self._journal.remove(vip)
        self._post = post
        for name, work in (("network-look", self._look), ("network-ask", self._ask)):
            thread = threading.Thread(target=work, name=name, args=(post,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        self._post = None
        self._over.set()
        self._questions.put(None)
        for thread in self._threads:
            thread.join(1.0)

    def addresses(self) -> tuple[Address, ...]:
        owners = {(vip.interface, vip.ip): vip.owner for vip in self._journal.read()}
        return tuple(
            Address(card.name, ip, owners.get((card.name, ip))) for card in self._cards() for ip in card.ips
        )

    def interface_for(self, ip: IPv4Address) -> str:
        if self._interface is not None:
            return self._running(self._interface).name
        fitting = [own for own in self.addresses() if own.owner is None and ip in own.ip.network]
        if not fitting:
            raise NetworkError(f"no interface of this machine has a subnet that holds {ip}")
        return self._running(max(fitting, key=lambda own: own.ip.network.prefixlen).interface).name

    def default_interface(self) -> Optional[str]:
        return next((interface for interface, _gateway in self._system.default_routes()), None)

    def gateways(self) -> frozenset[IPv4Address]:
        return frozenset(gateway for _interface, gateway in self._system.default_routes())

    def mac(self, interface: str) -> str:
        mac = self._card(interface).mac
        if mac is None:
            raise NetworkError(f"interface {interface} has no MAC")
        return mac

    def watch(self, ips: frozenset[IPv4Address]) -> None:
        self._ips = ips

    def probe(self, interface: str, ip: IPv4Address, sender: IPv4Address | None = None) -> None:
        if self._post is None:
            raise NetworkError("the network was not opened")
        self._running(interface)
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise NetworkError(failed)
        # The system would answer for itself.
        if ip not in self._asked and all(own.ip.ip != ip for own in self.addresses()):
            self._asked |= {ip}
            self._questions.put((interface, ip))

    def announce(self, interface: str, ip: IPv4Address) -> None:
        self._running(interface)

    def hold(self, vip: Vip) -> None:
        addresses = self.addresses()
        if Address(vip.interface, vip.ip, vip.owner) in addresses:
            return
        for other in addresses:
            if other.ip.ip == vip.ip.ip:
                raise NetworkError(f"{other.interface} already has {other.ip}")
        self._running(vip.interface)
        if not any(
            own.interface == vip.interface and own.owner is None and vip.ip.ip in own.ip.network
            for own in addresses
        ):
            raise NetworkError(f"{vip.interface} has no address of its own in a subnet that holds {vip.ip}")
        self._journal.note(vip)  # first, so that whatever happens a restart knows it
        try:
            self._system.add(vip)
            self.renew(vip)
        except NetworkError:
            if all(there.ip != vip.ip for there in self.addresses()):
                self._journal.remove(vip)
            raise

    def renew(self, vip: Vip) -> None:
        if Address(vip.interface, vip.ip, vip.owner) not in self.addresses():
            raise NetworkError(f"{vip.ip} is not on {vip.interface} as a virtual address of node {vip.owner}")

    def release(self, vip: Vip) -> None:
        if Address(vip.interface, vip.ip, vip.owner) in self.addresses():
            self._system.remove(vip)
        self._journal.remove(vip)

    def last_seen(self, interface: str, ip: IPv4Address) -> LastSeen:
        return LastSeen(self._last.get((interface, ip)))

    def filter_probes(self, probes: frozenset[tuple[str, IPv4Address, str]]) -> None:
        """These systems have no filter for ARP: an owner that asks first comes up at its second try."""

    def _card(self, name: str) -> InterfaceInfo:
        card = next((card for card in self._cards() if card.name == name), None)
        if card is None:
            raise NetworkError(f"there is no interface {name}")
        return card

    def _running(self, name: str) -> InterfaceInfo:
        card = self._card(name)
        if not card.up:
            raise NetworkError(f"interface {name} is down")
        return card

    def _look(self, post: Callable[[NetworkEvent], None]) -> None:
        """These systems' notifications need code of their own for each; a look every second serves both."""
        before = self._cards()
        while not self._over.wait(_LOOK_S):
            try:
                now = self._cards()
            except NetworkError:
                continue
            was_up = {card.name for card in before if card.up}
            for card in now:
                if card.up and card.name not in was_up:
                    post(LinkUp(card.name))
            if {(c.name, c.ips) for c in before} != {(c.name, c.ips) for c in now}:
                post(AddressesChanged())
            before = now

    def _ask(self, post: Callable[[NetworkEvent], None]) -> None:
        while True:
            question = self._questions.get()
            if question is None:
                return
            interface, ip = question
            self._asked -= {ip}
            try:
                mac = self._system.ask(ip)
            except NetworkError as exc:
                self._failed = str(exc)  # for the next probe to tell
                continue
            if mac is not None and all(mac != card.mac for card in self._cards()):
                self._last[interface, ip] = mac
                if ip in self._ips:
                    post(ArpSeen(interface, True, mac, ip, _UNSPECIFIED))
