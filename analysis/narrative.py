"""The story's answer: its headline, one failover in a sentence, a line of counts, and what is not known. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .causes import SAME_S
from .formatting import Times, capital, count, duration, listed, milliseconds, node_name, visible
from .model import CAUSE_WORDS, SILENT, UNKNOWN, Failover, Story

CAVEATS = 20
"""Of a kind at most."""
SHORTEST_S = 0.001
HAND_OVER_S = 0.1
"""For which two may have an address while it goes from one to the other; a client notices nothing of it."""
OUTCOMES = ("taken", "refused", "failed", "withdrawn")


def counts(story: Story) -> str:
    """What was read and how much of everything there is, in one line."""
    parts = [count(len(story.lanes), "machine" if story.faults else "node")]
    if story.lanes:
        times = Times(story)
        start = times.full(min(lane.first for lane in story.lanes))
        end = times.full(max(lane.last for lane in story.lanes))
        parts.append(f"{start} to {end[11:] if end[:10] == start[:10] else end} {times.offset}")
    outcomes = Counter(one.outcome for failover in story.failovers for one in failover.attempts)
    orders = ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in OUTCOMES if outcomes[outcome])
    failovers = count(len(story.failovers), "failover")
    parts.append(f"{failovers} ({count(outcomes.total(), 'order')}: {orders})" if orders else failovers)
    parts.append(count(len(story.outages), "outage"))
    unreadable = story.unreadable_lines
    read = "every line read" if story.lanes or story.failovers else "no line read"
    parts.append(f"{count(unreadable, 'line')} did not fit" if unreadable else read)
    return ", ".join(parts)


def headline(story: Story) -> str:
    """The answer: what happened that mattered most, or that nothing did."""
    if not story.lanes and not story.failovers:
        return "Nothing to show: no line could be read."
    if story.faults:
        return story.faults[0]
    times = Times(story)
    if story.failovers:
        return _of_failovers(story, times)
    silences = [(lane, one) for lane in story.lanes for one in lane.silences]
    rest = "no address changed hands."
    if silences and (not story.outages or any(one.end is None for _, one in silences)):
        lane, silence = max(silences, key=lambda pair: (pair[1].end is None, pair[1].duration_s))
        since = times.second(silence.start)
        if silence.end is None:
            return f"{capital(lane.name)} has logged nothing since {since}; nobody was ordered to take its address."
        return f"{capital(lane.name)} logged nothing for {duration(silence.duration_s)} from {since}; {rest}"
    if story.outages:
        lane, outage = max(story.outages, key=lambda pair: (pair[1].end is None, pair[1].duration_s))
        near = {
            other.key
            for other, one in story.outages
            if one.cause == outage.cause == "master_gone" and abs(one.start - outage.start) < SAME_S
        }
        what = f"{capital(lane.name)} had no master ({CAUSE_WORDS.get(outage.cause, outage.cause)})"
        if len(near) == len(story.lanes) > 1:
            what = f"The master was gone for all {len(near)} nodes"
        for_s = "on" if outage.end is None else f"for {duration(outage.duration_s)}"
        return f"{what} from {times.second(outage.start)} {for_s}; {rest}"
    who = f"{capital(story.lanes[0].name)} had its" if len(story.lanes) == 1 else "All nodes had their"
    return f"{who} master all the time, and {rest}"


def _of_failovers(story: Story, times: Times) -> str:
    """The one that goes on, else the one that left an address unserved for longest, and what the others cost."""
    worst = max(
        story.failovers, key=lambda one: (one.end is None and one.start_known, one.unserved_s, one.start)
    )
    others = [one.unserved_s for one in story.failovers if one is not worst]
    text = account(worst, times)
    if others:
        more = f" for more than {duration(max(others))}" if max(others) else ""
        text += f" {capital(count(len(others), 'other failover'))} left no address unserved{more}."
    return text


def account(failover: Failover, times: Times) -> str:
    """One failover in one sentence."""
    owner, at = f"Node {failover.node}", times.second(failover.start)
    went = {
        SILENT: f"{owner}'s worker died at {at}" if failover.owner_heard else f"{owner} died at {at}",
        "own_stop": f"{owner} was stopped at {at}",
        "frozen": f"{owner} stood still from {at}",
        UNKNOWN: f"{owner}'s address was ordered taken over at {at}",
    }.get(failover.cause, f"{owner} lost the master at {at}")
    text = "; ".join(filter(None, [went, *_who_answered(failover), _how_it_ended(failover, times)])) + "."
    is_taken = any(one.outcome == "taken" for one in failover.attempts)
    if failover.unserved_s >= SHORTEST_S and not (is_taken and len(failover.gaps) == 1):
        text += f" Nobody answered for its address for {duration(failover.unserved_s)}."
    if failover.doubled_s >= HAND_OVER_S:
        text += f" Two machines had it at once for {duration(failover.doubled_s)}."
    return text


def _who_answered(failover: Failover) -> Iterator[str]:
    taken, last = [one for one in failover.attempts if one.outcome == "taken"], failover.attempts[-1]
    if taken:
        first = taken[0]
        after = f" in {milliseconds(first.takeover_ms)}" if first.takeover_ms else ""
        if failover.gaps and failover.start_known:
            after = f" {duration(failover.gaps[0].duration_s)} later"
        yield f"{node_name(first.recovery_node)} answered for it{after}"
        others = list(dict.fromkeys(node_name(one.recovery_node) for one in taken))[1:]
        if others:
            yield f"then {listed(others)}"
    elif failover.owner_heard:
        yield "its machine went on answering for its address, so nobody took it"
    elif all(one.pending for one in failover.attempts):
        yield f"{node_name(last.recovery_node)} was ordered to take it, and its log ends before the outcome"
    elif all(one.outcome == "withdrawn" for one in failover.attempts):
        yield "the master took its order back before anything was taken"
    else:
        verb = {"refused": "refused", "withdrawn": "was told not to"}.get(last.outcome, "failed")
        yield f"nobody took its address ({node_name(last.recovery_node)} {verb}: {visible(last.reason or '')})"


def _how_it_ended(failover: Failover, times: Times) -> str:
    if failover.end is not None:
        return f"it {'came' if failover.start_known else 'was given'} back at {times.second(failover.end)}"
    if failover.start_known:
        return "it is not back where the logs end"
    holds = any(one.outcome == "taken" and one.released is None for one in failover.attempts)
    return "it is still held where the logs end" if holds else ""


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
    times = Times(story)
    texts = dict.fromkeys(
        f"Not known of node {one.node}'s failover at {times.second(one.start)}: {text}."
        for one in story.failovers[-CAVEATS:]
        for text in one.caveats
    )
    yield from list(texts)[:CAVEATS]
