"""A failover across all nodes in a few sentences: who was away, who was ordered, who had the address when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Optional

from .episodes import Failover
from .holding import Absence, Stretch
from .spelling import count, duration, listed, visible

_CAUSES = {
    "silent": "it fell silent: killed, or its machine died",
    "stopped": "it was told to stop",
    "frozen": "it stood still",
    "without the master": "it was without the master",
}
MOST = 3
"""Gaps, or times with two holders, that are told one by one."""


def name_of(node: Optional[int]) -> str:
    return "a node without a number" if node is None else f"node {node}"


def account(absence: Absence, failovers: Sequence[Failover], clock: Callable[[datetime], str]) -> str:
    """All of it; `failovers` are the story's, `clock` spells a time."""
    who = f"{visible(absence.address or 'The address')} of node {absence.node}"
    parts = [f"{who}: {_away(absence, clock)}"]
    orders = [failovers[place] for place in absence.failovers]
    parts.append(f"orders: {listed([_order(order) for order in orders])}")
    if absence.answered and not absence.holders:
        parts.append("its machine was heard to answer for it all the same")
    parts.extend(_held(absence, clock))
    parts.extend(f"nobody held it for {_long(gap)} from {clock(gap.start)}" for gap in absence.gaps[:MOST])
    for double in absence.doubles[:MOST]:
        both = " and ".join(map(name_of, double.nodes))
        parts.append(f"{both} both had it for {_long(double)} from {clock(double.start)}")
    more = max(0, len(absence.gaps) - MOST) + max(0, len(absence.doubles) - MOST)
    if more:
        parts.append(f"and {count(more, 'more such time')}")
    if absence.unknown:
        parts.append(f"not known: {visible('; '.join(absence.unknown))}")
    return "; ".join(parts) + "."


def summary(absence: Absence) -> str:
    """What it cost, in one sentence."""
    text = f"{visible(absence.address or 'the address')} of node {absence.node}"
    if absence.start and absence.end:
        text += f": away for {duration(max(0.0, (absence.end - absence.start).total_seconds()))}"
    gaps = [gap for gap in absence.gaps if gap.end]
    doubles = [double for double in absence.doubles if double.end]
    if absence.answered and not absence.holders:
        text += "; its machine answered for it all the same"
    else:
        text += f"; nobody held it for {_sum(gaps)}" if gaps else "; no gap is known"
    return f"{text}; two did for {_sum(doubles)}" if doubles else text


def over(absence: Absence) -> Optional[datetime]:
    """When its last trace was written; None: it goes on where the logs end."""
    newest = absence.holders[-1:]
    # after one that was killed another took it: then its own end, which no line shows, is over too
    holds = [one.hold for one in absence.holders if one.hold.end or one.hold.lasts or one in newest]
    ends = [hold.end for hold in holds]
    if absence.start is not None:
        ends.append(absence.end)
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def _away(absence: Absence, clock: Callable[[datetime], str]) -> str:
    if absence.start is None:
        return "no log tells since when it was away"
    until = f"until {clock(absence.end)}" if absence.end else "and did not come back"
    return f"away from {clock(absence.start)} {until} ({_CAUSES.get(absence.cause, absence.cause)})"


def outcome_of(failover: Failover) -> str:
    return "outcome not logged" if failover.pending else failover.outcome


def _order(order: Failover) -> str:
    return f"{name_of(order.recovery_node)} ({outcome_of(order)})"


def _held(absence: Absence, clock: Callable[[datetime], str]) -> list[str]:
    told = []
    for holder in absence.holders[: 2 * MOST]:
        hold = holder.hold
        if hold.end:
            until = f"to {clock(hold.end)}"
        else:
            until = (
                "on, still at the end of its log" if hold.lasts else f"on, at least to {clock(hold.until)}"
            )
        told.append(f"held by {name_of(holder.node)} from {clock(hold.start)} {until}")
    return told


def _long(stretch: Stretch) -> str:
    return f"{'up to' if stretch.end else 'at least'} {duration(stretch.duration_s)}"


def _sum(those: Sequence[Stretch]) -> str:
    return f"up to {duration(sum(one.duration_s for one in those))}"
