"""Reading and changing addresses through rtnetlink(7), and the label by which a virtual address is known again.

A virtual address carries a label, `eth0:f3.2`: held by node 3 for node 2. A label has 15 characters at most; where
the whole would be longer, the interface's name is cut and the numbers kept, as the kernel itself does when it
renames an interface that has labels.
"""

import errno
import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Interface

from network.base import NetworkError
from network.netlink import messages as nl
from network.netlink.links import name_of
from network.netlink.netlink_socket import NetlinkSocket, reasons

_LABEL_LENGTH = 15
_LABEL = re.compile(r"(?P<name>.+):f(?P<holder>[0-9]+)\.(?P<owner>[0-9]+)", re.ASCII)
_IFA_F_SECONDARY, _IFA_F_NOPREFIXROUTE = 0x1, 0x200
_FOREVER = 0xFFFFFFFF


@dataclass(frozen=True)
class KernelAddress:
    """`holder` is the node that holds a virtual address for the node `owner`; None: no worker has added it."""

    index: int
    interface: str
    ip: IPv4Interface
    holder: int | None = None
    owner: int | None = None
    secondary: bool = False


def format_label(interface: str, holder: int, owner: int) -> str:
    """Raises NetworkError for node numbers so long that no label holds them."""
    tail = f":f{holder}.{owner}"
    if len(tail) >= _LABEL_LENGTH:
        raise NetworkError(f"the node numbers {holder} and {owner} are too long for a label")
    return interface[: _LABEL_LENGTH - len(tail)] + tail


def parse_label(text: str | None, interface: str) -> tuple[int, int] | tuple[None, None]:
    """Holder and owner in an address label of `interface`; None: it is none of ours."""
    found = _LABEL.fullmatch(text or "")
    if found:
        holder, owner = int(found["holder"]), int(found["owner"])
        if text == format_label(interface, holder, owner):
            return holder, owner
    return None, None


def is_vip_label(text: str | None) -> bool:
    """Whether a label looks like a virtual address's, of whatever worker and interface."""
    return _LABEL.fullmatch(text or "") is not None


def read(route: NetlinkSocket, index: int = 0) -> tuple[KernelAddress, ...]:
    """The IPv4 addresses of an interface, 0: of every one, in the kernel's order. Raises NetworkError."""
    with reasons("the addresses of this machine could not be read"):
        try:
            answers = route.dump(nl.RTM_GETADDR, nl.IFADDRMSG.pack(socket.AF_INET, 0, 0, 0, index))
        except OSError as exc:
            if exc.errno != errno.ENODEV:
                raise
            return ()  # it went away, and its addresses with it
    names: dict[int, str] = {}
    found = []
    for answer in answers:
        _family, prefix, flags, _scope, of = answer.head
        if index not in {0, of}:
            continue  # a kernel that does not narrow down what it dumps
        if of not in names:
            with reasons("the addresses of this machine could not be read"):
                name = name_of(route, of)
            if name is None:  # it went away since; so did its addresses
                continue
            names[of] = name
        ip = _interface(answer.attributes[nl.IFA_LOCAL], prefix)
        holder, owner = parse_label(answer.text(nl.IFA_LABEL), names[of])
        found.append(KernelAddress(of, names[of], ip, holder, owner, bool(flags & _IFA_F_SECONDARY)))
    return tuple(found)


@lru_cache(maxsize=4096)
def _interface(packed: bytes, prefix: int) -> IPv4Interface:
    """Kept, since making one costs as much as reading it."""
    return IPv4Interface((packed, prefix))


def stands_behind(vip: KernelAddress, addresses: Iterable[KernelAddress]) -> bool:
    """Whether an address of the machine's own, whose subnet contains the virtual one, comes before it on its interface.

    If not, the kernel takes the virtual address for the source of this machine's own traffic, and makes the machine's
    address its secondary, without the subnet's route, when that one is added again.
    """
    for there in addresses:
        if there.index == vip.index:
            if there == vip:
                return False
            if there.holder is None and vip.ip.ip in there.ip.network:
                return True
    return False


def add(route: NetlinkSocket, vip: KernelAddress, lease_s: int) -> None:
    """Add a virtual address; `lease_s` 0: forever. Raises NetworkError, also where it is there already."""
    with reasons(f"{vip.ip} could not be added to {vip.interface}"):
        route.request(nl.RTM_NEWADDR, _head(vip), _leased(vip, lease_s), nl.NLM_F_CREATE | nl.NLM_F_EXCL)


def renew(route: NetlinkSocket, there: KernelAddress, lease_s: int) -> None:
    """Begin the lease anew. The kernel adds the address when it is gone, so the caller has looked just now."""
    with reasons(f"the lease of {there.ip} on {there.interface} could not be renewed"):
        route.request(nl.RTM_NEWADDR, _head(there), _leased(there, lease_s), nl.NLM_F_REPLACE)


def remove(route: NetlinkSocket, there: KernelAddress) -> None:
    """Remove exactly this virtual address, and, unless `SecondaryGuard` protects them, the secondaries that it has: the
    kernel compares prefix and label once more. Absence is success.
    """
    with reasons(f"{there.ip} could not be removed from {there.interface}"):
        try:
            route.request(nl.RTM_DELADDR, _head(there), _identity(there))
        except OSError as exc:
            if exc.errno not in {errno.ENODEV, errno.EADDRNOTAVAIL}:
                raise


def _head(address: KernelAddress) -> bytes:
    return nl.IFADDRMSG.pack(socket.AF_INET, address.ip.network.prefixlen, 0, 0, address.index)


def _identity(address: KernelAddress) -> list[tuple[int, bytes]]:
    if address.holder is None or address.owner is None:
        raise NetworkError(f"{address.ip} on {address.interface} is no virtual address and is left alone")
    return [
        (nl.IFA_LOCAL, address.ip.ip.packed),
        (nl.IFA_ADDRESS, address.ip.ip.packed),
        (nl.IFA_LABEL, format_label(address.interface, address.holder, address.owner).encode() + b"\0"),
    ]


def _leased(address: KernelAddress, lease_s: int) -> list[tuple[int, bytes]]:
    # No broadcast address: the machine's own has it already. No route: the subnet's stays the machine's own.
    lifetime = lease_s or _FOREVER
    return [
        *_identity(address),
        (nl.IFA_FLAGS, struct.pack("=I", _IFA_F_NOPREFIXROUTE)),
        (nl.IFA_CACHEINFO, nl.CACHEINFO.pack(lifetime, lifetime, 0, 0)),
    ]
