"""diagnose.py on a script of faults whose times are known: real workers and master, a real cable to cut.

What the master ordered, and when, is taken from its own log; when a fault began and ended from the script that made it.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analysis.model import Failover, Lane, Story
from analysis.reader import Folder
from analysis.timeline import read, tell
from tests.lab.cluster import ROOT, Bundled, Worker
from tests.lab.lateness import Lateness
from tests.lab.netns import Lab, needs_namespaces, until

pytestmark = [needs_namespaces, pytest.mark.slow]

NODES = (1, 2, 3)
DEAD_AFTER_S, FROZEN_S = 2.5, 4.5
"""Long enough that a busy machine makes no fault of its own."""
SETTINGS = {"PING_INTERVAL": "0.2", "PING_TIMEOUT": "1", "CONFLICT_WAIT": "1", "ADDRESS_LEASE": "3"}
LOGGED_S = 0.25
"""Within which a time is told where the log has an event, on a machine that is not late itself."""
NOTICED_S = 1 + 3 * 0.2
"""From the silence of a master to a worker's verdict: PING_TIMEOUT and three pings."""
AHEAD_S = 90.0


@dataclass
class Script:
    """What was done and when, in seconds since 1970; who held node 2's address first, and who then."""

    root: Path
    at: dict[str, float] = field(default_factory=dict)
    holder: int = 0
    other: int = 0
    late_s: float = 0.0

    @property
    def logged_s(self) -> float:
        """LOGGED_S, and what a machine adds that was late while the script was played: of some events both ends are late."""
        return LOGGED_S + 8 * self.late_s

    @property
    def stop_s(self) -> float:
        """How long the holder took to stop."""
        return self.at["holder gone"] - self.at["holder stopped"]

    def mark(self, what: str) -> None:
        self.at[what] = time.time()

    def folder(self, node: int) -> Path:
        return self.root / f"node{node}"

    def orders(self) -> list[tuple[float, int, int]]:
        """When the master ordered which node's address taken by whom, as it logged it itself."""
        text = (self.root / "master.log").read_text(encoding="utf-8")
        found = re.findall(
            r"^\[(\S+ \S+)\] : \[INFO\] - \[takeover_ordered node=(\d) address=\S+ by=(\d)\]$",
            text,
            re.MULTILINE,
        )
        return [(seconds(when[:-2] + ":" + when[-2:]), int(node), int(by)) for when, node, by in found]


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def up(workers: dict[int, Worker]) -> bool:
    """Whether each worker's last word on its connection is that it has one."""
    events = ("connected", "disconnected", "connecting", "connect_failed")

    def last(worker: Worker) -> str:
        return next((entry.event for entry in worker.entries()[::-1] if entry.event in events), "")

    return all(last(worker) == "connected" for worker in workers.values())


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Script:
    script = Script(tmp_path_factory.mktemp("script"))
    with Lab(NODES) as lab:
        master = Bundled(lab.master, DEAD_AFTER_S, script.root / "master.log")
        workers = {node: Worker(lab, node, script.folder(node), **SETTINGS) for node in NODES}
        until(lambda: master.knows(*NODES) and up(workers), 10)
        lateness = Lateness()
        play(script, lab, master, workers)
        lateness.close()
        script.late_s = lateness.worst_s
    return script


def play(script: Script, lab: Lab, master: Bundled, workers: dict[int, Worker]) -> None:
    def all_well() -> None:
        """Wait until it is so, and for some pings between two faults."""
        until(lambda: master.knows(*NODES) and up(workers) and master.holder(2) is None, 20)
        script.mark(f"well {len(script.at)}")
        pings = (script.folder(1) / "ping.log").stat().st_size
        until(lambda: (script.folder(1) / "ping.log").stat().st_size > pings + 200)

    script.mark("2 killed")
    workers[2].kill()
    # its machine goes on answering for its address, so the neighbor that is ordered refuses
    until(lambda: any(workers[node].entries("takeover_refused") for node in (1, 3)), 12)
    script.mark("2 started")
    workers[2].start()
    all_well()

    script.mark("2 cut")
    lab.node(2).cut()
    script.holder = until(lambda: master.holder(2), 12)
    script.other = 4 - script.holder
    script.mark("holder stopped")
    workers[script.holder].stop()
    script.mark("holder gone")
    until(lambda: master.holder(2) == script.other, 12)
    script.mark("holder started")
    workers[script.holder].start()
    until(lambda: master.knows(1, 3), 12)
    script.mark("2 mended")
    lab.node(2).mend()
    all_well()

    script.mark("master frozen")
    lost = {node: len(workers[node].entries("disconnected")) for node in NODES}
    master.process.send_signal(signal.SIGSTOP)
    until(lambda: all(len(workers[node].entries("disconnected")) > lost[node] for node in NODES), 12)
    script.mark("master thawed")
    master.process.send_signal(signal.SIGCONT)
    all_well()

    script.mark("master killed")
    master.kill()
    script.mark("master started")
    master.start()
    all_well()

    script.mark("3 frozen")
    workers[3].freeze()
    # long enough to be noticed by the worker itself, wherever in its loop it stood
    until(
        lambda: (
            (workers[2].entries("takeover_refused") or master.holder(3) is None)
            and time.time() > script.at["3 frozen"] + FROZEN_S
        ),
        6,
    )
    script.mark("3 thawed")
    workers[3].thaw()
    until(lambda: workers[3].entries("was_frozen"), 12)
    all_well()
    # nobody is to be ordered anything while they go
    master.process.send_signal(signal.SIGSTOP)
    for worker in workers.values():
        worker.kill()


