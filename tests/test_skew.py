"""Clocks that are apart: found where the logs tell it, and never made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from story.episodes import as_json
from story.timeline import tell
from tests.story_logs import Worker, diary_of, recover

CLOSED = "WebSocket connection was closed"


def cluster(restarts, ahead=(0, 0, 0)):
    """Three nodes whose master is restarted at those seconds; each node's clock is ahead by so much."""
    workers = []
    for node, offset in enumerate(ahead, 1):
        worker = Worker(node).start(offset).ping(offset + 1, offset + 5)
        for place, second in enumerate(restarts):
            # a few milliseconds after each other, and back when they like
            lost, back = offset + second + node * 0.004, offset + second + 0.2 + node * 0.3 + place * 0.1
            worker.say(lost, "disconnected", reason=CLOSED).say(back, "connected", master="m")
        workers.append(worker.ping(offset + 190, offset + 199))
    return workers


def skew(story):
    return {one["node"]: (one["offset_s"], one["events"]) for one in as_json(story)["clock_skew"]}


def test_one_clock_that_is_90_s_ahead_is_told_to_be_it(story_of):
    story = story_of(*cluster([50, 110], ahead=(0, 0, 90)))
    found = skew(story)
    assert found[1] == (pytest.approx(0, abs=0.02), 2)
    assert found[2] == (pytest.approx(0, abs=0.02), 2)
    assert found[3] == (pytest.approx(90, abs=0.02), 2)
    said = [text for text in story.unknown if "clock" in text]
    assert said[0].startswith("Node 3's clock is 90.0 s ahead: so say 2 events")
    assert said[1].startswith("The clocks of nodes 1 and 2 agree within 4 ms")


def test_times_stand_as_they_were_written(story_of):
    straight, ahead = (
        as_json(story_of(*cluster([50, 110]))),
        as_json(story_of(*cluster([50, 110], (0, 0, 90)))),
    )
    assert ahead["nodes"][:2] == straight["nodes"][:2]
    shifted = [outage["start"] for outage in ahead["nodes"][2]["outages"]]
    assert shifted != [outage["start"] for outage in straight["nodes"][2]["outages"]]


def test_clocks_that_agree_are_told_to(story_of):
    story = story_of(*cluster([50, 110]))
    assert [text for text in story.unknown if "ahead" in text] == []
    assert [text for text in story.unknown if "The clocks of nodes 1, 2 and 3 agree within" in text]


def test_one_event_is_too_few_to_tell_that_a_clock_is_off(story_of):
    story = story_of(*cluster([50], ahead=(0, 0, 90)))
    assert skew(story)[3] == (None, 0)
    assert [text for text in story.unknown if "how far the clock of node 3 may be" in text]


def test_losses_that_have_nothing_to_do_with_each_other_tell_nothing(story_of):
    first = Worker(1).start(0).ping(1, 5)
    other = Worker(2).start(0).ping(1, 5)
    for worker, seconds in ((first, (20, 71, 140)), (other, (43, 99, 181))):
        for second in seconds:
            worker.say(second, "disconnected", reason=CLOSED).say(second + 1, "connected", master="m")
    assert skew(story_of(first, other)) == {1: (None, 0), 2: (None, 0)}


def test_a_return_and_a_refusal_are_seen_by_two(story_of):
    """No connection was lost: what the master passed on tells it."""
    owner = Worker(2).start(0).ping(1, 9).start(30).ping(31, 39)
    refuser = Worker(3).start(0).ping(1, 39).say(10, "received", **recover(2, 3)).refuse(10.2, 2, "in use")
    taker = Worker(1).start(70).ping(71, 109).take(80.41, 2, ordered=80.21)
    taker.say(100.05, "received", event="restore", data={"restore_node": 2}).release(100.05, 2)
    refuser.say(12, "received", **recover(4, 3)).refuse(12.2, 4, "in use")
    taker.take(82.41, 4, ordered=82.21)
    found = skew(story_of(taker, owner, refuser))
    assert found[1][0] - found[3][0] == pytest.approx(70, abs=0.05)


def test_a_single_node_has_no_difference(story_of):
    assert skew(story_of(Worker(1).start(0))) == {}


def test_a_stop_is_what_others_are_ordered_for(story_of):
    first = Worker(1).start(0).take(10, 2).say(20, "stopping", signal="SIGTERM").release(20, 2, "stopping")
    second = Worker(3).start(0).ping(1, 39).take(20.3, 2, ordered=20.02)
    assert skew(story_of(first, second))[3] == (pytest.approx(0.02, abs=0.01), 1)


@given(
    ahead=st.floats(-5000, 5000),
    restarts=st.lists(st.integers(0, 200), min_size=1, max_size=8, unique=True).map(sorted),
)
def test_no_difference_is_made_up(ahead, restarts):
    """Whatever repeats itself: a difference that is told is the true one."""
    workers = cluster([200 + 300 * restart for restart in restarts], (0, ahead, 0))
    found = {one.node: one for one in tell([diary_of(worker) for worker in workers]).offsets}
    assert found[1].offset_s == pytest.approx(found[3].offset_s, abs=0.02)
    if found[2].events:
        assert found[2].offset_s - found[1].offset_s == pytest.approx(ahead, abs=0.02)


@given(ahead=st.floats(-5000, 5000))
def test_any_difference_is_found(ahead):
    workers = cluster([300, 1700, 2900, 7100], (0, ahead, 0))
    found = {one.node: one for one in tell([diary_of(worker) for worker in workers]).offsets}
    assert (found[2].events, found[2].offset_s) == (4, pytest.approx(ahead, abs=0.02))
