"""Machines that start with a clock that is earlier than the last line of their log."""

import pytest

from story.axis import axis_of
from story.episodes import as_json
from story.lanes import lanes_of
from story.words import sentences
from tests.story_logs import Worker, at, stamp

FORWARD = "the wall clock went forward by 30.0 s"


def power_cut(start, last=59):
    """Node 2 dies after its ping at `last`, is back at `start` by a wrong clock, which is set at 80."""
    worker = Worker(2).start(0).ping(1, last).start(start).ping(start + 1, start + 9)
    return worker.say(80, "was_frozen", reason=FORWARD).ping(81, 99)


def breaks(node):
    return [(one.start, one.end) for one in node.silences]


@pytest.mark.parametrize("start", [40, -500])
def test_its_successor_is_the_next_in_the_file(story_of, start):
    story = story_of(power_cut(start))
    (node,) = story.nodes
    assert breaks(node) == [(at(59), at(start))]
    assert [(run.first, run.last) for run in node.runs] == [(at(0), at(59)), (at(start), at(99))]
    assert (node.steps[0].when, node.steps[0].seconds) == (at(start), start - 59)
    told = [one.text for one in sentences(story)]
    assert [text for text in told if "its log ends here" in text] == []
    (silent,) = [text for text in told if "fell silent" in text]
    assert "for a time that is not known, since its clock was earlier at its next start" in silent
    assert list(node.answered_at) == sorted(node.answered_at)


def test_pings_that_were_missed_before_the_power_was_cut_are_the_first_process_s(story_of):
    worker = Worker(2).start(0).ping(1, 59).say(61, "ping_missed", seq=31, timeout_ms=2000, missed=1)
    (node,) = story_of(worker.start(40).ping(41, 45)).nodes
    assert breaks(node) == [(at(61), at(40))]


def test_a_count_that_is_none_is_nobody_s(story_of):
    worker = Worker(2).start(0).ping(1, 59).start(40).say(61, "ping_missed", seq="COUNT")
    worker.lines["ping.log"][-1] = worker.lines["ping.log"][-1].replace("COUNT", "9" * 5000)
    (node,) = story_of(worker).nodes
    assert breaks(node) == [(at(59), at(40))]


def test_a_clock_that_is_never_set_again_leaves_no_end_of_the_log(story_of):
    worker = Worker(2).start(0).ping(1, 59).start(40).ping(41, 45)
    story = story_of(worker, Worker(1).start(0).ping(1, 99))
    assert breaks(story.nodes[1]) == [(at(59), at(40))]


def test_a_start_by_the_right_clock_takes_its_pings_with_it(story_of):
    (node,) = story_of(Worker(2).start(0).ping(1, 9).start(10).ping(11, 19)).nodes
    assert (breaks(node), node.steps) == ([(at(9), at(10))], ())


def test_a_failover_of_a_node_that_comes_back_with_an_earlier_clock(story_of):
    taker = Worker(1).start(0).ping(1, 99).take(62, 2).release(81.5, 2)
    (one,) = as_json(story_of(taker, power_cut(40)))["absences"]
    assert (one["start"], one["cause"], one["end"]) == (stamp(59), "silent", stamp(81))
    assert [(gap["start"], gap["end"]) for gap in one["gaps"]] == [(stamp(59), stamp(62))]


def test_a_stop_and_a_start_by_an_earlier_clock(story_of):
    story = story_of(Worker(2).start(0).ping(1, 59).stop(60).start(40).ping(41, 45).ping(81, 99))
    (node,) = story.nodes
    assert [(one.start, one.end) for one in node.stops] == [(at(60), at(40))]
    (area,) = [area for area in lanes_of(story, axis_of(story))[0].areas if area.kind == "stopped"]
    assert area.end == area.start
