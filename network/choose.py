"""From VIP_BACKEND to a network. Each backend's libraries are imported here, so that none pays for another's."""

from __future__ import annotations

import sys
from ipaddress import IPv4Network
from typing import Optional

from network.interface import Network, NetworkError


def resolve(backend: str) -> tuple[str, str]:
    """The backend that VIP_BACKEND stands for on this machine, and why that one."""
    if backend != "auto":
        return backend, "VIP_BACKEND names it"
    if sys.platform == "linux":
        from network.privilege import missing_capabilities

        missing = missing_capabilities()
        if missing:
            return "sudo", f"this process lacks {' and '.join(missing)}"
        return "netlink", "this process may change addresses and send ARP by itself"
    raise NetworkError(f"there is no backend for {sys.platform} but VIP_BACKEND=simulated")


def open_network(
    backend: str,
    node_id: int,
    interface: Optional[str],
    lease_s: int,
    *,
    password: Optional[str] = None,
    allowed: Optional[tuple[IPv4Network, ...]] = None,
) -> Network:
    """The network that VIP_BACKEND names, not yet started. `password` and `allowed` (ALLOWED_NETWORKS, None:
    the machine's own subnets) are for the sudo helper. Raises NetworkError where this system has no such backend.
    """
    name, _why = resolve(backend)
    if name == "simulated":
        from network.simulated import Simulated

        return Simulated(node_id)
    if sys.platform == "linux" and name in {"netlink", "sudo"}:
        from network.linux import Netlink

        local = Netlink(node_id, interface, lease_s)
        if name == "netlink":
            return local
        from network.sudo import Sudo

        return Sudo(local, node_id, interface, lease_s, password=password, allowed=allowed)
    raise NetworkError(f"VIP_BACKEND={name} does not work on {sys.platform}")
