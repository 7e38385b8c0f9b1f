"""What others do about a node's address, and how `/json` shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from master.members import Members


@dataclass
class Order:
    """A `recover` that waits for its answer."""

    by: int
    sid: str
    since: float


@dataclass
class Takeover:
    """What others do about the address of one node."""

    number: int
    order: Order | None = None
    tried: set[int] = field(default_factory=set)
    """Who failed in this round."""
    stranded: bool = False
    """It was logged that nobody is left to ask; not again before something changes."""
    holder: int | None = None
    ip: str | None = None
    """The address that `holder` holds."""
    held_since: float = 0.0
    """Seconds since the epoch."""
    giving_back: bool = False
    """The holder was ordered to restore and has not answered yet."""
    set_aside: bool = False
    """Given back by hand: nobody is to take it until the node was back."""
    is_planned: bool = False
    """The node was stopped: that nobody answers for it is no surprise."""
    in_use: int = 0
    """How often a neighbor found the address in use by its owner while the node was away."""
    not_before: float = 0.0
    """Seconds since the epoch before which nobody is ordered to take it."""


def as_json(members: Members, takeovers: Mapping[int, Takeover]) -> dict[str, dict[str, Any]]:
    """What `/json` shows; every key is a NODE_ID as text."""
    shown: dict[str, dict[str, Any]] = {"active": {}, "inactive": {}, "recovery_mapper": {}}
    numbers = {member.number for member in members} | set(takeovers)
    for number in sorted(numbers):
        member, takeover = members.get(number), takeovers.get(number) or Takeover(number)
        join = member.join if member else None
        shown["active" if members.is_alive(number) else "inactive"][str(number)] = {
            "system": join.system if join else None,
            "neighbors": [str(neighbor) for neighbor in join.neighbors] if join else [],
            "primary_ip": join.ip if join else takeover.ip,
            "primary_netmask": join.netmask if join else None,
            "holds": {str(other.number): other.ip for other in takeovers.values() if other.holder == number},
            "ordered": str(takeover.order.by) if takeover.order else None,
            "set_aside": takeover.set_aside,
        }
        if takeover.holder is not None:
            shown["recovery_mapper"][str(number)] = {
                "recovery_node": str(takeover.holder),
                "ip": takeover.ip,
                "netmask": join.netmask if join else None,
                "giving_back": takeover.giving_back,
            }
    return shown
