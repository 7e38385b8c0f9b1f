"""What a story is made of. Times are seconds since 1970, UTC, as the node's own clock wrote them; `zone` is its offset."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone, tzinfo

CAUSES = ("master_gone", "network", "no_answer", "refused", "tls", "not_a_master", "frozen", "own_stop")
"""Why a connection was lost, as the worker's own lines say; version 1.0 did not, and its reasons are read instead."""
SILENT, UNKNOWN = "silent", "unknown"
"""Further causes of an absence: nothing was logged, as after a kill or a power cut; no log shows why."""


BAD, WARN, GOOD, PLAIN = "bad", "warn", "good", "plain"
"""How grave a sentence or a row is."""
CAUSE_WORDS = {
    "master_gone": "the master was gone",
    "network": "its own network",
    "no_answer": "no answer from the master",
    "refused": "the master refused it",
    "tls": "TLS failed",
    "not_a_master": "MASTER_URL is not a master",
    "frozen": "its process stood still",
    "own_stop": "it was stopped",
    SILENT: "nothing was logged",
    UNKNOWN: "the logs do not say why",
}


@dataclass(frozen=True, slots=True)
class Span:
    """`end`: None while it lasts where the logs end. `until`: the last moment at which it is known to last."""

    start: float
    end: float | None
    until: float
    zone: tzinfo = timezone.utc

    @property
    def duration_s(self) -> float:
        """At least so long where `end` is None."""
        return max(0.0, (self.until if self.end is None else self.end) - self.start)


@dataclass(frozen=True, slots=True)
class Outage(Span):
    """A time without a master. `last_answer`: the last acknowledged ping before it; `errors`: of attempts meanwhile;
    `detail`: what other nodes' logs say of it; `at_start`: no connection came before it in this process.
    """

    cause: str = UNKNOWN
    reason: str = ""
    detail: str = ""
    last_answer: float | None = None
    at_start: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """`end`: "stopped" as it was told, "silent" or "open" where its log ends. `run`: its id; empty in version 1.0."""

    first: float
    last: float
    started: float | None
    end: str
    signal: str = ""
    version: str = ""
    run: str = ""
    mac: str = ""
    zone: tzinfo = timezone.utc


@dataclass(frozen=True, slots=True)
class Incident:
    """A line that is told as it stands, such as `address_conflict`."""

    at: float
    event: str
    fields: Mapping[str, str]
    zone: tzinfo = timezone.utc


@dataclass(frozen=True, slots=True)
class Attempt:
    """One order at one worker. `settled`: when its outcome was logged, None: it was not, and `pending` says whether
    it may still come. `released`: None while it is held, where it was not taken, or where the log does not say;
    `holds` are the times on the interface: an address that was claimed and taken again has several. `takeover_ms`:
    from the order's arrival. `owner_heard`: when the owner's machine last answered for the address.
    """

    node: int | None
    recovery_node: int | None
    lane: int
    address: str | None
    outcome: str
    reason: str | None
    received: float
    settled: float | None
    taken: float | None
    released: float | None
    takeover_ms: float | None
    release_reason: str
    holds: tuple[Span, ...] = ()
    owner_heard: float | None = None
    active_neighbors: tuple[int, ...] = ()
    pending: bool = False
    zone: tzinfo = timezone.utc


@dataclass(frozen=True, slots=True)
class Failover:
    """One absence of a node's owner with the orders about it.

    `start`: its last sign of life, or, where `start_known` is false, the first order; `end`: when it had the master
    again, None: not seen. `gaps`: nobody served the address; `doubles`: two did. `owner_heard`: its machine went on
    answering for the address. `caveats`: what the logs do not show of it.
    """

    node: int
    address: str | None
    start: float
    end: float | None
    cause: str
    attempts: tuple[Attempt, ...]
    gaps: tuple[Span, ...] = ()
    doubles: tuple[Span, ...] = ()
    owner_heard: bool = False
    start_known: bool = True
    lane: int | None = None
    caveats: tuple[str, ...] = ()
    zone: tzinfo = timezone.utc

    @property
    def unserved_s(self) -> float:
        return sum(gap.duration_s for gap in self.gaps)

    @property
    def doubled_s(self) -> float:
        return sum(double.duration_s for double in self.doubles)

    @property
    def taken(self) -> Attempt | None:
        """The first that took the address over; None: nobody did."""
        return next((one for one in self.attempts if one.outcome == "taken"), None)


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Nearest ranks, in milliseconds."""

    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Lane:
    """One machine that was a node. `node`: None where nothing says its number. `key`: its place in the story.

    `pings` counts each keep-alive whose fate is logged once: answered, missed, or sent to a master that never
    acknowledges. `answered_at` and `answered_ms` are as long as each other and sorted by time. `masters`: when each
    connection was made, and to which URL. `asked`: what other nodes logged too, by which clocks are compared.
    """

    key: int
    node: int | None
    name: str
    folders: tuple[str, ...]
    first: float
    last: float
    zone: tzinfo
    pings: int
    missed: int
    rtt: RoundTrips | None
    outages: tuple[Outage, ...]
    silences: tuple[Span, ...]
    stops: tuple[Span, ...]
    freezes: tuple[Span, ...]
    processes: tuple[Process, ...]
    incidents: tuple[Incident, ...]
    answered_at: Sequence[float] = field(default_factory=lambda: array("d"), repr=False)
    answered_ms: Sequence[float] = field(default_factory=lambda: array("d"), repr=False)
    missed_at: Sequence[float] = field(default_factory=lambda: array("d"), repr=False)
    masters: tuple[tuple[float, str], ...] = ()
    asked: tuple[tuple[float, str, int], ...] = ()
    clock_steps: tuple[tuple[float, float], ...] = ()
    has_comms: bool = True
    has_info: bool = True
    first_zone: tzinfo = timezone.utc

    @property
    def macs(self) -> frozenset[str]:
        return frozenset(one.mac for one in self.processes if one.mac)


@dataclass(frozen=True, slots=True)
class Offset:
    """How far a lane's clock is ahead, by so many events that others logged too; `events` 0: nothing tells."""

    lane: int
    ahead_s: float
    events: int
    spread_s: float = 0.0


