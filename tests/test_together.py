"""Several folders of one node: archives, a worker that was installed anew, a copy beside the original."""

import json

import pytest

from story.episodes import as_json
from story.reading import Folder
from story.runs import Window
from story.timeline import tell
from story.together import diaries_of
from story.words import sentences
from tests.story_logs import Worker, at, stamp
from tests.test_diagnose import diagnose


@pytest.fixture
def read(tmp_path):
    """The story of workers, each with a folder of that name."""

    def tell_it(**workers):
        folders = [Folder(worker.write(tmp_path / name)) for name, worker in workers.items()]
        story = tell(diaries_of(folders, Window()))
        assert [folder.faults for folder in folders] == [[] for _ in folders]
        return story

    return tell_it


def holder():
    return Worker(1).start(0).ping(1, 59).take(10, 2).release(30.5, 2)


def test_a_worker_that_was_killed_in_one_folder_and_started_in_another(read):
    old, new = Worker(2).start(0).ping(1, 9), Worker(2).start(30).ping(31, 59)
    story = read(a=holder(), b=new, c=old)
    (one,) = story.nodes[1].silences
    assert (one.start, one.end) == (at(9), at(30))
    (absence,) = as_json(story)["absences"]
    assert (absence["cause"], absence["start"], absence["end"]) == ("silent", stamp(9), stamp(30.04))
    assert len(story.nodes[1].folders) == 2


def test_one_process_over_two_archives(read):
    first = Worker(1).start(0).take(10, 2).ping(11, 19)
    second = Worker(1).ping(21, 39).answer(22, 4).release(30, 2)
    story = read(day1=first, day2=second)
    (failover,) = story.failovers
    assert (failover.released, failover.still_held) == (at(30), False)
    assert [(run.first, run.last) for run in story.nodes[0].runs] == [(at(0), at(39))]


def test_many_archives_are_one_log(read):
    parts = {f"p{place}": Worker(1).ping(place * 10, place * 10 + 8) for place in range(1, 26)}
    for worker in parts.values():
        worker.say(0, "sent", event="x", data={"NODE_ID": 1})
    (node,) = read(**parts).nodes
    assert (node.pings, len(node.runs)) == (125, 1)


def test_a_copy_beside_the_original_is_told_once(read):
    alone = as_json(read(a=holder()))
    story = read(a=holder(), b=holder())
    both = as_json(story)
    assert both["failovers"] == alone["failovers"]
    assert both["absences"] == alone["absences"]
    assert [{**node, "folders": None} for node in both["nodes"]] == [
        {**node, "folders": None} for node in alone["nodes"]
    ]
    assert [text for text in both["unknown"] if "hold 39 lines twice; each is told once" in text]


def test_an_older_copy_of_a_log_whose_clock_was_put_back(read):
    def worker(last):
        return Worker(1).start(0).ping(1, 39).start(20).ping(21, last)

    (node,) = read(a=worker(99), b=worker(49)).nodes
    assert (node.pings, len(node.runs)) == (60, 2)
    assert [(one.start, one.end) for one in node.silences] == [(at(39), at(20))]


def test_two_workers_with_one_number_at_one_time_are_told_apart(read):
    story = read(a=Worker(1).start(0).ping(1, 99), b=Worker(1).start(10).ping(12, 98))
    assert [len(node.runs) for node in story.nodes] == [2]
    assert story.nodes[0].silences == ()
    assert [text for text in story.unknown if "as if several had its number" in text]
    assert [one.text for one in sentences(story) if "fell silent" in one.text] == []


def test_the_command_reads_them_together(tmp_path):
    done = diagnose(holder().write(tmp_path / "node1"), holder().write(tmp_path / "copy-of-node1"), "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert ([node["pings"] for node in told["nodes"]], len(told["failovers"])) == ([30], 1)
