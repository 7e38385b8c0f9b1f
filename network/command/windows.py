"""Windows: netsh for addresses, PowerShell for routes, SendARP (iphlpapi) for questions.

Written from Microsoft's documentation; it was never run on Windows.
"""

import ctypes
import json
from ipaddress import IPv4Address
from typing import Any

from network.base import NetworkError, Vip
from network.command.run import Run, run

_NO_ERROR, _ERROR_BAD_NET_NAME = 0, 67

_ROUTES = (
    "[Console]::OutputEncoding = [Text.Encoding]::UTF8; ConvertTo-Json -Compress -InputObject @("
    "Get-NetRoute -AddressFamily IPv4 -DestinationPrefix 0.0.0.0/0 -ErrorAction SilentlyContinue | "
    "Select-Object InterfaceAlias, NextHop, RouteMetric, InterfaceMetric)"
)
ROUTES_ARGV = ("powershell.exe", "-NoProfile", "-NonInteractive", "-Command", _ROUTES)


def add_argv(vip: Vip) -> list[str]:
    """`store=active`: nothing outlives a restart. `skipassource`: never the source of the machine's traffic."""
    return [
        "netsh", "interface", "ipv4", "add", "address", f"name={vip.interface}", f"address={vip.ip.ip}",
        f"mask={vip.ip.netmask}", "store=active", "skipassource=true",
    ]  # fmt: skip


def remove_argv(vip: Vip) -> list[str]:
    return [
        "netsh", "interface", "ipv4", "delete", "address", f"name={vip.interface}", f"address={vip.ip.ip}",
        "store=active",
    ]  # fmt: skip


def default_routes(routes: str) -> tuple[tuple[str, IPv4Address], ...]:
    """From ROUTES_ARGV's JSON, the route with the lowest metric first (its own and its interface's)."""
    try:
        answer = json.loads(routes)
        if not isinstance(answer, list):
            raise TypeError("no array")
        found = [
            (
                int(one["RouteMetric"]) + int(one["InterfaceMetric"] or 0),
                one["InterfaceAlias"],
                one["NextHop"],
            )
            for one in answer
        ]
        found.sort()
        # 0.0.0.0: the interface itself, as of a tunnel.
        return tuple((str(name), IPv4Address(hop)) for _metric, name, hop in found if hop != "0.0.0.0")  # noqa: S104 - not bound to
    except (ValueError, KeyError, TypeError) as exc:
        raise NetworkError("PowerShell's answer about the routes can't be read") from exc


def _library(name: str) -> Any:
    return getattr(ctypes, "windll")[name]  # noqa: B009 - mypy knows it on Windows alone


class Windows:
    backend = "netsh"

    def __init__(self, run: Run = run) -> None:
        self._run = run

    def check_privilege(self) -> None:
        if not _library("shell32").IsUserAnAdmin():
            raise NetworkError("netsh changes addresses for administrators alone: run this as administrator")

    def add(self, vip: Vip) -> None:
        self._run(add_argv(vip))

    def remove(self, vip: Vip) -> None:
        self._run(remove_argv(vip))

    def default_routes(self) -> tuple[tuple[str, IPv4Address], ...]:
        return default_routes(self._run(ROUTES_ARGV))

    def ask(self, ip: IPv4Address) -> str | None:
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