@dataclass(frozen=True, slots=True)
class MasterEvent:
    """A line of master.log that the story uses. `node`: whom it is about."""

    at: float
    event: str
    node: int | None
    fields: Mapping[str, str]
    zone: tzinfo = timezone.utc


@dataclass(frozen=True, slots=True)
class Story:
    """Lanes by number, failovers by start. `faults`: what is wrong with the set-up itself, such as one NODE_ID on two
    machines; `caveats`: what the logs do not show. A sentence each.
    """

    lanes: tuple[Lane, ...] = ()
    failovers: tuple[Failover, ...] = ()
    unreadable_lines: int = 0
    offsets: tuple[Offset, ...] = ()
    master: tuple[MasterEvent, ...] = ()
    faults: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    since: float = -math.inf
    until: float = math.inf

    @property
    def outages(self) -> tuple[tuple[Lane, Outage], ...]:
        """Of all lanes, by start."""
        pairs = [(lane, outage) for lane in self.lanes for outage in lane.outages]
        return tuple(sorted(pairs, key=lambda pair: pair[1].start))

    def ahead_s(self, lane: int | None) -> float:
        """By how much that lane's clock is taken for ahead."""
        return next((one.ahead_s for one in self.offsets if one.lane == lane), 0.0)


def round_trips(milliseconds: Sequence[float]) -> RoundTrips | None:
    """Percentiles of them; None: there are none."""
    if not milliseconds:
        return None
    ranked = sorted(milliseconds)

    def rank(share: float) -> float:
        return round(ranked[max(0, math.ceil(share * len(ranked)) - 1)], 3)

    return RoundTrips(rank(0.5), rank(0.99), rank(1.0))


def iso(at: float | None, zone: tzinfo) -> str | None:
    """As ISO 8601 with offset and milliseconds; None stays None."""
    if at is None:
        return None
    return datetime.fromtimestamp(round(at, 3), zone).isoformat(timespec="milliseconds")


def as_json(story: Story) -> dict[str, object]:
    """The object that `diagnose.py --json` prints. An outage whose end is null lasted at least its duration_s."""
    return {
        "nodes": [
            {
                "node": lane.node,
                "from": iso(lane.first, lane.first_zone),
                "to": iso(lane.last, lane.zone),
                "pings": lane.pings,
                "missed": lane.missed,
                "rtt_ms": {
                    "p50": lane.rtt.p50 if lane.rtt else None,
                    "p99": lane.rtt.p99 if lane.rtt else None,
                    "max": lane.rtt.max if lane.rtt else None,
                },
                "outages": [
                    {
                        "start": iso(one.start, one.zone),
                        "end": iso(one.end, one.zone),
                        "duration_s": round(one.duration_s, 3),
                        "cause": one.cause,
                        "reason": one.reason,
                    }
                    for one in lane.outages
                ],
            }
            for lane in story.lanes
        ],
        "failovers": [
            {
                "node": one.node,
                "address": one.address,
                "start": iso(one.start, one.zone),
                "end": iso(one.end, one.zone),
                "cause": one.cause,
                "unserved_s": round(one.unserved_s, 3),
                "doubled_s": round(one.doubled_s, 3),
                "attempts": [
                    {
                        "recovery_node": attempt.recovery_node,
                        "outcome": attempt.outcome,
                        "reason": attempt.reason,
                        "received": iso(attempt.received, attempt.zone),
                        "taken": iso(attempt.taken, attempt.zone),
                        "released": iso(attempt.released, attempt.zone),
                        "takeover_ms": attempt.takeover_ms,
                    }
                    for attempt in one.attempts
                ],
            }
            for one in story.failovers
        ],
        "unreadable_lines": story.unreadable_lines,
    }
