"""How the worker stands: one snapshot, for the service manager in words, for comms.log in fields. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from failover.states import HOLDING, State, VipState

STATES = {
    State.PROBING: "asking for",
    State.OWNER_ALIVE: "waiting for",
    State.IN_CONFLICT: "in doubt about",
    State.LOST: "trying to get back",
    State.ADOPTING: "looking after",
}
"""What the worker is doing about an address that it does not (yet, or any more) hold."""


@dataclass(frozen=True)
class Snapshot:
    """Counts are since the start, names that end in `_s` are seconds, `answer_age_s` since the master last answered.

    None means: `transport`: there is no connection; `trouble`: nothing failed; `rtt_s`, `answer_age_s`: no answer
    yet; `primary`: the own address is not known; `unusable`: this worker can change addresses. `link_s` is for
    how long the connection stands, or for how long there is none; `orders` has a number for each order and outcome.
    """

    up: bool
    node: int
    version: str
    pid: int
    backend: str
    uptime_s: float
    master: str
    transport: Optional[str]
    link_s: float
    trouble: Optional[str]
    reconnects: int
    pings_sent: int
    pings_missed: int
    rtt_s: Optional[float]
    answer_age_s: Optional[float]
    primary: Optional[str]
    unusable: Optional[str]
    claims: tuple[VipState, ...]
    answers_waiting: int
    orders: Mapping[tuple[str, str], int]
    lines_lost: int

    @property
    def connected(self) -> bool:
        return self.transport is not None

    @property
    def held(self) -> list[VipState]:
        return [claim for claim in self.claims if claim.state in HOLDING]

    def words(self) -> str:
        """One sentence for a person; it may hold text of the master's, so it is to be escaped."""
        if self.connected:
            link = f"connected to {self.master}"
        else:
            why = f": {self.trouble}" if self.trouble else ""
            link = f"not connected to {self.master} for {self.link_s:.0f} s{why}"
        doing = [f"{STATES[claim.state]} {_named(claim)}" for claim in self.claims if claim.state in STATES]
        parts = [
            link,
            f"holding {', '.join(map(_named, self.held)) or 'no address for others'}",
            *doing,
            "no round trip yet" if self.rtt_s is None else f"last round trip {self.rtt_s * 1000:.1f} ms",
        ]
        if self.unusable:
            parts.append(self.unusable)
        return "; ".join(parts)

    def fields(self, now: float) -> dict[str, object]:
        """All of it, for one line of a log; the long ones come last, since a line is cut at its end."""
        orders = {f"{order}_{outcome}": count for (order, outcome), count in self.orders.items()}
        return {
            "node": self.node,
            "version": self.version,
            "pid": self.pid,
            "backend": self.backend,
            "uptime_s": self.uptime_s,
            "connected": self.connected,
            "master": self.master,
            "transport": self.transport,
            "link_s": self.link_s,
            "reconnects": self.reconnects,
            "pings_sent": self.pings_sent,
            "pings_missed": self.pings_missed,
            "rtt_ms": None if self.rtt_s is None else self.rtt_s * 1000,
            "answer_age_s": self.answer_age_s,
            "held": len(self.held),
            **orders,
            "answers_waiting": self.answers_waiting,
            "lines_lost": self.lines_lost,
            "primary": self.primary,
            "claims": {claim.vip.owner: _told(claim, now) for claim in self.claims},
            "trouble": self.trouble,
            "unusable": self.unusable,
        }


def _named(claim: VipState) -> str:
    return f"{claim.vip.ip} for node {claim.vip.owner}"


def _told(claim: VipState, now: float) -> dict[str, object]:
    held_s = {"held_s": round(now - claim.taken_s, 2)} if claim.state in HOLDING else {}
    place = {"address": str(claim.vip.ip), "interface": claim.vip.interface}
    return {**place, "state": claim.state.name.lower(), **held_s}
