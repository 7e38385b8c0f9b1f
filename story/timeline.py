"""Lines to episodes: which process wrote what, when its master was away, what became of its orders. No I/O."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Optional, Union

from .absences import Absences
from .causes import beside_others
from .episodes import Failover, NodeStory, Outage, Silence, Story, round_trips
from .items import Item, Line, Ping
from .moments import spans, without
from .orders import Orders, data_of, number, numbers
from .restarts import Restarts, connected_of, known_of
from .runs import PING_EVENTS, STEP_S, RunDraft, Window, moment
from .skew import Call, allowed_for
from .skew import offsets as clock_offsets
from .unknowns import old_forms, unknowns

CALLS_KEPT = 2000
"""Lines that another node's log may have an echo of, by which clocks are compared: the last ones do."""

_Theirs = tuple[tuple[str, ...], RunDraft]
"""A process, and the folders that its lines are of."""


class Diary:
    """The lines of one folder, or of several of one node, added one after the other in the order of time; none
    of them is kept whole.

    `folders`: what people call them; `number_in_name`: the node it belongs to where no line says so, None
    where its name does not either; `window`: what of it is to be told. `remarks`: what is to be said of how
    it was read.
    """

    def __init__(
        self,
        folders: Union[str, Sequence[str]],
        number_in_name: Optional[int] = None,
        window: Optional[Window] = None,
    ) -> None:
        self.folders = (folders,) if isinstance(folders, str) else tuple(folders)
        self.remarks: list[str] = []
        self.runs: list[RunDraft] = []
        self.orders = Orders()
        self.calls: list[tuple[RunDraft, Call]] = []
        self._number_in_name = number_in_name
        self._window = window or Window()
        self._has_joined = False
        self._before: Optional[RunDraft] = None
        self._began_before = False

    def read(self, items: Iterable[Item]) -> None:
        for item in items:
            if self._before and self._is_before_s(item):
                continue
            if isinstance(item, Ping):
                if not self.runs:
                    self._begin(item)
                self.runs[-1].add_ping(item)
            else:
                self._add(item)

    def _begin(self, item: Item) -> RunDraft:
        before = self.runs[-1] if self.runs else None
        if before:
            before.superseded = True
            self._before, self._began_before = before, item.at < before.last.at - STEP_S
            self.orders.begin_run()
        run = RunDraft(item, self._window, after_stop=before is not None and before.stopping)
        self.runs.append(run)
        return run

    def _is_before_s(self, item: Item) -> bool:
        """Whether it is a line of the last process's ping.log, which a machine that started with an earlier
        clock left behind with later times than `started`; it is added there.
        """
        if self._before is None or not (isinstance(item, Ping) or item.event in PING_EVENTS):
            return False
        if not self._before.is_next(item, sure=self._began_before):
            self._before = None
            return False
        if isinstance(item, Ping):
            self._before.add_ping(item)
        else:
            self._before.add(item)
        return True

    def _add(self, line: Line) -> None:
        run = self._begin(line) if line.event == "started" or not self.runs else self.runs[-1]
        if line.event == "started":
            run.told = number(line.fields.get("node"))
        elif line.event == "sent":
            self._sent(line, run)
        elif line.event == "connected":
            self._has_joined = False
        elif line.event == "received" and line.fields.get("event") == "restore":
            self._call(run, line, "asked back", number(data_of(line).get("restore_node")))
        run.add(line)
        self.orders.add(line, run)

    def _sent(self, line: Line, run: RunDraft) -> None:
        if line.fields.get("event") == "join" and (not self._has_joined or not run.neighbours):
            data = data_of(line)
            if not self._has_joined:
                self._call(run, line, "joined", None)
            self._has_joined = True
            run.neighbours = numbers(data.get("neighbors")) or run.neighbours
            if run.told is None:
                run.told = number(data.get("NODE_ID"))
        elif run.told is None:
            run.told = number(data_of(line).get("NODE_ID"))

    def _call(self, run: RunDraft, line: Line, kind: str, about: Optional[int]) -> None:
        self.calls.append((run, Call(line.at, kind, about)))
        if len(self.calls) > CALLS_KEPT:
            del self.calls[: CALLS_KEPT // 2]

    def settle_nodes(self) -> None:
        """Give each process whose own lines do not tell its node that of the next that tells it, else of the
        last before it, else the number in the folder's name.
        """
        known: Optional[int] = None
        for run in reversed(self.runs):
            known = run.node = run.told if run.told is not None else known
        known = self._number_in_name
        for run in self.runs:
            known = run.node = run.node if run.node is not None else known


def tell(
    diaries: Sequence[Diary],
    unreadable_lines: int = 0,
    unreadable: Optional[Mapping[str, int]] = None,
    old_lines: int = 0,
) -> Story:
    """The story of all folders together. Folders of one node are one node's; one whose node nothing tells
    stands alone, behind the others. `unreadable`: the lines that do not fit, by what is wrong with them;
    `old_lines`: how many were of the scripts of 2020.
    """
    whose: dict[tuple[bool, int], list[_Theirs]] = {}
    calls: dict[int, list[Call]] = {}
    for place, diary in enumerate(diaries):
        diary.settle_nodes()
        for run in diary.runs:
            key = (run.node is None, place if run.node is None else run.node)
            whose.setdefault(key, []).append((diary.folders, run))
        for run, call in diary.calls:
            if run.node is not None:
                calls.setdefault(run.node, []).append(call)
    failovers = [failover for diary in diaries for failover in diary.orders.failovers()]
    failovers.sort(key=lambda failover: failover.received)
    theirs = [whose[key] for key in sorted(whose)]
    nodes = [_node(those) for those in theirs]
    offsets = clock_offsets(nodes, failovers, calls)
    ahead_s = allowed_for(offsets)
    nodes = beside_others(_with_ends(nodes, theirs, ahead_s), ahead_s)
    failovers = _with_unknown_ends(nodes, failovers)
    return Story(
        tuple(nodes),
        tuple(failovers),
        unreadable_lines,
        absences=Absences(nodes, failovers, ahead_s).find(),
        offsets=offsets,
        unknown=(
            *old_forms(old_lines),
            *(text for diary in diaries for text in diary.remarks),
            *unknowns(nodes, failovers, offsets),
        ),
        unreadable=unreadable or {},
    )


def _node(those: list[_Theirs]) -> NodeStory:
    if len({names for names, _ in those}) > 1:
        those.sort(key=lambda one: one[1].first.at)
    drafts = [draft for _, draft in those]
    runs = [draft.finish() for draft in drafts]
    restarts = Restarts(drafts)
    silences, stops, doubtful = restarts.silences(), restarts.stops(), restarts.doubtful()
    answered_at = _joined(draft.answered_at for draft in drafts)
    answered_ms = _joined(draft.answered_ms for draft in drafts)
    if doubtful:
        answered_at, answered_ms = _sorted(answered_at, answered_ms)
    holes_of = [draft.holes() for draft in drafts]
    holes = tuple(hole for those in holes_of for hole in those)
    freezes = tuple(freeze for draft in drafts for freeze in draft.link.freezes)
    known = without(spans(known_of(drafts, holes_of, (*silences, *stops))), doubtful)
    connected = without(spans(connected_of(drafts, holes_of)), doubtful)
    return NodeStory(
        node=drafts[0].node,
        folders=tuple(dict.fromkeys(name for names, _ in those for name in names)),
        first=min(run.first for run in runs),
        last=max(run.last for run in runs),
        pings=sum(draft.pings for draft in drafts),
        missed=sum(draft.missed for draft in drafts),
        rtt=round_trips(answered_ms),
        outages=_outages(drafts),
        silences=silences,
        runs=tuple(runs),
        incidents=tuple(
            sorted((each for draft in drafts for each in draft.incidents), key=lambda each: each.when)
        ),
        answered_at=answered_at,
        answered_ms=answered_ms,
        missed_at=_joined(draft.missed_at for draft in drafts),
        known=known,
        connected=connected,
        stops=stops,
        freezes=freezes,
        holes=holes,
        steps=tuple(
            sorted(
                (*restarts.steps(), *(step for draft in drafts for step in draft.steps)),
                key=lambda step: step.when,
            )
        ),
        neighbours=next((draft.neighbours for draft in reversed(drafts) if draft.neighbours), ()),
        comms=any(draft.comms for draft in drafts),
        has_info=any(draft.has_info for draft in drafts),
        masters=tuple(sorted(each for draft in drafts for each in draft.link.masters)),
    )


def _with_ends(
    nodes: Sequence[NodeStory],
    theirs: Sequence[list[_Theirs]],
    ahead_s: Mapping[Optional[int], float],
) -> list[NodeStory]:
    """The nodes, those silent whose logs end long before the others' do."""
    newest = [
        max((draft for _, draft in those), key=lambda draft: (not draft.superseded, draft.last.at))
        for those in theirs
    ]
    lasts = [draft.last.at - ahead_s.get(node.node, 0.0) for node, draft in zip(nodes, newest)]
    return [
        replace(node, silences=(*node.silences, Silence(moment(draft.last), None)))
        if draft.ended == "open"
        and draft.has_info
        and max(lasts) - last > draft.patience_s
        # a clock that was put back at its start, and not set again, tells nothing of when its log ends
        and moment(draft.last) == node.last
        else node
        for node, draft, last in zip(nodes, newest, lasts)
    ]


def _with_unknown_ends(nodes: Sequence[NodeStory], failovers: Iterable[Failover]) -> list[Failover]:
    """The failovers; what a node held when it fell silent is not known to be held where the logs end."""
    silent = {node.node for node in nodes if any(one.end is None for one in node.silences)}
    return [
        replace(
            failover, still_held=False, holds=tuple(replace(hold, lasts=False) for hold in failover.holds)
        )
        if failover.still_held and failover.recovery_node in silent
        else failover
        for failover in failovers
    ]


def _outages(drafts: Iterable[RunDraft]) -> tuple[Outage, ...]:
    return tuple(sorted((each for draft in drafts for each in draft.outages()), key=lambda each: each.start))


def _joined(parts: Iterable[array[float]]) -> array[float]:
    whole = array("d")
    for part in parts:
        whole.extend(part)
    return whole


def _sorted(times: array[float], values: array[float]) -> tuple[array[float], array[float]]:
    pairs = sorted(zip(times, values))
    return array("d", (at for at, _ in pairs)), array("d", (value for _, value in pairs))


def span(story: Story) -> Optional[tuple[datetime, datetime]]:
    """From the first line to the last of all nodes; None: there is none."""
    if not story.nodes:
        return None
    return min(node.first for node in story.nodes), max(node.last for node in story.nodes)
