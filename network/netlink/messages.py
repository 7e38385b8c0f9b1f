"""The few messages of rtnetlink(7) that are needed here, to and from bytes; everything is in host order.

pyroute2 has them all, but importing one costs 12 MB and 0.14 s: half of what the rest of the worker takes.
"""

import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# linux/netlink.h, linux/rtnetlink.h
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x4, 0x300, 0x10
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_CACHEINFO, IFA_FLAGS = 1, 2, 3, 6, 8
IFLA_ADDRESS, IFLA_IFNAME, IFLA_AF_SPEC, IFLA_EXT_MASK = 1, 3, 26, 29
IFLA_CARRIER, IFLA_ALT_IFNAME, IFLA_PERM_ADDRESS = 33, 53, 54
IFLA_INET_CONF = 1
RTEXT_FILTER_SKIP_STATS = 8
RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH, RTA_TABLE = 4, 5, 6, 9, 15
NDA_DST, NDA_LLADDR = 1, 2

IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
RTMSG = struct.Struct(
    "=BBBBBBBBI"
)  # family, destination's length, source's, tos, table, protocol, scope, type
NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
CACHEINFO = struct.Struct("=IIII")  # preferred, valid, created, updated
_RTNEXTHOP = struct.Struct("=HBBi")  # length, flags, hops, index
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_HEADS = {
    **dict.fromkeys((RTM_NEWLINK, RTM_DELLINK), IFINFOMSG),
    **dict.fromkeys((RTM_NEWADDR, RTM_DELADDR), IFADDRMSG),
    RTM_NEWROUTE: RTMSG,
    RTM_NEWNEIGH: NDMSG,
}

Attributes = dict[int, bytes]


@dataclass(frozen=True)
class Message:
    """`head` are the fields of the structure that its kind begins with; empty for kinds not read here."""

    kind: int
    flags: int
    sequence: int
    head: tuple[int, ...]
    attributes: Attributes
    error: int = 0
    """The errno of a refusal."""

    def text(self, attribute: int) -> str:
        return self.attributes.get(attribute, b"").rstrip(b"\0").decode(errors="replace")

    def number(self, attribute: int) -> int:
        """An unsigned 32-bit number; 0 where it is not there, as the kernel leaves out what is 0."""
        return int.from_bytes(self.attributes.get(attribute, b""), sys.byteorder)


def _padded(length: int) -> int:
    return (length + 3) & ~3


def build(
    kind: int, flags: int, sequence: int, head: bytes, attributes: Iterable[tuple[int, bytes]]
) -> bytes:
    body = head + nested(*attributes)
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def parse(data: bytes) -> Iterator[Message]:
    """The messages of a datagram. Raises ValueError where one is cut short."""
    for kind, flags, sequence, body in frames(data):
        yield _message(kind, flags, sequence, data[body])


def frames(data: bytes) -> Iterator[tuple[int, int, int, slice]]:
    """Kind, flags, sequence and the place of the body of each message in a datagram, which costs a tenth of parsing
    them. Raises ValueError where one is cut short.
    """
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise ValueError("a netlink message is cut short")
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
        if not _HEADER.size <= length <= len(data) - offset:
            raise ValueError("a netlink message is cut short")
        yield kind, flags, sequence, slice(offset + _HEADER.size, offset + length)
        offset += _padded(length)


def _message(kind: int, flags: int, sequence: int, body: bytes) -> Message:
    structure = _HEADS.get(kind)
    try:
        if kind in {NLMSG_ERROR, NLMSG_DONE}:
            code = struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
            return Message(kind, flags, sequence, (), {}, -min(code, 0))
        if structure is None:
            return Message(kind, flags, sequence, (), {})
        head = structure.unpack_from(body)
        return Message(kind, flags, sequence, head, attributes(body[_padded(structure.size) :]))
    except struct.error as exc:
        raise ValueError("a netlink message is cut short") from exc


def nested(*attributes: tuple[int, bytes]) -> bytes:
    """The value of an attribute that holds others."""
    return b"".join(
        _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), name) + value.ljust(_padded(len(value)), b"\0")
        for name, value in attributes
    )


def attributes(data: bytes) -> Attributes:
    """Of several of one type the last. Raises ValueError where one is cut short."""
    found: Attributes = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, name = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            raise ValueError("a netlink attribute is cut short")
        found[name & 0x3FFF] = data[offset + _ATTRIBUTE.size : offset + length]  # two bits are flags
        offset += _padded(length)
    return found


def next_hops(data: bytes) -> Iterator[tuple[int, Attributes]]:
    """The interface's index and the attributes of each next hop of RTA_MULTIPATH."""
    offset = 0
    while offset + _RTNEXTHOP.size <= len(data):
        length, _flags, _hops, index = _RTNEXTHOP.unpack_from(data, offset)
        if not _RTNEXTHOP.size <= length <= len(data) - offset:
            raise ValueError("a netlink attribute is cut short")
        yield index, attributes(data[offset + _RTNEXTHOP.size : offset + length])
        offset += _padded(length)
