"""From VIP_BACKEND to a network. Each backend is imported here when it is chosen, so that none pays for another's."""

import os
import sys
from pathlib import Path

from network.base import Network, NetworkError
from settings.schema import Config
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


def open_network(config: Config) -> Network:
    """The network that the settings name, not yet started. Raises NetworkError where this system has none."""
    name, why = resolve(config.vip_backend)
    local = open_local(name, config.node_id, config.address_lease_s, str(config.log_dir.resolve()))
    if name != "sudo":
        return local
    from network.sudo.backend import Sudo

    return Sudo(local, config, why if config.vip_backend == "auto" else None)


def open_local(name: str, node_id: int, lease_s: int, journal_dir: str) -> Network:
    """The backend of that name, for sudo the one that its helper opens. Raises NetworkError where there is none."""
    if name == "simulated":
        from network.simulated import Simulated

        return Simulated(node_id)
    if name not in BACKENDS.get(sys.platform, ()):
        raise NetworkError(f"VIP_BACKEND={name} does not work on {sys.platform}")
    if sys.platform == "linux":
        from network.netlink.backend import Netlink

        return Netlink(node_id, lease_s)
    from network.command.backend import CommandBackend, Journal
    from network.command.macos import MacOS
    from network.command.windows import Windows

    system = MacOS() if sys.platform == "darwin" else Windows()
    return CommandBackend(system, Journal(Path(journal_dir) / f"addresses-{node_id}.json"))
