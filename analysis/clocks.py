"""How far the nodes' clocks are apart, by what two logs must have seen at one moment. No I/O.

A master passes things on at once: a node that joins again is what another is asked to `restore` for, a refusal or a
stop is what the next neighbor is ordered for, and a master that goes cuts all connections together. Each pair of such
lines is a vote for the difference of two clocks. Votes of lines that have nothing to do with each other fall apart,
those of true pairs fall together.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, islice

from .model import Attempt, Lane

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
Difference = tuple[float, int]
"""Seconds, and how many events speak for them."""
Events = Mapping[tuple[str, int | None], Sequence[float]]
"""Times by what happened and which node it names."""
ECHOES = {"given up": "ordered", "ordered": "given up"}
"""What another log has at the moment of an event; all others are called the same in both."""


def compare(lanes: Sequence[Lane], attempts: Sequence[Attempt]) -> None:
    """Set by how much each lane's clock, and so that of its orders, is ahead, where there are two of them."""
    if len(lanes) < 2:
        return
    clocks = [_events(lane, attempts) for lane in lanes]
    edges: dict[tuple[int, int], Difference] = {}
    for (one, mine), (other, theirs) in combinations(enumerate(clocks), 2):
        found = _difference(islice(_votes(mine, theirs), VOTES))
        if found:
            edges[one, other] = found
            edges[other, one] = -found[0], found[1]
    placed = _placed(len(clocks), edges)
    # a clock that is off alone is found to be it: the middle of the others is right, and of two the first
    known = [seconds for _, (seconds, _) in sorted(placed.items())]
    middle = sorted(known)[(len(known) - 1) // 2] if len(known) > 2 else known[0]
    for place, lane in enumerate(lanes):
        seconds, lane.clock_events = placed.get(place, (middle, 0))
        lane.ahead_s = seconds - middle if abs(seconds - middle) >= APART_S else 0.0
    ahead = {lane.key: lane.ahead_s for lane in lanes}
    for attempt in attempts:
        attempt.ahead_s = ahead[attempt.lane]


def _events(lane: Lane, attempts: Sequence[Attempt]) -> Events:
    found: dict[tuple[str, int | None], list[float]] = defaultdict(list)
    for outage in lane.outages[-EVENTS:]:
        if outage.cause in ("master_gone", "no_answer") and not outage.at_start:
            found["lost", None].append(outage.start)
    found["back", lane.node] += (at for at, _ in lane.masters[-EVENTS:])
    for at, node in lane.restores:
        found["back", node].append(at)
    for attempt in attempts:
        if attempt.lane != lane.key:
            continue
        found["ordered", attempt.node].append(attempt.received)
        if attempt.taken is None and attempt.settled:
            found["given up", attempt.node].append(attempt.settled)
        elif attempt.release_reason == "stopping" and attempt.released:
            found["given up", attempt.node].append(attempt.released)
    return {kind: times[-EVENTS:] for kind, times in found.items()}


def _votes(mine: Events, theirs: Events) -> Iterator[tuple[float, int, int]]:
    """The other clock's time minus the one's, and which event of each says so."""
    for place, ((kind, node), times) in enumerate(mine.items()):
        for i, at in enumerate(times):
            for j, there in enumerate(theirs.get((ECHOES.get(kind, kind), node), ())):
                yield there - at, place << 16 | i, place << 16 | j


def _difference(votes: Iterable[tuple[float, int, int]]) -> Difference | None:
    """The difference for which most events speak; None: too few do, or as many speak for another one."""
    halves: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
    for vote in votes:
        halves[math.floor(vote[0] / TOGETHER_S * 2)].append(vote)
    bundles: list[Difference] = []
    for place, half in halves.items():
        near = sorted(half + halves.get(place + 1, []))
        events = min(len({vote[whose] for vote in near}) for whose in (1, 2))
        bundles.append((near[(len(near) - 1) // 2][0], events))
    seconds, most = max(bundles, key=lambda bundle: (bundle[1], -abs(bundle[0])), default=(0.0, 0))
    if most and abs(seconds) <= FEW_S:
        return seconds, most
    # what repeats itself, such as a restart each hour, speaks for differences that are none
    has_rival = any(
        events >= ALIKE * most
        and (events == most or abs(other) < abs(seconds))
        and abs(other - seconds) > 2 * TOGETHER_S
        for other, events in bundles
    )
    return None if most < 2 or has_rival else (seconds, most)


def _placed(number: int, edges: Mapping[tuple[int, int], Difference]) -> dict[int, Difference]:
    """Each clock against the best connected one, by the pairs with the most votes, and how many those are."""
    votes = Counter(dict.fromkeys(range(number), 0))
    for (one, _), (_, events) in edges.items():
        votes[one] += events
    (root, _), *_ = votes.most_common(1)
    placed = {root: (0.0, 0)}
    while ready := [pair for pair in edges if pair[0] in placed and pair[1] not in placed]:
        near, far = max(ready, key=lambda pair: edges[pair][1])
        seconds, events = edges[near, far]
        placed[far] = placed[near][0] + seconds, events
    placed[root] = 0.0, max(events for _, events in placed.values())
    return placed
