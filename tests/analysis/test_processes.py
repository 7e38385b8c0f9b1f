"""One process at a time: its outages, silences, freezes and pings."""

from __future__ import annotations

import math
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.model import as_json, round_trips
from analysis.sentences import sentences
from tests.analysis.logs import NIGHT, Worker, stamp

MASTER = "http://10.9.0.10:5000"
BASE = NIGHT.timestamp()


def seconds(spans):
    return [(round(one.start - BASE, 3), one.end and round(one.end - BASE, 3)) for one in spans]


# what a log of node 1 holds → its outages: start, end, duration, reason, cause
UP = ("connected", {"master": MASTER, "sid": "a", "took_ms": 40.0})
TRY = ("connecting", {"master": MASTER})
FAIL = ("connect_failed", {"master": MASTER, "error": "connection refused", "retry_s": 0.5})
DOWN = ("disconnected", {"reason": "ping timeout", "connected_s": 9.0})
START = ("started", {"node": 1, "version": "1.0.0", "pid": 1})
STOPPING = ("stopping", {"signal": "SIGTERM"})
STOPPED = ("stopped", {"uptime_s": 9.0})
AGAIN = [(20, START), (20, TRY), (20.5, UP)]
LOST = "ping timeout"
UNSEEN = "its beginning is not in the log"
OUTAGES = {
    "a start": ([(0, START), (0.1, TRY), (0.14, UP)], []),
    "a start of a second": ([(0, START), (0.1, TRY), (1.0, UP)], []),
    "a slow start": (
        [(0, START), (0.1, TRY), (1.5, UP)],
        [(0, 1.5, 1.5, "start: the first connection was slow", "no_answer")],
    ),
    "a quick start that failed first": (
        [(0, START), (0.1, TRY), (0.2, FAIL), (0.7, TRY), (0.8, UP)],
        [(0, 0.8, 0.8, "start: connection refused", "master_gone")],
    ),
    "a start without a master": (
        [(0, START), (0.1, TRY), (0.2, FAIL), (1, TRY), (1.1, FAIL), (2, TRY), (2.1, UP)],
        [(0, 2.1, 2.1, "start: connection refused", "master_gone")],
    ),
    "a start that the log does not see end": (
        [(0, START), (0.1, TRY), (0.2, FAIL), (9, TRY)],
        [(0, None, 9.0, "start: connection refused", "master_gone")],
    ),
    "a loss": (
        [(0, START), (0, TRY), (0, UP), (9, DOWN), (9, TRY), (9.2, FAIL), (11, TRY), (11.5, UP)],
        [(9, 11.5, 2.5, LOST, "master_gone")],
    ),
    "a loss whose cause is logged": (
        [(0, START), (0, UP), (9, ("disconnected", {"reason": "x", "cause": "tls"})), (9.1, FAIL), (11, UP)],
        [(9, 11, 2, "x", "tls")],
    ),
    "two in one millisecond": (
        [(0, START), (0, TRY), (0, UP), (1, DOWN), (1, TRY), (1, UP), (1, DOWN), (1, TRY), (1, UP)],
        [(1, 1, 0, LOST, "no_answer"), (1, 1, 0, LOST, "no_answer")],
    ),
    "one that the log does not see end": (
        [(0, START), (0, TRY), (0, UP), (9, DOWN), (9, TRY), (12, FAIL)],
        [(9, None, 3.0, LOST, "master_gone")],
    ),
    "one in which the worker is stopped": (
        [(0, START), (0, TRY), (0, UP), (9, DOWN), (9, TRY), (12, STOPPING), (12, STOPPED), *AGAIN],
        [(9, None, 3.0, LOST, "no_answer")],
    ),
    "one in which the worker is killed": (
        [(0, START), (0, TRY), (0, UP), (9, DOWN), (9, TRY), (12, FAIL), (60, START), (60, TRY), (60.5, UP)],
        [(9, None, 3.0, LOST, "master_gone")],
    ),
    "a kill, which is none": ([(0, START), (0, TRY), (0, UP), (60, START), (60, TRY), (60.5, UP)], []),
    "a stop, which is none": (
        [(0, START), (0, TRY), (0, UP), (9, STOPPING), (9, DOWN), (9, STOPPED)],
        [],
    ),
    "a stop that is logged after its disconnection": (
        [
            (0, START),
            (0, UP),
            (9, ("disconnected", {"reason": "stopping", "cause": "own_stop"})),
            (9, STOPPED),
        ],
        [],
    ),
    "a loss whose start is not logged": (
        [(0, START), (0, TRY), (0, UP), (9, TRY), (11, UP)],
        [(9, 11, 2.0, UNSEEN, "unknown")],
    ),
    "a loss that was logged twice": (
        [(0, UP), (9, DOWN), (10, ("disconnected", {"reason": "transport error"})), (11, UP)],
        [(9, 11, 2.0, LOST, "no_answer")],
    ),
    "losses of a worker that logs warnings alone": (
        [
            (9, DOWN),
            (9.5, FAIL),
            (30, DOWN),
            (31, FAIL),
            (50, ("disconnected", {"reason": "x", "connected_s": 90.0})),
        ],
        [(9, 21, 12.0, LOST, "master_gone"), (30, None, 20.0, LOST, "master_gone")],
    ),
    "a log that begins while connected": ([(9, DOWN), (9, TRY), (11, UP)], [(9, 11, 2.0, LOST, "no_answer")]),
    "a log that begins in an outage": (
        [(9, FAIL), (10, TRY), (11, UP)],
        [(9, 11, 2.0, UNSEEN, "master_gone")],
    ),
}


