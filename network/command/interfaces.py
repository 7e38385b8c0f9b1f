"""The machine's interfaces as psutil shows them, where there is no rtnetlink."""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Interface

from network.base import NetworkError


@dataclass(frozen=True)
class InterfaceInfo:
    """`mac` is lower-case with colons; None: it has none. `up`: it is on and has a link."""

    name: str
    mac: str | None
    up: bool
    ips: tuple[IPv4Interface, ...]


def read_interfaces() -> tuple[InterfaceInfo, ...]:
    """In the system's order, each one's first address first. Raises NetworkError."""
    import psutil  # here, so that the rules that use them can be tested where it is not installed

    try:
        stats, addresses = psutil.net_if_stats(), psutil.net_if_addrs()
    except OSError as exc:
        raise NetworkError(f"the interfaces of this machine could not be read: {exc.strerror}") from exc
    interfaces = []
    for name, entries in addresses.items():
        macs = [entry.address for entry in entries if entry.family == psutil.AF_LINK]
        ips = tuple(
            IPv4Interface((entry.address, entry.netmask or "255.255.255.255"))
            for entry in entries
            if entry.family == socket.AF_INET
        )
        mac = macs[0].lower().replace("-", ":") if macs and macs[0] else None
        interfaces.append(InterfaceInfo(name, mac, name in stats and stats[name].isup, ips))
    return tuple(interfaces)
