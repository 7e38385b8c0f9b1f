"""How far the nodes' clocks are apart, told by what two logs must have seen at one moment. No I/O.

A worker's log has one end of its talk with the master only, but the master passes things on at once: a node
that joins again is what another is asked to `restore` for, a refusal is what the next neighbour is ordered
for, and a master that goes cuts all connections at one time. Each pair of such lines is a vote for the
difference of two clocks; most of the votes between events that have nothing to do with each other fall apart,
those of true pairs fall together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple, Optional

from .causes import MASTER_GONE, NO_BEGINNING, START_REASON
from .episodes import Failover, NodeStory
from .holding import Offset
from .moments import seconds

TOGETHER_S = 0.5
"""Votes that differ by less are taken for one difference."""
EVENTS = 30
"""The last events of a kind that vote."""
ALIKE = 0.7
"""Where a smaller difference has so much of the votes that the likeliest has, none is believed."""
APART_S = 1.0
"""Clocks that differ by less are told to agree."""
FEW_S = 0.5
"""A difference below this is believed of a single pair; of a larger one that may be chance."""


class Call(NamedTuple):
    """A line that another node's log may have an echo of. `kind`: "joined", or "asked back" for the node
    `about`.
    """

    at: float
    kind: str
    about: Optional[int]


@dataclass
class _Events:
    """Seconds since 1970 by what happened; those that name a node by it."""

    lost: list[float] = field(default_factory=list)
    joined: list[float] = field(default_factory=list)
    asked_back: dict[int, list[float]] = field(default_factory=dict)
    refused: dict[int, list[float]] = field(default_factory=dict)
    ordered: dict[int, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Difference:
    seconds: float
    votes: int
    spread_s: float


def offsets(
    nodes: Sequence[NodeStory], failovers: Sequence[Failover], calls: Mapping[int, Sequence[Call]]
) -> tuple[Offset, ...]:
    """How far each node's clock is ahead; empty where there are not two nodes. `calls`: each node's."""
    events = _collect(nodes, failovers, calls)
    numbers = sorted(events)
    if len(numbers) < 2:
        return ()
    edges: dict[tuple[int, int], _Difference] = {}
    for place, one in enumerate(numbers):
        for other in numbers[place + 1 :]:
            found = _difference(sorted(_votes(one, events[one], other, events[other])))
            if found:
                edges[one, other] = found
    return _joined(numbers, edges)


def told(one: Offset) -> bool:
    """Whether the clock is off by enough to be said, and to be allowed for."""
    return one.events > 0 and abs(one.offset_s) >= max(APART_S, one.spread_s)


def allowed_for(found: Sequence[Offset]) -> dict[Optional[int], float]:
    """Seconds by which to take each clock for ahead: what is not told is not allowed for either. A node that
    is not among them could not be compared.
    """
    return {one.node: one.offset_s if told(one) else 0.0 for one in found if one.events}


def _collect(
    nodes: Sequence[NodeStory], failovers: Sequence[Failover], calls: Mapping[int, Sequence[Call]]
) -> dict[int, _Events]:
    events: dict[int, _Events] = {}
    for node in nodes:
        if node.node is None:
            continue
        its = events[node.node] = _Events()
        its.lost = [
            seconds(outage.start)
            for outage in node.outages
            if outage.cause == MASTER_GONE and not outage.reason.startswith((START_REASON, NO_BEGINNING))
        ][-EVENTS:]
        for call in calls.get(node.node, ()):
            if call.kind == "joined":
                its.joined.append(call.at)
            elif call.about is not None:
                its.asked_back.setdefault(call.about, []).append(call.at)
        del its.joined[:-EVENTS]
    for failover in failovers:
        where = events.get(failover.recovery_node) if failover.recovery_node is not None else None
        if where is None or failover.disconnected_node is None:
            continue
        where.ordered.setdefault(failover.disconnected_node, []).append(seconds(failover.received))
        if failover.taken is None and failover.settled:
            where.refused.setdefault(failover.disconnected_node, []).append(seconds(failover.settled))
        elif failover.release_reason == "stopping" and failover.released:
            where.refused.setdefault(failover.disconnected_node, []).append(seconds(failover.released))
    return events


def _votes(one: int, its: _Events, other: int, others: _Events) -> Iterator[tuple[float, int, int]]:
    """The other clock's time minus the one's, and which event of each says so."""
    pairs = [
        (its.lost, others.lost),
        (its.joined, others.asked_back.get(one, [])),
        (its.asked_back.get(other, []), others.joined),
        *((refused, others.ordered.get(node, [])) for node, refused in its.refused.items()),
        *((its.ordered.get(node, []), refused) for node, refused in others.refused.items()),
    ]
    for kind, (mine, theirs) in enumerate(pairs):
        for i, at in enumerate(mine[-EVENTS:]):
            for j, there in enumerate(theirs[-EVENTS:]):
                yield there - at, kind << 16 | i, kind << 16 | j


def _difference(votes: Sequence[tuple[float, int, int]]) -> Optional[_Difference]:
    """The difference for which most events speak; None: too few do, or as many speak for another one."""
    bundles: list[_Difference] = []
    end = 0
    for begin, vote in enumerate(votes):
        end = max(end, begin)
        while end < len(votes) and votes[end][0] - vote[0] <= TOGETHER_S:
            end += 1
        inside = votes[begin:end]
        count = min(len({mine for _, mine, _ in inside}), len({theirs for _, _, theirs in inside}))
        values = [value for value, _, _ in inside]
        bundles.append(_Difference(median(values), count, values[-1] - values[0]))
    if not bundles:
        return None
    best = max(bundles, key=lambda bundle: (bundle.votes, -abs(bundle.seconds)))
    if abs(best.seconds) <= FEW_S:
        return best
    # what repeats itself, such as a restart each hour, speaks for differences that are none
    rivals = (
        bundle
        for bundle in bundles
        if bundle.votes >= ALIKE * best.votes
        and (bundle.votes == best.votes or abs(bundle.seconds) < abs(best.seconds))
        and abs(bundle.seconds - best.seconds) > 2 * TOGETHER_S
    )
    return None if best.votes < 2 or any(rivals) else best


def _joined(numbers: Sequence[int], edges: Mapping[tuple[int, int], _Difference]) -> tuple[Offset, ...]:
    """Each node against the first, by the differences that most events speak for; then against the middle one,
    so that a clock that is off alone is told to be it.
    """
    either = {**edges}
    for (one, other), found in edges.items():
        either[other, one] = _Difference(-found.seconds, found.votes, found.spread_s)
    root = max(
        numbers, key=lambda node: (sum(e.votes for pair, e in either.items() if pair[0] == node), -node)
    )
    placed = {root: Offset(root, 0.0, 0, 0.0)}
    while True:
        open_edges = [(pair, e) for pair, e in either.items() if pair[0] in placed and pair[1] not in placed]
        if not open_edges:
            break
        (near, far), best = max(open_edges, key=lambda edge: edge[1].votes)
        placed[far] = Offset(far, placed[near].offset_s + best.seconds, best.votes, best.spread_s)
    if len(placed) > 1:
        placed[root] = Offset(root, 0.0, max(one.events for one in placed.values()), 0.0)
    ahead = sorted(one.offset_s for one in placed.values())
    middle = placed[min(placed)].offset_s if len(placed) == 2 else ahead[(len(ahead) - 1) // 2]
    return tuple(
        Offset(node, placed[node].offset_s - middle, placed[node].events, placed[node].spread_s)
        if node in placed
        else Offset(node, 0.0, 0, 0.0)
        for node in numbers
    )
