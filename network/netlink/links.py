"""Interfaces, default routes and the neighbor table as rtnetlink(7) shows them."""

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from network.base import Interface, InterfaceMissing
from network.netlink import arp
from network.netlink import messages as nl
from network.netlink.messages import Message, attributes, nested
from network.netlink.netlink_socket import NetlinkSocket, reasons

_ARPHRD_ETHER = 1  # linux/if_arp.h
_IFF_UP, _IFF_RUNNING, _IFF_NOARP = 0x1, 0x40, 0x80
_PROMOTE_SECONDARIES = 20
"""IPV4_DEVCONF_PROMOTE_SECONDARIES of linux/ip.h."""
_RT_TABLE_MAIN = 254
_RTN_UNICAST = 1
# the last two for names that no interface can have
_NO_SUCH_NAME = (errno.ENODEV, errno.EINVAL, errno.ERANGE)
_SHORT = (nl.IFLA_EXT_MASK, struct.pack("=I", nl.RTEXT_FILTER_SKIP_STATS))


@dataclass(frozen=True)
class Link(Interface):
    """`macs` has the MAC that it was made with as well; `arp`: it speaks ARP."""

    index: int
    macs: frozenset[str]
    arp: bool

    @property
    def up(self) -> bool:
        return self.fault is None


def parse_link(message: Message) -> Link:
    """The interface of an RTM_NEWLINK or RTM_DELLINK message."""
    _family, kind, index, flags, _change = message.head
    name = message.text(nl.IFLA_IFNAME)
    mac, permanent = (
        arp.mac_text(message.attributes.get(key, b"")) for key in (nl.IFLA_ADDRESS, nl.IFLA_PERM_ADDRESS)
    )
    fault = None
    if not flags & _IFF_UP:
        fault = f"interface {name} is down"
    # IFF_RUNNING follows a pulled cable some milliseconds late, in which a probe would go nowhere and its silence
    # pass for "free"
    elif not flags & _IFF_RUNNING or message.attributes.get(nl.IFLA_CARRIER) == b"\0":
        fault = f"interface {name} has no link"
    return Link(
        name,
        mac if kind == _ARPHRD_ETHER else None,
        fault,
        index,
        frozenset({mac, permanent} - {"", arp.NOBODY}),
        not flags & _IFF_NOARP,
    )


def read_links(route: NetlinkSocket) -> dict[int, Link]:
    """Every interface by its index. Raises NetworkError where the kernel could not be asked."""
    with reasons("the interfaces of this machine could not be read"):
        links = map(parse_link, route.dump(nl.RTM_GETLINK, _head(0), [_SHORT]))
        return {link.index: link for link in links}


def find(route: NetlinkSocket, name: str) -> Link:
    """The interface that has this name or alternative name, as it is now. Raises InterfaceMissing, NetworkError."""
    # A name of 15 characters at most is looked up by the oldest attribute, which kernels before 5.5 know too.
    kind = nl.IFLA_IFNAME if len(name.encode()) < 16 else nl.IFLA_ALT_IFNAME
    with reasons(f"interface {name} could not be read"):
        try:
            return parse_link(_get(route, 0, [(kind, name.encode() + b"\0")]))
        except OSError as exc:
            if exc.errno in _NO_SUCH_NAME:
                raise InterfaceMissing(f"there is no interface {name}") from exc
            raise


def name_of(route: NetlinkSocket, index: int) -> str | None:
    """The name of the interface with that index, None: there is none. Raises OSError, ValueError."""
    try:
        return socket.if_indextoname(index)
    except OSError:  # it went away, or no descriptor is left to ask with
        pass
    try:
        return parse_link(_get(route, index, [])).name
    except OSError as exc:
        if exc.errno not in _NO_SUCH_NAME:
            raise
        return None


def promotes_secondaries(route: NetlinkSocket, index: int) -> bool:
    """Whether the interface's own promote_secondaries is set. Raises OSError, ValueError."""
    families = attributes(_get(route, index, []).attributes.get(nl.IFLA_AF_SPEC, b""))
    values = attributes(families.get(socket.AF_INET, b"")).get(nl.IFLA_INET_CONF, b"")
    try:
        return bool(struct.unpack_from("=I", values, 4 * (_PROMOTE_SECONDARIES - 1))[0])
    except struct.error as exc:
        raise ValueError("the interface has no IPv4 settings") from exc


def set_promote_secondaries(route: NetlinkSocket, index: int, value: bool) -> None:
    """Set it, by rtnetlink: /proc/sys is read-only to a hardened service. Raises OSError, ValueError."""
    conf = nested((_PROMOTE_SECONDARIES, struct.pack("=I", value)))
    route.request(
        nl.RTM_SETLINK,
        _head(index),
        [(nl.IFLA_AF_SPEC, nested((socket.AF_INET, nested((nl.IFLA_INET_CONF, conf)))))],
    )
    if promotes_secondaries(route, index) is not value:
        raise OSError("the kernel did not keep promote_secondaries")


def _get(route: NetlinkSocket, index: int, named: list[tuple[int, bytes]]) -> Message:
    answers = route.request(nl.RTM_GETLINK, _head(index), [*named, _SHORT])
    if not answers:
        raise ValueError("an answer without an interface")
    return answers[0]


def _head(index: int) -> bytes:
    return nl.IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, 0, 0)


def default_routes(route: NetlinkSocket) -> tuple[tuple[str, IPv4Address | None], ...]:
    """Interface and gateway of each default route, the main table's first, by priority. Raises NetworkError."""
    head = nl.RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, _RTN_UNICAST, 0)
    with reasons("the routes of this machine could not be read"):
        dumped = route.dump(nl.RTM_GETROUTE, head)
    found = [one for one in dumped if one.head[1] == 0 and one.head[7] == _RTN_UNICAST]
    found.sort(key=lambda one: (one.number(nl.RTA_TABLE) != _RT_TABLE_MAIN, one.number(nl.RTA_PRIORITY)))
    routes: list[tuple[str, IPv4Address | None]] = []
    for one in found:
        hops = nl.next_hops(one.attributes.get(nl.RTA_MULTIPATH, b""))
        for index, hop in ((one.number(nl.RTA_OIF), one.attributes), *hops):
            with reasons("the routes of this machine could not be read"):
                name = name_of(route, index)
            if name:  # else it went away since, or it is a route of several hops
                gateway = IPv4Address(hop[nl.RTA_GATEWAY]) if nl.RTA_GATEWAY in hop else None
                routes.append((name, gateway))
    return tuple(routes)


def neighbor_mac(route: NetlinkSocket, interface: str, ip: IPv4Address) -> str | None:
    """The MAC of `ip` in the neighbor table; None: this machine had nothing to do with it."""
    try:
        head = nl.NDMSG.pack(socket.AF_INET, socket.if_nametoindex(interface), 0, 0, 0)
        found = route.request(nl.RTM_GETNEIGH, head, [(nl.NDA_DST, ip.packed)])
    except (OSError, ValueError):  # ENOENT
        return None
    return arp.mac_text(found[0].attributes.get(nl.NDA_LLADDR, b"")) or None if found else None
