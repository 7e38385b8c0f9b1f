"""The privileged half of the `sudo` backend: a process that sudo starts, and that ends with its parent.

It is called by its path, `python -I -B network/sudo/helper.py SETTINGS`, a JSON object. Standard input carries requests, standard output
answers and events, one JSON object a line. It checks each request itself against the networks that it was
started with; but its caller can write the code that it runs, so this limits accidents, not a hostile caller.
"""

import json
import os
import signal
import sys
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, NetmaskValueError
from typing import Any

if __name__ == "__main__":  # -I leaves out the folder of the project
    sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

from network.base import MAC, Network, NetworkError, Probes, Vip
from network.choose import open_network
from network.sudo.protocol import encode

_LINE_BYTES = 1 << 18
_WATCHED = 1024
_REASON_LENGTH = 1000  # a line below PIPE_BUF (4096 bytes) is written whole, so two threads may write


@dataclass(frozen=True)
class Requests:
    """Obeys requests to a network. `allowed` None: the subnets of the machine's own addresses."""

    network: Network
    allowed: tuple[IPv4Network, ...] | None
    interface: str | None

    def answer(self, line: bytes) -> dict[str, object]:
        """The answer to one line; nothing of a line that is no request is repeated in it."""
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            return {"error": "no request"}
        try:
            return {"value": self._obey(_text(request, "do"), request)}
        except NetworkError as exc:
            return {"error": str(exc)[:_REASON_LENGTH]}

    def _obey(self, do: str, request: dict[str, Any]) -> object:
        """The answer's value. Raises NetworkError, also for what reaches beyond what was allowed at start."""
        match do:
            case "hold":
                self.network.hold(self._vip(request))
            case "renew":
                self.network.renew(self._vip(request))
            case "release":
                self.network.release(self._vip(request))
            case "probe":
                self.network.probe(self._interface_of(request), self._askable(request), self._sender(request))
            case "announce":
                self.network.announce(
                    self._interface_of(request), self._held_here(_address(request.get("ip")))
                )
            case "last_seen":
                return encode(self.network.last_seen(self._interface_of(request), self._askable(request)))
            case "filter_probes":
                self.network.filter_probes(self._filtered(request))
            case "watch":
                self.network.watch(self._watched(request))
            case _:
                raise NetworkError("no such request")
        return None

    def _subnets(self) -> list[IPv4Network]:
        return [address.ip.network for address in self.network.addresses() if address.owner is None]

    def _vip(self, request: dict[str, Any]) -> Vip:
        owner = request.get("owner")
        if type(owner) is not int or owner < 0:
            raise NetworkError("owner is no node number")
        try:
            ip = IPv4Interface(_text(request, "ip"))
        except (AddressValueError, NetmaskValueError) as exc:
            raise NetworkError("ip is no IPv4 address with its prefix") from exc
        allowed = self._subnets() if self.allowed is None else self.allowed
        if not any(ip.network.subnet_of(network) for network in allowed):
            raise NetworkError(f"{ip} is not in a network allowed to the sudo helper")
        return Vip(owner, ip, self._interface_of(request))

    def _interface_of(self, request: dict[str, Any]) -> str:
        name = _text(request, "interface")
        if self.interface is not None and name != self.network.resolve(self.interface):
            raise NetworkError(f"{name} is not the interface that the sudo helper was started for")
        return name

    def _askable(self, request: dict[str, Any]) -> IPv4Address:
        ip = _address(request.get("ip"))
        if not any(ip in network for network in (*self._subnets(), *(self.allowed or ()))):
            raise NetworkError(f"{ip} is not in a network of this machine or allowed to the sudo helper")
        return ip

    def _sender(self, request: dict[str, Any]) -> IPv4Address | None:
        return None if request.get("sender") is None else self._held_here(_address(request["sender"]))

    def _held_here(self, ip: IPv4Address) -> IPv4Address:
        if all(address.ip.ip != ip for address in self.network.addresses()):
            raise NetworkError(f"{ip} is not on this machine and is not used")
        return ip

    def _filtered(self, request: dict[str, Any]) -> Probes:
        probes = request.get("probes")
        if not isinstance(probes, list) or len(probes) > _WATCHED:
            raise NetworkError(f"probes is no list of at most {_WATCHED} probes")
        if not all(isinstance(probe, dict) for probe in probes):
            raise NetworkError("a probe is no object")
        return frozenset(
            (self._interface_of(probe), _address(probe.get("ip")), _mac(probe)) for probe in probes
        )

    @staticmethod
    def _watched(request: dict[str, Any]) -> frozenset[IPv4Address]:
        ips = request.get("ips")
        if not isinstance(ips, list) or len(ips) > _WATCHED:
            raise NetworkError(f"ips is no list of at most {_WATCHED} addresses")
        return frozenset(_address(ip) for ip in ips)


def _text(request: dict[str, Any], key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise NetworkError(f"{key} is no text")
    return value


def _mac(request: dict[str, Any]) -> str:
    mac = _text(request, "mac")
    if not MAC.fullmatch(mac):
        raise NetworkError("mac is no MAC address")
    return mac


def _address(value: object) -> IPv4Address:
    if not isinstance(value, str):
        raise NetworkError("an address is no text")
    try:
        return IPv4Address(value)
    except AddressValueError as exc:
        raise NetworkError("an address is no IPv4 address") from exc


def _say(data: dict[str, object]) -> None:
    os.write(1, json.dumps(data).encode() + b"\n")


def main() -> int:
    """Serve until standard input ends. Exit 1, after a line with the reason, where the network can't be used."""
    # The parent decides when this ends: what stops the parent comes here too, before it released anything.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

    settings = json.loads(sys.argv[1])
    allowed = settings.pop("allowed")
    if allowed is not None:
        allowed = tuple(map(IPv4Network, allowed))
    try:
        network = open_network(**settings)
        network.start(lambda event: _say(encode(event)))
    except NetworkError as exc:
        _say({"ready": False, "error": str(exc)[:_REASON_LENGTH]})
        return 1
    try:
        _say({"ready": True})
        requests = Requests(network, allowed, settings["interface"])
        while line := sys.stdin.buffer.readline(_LINE_BYTES):
            _say(requests.answer(line))
    except BrokenPipeError:
        pass  # the parent is gone
    finally:
        network.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
