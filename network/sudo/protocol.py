"""What the privileged helper reports, as JSON objects: events of `network.base`, and `LastSeen`."""

from dataclasses import fields
from ipaddress import IPv4Address
from typing import Any, get_args

from network.base import LastSeen, NetworkEvent

_KINDS = {kind.__name__: kind for kind in (*get_args(NetworkEvent), LastSeen)}


def encode(value: NetworkEvent | LastSeen) -> dict[str, Any]:
    """Its kind and its fields, addresses as text."""
    found = {name: str(one) if isinstance(one, IPv4Address) else one for name, one in vars(value).items()}
    return {"kind": type(value).__name__, **found}


def decode(data: dict[str, Any]) -> Any:
    """The inverse of `encode`. Raises KeyError, TypeError or ValueError for anything else."""
    values = dict(data)
    kind = _KINDS[values.pop("kind")]
    for field in fields(kind):
        if IPv4Address in (field.type, *get_args(field.type)) and values.get(field.name) is not None:
            values[field.name] = IPv4Address(values[field.name])
    return kind(**values)
