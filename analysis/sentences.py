"""A sentence for each event, in the order in which they happened. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from . import model
from .formatting import duration, milliseconds, node_name
from .model import BAD, CAUSE_WORDS, GOOD, PLAIN, WARN, Attempt, Lane, Outage, Story
from .parser import Line

_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}", re.IGNORECASE)
SOON_S = 1.0
"""An outcome within this needs no sentence about its order."""
RELEASE_WORDS = {
    "restore": "as the master asked",
    "stopping": "since its worker stopped",
    "master lost": "it had been without a master for too long",
    "owner returned": "its owner is back",
    "owner_returned": "its owner is back",
}


class Sentence(NamedTuple):
    """`at`: as its node's clock wrote it; `order`: by which sentences are sorted, on the clock that all share."""

    at: float
    order: float
    tone: str
    text: str


Macs = Mapping[int | None, Collection[str]]
"""The addresses of each node's interface."""


def sentences(story: Story) -> list[Sentence]:
    """Every event of the story's time and nodes."""
    found: list[Sentence] = []
    macs: Macs = {lane.node: lane.macs for lane in story.lanes if lane.node is not None}
    attempts = [one for failover in story.failovers for one in failover.attempts]
    releases = {(one.lane, one.node, one.released) for one in attempts}
    for lane in story.lanes:
        for at, tone, text in _of_lane(lane):
            found.append(Sentence(at, at - lane.ahead_s, tone, f"{lane.name} {text}"))
        for line in lane.incidents:
            # the sentence about what was given back says it as well
            if line.event != "owner_returned" or (lane.key, line.node, line.at) not in releases:
                tone, text = _of_incident(line, macs)
                found.append(Sentence(line.at, line.at - lane.ahead_s, tone, f"{lane.name} {text}"))
    for one in attempts:
        for at, tone, text in _of_attempt(one, macs.get(one.node, ())):
            found.append(Sentence(at, at - one.ahead_s, tone, text))
    for line in story.master:
        event = "node_closed" if line.fields.get("cause") == "closed" else line.event
        found.append(Sentence(line.at, line.at, *_filled(model.MASTER_EVENTS[event], line)))
    found.sort(key=lambda one: one.order)
    return [one for one in found if story.since <= one.at <= story.until]


def _of_lane(lane: Lane) -> Iterator[tuple[float, str, str]]:
    for process in lane.processes:
        if process.started is not None:
            version = f" (version {process.version})" if process.version else ""
            yield process.started, PLAIN, f"started{version}"
        if process.end == "stopped" and process.is_over:
            how = f" by {process.signal}" if process.signal else ", as it was told"
            yield process.last, PLAIN, f"stopped{how}"
    for silence in lane.silences:
        over = f" for {duration(silence.duration_s)}, until it started again"
        yield silence.start, BAD, f"logged nothing{' from here on' if silence.end is None else over}"
    for freeze in lane.freezes:
        yield freeze.until, WARN, f"had stood still for {duration(freeze.duration_s)}"
    for outage in lane.outages:
        yield from _of_outage(outage)
    for at, seconds in lane.clock_steps:
        verb = "back" if seconds < 0 else "forward"
        rest = "durations across that moment are not known"
        yield at, WARN, f"had its clock put {verb} by {duration(abs(seconds))}: {rest}"


def _of_outage(outage: Outage) -> Iterator[tuple[float, str, str]]:
    why = [CAUSE_WORDS.get(outage.cause, outage.cause), *([outage.detail] if outage.detail else [])]
    what = "found no master at its start" if outage.at_start else "lost the master"
    reason = outage.reason.removeprefix("start: ")
    yield outage.start, WARN, f"{what}: {reason} ({'; '.join(why)})"
    if outage.end is not None:
        yield outage.end, PLAIN, f"reached the master after {duration(outage.duration_s)}"


def _of_attempt(one: Attempt, owner_macs: Collection[str]) -> Iterator[tuple[float, str, str]]:
    who = node_name(one.recovery_node)
    what = f"{one.address or 'the address'} of {node_name(one.node)}"
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
        yield one.settled or one.received, tone, f"{who} {verb} {what}: {one.reason or ''}"


def _why(reason: str, owner_macs: Collection[str]) -> str:
    """Why an address was given back. What a MAC of the owner claims is its owner's return."""
    if any(mac in owner_macs for mac in _MAC.findall(reason)):
        return "its owner is back"
    return RELEASE_WORDS.get(reason, reason)


class _Fields(dict[str, str]):
    """A line's fields; what a line lacks is said to be so."""

    def __missing__(self, key: str) -> str:
        return f"no {key} logged"


def _filled(words: tuple[str, str], line: Line) -> tuple[str, str]:
    tone, text = words
    return tone, text.format_map(_Fields(line.fields))


def _of_incident(line: Line, macs: Macs) -> tuple[str, str]:
    event = line.event
    if event == "address_conflict" and line.fields.get("own") == "true":
        event = "own_conflict"
    elif event == "address_conflict" and line.fields.get("mac") in macs.get(line.node, ()):
        event = "owner_returned"
    return _filled(model.INCIDENTS[event], line)
