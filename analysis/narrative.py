"""The story in words: its headline, a line of counts, a sentence for each event, and what the logs do not show. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from .formatting import count, duration, listed, milliseconds, visible
from .model import SILENT, UNKNOWN, Attempt, Failover, Incident, Lane, MasterEvent, Outage, Story
from .parser import decimal

BAD, WARN, GOOD, PLAIN = "bad", "warn", "good", "plain"
CAVEATS = 20
CAUSE_WORDS = {
    "master_gone": "the master was gone",
    "network": "its own network",
    "no_answer": "no answer from the master",
    "refused": "the master refused it",
    "tls": "TLS failed",
    "not_a_master": "MASTER_URL is not a master",
    "frozen": "its process stood still",
    "own_stop": "it was stopped",
    SILENT: "nothing was logged",
    UNKNOWN: "the logs do not say why",
}
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


class Times:
    """Spells times in the zone of the story's first line, with the date where the story has several."""

    def __init__(self, story: Story) -> None:
        self.zone: tzinfo | None = story.lanes[0].first_zone if story.lanes else None
        days = {self._when(at).date() for lane in story.lanes for at in (lane.first, lane.last)}
        days |= {self._when(one.start).date() for one in story.failovers}
        self._form = "%H:%M:%S" if len(days) < 2 else "%m-%d %H:%M:%S"

    def _when(self, at: float) -> datetime:
        when = datetime.fromtimestamp(round(at, 3), self.zone)
        return when if self.zone else when.astimezone()

    def __call__(self, at: float) -> str:
        """To the millisecond."""
        when = self._when(at)
        return f"{when:{self._form}}.{when.microsecond // 1000:03d}"

    def second(self, at: float) -> str:
        return f"{self._when(at):{self._form}}"

    def full(self, at: float) -> str:
        return f"{self._when(at):%Y-%m-%d %H:%M:%S}"

    def offset(self, at: float) -> str:
        return f"{self._when(at):%z}"


def node_name(node: int | None) -> str:
    return "a node that no line names" if node is None else f"node {node}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def counts(story: Story) -> str:
    """What was read and how much of everything there is, in one line."""
    parts = [count(len(story.lanes), "node" if not story.faults else "machine")]
    if story.lanes:
        times = Times(story)
        first, last = min(lane.first for lane in story.lanes), max(lane.last for lane in story.lanes)
        end = times.full(last)
        end = end[11:] if end[:10] == times.full(first)[:10] else end
        parts.append(f"{times.full(first)} to {end} {times.offset(first)}")
    attempts = Counter(one.outcome for failover in story.failovers for one in failover.attempts)
    orders = ", ".join(
        f"{attempts[kind]} {kind}" for kind in ("taken", "refused", "failed", "withdrawn") if attempts[kind]
    )
    failovers = count(len(story.failovers), "failover")
    parts.append(f"{failovers} ({count(attempts.total(), 'order')}: {orders})" if orders else failovers)
    parts.append(count(len(story.outages), "outage"))
    parts.append(
        f"{count(story.unreadable_lines, 'line')} did not fit"
        if story.unreadable_lines
        else "every line read"
    )
    return ", ".join(parts)


def headline(story: Story) -> str:
    """The answer: what happened that mattered most, or that nothing did."""
    if not story.lanes and not story.failovers:
        return "Nothing to show: no line could be read."
    times = Times(story)
    if story.faults:
        return story.faults[0]
    if story.failovers:
        open_ones = [one for one in story.failovers if one.end is None and one.start_known]
        worst = (
            open_ones[-1] if open_ones else max(story.failovers, key=lambda one: (one.unserved_s, one.start))
        )
        text = account(worst, times)
        others = len(story.failovers) - 1
        if others:
            most = max(one.unserved_s for one in story.failovers if one is not worst)
            left = (
                f"left no address unserved for more than {duration(most)}"
                if most
                else "left no address unserved"
            )
            text += f" {capital(count(others, 'other failover'))} {left}."
        return text
    silent = [lane for lane in story.lanes if lane.silences and lane.silences[-1].end is None]
    if silent:
        lane = silent[-1]
        return f"{capital(lane.name)} has logged nothing since {times.second(lane.silences[-1].start)}; nobody was ordered to take its address."
    if story.outages:
        return _worst_outage(story, times)
    quiet = [silence for lane in story.lanes for silence in lane.silences]
    if quiet:
        lane, silence = max(
            ((lane, one) for lane in story.lanes for one in lane.silences),
            key=lambda pair: pair[1].duration_s,
        )
        return f"{capital(lane.name)} logged nothing for {duration(silence.duration_s)} from {times.second(silence.start)}; no address changed hands."
    who = "Node" if len(story.lanes) == 1 else "All nodes"
    name = capital(story.lanes[0].name) if len(story.lanes) == 1 else who
    return f"{name} had {'its' if len(story.lanes) == 1 else 'their'} master all the time, and no address changed hands."


