"""What workers say, checked: JSON from the wire in, frozen dataclasses out.

Everything arrives from other machines, so nothing is trusted: whatever does not fit raises `MessageError`, which the
caller logs in one line and forgets.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import Optional

LARGEST_NODE = 9999
MOST_ENTRIES = 64
"""Of a list or an object within a message; a node has a handful of neighbours."""


class MessageError(ValueError):
    """A message that does not fit; its text names what and shows it, shortened and escaped."""


@dataclass(frozen=True)
class Join:
    """A worker introduces itself, or says how it stands now."""

    node: int
    system: str
    """The host's name; for people only."""
    neighbours: tuple[int, ...]
    """In the order in which they are asked to take over."""
    ip: Optional[str]
    netmask: Optional[str]
    """The node's own address. None: it told none, so there is nothing that a neighbour could take over."""
    secondary_ip: Optional[str]
    """The newest address held for another node. None: it holds none."""
    held: Optional[Mapping[int, str]]
    """Every address held, by owner. None: the worker does not tell, `secondary_ip` must do."""


@dataclass(frozen=True)
class RecoverAnswer:
    """`update node`: what became of a `recover`, or, unasked, that an address is no longer held."""

    node: int
    """The disconnected node that it is about."""
    address: Optional[str]
    """The address now held. None: none, the next neighbour is to be tried."""
    reason: Optional[str]


@dataclass(frozen=True)
class RestoreAnswer:
    """`restore node`: what became of a `restore`, or, unasked, that the owner was seen to be back."""

    node: int
    done: bool
    reason: Optional[str]


def node_number(value: object) -> int:
    """A NODE_ID as it may come over the wire, an int or its digits as text. Raises MessageError."""
    if (
        isinstance(value, str)
        and value.isascii()
        and value.isdigit()
        and len(value) <= len(str(LARGEST_NODE))
    ):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_NODE:
        raise MessageError(f"not a node from 1 to {LARGEST_NODE}: {reprlib.repr(value)}")
    return value


def join(data: object) -> Join:
    """Raises MessageError."""
    told = _object(data)
    node = node_number(told.get("NODE_ID"))
    neighbours = told.get("neighbors")
    if not isinstance(neighbours, list) or len(neighbours) > MOST_ENTRIES:
        raise MessageError(f"neighbors is no list of at most {MOST_ENTRIES}: {reprlib.repr(neighbours)}")
    ip, netmask = _address(told.get("primary_ip")), _netmask(told.get("primary_netmask"))
    system = told.get("system")
    return Join(
        node=node,
        system=system[:255] if isinstance(system, str) else "",
        neighbours=tuple(dict.fromkeys(n for n in map(node_number, neighbours) if n != node)),
        ip=ip if netmask else None,
        netmask=netmask if ip else None,
        secondary_ip=_address(told.get("secondary_ip")),
        held=_held(told.get("held")),
    )


def recover_answer(data: object) -> RecoverAnswer:
    """Raises MessageError."""
    told = _object(data)
    node = node_number(told.get("disconnected_node"))
    if told.get("error") is not None:
        return RecoverAnswer(node, None, _text(told["error"]))
    address = _address(told.get("secondary_ip"))
    return RecoverAnswer(node, address, None if address else "it holds no address")


def restore_answer(data: object) -> RestoreAnswer:
    """Raises MessageError."""
    told = _object(data)
    node, status = node_number(told.get("restore_node")), told.get("status")
    if not isinstance(status, bool):
        raise MessageError(f"status is neither true nor false: {reprlib.repr(status)}")
    reason = told.get("reason") if status else told.get("error")
    return RestoreAnswer(node, status, None if reason is None else _text(reason))


def _object(data: object) -> dict[str, object]:
    if not isinstance(data, dict):
        raise MessageError(f"not an object: {reprlib.repr(data)}")
    return data


def _text(value: object) -> str:
    return value[:500] if isinstance(value, str) else reprlib.repr(value)


def _address(value: object) -> Optional[str]:
    """An IPv4 address in its usual spelling; a prefix length after it is dropped."""
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise AddressValueError
        return str(IPv4Address(value.partition("/")[0]))
    except AddressValueError:
        raise MessageError(f"not an IPv4 address: {reprlib.repr(value)}") from None


def _netmask(value: object) -> Optional[str]:
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise NetmaskValueError
        return str(IPv4Network(f"0.0.0.0/{value}").netmask)
    except ValueError:
        raise MessageError(f"not a netmask: {reprlib.repr(value)}") from None


def _held(value: object) -> Optional[dict[int, str]]:
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > MOST_ENTRIES:
        raise MessageError(f"held is no object of at most {MOST_ENTRIES}: {reprlib.repr(value)}")
    held = {}
    for owner, told in value.items():
        address = _address(told)
        if address:
            held[node_number(owner)] = address
    return held
