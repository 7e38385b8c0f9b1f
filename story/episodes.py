"""What a story is made of. Times are aware datetimes with the offset that their lines were written with."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Optional


@dataclass(frozen=True)
class RoundTrips:
    """Milliseconds. A percentile is the nearest rank: of n answers in order, the ⌈p·n/100⌉th."""

    p50: float
    p99: float
    max: float


def round_trips(answers_ms: Sequence[float]) -> Optional[RoundTrips]:
    """None: no ping was answered."""
    if not answers_ms:
        return None
    ranked = sorted(answers_ms)
    p50, p99 = (ranked[math.ceil(percent * len(ranked) / 100) - 1] for percent in (50, 99))
    return RoundTrips(p50, p99, ranked[-1])


def _between(start: datetime, end: datetime) -> float:
    # a clock that was put back in between leaves no duration that could be known
    return max(0.0, (end - start).total_seconds())


@dataclass(frozen=True)
class Outage:
    """A running worker without its master. `end`: None where that process did not see it end; then `until` is
    its last line, and the duration is what is known of it.
    """

    start: datetime
    end: Optional[datetime]
    until: datetime
    reason: str

    @property
    def duration_s(self) -> float:
        return _between(self.start, self.until)


@dataclass(frozen=True)
class Run:
    """One process of a worker, as far as its logs go. `started`: None where the log begins later than it.
    `ended`: "stopped" by itself or a signal; "silent", it was killed, or its machine died, and nobody wrote
    so; "open", its log ends, and nothing tells why.
    """

    first: datetime
    last: datetime
    started: Optional[datetime]
    version: str
    ended: str
    signal: Optional[str]


@dataclass(frozen=True)
class Silence:
    """Nothing was written though no stop was. `end`: the next process's `started`; None: the log ends."""

    start: datetime
    end: Optional[datetime]


@dataclass(frozen=True)
class Incident:
    """A line that belongs in the story as it is, such as `address_conflict`."""

    when: datetime
    event: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Failover:
    """One order at one worker. `settled`: when its outcome was logged; None: it was not. `released`: None
    where it was not taken, or the logs do not show its end; then `still_held` says whether they end while it
    is held. `takeover_ms`: from the order's arrival.
    """

    disconnected_node: Optional[int]
    recovery_node: Optional[int]
    address: Optional[str]
    outcome: str
    reason: Optional[str]
    received: datetime
    settled: Optional[datetime]
    taken: Optional[datetime]
    released: Optional[datetime]
    takeover_ms: Optional[float]
    release_reason: Optional[str]
    still_held: bool

    @property
    def held_s(self) -> Optional[float]:
        """None: not taken, or its end is not known."""
        if self.taken is None or self.released is None:
            return None
        return _between(self.taken, self.released)


@dataclass(frozen=True)
class NodeStory:
    """One node. `node`: None where nothing tells its number; `folders` says whose logs these are.

    `pings` counts each keep-alive whose fate is logged, once: answered in time, missed, or sent to a master
    that never acknowledged. A late answer's ping is one, and missed; its round trip is among the others, so
    that the slowest are not left out. What was under way when a connection ended is in no log.

    `answered_at` (seconds since 1970) and `answered_ms` are as long as each other, in the order of time.
    """

    node: Optional[int]
    folders: tuple[str, ...]
    first: datetime
    last: datetime
    pings: int
    missed: int
    rtt: Optional[RoundTrips]
    outages: tuple[Outage, ...]
    silences: tuple[Silence, ...]
    runs: tuple[Run, ...]
    incidents: tuple[Incident, ...]
    answered_at: array[float]
    answered_ms: array[float]
    missed_at: array[float]

    @property
    def name(self) -> str:
        return f"node {self.node}" if self.node is not None else f"the node of {', '.join(self.folders)}"


@dataclass(frozen=True)
class Story:
    """Nodes by number, failovers by their order's arrival."""

    nodes: tuple[NodeStory, ...]
    failovers: tuple[Failover, ...]
    unreadable_lines: int


def _stamp(when: Optional[datetime]) -> Optional[str]:
    return when.isoformat(timespec="milliseconds") if when else None


def as_json(story: Story) -> dict[str, Any]:
    """The object that `diagnose.py --json` prints (CONTRACT §6). Where no ping was answered, the round trips
    are null; an outage whose end is null lasted at least its duration_s.
    """
    return {
        "nodes": [
            {
                "node": node.node,
                "from": _stamp(node.first),
                "to": _stamp(node.last),
                "pings": node.pings,
                "missed": node.missed,
                "rtt_ms": {
                    "p50": node.rtt.p50 if node.rtt else None,
                    "p99": node.rtt.p99 if node.rtt else None,
                    "max": node.rtt.max if node.rtt else None,
                },
                "outages": [
                    {
                        "start": _stamp(outage.start),
                        "end": _stamp(outage.end),
                        "duration_s": round(outage.duration_s, 3),
                        "reason": outage.reason,
                    }
                    for outage in node.outages
                ],
            }
            for node in story.nodes
        ],
        "failovers": [
            {
                "disconnected_node": failover.disconnected_node,
                "recovery_node": failover.recovery_node,
                "address": failover.address,
                "outcome": failover.outcome,
                "reason": failover.reason,
                "received": _stamp(failover.received),
                "taken": _stamp(failover.taken),
                "released": _stamp(failover.released),
                "takeover_ms": failover.takeover_ms,
            }
            for failover in story.failovers
        ],
        "unreadable_lines": story.unreadable_lines,
    }
