"""What the logs do not show, and what is wrong with the set-up itself: a sentence each. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .formatting import Times, capital, count, duration, listed, visible
from .model import Lane, Story

CAVEATS = 20


def one_number(lanes: Sequence[Lane]) -> Iterator[str]:
    """For each number that several machines had at one time."""
    by_number: dict[int | None, list[str]] = {}
    for lane in lanes:
        by_number.setdefault(lane.node, []).append(lane.folders[0])
    for node, folders in by_number.items():
        if node is not None and len(folders) > 1:
            many = "Two" if len(folders) == 2 else str(len(folders))
            yield (
                f"{many} machines ran as node {node} at the same time ({listed(folders)}): give each its own NODE_ID. "
                "Their failovers cannot be trusted."
            )


def caveats(story: Story) -> Iterator[str]:
    """What the logs do not show, and what their times are worth."""
    known = {lane.node for lane in story.lanes}
    named = {
        node
        for one in story.failovers
        for attempt in one.attempts
        for node in (one.node, *attempt.active_neighbors)
    }
    absent = sorted(node for node in named - known if node is not None)
    for node in absent[:CAVEATS]:
        yield f"No log of node {node} was given: what it did itself is not known."
    if len(absent) > CAVEATS:
        yield f"Nor was one of {count(len(absent) - CAVEATS, 'further node')}."
    for lane in story.lanes:
        if lane.node is None:
            yield f"{capital(lane.name)}: no line and no number in the folder's name says which node it is."
        if not lane.has_comms:
            yield f"No comms.log of {lane.name} was given: whether it had a master, and why not, is judged by its pings alone."
        if not lane.has_info:
            yield f"The logs of {lane.name} have no line of INFO: its LOG_LEVEL does not show a worker that is well."
        if lane.clock_steps:
            at, seconds = lane.clock_steps[0]
            times = Times(story)
            yield (
                f"The clock of {lane.name} was put {'back' if seconds < 0 else 'forward'} by {duration(abs(seconds))} at "
                f"{times.full(at)}: durations across that moment are not known."
            )
    yield from _clocks(story)
    texts = dict.fromkeys(
        f"Not known of node {one.node}'s failover at {Times(story).second(one.start)}: {visible(text)}."
        for one in story.failovers[-CAVEATS:]
        for text in one.caveats
        if not text.startswith("since when")
    )
    yield from list(texts)[:CAVEATS]


def _clocks(story: Story) -> Iterator[str]:
    for lane in story.lanes:
        if lane.ahead_s:
            yield (
                f"The clock of {lane.name} is {abs(lane.ahead_s):.1f} s {'ahead' if lane.ahead_s > 0 else 'behind'}, by "
                f"{count(lane.clock_events, 'event')} that other nodes logged too. Its times stand as it wrote them; "
                "durations between nodes allow for it."
            )
    agreeing = [lane.name for lane in story.lanes if lane.clock_events and not lane.ahead_s]
    if len(agreeing) > 1 and any(lane.ahead_s for lane in story.lanes):
        yield f"The clocks of {listed(agreeing)} agree."
    strange = [lane.name for lane in story.lanes if not lane.clock_events]
    if strange and len(story.lanes) > 1 and story.failovers:
        yield f"Nothing that several nodes logged shows whether the clock of {listed(strange)} agrees with the others."
