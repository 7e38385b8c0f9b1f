"""The interface between the rules of failover and the machine they act on.

A backend implements `Network`. Its methods may be called from one thread only, the owner's; each returns
within a second or raises `NetworkError`. What the wire and the kernel say on their own is posted as events
from the backend's own thread.

MAC addresses are lower-case text, `02:fc:00:00:00:01`. Addresses are parsed, never compared as text.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from typing import Protocol

MAC = re.compile(r"[0-9a-f][02468ace](?::[0-9a-f]{2}){5}", re.ASCII)
"""A MAC address of one host: its group bit is not set."""


class NetworkError(Exception):
    """The machine could not be asked or changed; its text is the reason, fit for a log and for the master."""


class InterfaceMissing(NetworkError):
    """The machine has no interface of that name."""


@dataclass(frozen=True)
class Interface:
    """`mac` is the MAC in use, None: it is not Ethernet. `fault` is why it can serve nobody, None: it is switched on and
    has a carrier (RFC 2863 operational state).
    """

    name: str
    mac: str | None
    fault: str | None

    def check(self) -> None:
        """Raise NetworkError where it can serve nobody."""
        if self.fault:
            raise NetworkError(self.fault)


@dataclass(frozen=True)
class Address:
    """An IPv4 address as an interface of this machine holds it.

    `owner` is the node for which this worker holds it, None: the machine's own, an operator's, or `another_worker`'s.
    """

    interface: str
    ip: IPv4Interface
    owner: int | None = None
    another_worker: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Vip:
    """An address that this node holds, or is to hold, for the node `owner`."""

    owner: int
    ip: IPv4Interface
    interface: str


@dataclass(frozen=True)
class ArpSeen:
    """An ARP packet (RFC 826) from another machine that names a watched address.

    A probe (RFC 5227 §1.1) is a request from 0.0.0.0. `also_uses` is another address that its MAC was seen to use within
    the last minute, so that it may be another node that once held this one; a single forged frame can cause it.
    """

    interface: str
    reply: bool
    sender_mac: str
    sender_ip: IPv4Address
    target_ip: IPv4Address
    also_uses: IPv4Address | None = None


@dataclass(frozen=True)
class LinkUp:
    """An interface came back (RFC 2863 operational state up), or has another name or MAC."""

    interface: str


@dataclass(frozen=True)
class LinkDown:
    """An interface lost its carrier or was switched off; its addresses stay on it, and nobody hears of them."""

    interface: str


@dataclass(frozen=True)
class AddressesChanged:
    """Addresses of an interface were added or removed, or it went away; read `addresses()` to see which."""

    interface: str


@dataclass(frozen=True)
class FilterFailed:
    """Owners' probes cannot be kept from the kernel (`Network.filter_probes`), and why."""

    reason: str


NetworkEvent = ArpSeen | LinkUp | LinkDown | AddressesChanged | FilterFailed
Probes = frozenset[tuple[str, IPv4Address, str]]
"""ARP probes by interface, address asked for, and MAC of who asks."""


@dataclass(frozen=True)
class LastSeen:
    """What is known of the machines that use an address or ask for it.

    `mac` was the last to use it, None: unknown; `also_uses` is as in ArpSeen, of that MAC. `probed_ago_s` has the MACs
    that probed for it within the last 10 s and have not used it since, and how many seconds ago each did.
    """

    mac: str | None = None
    also_uses: IPv4Address | None = None
    probed_ago_s: Mapping[str, float] = field(default_factory=dict)


class Network(Protocol):
    """What failover asks of a machine. `backend` is its name as VIP_BACKEND spells it."""

    backend: str

    def start(self, post: Callable[[NetworkEvent], None]) -> None:
        """Open what is needed and begin to post events, from any thread. Raises NetworkError where this user cannot change
        addresses, with how to grant it; what only reads works all the same.
        """

    def close(self) -> None:
        """End threads and sockets; addresses stay as they are."""

    def addresses(self, interface: str | None = None) -> tuple[Address, ...]:
        """The IPv4 addresses of an interface, which may be gone, its first address first; None: of every interface."""

    def interface(self, name: str) -> Interface:
        """The interface that has this name, or alternative name, as it is now. Raises InterfaceMissing."""

    def default_routes(self) -> tuple[tuple[str, IPv4Address | None], ...]:
        """Interface and gateway, None: there is none, of each default route, the preferred one first."""

    def watch(self, ips: frozenset[IPv4Address]) -> None:
        """From now on post ArpSeen for packets from other machines that give one of `ips` as their sender's
        or their target's address. A flood from one MAC about one address may be thinned to ten a second, and ten
        after each probe. Before start(), or when that failed, nothing is posted, and probe() raises.
        """

    def probe(self, interface: str, ip: IPv4Address, sender: IPv4Address | None = None) -> None:
        """Ask who has `ip`; answers arrive as ArpSeen. Raises NetworkError when it could not be sent.

        Without `sender` it is an ARP probe (RFC 5227 §2.1.1: sender 0.0.0.0), which other hosts that want the
        address see as a conflict; with it an ordinary request of this machine's address `sender`, which they don't.
        """

    def announce(self, interface: str, ip: IPv4Address) -> None:
        """Broadcast one ARP announcement (RFC 5227 §2.3) in both forms, request and reply."""

    def hold(self, vip: Vip) -> None:
        """Add the address, labeled as ours, on a lease, or renew its lease, and see that the interface holds it: never as
        its first one, without a route of its own. Raises NetworkError, also where somebody else's is there.
        """

    def renew(self, vip: Vip) -> None:
        """Begin its lease anew. Raises NetworkError when it is not there with our label: it may have a new holder, so
        the wire has to be asked before hold().
        """

    def release(self, vip: Vip) -> None:
        """Remove the address if it is there with our label; nothing else is touched. Absence is success."""

    def last_seen(self, interface: str, ip: IPv4Address) -> LastSeen:
        """What the wire and the neighbor table say of `ip` on that interface."""

    def filter_probes(self, probes: Probes) -> None:
        """Soon after, this machine's kernel answers all ARP probes but these, which are seen as ArpSeen all the same.
        FilterFailed is posted where that fails; a backend that has no means to filters nothing.
        """
