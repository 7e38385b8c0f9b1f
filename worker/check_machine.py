"""`--check` of this machine: room for the logs, the address that the worker joins with, and proxy ARP."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator
from queue import SimpleQueue

from config import Config
from failover.node import Node
from logging_setup import NoLog
from logs.file import without_inodes
from network.base import Address, Network, NetworkError
from network.proxy_arp import STRANGERS, answers_for_all, strangers
from worker.assembly import network_of
from worker.check_item import Item

LOGS = ("comms.log*", "ping.log*")
UNROTATED = 100_000_000
"""Bytes that should be free where the logs' growth has no end of its own: about two weeks."""
_NO_LEASE = (
    "this system has no leases for addresses, so one stays when the worker is killed or frozen; before it is taken it is"
    " probed for by the system's own ARP, and a second holder goes unseen while it is held"
)
LIMITS = {"netsh": _NO_LEASE, "ifconfig": _NO_LEASE}
"""Guarantees that a backend cannot give."""


def disk_item(config: Config) -> Item:
    """Whether the disk has room for what the logs may still grow to."""
    used = sum(file.stat().st_size for pattern in LOGS for file in config.log_dir.glob(pattern))
    if config.log_max_bytes:
        wanted = len(LOGS) * config.log_max_bytes * (config.log_backup_count + 1)
    else:
        wanted = used + UNROTATED
    free = shutil.disk_usage(config.log_dir).free
    text = f"{free / 1e6:.0f} MB free in LOG_DIR, {used / 1e6:.0f} MB used, of {wanted / 1e6:.0f} MB at most"
    if not config.log_max_bytes:
        text = f"{free / 1e6:.0f} MB free in LOG_DIR; LOG_MAX_BYTES=0 leaves the rotation to another program"
    remedy = "make room, or lower LOG_MAX_BYTES or LOG_BACKUP_COUNT, or set LOG_DIR to a larger disk"
    if without_inodes(config.log_dir):
        return Item(False, "disk", f"{text}; no inodes are left", "remove files, whatever their size")
    return Item(free >= wanted - used, "disk", text, remedy)


class Machine:
    """The node's own address, as the worker would find it. `address` is known after `items`."""

    def __init__(self, config: Config) -> None:
        self.address: Address | None = None
        self._config = config

    def items(self, local_ip: str | None, *, connected: bool) -> Iterator[Item]:
        """The interface and its limits.

        Args:
            local_ip: This end of a connection to a master. None: there is none, or it is not known.
            connected: Whether a master accepted.
        """
        config = self._config
        try:
            network = network_of(config)
        except NetworkError:
            return  # named already
        heard: SimpleQueue[object] = SimpleQueue()
        try:
            if config.interface and network.backend != "simulated":
                missing = _missing_interface(network, config.interface)
                if missing:
                    yield missing
                    return
            node = Node(config.node_id, (), config.interface, network, NoLog())
            node.find(None if network.backend == "simulated" else local_ip)
            self.address = node.primary
            yield self._address_item(connected=connected)
            if network.backend in LIMITS:
                yield Item(True, "limits", LIMITS[network.backend])
            elif sys.platform == "linux" and network.backend != "simulated":
                yield _probe_filter_item()
            if node.primary and network.backend != "simulated":
                network.start(heard.put)
                yield _proxy_arp_item(network, node.primary, heard)
        except NetworkError as exc:
            if self.address is None:
                yield Item(False, "interface", str(exc), "set INTERFACE to what this machine has")
        finally:
            network.close()

    def _address_item(self, *, connected: bool) -> Item:
        config, address = self._config, self.address
        if address is None:
            where = f"{config.interface} has" if config.interface else "this machine has"
            text = f"{where} no IPv4 address to protect"
            return Item(False, "interface", text, "add one, or set INTERFACE")
        if config.interface:
            why = "INTERFACE names it"
        elif connected:
            why = "the connection to the master uses it, or, over loopback, the default route"
        else:
            why = "by the default route, since no master accepts: a connection may use another"
        text = f"joins with {address.ip.ip} of {address.interface} ({why}); neighbors will protect it"
        return Item(True, "interface", text)


def _probe_filter_item() -> Item:
    """Not a fault: an owner that asks first comes up all the same, at its second try."""
    from network.netlink.arp_filter import missing

    why = missing()
    if why is None:
        return Item(True, "probe filter", "nft hides a held address from its owner's own probes")
    text = f"{why}: an owner that asks before it uses its address comes up at its second try only"
    return Item(True, "probe filter", text)


def _missing_interface(network: Network, name: str) -> Item | None:
    try:
        network.resolve(name)
    except NetworkError as exc:
        try:
            there = ", ".join(name for _, name in socket.if_nameindex())
        except OSError:
            there = ""
        remedy = f"set INTERFACE to one of {there}" if there else "set INTERFACE to one that this machine has"
        return Item(False, "interface", f"INTERFACE={name} is missing: {exc}", remedy)
    return None


def _proxy_arp_item(network: Network, own: Address, heard: SimpleQueue[object]) -> Item:
    """A host that answers for every address would pass for the owner of each."""
    asked = strangers(network, own)
    if len(asked) < STRANGERS:
        return Item(True, "proxy ARP", f"{own.ip.network} is too small to find it")
    mac = answers_for_all(network, own, asked, heard)
    if mac is None:
        return Item(True, "proxy ARP", f"nobody answers for {STRANGERS} addresses that nobody should have")
    text = (
        f"{mac} answers for addresses that nobody has ({', '.join(map(str, sorted(asked)))}): every takeover would be"
        " refused or given up"
    )
    return Item(False, "proxy ARP", text, "switch off proxy ARP or ARP suppression for this segment")
