"""Interfaces as rtnetlink(7) shows them: names, MACs, carrier, and two of their IPv4 settings."""

import socket
import struct
from dataclasses import dataclass

from network.base import NetworkError
from network.netlink import arp
from network.netlink.messages import (
    IFINFOMSG,
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_ALT_IFNAME,
    IFLA_EXT_MASK,
    IFLA_IFNAME,
    IFLA_INET_CONF,
    IFLA_PERM_ADDRESS,
    RTEXT_FILTER_SKIP_STATS,
    RTM_GETLINK,
    RTM_SETLINK,
    Message,
    attributes,
    nested,
)
from network.netlink.netlink_socket import NetlinkSocket, reasons

_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_PROXY_ARP, _PROMOTE_SECONDARIES = 3, 20
"""IPV4_DEVCONF_* of linux/ip.h."""
_SHORT = (IFLA_EXT_MASK, struct.pack("=I", RTEXT_FILTER_SKIP_STATS))


@dataclass(frozen=True)
class Link:
    """`up`: it is switched on and has a carrier (RFC 2863 operational state). `macs`: the one in use, `mac`, and the
    one that it was made with.
    """

    index: int
    name: str
    up: bool
    mac: str
    macs: frozenset[str]


def parse_link(message: Message) -> Link:
    """The interface of an RTM_NEWLINK or RTM_DELLINK message."""
    flags = message.head[3]
    mac, permanent = (
        arp.mac_text(message.attributes.get(name, b"")) for name in (IFLA_ADDRESS, IFLA_PERM_ADDRESS)
    )
    return Link(
        message.head[2],
        message.text(IFLA_IFNAME),
        bool(flags & _IFF_UP and flags & _IFF_RUNNING),
        mac,
        frozenset({mac, permanent} - {"", arp.NOBODY}),
    )


def read_links(route: NetlinkSocket) -> dict[int, Link]:
    """Every interface by its index. Raises NetworkError where the kernel could not be asked."""
    with reasons("the interfaces of this machine could not be read"):
        links = map(parse_link, route.dump(RTM_GETLINK, _head(0), [_SHORT]))
        return {link.index: link for link in links}


def resolve(route: NetlinkSocket, name: str) -> str:
    """The name of the interface that has this name or alternative name (`ip link property add … altname`).

    Raises NetworkError where there is none.
    """
    # A name of 15 characters at most is looked up by the oldest attribute, which kernels before 5.5 know too.
    kind = IFLA_IFNAME if len(name.encode()) < 16 else IFLA_ALT_IFNAME
    try:
        return parse_link(_get(route, 0, [(kind, name.encode() + b"\0")])).name
    except (OSError, ValueError) as exc:
        raise NetworkError(f"there is no interface {name}") from exc


def promotes_secondaries(route: NetlinkSocket, index: int) -> bool:
    """Whether the interface's own promote_secondaries is set. Raises OSError, ValueError."""
    return bool(_setting(route, index, _PROMOTE_SECONDARIES))


def set_promote_secondaries(route: NetlinkSocket, index: int, value: bool) -> None:
    """Set it, by rtnetlink: /proc/sys is read-only to a hardened service. Raises OSError, ValueError."""
    conf = nested((_PROMOTE_SECONDARIES, struct.pack("=I", value)))
    route.change(
        RTM_SETLINK, _head(index), [(IFLA_AF_SPEC, nested((socket.AF_INET, nested((IFLA_INET_CONF, conf)))))]
    )
    if promotes_secondaries(route, index) is not value:
        raise OSError("the kernel did not keep promote_secondaries")


def proxies_arp(route: NetlinkSocket, index: int) -> bool:
    """Whether the interface's own proxy_arp is set. Raises OSError, ValueError."""
    return bool(_setting(route, index, _PROXY_ARP))


def _setting(route: NetlinkSocket, index: int, number: int) -> int:
    families = attributes(_get(route, index, ()).attributes.get(IFLA_AF_SPEC, b""))
    values = attributes(families.get(socket.AF_INET, b"")).get(IFLA_INET_CONF, b"")
    try:
        return int(struct.unpack_from("=I", values, 4 * (number - 1))[0])
    except struct.error as exc:
        raise ValueError("the interface has no IPv4 settings") from exc


def _get(route: NetlinkSocket, index: int, named: list[tuple[int, bytes]] | tuple[()]) -> Message:
    answers = route.get(RTM_GETLINK, _head(index), [*named, _SHORT])
    if not answers:
        raise ValueError("an answer without an interface")
    return answers[0]


def _head(index: int) -> bytes:
    return IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, 0, 0)
