"""Addresses and ARP through a privileged helper that sudo starts once: the `sudo` backend.

Reading needs no privilege and is done here. The rest is asked of network/sudo/helper.py over its standard input
and output, so that no order waits for sudo, and a wrong password shows at start.
"""

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from network.base import LastSeen, Network, NetworkError, NetworkEvent, Probes, Vip
from network.sudo.process import PROMPT, HelperProcess, PasswordError
from network.sudo.protocol import decode
from settings.schema import Config

_START_S = 10.0
"""Seconds within which sudo has to start the helper; PAM delays a wrong password by 2 s."""
_RESTART_S = 2.0
"""The same for a helper that ended, while the owner's loop waits."""
_PAUSE_S = 10.0
"""Seconds between two attempts to start it."""


class Sudo:
    """`local` reads, and is never started; `why` this process does not do it by itself, None: it was not asked to."""

    backend = "sudo"

    def __init__(self, local: Network, config: Config, why: str | None) -> None:
        self._local = local
        self.addresses = local.addresses
        self.interface = local.interface
        self.default_routes = local.default_routes
        self._password = config.password
        self._why = why
        allowed = config.allowed_networks
        settings = {
            "name": local.backend,
            "node_id": config.node_id,
            "lease_s": config.address_lease_s,
            "journal_dir": str(config.log_dir.resolve()),
            "interface": config.interface,
            "allowed": None if allowed is None else list(map(str, allowed)),
        }
        self._argv = [
            "sudo",
            *(("-n",) if config.password is None else ("-S", "-k", "-p", PROMPT)),
            "--",
            sys.executable,
            "-I",
            "-B",
            str(Path(__file__).resolve().with_name("helper.py")),
            json.dumps(settings),
        ]
        self._post: Callable[[NetworkEvent], None] | None = None
        self._helper: HelperProcess | None = None
        self._reason = "the network was not opened"
        self._again_s = 0.0
        self._told: dict[str, dict[str, object]] = {}

    def start(self, post: Callable[[NetworkEvent], None]) -> None:
        self._post = post
        self._open(post, _START_S)

    def _open(self, post: Callable[[NetworkEvent], None], limit_s: float) -> HelperProcess:
        self._again_s = time.monotonic() + _PAUSE_S
        try:
            self._helper = HelperProcess(self._argv, self._password, post, limit_s)
        except NetworkError as exc:
            self._reason = f"{self._why}, and {exc}" if self._why else str(exc)
            if isinstance(exc, PasswordError):
                self._again_s = math.inf
            raise NetworkError(self._reason) from exc
        self._reason = "the sudo helper ended"
        return self._helper

    def close(self) -> None:
        self._post = None
        if self._helper is not None:
            self._helper.close()
        self._local.close()

    def watch(self, ips: frozenset[IPv4Address]) -> None:
        self._set("watch", ips=sorted(map(str, ips)))

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
            seen: LastSeen = decode(self._ask("last_seen", interface=interface, ip=str(ip)))
        except NetworkError:
            return LastSeen()
        return seen

    def filter_probes(self, probes: Probes) -> None:
        wanted = [{"interface": interface, "ip": str(ip), "mac": mac} for interface, ip, mac in probes]
        self._set("filter_probes", probes=wanted)

    def _set(self, do: str, **what: object) -> None:
        """Pass it to the helper, if there is one; the next one gets it again, and until then probes fail."""
        self._told[do] = what
        if self._helper is not None and self._helper.alive:
            with contextlib.suppress(NetworkError):
                self._helper.ask(do, what)

    def _ask(self, do: str, **what: object) -> Any:
        helper = self._helper
        if helper is None or not helper.alive:
            helper = self._open_again()
        return helper.ask(do, what)

    def _open_again(self) -> HelperProcess:
        """A helper that was killed, or that sudo could not start, gets another chance every 10 s."""
        if self._post is None or time.monotonic() < self._again_s:
            raise NetworkError(self._reason)
        helper = self._open(self._post, _RESTART_S)
        for do, what in self._told.items():
            self._set(do, **what)
        return helper
