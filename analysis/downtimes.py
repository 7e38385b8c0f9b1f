"""When a machine was away, as its own log shows it: without its process, or without the master. No I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .model import SILENT, Lane, Span

TOGETHER_S = 0.5
"""By which the clocks of two nodes, once laid side by side, may still differ."""
AFTER_FREEZE_S = 5.0
"""Within which a connection that a freeze has cost is seen to be lost."""


@dataclass(frozen=True)
class Downtime:
    """On the clock that all share. `there`: from when its address is its own again; `back`: when it has the master
    again; None: its log does not show it. `gone`: its process was, so that `there` is when that came back.
    """

    start: float
    there: float | None
    back: float | None
    cause: str
    lane: Lane
    gone: bool

    def lasts(self, at: float) -> bool:
        return self.back is None or at <= self.back + TOGETHER_S


def downtimes(lane: Lane, ahead_s: float) -> list[Downtime]:
    """By start; `ahead_s`: by how much its clock is ahead."""
    found = []
    for span, connected, cause, gone in _absences(lane):
        there, back = (None if at is None else at - ahead_s for at in (span.end, connected))
        found.append(Downtime(span.start - ahead_s, there, back, cause, lane, gone))
    return _joined(sorted(found, key=lambda one: one.start))


def _absences(lane: Lane) -> Iterator[tuple[Span, float | None, str, bool]]:
    """Each time without its process or the master, when it had the master again, why, and whether it is the former."""
    ups = [at for at, _ in lane.masters]
    losses = [one.start for one in lane.outages]

    def connected(at: float | None) -> float | None:
        place = len(ups) if at is None else bisect_left(ups, at)
        return ups[place] if place < len(ups) else None

    for spans, cause in ((lane.silences, SILENT), (lane.stops, "own_stop")):
        for span in spans:
            yield span, connected(span.end), cause, True
    for span in lane.freezes:
        place = bisect_left(losses, span.start)
        costs = place < len(losses) and losses[place] <= span.until + AFTER_FREEZE_S
        yield span, lane.outages[place].end if costs else span.end, "frozen", True
    ends = {process.last for process in lane.processes if process.last < lane.last}
    for outage in lane.outages:
        if not outage.at_start:
            start = min(outage.start, outage.last_answer or outage.start)
            # one in which the process ended goes on as its silence or stop
            end = outage.until if outage.end is None and outage.until in ends else outage.end
            yield Span(start, end, outage.until, outage.zone), end, outage.cause, False


def _joined(downs: Sequence[Downtime]) -> list[Downtime]:
    """Those that touch are one: an outage in which the process is killed, a freeze that costs the connection."""
    joined: list[Downtime] = []
    for down in downs:
        last = joined[-1] if joined else None
        if last is None or (last.back is not None and down.start > last.back):
            joined.append(down)
            continue
        first = down.cause == "frozen" and down.start <= last.start + TOGETHER_S
        joined[-1] = replace(
            last,
            there=last.there if last.gone and not down.gone else down.there,
            gone=last.gone or down.gone,
            back=None if down.back is None or last.back is None else max(down.back, last.back),
            cause=down.cause if first else last.cause,
        )
    return joined
