"""Default routes and the neighbor table, as rtnetlink(7) shows them."""

import socket
from ipaddress import IPv4Address

from network.netlink.arp import mac_text
from network.netlink.messages import (
    NDA_DST,
    NDA_LLADDR,
    NDMSG,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_PRIORITY,
    RTA_TABLE,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTMSG,
    Message,
    next_hops,
)
from network.netlink.netlink_socket import NetlinkSocket, reasons

_RT_TABLE_MAIN = 254
_RTN_UNICAST = 1


def default_interface(route: NetlinkSocket) -> str | None:
    """The interface of the default route, of the main table's first; None: there is none. Raises NetworkError."""
    found = [one for one in _default_routes(route) if one.number(RTA_OIF)]
    found.sort(key=lambda one: (one.number(RTA_TABLE) != _RT_TABLE_MAIN, one.number(RTA_PRIORITY)))
    for one in found:
        try:
            return socket.if_indextoname(one.number(RTA_OIF))
        except OSError:  # it went away since
            continue
    return None


def gateways(route: NetlinkSocket) -> frozenset[IPv4Address]:
    """The gateways of every default route, in whatever table. Raises NetworkError."""
    return frozenset(
        IPv4Address(hop[RTA_GATEWAY])
        for one in _default_routes(route)
        for hop in (one.attributes, *next_hops(one.attributes.get(RTA_MULTIPATH, b"")))
        if RTA_GATEWAY in hop
    )


def neighbor_mac(route: NetlinkSocket, interface: str, ip: IPv4Address) -> str | None:
    """The MAC of `ip` in the neighbor table; None: this machine had nothing to do with it."""
    try:
        head = NDMSG.pack(socket.AF_INET, socket.if_nametoindex(interface), 0, 0, 0)
        found = route.get(RTM_GETNEIGH, head, [(NDA_DST, ip.packed)])
    except (OSError, ValueError):  # ENOENT
        return None
    return mac_text(found[0].attributes.get(NDA_LLADDR, b"")) or None if found else None


def _default_routes(route: NetlinkSocket) -> list[Message]:
    head = RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, _RTN_UNICAST, 0)
    with reasons("the routes of this machine could not be read"):
        routes = route.dump(RTM_GETROUTE, head)
    return [one for one in routes if one.head[1] == 0 and one.head[7] == _RTN_UNICAST]
