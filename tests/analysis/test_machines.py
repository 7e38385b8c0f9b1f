"""Several folders of one number: archives of one machine, copies, and two machines with one NODE_ID."""

from __future__ import annotations

import pytest

from analysis.model import as_json
from analysis.narrative import headline
from analysis.reader import Folder
from analysis.sentences import sentences
from analysis.timeline import read, tell
from tests.analysis.logs import NIGHT, Worker

BASE = NIGHT.timestamp()


@pytest.fixture
def story_in(tmp_path):
    def tell_it(**workers):
        folders = [Folder(worker.write(tmp_path / name)) for name, worker in workers.items()]
        story = tell(read(folders))
        assert [folder.faults for folder in folders] == [[] for _ in folders]
        return story

    return tell_it


def holder():
    return Worker(1).start(0).ping(1, 59).take(10, 2).release(30.5, 2)


def test_a_worker_that_was_killed_in_one_folder_and_started_in_another(story_in):
    old, new = Worker(2).start(0).ping(1, 9), Worker(2).start(30).ping(31, 59)
    story = story_in(a=holder(), b=new, c=old)
    (one,) = story.lanes[1].silences
    assert (one.start - BASE, one.end - BASE) == (9, 30)
    assert [failover.cause for failover in story.failovers] == ["silent"]
    assert len(story.lanes[1].folders) == 2
    assert story.faults == ()


def test_one_process_over_two_archives(story_in):
    first = Worker(1).start(0).take(10, 2).ping(11, 19)
    second = Worker(1).ping(21, 39).answer(22, 4).release(30, 2)
    story = story_in(day1=first, day2=second)
    (attempt,) = story.failovers[0].attempts
    assert attempt.released - BASE == 30
    assert [(run.first - BASE, run.last - BASE) for run in story.lanes[0].processes] == [(0, 39)]


def test_a_copy_beside_the_original_counts_once(story_in):
    alone, both = as_json(story_in(a=holder())), as_json(story_in(a=holder(), b=holder()))
    assert both == alone


def test_an_older_copy_counts_once(story_in):
    story = story_in(a=Worker(1).start(0).ping(1, 99), b=Worker(1).start(0).ping(1, 49))
    assert [(lane.pings, len(lane.processes)) for lane in story.lanes] == [(50, 1)]


def test_a_copy_whose_start_was_rotated_away_counts_once(story_in):
    whole, copy = Worker(1).start(0).ping(1, 99), Worker(1).answer(41.5, 4)
    copy.lines["ping.log"] = whole.lines["ping.log"][20:]
    story = story_in(a=whole, b=copy)
    assert [lane.pings for lane in story.lanes] == [50]


def two_machines():
    first = Worker(1).say(0, "started", node=1, version="1.0.0", pid=1, run="a", mac="02:0a").ping(1, 99)
    second = Worker(1).say(10, "started", node=1, version="1.0.0", pid=1, run="b", mac="02:0b").ping(12, 98)
    return first, second


def test_two_machines_with_one_number_are_two_lanes_and_one_fault(story_in):
    first, second = two_machines()
    story = story_in(east=first, west=second.stop(98.5))
    assert [(lane.node, lane.pings) for lane in story.lanes] == [(1, 50), (1, 44)]
    assert [lane.silences for lane in story.lanes] == [[], []]
    assert [len(lane.stops) for lane in story.lanes] == [0, 1]
    (fault,) = story.faults
    assert "Two machines ran as node 1 at the same time" in fault
    assert "east" in fault
    assert "west" in fault
    assert headline(story) == fault
    stopped = [one.text for one in sentences(story) if "stopped" in one.text]
    assert len(stopped) == 1
    assert "west" in stopped[0]


def test_two_machines_of_version_1_0_are_told_apart_too(story_in):
    story = story_in(
        a=Worker(1).start(0).ping(1, 99, rtt_ms=1.1), b=Worker(1).start(10).ping(11, 98, rtt_ms=2.2)
    )
    assert len(story.lanes) == 2
    assert len(story.faults) == 1


def test_archives_of_one_of_two_machines_are_still_one_lane(story_in):
    first, second = two_machines()
    story = story_in(a=first, b=second, c=Worker(1).start(200).ping(201, 220))
    assert [len(lane.folders) for lane in story.lanes] == [2, 1]
