"""Orders drawn at random, good and bad, and what is held after those that a worker received."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

from logs.format import Entry

NODE = 3
OWNERS = (1, 2, 4, 5)
"""Whose addresses are ordered."""
OUTCOMES = {"recover": "update node", "restore": "restore node"}
Order = tuple[str, Any]


def recover(owner: int, **other: Any) -> dict[str, Any]:
    return {
        "disconnected_node": owner,
        "recovery_node": str(NODE),
        "ip": f"10.9.0.{owner}",
        "netmask": "255.255.255.0",
        "active_neighbors": ["6"],
        **other,
    }


def draw(rng: random.Random) -> Order:
    """Mostly valid ones, about few nodes, so that many are repeated."""
    owner = rng.choice(OWNERS)
    kind = rng.random()
    if kind < 0.45:
        return "recover", recover(owner)
    if kind < 0.8:
        return "restore", {"restore_node": owner}
    wrong = [
        recover(owner, ip=f"10.9.9.{owner}"),
        recover(owner, ip="10.9.0.3"),
        recover(owner, ip="10.9.0.255"),
        recover(owner, ip="::1"),
        recover(owner, ip=None),
        recover(owner, netmask="255.0.255.0"),
        recover(owner, recovery_node="4"),
        recover(owner, active_neighbors="x"),
        recover(NODE),
        recover(99),
        {},
    ]
    if kind < 0.95:
        return "recover", rng.choice(wrong)
    return "restore", rng.choice([{"restore_node": str(owner)}, {"restore_node": NODE}, {}])


def is_valid(order: Order) -> bool:
    event, data = order
    if event == "restore":
        return any(data == {"restore_node": owner} for owner in OWNERS)
    return any(data == recover(owner) for owner in OWNERS)


def received(entries: Iterable[Entry]) -> list[Order]:
    """The orders that these lines of comms.log say came."""
    return [
        (entry.fields["event"], json.loads(entry.fields["data"]))
        for entry in entries
        if entry.event == "received" and entry.fields.get("event") in OUTCOMES
    ]


def about(event: str, data: Any) -> tuple[str, str]:
    """What an order and its answer have in common: the answer's event, and whom it is about."""
    key = "disconnected_node" if event in ("recover", "update node") else "restore_node"
    return OUTCOMES.get(event, event), json.dumps(data.get(key))


def held_after(held: dict[int, str], orders: Iterable[Order]) -> dict[int, str]:
    """The addresses by owner that `held` become when these are carried out one after another."""
    held = dict(held)
    for event, data in orders:
        if not is_valid((event, data)):
            continue
        if event == "recover":
            held[data["disconnected_node"]] = data["ip"]
        else:
            held.pop(data["restore_node"], None)
    return held
