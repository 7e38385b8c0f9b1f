"""From VIP_BACKEND to a network. Each backend is imported here when it is chosen, so that none pays for another's."""

import os
import sys
from ipaddress import IPv4Network
from pathlib import Path

from network.base import Network, NetworkError
from settings.types import BACKENDS


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
    if sys.platform == "win32":
        return "netsh", "this is Windows"
    if sys.platform == "darwin":
        if os.geteuid() == 0:
            return "ifconfig", "this is macOS, and the process is root's"
        return "sudo", "this is macOS, and the process is not root's"
    raise NetworkError(f"there is no backend for {sys.platform} but VIP_BACKEND=simulated")


def open_network(
    backend: str,
    node_id: int,
    interface: str | None,
    lease_s: int,
    *,
    password: str | None = None,
    allowed: tuple[IPv4Network, ...] | None = None,
    journal_dir: Path | str = "",
) -> Network:
    """The network that VIP_BACKEND names, not yet started. `password` and `allowed` (ALLOWED_NETWORKS, None:
    the machine's own subnets) are for the sudo helper; a file in `journal_dir` (LOG_DIR) says which addresses are
    virtual ones where the kernel keeps no label. Raises NetworkError where this system has no such backend.
    """
    name, why = resolve(backend)
    if name == "simulated":
        from network.simulated import Simulated

        return Simulated(node_id)
    if name not in BACKENDS.get(sys.platform, ()):
        raise NetworkError(f"VIP_BACKEND={name} does not work on {sys.platform}")
    folder = Path(journal_dir).resolve()
    if sys.platform == "linux":
        from network.netlink.backend import Netlink

        local: Network = Netlink(node_id, lease_s)
    else:
        from network.command.backend import CommandBackend, Journal
        from network.command.macos import MacOS
        from network.command.windows import Windows

        system = MacOS() if sys.platform == "darwin" else Windows()
        local = CommandBackend(system, Journal(folder / f"addresses-{node_id}.json"))
    if name != "sudo":
        return local
    from network.sudo.backend import Sudo

    settings = {
        "backend": local.backend,
        "node_id": node_id,
        "interface": interface,
        "lease_s": lease_s,
        "journal_dir": str(folder),
    }
    return Sudo(local, settings, password, allowed, why if backend == "auto" else None)
