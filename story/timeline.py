"""Lines to episodes: which process wrote what, when its master was away, what became of its orders. No I/O."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Optional

from .episodes import NodeStory, Outage, Run, Silence, Story, round_trips
from .orders import Orders, data_of, number
from .reading import Item, Line, Ping
from .runs import RunDraft


class Diary:
    """One folder's lines, added one after the other in the order of time; none of them is kept whole.

    `name`: what people call the folder; `number_in_name`: the node it belongs to where no line says so, None
    where its name does not either.
    """

    def __init__(self, name: str, number_in_name: Optional[int] = None) -> None:
        self.name = name
        self.runs: list[RunDraft] = []
        self.orders = Orders()
        self._number_in_name = number_in_name

    def read(self, items: Iterable[Item]) -> None:
        for item in items:
            if isinstance(item, Ping):
                if not self.runs:
                    self.runs.append(RunDraft(item))
                self.runs[-1].add_ping(item)
            else:
                self._add(item)

    def _add(self, line: Line) -> None:
        if line.event == "started" or not self.runs:
            if self.runs:
                self.runs[-1].superseded = True
                self.orders.begin_run()
            self.runs.append(RunDraft(line))
        run = self.runs[-1]
        if line.event == "started":
            run.node = number(line.fields.get("node"))
        elif run.node is None and line.event == "sent":
            run.node = number(data_of(line).get("NODE_ID"))
        run.add(line)
        self.orders.add(line, run)

    def settle_nodes(self) -> None:
        """Give each process whose own lines do not tell its node that of the next that tells it, else of the
        last before it, else the number in the folder's name.
        """
        known: Optional[int] = None
        for run in reversed(self.runs):
            known = run.node = run.node if run.node is not None else known
        known = self._number_in_name
        for run in self.runs:
            known = run.node = run.node if run.node is not None else known


def tell(diaries: Sequence[Diary], unreadable_lines: int = 0) -> Story:
    """The story of all folders together. Folders of one node are one node's; one whose node nothing tells
    stands alone, behind the others.
    """
    whose: dict[tuple[bool, int], list[tuple[str, RunDraft]]] = {}
    for place, diary in enumerate(diaries):
        diary.settle_nodes()
        for run in diary.runs:
            key = (run.node is None, place if run.node is None else run.node)
            whose.setdefault(key, []).append((diary.name, run))
    failovers = [failover for diary in diaries for failover in diary.orders.failovers()]
    failovers.sort(key=lambda failover: failover.received)
    latest = max((run.last.at for diary in diaries for run in diary.runs), default=0.0)
    nodes = tuple(_node(whose[key], latest) for key in sorted(whose))
    return Story(nodes, tuple(failovers), unreadable_lines)


def _node(those: list[tuple[str, RunDraft]], latest: float) -> NodeStory:
    those.sort(key=lambda one: one[1].first.at)
    drafts = [draft for _, draft in those]
    newest = max(drafts, key=lambda draft: draft.last.at)
    patience_s = newest.patience_s
    runs = [draft.finish() for draft in drafts]
    fell_silent = newest.ended == "open" and latest - newest.last.at > patience_s
    answered_ms = _joined(draft.answered_ms for draft in drafts)
    return NodeStory(
        node=drafts[0].node,
        folders=tuple(dict.fromkeys(name for name, _ in those)),
        first=min(run.first for run in runs),
        last=max(run.last for run in runs),
        pings=sum(draft.pings for draft in drafts),
        missed=sum(draft.missed for draft in drafts),
        rtt=round_trips(answered_ms),
        outages=_outages(drafts),
        silences=_silences(runs, fell_silent),
        runs=tuple(runs),
        incidents=tuple(
            sorted((each for draft in drafts for each in draft.incidents), key=lambda each: each.when)
        ),
        answered_at=_joined(draft.answered_at for draft in drafts),
        answered_ms=answered_ms,
        missed_at=_joined(draft.missed_at for draft in drafts),
    )


def _outages(drafts: Iterable[RunDraft]) -> tuple[Outage, ...]:
    return tuple(sorted((each for draft in drafts for each in draft.outages), key=lambda each: each.start))


def _silences(runs: Sequence[Run], fell_silent: bool) -> tuple[Silence, ...]:
    silences = []
    for run in runs:
        if run.ended == "silent":
            after = (other.started for other in runs if other.started and other.started >= run.last)
            silences.append(Silence(run.last, min(after, default=None)))
    if fell_silent:
        silences.append(Silence(max(run.last for run in runs), None))
    return tuple(silences)


def _joined(parts: Iterable[array[float]]) -> array[float]:
    whole = array("d")
    for part in parts:
        whole.extend(part)
    return whole


def node_at(story: Story, node: Optional[int]) -> Optional[NodeStory]:
    """The story of one node; None: none of its logs was given."""
    return next((one for one in story.nodes if one.node == node), None)


def span(story: Story) -> Optional[tuple[datetime, datetime]]:
    """From the first line to the last of all nodes; None: there is none."""
    if not story.nodes:
        return None
    return min(node.first for node in story.nodes), max(node.last for node in story.nodes)
