"""`--check`: whether this machine and the masters are as the worker needs them; changes nothing."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from queue import Empty, SimpleQueue

from config import Config
from failover.node import Node
from logging_setup import NoLog
from network.base import Address, ArpSeen, Network, NetworkError
from network.choose import resolve
from worker.assembly import network_of, targets_of, warnings_of
from worker.check_master import Item, master_items

STRANGERS, STRANGER_S = 4, 0.9
"""Addresses that are asked for to find proxy ARP, and the seconds spent on it."""
LOGS = ("comms.log*", "ping.log*")
UNROTATED = 100_000_000
"""Bytes that should be free where the logs' growth has no end of its own: about two weeks."""
_NOTHING_LENT = (
    "this system lends no address, so one stays when the worker is killed or frozen; before it is taken it is asked for "
    "by the system's own ARP, and a second holder goes unseen while it is held"
)
LIMITS = {"netsh": _NOTHING_LENT, "ifconfig": _NOTHING_LENT}
"""What holds less with a backend."""


def check(config: Config, *, as_json: bool = False, account: str | None = None) -> int:  # noqa: ARG001
    """Print a line for each item, or all as JSON; 0 when all is well, 1 when the machine or a master falls short."""
    found = []
    for item in items(config):
        found.append(item)
        if not as_json:
            remedy = f"; {item.remedy}" if item.remedy and not item.ok else ""
            print(f"{'ok  ' if item.ok else 'FAIL'} {item.name}: {item.text}{remedy}", flush=True)
    if as_json:
        print(report(found), flush=True)
    return 0 if all(item.ok for item in found) else 1


def report(found: Sequence[Item]) -> str:
    """The items for scripts, one JSON object; a remedy is null where none is needed."""
    told = [
        {"name": item.name, "ok": item.ok, "text": item.text, "remedy": None if item.ok else item.remedy}
        for item in found
    ]
    return json.dumps({"ok": all(item.ok for item in found), "items": told}, indent=1, ensure_ascii=False)


def faults_report(faults: Sequence[str]) -> str:
    """As `report`, for settings that are wrong."""
    return report(list(_said(faults)))


def _said(lines: Sequence[str]) -> Iterator[Item]:
    """What is wrong with the settings; each line ends in its remedy."""
    for line in lines:
        what, _, remedy = line.rpartition("; ")
        yield Item(False, "configuration", what, remedy)


def items(config: Config) -> Iterator[Item]:
    yield Item(
        True, "configuration", f"node {config.node_id}, neighbours {_list(config.neighbors[config.node_id])}"
    )
    yield from _said(warnings_of(config))
    yield Item(True, "logs", f"{config.log_dir} is writable")
    yield _disk(config)
    yield from _machine(config)
    for target in targets_of(config):
        yield from master_items(target)


def _disk(config: Config) -> Item:
    """Whether the disk has room for what the logs may still grow to."""
    used = sum(file.stat().st_size for pattern in LOGS for file in config.log_dir.glob(pattern))
    if config.log_max_bytes:
        wanted = len(LOGS) * config.log_max_bytes * (config.log_backup_count + 1)
    else:
        wanted = used + UNROTATED
    free = shutil.disk_usage(config.log_dir).free
    text = f"{free / 1e6:.0f} MB free where the logs lie, {used / 1e6:.0f} MB used, of {wanted / 1e6:.0f} MB at most"
    if not config.log_max_bytes:
        text = f"{free / 1e6:.0f} MB free where the logs lie; LOG_MAX_BYTES=0 leaves their rotation to another program"
    remedy = "make room, or lower LOG_MAX_BYTES or LOG_BACKUP_COUNT, or set LOG_DIR to a larger disk"
    return Item(free >= wanted - used, "disk", text, remedy)


def _list(nodes: tuple[int, ...]) -> str:
    return ", ".join(map(str, nodes)) or "none"


def _machine(config: Config) -> Iterator[Item]:
    log = NoLog()
    try:
        backend, why = resolve(config.vip_backend)
        yield Item(True, "backend", f"{backend}: {why}")
        network = network_of(config)
        node = Node(config.node_id, (), config.interface, network, log)
        node.find(None)
    except NetworkError as exc:
        yield Item(False, "interface", str(exc), "set VIP_BACKEND and INTERFACE to what this machine has")
        return
    if node.primary:
        why = (
            "INTERFACE names it"
            if config.interface
            else "it has the default route, or is the first with an address"
        )
        text = (
            f"{node.primary.interface} ({why}); neighbours will protect {node.primary.ip}, its first address"
        )
        yield Item(True, "interface", text)
    else:
        where = f"{config.interface} has" if config.interface else "this machine has"
        yield Item(False, "interface", f"{where} no IPv4 address to protect", "add one, or set INTERFACE")
    limits = LIMITS.get(network.backend)
    if limits:
        yield Item(True, "limits", limits)
    heard: SimpleQueue[object] = SimpleQueue()
    try:
        network.start(heard.put)
        yield Item(True, "privilege", f"addresses can be changed by {network.backend}")
        if node.primary and network.backend != "simulated":
            yield _nobody_answers_for_all(network, node.primary, heard)
    except NetworkError as exc:
        yield Item(False, "privilege", str(exc), "README.md, Privilege, tells the ways to grant it")
    finally:
        network.close()


def _nobody_answers_for_all(network: Network, own: Address, heard: SimpleQueue[object]) -> Item:
    """Ask for a few addresses that nobody should have: one MAC that answers for all of them is proxy ARP
    (RFC 1027), and then every takeover would be refused.
    """
    there = {address.ip.ip for address in network.addresses()} | network.gateways()
    size = min(own.ip.network.num_addresses - 2, 1 << 16)
    picked = random.sample(range(1, size + 1), min(size, 50)) if size > 0 else []
    candidates = [own.ip.network.network_address + offset for offset in picked]
    asked = [ip for ip in candidates if ip not in there and network.last_mac(own.interface, ip) is None][
        :STRANGERS
    ]
    if len(asked) < STRANGERS:
        return Item(True, "proxy ARP", f"{own.ip.network} is too small to tell")
    network.watch(frozenset(asked))
    answers: dict[str, set[IPv4Address]] = {}
    for _ in range(3):
        for ip in asked:
            network.probe(own.interface, ip)
        end_s = time.monotonic() + STRANGER_S / 3
        while (left_s := end_s - time.monotonic()) > 0:
            try:
                event = heard.get(timeout=left_s)
            except Empty:
                break
            if isinstance(event, ArpSeen) and event.sender_ip in asked:
                answers.setdefault(event.sender_mac, set()).add(event.sender_ip)
    for mac, ips in answers.items():
        if len(ips) == len(asked):
            text = (
                f"{mac} answers for addresses that nobody has ({', '.join(map(str, sorted(ips)))}): takeovers would be "
                "refused for ever"
            )
            return Item(False, "proxy ARP", text, "switch off proxy ARP or ARP suppression for this segment")
    return Item(True, "proxy ARP", f"nobody answers for {STRANGERS} addresses that nobody should have")
