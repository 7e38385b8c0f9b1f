"""Default routes and the neighbor table, as rtnetlink(7) shows them."""

import socket
from contextlib import suppress
from ipaddress import IPv4Address

from network.netlink import messages as nl
from network.netlink.arp import mac_text
from network.netlink.netlink_socket import NetlinkSocket, reasons

_RT_TABLE_MAIN = 254
_RTN_UNICAST = 1


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
            with suppress(OSError):  # it went away since, or it is a route of several hops
                gateway = IPv4Address(hop[nl.RTA_GATEWAY]) if nl.RTA_GATEWAY in hop else None
                routes.append((socket.if_indextoname(index), gateway))
    return tuple(routes)


def neighbor_mac(route: NetlinkSocket, interface: str, ip: IPv4Address) -> str | None:
    """The MAC of `ip` in the neighbor table; None: this machine had nothing to do with it."""
    try:
        head = nl.NDMSG.pack(socket.AF_INET, socket.if_nametoindex(interface), 0, 0, 0)
        found = route.request(nl.RTM_GETNEIGH, head, [(nl.NDA_DST, ip.packed)])
    except (OSError, ValueError):  # ENOENT
        return None
    return mac_text(found[0].attributes.get(nl.NDA_LLADDR, b"")) or None if found else None
