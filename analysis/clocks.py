"""How far the nodes' clocks are apart, by what two logs must have seen at one moment. No I/O.

A master passes things on at once: a node that joins again is what another is asked to `restore` for, a refusal or a
stop is what the next neighbor is ordered for, and a master that goes cuts all connections together. Each pair of such
lines is a vote for the difference of two clocks. Votes of lines that have nothing to do with each other fall apart,
those of true pairs fall together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from .model import Attempt, Lane, MasterEvent, Offset

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
MASTER = -1
"""The key of the master's own clock, where master.log was given."""
Events = Mapping[tuple[str, int], Sequence[float]]


class _Difference(NamedTuple):
    seconds: float
    votes: int
    spread_s: float


def offsets(
    lanes: Sequence[Lane], attempts: Sequence[Attempt], master: Sequence[MasterEvent] = ()
) -> tuple[Offset, ...]:
    """By how much each lane's clock is ahead; empty where there are not two of them."""
    of = {lane.key: _events(lane, attempts) for lane in lanes}
    numbers = {lane.key: lane.node for lane in lanes}
    if master:
        of[MASTER] = _master_events(master)
        numbers[MASTER] = None
    if len(lanes) < 2:
        return ()
    keys = sorted(of)
    edges: dict[tuple[int, int], _Difference] = {}
    for place, one in enumerate(keys):
        for other in keys[place + 1 :]:
            found = _difference(
                sorted(islice(_votes(numbers[one], of[one], numbers[other], of[other]), VOTES))
            )
            if found:
                edges[one, other] = found
                edges[other, one] = _Difference(-found.seconds, found.votes, found.spread_s)
    return _placed([lane.key for lane in lanes], keys, edges)


def _events(lane: Lane, attempts: Sequence[Attempt]) -> Events:
    """Times by what happened and which node it names."""
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


def _master_events(master: Sequence[MasterEvent]) -> Events:
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
        spread_s = votes[end - 1][0] - value
        bundles.append(_Difference(votes[(begin + end - 1) // 2][0], min(len(mine), len(theirs)), spread_s))
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


def _placed(
    lanes: Sequence[int], keys: Sequence[int], edges: Mapping[tuple[int, int], _Difference]
) -> tuple[Offset, ...]:
    """Each clock against the best connected one, then against the middle one, so that a clock that is off alone is
    found to be it. Differences below APART_S count for none.
    """
    root = max(
        keys, key=lambda key: (sum(edge.votes for pair, edge in edges.items() if pair[0] == key), -key)
    )
    placed = {root: (0.0, 0, 0.0)}
    while True:
        ready = [(pair, edge) for pair, edge in edges.items() if pair[0] in placed and pair[1] not in placed]
        if not ready:
            break
        (near, far), best = max(ready, key=lambda one: one[1].votes)
        placed[far] = (placed[near][0] + best.seconds, best.votes, best.spread_s)
    if len(placed) > 1:
        placed[root] = (0.0, max(events for _, events, _ in placed.values()), 0.0)
    ahead = sorted(seconds for key, (seconds, _, _) in placed.items() if key in lanes)
    middle = 0.0
    if ahead:
        middle = (
            placed[min(key for key in placed if key in lanes)][0]
            if len(ahead) == 2
            else ahead[(len(ahead) - 1) // 2]
        )
    found = []
    for key in lanes:
        seconds, events, spread_s = placed.get(key, (middle, 0, 0.0))
        apart_s = seconds - middle
        found.append(
            Offset(key, apart_s if abs(apart_s) >= max(APART_S, spread_s) else 0.0, events, spread_s)
        )
    return tuple(found)
