"""The story in sentences, one time line for all nodes: what the terminal prints and the page repeats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Optional

from .account import name_of as node_name
from .account import outcome_of, over, summary
from .episodes import Failover, Incident, NodeStory, Outage, Silence, Span, Story
from .moments import seconds
from .spelling import count, duration, milliseconds, visible
from .timeline import span

__all__ = [
    "Clock",
    "Sentence",
    "address_name",
    "duration",
    "headline",
    "held_for",
    "hole_of",
    "milliseconds",
    "node_name",
    "outcome_of",
    "period",
    "remarks",
    "sentences",
    "silent_for",
    "visible",
]

SOON_S = 0.5
"""An order that is carried out within this long needs no sentence of its own."""


@dataclass(frozen=True)
class Sentence:
    """`tone`: "bad" for what takes service away or risks it, "good" for what brings it back, else "plain".
    `key`: by which it is known again after more lines have changed its text; empty: by time and text.
    """

    when: datetime
    text: str
    tone: str = "plain"
    key: str = ""


class Clock:
    """Writes every time of a story with the offset of its first line, and the date where it has several: what
    began before the window is told whole.
    """

    def __init__(self, story: Story) -> None:
        whole = span(story)
        firsts = [whole[0]] if whole else [failover.received for failover in story.failovers[:1]]
        self._zone = firsts[0].tzinfo if firsts else None
        days = {when.astimezone(self._zone).date() for when in _times(story) if when}
        self._form = "%H:%M:%S" if len(days) < 2 else "%m-%d %H:%M:%S"

    def __call__(self, when: datetime) -> str:
        return f"{self.second(when)}.{when.microsecond // 1000:03d}"

    def second(self, when: datetime) -> str:
        return when.astimezone(self._zone).strftime(self._form)


def _times(story: Story) -> Iterator[Optional[datetime]]:
    for node in story.nodes:
        yield from (node.first, node.last)
        for outage in node.outages:
            yield from (outage.start, outage.end)
    for failover in story.failovers:
        yield failover.received
    for absence in story.absences:
        yield from (absence.start, absence.end)
        for holder in absence.holders:
            hold = holder.hold
            yield from (hold.start, hold.end or (None if hold.lasts else hold.until))
        for stretch in (*absence.gaps, *absence.doubles):
            yield stretch.start


def address_name(failover: Failover) -> str:
    return visible(failover.address) if failover.address else "an address"


def held_for(failover: Failover) -> str:
    """How long it was held, or what is known instead; empty: it was not taken."""
    if failover.taken is None:
        return ""
    if failover.held_s is not None:
        return duration(failover.held_s)
    return "still held" if failover.still_held else "end not logged"


def sentences(story: Story, *, live: bool = False) -> list[Sentence]:
    """Every event of the story, in the order of time. `live`: the logs go on, so that their end says nothing."""
    told: list[Sentence] = []
    for node in story.nodes:
        told.extend(_runs(node))
        told.extend(_breaks(node, live=live))
        for outage in node.outages:
            told.extend(_outage(node, outage, live=live))
        told.extend(_incident(node, incident) for incident in node.incidents)
    for failover in story.failovers:
        told.extend(_failover(failover, live=live))
    for absence in story.absences:
        end = over(absence)
        if end and (absence.start or absence.gaps or absence.doubles):
            begin = absence.start or story.failovers[absence.failovers[0]].received
            told.append(Sentence(end, summary(absence), key=f"{absence.node} away {begin}"))
    since, until = story.window
    return sorted(
        (sentence for sentence in told if since <= seconds(sentence.when) <= until),
        key=lambda sentence: sentence.when,
    )


def _runs(node: NodeStory) -> Iterator[Sentence]:
    for run in node.runs:
        if run.started:
            version = f" (version {visible(run.version)})" if run.version else ""
            yield Sentence(run.started, f"{node.name} started{version}", "good")
        if run.ended == "stopped":
            signal = f" ({visible(run.signal)})" if run.signal else ""
            text = f"{node.name} stopped as it was told{signal}"
            yield Sentence(run.last, text, key=f"{node.name} stopped {run.first}")


def _breaks(node: NodeStory, *, live: bool) -> Iterator[Sentence]:
    """Times in which it wrote nothing, and clocks that were set."""
    for silence in node.silences:
        if silence.end:
            after = f"for {silent_for(silence)}: killed, or its machine died"
        elif live:
            continue
        else:
            after = "and its log ends here: killed, cut off, or its log was copied then"
        yield Sentence(silence.start, f"{node.name} fell silent {after}", "bad")
    for freeze in node.freezes:
        if freeze.end:
            text = (
                f"{node.name} stood still for up to {_length(freeze)}: its process or its machine was frozen"
            )
            yield Sentence(freeze.end, text, "bad")
    # where the logs go on, whoever reads them has been told of the silence itself
    for hole in () if live else node.holes:
        text = f"{node.name} {hole_of(node, hole)}"
        yield Sentence(hole.start, text, "bad")
    for step in node.steps:
        verb = "back" if step.seconds < 0 else "forward"
        yield Sentence(
            step.when, f"{node.name}'s clock was put {verb} by {duration(abs(step.seconds))}", "bad"
        )


def silent_for(silence: Silence) -> str:
    if silence.duration_s is None:
        return "a time that is not known, since its clock was earlier at its next start"
    return duration(silence.duration_s)


def hole_of(node: NodeStory, hole: Span) -> str:
    why = "though it was connected: why is not known" if node.comms else "and no comms.log tells why"
    return f"logged nothing for {_length(hole)}, {why}"


def _length(span: Span) -> str:
    return duration(max(0.0, (span.end - span.start).total_seconds())) if span.end else ""


def _outage(node: NodeStory, outage: Outage, *, live: bool) -> Iterator[Sentence]:
    reason = visible(outage.reason)
    if outage.reason != "start":
        what = "had no master from its start" if reason.startswith("start: ") else "lost the master"
        # what the others saw is known once it is over
        detail = f" ({outage.detail})" if outage.detail and (outage.end or not live) else ""
        text = f"{node.name} {what}: {reason.removeprefix('start: ')}{detail}"
        yield Sentence(outage.start, text, "bad", f"{node.name} lost {outage.start}")
    if outage.end:
        text = f"{node.name} reached the master after {duration(outage.duration_s)}"
        yield Sentence(outage.end, text, "good")


def _failover(failover: Failover, *, live: bool) -> Iterator[Sentence]:
    who = node_name(failover.recovery_node)
    what = f"{address_name(failover)} for {node_name(failover.disconnected_node)}"
    settled = failover.settled
    if settled is None or (settled - failover.received).total_seconds() > SOON_S:
        rest = "; its log ends before the outcome" if failover.pending and not live else ""
        yield Sentence(failover.received, f"{who} was told to take {what}{rest}")
    if failover.pending:
        return
    if failover.taken is None:
        verb = "refused to take" if failover.outcome == "refused" else "could not take"
        text = f"{who} {verb} {what}: {visible(failover.reason or '')}"
        yield Sentence(settled or failover.received, text, "bad")
        return
    took = f" in {milliseconds(failover.takeover_ms)}" if failover.takeover_ms is not None else ""
    yield Sentence(failover.taken, f"{who} took {what}{took}", "good")
    if failover.released and failover.held_s is not None:
        why = f" ({visible(failover.release_reason)})" if failover.release_reason else ""
        text = f"{who} gave {address_name(failover)} back after {duration(failover.held_s)}{why}"
        yield Sentence(failover.released, text)


def _incident(node: NodeStory, incident: Incident) -> Sentence:
    fields = {key: visible(value) for key, value in incident.fields.items()}
    return Sentence(incident.when, f"{node.name} {_what_happened(incident.event, fields)}", _tone(incident))


def _tone(incident: Incident) -> str:
    return "good" if incident.event in ("address_restored", "address_adopted") else "bad"


def _what_happened(event: str, fields: Mapping[str, str]) -> str:
    address = fields.get("address", "an address")
    if event == "address_conflict" and fields.get("own") == "true":
        return f"saw its own address {address} used by {fields.get('mac', 'a MAC not logged')}, and claimed it back"
    if event == "address_conflict":
        return (
            f"saw {address} in use by another machine ({fields.get('mac', 'MAC not logged')}) and let it go"
        )
    if event == "address_lost":
        return f"lost {address}: it was taken off the interface, or its lease ran out"
    if event == "address_restored":
        return f"took {address} again: nobody else answers on it"
    if event == "address_adopted":
        return f"found {address} still on its interface and keeps it"
    if event == "release_failed":
        return f"could not give {address} back: {fields.get('reason', 'no reason logged')}"
    if event == "log_lines_lost":
        return f"lost {fields.get('count', 'some')} lines of {fields.get('file', 'a log')}: its disk was slow or full"
    if event == "hung":
        return f"hung for {fields.get('since_s', 'some')} s ({fields.get('thread', 'a thread')}), and its watchdog ended it"
    if event == "network_unusable":
        return f"can change no address: {fields.get('reason', 'no reason logged')}"
    if event == "order_refused":
        return f"refused an order that is none: {fields.get('reason', 'no reason logged')}"
    return f"logged {event}: {fields.get('error', 'no error logged')}"


def period(story: Story) -> str:
    """From the first line to the last, with the offset that all times are told in; empty: there is no line."""
    whole = span(story)
    if whole is None:
        return ""
    first, last = whole[0], whole[1].astimezone(whole[0].tzinfo)
    until = f"{last:%H:%M:%S}" if last.date() == first.date() else f"{last:%Y-%m-%d %H:%M:%S}"
    return f"{first:%Y-%m-%d %H:%M:%S} to {until} {first:%z}"


def headline(story: Story) -> str:
    """What was read and how much happened, in one line. A start that found its master is no outage here."""
    unreadable = f"{count(story.unreadable_lines, 'line')} did not fit"
    if story.unreadable_lines:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(story.unreadable.items()))
        unreadable += f" ({kinds})" if kinds else ""
    if not story.nodes and not story.failovers:
        return f"Nothing to tell: {story.nothing}, {unreadable}."
    reasons = [outage.reason for node in story.nodes for outage in node.outages]
    outages = sum(reason != "start" for reason in reasons)
    what = f"{count(len(story.nodes), 'node')}, {period(story)}"
    if not story.nodes:
        first = story.failovers[0].received
        what = f"{story.nothing[0].upper()}{story.nothing[1:]}, from {first:%Y-%m-%d %H:%M:%S %z} on"
    return f"{what}: {count(len(story.failovers), 'failover')}, {count(outages, 'outage')}, {unreadable}"


def remarks(story: Story) -> list[str]:
    """What the logs do not tell, and where they contradict each other; a sentence each."""
    return [visible(text) for text in story.unknown]
