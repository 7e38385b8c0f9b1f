"""What a master must not forget, and its form as text, in which several masters share it.

What only one of them can tell is left out: when something was heard last or ordered, by its own clock.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from master.members import Connection, Member, Pulse
from master.messages import Join
from master.takeovers import Order, Takeover

FORM = 2
"""Of the text; counted up with each change that an older master could not read."""


class StateError(Exception):
    """A text that is no state of this form."""


@dataclass
class State:
    members: dict[int, Member] = field(default_factory=dict)
    takeovers: dict[int, Takeover] = field(default_factory=dict)
    unclaimed: dict[str, int] = field(default_factory=dict)
    """Addresses held for a node that has not joined yet, and who holds them."""


def encode(state: State, is_silent: Callable[[Connection], bool]) -> str:
    """Equal states give equal texts."""
    members = {}
    for member in state.members.values():
        connections = [
            {
                "sid": c.sid,
                "number": c.number,
                "join": asdict(c.join),
                "is_open": c.is_open,
                "is_silent": is_silent(c),
            }
            for c in member.connections
        ]
        current = member.current and member.current.sid
        members[member.number] = {
            "join": asdict(member.join),
            "connections": connections,
            "current": current,
            "since": member.since,
            "last_ping": member.last_ping,
        }
    takeovers = {}
    for takeover in state.takeovers.values():
        order = takeover.order and {"by": takeover.order.by, "sid": takeover.order.sid}
        takeovers[takeover.number] = {**vars(takeover), "tried": sorted(takeover.tried), "order": order}
    whole = {"form": FORM, "members": members, "takeovers": takeovers, "unclaimed": state.unclaimed}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"))


def decode(text: str, now: float) -> State:
    """All was just heard and just ordered, except that a silent connection was never heard. Raises StateError."""
    try:
        whole = json.loads(text)
        if whole["form"] != FORM:
            raise StateError(f"it has form {whole['form']!r:.20}, this master knows form {FORM}")
        members = [_member(int(number), fields, now) for number, fields in whole["members"].items()]
        takeovers = [_takeover(fields, now) for fields in whole["takeovers"].values()]
        return State({m.number: m for m in members}, {t.number: t for t in takeovers}, whole["unclaimed"])
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise StateError(f"it cannot be read: {type(exc).__name__}: {exc}") from exc


def _member(number: int, fields: dict[str, Any], now: float) -> Member:
    connections = [
        Connection(
            c["sid"],
            c["number"],
            _join(c["join"]),
            Pulse(float("-inf") if c["is_silent"] else now),
            is_open=c["is_open"],
        )
        for c in fields["connections"]
    ]
    current: Connection | None = next((c for c in connections if c.sid == fields["current"]), None)
    return Member(number, _join(fields["join"]), connections, current, fields["since"], fields["last_ping"])


def _join(fields: dict[str, Any]) -> Join:
    held = fields["held"]
    return Join(
        **{
            **fields,
            "neighbors": tuple(fields["neighbors"]),
            "held": None if held is None else {int(owner): ip for owner, ip in held.items()},
        }
    )


def _takeover(fields: dict[str, Any], now: float) -> Takeover:
    order = fields["order"]
    return Takeover(
        **{**fields, "order": order and Order(order["by"], order["sid"], now), "tried": set(fields["tried"])}
    )
