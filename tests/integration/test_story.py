"""diagnose.py on a script of faults whose times are known: real workers and master, a real cable to cut.

What the master ordered, and when, is taken from its own log; when a fault began and ended from whoever made it.
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

from tests.lab.cluster import ROOT, Bundled, Worker
from tests.lab.netns import Lab, needs_namespaces, until
from tests.story_logs import contract

pytestmark = [needs_namespaces, pytest.mark.slow]

NODES = (1, 2, 3)
DEAD_AFTER_S, FROZEN_S = 2.5, 4.5
"""Long enough that a busy machine makes no fault of its own."""
SETTINGS = {"PING_INTERVAL": "0.2", "PING_TIMEOUT": "1", "CONFLICT_WAIT": "1", "ADDRESS_LEASE": "3"}
LOGGED_S = 0.25
"""Within which a time is told where the log has an event."""
NOTICED_S = 1 + 3 * 0.2 + LOGGED_S
"""From the silence of a master to a worker's verdict: PING_TIMEOUT and three pings."""
AHEAD_S = 90.0


@dataclass
class Script:
    """What was done and when, in seconds since 1970; who held node 2's address first, and who then."""

    root: Path
    at: dict[str, float] = field(default_factory=dict)
    holder: int = 0
    other: int = 0

    def mark(self, what: str) -> None:
        self.at[what] = time.time()

    def folder(self, node: int) -> Path:
        return self.root / f"node{node}"

    def orders(self) -> list[tuple[float, int, int]]:
        """When the master ordered which node's address taken by whom, as it logged it itself."""
        text = (self.root / "master.log").read_text(encoding="utf-8")
        found = re.findall(
            r"^\[(\S+ \S+)\] : \[INFO\] - \[recover node=(\d) ip=\S+ by=(\d)\]$", text, re.MULTILINE
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
        play(script, lab, master, workers)
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
    # its machine goes on answering for its address, so both neighbours refuse
    until(lambda: sum(len(workers[node].entries("takeover_refused")) for node in (1, 3)) == 2, 12)
    script.mark("2 started")
    workers[2].start()
    all_well()

    script.mark("2 cut")
    lab.node(2).cut()
    script.holder = until(lambda: master.holder(2), 12)
    script.other = 4 - script.holder
    script.mark("holder stopped")
    workers[script.holder].stop()
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
        lambda: workers[2].entries("takeover_refused") and time.time() > script.at["3 frozen"] + FROZEN_S, 6
    )
    script.mark("3 thawed")
    workers[3].thaw()
    until(lambda: workers[3].entries("was_frozen"), 12)
    all_well()
    # nobody is to be ordered anything while they go
    master.process.send_signal(signal.SIGSTOP)
    for worker in workers.values():
        worker.kill()


