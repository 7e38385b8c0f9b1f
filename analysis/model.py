"""What a story is made of. Times are seconds since 1970, UTC, as the node's own clock wrote them; `zone` is its offset."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone, tzinfo
from typing import NamedTuple

from .parser import Line

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
INCIDENTS = {
    "owner_returned": (PLAIN, "let {address} go: its owner is back ({mac})"),
    "own_conflict": (BAD, "saw its own address {address} used by {mac}, and claimed it back"),
    "address_conflict": (BAD, "saw {address} in use by another machine ({mac}) and let it go"),
    "address_lost": (BAD, "lost {address}: it was removed from the interface, or its lease ran out"),
    "address_restored": (GOOD, "took {address} again: nobody else answers for it"),
    "address_adopted": (PLAIN, "found {address} still on its interface and keeps it"),
    "carrier_lost": (BAD, "has no carrier on {interface}"),
    "carrier_restored": (PLAIN, "has a carrier on {interface} again"),
    "crashed": (BAD, "crashed: {error}"),
    "hung": (BAD, "hung for {since_s} s ({thread}); its watchdog ended it"),
    "interface_missing": (BAD, "does not find its interface {interface}: {reason}"),
    "interface_found": (PLAIN, "found its interface {interface}"),
    "join_refused": (BAD, "was refused by its master: {reason}"),
    "log_lines_lost": (WARN, "lost {count} lines of {file}: its disk was slow or full"),
    "network_unusable": (BAD, "cannot change addresses: {reason}"),
    "notify_failed": (WARN, "ran its NOTIFY_COMMAND in vain ({change})"),
    "order_refused": (WARN, "refused an invalid order: {reason}"),
    "release_failed": (BAD, "could not give {address} back: {reason}"),
}
"""Lines of comms.log that are shown unchanged: how grave each is, and in which words."""
MASTER_EVENTS = {
    "started": (PLAIN, "the master started"),
    "stopping": (PLAIN, "the master was told to stop"),
    "node_dead": (WARN, "the master took node {node} for dead: no ping for {silent_s} s"),
    "node_closed": (WARN, "the master took node {node} for dead: its connection closed"),
    "takeover_ordered": (PLAIN, "the master ordered node {by} to take the address of node {node}"),
    "takeover_withdrawn": (PLAIN, "the master withdrew its order to node {by} about node {node}: {reason}"),
    "join_refused": (WARN, "the master refused a machine that called itself node {node}: {reason}"),
    "nobody_left": (WARN, "the master found nobody left to take the address of node {node}"),
}
"""Of master.log, what the workers' own logs do not say as well; `node_closed` is a `node_dead` with that cause."""


@dataclass(frozen=True, slots=True)
class Span:
    """`end`: None while it lasts where the logs end. `until`: the last moment at which it is known to last, else its end."""

    start: float
    end: float | None
    until: float
    zone: tzinfo = timezone.utc

    @property
    def duration_s(self) -> float:
        """At least so long where `end` is None."""
        return max(0.0, self.until - self.start)


@dataclass(frozen=True, slots=True)
class Outage(Span):
    """A time without a master. `last_answer`: the last acknowledged ping before it; `detail`: what other
    nodes' logs say of it; `at_start`: no connection came before it in this process.
    """

    cause: str = UNKNOWN
    reason: str = ""
    detail: str = ""
    last_answer: float | None = None
    at_start: bool = False


@dataclass(slots=True)
class Process:
    """`end`: "stopped" by order, "silent", or "open" where its log ends. `is_over`: nothing more of a stop will come.
    `started`: None: not in the log. `run`: its id; empty in version 1.0.
    """

    first: float
    last: float
    zone: tzinfo
    started: float | None = None
    end: str = "open"
    is_over: bool = False
    node: int | None = None
    signal: str = ""
    version: str = ""
    run: str = ""
    mac: str = ""

    @property
    def key(self) -> str:
        """What distinguishes it from every other process; empty: its start is not in the log."""
        return self.run or ("" if self.started is None else f"{self.started} {self.version} {self.mac}")


