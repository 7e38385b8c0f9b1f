"""`--check` of this machine: room for the logs, the address that the worker joins with, and proxy ARP."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Generator, Iterator
from queue import SimpleQueue

from config import Config
from connection.messages import Connected
from failover.node import Node
from logging_setup import NoLog
from logs.file import without_inodes
from network.base import Address, InterfaceMissing, Network, NetworkError
from network.proxy_arp import STRANGERS, answers_for_all, strangers
from settings.files import LOGS
from worker.assembly import network_of
from worker.check_item import Item

UNROTATED = 100_000_000
"""Bytes that should be free where the logs' growth has no end of its own: about two weeks."""


def disk_item(config: Config) -> Item:
    """Whether the disk has room for what the logs may still grow to."""
    used = sum(file.stat().st_size for log in LOGS for file in config.log_dir.glob(f"{log}*"))
    free = shutil.disk_usage(config.log_dir).free
    text = f"{free / 1e6:.0f} MB free in LOG_DIR"
    if config.log_max_bytes:
        wanted = len(LOGS) * config.log_max_bytes * (config.log_backup_count + 1)
        text += f", {used / 1e6:.0f} MB used, of {wanted / 1e6:.0f} MB at most"
    else:
        wanted = used + UNROTATED
        text += "; LOG_MAX_BYTES=0 leaves the rotation to another program"
    if without_inodes(config.log_dir):
        return Item(False, "disk", f"{text}; no inodes are left", "remove files, whatever their size")
    remedy = "make room, or lower LOG_MAX_BYTES or LOG_BACKUP_COUNT, or set LOG_DIR to a larger disk"
    return Item(free >= wanted - used, "disk", text, remedy)


def machine_items(
    config: Config, connected: Connected | None, *, privileged: bool
) -> Generator[Item, None, Address | None]:
    """The interface and its limits; `connected` is a connection to a master, None: none accepts.

    Not `privileged`: nothing is sent, and sudo is not given a password again that it refused.

    Returns the address that the worker would join with, None: it is not known.
    """
    try:
        network = network_of(config)
    except NetworkError:
        return None  # named already
    simulated = network.backend == "simulated"
    own = None
    try:
        if config.interface and not simulated:
            try:
                network.resolve(config.interface)
            except InterfaceMissing as exc:
                raise NetworkError(f"INTERFACE={config.interface} is missing: {exc}") from exc
        node = Node(config.node_id, (), config.interface, network, NoLog())
        node.find(connected.local_ip if connected and not simulated else None)
        own = node.primary
        yield _address_item(config, own, connected)
        if not simulated:
            yield from _limits(network)
        if own and privileged and not simulated:
            yield _proxy_arp_item(network, own)
    except NetworkError as exc:
        if own is None:
            there = ", ".join(name for _, name in socket.if_nameindex())
            yield Item(False, "interface", str(exc), f"set INTERFACE to one that this machine has: {there}")
    finally:
        network.close()
    return own


def _address_item(config: Config, own: Address | None, connected: Connected | None) -> Item:
    if own is None:
        where = f"{config.interface} has" if config.interface else "this machine has"
        return Item(False, "interface", f"{where} no IPv4 address to protect", "add one, or set INTERFACE")
    if config.interface:
        why = "INTERFACE names it"
    elif connected:
        why = "the connection to the master uses it, or, over loopback, the default route"
    else:
        why = "by the default route, since no master accepts: a connection may use another"
    text = f"joins with {own.ip.ip} of {own.interface} ({why}); neighbors will protect it"
    return Item(True, "interface", text)


def _limits(network: Network) -> Iterator[Item]:
    """Guarantees that the backend cannot give; no faults."""
    if network.backend in ("netsh", "ifconfig"):
        text = (
            "this system has no leases for addresses, so one stays when the worker is killed or frozen; before it is"
            " taken it is probed for by the system's own ARP, and a second holder goes unseen while it is held"
        )
        yield Item(True, "limits", text)
    elif sys.platform == "linux":
        from network.netlink.arp_filter import missing

        why = missing()
        text = "nft hides a held address from its owner's own probes"
        if why:
            text = f"{why}: an owner that asks before it uses its address comes up at its second try only"
        yield Item(True, "probe filter", text)


def _proxy_arp_item(network: Network, own: Address) -> Item:
    """A host that answers for every address would pass for the owner of each."""
    heard: SimpleQueue[object] = SimpleQueue()
    network.start(heard.put)
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
