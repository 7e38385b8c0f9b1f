"""Parsing and validation of the master's two orders, `recover` and `restore`. No I/O."""

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from typing import Any

from logs.format import compact_json
from network.base import MAC, Address

_SHOWN_CHARS = 200


class OrderError(ValueError):
    """An order that must not be carried out; the text is the reason, for the log and for the master."""


@dataclass(frozen=True)
class Recover:
    """`recover`: take `ip` for the node `owner`, whose MAC is `owner_mac`, None: the master did not say.

    `echo` is the order as it came, as JSON; `arrived_s` its monotonic time, `number` its number in this run.
    """

    owner: int
    ip: IPv4Interface
    echo: str
    arrived_s: float
    number: int | None = None
    owner_mac: str | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The order as it came."""
        data: dict[str, Any] = json.loads(self.echo)
        return data


def brief(value: object) -> str:
    """A value for an error message. A long one is left out: half a secret would not be recognized and redacted."""
    text = compact_json(value)
    return text if len(text) <= _SHOWN_CHARS else f"a value of {len(text)} characters"


def _node(data: Mapping[str, Any], key: str, nodes: Container[int], node_id: int) -> int:
    node = data.get(key)
    if type(node) is not int:
        raise OrderError(f"{key} must be a node's number, not {brief(node)}")
    if node == node_id:
        raise OrderError(f"{key} is {node}, which is this node itself")
    if node not in nodes:
        raise OrderError(f"{key} is {brief(node)}, which NETWORK_CONFIG does not list")
    return node


def _address(data: Mapping[str, Any]) -> IPv4Interface:
    ip, mask = data.get("ip"), data.get("netmask")
    if not isinstance(ip, str) or not isinstance(mask, str):
        raise OrderError(f"ip and netmask must be strings, not {brief(ip)} and {brief(mask)}")
    try:
        address = IPv4Address(ip)
    except AddressValueError as exc:
        try:
            IPv6Address(ip)
        except AddressValueError:
            raise OrderError(f"ip is not an IPv4 address: {brief(ip)}") from exc
        raise OrderError(f"IPv6 addresses are not taken over: {brief(ip)}") from exc
    try:
        bits = int(IPv4Address(mask))
    except AddressValueError as exc:
        raise OrderError(f"netmask is not valid: {brief(mask)}") from exc
    hosts = bits ^ 0xFFFFFFFF
    if hosts & (hosts + 1):
        raise OrderError(f"netmask is not valid, its bits have gaps: {mask}")
    return IPv4Interface((address, 32 - hosts.bit_length()))


def parse_recover(
    data: Mapping[str, Any],
    node_id: int,
    nodes: Container[int],
    arrived_s: float,
    number: int | None = None,
) -> Recover:
    """Read a `recover`. Raises OrderError for what is not a valid one, or not for the node `node_id`."""
    owner = _node(data, "disconnected_node", nodes, node_id)
    if data.get("recovery_node") != str(node_id):
        raise OrderError(f"recovery_node is {brief(data.get('recovery_node'))}, this is node {node_id}")
    address = _address(data)
    active = data.get("active_neighbors")
    if not isinstance(active, list) or not all(isinstance(node, str) for node in active):
        raise OrderError(f"active_neighbors must be a list of strings, not {brief(active)}")
    return Recover(owner, address, json.dumps(data), arrived_s, number, _mac(data.get("owner_mac")))


def _mac(value: object) -> str | None:
    """A MAC address in lower case; None for anything else, which other masters may mean by the key."""
    return value.lower() if isinstance(value, str) and MAC.fullmatch(value.lower()) else None


def parse_restore(data: Mapping[str, Any], node_id: int, nodes: Container[int]) -> int:
    """Read a `restore`: the node whose address is to be given back. Raises OrderError."""
    return _node(data, "restore_node", nodes, node_id)


def check_address(
    ip: IPv4Interface,
    here: tuple[Address, ...],
    gateways: Container[IPv4Address | None],
    allowed: tuple[IPv4Network, ...] | None,
) -> None:
    """Refuse an address that must not be taken on a machine that holds the addresses `here`.

    `allowed` are the networks of ALLOWED_NETWORKS; None: the machine's own subnets, and then the order's mask
    must be the subnet's (a narrower one would make the virtual address a network of its own). Raises OrderError.
    """
    address = ip.ip
    if (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_reserved
        or int(address) >> 24 == 0
    ):
        raise OrderError(f"{address} is not an address that a host can have")
    own = [there for there in here if there.owner is None]
    for there in own:
        if there.ip.ip == address:
            raise OrderError(f"{address} is this machine's own, on {there.interface}")
    subnets = [there.ip.network for there in own if not there.ip.ip.is_loopback]
    for network in (ip.network, *subnets):
        if network.prefixlen >= 31:
            continue
        if address == network.network_address:
            raise OrderError(f"{address} is the address of the network {network} itself")
        if address == network.broadcast_address:
            raise OrderError(f"{address} is the broadcast address of {network}")
    if address in gateways:
        raise OrderError(f"{address} is the default gateway's")
    if allowed is not None:
        if not any(ip.network.subnet_of(network) for network in allowed):
            networks = ", ".join(map(str, allowed))
            raise OrderError(f"the network {ip.network} lies in none of ALLOWED_NETWORKS ({networks})")
    elif ip.network not in subnets:
        networks = ", ".join(map(str, subnets)) or "none"
        raise OrderError(
            f"the network {ip.network} is not one of this machine's ({networks}); ALLOWED_NETWORKS can allow others"
        )


def refusal(data: Mapping[str, Any], error: str) -> dict[str, Any]:
    """An order as it came, plus the reason; never with `secondary_ip`, whose absence says that it failed."""
    return {**{key: value for key, value in data.items() if key != "secondary_ip"}, "error": error}
