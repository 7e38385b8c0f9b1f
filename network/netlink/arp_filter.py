"""Keeps owners' ARP probes from this machine's kernel, by one nftables table.

An owner that probes before it uses its address (RFC 5227 §2.1.1: systemd-networkd, `arping -D`, NetworkManager,
Windows) would take the kernel's answer for a conflict and stay without its address. Only the probes of the owner's own
MAC are dropped; everybody else, and every ordinary request, is answered. Packet sockets see the probes all the same.
"""

import contextlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from queue import SimpleQueue

from network.base import Probes

_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
_LIMIT_S = 2.0
_CLOSE_S = 0.5
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@+-]{1,15}", re.ASCII)


def missing() -> str | None:
    """Why owners' probes cannot be filtered on this machine; None: they can, as far as can be seen."""
    if shutil.which("nft", path=_PATH) is None:
        return "nft is not installed (package nftables)"
    return None


def script(table: str, probes: Probes) -> str:
    """What nft(8) reads to replace the whole table in one transaction; without probes there is no table."""
    rules = [
        f'iifname "{interface}" arp operation request arp saddr ip 0.0.0.0 arp daddr ip {ip} arp saddr ether {mac} drop\n'
        for interface, ip, mac in sorted(probes)
        if _INTERFACE.fullmatch(interface)
    ]
    chain = "chain input {\ntype filter hook input priority 0; policy accept;\n" + "".join(rules) + "}\n"
    new = f"table arp {table} {{\n{chain}}}\n" if probes else ""
    return f"add table arp {table}\ndelete table arp {table}\n{new}"


class ProbeFilter:
    """Its thread brings the table in line with what was last `set`; it begins by removing what a killed worker left.

    `failed` is called from it, once for each reason, when probes that should be filtered are not.
    """

    def __init__(self, node_id: int, failed: Callable[[str], None]) -> None:
        self._table = f"failover_{node_id}"
        self._failed = failed
        self._reported = ""
        self._wanted: SimpleQueue[Probes | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="probe-filter", daemon=True)
        self.set(frozenset())
        self._thread.start()

    def set(self, probes: Probes) -> None:
        """Returns at once."""
        self._wanted.put(probes)

    def close(self) -> None:
        """Remove the table; waits for that 0.5 s at most."""
        self._wanted.put(None)
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        applied: Probes | None = None
        while True:
            wanted = self._wanted.get()
            if not self._wanted.empty():
                continue  # a newer one follows
            probes = wanted or frozenset()
            if probes != applied:
                self._apply(probes)
                applied = probes
            if wanted is None:
                return

    def _apply(self, wanted: Probes) -> None:
        reason = missing() or self._run_nft(script(self._table, wanted))
        if reason and wanted and reason != self._reported:
            self._reported = reason
            with contextlib.suppress(OSError):  # the sudo helper's parent is gone
                self._failed(reason)

    @staticmethod
    def _run_nft(text: str) -> str | None:
        """Why it failed; None: it did not."""
        try:
            done = subprocess.run(
                ["nft", "-f", "-"],  # noqa: S607 - by the PATH given here
                input=text,
                env={"PATH": _PATH, "LC_ALL": "C"},
                capture_output=True,
                text=True,
                timeout=_LIMIT_S,
                check=False,
            )
        except OSError as exc:
            return f"nft could not be started: {exc.strerror}"
        except subprocess.TimeoutExpired:
            return f"nft did not end within {_LIMIT_S:.0f} s"
        return None if done.returncode == 0 else f"nft: {' '.join(done.stderr.split())[:300]}"
