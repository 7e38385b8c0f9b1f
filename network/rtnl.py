"""Reading and changing addresses through rtnetlink(7), and the mark by which a loan is known again.

A loan's mark is its label, `eth0:f3.2`: held by node 3 for node 2. A label has 15 characters at most; where
the whole would be longer, the interface's name is cut and the mark kept, as the kernel itself does when it
renames an interface that has labels.
"""

from __future__ import annotations

import errno
import re
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Optional

from pyroute2.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR

from network.interface import Loan, NetworkError
from network.route import HEADER_BYTES, Route, attribute, attributes, reasons

_LABEL_LENGTH = 15
_MARK = re.compile(r"(?P<name>.+):f(?P<holder>[0-9]+)\.(?P<owner>[0-9]+)", re.ASCII)
_IFA_F_NOPREFIXROUTE = 0x200
_FOREVER = 0xFFFFFFFF
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface's index
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_CACHEINFO, _IFA_FLAGS = 1, 2, 3, 6, 8


@dataclass(frozen=True)
class Mark:
    holder: int
    owner: int


@dataclass(frozen=True)
class KernelAddress:
    """`mark` is None for what no worker of this project has added."""

    index: int
    interface: str
    ip: IPv4Interface
    mark: Optional[Mark]


def label(interface: str, mark: Mark) -> str:
    """Raises NetworkError for node numbers so long that no label holds them."""
    tail = f":f{mark.holder}.{mark.owner}"
    if len(tail) >= _LABEL_LENGTH:
        raise NetworkError(f"the node numbers {mark.holder} and {mark.owner} are too long for a label")
    return interface[: _LABEL_LENGTH - len(tail)] + tail


def read_mark(text: Optional[str], interface: str) -> Optional[Mark]:
    """The mark in a label of `interface`; None: it is none of ours."""
    found = _MARK.fullmatch(text or "")
    if not found:
        return None
    mark = Mark(int(found["holder"]), int(found["owner"]))
    return mark if text == label(interface, mark) else None


def is_marked(text: Optional[str]) -> bool:
    """Whether a label looks like a loan's, of whatever worker and interface."""
    return _MARK.fullmatch(text or "") is not None


def read(route: Route) -> tuple[KernelAddress, ...]:
    """Every IPv4 address, in the kernel's order: each interface's first address first.

    Raises NetworkError where the kernel could not be asked.
    """
    with reasons("the addresses of this machine could not be read"):
        answers = route.dump(RTM_GETADDR, _IFADDRMSG.pack(socket.AF_INET, 0, 0, 0, 0))
    names: dict[int, str] = {}
    found = []
    for answer in answers:
        index, ip, text = read_one(answer)
        if index not in names:
            try:
                names[index] = socket.if_indextoname(index)
            except OSError:  # it went away since; so did its addresses
                continue
        found.append(KernelAddress(index, names[index], ip, read_mark(text, names[index])))
    return tuple(found)


def stands_behind(loan: KernelAddress, addresses: tuple[KernelAddress, ...]) -> bool:
    """Whether an address of the machine's own, in whose subnet the loan is, comes before it on its interface.

    If not, the kernel takes the loan for the source of this machine's own traffic, and makes the machine's
    address its secondary, without the subnet's route, when that one is added again.
    """
    for there in addresses:
        if there.index == loan.index:
            if there == loan:
                return False
            if there.mark is None and loan.ip.ip in there.ip.network:
                return True
    return False


def add(route: Route, index: int, loan: Loan, mark: Mark, lease_s: int) -> None:
    """Add a loan; `lease_s` 0: for ever. Raises NetworkError, also where it is there already."""
    with reasons(f"{loan.ip} could not be added to {loan.interface}"):
        address = KernelAddress(index, loan.interface, loan.ip, mark)
        route.change(RTM_NEWADDR, _lent(address, lease_s), NLM_F_CREATE | NLM_F_EXCL)


def renew(route: Route, there: KernelAddress, lease_s: int) -> None:
    """Begin the lease anew. The kernel adds the address when it is gone, so the caller has looked just now."""
    with reasons(f"the lease of {there.ip} on {there.interface} could not be renewed"):
        route.change(RTM_NEWADDR, _lent(there, lease_s), NLM_F_REPLACE)


def remove(route: Route, there: KernelAddress) -> None:
    """Remove exactly this loan: the kernel compares prefix and label once more. Absence is success."""
    with reasons(f"{there.ip} could not be removed from {there.interface}"):
        try:
            route.change(RTM_DELADDR, _named(there))
        except NetlinkError as exc:
            if exc.code not in {errno.ENODEV, errno.EADDRNOTAVAIL}:
                raise


def read_one(message: bytes) -> tuple[int, IPv4Interface, Optional[str]]:
    """The interface's index, the address and the label that a message of the kernel names."""
    _family, prefix, _flags, _scope, index = _IFADDRMSG.unpack_from(message, HEADER_BYTES)
    told = attributes(message, HEADER_BYTES + _IFADDRMSG.size)
    ip = IPv4Interface((told.get(_IFA_LOCAL) or told[_IFA_ADDRESS], prefix))
    return index, ip, told.get(_IFA_LABEL, b"").rstrip(b"\0").decode("utf-8", "replace") or None


def _named(address: KernelAddress) -> bytes:
    if address.mark is None:
        raise NetworkError(f"{address.ip} on {address.interface} is no loan and is left alone")
    text = label(address.interface, address.mark).encode() + b"\0"
    return b"".join((
        _IFADDRMSG.pack(socket.AF_INET, address.ip.network.prefixlen, 0, 0, address.index),
        attribute(_IFA_LOCAL, address.ip.ip.packed),
        attribute(_IFA_ADDRESS, address.ip.ip.packed),
        attribute(_IFA_LABEL, text),
    ))  # fmt: skip


def _lent(address: KernelAddress, lease_s: int) -> bytes:
    # No broadcast address: the machine's own has it already. No route: the subnet's stays the machine's own.
    lifetime = lease_s or _FOREVER
    return b"".join((
        _named(address),
        attribute(_IFA_FLAGS, struct.pack("=I", _IFA_F_NOPREFIXROUTE)),
        attribute(_IFA_CACHEINFO, struct.pack("=IIII", lifetime, lifetime, 0, 0)),
    ))  # fmt: skip


def remove_leading(route: Route, holder: int) -> None:
    """Remove the loans of `holder` that have come to stand before the machine's own address.

    That happens where `promote_secondaries` is 1 and the machine's address is taken off: without it, the
    kernel removes the loan by itself.
    """
    addresses = read(route)
    for there in addresses:
        if there.mark is not None and there.mark.holder == holder and not stands_behind(there, addresses):
            remove(route, there)
