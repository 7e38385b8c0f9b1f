"""How far the nodes' clocks are apart, by what two logs must have seen at one moment. No I/O.

A master passes things on at once: a node that joins again is what another is asked to `restore` for, a refusal or a
stop is what the next neighbor is ordered for, and a master that goes cuts all connections together. Each pair of such
lines is a vote for the difference of two clocks. Votes of lines that have nothing to do with each other fall apart,
those of true pairs fall together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice
from typing import NamedTuple

from .model import Attempt, Lane
from .parser import Line

TOGETHER_S = 0.5
"""Votes that differ by less speak for one difference."""
EVENTS = 30
"""The last events of a kind that vote."""
VOTES = 20_000
"""Of two clocks at most."""
ALIKE = 0.7
"""Where another difference has so much of the votes that the likeliest has, none is believed."""
APART_S = 1.0
"""Clocks that differ by less are taken to agree."""
FEW_S = 0.5
"""A difference below this is believed of a single pair; a larger one may be chance."""
Events = Mapping[tuple[str, int], Sequence[float]]
"""Times by what happened and which node it names."""


class _Difference(NamedTuple):
    seconds: float
    votes: int


def compare(lanes: Sequence[Lane], attempts: Sequence[Attempt], master: Sequence[Line] = ()) -> None:
    """Set by how much each lane's clock, and so that of its orders, is ahead, where there are two of them."""
    if len(lanes) < 2:
        return
    clocks = [(lane.node, _events(lane, attempts)) for lane in lanes]
    if master:  # its own clock is one more
        clocks.insert(0, (None, _master_events(master)))
    edges: dict[tuple[int, int], _Difference] = {}
    for (one, mine), (other, theirs) in combinations(enumerate(clocks), 2):
        found = _difference(sorted(islice(_votes(*mine, *theirs), VOTES)))
        if found:
            edges[one, other] = found
            edges[other, one] = _Difference(-found.seconds, found.votes)
    placed = _placed(len(clocks), edges)
    # a clock that is off alone is found to be it: the middle of the others is right, and of two the first
    places = range(len(clocks) - len(lanes), len(clocks))
    known = [placed[place][0] for place in places if place in placed]
    middle = sorted(known)[(len(known) - 1) // 2] if len(known) > 2 else known[0] if known else 0.0
    for place, lane in zip(places, lanes, strict=True):
        seconds, lane.clock_events = placed.get(place, (middle, 0))
        lane.ahead_s = seconds - middle if abs(seconds - middle) >= APART_S else 0.0
    ahead = {lane.key: lane.ahead_s for lane in lanes}
    for attempt in attempts:
        attempt.ahead_s = ahead[attempt.lane]


def _events(lane: Lane, attempts: Sequence[Attempt]) -> Events:
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for outage in lane.outages[-EVENTS:]:
        if outage.cause in ("master_gone", "no_answer") and not outage.at_start:
            found["lost", -1].append(outage.start)
    for at, kind, about in lane.asked:
        found[kind, about].append(at)
    for attempt in attempts:
        if attempt.lane != lane.key or attempt.node is None:
            continue
        found["ordered", attempt.node].append(attempt.received)
        if attempt.taken is None and attempt.settled:
            found["given up", attempt.node].append(attempt.settled)
        elif attempt.release_reason == "stopping" and attempt.released:
            found["given up", attempt.node].append(attempt.released)
    return {kind: times[-EVENTS:] for kind, times in found.items()}


def _master_events(master: Sequence[Line]) -> Events:
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for line in master:
        if line.event == "takeover_ordered" and line.node is not None:
            found["sends order", line.node].append(line.at)
        elif line.event == "node_alive" and line.node is not None:
            found["alive", line.node].append(line.at)
    return {kind: times[-EVENTS:] for kind, times in found.items()}


def _pairs(
    one: int | None, its: Events, other: int | None, others: Events
) -> Iterator[tuple[Sequence[float], ...]]:
    none: Sequence[float] = ()
    yield its.get(("lost", -1), none), others.get(("lost", -1), none)
    if one is not None:
        yield its.get(("join", -1), none), others.get(("restore", one), none)
    if other is not None:
        yield its.get(("restore", other), none), others.get(("join", -1), none)
        yield its.get(("alive", other), none), others.get(("join", -1), none)
    for (kind, node), times in its.items():
        echo = {"given up": "ordered", "ordered": "given up", "sends order": "ordered"}.get(kind)
        if echo:
            yield times, others.get((echo, node), none)


def _votes(
    one: int | None, its: Events, other: int | None, others: Events
) -> Iterator[tuple[float, int, int]]:
    """The other clock's time minus the one's, and which event of each says so."""
    for kind, (mine, theirs) in enumerate(_pairs(one, its, other, others)):
        for i, at in enumerate(mine):
            for j, there in enumerate(theirs):
                yield there - at, kind << 16 | i, kind << 16 | j


def _difference(votes: Sequence[tuple[float, int, int]]) -> _Difference | None:
    """The difference for which most events speak; None: too few do, or as many speak for another one."""
    bundles: list[_Difference] = []
    mine: Counter[int] = Counter()
    theirs: Counter[int] = Counter()
    end = 0
    for begin, (value, my_event, their_event) in enumerate(votes):
        while end < len(votes) and votes[end][0] - value <= TOGETHER_S:
            mine[votes[end][1]] += 1
            theirs[votes[end][2]] += 1
            end += 1
        bundles.append(_Difference(votes[(begin + end - 1) // 2][0], min(len(mine), len(theirs))))
        for events, event in ((mine, my_event), (theirs, their_event)):
            events[event] -= 1
            if not events[event]:
                del events[event]
    if not bundles:
        return None
    best = max(bundles, key=lambda bundle: (bundle.votes, -abs(bundle.seconds)))
    if abs(best.seconds) <= FEW_S:
        return best
    # what repeats itself, such as a restart each hour, speaks for differences that are none
    rival = any(
        bundle.votes >= ALIKE * best.votes
        and (bundle.votes == best.votes or abs(bundle.seconds) < abs(best.seconds))
        and abs(bundle.seconds - best.seconds) > 2 * TOGETHER_S
        for bundle in bundles
    )
    return None if best.votes < 2 or rival else best


def _placed(number: int, edges: Mapping[tuple[int, int], _Difference]) -> dict[int, tuple[float, int]]:
    """Each clock against the best connected one, by the pairs with the most votes, and how many those are."""
    votes = Counter(dict.fromkeys(range(number), 0))
    for (one, _), edge in edges.items():
        votes[one] += edge.votes
    (root, _), *_ = votes.most_common(1)
    placed = {root: (0.0, 0)}
    while ready := [pair for pair in edges if pair[0] in placed and pair[1] not in placed]:
        near, far = max(ready, key=lambda pair: edges[pair].votes)
        best = edges[near, far]
        placed[far] = placed[near][0] + best.seconds, best.votes
    placed[root] = 0.0, max(events for _, events in placed.values())
    return placed