def told_of(*folders: Path) -> Story:
    """The story of those folders; the command prints the same of them, and complains of nothing."""
    those = [Folder(folder) for folder in folders]
    story = tell(read(those))
    assert [folder.faults for folder in those] == [[]] * len(those)
    command = [sys.executable, "diagnose.py", "--json", *map(str, folders)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert done.stderr == b""
    printed: dict[str, Any] = json.loads(done.stdout)
    assert printed["unreadable_lines"] == 0
    assert [node["node"] for node in printed["nodes"]] == [lane.node for lane in story.lanes]
    assert [len(node["outages"]) for node in printed["nodes"]] == [len(lane.outages) for lane in story.lanes]
    assert [len(one["attempts"]) for one in printed["failovers"]] == [
        len(one.attempts) for one in story.failovers
    ]
    return story


@pytest.fixture(scope="module")
def story(script: Script) -> Story:
    return told_of(*map(script.folder, NODES))


class Times:
    """Whether a time of the story is that of a mark; `ahead_s` is by how much that node's clock is."""

    def __init__(self, script: Script, ahead_s: float = 0.0) -> None:
        self._at = script.at
        self._logged_s = script.logged_s
        self._ahead_s = ahead_s

    def is_at(self, told: float | None, mark: str, within_s: float = 0.0) -> None:
        assert told is not None, mark
        late_s = told - self._ahead_s - self._at[mark]
        assert -self._logged_s <= late_s <= within_s + self._logged_s, f"{mark}: told {late_s:+.3f} s later"

    def is_between(self, told: float | None, mark: str) -> None:
        """After that mark and before everything was well again."""
        assert told is not None, mark
        marks = list(self._at)
        well = next(one for one in marks[marks.index(mark) :] if one.startswith("well"))
        assert self._at[mark] - self._logged_s <= told - self._ahead_s <= self._at[well] + self._logged_s


def check_node(script: Script, lane: Lane, ahead_s: float = 0.0) -> None:
    """Every fault of a node is told, at its time, and nothing else."""
    times, lost = Times(script, ahead_s), list(lane.outages)
    if lane.node == 2:
        cut = lost.pop(0)
        times.is_at(cut.start, "2 cut", NOTICED_S)
        times.is_at(cut.last_answer, "2 cut")
        times.is_between(cut.end, "2 mended")
        (silence,) = lane.silences
        times.is_at(silence.start, "2 killed")
        times.is_between(silence.end, "2 started")
    else:
        assert lane.silences == []
    frozen, killed = lost
    times.is_at(frozen.start, "master frozen", NOTICED_S)
    times.is_at(frozen.last_answer, "master frozen")
    times.is_between(frozen.end, "master thawed")
    times.is_at(killed.start, "master killed")
    times.is_between(killed.end, "master started")
    stops, freezes = (script.holder,), (3,)
    assert len(lane.stops) == (lane.node in stops)
    for stop in lane.stops:
        times.is_at(stop.start, "holder stopped", script.stop_s)
        times.is_between(stop.end, "holder started")
    assert len(lane.freezes) == (lane.node in freezes)
    for freeze in lane.freezes:
        times.is_at(freeze.start, "3 frozen")
        times.is_at(freeze.end, "3 thawed")
    assert lane.clock_steps == []


def check_orders(script: Script, story: Story, missing: int = 0, ahead: int = 0) -> None:
    """One attempt for each order of the master's, at its time."""
    orders = sorted(
        (order for order in script.orders() if order[2] != missing), key=lambda one: (one[1:], one[0])
    )
    found = sorted(
        (failover.node, one.recovery_node, one.received)
        for failover in story.failovers
        for one in failover.attempts
    )
    assert [one[:2] for one in found] == [order[1:] for order in orders]
    for (_, by, received), (at, *_) in zip(found, orders):
        assert received - (AHEAD_S if by == ahead else 0) == pytest.approx(at, abs=script.logged_s)
    assert all(
        one.address == f"10.9.0.{failover.node}/24"
        for failover in story.failovers
        for one in failover.attempts
    )


def of(story: Story, node: int) -> list[Failover]:
    return [one for one in story.failovers if one.node == node]


def test_every_fault_is_told_and_none_made_up(script: Script, story: Story) -> None:
    assert [lane.node for lane in story.lanes] == list(NODES)
    for lane in story.lanes:
        check_node(script, lane)
    check_orders(script, story)
    assert (story.unreadable_lines, story.faults) == (0, ())


def test_each_outage_has_its_cause(story: Story) -> None:
    causes = [[one.cause for one in lane.outages] for lane in story.lanes]
    assert causes == [
        ["master_gone", "master_gone"],
        ["network", "master_gone", "master_gone"],
        ["master_gone", "master_gone"],
    ]


def test_a_failover_is_one_thing_across_nodes(script: Script, story: Story) -> None:
    times = Times(script)
    killed, cut = of(story, 2)
    (frozen,) = of(story, 3)
    assert of(story, 1) == []

    assert (killed.cause, killed.owner_heard, killed.unserved_s, killed.doubled_s) == ("silent", True, 0, 0)
    assert {one.outcome for one in killed.attempts} == {"refused"}
    times.is_at(killed.start, "2 killed")
    times.is_between(killed.end, "2 started")

    assert cut.cause == "network"
    times.is_at(cut.start, "2 cut")
    times.is_between(cut.end, "2 mended")
    first, second = (one for one in cut.attempts if one.outcome == "taken")
    assert (first.recovery_node, second.recovery_node) == (script.holder, script.other)
    for one in (first, second):
        assert one.taken is not None
        assert one.takeover_ms is not None
        assert one.taken - one.received == pytest.approx(one.takeover_ms / 1000, abs=0.02 + script.late_s)
    times.is_at(first.released, "holder stopped", script.stop_s)
    times.is_at(second.received, "holder stopped", script.stop_s)
    times.is_at(second.released, "2 mended", 1.0)
    assert [(round(gap.start, 3), round(gap.until, 3)) for gap in cut.gaps[:2]] == [
        (round(cut.start, 3), first.taken),
        (first.released, second.taken),
    ]
    assert cut.doubled_s <= 1.0 + script.logged_s

    # a frozen worker's machine goes on answering too
    assert (frozen.cause, frozen.owner_heard, frozen.unserved_s) == ("frozen", True, 0)
    assert {one.outcome for one in frozen.attempts} <= {"refused", "withdrawn"}
    times.is_between(frozen.attempts[-1].received, "3 frozen")


@pytest.mark.parametrize("missing", NODES)
def test_what_a_missing_log_would_have_told_is_said_to_be_unknown(
    script: Script, story: Story, missing: int
) -> None:
    less = told_of(*(script.folder(node) for node in NODES if node != missing))
    for lane in less.lanes:
        check_node(script, lane)
    check_orders(script, less, missing=missing)
    assert f"No log of node {missing} was given: what it did itself is not known." in less.caveats
    if missing == 2:
        assert [one.start_known for one in of(less, 2)] == [False] * len(of(less, 2))
    else:
        known = [one for one in of(story, 2) if any(each.recovery_node != missing for each in one.attempts)]
        assert [(one.start, one.cause) for one in of(less, 2)] == [(one.start, one.cause) for one in known]


def test_the_master_s_log_says_who_was_taken_for_dead(script: Script) -> None:
    """What the log of node 2 would have shown."""
    story = told_of(script.folder(1), script.folder(3), script.root)
    assert [lane.node for lane in story.lanes] == [1, 3]
    assert [one.cause for one in of(story, 2)] == ["silent"] * len(of(story, 2))
    deaths = [event.at for event in story.master if (event.event, event.node) == ("node_dead", 2)]
    assert -script.logged_s <= deaths[0] - script.at["2 killed"] <= DEAD_AFTER_S + NOTICED_S + script.logged_s


@pytest.mark.parametrize("ahead", NODES)
def test_a_clock_that_is_ahead_is_told_and_its_times_are_not_touched(
    script: Script, story: Story, tmp_path: Path, ahead: int
) -> None:
    folder = tmp_path / f"node{ahead}"
    folder.mkdir()
    for file in script.folder(ahead).glob("*.log"):
        (folder / file.name).write_text(
            re.sub(r"^\[(\S+ \S+?)([+-]\d{4})\]", shifted, file.read_text(), flags=re.MULTILINE)
        )
    off = told_of(folder, *(script.folder(node) for node in NODES if node != ahead))
    found = {lane.node: lane.ahead_s for lane in off.lanes}
    assert found == {
        node: pytest.approx(AHEAD_S if node == ahead else 0, abs=script.logged_s) for node in NODES
    }
    said = [text.split(" is ")[0] for text in off.caveats if " s ahead, by " in text]
    assert said == [f"The clock of node {ahead}"]
    for lane in off.lanes:
        check_node(script, lane, AHEAD_S if lane.node == ahead else 0)
    check_orders(script, off, ahead=ahead)
    # what is told of several nodes together allows for it
    for right, wrong in zip(story.failovers, off.failovers):
        assert (wrong.node, wrong.cause, len(wrong.attempts)) == (
            right.node,
            right.cause,
            len(right.attempts),
        )
        # the offset is known to a line's delay
        assert wrong.unserved_s == pytest.approx(right.unserved_s, abs=2 * script.logged_s)
        assert wrong.doubled_s == pytest.approx(right.doubled_s, abs=2 * script.logged_s)


def shifted(stamp: re.Match[str]) -> str:
    when = datetime.strptime(stamp.group(1), "%Y-%m-%d %H:%M:%S.%f") + timedelta(seconds=AHEAD_S)
    return f"[{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03d}{stamp.group(2)}]"
