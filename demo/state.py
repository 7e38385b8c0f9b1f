"""What a master must not forget, and its form as text, in which several masters share it.

What only one of them can tell is left out: when something was heard last or ordered, by its own clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from demo.cases import Case, Order
from demo.members import Connection, Member
from demo.messages import Join

FORM = 1
"""Of the text; counted up with each change that an older master could not read."""


class StateError(Exception):
    """A text that is no state of this form."""


@dataclass
class State:
    members: dict[int, Member] = field(default_factory=dict)
    cases: dict[int, Case] = field(default_factory=dict)
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
        }
    cases = {case.number: {**vars(case), "tried": sorted(case.tried)} for case in state.cases.values()}
    for case in state.cases.values():
        cases[case.number]["order"] = case.order and {"by": case.order.by, "sid": case.order.sid}
    whole = {"form": FORM, "members": members, "cases": cases, "unclaimed": state.unclaimed}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"))


def decode(text: str, now: float) -> State:
    """All was just heard and just ordered, except that a silent connection was never heard. Raises StateError."""
    try:
        whole = json.loads(text)
        if whole["form"] != FORM:
            raise StateError(f"it has form {whole['form']!r:.20}, this master knows form {FORM}")
        members = [_member(int(number), told, now) for number, told in whole["members"].items()]
        cases = [_case(told, now) for told in whole["cases"].values()]
        return State({m.number: m for m in members}, {c.number: c for c in cases}, whole["unclaimed"])
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise StateError(f"it cannot be read: {type(exc).__name__}: {exc}") from exc


def _member(number: int, told: dict[str, Any], now: float) -> Member:
    connections = [
        Connection(
            c["sid"],
            c["number"],
            _join(c["join"]),
            float("-inf") if c["is_silent"] else now,
            is_open=c["is_open"],
        )
        for c in told["connections"]
    ]
    current: Optional[Connection] = next((c for c in connections if c.sid == told["current"]), None)
    return Member(number, _join(told["join"]), connections, current)


def _join(told: dict[str, Any]) -> Join:
    held = told["held"]
    return Join(
        **{
            **told,
            "neighbours": tuple(told["neighbours"]),
            "held": None if held is None else {int(owner): ip for owner, ip in held.items()},
        }
    )


def _case(told: dict[str, Any], now: float) -> Case:
    order = told["order"]
    return Case(
        **{**told, "order": order and Order(order["by"], order["sid"], now), "tried": set(told["tried"])}
    )
