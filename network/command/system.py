"""How a system's commands are run, and its interfaces as psutil shows them."""

import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface

from network.base import NetworkError

_LIMIT_S = 5.0
_SECRETS = {"PASSWORD", "MASTER_TOKEN"}


def run(argv: Sequence[str], accept: tuple[int, ...] = (0,)) -> str:
    """What a command prints, without a shell, in the C locale. NetworkError where it fails or takes over 5 s."""
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


class System:
    """What macOS and Windows share: commands by way of `run`, interfaces by psutil. Each method raises NetworkError."""

    def __init__(self, run: Callable[..., str] = run) -> None:
        self._run = run

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
