"""What the dashboard shows: the nodes, and the latest events in words."""

import itertools
import logging
from collections import defaultdict, deque
from datetime import datetime, timezone
from ipaddress import IPv4Interface
from typing import Any

from logs.format import as_text
from master.cluster import Cluster
from master.state import Takeover

MOST_EVENTS = 200
TEXTS = {
    "started": "This master started.",
    "listening": "Listening on {url}.",
    "connection_replaced": "Node {node} has a newer connection.",
    "connection_refused": "A connection from {address} was refused: {reason}.",
    "master_there": "The master {name} is there.",
    "master_gone": "The master {name} is gone: {reason}.",
    "bound_reached": "Too much from {address}: {bound}.",
    "host_refused": "A request for the host {host} from {address} was refused.",
    "node_joined": "Node {node} joined: {system}, {ip}.",
    "node_alive": "Node {node} is alive.",
    "node_dead": "Node {node} is dead: {cause}, last heard of {silent_s} s ago.",
    "node_left": "Node {node}'s worker was stopped.",
    "node_unprotected": "Node {node} has no address that others could take over.",
    "takeover_ordered": "Node {by} was ordered to take over {address} from node {node}.",
    "takeover_done": "Node {by} answers for node {node} at {address}.",
    "takeover_failed": "Node {by} did not take the address of node {node}: {reason}.",
    "takeover_withdrawn": "The order to node {by} to answer for node {node} was withdrawn: {reason}.",
    "takeover_ended": "Node {by} no longer answers for node {node}: {reason}.",
    "restore_ordered": "Node {by} is to give the address of node {node} back.",
    "restore_failed": "Node {by} did not give the address of node {node} back: {reason}.",
    "given_back_by_hand": "Node {by} was ordered by hand to give the address of node {node} back.",
    "nobody_left": "Nobody answers for node {node}: {reason}.",
    "join_refused": "A join as node {node} from {address} was refused: {reason}.",
    "second_holder": "Nodes {holder} and {second} both answer for node {node}; {second} is to stop.",
    "carrier_lost": "Node {node} has lost its link.",
    "carrier_back": "Node {node} has its link back.",
    "state_lost": "Redis is out of reach; nothing is decided: {error}.",
    "state_back": "Redis is back.",
    "resumed": "This master stood still for {seconds} s.",
}

HIDDEN = ("closed", "node_joined")
"""Of which another event says as much."""


def iso(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, timezone.utc).isoformat(timespec="milliseconds")


class RecentEvents(logging.Handler):
    """The latest events that were logged, for the dashboard."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._events: deque[dict[str, Any]] = deque(maxlen=MOST_EVENTS)
        self._ids = itertools.count(1)

    def emit(self, record: logging.LogRecord) -> None:
        message: Any = record.msg
        event, fields = message.event, {k: v for k, v in message.fields.items() if v is not None}
        if event in HIDDEN:
            return
        try:
            text = TEXTS[event].format_map({k: as_text(v) for k, v in fields.items()})
        except KeyError:  # not an event of these
            text = str(message)
        node = fields.get("node")
        self._events.append(
            {
                "id": next(self._ids),
                "at": iso(record.created),
                "level": record.levelname,
                "event": event,
                "text": text[:500],
                "node": node if isinstance(node, int) else None,
            }
        )

    def since(self, last_id: int) -> list[dict[str, Any]]:
        return [event for event in self._events if event["id"] > last_id]


def nodes(cluster: Cluster) -> list[dict[str, Any]]:
    """Every node that joined or is named as a neighbor, by number."""
    members, takeovers, epoch = cluster.state.members, cluster.state.takeovers, cluster.members.epoch
    named = {neighbor for member in members.values() for neighbor in member.join.neighbors}
    holds = defaultdict(list)
    for takeover in takeovers.values():
        holds[takeover.holder].append(takeover.number)
    shown = []
    for number in sorted(members.keys() | named):
        member, takeover = members.get(number), takeovers.get(number) or Takeover(number)
        join, current = (member.join, member.current) if member else (None, None)
        address = str(IPv4Interface(f"{join.ip}/{join.netmask}")) if join and join.ip else None
        last_ping = member.last_ping if member else 0.0
        if current:
            last_ping = epoch + current.pulse.pinged if current.pulse.pinged else 0.0
        conflict = cluster.conflicts.get(number)
        shown.append(
            {
                "node": number,
                "system": join.system if join else None,
                "address": address or takeover.ip,
                "alive": current is not None,
                "state": "never" if member is None else "alive" if current else "dead",
                "since": iso(member.since) if member and member.since else None,
                "last_ping": iso(last_ping) if last_ping else None,
                "neighbors": list(join.neighbors) if join else [],
                "carrier": join.carrier if join else True,
                "held_by": takeover.holder,
                "held_since": iso(takeover.held_since) if takeover.holder is not None else None,
                "holds": sorted(holds[number]),
                "ordered_at": takeover.order.by if takeover.order else None,
                "set_aside": takeover.set_aside,
                "stopped": current is None and takeover.is_planned,
                "in_use": current is None and takeover.in_use > 0,
                "conflict": conflict[0] if conflict else None,
            }
        )
    return shown


def layout(cluster: Cluster) -> dict[str, int] | None:
    """The grid whose neighborhoods are the nodes' own, numbered by rows. None: they form no grid."""
    joins = {member.number: set(member.join.neighbors) for member in cluster.members}
    last = max(set().union(joins, *joins.values()), default=0)
    if not joins or last > 400:
        return None
    for columns in sorted(range(2, last + 1), key=lambda c: (c != 3, c)):
        if all(neighbors == _beside(number, columns, last) for number, neighbors in joins.items()):
            return {"columns": columns}
    return None


def _beside(number: int, columns: int, last: int) -> set[int]:
    """The numbers left, right, above and below in a grid."""
    row = (number - 1) // columns
    in_row = [n for n in (number - 1, number + 1) if (n - 1) // columns == row]
    return {n for n in (number - columns, number + columns, *in_row) if 1 <= n <= last}


def sentence(cluster: Cluster) -> str:
    """How the cluster is, in a line for `systemctl status`."""
    known = list(cluster.members)
    alive = sum(member.current is not None for member in known)
    held = [f"{t.holder} for {t.number}" for t in cluster.state.takeovers.values() if t.holder is not None]
    return f"{alive} of {len(known)} nodes alive" + (f"; answering: {', '.join(held[:20])}" if held else "")
