"""What is known of a node's time: when it had its master, when it was silent, and when its clock was set."""

import pytest

from story.episodes import as_json
from story.terminal import percent
from story.words import sentences
from tests.story_logs import Worker, at, stamp

CLOSED = "WebSocket connection was closed"


def node_of(story):
    (node,) = as_json(story)["nodes"]
    return node


def span(start, end):
    return {"start": stamp(start), "end": end and stamp(end)}


def lost(worker, start, back):
    return worker.say(start, "disconnected", reason=CLOSED, connected_s=9.0).say(
        back, "connected", master="m"
    )


# what a log of node 1 holds → the percent of its time with a master
AVAILABILITY = {
    "connected all the time": (lambda: Worker(1).start(0, took_ms=0).ping(1, 99), 100),
    "ten of a hundred seconds lost": (lambda: lost(Worker(1).start(0, took_ms=0).ping(1, 49), 50, 60).ping(60, 100), 90),
    "lost to the end": (
        lambda: Worker(1).start(0, took_ms=0).ping(1, 49).say(75, "disconnected", reason=CLOSED).say(100, "connecting"),
        75,
    ),
    "never connected": (
        lambda: Worker(1).say(0, "started", node=1).say(0, "connecting").say(100, "connect_failed", error="x"),
        0,
    ),
    "killed, and started again": (lambda: Worker(1).start(0, took_ms=0).ping(1, 59).start(100, took_ms=0), 59),
    "stopped, and started again": (
        lambda: Worker(1).start(0, took_ms=0).ping(1, 59).stop(60).start(80, took_ms=0).ping(82, 100),
        80,
    ),
    "a log that begins while connected": (lambda: lost(Worker(1).ping(0, 49), 50, 60).ping(60, 100), 90),
    "a log that begins with the loss": (lambda: lost(Worker(1), 0, 60).ping(60, 100), 40),
    "stood still for ten of a hundred seconds": (
        lambda: Worker(1)
        .start(0, took_ms=0)
        .ping(1, 49)
        .say(60, "was_frozen", reason="the process stood still for 10.0 s")
        .ping(60, 100),
        89,
    ),
    "a single line": (lambda: Worker(1).say(0, "started", node=1), None),
    # what is not known does not count: of 60 s the log tells
    "a hole of forty seconds, and ten lost": (
        lambda: lost(Worker(1).start(0, took_ms=0).ping(0, 40).ping(80, 90), 90, 100),
        100 * 50 / 60,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AVAILABILITY)
def test_availability_is_the_part_of_the_known_time_with_a_master(story_of, name):
    make, percents = AVAILABILITY[name]
    found = node_of(story_of(make()))["availability"]
    assert found == (None if percents is None else pytest.approx(percents, abs=0.1))


def test_a_percentage_is_never_rounded_up_to_all():
    assert [percent(value) for value in (100, 99.99999, 99.987, 0)] == ["100", "99.99", "99.98", "0.00"]


def test_a_hole_is_told_as_what_it_is(story_of):
    story = story_of(Worker(1).start(0).ping(1, 41).ping(81, 99))
    node = node_of(story)
    # its end is when the next one was sent, 1.5 ms before its answer
    assert node["holes"] == [span(41, 80.998)]
    assert node["outages"] == node["outages"][:1]
    assert node["silences"] == []
    assert "node 1 logged nothing for 40.0 s, though it was connected: why is not known" in [
        one.text for one in sentences(story)
    ]
    assert story.unknown[-1].startswith("Node 1's log is silent 1 time while it was connected, 40 s in all")


NO_HOLE = {
    "without a master": lambda: lost(Worker(1).start(0).ping(1, 41), 45, 79).ping(81, 99),
    "pings that were missed": lambda: (
        Worker(1).start(0).ping(1, 41).say(45, "ping_missed", seq=1, timeout_ms=2000, missed=1).ping(81, 99)
    ),
    "answers that were late": lambda: (
        Worker(1).start(0).ping(1, 41).say(81, "ping", seq=30, rtt_ms=38000.0).ping(82, 98)
    ),
    "a slow beat": lambda: Worker(1).start(0).ping(1, 1201, every=60),
    "a freeze": lambda: (
        Worker(1)
        .start(0)
        .ping(1, 41)
        .say(80, "was_frozen", reason="the machine was suspended for 38.5 s")
        .ping(81, 99)
    ),
    "a restart": lambda: Worker(1).start(0).ping(1, 41).start(80).ping(81, 99),
    "too few pings to know their beat": lambda: Worker(1).start(0).ping(1, 9).ping(49, 51),
}


@pytest.mark.parametrize("name", NO_HOLE)
def test_what_is_no_hole(story_of, name):
    assert node_of(story_of(NO_HOLE[name]()))["holes"] == []


def test_a_freeze_is_told(story_of):
    worker = Worker(1).start(0).ping(1, 41).say(50, "was_frozen", reason="the process stood still for 8.3 s")
    story = story_of(worker.ping(51, 99))
    # it overslept by 8.3 s, and its last ping stands before
    assert node_of(story)["freezes"] == [span(41, 50)]
    assert (at(50), "node 1 stood still for up to 9.0 s: its process or its machine was frozen") in [
        (one.when, one.text) for one in sentences(story)
    ]


def test_a_freeze_begins_no_more_than_a_turn_of_the_loop_before(story_of):
    worker = Worker(1).start(0).ping(1, 21).say(50, "was_frozen", reason="the process stood still for 8.3 s")
    assert node_of(story_of(worker.ping(51, 99)))["freezes"] == [span(40.7, 50)]


def test_a_stop_lasts_to_the_next_start(story_of):
    node = node_of(story_of(Worker(1).start(0).ping(1, 9).stop(10).start(40).ping(41, 49).stop(50)))
    assert node["stops"] == [span(10, 40), span(50, None)]
    assert node["silences"] == []


def test_a_clock_that_was_put_back_is_told_once(story_of):
    worker = Worker(1).start(0).ping(1, 61).say(60, "sent", event="x")
    worker.say(3, "sent", event="x").ping(3, 41)
    story = story_of(worker)
    (step,) = node_of(story)["clock_steps"]
    assert (step["at"], step["seconds"]) == (stamp(3), -58)
    assert [text for text in story.unknown if "clock was put back by 58.0 s" in text]


def test_a_clock_that_was_put_forward_is_no_freeze(story_of):
    worker = (
        Worker(1).start(0).ping(1, 9).say(99, "was_frozen", reason="the wall clock went forward by 90.0 s")
    )
    node = node_of(story_of(worker.ping(99, 109)))
    assert (node["freezes"], node["clock_steps"]) == ([], [{"at": stamp(99), "seconds": 90}])


def test_an_own_address_in_use_is_no_virtual_address_given_up(story_of):
    worker = (
        Worker(1)
        .start(0)
        .say(5, "address_conflict", address="10.9.0.1/24", mac="02:fc:00:00:00:09", own=True)
    )
    assert sentences(story_of(worker))[-1].text == (
        "node 1 saw its own address 10.9.0.1/24 used by 02:fc:00:00:00:09, and claimed it back"
    )


def test_a_worker_that_its_watchdog_ended(story_of):
    worker = Worker(1).start(0).ping(1, 9).say(30, "hung", thread="owner", since_s=20.1, exit=70).start(31)
    texts = [one.text for one in sentences(story_of(worker))]
    assert "node 1 hung for 20.1 s (owner), and its watchdog ended it" in texts
    assert "node 1 fell silent for 1.0 s: killed, or its machine died" in texts


def test_incidents_stand_in_the_object(story_of):
    node = node_of(story_of(Worker(1).start(0).say(5, "log_lines_lost", file="ping.log", count=7)))
    assert node["incidents"] == [
        {"at": stamp(5), "event": "log_lines_lost", "fields": {"file": "ping.log", "count": "7"}}
    ]


@pytest.mark.parametrize(("set_by_s", "holes"), [(90.0, 0), (60.0, 1)])
def test_a_clock_that_was_put_forward_leaves_no_silence(story_of, set_by_s, holes):
    worker = Worker(1).start(0).ping(1, 29)
    worker.say(120, "was_frozen", reason=f"the wall clock went forward by {set_by_s} s")
    node = node_of(story_of(worker.ping(121, 149)))
    assert (len(node["holes"]), len(node["clock_steps"])) == (holes, 1)
