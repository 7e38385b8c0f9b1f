"""The worker's state at one moment: for the service manager a sentence, for logs and scripts fields. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from failover.states import HOLDING, State, VipState

IN_PROGRESS = {
    State.PROBING: "probing",
    State.OWNER_ALIVE: "waiting for its owner to fall silent",
    State.IN_CONFLICT: "released after a conflict, probing",
    State.LOST: "gone from the interface, probing",
    State.ADOPTING: "left by an earlier run, probing",
}
"""What the worker does about an address that it does not hold (yet, or any more)."""


@dataclass(frozen=True)
class Snapshot:
    """Counts are since the start; names that end in `_s` are seconds; `run` identifies this process in the logs.

    `connection_s` is how long the connection has lasted, or how long there has been none; `answer_age_s` the time
    since the master last answered; `orders` a number for each order and outcome. None means: `transport`: there is
    no connection; `trouble`: nothing failed; `rtt_s`, `answer_age_s`: no answer yet; `primary`: the node's own address
    is not known; `unusable`: this worker can change addresses.
    """

    up: bool
    node: int
    version: str
    run: str
    pid: int
    backend: str
    uptime_s: float
    master: str
    transport: str | None
    connection_s: float
    trouble: str | None
    reconnects: int
    pings_sent: int
    pings_missed: int
    rtt_s: float | None
    answer_age_s: float | None
    primary: str | None
    unusable: str | None
    entries: tuple[VipState, ...]
    answers_waiting: int
    orders: Mapping[tuple[str, str], int]
    lines_lost: int

    @property
    def connected(self) -> bool:
        return self.transport is not None

    @property
    def held(self) -> list[VipState]:
        return [entry for entry in self.entries if entry.state in HOLDING]

    @property
    def in_progress(self) -> list[VipState]:
        return [entry for entry in self.entries if entry.state in IN_PROGRESS]

    def sentence(self) -> str:
        """One sentence for people; it may contain text of the master's, so it must be escaped."""
        if self.connected:
            link = f"connected to {self.master}"
        else:
            why = f": {self.trouble}" if self.trouble else ""
            link = f"not connected to {self.master} for {self.connection_s:.0f} s{why}"
        parts = [
            link,
            f"holding {', '.join(map(_name, self.held)) or 'no address for others'}",
            *(f"{_name(entry)}: {IN_PROGRESS[entry.state]}" for entry in self.in_progress),
            "no round trip yet" if self.rtt_s is None else f"last round trip {self.rtt_s * 1000:.1f} ms",
        ]
        if self.unusable:
            parts.append(self.unusable)
        return "; ".join(parts)

    def fields(self, now: float) -> dict[str, Any]:
        """All of it as JSON types, the long ones last, since a line of a log is cut at its end.

        `now` is the monotonic time of the snapshot.
        """
        return {
            "node": self.node,
            "version": self.version,
            "run": self.run,
            "pid": self.pid,
            "backend": self.backend,
            "uptime_s": round(self.uptime_s, 3),
            "connected": self.connected,
            "master": self.master,
            "transport": self.transport,
            "connection_s": round(self.connection_s, 3),
            "reconnects": self.reconnects,
            "pings_sent": self.pings_sent,
            "pings_missed": self.pings_missed,
            "rtt_ms": None if self.rtt_s is None else round(self.rtt_s * 1000, 3),
            "answer_age_s": None if self.answer_age_s is None else round(self.answer_age_s, 3),
            "orders": {f"{order}_{outcome}": count for (order, outcome), count in self.orders.items()},
            "answers_waiting": self.answers_waiting,
            "lines_lost": self.lines_lost,
            "primary": self.primary,
            "held": [{**_place(entry), "held_s": round(now - entry.taken_s, 3)} for entry in self.held],
            "in_progress": [
                {
                    **_place(entry),
                    "state": entry.state.name.lower(),
                    "orders": len(entry.orders),
                }
                for entry in self.in_progress
            ],
            "trouble": self.trouble,
            "unusable": self.unusable,
        }


def _name(entry: VipState) -> str:
    return f"{entry.vip.ip} for node {entry.vip.owner}"


def _place(entry: VipState) -> dict[str, Any]:
    return {"node": entry.vip.owner, "address": str(entry.vip.ip), "interface": entry.vip.interface}
