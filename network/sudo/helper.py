"""The privileged half of the `sudo` backend: a process that sudo starts, and that ends with its parent.

It is called by its path, `python -I -B network/sudo/helper.py …`. Standard input carries requests, standard output
answers and events, one JSON object a line. It checks each request itself against the networks that it was
started with; but its caller can write the code that it runs, so this limits accidents, not a hostile caller.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, NetmaskValueError
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # -I leaves out the folder of the project
    sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

from network.base import MAC, Network, NetworkError, Vip
from network.choose import open_network
from network.sudo.protocol import encode, encode_event

_LINE_BYTES = 1 << 16
_WATCHED = 1024
_REASON_LENGTH = 1000  # a line below PIPE_BUF (4096 bytes) is written whole, so two threads may write


class RequestError(Exception):
    """A request that is none, or reaches beyond what was allowed at start."""


class Requests:
    """Obeys requests to a network. `allowed` None: the subnets of the machine's own addresses."""

    def __init__(
        self, network: Network, allowed: tuple[IPv4Network, ...] | None, interface: str | None
    ) -> None:
        self._network = network
        self._allowed = allowed
        self._interface = interface
        self._verbs: dict[str, Callable[[dict[str, Any]], object]] = {
            "hold": lambda request: self._network.hold(self._vip(request)),
            "renew": lambda request: self._network.renew(self._vip(request)),
            "release": lambda request: self._network.release(self._vip(request)),
            "probe": lambda request: self._network.probe(
                self._interface_of(request), self._askable(request), self._sender(request)
            ),
            "announce": lambda request: self._network.announce(
                self._interface_of(request), self._ours(request)
            ),
            "last_seen": lambda request: encode(
                self._network.last_seen(self._interface_of(request), self._askable(request))
            ),
            "filter_probes": lambda request: self._network.filter_probes(self._filtered(request)),
            "watch": lambda request: self._network.watch(self._watched(request)),
        }

    def answer(self, line: bytes) -> dict[str, object]:
        """The answer to one line; nothing of a line that is no request is repeated in it."""
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"id": None, "error": "no request"}
        if not isinstance(request, dict) or type(request.get("id")) is not int:
            return {"id": None, "error": "no request"}
        try:
            verb = self._verbs.get(_text(request, "do"))
            if verb is None:
                raise RequestError("no such request")
            return {"id": request["id"], "value": verb(request)}
        except (RequestError, NetworkError) as exc:
            return {"id": request["id"], "error": str(exc)[:_REASON_LENGTH]}

    def _subnets(self) -> list[IPv4Network]:
        return [address.ip.network for address in self._network.addresses() if address.owner is None]

    def _vip(self, request: dict[str, Any]) -> Vip:
        owner = request.get("owner")
        if type(owner) is not int or owner < 0:
            raise RequestError("owner is no node number")
        try:
            ip = IPv4Interface(_text(request, "ip"))
        except (AddressValueError, NetmaskValueError) as exc:
            raise RequestError("ip is no IPv4 address with its prefix") from exc
        allowed = self._subnets() if self._allowed is None else self._allowed
        if not any(ip.network.subnet_of(network) for network in allowed):
            raise RequestError(f"{ip} is not in a network allowed to the sudo helper")
        return Vip(owner, ip, self._interface_of(request))

    def _interface_of(self, request: dict[str, Any]) -> str:
        name = _text(request, "interface")
        if self._interface is not None and name != self._network.resolve(self._interface):
            raise RequestError(f"{name} is not the interface that the sudo helper was started for")
        return name

    def _askable(self, request: dict[str, Any]) -> IPv4Address:
        ip = _address(request.get("ip"))
        if not any(ip in network for network in (*self._subnets(), *(self._allowed or ()))):
            raise RequestError(f"{ip} is not in a network of this machine or allowed to the sudo helper")
        return ip

    def _ours(self, request: dict[str, Any]) -> IPv4Address:
        return self._held_here(_address(request.get("ip")))

    def _sender(self, request: dict[str, Any]) -> IPv4Address | None:
        return None if request.get("sender") is None else self._held_here(_address(request["sender"]))

    def _held_here(self, ip: IPv4Address) -> IPv4Address:
        if all(address.ip.ip != ip for address in self._network.addresses()):
            raise RequestError(f"{ip} is not on this machine and is not used")
        return ip

    def _filtered(self, request: dict[str, Any]) -> frozenset[tuple[str, IPv4Address, str]]:
        probes = request.get("probes")
        if not isinstance(probes, list) or len(probes) > _WATCHED:
            raise RequestError(f"probes is no list of at most {_WATCHED} probes")
        if not all(isinstance(probe, dict) for probe in probes):
            raise RequestError("a probe is no object")
        return frozenset(
            (self._interface_of(probe), _address(probe.get("ip")), _mac(probe)) for probe in probes
        )

    @staticmethod
    def _watched(request: dict[str, Any]) -> frozenset[IPv4Address]:
        ips = request.get("ips")
        if not isinstance(ips, list) or len(ips) > _WATCHED:
            raise RequestError(f"ips is no list of at most {_WATCHED} addresses")
        return frozenset(_address(ip) for ip in ips)


def _text(request: dict[str, Any], key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise RequestError(f"{key} is no text")
    return value


def _mac(request: dict[str, Any]) -> str:
    mac = _text(request, "mac")
    if not MAC.fullmatch(mac):
        raise RequestError("mac is no MAC address")
    return mac


def _address(value: object) -> IPv4Address:
    if not isinstance(value, str):
        raise RequestError("an address is no text")
    try:
        return IPv4Address(value)
    except AddressValueError as exc:
        raise RequestError("an address is no IPv4 address") from exc


def _say(data: dict[str, object]) -> None:
    os.write(1, json.dumps(data).encode() + b"\n")


def _requests() -> Iterable[bytes]:
    """The lines of standard input until it ends; a line that is too long ends it too."""
    while True:
        line = sys.stdin.buffer.readline(_LINE_BYTES)
        if not line.endswith(b"\n"):
            return
        yield line


def main() -> int:
    """Serve until standard input ends. Exit 1, after a line with the reason, where the network can't be used."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", required=True)
    parser.add_argument("--node", type=int, required=True)
    parser.add_argument("--lease", type=int, required=True)
    parser.add_argument("--interface")
    parser.add_argument("--journal-dir", type=Path)
    parser.add_argument("--allowed", help="comma-separated networks")
    args = parser.parse_args()
    # The parent decides when this ends: what stops the parent comes here too, before it released anything.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

    allowed = None
    if args.allowed is not None:
        allowed = tuple(IPv4Network(text) for text in args.allowed.split(",") if text)
    try:
        network = open_network(
            args.backend, args.node, args.interface, args.lease, journal_dir=args.journal_dir
        )
        network.start(lambda event: _say(encode_event(event)))
    except NetworkError as exc:
        _say({"ready": False, "error": str(exc)[:_REASON_LENGTH]})
        return 1
    try:
        _say({"ready": True})
        requests = Requests(network, allowed, args.interface)
        for line in _requests():
            _say(requests.answer(line))
    except BrokenPipeError:
        pass  # the parent is gone
    finally:
        network.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
