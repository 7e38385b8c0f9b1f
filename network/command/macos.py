"""macOS: `ifconfig alias`, for root; with the `sudo` backend for others.

Written from Apple's manual pages and from outputs that others published; it was never run on a Mac.
"""

import os
import re
from contextlib import suppress
from ipaddress import AddressValueError, IPv4Address

from network.base import NetworkError, Vip
from network.command.system import System

_ARP_ENTRY = re.compile(r"\S+ \(([0-9.]+)\) at ([0-9a-f]{1,2}(?::[0-9a-f]{1,2}){5}) on ")


class MacOS(System):
    backend = "ifconfig"

    def check_privilege(self) -> None:
        if os.geteuid() != 0:
            raise NetworkError(
                "ifconfig changes addresses for root alone: run this as root, or VIP_BACKEND=sudo"
            )

    def add(self, vip: Vip) -> None:
        self._run(
            ["/sbin/ifconfig", vip.interface, "inet", str(vip.ip.ip), "netmask", str(vip.ip.netmask), "alias"]
        )

    def remove(self, vip: Vip) -> None:
        self._run(["/sbin/ifconfig", vip.interface, "inet", str(vip.ip.ip), "-alias"])

    def default_routes(self) -> tuple[tuple[str, IPv4Address], ...]:
        """By netstat's table, the preferred one first. Its columns differ between releases; the heading says where they are."""
        found = []
        column: dict[str, int] = {}
        for line in self._run(["/usr/sbin/netstat", "-rn", "-f", "inet"]).splitlines():
            words = line.split()
            if words[:1] == ["Destination"]:
                column = {name: place for place, name in enumerate(words)}
            elif words[:1] == ["default"] and column and len(words) > column["Netif"]:
                with suppress(AddressValueError):  # link#4: the interface itself
                    found.append((words[column["Netif"]], IPv4Address(words[column["Gateway"]])))
        return tuple(found)

    def ask(self, ip: IPv4Address) -> str | None:
        """The MAC that answers for `ip` now; None: silence. A ping makes the system ask by ARP, answered or not."""
        # The entry of a host that died would pass for its answer.
        self._run(["/usr/sbin/arp", "-d", str(ip)], (0, 1))
        self._run(["/sbin/ping", "-n", "-c", "1", "-t", "1", str(ip)], (0, 2))
        for line in self._run(["/usr/sbin/arp", "-n", str(ip)], (0, 1)).splitlines():
            entry = _ARP_ENTRY.match(line)
            if entry and entry[1] == str(ip):
                return ":".join(f"{int(byte, 16):02x}" for byte in entry[2].split(":"))
        return None
