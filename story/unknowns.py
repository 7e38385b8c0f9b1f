"""What the logs do not tell, and where they contradict each other: a sentence each. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from statistics import median
from typing import Optional

from .episodes import Failover, NodeStory
from .holding import Offset
from .moments import covers, seconds
from .skew import allowed_for, told
from .spelling import count, listed

USUAL_PINGS = 200
CONTRADICTIONS = 5
"""That are told one by one."""


def unknowns(
    nodes: Sequence[NodeStory], failovers: Sequence[Failover], offsets: Sequence[Offset]
) -> Iterator[str]:
    by_number = {node.node: node for node in nodes if node.node is not None}
    yield from _not_given(by_number, failovers)
    for node in nodes:
        if node.node is None:
            yield f"{node.name}: no line and no number in the folder's name tells which node it is."
        if not node.comms:
            yield (
                f"No comms.log of {node.name} was given: whether it had a master, and why not, is told by its "
                "pings alone."
            )
    yield from _clocks(offsets)
    for node in nodes:
        yield from _gaps_of(node)
    contradictions = _contradictions(by_number, failovers, allowed_for(offsets))
    yield from islice(contradictions, CONTRADICTIONS)
    more = sum(1 for _ in contradictions)
    if more:
        yield f"So it was for {count(more, 'further order')}."


def old_forms(lines: int) -> Iterator[str]:
    """`lines`: how many are of the scripts of 2020."""
    if lines:
        yield (
            f"{count(lines, 'line')} of the scripts before this worker {'was' if lines == 1 else 'were'} read as far "
            "as the words go; their times have no offset, and are taken for this machine's local time."
        )


def _not_given(by_number: Mapping[int, NodeStory], failovers: Sequence[Failover]) -> Iterator[str]:
    spoken_of: set[int] = set()
    for failover in failovers:
        spoken_of.update(failover.active_neighbours)
        if failover.disconnected_node is not None:
            spoken_of.add(failover.disconnected_node)
    for node in sorted(spoken_of.difference(by_number)):
        yield f"No log of node {node} was given: what it did itself is not known."


def _clocks(offsets: Sequence[Offset]) -> Iterator[str]:
    for one in offsets:
        if told(one):
            yield (
                f"Node {one.node}'s clock is {abs(one.offset_s):.1f} s {'ahead' if one.offset_s > 0 else 'behind'}: "
                f"so say {count(one.events, 'event')} that other nodes logged too, within {one.spread_s:.1f} s. Its "
                "times stand as it wrote them; what is told of several nodes together allows for it."
            )
    agreeing = [one for one in offsets if one.events and not told(one)]
    if len(agreeing) > 1:
        widest_s = max(abs(one.offset_s) for one in agreeing)
        fewest = min(one.events for one in agreeing)
        yield (
            f"The clocks of {_nodes(agreeing)} agree within {max(widest_s, 0.001) * 1000:.0f} ms, as far as "
            f"{count(fewest, 'event')} that several of them logged can tell."
        )
    strange = [one for one in offsets if not one.events]
    if strange:
        yield (
            f"Nothing that several nodes logged tells how far the {'clock' if len(strange) == 1 else 'clocks'} of "
            f"{_nodes(strange)} may be ahead or behind."
        )


def _gaps_of(node: NodeStory) -> Iterator[str]:
    if not node.has_info:
        yield (
            f"{node.name.capitalize()}'s logs hold no line of INFO: its LOG_LEVEL does not show a worker that is well, "
            f"nor whether it went on after {node.last:%Y-%m-%d %H:%M:%S}."
        )
    if node.holes:
        connected = " while it was connected" if node.comms else ""
        lost_s = sum((hole.end - hole.start).total_seconds() for hole in node.holes if hole.end)
        yield (
            f"{node.name.capitalize()}'s log is silent {count(len(node.holes), 'time')}{connected}, "
            f"{lost_s:.0f} s in all, and nothing in it says why: lines are missing, or its process stood still."
        )
    for step in node.steps[:3]:
        verb = "put back" if step.seconds < 0 else "put forward"
        yield (
            f"{node.name.capitalize()}'s clock was {verb} by {abs(step.seconds):.1f} s at "
            f"{step.when:%Y-%m-%d %H:%M:%S}: durations across that moment are not known."
        )


def _contradictions(
    by_number: Mapping[int, NodeStory], failovers: Sequence[Failover], ahead_s: Mapping[Optional[int], float]
) -> Iterator[str]:
    """Orders about a node whose own log shows it answered by the master all the while."""
    usual = {number: _usual_s(node) for number, node in by_number.items()}
    for failover in failovers:
        owner, by = failover.disconnected_node, failover.recovery_node
        node = by_number.get(owner) if owner is not None else None
        if node is None or owner is None or by is None:
            continue
        at = seconds(failover.received) - ahead_s.get(by, 0.0) + ahead_s.get(owner, 0.0)
        if _was_answered_about(node, at, 1.5 * usual[owner]):
            clocks = "" if owner in ahead_s and by in ahead_s else ", or their clocks differ"
            yield (
                f"Node {by} was ordered at {failover.received:%H:%M:%S} to take node {owner}'s address, though the "
                f"master answered node {owner} just before and after: it had lost sight of it{clocks}."
            )


def _usual_s(node: NodeStory) -> float:
    times = node.answered_at[: USUAL_PINGS + 1]
    return median(later - earlier for earlier, later in zip(times, times[1:])) if len(times) > 1 else 0.0


def _was_answered_about(node: NodeStory, at: float, within_s: float) -> bool:
    times = node.answered_at
    place = bisect_right(times, at)
    if not 0 < place < len(times) or not covers(node.connected, at - 0.5, at + 0.5):
        return False
    return times[place] - times[place - 1] <= max(within_s, 1.0)


def _nodes(those: Sequence[Offset]) -> str:
    return ("node " if len(those) == 1 else "nodes ") + listed([str(one.node) for one in those])
