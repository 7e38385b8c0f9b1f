"""The interface between the rules of failover and the machine they act on.

A backend implements `Network`. Its methods may be called from one thread only, the owner's; each returns
within a second or raises `NetworkError`. What the wire and the kernel say on their own is posted as events
from the backend's own thread.

MAC addresses are lower-case text, `02:fc:00:00:00:01`. Addresses are parsed, never compared as text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Protocol


class NetworkError(Exception):
    """The machine could not be asked or changed; its text is the reason, fit for a log and for the master."""


@dataclass(frozen=True)
class Address:
    """An IPv4 address as an interface of this machine holds it.

    `owner` is the node for which this worker holds it, read from our label on it; None: no virtual address of this node's
    (the machine's own, an operator's, or another worker's on the same machine).
    """

    interface: str
    ip: IPv4Interface
    owner: int | None = None


@dataclass(frozen=True)
class Vip:
    """An address that this node holds, or is to hold, for the node `owner`."""

    owner: int
    ip: IPv4Interface
    interface: str


@dataclass(frozen=True)
class ArpSeen:
    """An ARP packet (RFC 826) from another machine that names a watched address.

    A probe (RFC 5227 §1.1) is a request whose `sender_ip` is 0.0.0.0; an announcement has
    `sender_ip == target_ip`. `uses_others`, of a probe: its MAC was last seen to use another address than the
    one it asks for, so it may be another node that held that one, and need not be its owner.
    """

    interface: str
    reply: bool
    sender_mac: str
    sender_ip: IPv4Address
    target_ip: IPv4Address
    uses_others: bool = False


@dataclass(frozen=True)
class LinkUp:
    """An interface came back (RFC 2863 operational state up) after it was down or away, or has another name or MAC."""

    interface: str


@dataclass(frozen=True)
class LinkDown:
    """An interface lost its carrier or was switched off; its addresses stay on it, and nobody hears of them."""

    interface: str


@dataclass(frozen=True)
class AddressesChanged:
    """Addresses of an interface were added or removed, or it went away; read `addresses()` to see which."""

    interface: str


NetworkEvent = ArpSeen | LinkUp | LinkDown | AddressesChanged


class Network(Protocol):
    """What failover asks of a machine."""

    backend: str
    """The name of the backend as VIP_BACKEND spells it."""

    def start(self, post: Callable[[NetworkEvent], None]) -> None:
        """Open what is needed and begin to post events. `post` may be called from any thread.

        Raises NetworkError where this machine or this user cannot change addresses; the reason says how to
        grant it. `addresses()`, `interface_for()`, `gateways()` and `default_interface()` work all the same.
        """

    def close(self) -> None:
        """End threads and sockets; addresses stay as they are."""

    def addresses(self, interface: str | None = None) -> tuple[Address, ...]:
        """The IPv4 addresses of an interface, its first address first; None: of every interface. Of one that is not
        there, none.
        """

    def resolve(self, interface: str) -> str:
        """The name of the interface that INTERFACE names, which may be an alternative name of it. Raises NetworkError
        where there is none.
        """

    def has_carrier(self, interface: str) -> bool:
        """Whether it is there, switched on and has a carrier."""

    def interface_for(self, ip: IPv4Address) -> str:
        """The interface on which `ip` is to be held: the configured one, else the one whose subnet holds it.

        Raises NetworkError when there is none, or it is down.
        """

    def default_interface(self) -> str | None:
        """The interface of the default route; None: there is none."""

    def gateways(self) -> frozenset[IPv4Address]:
        """The default gateways."""

    def mac(self, interface: str) -> str:
        """The interface's own MAC. Raises NetworkError when there is no such interface."""

    def watch(self, ips: frozenset[IPv4Address]) -> None:
        """From now on post ArpSeen for packets from other machines that give one of `ips` as their sender's
        or their target's address. This machine's own packets (any of its MACs) are never posted. A flood
        from one MAC about one address may be thinned to ten a second, and ten after each probe. Before
        start(), or when that failed, nothing is posted, and probe() raises.
        """

    def probe(self, interface: str, ip: IPv4Address) -> None:
        """Send one ARP probe (RFC 5227 §2.1.1: sender 0.0.0.0). Answers arrive as ArpSeen.

        Raises NetworkError when it could not be sent: silence then means nothing.
        """

    def announce(self, interface: str, ip: IPv4Address) -> None:
        """Broadcast one ARP announcement (RFC 5227 §2.3) in both forms, request and reply.

        Raises NetworkError when it could not be sent.
        """

    def hold(self, vip: Vip) -> None:
        """Add the address, labeled as ours, on a lease; or renew its lease where it is there with our label.

        Never as the interface's first address, without a route of its own. Once it returns, the interface was
        seen to hold it. Raises NetworkError otherwise, also where somebody else's such address is already there.
        """

    def renew(self, vip: Vip) -> None:
        """Begin its lease anew; never adds it. Raises NetworkError when it is not there with our label, since
        an address that vanished may have a new holder: the wire has to be asked before hold().
        """

    def release(self, vip: Vip) -> None:
        """Remove the address if it is there with our label; nothing else is touched. Absence is success."""

    def last_mac(self, interface: str, ip: IPv4Address) -> str | None:
        """The MAC that was last seen to use `ip`, from the neighbor table or the watch.

        None: unknown, or it uses other addresses too, and so may be another node that held this one.
        """
