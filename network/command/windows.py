"""Windows: netsh for addresses, PowerShell for routes, SendARP (iphlpapi) for questions.

Written from Microsoft's documentation; it was never run on Windows.
"""

import ctypes
import json
from ipaddress import IPv4Address
from typing import Any

from network.base import NetworkError, Vip
from network.command.system import System

_NO_ERROR, _ERROR_BAD_NET_NAME = 0, 67

_ROUTES = (
    "[Console]::OutputEncoding = [Text.Encoding]::UTF8; ConvertTo-Json -Compress -InputObject @("
    "Get-NetRoute -AddressFamily IPv4 -DestinationPrefix 0.0.0.0/0 -ErrorAction SilentlyContinue | "
    "Select-Object InterfaceAlias, NextHop, RouteMetric, InterfaceMetric)"
)
ROUTES_ARGV = ("powershell.exe", "-NoProfile", "-NonInteractive", "-Command", _ROUTES)


def _netsh(verb: str, vip: Vip) -> list[str]:
    named = [f"name={vip.interface}", f"address={vip.ip.ip}"]
    return ["netsh", "interface", "ipv4", verb, "address", *named]


def _library(name: str) -> Any:
    return getattr(ctypes, "windll")[name]  # noqa: B009 - mypy knows it on Windows alone


class Windows(System):
    backend = "netsh"

    def check_privilege(self) -> None:
        if not _library("shell32").IsUserAnAdmin():
            raise NetworkError("netsh changes addresses for administrators alone: run this as administrator")

    def add(self, vip: Vip) -> None:
        """`store=active`: nothing outlives a restart. `skipassource`: never the source of the machine's traffic."""
        mask = f"mask={vip.ip.netmask}"
        self._run([*_netsh("add", vip), mask, "store=active", "skipassource=true"])

    def remove(self, vip: Vip) -> None:
        self._run([*_netsh("delete", vip), "store=active"])

    def default_routes(self) -> tuple[tuple[str, IPv4Address], ...]:
        """The route with the lowest metric first (its own and its interface's)."""
        try:
            answer = json.loads(self._run(ROUTES_ARGV))
            if not isinstance(answer, list):
                raise TypeError("no array")
            found = sorted(
                (
                    int(one["RouteMetric"]) + int(one["InterfaceMetric"] or 0),
                    one["InterfaceAlias"],
                    one["NextHop"],
                )
                for one in answer
            )
            # 0.0.0.0: the interface itself, as of a tunnel.
            return tuple((str(name), IPv4Address(hop)) for _metric, name, hop in found if hop != "0.0.0.0")  # noqa: S104 - not bound to
        except (ValueError, KeyError, TypeError) as exc:
            raise NetworkError("PowerShell's answer about the routes can't be read") from exc

    def ask(self, ip: IPv4Address) -> str | None:
        """The MAC that answers for `ip` now; None: silence."""
        # The entry of a host that died would pass for its answer.
        self._run(["netsh", "interface", "ipv4", "delete", "neighbors", f"address={ip}"], (0, 1))
        mac = (ctypes.c_ubyte * 8)()
        length = ctypes.c_ulong(len(mac))
        number = ctypes.c_ulong(int.from_bytes(ip.packed, "little"))
        result = _library("iphlpapi").SendARP(number, 0, ctypes.byref(mac), ctypes.byref(length))
        if result == _ERROR_BAD_NET_NAME:
            return None
        if result != _NO_ERROR or length.value != 6:
            raise NetworkError(f"SendARP for {ip} failed with {result}")
        return bytes(mac[:6]).hex(":")
