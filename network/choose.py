"""From VIP_BACKEND to a network."""

from __future__ import annotations

import sys
from typing import Optional

from network.interface import Network, NetworkError


def open_network(backend: str, node_id: int, interface: Optional[str], lease_s: int) -> Network:
    """The backend of that name, not yet started; its libraries are imported here, so that none pays for
    another's. Raises NetworkError where this system has no such backend.
    """
    if backend == "simulated":
        from network.simulated import Simulated

        return Simulated(node_id)
    if backend == "netlink" and sys.platform == "linux":
        from network.linux import Netlink

        return Netlink(node_id, interface, lease_s)
    raise NetworkError(f"VIP_BACKEND={backend} does not work on {sys.platform}")
