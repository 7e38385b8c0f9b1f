"""What a worker's two logs must tell of a fault, and nothing else. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from logs.format import Entry
from tests.chaos.faults import Fault
from tests.chaos.stage import PING_INTERVAL_S

ALWAYS = {
    "connecting",
    "connected",
    "disconnected",
    "sent",
    "received",
    "takeover_started",
    "takeover_done",
    "takeover_refused",
    "takeover_withdrawn",
    "release_done",
    "release_failed",
}
PACE_S = 1.0
"""By which a ping may be late."""
IN_FLIGHT = 20
"""Pings that may not have had their answer yet, and are not missed, since other things came."""


def told(fault: Fault, comms: Sequence[Entry], sids: Iterable[str], late_s: float) -> Iterator[str]:
    """What is wrong with comms.log of a fault's time; `sids` are those of the master's that were connected."""
    allowed = ALWAYS | fault.events | ({"connect_failed"} if fault.failures else set())
    if not fault.obeyed:
        allowed.add("takeover_failed")
    for entry in comms:
        if name(entry) not in allowed:
            yield f"nothing accounts for {entry.event} {dict(entry.fields)}"
        elif entry.event == "disconnected" and not re.fullmatch(fault.reasons, entry.fields["reason"]):
            yield f"an odd reason for a disconnection: {entry.fields['reason']!r}"
        elif entry.event == "connect_failed" and not re.fullmatch(fault.failures, entry.fields["error"]):
            yield f"an odd reason for a failed connection: {entry.fields['error']!r}"
        elif entry.event == "connected" and entry.fields["sid"] not in sids and not fault.strangers:
            yield f"connected with the sid {entry.fields['sid']}, which the master never gave"
    changes = [entry.event for entry in comms if entry.event in ("connected", "disconnected")]
    if changes != ["disconnected", "connected"] * (len(changes) // 2):
        yield f"connections and their ends do not alternate: {changes}"
    ends = changes.count("disconnected")
    least, most = fault.ended(late_s)
    if not least <= ends <= most:
        yield f"{ends} connections ended, not {least} to {most}"
    yield from fault.complaints(comms)


def name(entry: Entry) -> str:
    """The event's, with `unreadable` where that came."""
    unreadable = entry.event == "received" and entry.fields.get("event") == "unreadable"
    return "received unreadable" if unreadable else entry.event


class Pings:
    """Follows ping.log through all faults: which pings are accounted for, and when each was sent."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._from = 1
        # of a link that broke and has had no ping since: how many it may have taken with it
        self._taken: int | None = None

    def told(
        self, fault: Fault, comms: Sequence[Entry], pings: Sequence[Entry], late_s: float
    ) -> Iterator[str]:
        allowed = {"started", "ping", "ping_sent", "pings_paused", "pings_resumed", *fault.events}
        if fault.misses:
            allowed.add("ping_missed")
        for entry in pings:
            if entry.event not in allowed:
                yield f"nothing accounts for {entry.event} {dict(entry.fields)}"
            if "seq" in entry.fields:
                yield from self._account(int(entry.fields["seq"]))
            elif entry.event == "pings_paused":
                # one more may just have found the link broken
                self._taken = (self._taken or 0) + int(entry.fields.get("unanswered", 0)) + 1
        ends = [entry.fields["reason"] for entry in comms if entry.event == "disconnected"]
        pauses = [entry.fields["reason"] for entry in pings if entry.event == "pings_paused"]
        if ends != pauses:
            yield f"connections ended for {ends}, and pings paused for {pauses}"
        last = max(self._seen, default=self._from) - IN_FLIGHT
        missing = set(range(self._from, last)) - self._seen
        if missing:
            yield f"pings {sorted(missing)} are not in ping.log"
        self._forget(max(self._from, last))
        if fault.paced and not fault.steps:
            yield from self._pace(pings, late_s)

    def _account(self, seq: int) -> Iterator[str]:
        if self._taken is not None:
            missing = set(range(self._from, seq)) - self._seen
            if len(missing) > self._taken:
                yield f"pings {sorted(missing)} are not in ping.log, links that broke took {self._taken} at most"
            self._forget(seq)
            self._taken = None
        self._seen.add(seq)

    def _forget(self, before: int) -> None:
        self._from = before
        self._seen = {seq for seq in self._seen if seq >= before}

    @staticmethod
    def _pace(pings: Sequence[Entry], late_s: float) -> Iterator[str]:
        sent: dict[int, float] = {}
        for entry in pings:
            if entry.event == "pings_paused":
                sent.clear()
            elif entry.event == "ping" and "late" not in entry.fields:
                seq = int(entry.fields["seq"])
                sent[seq] = entry.when.timestamp() - float(entry.fields["rtt_ms"]) / 1000
                gap_s = sent[seq] - sent.get(seq - 1, sent[seq])
                if gap_s > PING_INTERVAL_S + PACE_S + late_s:
                    yield f"ping {seq} was sent {gap_s:.2f} s after the one before"