@pytest.mark.parametrize("name", OUTAGES)
def test_outages(story_of, name):
    history, expected = OUTAGES[name]
    worker = Worker(1)
    for second, (event, fields) in history:
        worker.say(second, event, **fields)
    (node,) = as_json(story_of(worker, names=["node1"]))["nodes"]
    assert node["outages"] == [
        {
            "start": stamp(start),
            "end": None if end is None else stamp(end),
            "duration_s": pytest.approx(length),
            "cause": cause,
            "reason": reason,
        }
        for start, end, length, reason, cause in expected
    ]


def test_a_killed_worker_leaves_silence_until_it_is_started_again(story_of):
    (lane,) = story_of(Worker(2).start(0).ping(1, 9).start(30).ping(31, 35)).lanes
    assert seconds(lane.silences) == [(9, 30)]
    assert [process.end for process in lane.processes] == ["silent", "open"]
    assert lane.outages == []


def test_a_stopped_worker_leaves_none(story_of):
    (lane,) = story_of(Worker(2).start(0).ping(1, 9).stop(9.5).start(30)).lanes
    assert lane.silences == []
    assert [process.end for process in lane.processes] == ["stopped", "open"]
    assert seconds(lane.stops) == [(9.5, 30)]


@pytest.mark.parametrize(
    ("last", "silent"),
    [(35, False), (41, False), (29, True)],
    ids=["three pings late", "in time", "six pings late"],
)
def test_a_log_that_ends_long_before_the_others_has_fallen_silent(story_of, last, silent):
    story = story_of(Worker(1).start(0).ping(1, 41), Worker(2).start(0).ping(1, last))
    assert story.lanes[0].silences == []
    assert [one.end for one in story.lanes[1].silences] == ([None] if silent else [])


def test_a_log_of_warnings_alone_does_not_show_who_is_silent(story_of):
    quiet = Worker(1).say(9, "disconnected", reason="x", connected_s=9.0)
    quiet.say(9.5, "connect_failed", error="refused").say(11, "ping_missed", seq=9, missed=1)
    story = story_of(quiet, Worker(2).start(0).ping(1, 999), names=["node1", "node2"])
    assert story.lanes[0].silences == []
    assert [text for text in story.caveats if text.startswith("The logs of node 1 have no line of INFO")]


