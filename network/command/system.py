"""What each system's commands must do, how they are run, and its interfaces as psutil shows them."""

import os
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from network.base import NetworkError, Vip

_LIMIT_S = 5.0
_SECRETS = {"PASSWORD", "MASTER_TOKEN"}


def run(argv: Sequence[str], accept: tuple[int, ...] = (0,)) -> str:
    """What a command prints; never by a shell, in the C locale. NetworkError with what it said where it ends with an
    exit code that is not accepted, is missing or takes over 5 s.
    """
    env = {name: value for name, value in os.environ.items() if name not in _SECRETS} | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise NetworkError(f"{argv[0]} took longer than {_LIMIT_S:.0f} s") from exc
    except OSError as exc:
        raise NetworkError(f"{argv[0]} could not be run: {exc.strerror}") from exc
    out = done.stdout.decode(errors="replace")
    if done.returncode not in accept:
        said = " ".join((done.stderr.decode(errors="replace") + " " + out).split())
        raise NetworkError(f"{argv[0]} failed with {done.returncode}: {said[:300]}")
    return out


@dataclass(frozen=True)
class InterfaceInfo:
    """`mac` is lower-case with colons; None: it has none. `up`: it is on and has a link."""

    name: str
    mac: str | None
    up: bool
    ips: tuple[IPv4Interface, ...]


class System(ABC):
    """The commands of one system, by way of `run`. Each method raises NetworkError."""

    backend: str

    def __init__(self, run: Callable[..., str] = run) -> None:
        self._run = run

    @abstractmethod
    def check_privilege(self) -> None:
        """NetworkError, with how to get it, where this process may not change addresses."""

    @abstractmethod
    def add(self, vip: Vip) -> None: ...

    @abstractmethod
    def remove(self, vip: Vip) -> None: ...

    @abstractmethod
    def default_routes(self) -> tuple[tuple[str, IPv4Address], ...]:
        """(interface, gateway) of each default route, the preferred one first."""

    @abstractmethod
    def ask(self, ip: IPv4Address) -> str | None:
        """The MAC that answers for `ip` now; None: silence. Takes up to 3 s."""

    def interfaces(self) -> tuple[InterfaceInfo, ...]:
        """In the system's order, each one's first address first."""
        import psutil  # here, so that the rules that use them can be tested where it is not installed

        try:
            stats, addresses = psutil.net_if_stats(), psutil.net_if_addrs()
        except OSError as exc:
            raise NetworkError(f"the interfaces of this machine could not be read: {exc.strerror}") from exc
        interfaces = []
        for name, entries in addresses.items():
            macs = [entry.address for entry in entries if entry.family == psutil.AF_LINK]
            ips = tuple(
                IPv4Interface((entry.address, entry.netmask or "255.255.255.255"))
                for entry in entries
                if entry.family == socket.AF_INET
            )
            mac = macs[0].lower().replace("-", ":") if macs and macs[0] else None
            interfaces.append(InterfaceInfo(name, mac, name in stats and stats[name].isup, ips))
        return tuple(interfaces)
