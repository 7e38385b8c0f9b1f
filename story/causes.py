"""Why a node was without its master: told by its own log's fields, then by what the other nodes saw. No I/O."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Optional

from .episodes import NodeStory, Outage
from .moments import covers, seconds

MASTER_GONE, REFUSED, TLS, NETWORK, NO_ANSWER = "master gone", "refused", "tls", "network", "no answer"
NO_MASTER, FREEZE, OWN_STOP, START, UNKNOWN = "not a master", "freeze", "own stop", "start", "unknown"
CAUSES = (MASTER_GONE, REFUSED, TLS, NETWORK, NO_ANSWER, NO_MASTER, FREEZE, OWN_STOP, START, UNKNOWN)
"""`master gone`: it ended, or its machine did. `refused`: it turned this node away. `network`: the way to it.
`no answer`: it, or the way to it, stood still, and nothing tells which. `not a master`: MASTER_URL names
something else. `freeze`: this process, or its machine, stood still. `own stop`: the start after a stop that
this node was told. `start`: any other.
"""
START_REASON, NO_BEGINNING = "start", "its beginning is not in the log"
SAME_S = 8.0
"""Within which all nodes notice that their master is gone: three pings at two seconds, and one in hand."""
MARGIN_S = 0.3
"""By which clocks that agree, and the writing of two logs, may differ."""

# the first that fits; the texts are those of failure.py, of the client library and of the kernel
_TEXTS = tuple(
    (re.compile(pattern, re.IGNORECASE), cause)
    for pattern, cause in (
        (r"\bTLS\b|\bSSL\b|certificate", TLS),
        (r"refused this node|namespaces failed to connect|\btoken\b", REFUSED),
        (r"engine\.io v\d|no socket\.io master|no engine\.io handshake|redirect|proxy did not", NO_MASTER),
        (r"unreachable|no route to host|resolved|resolution|network is down|not known", NETWORK),
        (
            (
                r"refused|nothing listens|clos|reset|abort|broken pipe|dropped|out of order|HTTP 5|disconnected this|"
                r"unexpected status code|connection broke"
            ),
            MASTER_GONE,
        ),
        (r"no answer|without an answer|nothing from the master|time[d-]? ?out", NO_ANSWER),
    )
)
_URL = re.compile(r"https?://\S+")
_SURE = re.compile(r"connection (?:was )?refused|nothing listens", re.IGNORECASE)
_SENT_AWAY = re.compile(r"disconnected this node", re.IGNORECASE)


def of_text(text: str) -> str:
    """The cause that a reason or an error names by itself; `unknown`: none."""
    text = _URL.sub("", text)
    return next((cause for pattern, cause in _TEXTS if pattern.search(text)), UNKNOWN)


def of_outage(reason: str, errors: Sequence[str], *, frozen: bool, after_stop: bool) -> str:
    """`errors` are what attempts failed of meanwhile; `frozen`: the process stood still just before;
    `after_stop`: it is the start of a process whose forerunner was told to stop.
    """
    if frozen:
        return FREEZE
    by_errors = [cause for cause in map(of_text, errors) if cause != UNKNOWN]
    if reason.startswith(START_REASON) or reason == NO_BEGINNING:
        if by_errors:
            return by_errors[-1]
        if reason == NO_BEGINNING:
            return UNKNOWN
        return OWN_STOP if after_stop else START
    own = of_text(reason)
    if any(map(_SURE.search, errors)):
        # whatever was seen first: a master that is started anew is stopped first
        return MASTER_GONE if own in (MASTER_GONE, NO_ANSWER, UNKNOWN) else own
    if _SENT_AWAY.search(reason):
        return REFUSED
    telling = next((cause for cause in by_errors if cause != NO_ANSWER), None)
    if own in (NO_ANSWER, UNKNOWN) and telling:
        return telling
    return own


def beside_others(nodes: Sequence[NodeStory], ahead_s: Mapping[Optional[int], float]) -> list[NodeStory]:
    """The nodes with causes that only the others' logs can tell: a master that one node alone has lost is not
    gone, and one that all have lost at one time is. `ahead_s`: by how much each clock is ahead, where known.
    """
    views = [_View(node, ahead_s.get(node.node, 0.0)) for node in nodes]
    several = len({url for node in nodes for _, url in node.masters if url}) > 1
    return [
        replace(
            node,
            outages=tuple(_seen_by_others(outage, view, views, several=several) for outage in node.outages),
        )
        for node, view in zip(nodes, views)
    ]


class _View:
    """What one node knows of the master, on the clock that all share."""

    def __init__(self, node: NodeStory, ahead_s: float) -> None:
        self.name = node.name
        self.ahead_s = ahead_s
        self._answered_at = node.answered_at
        self._known = node.known
        self._masters = node.masters
        self._losses = sorted(
            seconds(outage.start) for outage in node.outages if not _is_start(outage.reason)
        )

    def master(self, at: float) -> str:
        """The URL of its connection then, or of the last one before; empty: no line tells."""
        place = bisect_left(self._masters, (at + self.ahead_s,))
        return self._masters[place - 1][1] if place else ""

    def was_on(self, url: Optional[str], at: float) -> bool:
        """Whether it had that master then, or until it lost it shortly before."""
        return any(_same(url, master) for _, _, master in self._connections(at - SAME_S, at))

    def was_there(self, at: float) -> bool:
        return covers(self._known, at + self.ahead_s, at + self.ahead_s)

    def was_answered(self, url: Optional[str], start: float, end: float) -> bool:
        """Whether that master answered it then."""
        for first, last, master in self._connections(start, end):
            place = bisect_right(self._answered_at, first)
            if place < len(self._answered_at) and self._answered_at[place] < last and _same(url, master):
                return True
        return False

    def lost_it_about(self, url: Optional[str], at: float) -> bool:
        first = bisect_left(self._losses, at + self.ahead_s - SAME_S)
        last = bisect_right(self._losses, at + self.ahead_s + SAME_S)
        return any(_same(url, self.master(loss - self.ahead_s)) for loss in self._losses[first:last])

    def _connections(self, start: float, end: float) -> Iterator[tuple[float, float, str]]:
        """From when to when, on its own clock, it kept to which URL, within that time."""
        start, end = start + self.ahead_s, end + self.ahead_s
        place = bisect_left(self._masters, (start,))
        url = self._masters[place - 1][1] if place else ""
        for at, master in self._masters[place : bisect_right(self._masters, (end,))]:
            yield start, at, url
            start, url = at, master
        yield start, end, url


def _same(url: Optional[str], other: str) -> bool:
    """`url`: None: there is but one master."""
    return url is None or (url != "" and url == other)


def _is_start(reason: str) -> bool:
    return reason.startswith(START_REASON) or reason == NO_BEGINNING


def _seen_by_others(outage: Outage, view: _View, views: Iterable[_View], *, several: bool) -> Outage:
    if outage.cause not in (NO_ANSWER, NETWORK, MASTER_GONE) or _is_start(outage.reason) or outage.detail:
        return outage
    start = seconds(outage.start) - view.ahead_s
    url = view.master(start) if several else None
    others = [
        other for other in views if other is not view and other.was_there(start) and other.was_on(url, start)
    ]
    if not others:
        if outage.cause == MASTER_GONE:
            return outage
        return replace(outage, detail="no other node's log tells whether it was the master or the way to it")
    # a master that stands still answers nobody, for as long as this node took to notice
    first, last = start, seconds(outage.until) - view.ahead_s
    if outage.last_answer and outage.cause == NO_ANSWER:
        first, last = seconds(outage.last_answer) - view.ahead_s, start
    kept = [other.name for other in others if other.was_answered(url, first + MARGIN_S, last - MARGIN_S)]
    if kept:
        return replace(outage, cause=NETWORK, detail=f"the master answered {_listed(kept)} meanwhile")
    if all(other.lost_it_about(url, start) for other in others):
        cause = MASTER_GONE if outage.cause == NO_ANSWER else outage.cause
        return replace(outage, cause=cause, detail="the others lost it too")
    return outage


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) <= 3 else f"{len(names)} other nodes"
