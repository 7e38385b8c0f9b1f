"""Who held an address that is another's, and for how long nobody or two did. Times as in episodes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Optional

from .moments import stamp


@dataclass(frozen=True)
class Hold:
    """From the moment a worker had an address to the one it was off its interface. `end` None: no line shows
    it; then `until` is the last line of the process that held it, and `lasts` tells whether the log ends there.
    """

    start: datetime
    end: Optional[datetime]
    until: datetime
    lasts: bool = False


@dataclass(frozen=True)
class Holder:
    node: Optional[int]
    hold: Hold


@dataclass(frozen=True)
class Stretch:
    """A part of an absence. `start` and `end` are times of the nodes that wrote those lines, `duration_s` is
    what lies between them after their clocks were laid side by side. `end` None: it lasts where the logs end,
    and `duration_s` is what is known of it. `nodes`: those who had the address.
    """

    start: datetime
    end: Optional[datetime]
    duration_s: float
    nodes: tuple[Optional[int], ...] = ()


@dataclass(frozen=True)
class Absence:
    """A node whose address others were ordered to take: one failover, across all nodes.

    `start`: its last sign of life, `end`: when it was back with the master; None: no log tells. `cause`:
    "silent", "stopped", "frozen", "without the master" or "unknown". `failovers`: places of its orders in
    the story's. `gaps`: what nobody is known to have held the address for, at the most: a machine whose worker
    alone is gone goes on answering. `doubles`: what two are known to have held it for. `unknown`: what the
    logs do not tell of it.
    """

    node: int
    address: Optional[str]
    start: Optional[datetime]
    end: Optional[datetime]
    cause: str
    failovers: tuple[int, ...]
    holders: tuple[Holder, ...]
    gaps: tuple[Stretch, ...]
    doubles: tuple[Stretch, ...]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offset:
    """How far a node's clock is ahead of the others'. Zero for the one that the others are measured against.

    `events`: how many of the logs' events tell it, 0: none, and `offset_s` is not known (0.0); `spread_s`: by
    how much they disagree.
    """

    node: int
    offset_s: float
    events: int
    spread_s: float


def absence_as_json(absence: Absence) -> dict[str, Any]:
    return {
        "node": absence.node,
        "address": absence.address,
        "start": stamp(absence.start),
        "end": stamp(absence.end),
        "cause": absence.cause,
        "failovers": list(absence.failovers),
        "holders": [
            {
                "node": one.node,
                "from": stamp(one.hold.start),
                "to": stamp(one.hold.end),
                "still_held": one.hold.lasts,
            }
            for one in absence.holders
        ],
        "gaps": [_stretch(gap) for gap in absence.gaps],
        "doubles": [{**_stretch(double), "nodes": list(double.nodes)} for double in absence.doubles],
        "unknown": list(absence.unknown),
    }


def _stretch(stretch: Stretch) -> dict[str, Any]:
    return {
        "start": stamp(stretch.start),
        "end": stamp(stretch.end),
        "duration_s": round(stretch.duration_s, 3),
    }