def test_a_freeze_begins_at_the_last_answer(story_of):
    worker = Worker(1).start(0).ping(1, 9).say(20, "was_frozen", reason="the process stood still for 10.5 s")
    (lane,) = story_of(worker.ping(21, 29)).lanes
    assert seconds(lane.freezes) == [(9, 20)]


def test_a_loss_just_after_a_freeze_is_its_fault(story_of):
    worker = (
        Worker(1).start(0).ping(1, 9).say(20, "was_frozen", reason="the machine was suspended for 10.5 s")
    )
    worker.say(20.1, "disconnected", reason="closed").say(20.5, "connected", master=MASTER)
    assert [one.cause for one in story_of(worker).lanes[0].outages] == ["frozen"]


def test_without_a_comms_log_the_keep_alive_says_when_there_was_a_master(story_of):
    worker = (
        Worker()
        .ping(1, 9)
        .say(12, "pings_paused", reason="ping timeout")
        .say(20, "pings_resumed")
        .ping(20, 29)
    )
    story = story_of(worker, names=["node4"])
    (lane,) = story.lanes
    assert (lane.node, seconds(lane.outages)) == (4, [(12, 20)])
    assert [text for text in story.caveats if text.startswith("No comms.log of node 4")]


def test_a_clock_that_was_put_back_is_told(story_of):
    story = story_of(Worker(1).start(100).ping(101, 109).say(50, "connecting", master=MASTER).ping(51, 59))
    assert [one.text for one in sentences(story) if "put back by 50.0 s: durations across" in one.text]
    assert list(story.lanes[0].answered_at) == sorted(story.lanes[0].answered_at)


def test_from_and_to_have_the_offset_that_stood_in_the_log_then(story_of):
    """Summer time ends while the worker runs."""
    worker = Worker(1, timezone(timedelta(hours=2))).start(0)
    worker.zone = timezone(timedelta(hours=1))
    (node,) = as_json(story_of(worker.stop(9)))["nodes"]
    assert (node["from"][-6:], node["to"][-6:]) == ("+02:00", "+01:00")


# ping.log's lines → pings, missed
ANSWER = ("ping", {"seq": 1, "rtt_ms": 1.5})
LATE = ("ping", {"seq": 1, "rtt_ms": 2500.0, "late": True})
MISSED = ("ping_missed", {"seq": 1, "timeout_ms": 2000, "missed": 1})
SENT = ("ping_sent", {"seq": 1})
COUNTS = {
    "answered": ([ANSWER], 1, 0),
    "missed": ([MISSED], 1, 1),
    "missed, then answered": ([MISSED, LATE], 1, 1),
    "never acknowledged": ([SENT], 1, 0),
    "sent, then answered": ([SENT, ANSWER], 1, 0),
    "none": ([], 0, 0),
}


@pytest.mark.parametrize("name", COUNTS)
def test_each_ping_counts_once(story_of, name):
    history, pings, missed = COUNTS[name]
    worker = Worker(1).start(0)
    for second, (event, fields) in enumerate(history, 1):
        worker.say(second, event, **fields)
    (node,) = as_json(story_of(worker))["nodes"]
    assert (node["pings"], node["missed"]) == (pings, missed)


def test_a_master_that_never_acknowledges_is_counted_to_the_last_ping(story_of):
    worker = Worker(1).start(0)
    for seq in range(2500):
        worker.say(seq, "ping_sent", seq=seq)
    (lane,) = story_of(worker).lanes
    assert (lane.pings, lane.missed, lane.rtt) == (2500, 0, None)


def test_round_trips_of_a_node_without_answers_are_null(story_of):
    (node,) = as_json(story_of(Worker(1).start(0)))["nodes"]
    assert node["rtt_ms"] == {"p50": None, "p99": None, "max": None}


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=400))
def test_percentiles_are_nearest_ranks(answers):
    found = round_trips(answers)
    for percent, value in ((50, found.p50), (99, found.p99), (100, found.max)):
        wanted = math.ceil(len(answers) * percent / 100)
        assert value in answers
        assert sum(answer <= value for answer in answers) >= wanted
        assert sum(answer < value for answer in answers) < wanted