@dataclass(slots=True)
class Attempt:
    """One order at one worker, on the clock of that, which is `ahead_s` ahead. `settled`: when its outcome was logged, None:
    it was not, and `pending` says whether it may still come. `holds` are the times on the interface: an address that was
    claimed and taken again has several. `takeover_ms`: from the order's arrival. `owner_heard`: when the owner's machine last
    answered for the address.
    """

    node: int | None
    address: str | None
    received: float
    zone: tzinfo
    process: int
    active_neighbors: tuple[int, ...] = ()
    outcome: str = ""
    reason: str | None = None
    settled: float | None = None
    takeover_ms: float | None = None
    holds: list[Span] = field(default_factory=list)
    release_reason: str = ""
    owner_heard: float | None = None
    recovery_node: int | None = None
    lane: int = 0
    ahead_s: float = 0.0
    pending: bool = False

    @property
    def taken(self) -> float | None:
        return self.holds[0].start if self.holds else None

    @property
    def released(self) -> float | None:
        """None while it is held, where it was not taken, or where the log does not say."""
        return self.holds[-1].end if self.holds else None


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


class RoundTrips(NamedTuple):
    """Nearest ranks, in milliseconds."""

    p50: float
    p99: float
    max: float


@dataclass
class Lane:
    """One machine that was a node. `node`: None where nothing says its number. `key`: its place in the story.

    `pings` counts each keep-alive whose fate is logged once: answered, missed, or sent to a master that never
    acknowledges. `answered_at` and `answered_ms` are as long as each other and sorted by time. `masters`: when each
    connection was made, and to which URL. `restores`: when which other node was back.
    `incidents`: lines that are shown unchanged. `ahead_s`: by how much its clock is ahead, by so many events that
    others logged too; 0 `clock_events`: nothing shows it.
    """

    name: str
    folders: tuple[str, ...]
    key: int = 0
    node: int | None = None
    first: float = 0.0
    last: float = 0.0
    zone: tzinfo = timezone.utc
    first_zone: tzinfo = timezone.utc
    pings: int = 0
    missed: int = 0
    rtt: RoundTrips | None = None
    outages: list[Outage] = field(default_factory=list)
    silences: list[Span] = field(default_factory=list)
    stops: list[Span] = field(default_factory=list)
    freezes: list[Span] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    incidents: list[Line] = field(default_factory=list)
    answered_at: array[float] = field(default_factory=lambda: array("d"), repr=False)
    answered_ms: array[float] = field(default_factory=lambda: array("d"), repr=False)
    missed_at: array[float] = field(default_factory=lambda: array("d"), repr=False)
    masters: list[tuple[float, str]] = field(default_factory=list)
    restores: list[tuple[float, int]] = field(default_factory=list)
    clock_steps: list[tuple[float, float]] = field(default_factory=list)
    has_comms: bool = True
    has_info: bool = False
    ahead_s: float = 0.0
    clock_events: int = 0

    @property
    def macs(self) -> frozenset[str]:
        return frozenset(one.mac for one in self.processes if one.mac)


@dataclass(frozen=True)
class Story:
    """Lanes by number, failovers by start, lines of master.log. `faults`: what is wrong with the set-up itself, such as one
    NODE_ID on two machines; `caveats`: what the logs do not show. A sentence each.
    """

    lanes: tuple[Lane, ...] = ()
    failovers: tuple[Failover, ...] = ()
    unreadable_lines: int = 0
    master: tuple[Line, ...] = ()
    faults: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    since: float = -math.inf
    until: float = math.inf

    @property
    def outages(self) -> tuple[tuple[Lane, Outage], ...]:
        """Of all lanes, by start."""
        pairs = [(lane, outage) for lane in self.lanes for outage in lane.outages]
        return tuple(sorted(pairs, key=lambda pair: pair[1].start))


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
                "rtt_ms": lane.rtt._asdict() if lane.rtt else {"p50": None, "p99": None, "max": None},
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
