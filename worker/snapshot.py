"""The worker's state at one moment: fields of JSON types, and the sentence for the service manager. No I/O."""

from __future__ import annotations

import os
from typing import Any

from config import Config
from connection.reconnect import Connection
from failover.machine import Failover
from failover.node import Node
from failover.states import HOLDING, State, VipState
from logging_setup import Logs
from network.base import Network
from ping_monitor import PingMonitor
from worker.reports import Reports


def snapshot(
    config: Config,
    version: str,
    started_s: float,
    logs: Logs,
    network: Network,
    node: Node,
    connection: Connection,
    pings: PingMonitor,
    failover: Failover,
    reports: Reports,
    now: float,
) -> dict[str, Any]:
    """Every field, the long ones last, since a line of a log is cut at its end.

    Counts are since the start; `connection_s` is how long the connection has lasted, or how long there has been none;
    `answer_age_s` the time since the master last answered. None means: `transport`: there is no connection;
    `rtt_ms`, `answer_age_s`: no answer yet; `primary`: the node's own address is not known; `trouble`: nothing failed;
    `unusable`: this worker can change addresses. These two may contain text of the master's, and secrets.
    """
    up, counts, primary = connection.up, pings.counts, node.primary
    since_s = connection.up_s if up else connection.lost_s
    # a master that never acknowledges still sends something
    answered_s = counts.answered_s or connection.last_packet_s or None
    return {
        "node": config.node_id,
        "version": version,
        "run": logs.run,
        "pid": os.getpid(),
        "backend": network.backend,
        "uptime_s": round(now - started_s, 3),
        "connected": up is not None,
        "master": connection.url,
        "transport": up.transport if up else None,
        "connection_s": round(now - (started_s if since_s is None else since_s), 3),
        "reconnects": max(0, connection.made - 1),
        "pings_sent": counts.sent,
        "pings_missed": counts.missed,
        "rtt_ms": None if counts.rtt_s is None else round(counts.rtt_s * 1000, 3),
        "answer_age_s": None if answered_s is None else round(max(0.0, now - answered_s), 3),
        "orders": {f"{order}_{outcome}": count for (order, outcome), count in failover.orders.items()},
        "answers_waiting": len(reports),
        "lines_lost": logs.lines_lost,
        "primary": str(primary.ip) if primary else None,
        "held": [
            {**_place(entry), "held_s": round(now - entry.taken_s, 3)}
            for entry in failover.entries
            if entry.state in HOLDING
        ],
        "in_progress": [
            {**_place(entry), "state": entry.state.name.lower(), "orders": len(entry.orders)}
            for entry in failover.entries
            if entry.state not in HOLDING
        ],
        "trouble": reports.refusal or connection.trouble,
        "unusable": failover.unusable,
    }


def sentence(state: dict[str, Any]) -> str:
    """A snapshot as one sentence for people; it may contain text of the master's, so it must be escaped."""
    if state["connected"]:
        link = f"connected to {state['master']}"
    else:
        why = f": {state['trouble']}" if state["trouble"] else ""
        link = f"not connected to {state['master']} for {state['connection_s']:.0f} s{why}"
    held = ", ".join(f"{entry['address']} for node {entry['node']}" for entry in state["held"])
    parts = [link, f"holding {held or 'no address for others'}"]
    for entry in state["in_progress"]:
        doing = State[entry["state"].upper()].value.replace(";", ",")
        parts.append(f"{entry['address']} for node {entry['node']}: {doing}")
    rtt_ms = state["rtt_ms"]
    parts.append("no round trip yet" if rtt_ms is None else f"last round trip {rtt_ms:.1f} ms")
    if state["unusable"]:
        parts.append(state["unusable"])
    return "; ".join(parts)


def _place(entry: VipState) -> dict[str, Any]:
    return {"node": entry.vip.owner, "address": str(entry.vip.ip), "interface": entry.vip.interface}
