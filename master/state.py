"""What a master must not forget, and its form as text, in which several masters share it.

What only one of them can tell is left out of that: when something was heard last or ordered, by its own clock.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from master.members import Connection, Member, Pulse
from master.messages import Join

FORM = 3
"""Of the text; counted up with each change that an older master could not read."""


class StateError(Exception):
    """A text that is no state of this form."""


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


@dataclass
class State:
    members: dict[int, Member] = field(default_factory=dict)
    takeovers: dict[int, Takeover] = field(default_factory=dict)
    unclaimed: dict[str, int] = field(default_factory=dict)
    """Addresses held for a node that has not joined yet, and who holds them."""

    def as_json(self) -> dict[str, dict[str, Any]]:
        """What `/json` shows; every key is a NODE_ID as text."""
        shown: dict[str, dict[str, Any]] = {"active": {}, "inactive": {}, "recovery_mapper": {}}
        for number in sorted(self.members.keys() | self.takeovers.keys()):
            member, takeover = self.members.get(number), self.takeovers.get(number) or Takeover(number)
            join = member.join if member else None
            holds = {str(t.number): t.ip for t in self.takeovers.values() if t.holder == number}
            shown["active" if member and member.current else "inactive"][str(number)] = {
                "system": join.system if join else None,
                "neighbors": [str(neighbor) for neighbor in join.neighbors] if join else [],
                "primary_ip": join.ip if join else takeover.ip,
                "primary_netmask": join.netmask if join else None,
                "holds": holds,
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


def encode(state: State, is_silent: Callable[[Connection], bool]) -> str:
    """Equal states give equal texts."""

    def plain(value: Any) -> object:
        match value:
            case set():
                return sorted(value)
            case Member():
                return {**vars(value), "current": value.current and value.current.sid}
            case Connection():
                kept = {key: vars(value)[key] for key in ("sid", "join", "is_open")}
                return {**kept, "is_silent": is_silent(value)}
            case Order():
                return {"by": value.by, "sid": value.sid}
            case _:
                return vars(value)

    whole = {"form": FORM, **vars(state)}
    return json.dumps(whole, default=plain, sort_keys=True, separators=(",", ":"))


def decode(text: str, now: float) -> State:
    """All was just heard and just ordered, except that a silent connection was never heard. Raises StateError."""
    try:
        whole = json.loads(text)
        if whole["form"] != FORM:
            raise StateError(f"it has form {whole['form']!r:.20}, this master knows form {FORM}")
        members = [_member(fields, now) for fields in whole["members"].values()]
        takeovers = [_takeover(fields, now) for fields in whole["takeovers"].values()]
        return State({m.number: m for m in members}, {t.number: t for t in takeovers}, whole["unclaimed"])
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise StateError(f"it cannot be read: {type(exc).__name__}: {exc}") from exc


def _member(fields: dict[str, Any], now: float) -> Member:
    connections = [_connection(one, now) for one in fields["connections"]]
    current: Connection | None = next((c for c in connections if c.sid == fields["current"]), None)
    join = _join(fields["join"])
    return Member(**{**fields, "join": join, "connections": connections, "current": current})


def _connection(fields: dict[str, Any], now: float) -> Connection:
    pulse = Pulse(float("-inf") if fields.pop("is_silent") else now)
    return Connection(**{**fields, "join": _join(fields["join"]), "pulse": pulse})


def _join(fields: dict[str, Any]) -> Join:
    held = fields["held"] and {int(owner): ip for owner, ip in fields["held"].items()}
    return Join(**{**fields, "neighbors": tuple(fields["neighbors"]), "held": held})


def _takeover(fields: dict[str, Any], now: float) -> Takeover:
    order = fields["order"] and Order(**fields["order"], since=now)
    return Takeover(**{**fields, "order": order, "tried": set(fields["tried"])})
