"""The MAC addresses of other nodes, remembered across restarts in a small file.

With it a worker that was started anew while it holds an address still knows the owner's probe. Writing is done
in the background: no takeover waits for a disk.
"""

import json
import os
import threading
import time
from collections.abc import Container
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from failover.states import VipState
from network.base import MAC, LastSeen, Network, NetworkError

EXPIRES_S = 30 * 86400.0
"""Seconds after which a remembered MAC is forgotten: a machine may have got another card."""
SAVE_AFTER_S = 0.1
"""Seconds after which a MAC is saved, so that the order that brought it is answered first."""
_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True)
class OwnerMac:
    """`told`: the master said so; else the address was seen in use by that MAC. `at_s` is wall-clock time."""

    mac: str
    told: bool
    at_s: float


class OwnerMacs:
    """`path` None: nothing outlives this object. Owners that `nodes` does not list are left out."""

    def __init__(self, path: Path | None, nodes: Container[int]) -> None:
        self._path = path
        self._macs = {owner: mac for owner, mac in _read(path).items() if owner in nodes} if path else {}
        self._writing = threading.Lock()

    def identify(self, entry: VipState, network: Network) -> LastSeen:
        """Find out the owner's MAC, to know its probe: what the master says in the order, else what it said earlier, else
        who was seen to use the address. Returns what the network knows.
        """
        owner, vip = entry.vip.owner, entry.vip
        try:
            seen = network.last_seen(vip.interface, vip.ip.ip)
        except NetworkError:
            seen = LastSeen()  # an interface that is gone: the probe will fail
        told = next((order.owner_mac for order in reversed(entry.orders) if order.owner_mac), None)
        known = self._macs.get(owner)
        if told:
            self._learn(owner, told, told=True)
            entry.owner_mac, entry.owner_told, entry.owner_also_uses = told, True, None
        elif known and (known.told or seen.mac is None):
            # no more than a guess by now: the machine may have got another card
            entry.owner_mac, entry.owner_told, entry.owner_also_uses = known.mac, False, None
        elif seen.mac:
            self._learn(owner, seen.mac, told=False)
            entry.owner_mac, entry.owner_told, entry.owner_also_uses = seen.mac, False, seen.also_uses
        return seen

    def _learn(self, owner: int, mac: str, *, told: bool) -> None:
        before = self._macs.get(owner)
        if before and (before.mac, before.told) == (mac, told) and time.time() - before.at_s < EXPIRES_S / 30:
            return
        self._macs[owner] = OwnerMac(mac, told, time.time())
        if self._path:
            timer = threading.Timer(SAVE_AFTER_S, self._write, (self._path,))
            timer.daemon = True
            with suppress(RuntimeError):  # no more threads: it is not remembered
                timer.start()

    def _write(self, path: Path) -> None:
        """Beside it, then in its place, so that it is never half written. A disk that refuses costs the memory."""
        with self._writing, suppress(OSError):
            text = json.dumps({owner: asdict(mac) for owner, mac in dict(self._macs).items()})
            beside = path.with_name(f"{path.name}.new")
            beside.unlink(missing_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(text)
            beside.replace(path)


def _read(path: Path) -> dict[int, OwnerMac]:
    """What the file says, as far as it can be believed."""
    found = {}
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, encoding="ascii") as file:
            entries = json.loads(file.read(_LIMIT_BYTES))
        for owner, entry in entries.items():
            age_s = time.time() - entry["at_s"]
            if MAC.fullmatch(entry["mac"]) and 0 <= age_s < EXPIRES_S:
                found[int(owner)] = OwnerMac(entry["mac"], entry["told"] is True, entry["at_s"])
    return found
