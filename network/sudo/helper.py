"""The privileged half of the `sudo` backend: a process that sudo starts, and that ends with its parent.

It is called by its path, `python -I -B network/sudo/helper.py SETTINGS`, a JSON object. Standard input carries
requests, standard output answers and events, one JSON object a line. It checks each request itself against the networks
that it was started with; but its caller can write the code that it runs, so this limits accidents, not a hostile caller.
"""

import json
import os
import signal
import sys
import threading
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

if __name__ == "__main__":  # -I leaves out the folder of the project
    sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

from network.base import MAC, LastSeen, Network, NetworkError, Vip
from network.choose import open_local
from network.sudo.protocol import encode

_LINE_BYTES = 1 << 18
_WATCHED = 1024
_REASON_LENGTH = 1000
_writing = threading.Lock()


@dataclass(frozen=True)
class Requests:
    """Obeys requests to a network. `allowed` None: the subnets of the machine's own addresses."""

    network: Network
    allowed: tuple[IPv4Network, ...] | None
    interface: str | None

    def answer(self, line: bytes) -> dict[str, object]:
        """The answer to one line; nothing of a line that is no request is repeated in it."""
        try:
            found = self._obey(json.loads(line))
        except NetworkError as exc:
            return {"error": str(exc)[:_REASON_LENGTH]}
        except (ValueError, TypeError, KeyError, RecursionError):
            return {"error": "no request"}
        return {"value": found and encode(found)}

    def _obey(self, request: Any) -> LastSeen | None:
        """Carry it out. NetworkError: it fails, or is not allowed; ValueError, TypeError, KeyError: it is no request."""
        network, do = self.network, request["do"]
        match do:
            case "hold" | "renew" | "release":
                getattr(network, do)(self._vip(request))
            case "probe":
                sender = request.get("sender") and self._held_here(request["sender"])
                network.probe(self._interface_of(request), self._askable(request), sender)
            case "announce":
                network.announce(self._interface_of(request), self._held_here(request["ip"]))
            case "last_seen":
                return network.last_seen(self._interface_of(request), self._askable(request))
            case "filter_probes":
                network.filter_probes(frozenset(map(self._probe, _list(request["probes"]))))
            case "watch":
                network.watch(frozenset(map(_address, _list(request["ips"]))))
            case _:
                raise ValueError("no such request")
        return None

    def _subnets(self) -> list[IPv4Network]:
        return [address.ip.network for address in self.network.addresses() if address.owner is None]

    def _vip(self, request: dict[str, Any]) -> Vip:
        owner, ip = request["owner"], IPv4Interface(_text(request["ip"]))
        if type(owner) is not int or owner < 0:
            raise TypeError("owner is no node number")
        allowed = self._subnets() if self.allowed is None else self.allowed
        if not any(ip.network.subnet_of(network) for network in allowed):
            raise NetworkError(f"{ip} is not in a network allowed to the sudo helper")
        return Vip(owner, ip, self._interface_of(request))

    def _interface_of(self, request: dict[str, Any]) -> str:
        name = _text(request["interface"])
        if self.interface is not None and name != self.network.interface(self.interface).name:
            raise NetworkError(f"{name} is not the interface that the sudo helper was started for")
        return name

    def _askable(self, request: dict[str, Any]) -> IPv4Address:
        ip = _address(request["ip"])
        if not any(ip in network for network in (*self._subnets(), *(self.allowed or ()))):
            raise NetworkError(f"{ip} is not in a network of this machine or allowed to the sudo helper")
        return ip

    def _held_here(self, value: object) -> IPv4Address:
        ip = _address(value)
        if all(address.ip.ip != ip for address in self.network.addresses()):
            raise NetworkError(f"{ip} is not on this machine and is not used")
        return ip

    def _probe(self, probe: dict[str, Any]) -> tuple[str, IPv4Address, str]:
        if not MAC.fullmatch(probe["mac"]):
            raise ValueError("mac is no MAC address")
        return self._interface_of(probe), _address(probe["ip"]), probe["mac"]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _address(value: object) -> IPv4Address:
    return IPv4Address(_text(value))


def _list(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > _WATCHED:
        raise ValueError(f"no list of at most {_WATCHED}")
    return value


def _say(data: dict[str, object]) -> None:
    """Write one whole line; the network's thread writes events while this one answers."""
    line = json.dumps(data).encode() + b"\n"
    with _writing:
        while line:
            line = line[os.write(1, line) :]


def main() -> int:
    """Serve until standard input ends, or has a line that is too long. Exit 1, after a line with the reason, where the network can't be used."""
    # The parent decides when this ends: what stops the parent comes here too, before it released anything.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

    settings = json.loads(sys.argv[1])
    allowed, interface = settings.pop("allowed"), settings.pop("interface")
    if allowed is not None:
        allowed = tuple(map(IPv4Network, allowed))
    try:
        network = open_local(**settings)
        network.start(lambda event: _say(encode(event)))
    except NetworkError as exc:
        _say({"ready": False, "error": str(exc)[:_REASON_LENGTH]})
        return 1
    try:
        _say({"ready": True})
        requests = Requests(network, allowed, interface)
        # a line that is too long, which pieces would answer more than once, ends it as the end of input does
        while (line := sys.stdin.buffer.readline(_LINE_BYTES)).endswith(b"\n"):
            _say(requests.answer(line))
    except BrokenPipeError:
        pass  # the parent is gone
    finally:
        network.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
