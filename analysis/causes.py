"""Why a node was without its master: what its own lines say, then what the other nodes saw. No I/O."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace

from .formatting import listed
from .model import CAUSES, UNKNOWN, Lane, Outage

SAME_S = 8.0
"""Within which all nodes notice that their master is gone: three pings at two seconds, and one under way."""
SOON_S = 2.0
"""Within which of each other two nodes notice that one master is gone; the sooner one may be back by then."""
MARGIN_S = 0.3
"""By which clocks that agree, and the writing of two logs, may differ."""

_TEXTS = {
    "tls": r"\bTLS\b|\bSSL\b|certificate",
    "refused": r"refused this node|namespaces failed to connect|\btoken\b|disconnected this node",
    "not_a_master": r"engine\.io v\d|no socket\.io master|redirect|proxy did not",
    "network": r"unreachable|no route to host|resolved|resolution|network is down",
    "master_gone": r"refused|clos|reset|abort|broken pipe|HTTP 5|unexpected status code",
    "no_answer": r"no answer|without an answer|nothing from the master|time[d-]? ?out",
}
"""What the reasons of version 1.0 say, which gave no cause; the first that fits."""
_URL = re.compile(r"https?://\S+")


def of_text(text: str) -> str:
    """The cause that a reason or an error names; empty: none."""
    text = _URL.sub("", text[:1000])
    return next((cause for cause, pattern in _TEXTS.items() if re.search(pattern, text, re.IGNORECASE)), "")


def of_texts(texts: Sequence[tuple[str, str]]) -> str:
    """The cause of an outage by its own log: that of its `disconnected` line, or, where no answer is all that this knows,
    what attempts failed of meanwhile. `texts`: each with its cause or an empty text. Empty: nothing says it.
    """
    found = [cause if cause in CAUSES else of_text(text) for text, cause in texts]
    if found[0] == "refused" and not texts[0][1] and "master_gone" in found:
        return "master_gone"  # version 1.0: a master that stops sends its nodes away first
    known = [cause for cause in found if cause]
    return next((cause for cause in known if cause != "no_answer"), known[0] if known else "")


def compare(lanes: Sequence[Lane]) -> None:
    """Set the causes that only other nodes' logs can show: a master that one node alone has lost is not gone, and one that all
    have lost at one time is.
    """
    views = [_View(lane) for lane in lanes]
    for view in views:
        view.lane.outages = [_seen(outage, view, views) for outage in view.lane.outages]


class _View:
    """What one node knows of the master, on the clock that all share."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.ahead_s = lane.ahead_s
        lost = [outage for outage in lane.outages if not outage.at_start]
        self._losses = [outage.start for outage in lost]
        self._returns = [outage.until for outage in lost]

    def url(self, at: float) -> str:
        """Of its connection then, or of the last one before; empty: no line says it."""
        place = bisect_left(self.lane.masters, (at + self.ahead_s,))
        return self.lane.masters[place - 1][1] if place else ""

    def was_at(self, url: str, at: float) -> bool:
        return not url or self.url(at) in ("", url)

    def was_there(self, at: float) -> bool:
        at += self.ahead_s
        place = bisect_right(self.lane.processes, at, key=lambda process: process.first) - 1
        return place >= 0 and at <= self.lane.processes[place].last

    def answered(self, start: float, end: float) -> bool:
        """Whether the master answered it between the two."""
        place = bisect_right(self.lane.answered_at, start + self.ahead_s)
        return place < len(self.lane.answered_at) and self.lane.answered_at[place] < end + self.ahead_s

    def lost_from(self, start: float, end: float) -> float:
        """When it lost the master in that time too, or just before; infinity: it did not."""
        place = bisect_right(self._returns, start + self.ahead_s - SOON_S)
        if place == len(self._losses) or self._losses[place] > end + self.ahead_s:
            return math.inf
        return self._losses[place] - self.ahead_s

    def lost_it(self, at: float) -> bool:
        place = bisect_left(self._losses, at + self.ahead_s - SAME_S)
        return place < len(self._losses) and self._losses[place] <= at + self.ahead_s + SAME_S


def _seen(outage: Outage, view: _View, views: Sequence[_View]) -> Outage:
    if outage.cause not in ("no_answer", "network", "master_gone", UNKNOWN) or outage.at_start:
        return outage
    start = outage.start - view.ahead_s
    url = view.url(start)
    others = [
        other
        for other in views
        if other is not view and other.was_there(start) and other.was_at(url, start - SAME_S)
    ]
    if not others:
        return outage
    # a master that stands still answers nobody, for as long as this node took to notice
    first, last = start, outage.until - view.ahead_s
    if outage.last_answer and outage.cause != "master_gone":
        first, last = outage.last_answer - view.ahead_s, start
    kept = [
        other.lane.name
        for other in others
        # what it was answered after a loss of its own shows that it was back sooner
        if other.answered(first + MARGIN_S, min(last - MARGIN_S, other.lost_from(start, last) - SOON_S))
        and other.was_at(url, last)
    ]
    if kept:
        names = listed(kept) if len(kept) < 4 else f"{len(kept)} other nodes"
        return replace(outage, cause="network", detail=f"the master answered {names} meanwhile")
    if all(other.lost_it(start) for other in others):
        gone = outage.cause in ("no_answer", UNKNOWN)
        return replace(outage, cause="master_gone" if gone else outage.cause, detail="the others lost it too")
    return outage
