"""What workers say, checked: JSON from the wire in, frozen dataclasses out.

Everything arrives from other machines, so nothing is trusted: whatever does not fit raises `MessageError`, which the
caller logs in one line and forgets.
"""

import contextlib
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

LARGEST_NODE = 9999
MOST_ENTRIES = 64
"""Of a list or an object within a message; a node has a handful of neighbors."""
_MAC = re.compile("[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


class MessageError(ValueError):
    """A message that does not fit; its text names what and shows it, shortened and escaped."""


@dataclass(frozen=True)
class Join:
    """A worker introduces itself, or says how it stands now."""

    node: int
    system: str
    """The host's name; for people only."""
    neighbors: tuple[int, ...]
    """In the order in which they are asked to take over."""
    ip: str | None
    netmask: str | None
    """The node's own address. None: it has none, so there is nothing that a neighbor could take over."""
    secondary_ip: str | None
    """The newest address held for another node. None: it holds none."""
    held: Mapping[int, str] | None
    """Every address held, by owner. None: the worker does not say; `secondary_ip` must do."""
    mac: str | None = None
    """Of the interface of its address."""
    carrier: bool = True
    """False: its interface has no link, so that it serves nobody though it is alive."""


@dataclass(frozen=True)
class RecoverAnswer:
    """`update node`: what became of a `recover`, or, unasked, that an address is no longer held."""

    node: int
    """The disconnected node that it is about."""
    address: str | None
    """The address now held. None: none, the next neighbor is to be tried."""
    reason: str | None


@dataclass(frozen=True)
class RestoreAnswer:
    """`restore node`: what became of a `restore`, or, unasked, that the owner was seen to be back."""

    node: int
    done: bool
    reason: str | None


def node_number(value: object) -> int:
    """A NODE_ID as it may come over the wire, an int or its digits as text. Raises MessageError."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,4}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_NODE:
        raise MessageError(f"not a node from 1 to {LARGEST_NODE}: {reprlib.repr(value)}")
    return value


def join(data: object) -> Join:
    """Raises MessageError."""
    fields = _object(data)
    node = node_number(fields.get("NODE_ID"))
    neighbors = fields.get("neighbors")
    if not isinstance(neighbors, list) or len(neighbors) > MOST_ENTRIES:
        raise MessageError(f"neighbors is no list of at most {MOST_ENTRIES}: {reprlib.repr(neighbors)}")
    ip, netmask = _address(fields.get("primary_ip")), _netmask(fields.get("primary_netmask"))
    system = fields.get("system")
    return Join(
        node=node,
        system=system[:255] if isinstance(system, str) else "",
        neighbors=tuple(dict.fromkeys(n for n in map(node_number, neighbors) if n != node)),
        ip=ip if netmask else None,
        netmask=netmask if ip else None,
        secondary_ip=_address(fields.get("secondary_ip")),
        held=_held(fields.get("held")),
        mac=_mac(fields.get("mac")),
        carrier=fields.get("carrier") is not False,
    )


def recover_answer(data: object) -> RecoverAnswer:
    """Raises MessageError."""
    fields = _object(data)
    node = node_number(fields.get("disconnected_node"))
    if fields.get("error") is not None:
        return RecoverAnswer(node, None, str(fields["error"])[:500])
    address = _address(fields.get("secondary_ip"))
    return RecoverAnswer(node, address, None if address else "it holds no address")


def restore_answer(data: object) -> RestoreAnswer:
    """Raises MessageError."""
    fields = _object(data)
    node, status = node_number(fields.get("restore_node")), fields.get("status")
    if not isinstance(status, bool):
        raise MessageError(f"status is neither true nor false: {reprlib.repr(status)}")
    reason = fields.get("reason") if status else fields.get("error")
    return RestoreAnswer(node, status, None if reason is None else str(reason)[:500])


def _object(data: object) -> dict[str, object]:
    if not isinstance(data, dict):
        raise MessageError(f"not an object: {reprlib.repr(data)}")
    return data


def _address(value: object) -> str | None:
    """An IPv4 address in its usual spelling; a prefix length after it is dropped."""
    return _read(value, "an IPv4 address", lambda text: str(IPv4Address(text.partition("/")[0])))


def _netmask(value: object) -> str | None:
    return _read(value, "a netmask", lambda text: str(IPv4Network(f"0.0.0.0/{text}").netmask))


def _read(value: object, what: str, read: Callable[[str], str]) -> str | None:
    """What `read` makes of a text; None where there is none."""
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        if isinstance(value, str):
            return read(value)
    raise MessageError(f"not {what}: {reprlib.repr(value)}")


def _mac(value: object) -> str | None:
    """A MAC in lower case with colons. None: there is none, or it is no MAC."""
    return value.lower() if isinstance(value, str) and _MAC.fullmatch(value) else None


def _held(value: object) -> dict[int, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > MOST_ENTRIES:
        raise MessageError(f"held is no object of at most {MOST_ENTRIES}: {reprlib.repr(value)}")
    held = {}
    for owner, fields in value.items():
        address = _address(fields)
        if address:
            held[node_number(owner)] = address
    return held
