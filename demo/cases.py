"""The records of what others do about a node's address, and how /json shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from demo.members import Members


@dataclass
class Order:
    """A `recover` that waits for its answer."""

    by: int
    sid: str
    since: float


@dataclass
class Case:
    """What others do about the address of one node."""

    number: int
    order: Optional[Order] = None
    tried: set[int] = field(default_factory=set)
    """Who failed in this round."""
    stranded: bool = False
    """It was logged that nobody is left to ask; not again before something changes."""
    holder: Optional[int] = None
    ip: Optional[str] = None
    """The address that `holder` holds."""
    giving_back: bool = False
    """The holder was told to restore and has not answered yet."""
    set_aside: bool = False
    """Given back by hand: nobody is to take it until the node was back."""


def as_json(members: Members, cases: Mapping[int, Case]) -> dict[str, dict[str, Any]]:
    """What /json shows; every key is a NODE_ID as text."""
    shown: dict[str, dict[str, Any]] = {"active": {}, "inactive": {}, "recovery_mapper": {}}
    numbers = {member.number for member in members} | set(cases)
    for number in sorted(numbers):
        member, case = members.get(number), cases.get(number) or Case(number)
        join = member.join if member else None
        shown["active" if members.is_alive(number) else "inactive"][str(number)] = {
            "system": join.system if join else None,
            "neighbors": [str(neighbour) for neighbour in join.neighbours] if join else [],
            "primary_ip": join.ip if join else case.ip,
            "primary_netmask": join.netmask if join else None,
            "holds": {str(other.number): other.ip for other in cases.values() if other.holder == number},
            "ordered": str(case.order.by) if case.order else None,
            "set_aside": case.set_aside,
        }
        if case.holder is not None:
            shown["recovery_mapper"][str(number)] = {
                "recovery_node": str(case.holder),
                "ip": case.ip,
                "netmask": join.netmask if join else None,
                "giving_back": case.giving_back,
            }
    return shown