def diagnose(*folders: Path) -> dict[str, Any]:
    command = [sys.executable, "diagnose.py", "--json", *map(str, folders)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert done.stderr == b""
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def told(script: Script) -> dict[str, Any]:
    return diagnose(*map(script.folder, NODES))


class Times:
    """Whether a told time is that of a mark; `ahead_s` is by how much that node's clock is."""

    def __init__(self, script: Script, ahead_s: float = 0.0) -> None:
        self._at = script.at
        self._ahead_s = ahead_s

    def is_at(self, told: str, mark: str, within_s: float = LOGGED_S) -> None:
        late_s = seconds(told) - self._ahead_s - self._at[mark]
        assert -LOGGED_S <= late_s <= within_s, f"{mark}: told {late_s:+.3f} s later"

    def is_between(self, told: str, mark: str) -> None:
        """After that mark and before everything was well again."""
        marks = list(self._at)
        well = next(one for one in marks[marks.index(mark) :] if one.startswith("well"))
        assert self._at[mark] - LOGGED_S <= seconds(told) - self._ahead_s <= self._at[well] + LOGGED_S


def outages(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that are no start."""
    return [outage for outage in node["outages"] if outage["reason"] != "start"]


def check_node(script: Script, node: dict[str, Any], ahead_s: float = 0.0) -> None:
    """Every fault of a node is told, at its time, and nothing else."""
    number, times = node["node"], Times(script, ahead_s)
    lost = outages(node)
    if number == 2:
        cut = lost.pop(0)
        times.is_at(cut["start"], "2 cut", NOTICED_S)
        times.is_at(cut["last_answer"], "2 cut")
        times.is_between(cut["end"], "2 mended")
        (silence,) = node["silences"]
        times.is_at(silence["start"], "2 killed")
        times.is_between(silence["end"], "2 started")
    else:
        assert node["silences"] == []
    frozen, killed = lost
    times.is_at(frozen["start"], "master frozen", NOTICED_S)
    times.is_at(frozen["last_answer"], "master frozen")
    times.is_between(frozen["end"], "master thawed")
    times.is_at(killed["start"], "master killed")
    times.is_between(killed["end"], "master started")
    starts = len(node["outages"]) - len(outages(node))
    if number == script.holder:
        (stop,) = node["stops"]
        times.is_at(stop["start"], "holder stopped")
        times.is_between(stop["end"], "holder started")
    else:
        assert node["stops"] == []
    assert starts == (1 if number == script.other else 2)
    if number == 3:
        (freeze,) = node["freezes"]
        times.is_at(freeze["start"], "3 frozen")
        times.is_at(freeze["end"], "3 thawed")
    else:
        assert node["freezes"] == []
    assert (node["holes"], node["clock_steps"]) == ([], [])


def check_failovers(script: Script, told: dict[str, Any], missing: int = 0, ahead: int = 0) -> None:
    """One for each order of the master's, at its time."""
    orders = [order for order in script.orders() if order[2] != missing]
    found = told["failovers"]
    late = {one["recovery_node"]: AHEAD_S if one["recovery_node"] == ahead else 0.0 for one in found}
    # node by node, since two orders of one moment may be logged in either order
    orders.sort(key=lambda order: (order[1:], order[0]))
    found = sorted(
        found, key=lambda one: (one["disconnected_node"], one["recovery_node"], seconds(one["received"]))
    )
    assert [(one["disconnected_node"], one["recovery_node"]) for one in found] == [
        order[1:] for order in orders
    ]
    for one, (at, node, _) in zip(found, orders):
        assert seconds(one["received"]) - late[one["recovery_node"]] == pytest.approx(at, abs=LOGGED_S)
        assert one["address"] == f"10.9.0.{node}/24"


def test_every_fault_is_told_and_none_made_up(script, told):
    assert [node["node"] for node in told["nodes"]] == list(NODES)
    for node in told["nodes"]:
        check_node(script, node)
    check_failovers(script, told)
    assert told["unreadable_lines"] == 0


def test_each_outage_has_its_cause(script, told):
    first, second, third = (outages(node) for node in told["nodes"])
    assert second[0]["cause"] == "network"
    for frozen, killed in (first, second[1:], third):
        assert (frozen["cause"], killed["cause"]) == ("master gone", "master gone")
    restarted = told["nodes"][script.holder - 1]["outages"]
    assert [outage["cause"] for outage in restarted[:2]] == ["start", "own stop"]


def test_each_failover_s_outcome(script, told):
    times = Times(script)
    found = told["failovers"]
    refused = found[:2]
    assert [one["outcome"] for one in refused] == ["refused", "refused"]
    assert {one["recovery_node"] for one in refused} == {1, 3}
    assert "its owner is alive" in refused[0]["reason"]

    taken = [one for one in found if one["outcome"] == "taken"]
    assert [one["recovery_node"] for one in taken] == [script.holder, script.other]
    for one in taken:
        took_s = seconds(one["taken"]) - seconds(one["received"])
        assert took_s == pytest.approx(one["takeover_ms"] / 1000, abs=0.02)
    times.is_at(taken[0]["released"], "holder stopped")
    times.is_at(taken[1]["received"], "holder stopped")
    times.is_at(taken[1]["released"], "2 mended", 1.0 + LOGGED_S)
    # a frozen worker's machine goes on answering too
    assert [(one["disconnected_node"], one["outcome"]) for one in found[-1:]] == [(3, "refused")]
    times.is_between(found[-1]["received"], "3 frozen")


def absences_of(told: dict[str, Any], node: int) -> list[dict[str, Any]]:
    return [one for one in told["absences"] if one["node"] == node]


def test_a_failover_is_one_thing_across_nodes(script, told):
    times = Times(script)
    killed, cut = absences_of(told, 2)
    assert (killed["cause"], killed["owner_answered"], killed["holders"], killed["gaps"]) == (
        "silent",
        True,
        [],
        [],
    )
    times.is_at(killed["start"], "2 killed")
    assert killed["failovers"][:2] == [0, 1]
    assert cut["cause"] == "without the master"
    times.is_at(cut["start"], "2 cut")
    assert [holder["node"] for holder in cut["holders"]] == [script.holder, script.other]
    first, second = cut["gaps"]
    assert (first["start"], first["end"]) == (cut["start"], cut["holders"][0]["from"])
    assert (second["start"], second["end"]) == (cut["holders"][0]["to"], cut["holders"][1]["from"])
    assert sum(double["duration_s"] for double in cut["doubles"]) <= 1.0 + LOGGED_S
    (frozen,) = absences_of(told, 3)
    assert (frozen["cause"], frozen["owner_answered"]) == ("frozen", True)
    assert absences_of(told, 1) == []


@pytest.mark.parametrize("missing", NODES)
def test_what_a_missing_log_would_have_told_is_said_to_be_unknown(script, told, missing):
    given = [node for node in NODES if node != missing]
    less = diagnose(*map(script.folder, given))
    assert [node["node"] for node in less["nodes"]] == given
    for node in less["nodes"]:
        check_node(script, node)
    check_failovers(script, less, missing=missing)
    assert contract(less)["nodes"] == [node for node in contract(told)["nodes"] if node["node"] != missing]
    assert f"No log of node {missing} was given: what it did itself is not known." in less["unknown"]
    if missing == 2:
        assert all(absence["start"] is None for absence in absences_of(less, 2))


@pytest.mark.parametrize("ahead", NODES)
def test_a_clock_that_is_ahead_is_told_and_its_times_are_not_touched(script, told, tmp_path, ahead):
    folder = tmp_path / f"node{ahead}"
    folder.mkdir()
    for file in script.folder(ahead).glob("*.log"):
        (folder / file.name).write_text(
            re.sub(r"^\[(\S+ \S+?)([+-]\d{4})\]", shifted, file.read_text(), flags=re.MULTILINE)
        )
    others = [script.folder(node) for node in NODES if node != ahead]
    off = diagnose(folder, *others)
    offsets = {one["node"]: one["offset_s"] for one in off["clock_skew"]}
    assert offsets == {node: pytest.approx(AHEAD_S if node == ahead else 0, abs=LOGGED_S) for node in NODES}
    told_of = [text.split(" is ")[0] for text in off["unknown"] if " s ahead: so say" in text]
    assert told_of == [f"Node {ahead}'s clock"]
    for node in off["nodes"]:
        check_node(script, node, AHEAD_S if node["node"] == ahead else 0)
    check_failovers(script, off, ahead=ahead)
    # what is told of several nodes together allows for it
    for right, wrong in zip(told["absences"], off["absences"]):
        assert (wrong["node"], wrong["cause"], len(wrong["failovers"])) == (
            right["node"],
            right["cause"],
            len(right["failovers"]),
        )
        for kind in ("gaps", "doubles"):
            # the offset is known to a line's delay, by which an edge moves, and one that touches another joins it
            told_s, right_s = (sum(one["duration_s"] for one in of[kind]) for of in (wrong, right))
            assert told_s == pytest.approx(right_s, abs=2 * LOGGED_S)


def shifted(stamp: re.Match[str]) -> str:
    when = datetime.strptime(stamp.group(1), "%Y-%m-%d %H:%M:%S.%f") + timedelta(seconds=AHEAD_S)
    return f"[{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03d}{stamp.group(2)}]"
