"""What a story is made of. Times are aware datetimes with the offset that their lines were written with."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Optional, Union

from .holding import Absence, Hold, Offset, absence_as_json
from .moments import Spans, length, stamp


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
    its last line, and the duration is what is known of it. `cause`: one of causes.CAUSES; `detail`: what
    tells it beside the reason, empty: nothing. `last_answer`: the last ping that was answered before; None:
    there is none in the log. The master was away from some moment between it and `start` on.
    """

    start: datetime
    end: Optional[datetime]
    until: datetime
    reason: str
    cause: str = "unknown"
    detail: str = ""
    last_answer: Optional[datetime] = None

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
    """Nothing was written though no stop was. `end`: the next process's `started`; None: the log ends.
    `duration_s`: None where it has no end, or the clock was earlier then.
    """

    start: datetime
    end: Optional[datetime]

    @property
    def duration_s(self) -> Optional[float]:
        return (self.end - self.start).total_seconds() if self.end and self.end >= self.start else None


@dataclass(frozen=True)
class Span:
    """`end` None: it lasts where the log ends."""

    start: datetime
    end: Optional[datetime]


@dataclass(frozen=True)
class Step:
    """A wall clock that was set: by `seconds`, below 0: back. `when` is the first line that shows it."""

    when: datetime
    seconds: float


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
    is held. `takeover_ms`: from the order's arrival. `holds`: when it was on the interface; what was claimed
    by others, and taken again, has several. `active_neighbours`: whom the order names as alive. `owner_alive`:
    when the wire was last heard to answer for it before it was taken; None: it was not. `pending`: the log ends
    before its outcome.
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
    holds: tuple[Hold, ...] = ()
    active_neighbours: tuple[int, ...] = ()
    owner_alive: Optional[datetime] = None
    pending: bool = False

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

    `known`: the time of which its logs tell whether it had a master, `connected`: when it had one. `stops`:
    from a stop that it was told to the next start; `freezes`: when the process or its machine stood still;
    `holes`: when nothing was written by a process that went on, and nothing says why. `neighbours`: whose
    addresses it may be ordered to take, as it said itself. `comms`: whether there is a line of
    comms.log, `has_info`: one of the level INFO. `masters`: when each connection was made, and with which URL; empty: it is not logged.
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
    known: Spans = ()
    connected: Spans = ()
    stops: tuple[Span, ...] = ()
    freezes: tuple[Span, ...] = ()
    holes: tuple[Span, ...] = ()
    steps: tuple[Step, ...] = ()
    neighbours: tuple[int, ...] = ()
    comms: bool = True
    has_info: bool = True
    masters: tuple[tuple[float, str], ...] = ()

    @property
    def availability(self) -> Optional[float]:
        """Percent of the known time with a connection to the master; None: no time is known."""
        start, end = self.first.timestamp(), self.last.timestamp()
        known_s = length(self.known, start, end)
        return 100 * min(1.0, length(self.connected, start, end) / known_s) if known_s > 0 else None

    @property
    def name(self) -> str:
        return f"node {self.node}" if self.node is not None else f"the node of {', '.join(self.folders)}"


@dataclass(frozen=True)
class Story:
    """Nodes by number, failovers by their order's arrival, absences by their start. `unreadable`: the lines
    that do not fit, by what is wrong with them. `offsets`: of each node's clock, empty where there is but one
    node. `unknown`: what the logs do not tell, a sentence each. `window`: what was asked for, from and to,
    seconds since 1970. `nothing`: why there is no node, where there is none.
    """

    nodes: tuple[NodeStory, ...]
    failovers: tuple[Failover, ...]
    unreadable_lines: int
    absences: tuple[Absence, ...] = ()
    offsets: tuple[Offset, ...] = ()
    unknown: tuple[str, ...] = ()
    unreadable: Mapping[str, int] = field(default_factory=dict)
    window: tuple[float, float] = (-math.inf, math.inf)
    nothing: str = "no line could be read"


def as_json(story: Story) -> dict[str, Any]:
    """The object that `diagnose.py --json` prints (CONTRACT §6). Where no ping was answered, the round trips
    are null; an outage whose end is null lasted at least its duration_s.
    """
    return {
        "nodes": [_node(node) for node in story.nodes],
        "failovers": [
            {
                "disconnected_node": failover.disconnected_node,
                "recovery_node": failover.recovery_node,
                "address": failover.address,
                "outcome": failover.outcome,
                "reason": failover.reason,
                "received": stamp(failover.received),
                "taken": stamp(failover.taken),
                "released": stamp(failover.released),
                "takeover_ms": failover.takeover_ms,
                "pending": failover.pending,
            }
            for failover in story.failovers
        ],
        "unreadable_lines": story.unreadable_lines,
        "unreadable": dict(story.unreadable),
        "absences": [absence_as_json(absence) for absence in story.absences],
        "clock_skew": [
            {
                "node": one.node,
                "offset_s": round(one.offset_s, 3) if one.events else None,
                "events": one.events,
                "spread_s": round(one.spread_s, 3) if one.events else None,
            }
            for one in story.offsets
        ],
        "unknown": list(story.unknown),
    }


def _node(node: NodeStory) -> dict[str, Any]:
    availability = node.availability
    return {
        "node": node.node,
        "from": stamp(node.first),
        "to": stamp(node.last),
        "pings": node.pings,
        "missed": node.missed,
        "rtt_ms": {
            "p50": node.rtt.p50 if node.rtt else None,
            "p99": node.rtt.p99 if node.rtt else None,
            "max": node.rtt.max if node.rtt else None,
        },
        "outages": [
            {
                "start": stamp(outage.start),
                "end": stamp(outage.end),
                "duration_s": round(outage.duration_s, 3),
                "reason": outage.reason,
                "cause": outage.cause,
                "detail": outage.detail or None,
                "last_answer": stamp(outage.last_answer),
            }
            for outage in node.outages
        ],
        "availability": None if availability is None else round(availability, 4),
        "silences": _spans(node.silences),
        "stops": _spans(node.stops),
        "freezes": _spans(node.freezes),
        "holes": _spans(node.holes),
        "clock_steps": [{"at": stamp(step.when), "seconds": round(step.seconds, 3)} for step in node.steps],
        "incidents": [
            {"at": stamp(one.when), "event": one.event, "fields": dict(one.fields)} for one in node.incidents
        ],
        "folders": list(node.folders),
    }


def _spans(those: Iterable[Union[Silence, Span]]) -> list[dict[str, Optional[str]]]:
    return [{"start": stamp(one.start), "end": stamp(one.end)} for one in those]
