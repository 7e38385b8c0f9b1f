"""The events of the privileged helper, as the JSON objects that it writes for its parent."""

from dataclasses import fields
from ipaddress import IPv4Address
from typing import Any

from network.base import AddressesChanged, ArpSeen, LinkDown, LinkUp, NetworkEvent

_KINDS: dict[str, type[NetworkEvent]] = {
    kind.__name__: kind for kind in (ArpSeen, LinkUp, LinkDown, AddressesChanged)
}


def encode_event(event: NetworkEvent) -> dict[str, object]:
    """The name of its class, and its fields, addresses as text."""
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    texts = {name: str(value) for name, value in values.items() if isinstance(value, IPv4Address)}
    return {"event": type(event).__name__, **values, **texts}


def decode_event(data: dict[str, Any]) -> NetworkEvent:
    """The inverse of encode_event. Raises KeyError, TypeError or ValueError for anything else."""
    kind = _KINDS[data["event"]]
    values = {name: value for name, value in data.items() if name != "event"}
    addresses = {name: IPv4Address(value) for name, value in values.items() if name.endswith("_ip")}
    return kind(**{**values, **addresses})
