"""The story in sentences, one time line for all nodes: what the terminal prints and the page repeats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Optional

from .episodes import Failover, Incident, NodeStory, Outage, Story
from .timeline import node_at, span

LONGEST_TEXT = 300
"""Characters of a text from a log that a sentence or a cell repeats."""
SOON_S = 0.5
"""An order that is carried out within this long needs no sentence of its own."""


@dataclass(frozen=True)
class Sentence:
    """`tone`: "bad" for what takes service away or risks it, "good" for what brings it back, else "plain"."""

    when: datetime
    text: str
    tone: str = "plain"


class Clock:
    """Writes every time of a story with the offset of its first line, and the date where it has several."""

    def __init__(self, story: Story) -> None:
        whole = span(story)
        self._zone = whole[0].tzinfo if whole else None
        one_day = whole is None or whole[0].date() == whole[1].astimezone(self._zone).date()
        self._form = "%H:%M:%S" if one_day else "%m-%d %H:%M:%S"

    def __call__(self, when: datetime) -> str:
        when = when.astimezone(self._zone)
        return f"{when.strftime(self._form)}.{when.microsecond // 1000:03d}"


def visible(text: str) -> str:
    """Text from a log, fit for a terminal: what does not print, escapes and bidirectional controls among it,
    is spelled out, and what is too long is cut.
    """
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}… ({len(text) - LONGEST_TEXT} more characters)"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _spelled(char) for char in text)


def _spelled(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"


def duration(seconds: float) -> str:
    """Such as `3.1 ms`, `12.4 s`, `4 min 10 s`, `2 h 5 min`."""
    if seconds < 1:
        return milliseconds(seconds * 1000)
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest_s} s"
    return f"{minutes // 60} h {minutes % 60} min"


def milliseconds(ms: float) -> str:
    return f"{ms:.1f} ms" if ms < 100 else f"{ms:.0f} ms"


def node_name(node: Optional[int]) -> str:
    return "a node without a number" if node is None else f"node {node}"


def address_name(failover: Failover) -> str:
    return visible(failover.address) if failover.address else "an address"


def held_for(failover: Failover) -> str:
    """How long it was held, or what is known instead; empty: it was not taken."""
    if failover.taken is None:
        return ""
    if failover.held_s is not None:
        return duration(failover.held_s)
    return "still held" if failover.still_held else "end not logged"


def unknown_nodes(story: Story) -> tuple[int, ...]:
    """Nodes that orders speak of and whose logs were not given."""
    spoken_of = {failover.disconnected_node for failover in story.failovers}
    return tuple(sorted(node for node in spoken_of if node is not None and not node_at(story, node)))


def sentences(story: Story) -> list[Sentence]:
    """Every event of the story, in the order of time."""
    told: list[Sentence] = []
    for node in story.nodes:
        told.extend(_runs(node))
        for outage in node.outages:
            told.extend(_outage(node, outage))
        told.extend(_incident(node, incident) for incident in node.incidents)
    for failover in story.failovers:
        told.extend(_failover(failover))
    return sorted(told, key=lambda sentence: sentence.when)


def _runs(node: NodeStory) -> Iterator[Sentence]:
    for run in node.runs:
        if run.started:
            version = f" (version {visible(run.version)})" if run.version else ""
            yield Sentence(run.started, f"{node.name} started{version}", "good")
        if run.ended == "stopped":
            signal = f" ({visible(run.signal)})" if run.signal else ""
            yield Sentence(run.last, f"{node.name} stopped as it was told{signal}")
    for silence in node.silences:
        if silence.end:
            after = (
                f"for {duration((silence.end - silence.start).total_seconds())}: killed, or its machine died"
            )
        else:
            after = "and its log ends here: killed, cut off, or its log was copied then"
        yield Sentence(silence.start, f"{node.name} fell silent {after}", "bad")


def _outage(node: NodeStory, outage: Outage) -> Iterator[Sentence]:
    reason = visible(outage.reason)
    if outage.reason != "start":
        what = "had no master from its start" if reason.startswith("start: ") else "lost the master"
        yield Sentence(outage.start, f"{node.name} {what}: {reason.removeprefix('start: ')}", "bad")
    if outage.end:
        yield Sentence(
            outage.end, f"{node.name} reached the master after {duration(outage.duration_s)}", "good"
        )


def _failover(failover: Failover) -> Iterator[Sentence]:
    who = node_name(failover.recovery_node)
    what = f"{address_name(failover)} for {node_name(failover.disconnected_node)}"
    settled = failover.settled
    if settled is None or (settled - failover.received).total_seconds() > SOON_S:
        yield Sentence(failover.received, f"{who} was told to take {what}")
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
    unreadable = f"{_count(story.unreadable_lines, 'line')} did not fit"
    if not story.nodes:
        return f"Nothing to tell: no line could be read, {unreadable}."
    reasons = [outage.reason for node in story.nodes for outage in node.outages]
    outages = sum(reason != "start" for reason in reasons)
    return (
        f"{_count(len(story.nodes), 'node')}, {period(story)}: {_count(len(story.failovers), 'failover')}, "
        f"{_count(outages, 'outage')}, {unreadable}"
    )


def remarks(story: Story) -> list[str]:
    """What the logs do not tell, a sentence each."""
    told = [
        f"No log of node {node} was given: what it did itself is not known." for node in unknown_nodes(story)
    ]
    told.extend(
        f"{visible(node.name)}: no line and no number in the folder's name tells which node it is."
        for node in story.nodes
        if node.node is None
    )
    return told


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