def _worst_outage(story: Story, times: Times) -> str:
    lane, outage = max(story.outages, key=lambda pair: (pair[1].end is None, pair[1].duration_s))
    near = {
        other.key
        for other, one in story.outages
        if one.cause == outage.cause == "master_gone" and abs(one.start - outage.start) < 8
    }
    if len(near) > 1 and len(near) == len(story.lanes):
        text = f"The master was gone for all {len(near)} nodes from {times.second(outage.start)}"
    else:
        text = f"{capital(lane.name)} had no master from {times.second(outage.start)} ({CAUSE_WORDS.get(outage.cause, outage.cause)})"
    return f"{text} {'on' if outage.end is None else 'for ' + duration(outage.duration_s)}; no address changed hands."


def account(failover: Failover, times: Times) -> str:
    """One failover in one sentence."""
    owner = f"Node {failover.node}"
    at = times.second(failover.start)
    went = {
        SILENT: f"{owner} died at {at}",
        "own_stop": f"{owner} was stopped at {at}",
        "frozen": f"{owner} stood still from {at}",
        UNKNOWN: f"{owner}'s address was ordered taken over at {at}",
    }.get(failover.cause, f"{owner} lost the master at {at}")
    if failover.owner_heard and failover.cause == SILENT:
        went = f"{owner}'s worker died at {at}"
    parts = [went, *_who_answered(failover), _how_it_ended(failover, times)]
    text = "; ".join(part for part in parts if part) + "."
    if failover.unserved_s >= 0.001 and not (failover.taken and len(failover.gaps) == 1):
        text += f" Nobody answered for its address for {duration(failover.unserved_s)}"
        text += (
            " so far."
            if failover.end is None
            and failover.gaps[-1].end == failover.gaps[-1].until
            and not failover.taken
            else "."
        )
    if failover.doubled_s >= 0.001:
        text += f" Two machines had it at once for {duration(failover.doubled_s)}."
    return text


def _who_answered(failover: Failover) -> Iterator[str]:
    taken = [one for one in failover.attempts if one.outcome == "taken"]
    first = failover.taken
    if first is not None and first.taken is not None:
        gap = failover.gaps[0].duration_s if failover.gaps and failover.start_known else None
        after = (
            f" {duration(gap)} later"
            if gap is not None
            else f" in {milliseconds(first.takeover_ms)}"
            if first.takeover_ms
            else ""
        )
        yield f"{node_name(first.recovery_node)} answered for it{after}"
        others = list(
            dict.fromkeys(
                node_name(one.recovery_node) for one in taken[1:] if one.recovery_node != first.recovery_node
            )
        )
        if others:
            yield f"then {listed(others)}"
    elif failover.owner_heard:
        yield "its machine went on answering for its address, so nobody took it"
    else:
        outcomes = Counter(one.outcome for one in failover.attempts)
        pending = sum(one.pending for one in failover.attempts)
        if pending == len(failover.attempts):
            yield f"{node_name(failover.attempts[-1].recovery_node)} was ordered to take it, and its log ends before the outcome"
        elif outcomes["withdrawn"] == len(failover.attempts):
            yield "the master took its order back before anything was taken"
        else:
            last = failover.attempts[-1]
            yield f"nobody took its address ({node_name(last.recovery_node)} {_verb(last)}: {visible(last.reason or '')})"


def _verb(attempt: Attempt) -> str:
    return {"refused": "refused", "withdrawn": "was told not to"}.get(attempt.outcome, "failed")


