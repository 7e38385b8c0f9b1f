"""The dataclasses of `network.base` as JSON objects, in which the privileged helper and its parent exchange them."""

from dataclasses import fields
from ipaddress import IPv4Address
from typing import Any, TypeVar, get_args

from network.base import AddressesChanged, ArpSeen, FilterFailed, LinkDown, LinkUp, NetworkEvent

T = TypeVar("T")
_EVENTS: dict[str, type[NetworkEvent]] = {
    kind.__name__: kind for kind in (ArpSeen, LinkUp, LinkDown, AddressesChanged, FilterFailed)
}


def encode(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, addresses as text."""
    found = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: str(one) if isinstance(one, IPv4Address) else one for name, one in found.items()}


def decode(kind: type[T], data: dict[str, Any]) -> T:
    """The inverse of `encode`. Raises TypeError or ValueError for anything else."""
    values = dict(data)
    for field in fields(kind):  # type: ignore[arg-type] # each kind is a dataclass
        if IPv4Address in (field.type, *get_args(field.type)) and values.get(field.name) is not None:
            values[field.name] = IPv4Address(values[field.name])
    return kind(**values)


def encode_event(event: NetworkEvent) -> dict[str, Any]:
    return {"event": type(event).__name__, **encode(event)}


def decode_event(data: dict[str, Any]) -> NetworkEvent:
    """The inverse of encode_event. Raises KeyError, TypeError or ValueError for anything else."""
    values = dict(data)
    return decode(_EVENTS[values.pop("event")], values)
