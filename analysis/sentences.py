"""A sentence for each event, in the order in which they happened. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from .formatting import duration, milliseconds, node_name, visible
from .incidents import INCIDENTS
from .model import BAD, CAUSE_WORDS, GOOD, PLAIN, WARN, Attempt, Lane, Outage, Story
from .parser import Line, decimal, number

SOON_S = 1.0
"""An outcome within this needs no sentence about its order."""
RELEASE_WORDS = {
    "restore": "as the master asked",
    "stopping": "since its worker stopped",
    "master lost": "it had been without a master for too long",
    "owner returned": "its owner is back",
    "owner_returned": "its owner is back",
}


@dataclass(frozen=True)
class Sentence:
    """`at`: as its node's clock wrote it; `order`: by which sentences are sorted, on the clock that all share."""

    at: float
    order: float
    lane: int | None
    tone: str
    text: str


def sentences(story: Story) -> list[Sentence]:
    """Every event of the story's time and nodes."""
    found: list[Sentence] = []
    macs: dict[int, set[str]] = {}
    for lane in story.lanes:
        macs.setdefault(-1 if lane.node is None else lane.node, set()).update(lane.macs)
    attempts = [one for failover in story.failovers for one in failover.attempts]
    given_back: dict[tuple[int, int | None], list[float]] = {}
    for one in attempts:
        if one.released is not None:
            given_back.setdefault((one.lane, one.node), []).append(one.released)
    for lane in story.lanes:
        for at, tone, text in _of_lane(lane, macs, given_back):
            found.append(Sentence(at, at - lane.ahead_s, lane.key, tone, f"{lane.name} {text}"))
    for attempt in attempts:
        for at, tone, text in _of_attempt(attempt, macs.get(attempt.node or -1, ())):
            found.append(Sentence(at, at - attempt.ahead_s, attempt.lane, tone, text))
    for event in (one for one in story.master if one.event != "node_alive"):
        tone = WARN if event.event in ("node_dead", "join_refused", "nobody_left") else PLAIN
        found.append(Sentence(event.at, event.at, None, tone, f"the master {_of_master(event)}"))
    found.sort(key=lambda one: one.order)
    return [one for one in found if story.since <= one.at <= story.until]


def _of_lane(
    lane: Lane, macs: Mapping[int, set[str]], given_back: Mapping[tuple[int, int | None], Collection[float]]
) -> Iterator[tuple[float, str, str]]:
    for process in lane.processes:
        if process.started is not None:
            version = f" (version {visible(process.version)})" if process.version else ""
            yield process.started, PLAIN, f"started{version}"
        if process.end == "stopped":
            how = f" by {visible(process.signal)}" if process.signal else ", as it was told"
            yield process.last, PLAIN, f"stopped{how}"
    for silence in lane.silences:
        over = f" for {duration(silence.duration_s)}, until it started again"
        yield silence.start, BAD, f"logged nothing{' from here on' if silence.end is None else over}"
    for freeze in lane.freezes:
        yield freeze.until, WARN, f"had stood still for {duration(freeze.duration_s)}"
    for outage in lane.outages:
        yield from _of_outage(outage)
    for incident in lane.incidents:
        releases = given_back.get((lane.key, number(incident.fields.get("node"))), ())
        # the sentence about what was given back says it as well
        if incident.event != "owner_returned" or all(abs(incident.at - at) > SOON_S for at in releases):
            yield incident.at, *_of_incident(incident, macs)
    for at, seconds in lane.clock_steps:
        verb = "back" if seconds < 0 else "forward"
        yield at, WARN, f"had its clock put {verb} by {duration(abs(seconds))}"


def _of_outage(outage: Outage) -> Iterator[tuple[float, str, str]]:
    why = [CAUSE_WORDS.get(outage.cause, visible(outage.cause)), *([outage.detail] if outage.detail else [])]
    what = "found no master at its start" if outage.at_start else "lost the master"
    reason = visible(outage.reason.removeprefix("start: "))
    yield outage.start, WARN, f"{what}: {reason} ({'; '.join(why)})"
    if outage.end is not None:
        yield outage.end, PLAIN, f"reached the master after {duration(outage.duration_s)}"


def _of_attempt(one: Attempt, owner_macs: Collection[str]) -> Iterator[tuple[float, str, str]]:
    who = node_name(one.recovery_node)
    what = f"{visible(one.address or 'the address')} of {node_name(one.node)}"
    if one.settled is None or one.settled - one.received > SOON_S:
        rest = "; its log ends before the outcome" if one.pending else ""
        yield one.received, PLAIN, f"{who} was ordered to take {what}{rest}"
    if one.taken is not None:
        took = f" in {milliseconds(one.takeover_ms)}" if one.takeover_ms is not None else ""
        yield one.taken, GOOD, f"{who} took {what}{took}"
        if one.released is not None:
            held = duration(sum(hold.duration_s for hold in one.holds))
            yield (
                one.released,
                PLAIN,
                f"{who} gave {what} back after {held}, {_why(one.release_reason, owner_macs)}",
            )
    elif not one.pending:
        verb = {"refused": "refused to take", "withdrawn": "did not have to take"}.get(
            one.outcome, "could not take"
        )
        tone = PLAIN if one.outcome == "withdrawn" else WARN if one.owner_heard else BAD
        yield one.settled or one.received, tone, f"{who} {verb} {what}: {visible(one.reason or '')}"


def _why(reason: str, owner_macs: Collection[str]) -> str:
    """Why an address was given back. What a MAC of the owner claims is its owner's return."""
    if any(mac in reason for mac in owner_macs):
        return "its owner is back"
    return RELEASE_WORDS.get(reason, visible(reason))


class _Fields(dict[str, str]):
    """A line's fields, fit to be shown; what a line lacks is said to be so."""

    def __missing__(self, key: str) -> str:
        return {"address": "an address", "mac": "a MAC that was not logged", "count": "some"}.get(
            key, f"no {key} logged"
        )


def _of_incident(incident: Line, macs: Mapping[int, set[str]]) -> tuple[str, str]:
    fields = _Fields((key, visible(value)) for key, value in incident.fields.items())
    event, node = incident.event, number(incident.fields.get("node"))
    if event == "address_conflict" and fields.get("own") == "true":
        event = "own_conflict"
    elif event == "address_conflict" and node is not None and fields["mac"] in macs.get(node, ()):
        event = "owner_returned"
    tone, text = INCIDENTS[event]
    return tone, text.format_map(fields)


def _of_master(event: Line) -> str:
    reason, by = visible(event.fields.get("reason", "")), visible(event.fields.get("by", "not logged"))
    because, node = f": {reason}" if reason else "", node_name(event.node)
    match event.event:
        case "started":
            return "started"
        case "stopping":
            return "was told to stop"
        case "node_dead":
            silent_s = decimal(event.fields.get("silent_s"))
            silent = (
                f"no ping for {duration(silent_s)}" if silent_s is not None else reason or "no reason logged"
            )
            why = "its connection closed" if event.fields.get("cause") == "closed" else silent
            return f"took {node} for dead: {why}"
        case "takeover_ordered":
            return f"ordered node {by} to take the address of {node}"
        case "takeover_withdrawn":
            return f"withdrew its order to node {by} about {node}{because}"
        case "join_refused":
            return f"refused a machine that called itself {node}{because}"
        case _:
            return f"found nobody left to take the address of {node}"