def _how_it_ended(failover: Failover, times: Times) -> str:
    if failover.end is not None:
        return (
            f"it came back at {times.second(failover.end)}"
            if failover.start_known
            else f"it was given back at {times.second(failover.end)}"
        )
    holding = [one for one in failover.attempts if one.outcome == "taken" and one.released is None]
    if not failover.start_known:
        return "it is still held where the logs end" if holding else ""
    return "it is not back where the logs end"


def sentences(story: Story) -> list[Sentence]:
    """Every event of the story's time and nodes, in the order in which they happened."""
    found: list[Sentence] = []
    ahead = {one.lane: one.ahead_s for one in story.offsets}
    macs: dict[int, set[str]] = {}
    for lane in story.lanes:
        if lane.node is not None:
            macs.setdefault(lane.node, set()).update(lane.macs)
    for lane in story.lanes:
        for at, tone, text in _of_lane(lane, macs):
            found.append(Sentence(at, at - ahead.get(lane.key, 0.0), lane.key, tone, f"{lane.name} {text}"))
    for failover in story.failovers:
        for attempt in failover.attempts:
            for at, tone, text in _of_attempt(attempt, macs):
                found.append(Sentence(at, at - ahead.get(attempt.lane, 0.0), attempt.lane, tone, text))
    for event in (one for one in story.master if one.event != "node_alive"):
        tone = WARN if event.event in ("node_dead", "join_refused", "nobody_left") else PLAIN
        found.append(Sentence(event.at, event.at, None, tone, f"the master {_of_master(event)}"))
    found.sort(key=lambda one: one.order)
    return [one for one in found if story.since <= one.at <= story.until]


def _of_lane(lane: Lane, macs: Mapping[int, set[str]]) -> Iterator[tuple[float, str, str]]:
    for process in lane.processes:
        if process.started is not None:
            version = f" (version {visible(process.version)})" if process.version else ""
            yield process.started, PLAIN, f"started{version}"
        if process.end == "stopped":
            by = f" by {visible(process.signal)}" if process.signal else ""
            yield process.last, PLAIN, f"stopped, as it was told{by}"
    for silence in lane.silences:
        for_s = (
            f" for {duration(silence.duration_s)}, until it started again"
            if silence.end is not None
            else " from here on"
        )
        yield silence.start, BAD, f"logged nothing{for_s}"
    for freeze in lane.freezes:
        yield freeze.until, WARN, f"had stood still for {duration(freeze.duration_s)}"
    for outage in lane.outages:
        yield from _of_outage(outage)
    for incident in lane.incidents:
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


def _of_attempt(one: Attempt, macs: Mapping[int, set[str]]) -> Iterator[tuple[float, str, str]]:
    who, what = (
        node_name(one.recovery_node),
        f"{visible(one.address or 'the address')} of {node_name(one.node)}",
    )
    if one.settled is None or one.settled - one.received > 1.0:
        rest = "; its log ends before the outcome" if one.pending else ""
        yield one.received, PLAIN, f"{who} was ordered to take {what}{rest}"
    if one.pending:
        return
    if one.taken is None:
        verb = {"refused": "refused to take", "withdrawn": "did not have to take"}.get(
            one.outcome, "could not take"
        )
        tone = PLAIN if one.outcome == "withdrawn" else WARN if one.owner_heard else BAD
        yield one.settled or one.received, tone, f"{who} {verb} {what}: {visible(one.reason or '')}"
        return
    took = f" in {milliseconds(one.takeover_ms)}" if one.takeover_ms is not None else ""
    yield one.taken, GOOD, f"{who} took {what}{took}"
    if one.released is not None and one.holds:
        reason = release_words(one.release_reason, macs.get(one.node if one.node is not None else -1, set()))
        held = sum(hold.duration_s for hold in one.holds)
        yield (
            one.released,
            PLAIN,
            f"{who} gave {what} back after {duration(held)}{f', {reason}' if reason else ''}",
        )


def release_words(reason: str, owner_macs: Iterable[str] = ()) -> str:
    """Why an address was given back. What a MAC of the owner claims is its owner's return."""
    if any(mac and mac in reason for mac in owner_macs):
        return "its owner is back"
    return RELEASE_WORDS.get(reason, visible(reason))


