"""Addresses by a system's own commands: what the `ifconfig` and `netsh` backends share.

The kernel keeps neither a lease nor a label: a journal file says which addresses are virtual, and those of a worker that
is killed stay until it is started again. There is no packet socket either: an address is probed through the system's
own ARP, which cannot ask for an address that the machine itself holds, so that a second holder goes unnoticed; the
system announces an address when it is added, and not again.
"""

import json
import os
import queue
import threading
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from network.base import (
    Address,
    AddressesChanged,
    ArpSeen,
    Interface,
    InterfaceMissing,
    LastSeen,
    LinkDown,
    LinkUp,
    NetworkError,
    NetworkEvent,
    Probes,
    Vip,
)
from network.command.macos import MacOS
from network.command.windows import Windows

_POLL_S = 1.0
_UNSPECIFIED = IPv4Address(0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class Journal:
    """The virtual addresses of one node, where the kernel keeps no label: a JSON array in `path`, never half written and
    never through a symbolic link. Methods raise NetworkError; a file that can't be read is not an empty one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[Vip, ...]:
        try:
            with open(os.open(self._path, os.O_RDONLY | _NO_LINK), encoding="utf-8") as file:
                entries = json.load(file)
            return tuple(
                Vip(int(one["owner"]), IPv4Interface(one["ip"]), str(one["interface"])) for one in entries
            )
        except FileNotFoundError:
            return ()
        except OSError as exc:
            raise NetworkError(
                f"the journal of addresses {self._path} can't be read: {exc.strerror}"
            ) from exc
        except (ValueError, KeyError, TypeError) as exc:
            raise NetworkError(
                f"the journal of addresses {self._path} is damaged: take the addresses of other nodes off this "
                "machine, then remove the file"
            ) from exc

    def add(self, vip: Vip) -> None:
        self._write((*(one for one in self.read() if one.ip.ip != vip.ip.ip), vip))

    def remove(self, vip: Vip) -> None:
        vips = self.read()
        if vip in vips:
            self._write(tuple(one for one in vips if one != vip))

    def _write(self, vips: tuple[Vip, ...]) -> None:
        entries = [{"owner": one.owner, "ip": str(one.ip), "interface": one.interface} for one in vips]
        beside = self._path.with_name(self._path.name + ".new")
        try:
            beside.unlink(missing_ok=True)  # of a run that was killed, or a link that somebody laid
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                if hasattr(os, "fchmod"):
                    # whatever the umask: the worker's user reads what the sudo helper writes as root
                    os.fchmod(descriptor, 0o644)
                json.dump(entries, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as exc:
            raise NetworkError(
                f"the journal of addresses {self._path} can't be written: {exc.strerror}"
            ) from exc


class CommandBackend:
    def __init__(self, system: MacOS | Windows, journal: Journal) -> None:
        self.backend = system.backend
        self._system = system
        self._journal = journal
        self._read = system.interfaces
        self._post: Callable[[NetworkEvent], None] | None = None
        self._over = threading.Event()
        self._questions: queue.SimpleQueue[tuple[str, IPv4Address] | None] = queue.SimpleQueue()
        self._asked: frozenset[IPv4Address] = frozenset()
        self._ips: frozenset[IPv4Address] = frozenset()
        self._last: dict[tuple[str, IPv4Address], str] = {}
        self._failed: str | None = None
        self._threads: list[threading.Thread] = []

    def start(self, post: Callable[[NetworkEvent], None]) -> None:
        self._system.check_privilege()
        present = {(one.name, ip) for one in self._read() for ip in one.ips}
        for vip in self._journal.read():
            # A restart of the machine took it away: should it come back, somebody else has added it.
            if (vip.interface, vip.ip) not in present:
                self._journal.remove(vip)
        self._post = post
        for name, work in (("network-poll", self._poll), ("network-ask", self._ask)):
            thread = threading.Thread(target=work, name=name, args=(post,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        self._post = None
        self._over.set()
        self._questions.put(None)
        for thread in self._threads:
            thread.join(1.0)

    def addresses(self, interface: str | None = None) -> tuple[Address, ...]:
        owners = {(vip.interface, vip.ip): vip.owner for vip in self._journal.read()}
        return tuple(
            Address(one.name, ip, owners.get((one.name, ip)))
            for one in self._read()
            for ip in one.ips
            if interface in {None, one.name}
        )

    def interface(self, name: str) -> Interface:
        for one in self._read():
            if one.name == name:
                return Interface(name, one.mac, None if one.up else f"interface {name} is down")
        raise InterfaceMissing(f"there is no interface {name}")

    def default_routes(self) -> tuple[tuple[str, IPv4Address | None], ...]:
        return self._system.default_routes()

    def watch(self, ips: frozenset[IPv4Address]) -> None:
        self._ips = ips

    def probe(self, interface: str, ip: IPv4Address, sender: IPv4Address | None = None) -> None:
        if self._post is None:
            raise NetworkError("the network was not opened")
        self.interface(interface).check()
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise NetworkError(failed)
        # The system would answer for itself.
        if ip not in self._asked and all(own.ip.ip != ip for own in self.addresses()):
            self._asked |= {ip}
            self._questions.put((interface, ip))

    def announce(self, interface: str, ip: IPv4Address) -> None:
        self.interface(interface).check()

    def hold(self, vip: Vip) -> None:
        addresses = self.addresses()
        if Address(vip.interface, vip.ip, vip.owner) in addresses:
            return
        for other in addresses:
            if other.ip.ip == vip.ip.ip:
                raise NetworkError(f"{other.interface} already has {other.ip}")
        self.interface(vip.interface).check()
        if not any(
            own.interface == vip.interface and own.owner is None and vip.ip.ip in own.ip.network
            for own in addresses
        ):
            raise NetworkError(
                f"{vip.interface} has no address of its own in a subnet that contains {vip.ip}"
            )
        self._journal.add(vip)  # first, so that whatever happens a restart knows it
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

    def filter_probes(self, probes: Probes) -> None:
        """These systems have no filter for ARP: an owner that asks first comes up at its second try."""

    def _poll(self, post: Callable[[NetworkEvent], None]) -> None:
        """Notifications would need code of their own for each system; reading every second serves both."""
        before = self._read()
        while not self._over.wait(_POLL_S):
            try:
                now = self._read()
            except NetworkError:
                continue
            known = {one.name: one for one in before}
            for one in now:
                was = known.pop(one.name, None)
                if one.up and not (was and was.up):
                    post(LinkUp(one.name))
                elif was and was.up and not one.up:
                    post(LinkDown(one.name))
                if was is None or was.ips != one.ips:
                    post(AddressesChanged(one.name))
            for name in known:
                post(AddressesChanged(name))
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
                self._failed = str(exc)  # the reason of the next probe
                continue
            if mac is not None and all(mac != one.mac for one in self._read()):
                self._last[interface, ip] = mac
                if ip in self._ips:
                    post(ArpSeen(interface, True, mac, ip, _UNSPECIFIED))
