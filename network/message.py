"""Messages of netlink(7) and rtnetlink(7) as bytes: as much of them as this project reads and writes.

A takeover reads the kernel's addresses several times. pyroute2's messages, which decode every attribute into an
object, make that 0.13 ms each time instead of 0.03, and add 0.2 s to the start and 5 MB; the few that are needed
here are these structures of linux/netlink.h, rtnetlink.h, if_addr.h and if_link.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_HEADER = struct.Struct("=IHHII")  # length, kind, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length with this, kind
_KIND_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x100, 0x200, 0x400, 0x300

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_GETROUTE, RTM_GETNEIGH = 26, 30

IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_CACHEINFO, IFA_FLAGS = 1, 2, 3, 6, 8
IFINFOMSG = struct.Struct("=BxHiII")  # family, type, interface, flags, changed
IFLA_ADDRESS, IFLA_IFNAME, IFLA_PERM_ADDRESS = 1, 3, 54
NDMSG = struct.Struct("=B3xiHBB")  # family, interface, state, flags, type
NDA_DST, NDA_LLADDR = 1, 2
RTMSG = struct.Struct(
    "=BBBBBBBBI"
)  # family, destination's length, source's, tos, table, protocol, scope, type, flags
RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH, RTA_TABLE = 4, 5, 6, 9, 15
_NEXTHOP = struct.Struct("=HBBi")  # length with its attributes, flags, hops, interface


@dataclass(frozen=True)
class Message:
    kind: int
    flags: int
    sequence: int
    body: bytes

    def attributes(self, behind: struct.Struct) -> dict[int, bytes]:
        """What follows the structure that the message begins with, by kind."""
        return attributes(self.body, behind.size)


def request(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def messages(datagram: bytes) -> Iterator[Message]:
    """The messages of a datagram; what is cut short ends it."""
    start = 0
    while start + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, _port = _HEADER.unpack_from(datagram, start)
        if length < _HEADER.size or start + length > len(datagram):
            return
        yield Message(kind, flags, sequence, datagram[start + _HEADER.size : start + length])
        start += _aligned(length)


def attribute_bytes(values: Mapping[int, bytes]) -> bytes:
    return b"".join(
        _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value.ljust(_aligned(len(value)), b"\0")
        for kind, value in values.items()
    )


def attributes(data: bytes, start: int) -> dict[int, bytes]:
    found = {}
    while start + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < _ATTRIBUTE.size or start + length > len(data):
            break
        found[kind & _KIND_MASK] = data[start + _ATTRIBUTE.size : start + length]
        start += _aligned(length)
    return found


def nexthops(data: bytes) -> Iterator[dict[int, bytes]]:
    """The attributes of each hop of a route with several (RTA_MULTIPATH)."""
    start = 0
    while start + _NEXTHOP.size <= len(data):
        length = _NEXTHOP.unpack_from(data, start)[0]
        if length < _NEXTHOP.size:
            return
        yield attributes(data[start : start + length], _NEXTHOP.size)
        start += _aligned(length)


def text(value: bytes) -> str:
    """An attribute that is a C string."""
    return value.split(b"\0", 1)[0].decode(errors="surrogateescape")


def number(value: bytes) -> int:
    """An attribute that is a whole number of 32 bits."""
    return int(struct.unpack("=I", value)[0])


def _aligned(length: int) -> int:
    return length + 3 & ~3