def _of_incident(incident: Incident, macs: Mapping[int, set[str]]) -> tuple[str, str]:
    fields = {key: visible(value) for key, value in incident.fields.items()}
    address, reason = fields.get("address", "an address"), fields.get("reason", "no reason logged")
    mac = fields.get("mac", "a MAC that was not logged")
    node = fields.get("node", "")
    its_own = node.isascii() and node.isdigit() and len(node) < 10 and mac in macs.get(int(node), ())
    match incident.event:
        case "owner_returned":
            return PLAIN, f"let {address} go: its owner is back ({mac})"
        case "address_conflict" if fields.get("own") == "true":
            return BAD, f"saw its own address {address} used by {mac}, and claimed it back"
        case "address_conflict" if its_own:
            return PLAIN, f"let {address} go: its owner is back ({mac})"
        case "address_conflict":
            return BAD, f"saw {address} in use by another machine ({mac}) and let it go"
        case "address_lost":
            return BAD, f"lost {address}: it was removed from the interface, or its lease ran out"
        case "address_restored":
            return GOOD, f"took {address} again: nobody else answers for it"
        case "address_adopted":
            return PLAIN, f"found {address} still on its interface and keeps it"
        case "release_failed":
            return BAD, f"could not give {address} back: {reason}"
        case "log_lines_lost":
            return (
                WARN,
                f"lost {fields.get('count', 'some')} lines of {fields.get('file', 'a log')}: its disk was slow or full",
            )
        case "hung":
            return (
                BAD,
                f"hung for {fields.get('since_s', 'some')} s ({fields.get('thread', 'a thread')}); its watchdog ended it",
            )
        case "network_unusable":
            return BAD, f"cannot change addresses: {reason}"
        case "order_refused":
            return WARN, f"refused an invalid order: {reason}"
        case _:
            return WARN, f"logged {incident.event}: {fields.get('error', reason)}"


def _of_master(event: MasterEvent) -> str:
    reason, by = visible(event.fields.get("reason", "")), visible(event.fields.get("by", "a neighbor"))
    because = f": {reason}" if reason else ""
    match event.event:
        case "started":
            return "started"
        case "stopping":
            return "was told to stop"
        case "node_dead":
            return f"took {node_name(event.node)} for dead: {why_dead(event)}"
        case "takeover_ordered":
            return f"ordered node {by} to take the address of {node_name(event.node)}"
        case "takeover_withdrawn":
            return f"withdrew its order to node {by} about {node_name(event.node)}{because}"
        case "join_refused":
            return f"refused a machine that called itself {node_name(event.node)}{because}"
        case _:
            return f"found nobody left to take the address of {node_name(event.node)}"


def why_dead(event: MasterEvent) -> str:
    """Why the master took a node for dead."""
    if event.fields.get("cause") == "closed":
        return "its connection closed"
    silent_s = decimal(event.fields.get("silent_s"))
    if silent_s is not None:
        return f"no ping for {duration(silent_s)}"
    return visible(event.fields.get("reason", "no reason logged"))


def fault_of_one_number(lanes: Sequence[Lane]) -> Iterator[str]:
    """A sentence for each number that several machines had at one time."""
    by_number: dict[int, list[Lane]] = {}
    for lane in lanes:
        if lane.node is not None:
            by_number.setdefault(lane.node, []).append(lane)
    for node, those in by_number.items():
        if len(those) > 1:
            folders = listed([lane.folders[0] for lane in those])
            number = "Two" if len(those) == 2 else str(len(those))
            yield (
                f"{number} machines ran as node {node} at the same time ({folders}): give each its own NODE_ID. "
                f"Their failovers cannot be trusted."
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
    names = {lane.key: lane.name for lane in story.lanes}
    for one in story.offsets:
        if one.ahead_s:
            yield (
                f"The clock of {names[one.lane]} is {abs(one.ahead_s):.1f} s {'ahead' if one.ahead_s > 0 else 'behind'}, by "
                f"{count(one.events, 'event')} that other nodes logged too. Its times stand as it wrote them; durations "
                "between nodes allow for it."
            )
    agreeing = [names[one.lane] for one in story.offsets if one.events and not one.ahead_s]
    if len(agreeing) > 1 and any(one.ahead_s for one in story.offsets):
        yield f"The clocks of {listed(agreeing)} agree."
    strange = [names[one.lane] for one in story.offsets if not one.events]
    if strange and len(story.offsets) > 1 and story.failovers:
        yield f"Nothing that several nodes logged shows whether the clock of {listed(strange)} agrees with the others."
