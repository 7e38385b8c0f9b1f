"""Addresses and ARP through a privileged helper that sudo starts once: the `sudo` backend.

Reading needs no privilege and is done here. The rest is asked of network/sudo/helper.py over its standard input
and output, so that no order waits for sudo, and a wrong password shows at start.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from network.base import Address, LastSeen, Network, NetworkError, NetworkEvent, Vip
from network.sudo.process import PROMPT, HelperProcess, PasswordError
from network.sudo.protocol import decode

_START_S = 10.0
"""Seconds within which sudo has to start the helper; PAM delays a wrong password by 2 s."""
_RESTART_S = 2.0
"""The same for a helper that ended, while the owner's loop waits."""
_PAUSE_S = 10.0
"""Seconds between two attempts to start it."""


class Sudo:
    """`local` reads, and names the backend that the helper opens; it is never started. `allowed` None: the
    subnets of the machine's own addresses. `password` None: sudo must not ask for one. `why` is the reason for which
    this process does not do it by itself, None: it was not asked to.
    """

    backend = "sudo"

    def __init__(
        self,
        local: Network,
        node_id: int,
        interface: str | None,
        lease_s: int,
        *,
        password: str | None,
        allowed: tuple[IPv4Network, ...] | None,
        journal_dir: Path | None,
        why: str | None = None,
    ) -> None:
        self._local = local
        self._password = password
        self._why = why
        self._argv = [
            "sudo",
            *(("-n",) if password is None else ("-S", "-k", "-p", PROMPT)),
            "--",
            sys.executable,
            "-I",
            "-B",
            str(Path(__file__).resolve().with_name("helper.py")),
            f"--backend={local.backend}",
            f"--node={node_id}",
            f"--lease={lease_s}",
            *(() if interface is None else (f"--interface={interface}",)),
            *(() if journal_dir is None else (f"--journal-dir={journal_dir.resolve()}",)),
            *(() if allowed is None else (f"--allowed={','.join(map(str, allowed))}",)),
        ]
        self._post: Callable[[NetworkEvent], None] | None = None
        self._helper: HelperProcess | None = None
        self._refused: str | None = None
        self._reason = "the network was not opened"
        self._opened_s = 0.0
        self._ips: frozenset[IPv4Address] = frozenset()
        self._filtered: frozenset[tuple[str, IPv4Address, str]] = frozenset()

    def start(self, post: Callable[[NetworkEvent], None]) -> None:
        self._post = post
        self._open(post, _START_S)

    def _open(self, post: Callable[[NetworkEvent], None], limit_s: float) -> HelperProcess:
        self._opened_s = time.monotonic()
        try:
            self._helper = HelperProcess(self._argv, self._password, post, limit_s)
        except NetworkError as exc:
            self._reason = f"{self._why}, and {exc}" if self._why else str(exc)
            if isinstance(exc, PasswordError):
                self._refused = self._reason
            raise NetworkError(self._reason) from exc
        self._reason = "the sudo helper ended"
        return self._helper

    def close(self) -> None:
        self._post = None
        if self._helper is not None:
            self._helper.close()
        self._local.close()

    def addresses(self, interface: str | None = None) -> tuple[Address, ...]:
        return self._local.addresses(interface)

    def resolve(self, interface: str) -> str:
        return self._local.resolve(interface)

    def has_carrier(self, interface: str) -> bool:
        return self._local.has_carrier(interface)

    def interface_for(self, ip: IPv4Address) -> str:
        return self._local.interface_for(ip)

    def default_interface(self) -> str | None:
        return self._local.default_interface()

    def gateways(self) -> frozenset[IPv4Address]:
        return self._local.gateways()

    def mac(self, interface: str) -> str:
        return self._local.mac(interface)

    def watch(self, ips: frozenset[IPv4Address]) -> None:
        self._ips = ips
        if self._helper is not None and self._helper.alive:
            with contextlib.suppress(NetworkError):  # the next helper gets them, and until then probes fail
                self._helper.ask("watch", {"ips": sorted(map(str, ips))})

    def probe(self, interface: str, ip: IPv4Address, sender: IPv4Address | None = None) -> None:
        self._ask("probe", interface=interface, ip=str(ip), sender=str(sender) if sender else None)

    def announce(self, interface: str, ip: IPv4Address) -> None:
        self._ask("announce", interface=interface, ip=str(ip))

    def hold(self, vip: Vip) -> None:
        self._ask("hold", owner=vip.owner, interface=vip.interface, ip=str(vip.ip))

    def renew(self, vip: Vip) -> None:
        self._ask("renew", owner=vip.owner, interface=vip.interface, ip=str(vip.ip))

    def release(self, vip: Vip) -> None:
        self._ask("release", owner=vip.owner, interface=vip.interface, ip=str(vip.ip))

    def last_seen(self, interface: str, ip: IPv4Address) -> LastSeen:
        try:
            return decode(LastSeen, self._ask("last_seen", interface=interface, ip=str(ip)))
        except (NetworkError, TypeError, ValueError):
            return LastSeen()

    def filter_probes(self, probes: frozenset[tuple[str, IPv4Address, str]]) -> None:
        self._filtered = probes
        if self._helper is not None and self._helper.alive:
            wanted = [{"interface": interface, "ip": str(ip), "mac": mac} for interface, ip, mac in probes]
            with contextlib.suppress(NetworkError):  # the next helper sets it anew
                self._helper.ask("filter_probes", {"probes": wanted})

    def _ask(self, do: str, **what: object) -> Any:
        helper = self._helper
        if helper is None or not helper.alive:
            helper = self._open_again()
        return helper.ask(do, what)

    def _open_again(self) -> HelperProcess:
        """A helper that was killed, or that sudo could not start, gets another chance every 10 s."""
        if self._refused is not None:
            raise NetworkError(self._refused)
        if self._post is None or time.monotonic() < self._opened_s + _PAUSE_S:
            raise NetworkError(self._reason)
        helper = self._open(self._post, _RESTART_S)
        self.watch(self._ips)
        self.filter_probes(self._filtered)
        return helper
