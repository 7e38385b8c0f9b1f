"""`--check` of this machine: room for the logs, what the account that runs the service may read, write and change there,
the address that the worker joins with, and proxy ARP.
"""

from __future__ import annotations

import codecs
import json
import multiprocessing
import os
import re
import shlex
import shutil
import socket
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from config import HERE, Config
from connection.messages import Connected
from failover.node import Node
from logging_setup import NoLog
from logs.file import without_inodes
from network.base import Address, InterfaceMissing, Network, NetworkError
from network.choose import open_network, resolve
from network.privilege import HOW_TO_GRANT
from network.proxy_arp import STRANGERS, answers_for_all, strangers
from settings.files import LOGS, owner_of

UNROTATED = 100_000_000
"""Bytes that should be free where the logs' growth has no end of its own: about two weeks."""
UNIT = Path("/etc/systemd/system/failover-worker.service")
"""As `make install` writes it."""
NEEDED = {"CAP_NET_ADMIN", "CAP_NET_RAW"}


@dataclass(frozen=True)
class Item:
    """One line of `--check`; `remedy` is what to do where `ok` is False."""

    ok: bool
    name: str
    text: str
    remedy: str = ""


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
        network = open_network(config)
    except NetworkError:
        return None  # named already
    simulated = network.backend == "simulated"
    own = None
    try:
        if config.interface and not simulated:
            try:
                network.interface(config.interface)
            except InterfaceMissing as exc:
                raise NetworkError(f"INTERFACE={config.interface} is missing: {exc}") from exc
        node = Node(config, network, NoLog())
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


def account_items(config: Config, account: int | None) -> Iterator[Item]:
    """Whether the account can read the settings' files, write its logs, and change addresses by the backend."""
    if os.name != "posix":
        yield from _privilege(config)
        return
    uid = owner_of(config.log_dir) if account is None else account
    name, group = _names(uid)
    if os.geteuid() not in {0, uid}:
        text = f"{name} runs the worker; what it may read and write is not known to another user"
        yield Item(True, "account", text)
        yield from _privilege(config)
        return
    unit = _unit()
    by_unit = f"\nUser={name}\n" in unit
    # systemd reads the credentials, as root
    given = set(re.findall(r"^LoadCredential=[^:\n]+:(/.*)$", unit, re.MULTILINE)) if by_unit else set()
    faults = _as_account(uid, lambda: list(_file_faults(config, name, group, given)))
    yield from faults
    if not faults:
        whose = "--as names it" if account is not None else "the owner of LOG_DIR"
        yield Item(True, "account", f"{name} ({whose}) can read the settings and write the logs")
    capabilities = " ".join(re.findall(r"^AmbientCapabilities=(.*)$", unit, re.MULTILINE)).split()
    if by_unit and uid != os.geteuid() and set(capabilities) >= NEEDED:
        yield Item(True, "privilege", f"{UNIT.name} gives {name} {' and '.join(sorted(NEEDED))}")
        yield from _privilege(config)
        return
    # what it imports is imported now: the account may not be able to read it
    codecs.lookup("ascii")
    with suppress(NetworkError):
        open_network(config).close()
    yield from _as_account(uid, lambda: list(_privilege(config)))


def _as_account(uid: int, work: Callable[[], list[Item]]) -> list[Item]:
    """What `work` finds as that user, in a child process that gives up every other right."""
    if uid == os.geteuid():
        return work()
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        try:
            _become(uid)
            # not pickled: this process reads what another user's wrote
            rows = [[item.ok, item.name, item.text, item.remedy] for item in work()]
            sender.send_bytes(json.dumps(rows).encode())
        finally:
            os._exit(0)  # without a traceback, and without the handlers of this process's own exit

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, of which there are none yet
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
    sender.close()
    try:
        found = [Item(*row) for row in json.loads(receiver.recv_bytes())]
    except (EOFError, OSError):
        what = f"what {_names(uid)[0]} may do could not be found out"
        found = [Item(False, "account", what, "run --check as that user")]
    process.join()
    return found


def _become(uid: int) -> None:
    import pwd

    try:
        entry = pwd.getpwuid(uid)
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
    except KeyError:
        os.setgroups([])
        os.setgid(uid)
    os.setuid(uid)


def _names(uid: int) -> tuple[str, str]:
    """The account's name and its group's; numbers where they have none."""
    import grp
    import pwd

    try:
        entry = pwd.getpwuid(uid)
        return entry.pw_name, grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        return f"uid {uid}", str(uid)


def _file_faults(config: Config, name: str, group: str, given: set[str]) -> Iterator[Item]:
    """As the account: each file and folder that it cannot use, but those of `given`, which systemd reads for it.

    A file that it cannot even look at, in a folder that is closed to it, is one of these.
    """

    def fault(variable: str, what: str, remedy: str) -> Item:
        return Item(False, "account", f"{variable}: {name} {what}", remedy)

    enter = f"let {name} enter the folders above it"
    for variable, path in (*config.paths, ("the worker's code", HERE / "client.py")):
        try:
            if str(path) not in given:
                path.open("rb").close()
        except OSError as exc:
            file = shlex.quote(str(path))
            remedy = f"chgrp {group} {file} && chmod 640 {file}, and {enter}"
            yield fault(variable, f"cannot read {path}: {exc.strerror}", remedy)
    folders = {config.log_dir: "LOG_DIR"}
    if config.metrics_file:
        folders.setdefault(config.metrics_file.parent, "METRICS_FILE")
    for folder, variable in folders.items():
        if not os.access(folder, os.W_OK | os.X_OK):
            remedy = f"chown {name} {shlex.quote(str(folder))}, and {enter}"
            yield fault(variable, f"cannot write in {folder}", remedy)
    for log in (config.log_dir / file for file in LOGS):
        if os.path.exists(log) and not os.access(log, os.W_OK):
            yield fault("LOG_DIR", f"cannot write {log}", f"chown {name} {shlex.quote(str(log))}")
    command = config.notify_command
    if command and not os.access(command, os.X_OK):
        yield fault("NOTIFY_COMMAND", f"cannot run {command}", f"chmod 755 {shlex.quote(str(command))}")


def _privilege(config: Config) -> Iterator[Item]:
    try:
        backend, why = resolve(config.vip_backend)
        yield Item(True, "backend", f"{backend}: {why}")
        network = open_network(config)
    except NetworkError as exc:
        yield Item(False, "backend", str(exc), "set VIP_BACKEND to what this machine has")
        return
    try:
        network.start(lambda _event: None)
        yield Item(True, "privilege", f"addresses can be changed by {network.backend}")
    except NetworkError as exc:
        yield Item(False, "privilege", str(exc), HOW_TO_GRANT)
    finally:
        network.close()


def _unit() -> str:
    """The installed unit with its drop-ins, "" where there is none."""
    text = ""
    if sys.platform == "linux":
        for file in (UNIT, *sorted(UNIT.parent.glob(f"{UNIT.name}.d/*.conf"))):
            with suppress(OSError):
                text += file.read_text(encoding="utf-8", errors="replace") + "\n"
    return text
