import io
import math
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from story.account import account
from story.episodes import as_json, round_trips
from story.reading import Folder
from story.terminal import show
from story.timeline import Diary, tell
from story.words import sentences
from tests.story_logs import Worker, a_night, at, contract, joined, recover, stamp

MASTER = "http://10.9.0.10:5000"
ADDRESS = "10.9.0.2/24"


def told(story):
    return [(sentence.when, sentence.text) for sentence in sentences(story)]


# what a log of node 1 holds → its outages: start, end, duration, reason
UP = ("connected", {"master": MASTER, "sid": "a", "took_ms": 40.0})
TRY = ("connecting", {"master": MASTER})
FAIL = ("connect_failed", {"master": MASTER, "error": "refused", "retry_s": 0.5})
DOWN = ("disconnected", {"reason": "ping timeout", "connected_s": 9.0})
START = ("started", {"node": 1, "version": "1.0.0", "pid": 1})
STOPPING = ("stopping", {"signal": "SIGTERM"})
STOPPED = ("stopped", {"uptime_s": 9.0})
AGAIN = [(20, START), (20, TRY), (20.5, UP)]
OUTAGES = {
    "a start": ([(0, START), (0.1, TRY), (0.14, UP)], [(0.1, 0.14, 0.04, "start")]),
    "a start without a master": (
        [(0, START), (0.1, TRY), (0.2, FAIL), (1, TRY), (1.1, FAIL), (2, TRY), (2.1, UP)],
        [(0.1, 2.1, 2.0, "start: refused")],
    ),
    "a loss": (
        [(0, START), (0, TRY), (0, UP), (9, DOWN), (9, TRY), (9.2, FAIL), (11, TRY), (11.5, UP)],
        [(0, 0, 0, "start"), (9, 11.5, 2.5, "ping timeout")],
    ),
    "two in one millisecond": (
        [(0, START), (0, TRY), (0, UP), (1, DOWN), (1, TRY), (1, UP), (1, DOWN), (1, TRY), (1, UP)],
        [(0, 0, 0, "start"), (1, 1, 0, "ping timeout"), (1, 1, 0, "ping timeout")],
    ),
    "one that the log does not see end": (
        [(0, START), (0, TRY), (0, UP), (9, DOWN), (9, TRY), (12, FAIL)],
        [(0, 0, 0, "start"), (9, None, 3.0, "ping timeout")],
    ),
    "one in which the worker is stopped": (
        [(0, START), (0, TRY), (0, UP), (9, DOWN), (9, TRY), (12, STOPPING), (12, STOPPED), *AGAIN],
        [(0, 0, 0, "start"), (9, None, 3.0, "ping timeout"), (20, 20.5, 0.5, "start")],
    ),
    "one in which the worker is killed": (
        [(0, START), (0, TRY), (0, UP), (9, DOWN), (9, TRY), (12, FAIL), (60, START), (60, TRY), (60.5, UP)],
        [(0, 0, 0, "start"), (9, None, 3.0, "ping timeout"), (60, 60.5, 0.5, "start")],
    ),
    "a kill, which is none": (
        [(0, START), (0, TRY), (0, UP), (60, START), (60, TRY), (60.5, UP)],
        [(0, 0, 0, "start"), (60, 60.5, 0.5, "start")],
    ),
    "a stop, which is none": (
        [(0, START), (0, TRY), (0, UP), (9, STOPPING), (9, DOWN), (9, STOPPED)],
        [(0, 0, 0, "start")],
    ),
    "a loss after a start that was not logged": (
        [(0, START), (0, TRY), (0, UP), (9, TRY), (11, UP)],
        [(0, 0, 0, "start"), (9, 11, 2.0, "its beginning is not in the log")],
    ),
    "a loss that was logged twice": (
        [(0, UP), (9, DOWN), (10, ("disconnected", {"reason": "transport error"})), (11, UP)],
        [(9, 11, 2.0, "ping timeout")],
    ),
    "losses of a worker that logs warnings alone": (
        [
            (9, DOWN),
            (9.5, FAIL),
            (30, DOWN),
            (31, FAIL),
            (50, ("disconnected", {"reason": "x", "connected_s": 90.0})),
        ],
        [(9, 21, 12.0, "ping timeout"), (30, None, 20.0, "ping timeout")],
    ),
    "a clock that was put back in between": (
        [(0, UP), (9, DOWN), (-100, UP)],
        [(9, -100, 0, "ping timeout")],
    ),
    "a log that begins while connected": (
        [(9, DOWN), (9, TRY), (11, UP)],
        [(9, 11, 2.0, "ping timeout")],
    ),
    "a log that begins in an outage": (
        [(9, FAIL), (10, TRY), (11, UP)],
        [(9, 11, 2.0, "its beginning is not in the log")],
    ),
    "a loss that was not logged": (
        [(0, UP), (9, TRY), (11, UP)],
        [(9, 11, 2.0, "its beginning is not in the log")],
    ),
}


@pytest.mark.parametrize("name", OUTAGES)
def test_outages(story_of, name):
    history, expected = OUTAGES[name]
    worker = Worker(1)
    for second, (event, fields) in history:
        worker.say(second, event, **fields)
    (node,) = contract(as_json(story_of(worker, names=["node1"])))["nodes"]
    assert node["outages"] == [
        {
            "start": stamp(start),
            "end": None if end is None else stamp(end),
            "duration_s": pytest.approx(length),
            "reason": reason,
        }
        for start, end, length, reason in expected
    ]


def test_a_killed_worker_leaves_silence_until_it_is_started_again(story_of):
    worker = Worker(2).start(0).ping(1, 9).start(30).ping(31, 35)
    (node,) = story_of(worker).nodes
    assert [(silence.start, silence.end) for silence in node.silences] == [(at(9), at(30))]
    assert [run.ended for run in node.runs] == ["silent", "open"]


def test_a_stopped_worker_leaves_none(story_of):
    (node,) = story_of(Worker(2).start(0).ping(1, 9).stop(9.5).start(30)).nodes
    assert node.silences == ()
    assert [run.ended for run in node.runs] == ["stopped", "open"]


def test_a_log_that_ends_before_the_others_is_silence(story_of):
    story = story_of(Worker(1).start(0).ping(1, 41), Worker(2).start(0).ping(1, 9))
    assert story.nodes[0].silences == ()
    (silence,) = story.nodes[1].silences
    assert (silence.start, silence.end) == (at(9), None)


def test_a_log_of_warnings_alone_does_not_tell_who_is_silent(story_of):
    """A worker that is well has nothing to write at LOG_LEVEL=WARNING."""
    quiet = Worker(1).say(9, "disconnected", reason="x", connected_s=9.0)
    quiet.say(9.5, "connect_failed", error="refused").say(11, "ping_missed", seq=9, missed=1)
    story = story_of(quiet, Worker(2).start(0).ping(1, 999), names=["node1", "node2"])
    assert story.nodes[0].silences == ()
    assert not any("silent" in text for _, text in told(story))
    assert (
        "Node 1's logs hold no line of INFO: its LOG_LEVEL does not show a worker that is well, nor whether it "
        "went on after 2026-11-24 22:47:11."
    ) in story.unknown
    assert not any("Node 2's logs hold" in text for text in story.unknown)


@pytest.mark.parametrize(
    ("last", "silent"),
    [(35, False), (41, False), (29, True)],
    ids=["one ping late", "in time", "six pings late"],
)
def test_silence_is_told_once_pings_are_overdue(story_of, last, silent):
    story = story_of(Worker(1).start(0).ping(1, 41), Worker(2).start(0).ping(1, last))
    assert bool(story.nodes[1].silences) == silent


# ping.log's lines → pings, missed
ANSWER = ("ping", {"seq": 1, "rtt_ms": 1.5})
LATE = ("ping", {"seq": 1, "rtt_ms": 2500.0, "late": True})
MISSED = ("ping_missed", {"seq": 1, "timeout_ms": 2000, "missed": 1})
SENT = ("ping_sent", {"seq": 1})
PAUSED = ("pings_paused", {"reason": "ping timeout"})
COUNTS = {
    "answered": ([ANSWER], 1, 0),
    "missed": ([MISSED], 1, 1),
    "missed, then answered": ([MISSED, LATE], 1, 1),
    "never acknowledged": ([SENT], 1, 0),
    "sent, then answered": ([SENT, ANSWER], 1, 0),
    "sent, then missed": ([SENT, MISSED], 1, 1),
    "sent, missed, then answered": ([SENT, MISSED, LATE], 1, 1),
    "sent, the connection lost, another answered": ([SENT, PAUSED, ANSWER], 2, 0),
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
    (node,) = story_of(worker).nodes
    assert (node.pings, node.missed, node.rtt) == (2500, 0, None)


def test_round_trips_of_a_node_without_answers_are_null(story_of):
    (node,) = as_json(story_of(Worker(1).start(0)))["nodes"]
    assert node["rtt_ms"] == {"p50": None, "p99": None, "max": None}


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=400))
def test_percentiles_are_nearest_ranks(answers):
    found = round_trips(answers)
    for percent, value in ((50, found.p50), (99, found.p99), (100, found.max)):
        wanted = math.ceil(len(answers) * percent / 100)
        assert value in answers
        assert sum(answer <= value for answer in answers) >= wanted
        assert sum(answer < value for answer in answers) < wanted


def failover(**changes):
    return {
        "disconnected_node": 2,
        "recovery_node": 1,
        "address": ADDRESS,
        "outcome": "taken",
        "reason": None,
        "received": stamp(10),
        "taken": stamp(10.2),
        "released": None,
        "takeover_ms": 200.0,
        "pending": False,
        **changes,
    }


def taken():
    """Node 1, which was ordered at 10 s to take node 2's address, and took it at 10.2 s."""
    return Worker(1).start(0).take(10.2, 2, took_ms=200.0, ordered=10)


def where(**fields):
    return {"node": 2, "address": ADDRESS, **fields}


FAILOVERS = {
    "taken and still held": (taken(), [failover()]),
    "given back": (taken().release(30, 2), [failover(released=stamp(30))]),
    "refused, without a start": (
        Worker(1).start(0).say(10, "received", **recover(2, 1)).refuse(10.1, 2, "in use"),
        [failover(outcome="refused", reason="in use", taken=None, takeover_ms=None)],
    ),
    "failed": (
        Worker(1)
        .start(0)
        .say(10, "received", **recover(2, 1))
        .say(10, "takeover_started", **where())
        .say(10.1, "takeover_failed", **where(reason="no permission")),
        [failover(outcome="failed", reason="no permission", taken=None, takeover_ms=None)],
    ),
    "malformed": (
        Worker(1)
        .start(0)
        .say(10, "received", event="recover", data={"disconnected_node": ["2"], "ip": 7})
        .say(10, "takeover_refused", reason="no order"),
        [
            failover(
                disconnected_node=None,
                address=None,
                outcome="refused",
                reason="no order",
                taken=None,
                takeover_ms=None,
            )
        ],
    ),
    "no object": (
        Worker(1)
        .start(0)
        .say(10, "received", event="recover", data=[[[]]])
        .say(10, "takeover_refused", reason="no order"),
        [
            failover(
                disconnected_node=None,
                address=None,
                outcome="refused",
                reason="no order",
                taken=None,
                takeover_ms=None,
            )
        ],
    ),
    "for another node": (
        Worker(1).start(0).say(10, "received", **recover(2, 9)).refuse(10, 2, "for node 9"),
        [failover(outcome="refused", reason="for node 9", taken=None, takeover_ms=None)],
    ),
    "cut by its length": (
        Worker(1)
        .start(0)
        .say(10, "received", event="recover", data={"disconnected_node": 2, "ip": "1" * 9000})
        .say(10, "takeover_refused", node=2, reason="no address"),
        [failover(address=None, outcome="refused", reason="no address", taken=None, takeover_ms=None)],
    ),
    "repeated while held": (
        taken().say(15, "received", **recover(2, 1)).answer(15, 2).release(30, 2),
        [failover(released=stamp(30))],
    ),
    "repeated while held, and logged as done": (
        taken()
        .say(15, "received", **recover(2, 1))
        .say(15, "takeover_done", **where(interface="eth0", took_ms=0.1))
        .answer(15, 2)
        .release(30, 2),
        [failover(released=stamp(30))],
    ),
    "repeated while it is worked on": (
        Worker(1)
        .start(0)
        .say(10, "received", **recover(2, 1))
        .say(10, "takeover_started", **where())
        .say(10.1, "received", **recover(2, 1))
        .say(10.2, "takeover_done", **where(interface="eth0", took_ms=200.0))
        .answer(10.2, 2)
        .answer(10.3, 2),
        [failover()],
    ),
    "repeated while held, and refused when free": (
        taken()
        .say(15, "received", **recover(2, 1))
        .answer(15, 2)
        .release(30, 2)
        .say(40, "received", **recover(2, 1))
        .refuse(41, 2, "in use"),
        [
            failover(released=stamp(30)),
            failover(received=stamp(40), outcome="refused", reason="in use", taken=None, takeover_ms=None),
        ],
    ),
    "recover, restore, recover": (
        Worker(1)
        .start(0)
        .say(10, "received", **recover(2, 1))
        .say(10.02, "received", event="restore", data={"restore_node": 2})
        .say(10.04, "received", **recover(2, 1))
        .say(10.05, "takeover_refused", **where(reason="restored"))
        .say(10.3, "takeover_done", **where(interface="eth0", took_ms=260.0)),
        [
            failover(outcome="refused", reason="restored", taken=None, takeover_ms=None),
            failover(received=stamp(10.04), taken=stamp(10.3), takeover_ms=260.0),
        ],
    ),
    "repeated while held, and the log ends": (taken().say(15, "received", **recover(2, 1)), [failover()]),
    "repeated before the first's answer, given back, and taken again": (
        Worker(1)
        .start(0)
        .say(10, "received", **recover(2, 1))
        .say(10.1, "received", **recover(2, 1))
        .say(10.2, "takeover_done", **where(interface="eth0", took_ms=200.0))
        .answer(10.2, 2)
        .release(10.25, 2)
        .say(10.5, "takeover_done", **where(interface="eth0", took_ms=400.0)),
        [
            failover(released=stamp(10.25)),
            failover(received=stamp(10.1), taken=stamp(10.5), takeover_ms=400.0),
        ],
    ),
    "taken twice": (
        taken().release(30, 2).take(40.2, 2, took_ms=200.0, ordered=40),
        [
            failover(released=stamp(30)),
            failover(received=stamp(40), taken=stamp(40.2)),
        ],
    ),
    "one that waits while another is taken": (
        Worker(1)
        .start(0)
        .say(10, "received", **recover(2, 1))
        .take(12, 4)
        .say(40, "takeover_refused", **where(reason="its owner is alive")),
        [
            failover(outcome="refused", reason="its owner is alive", taken=None, takeover_ms=None),
            failover(
                disconnected_node=4,
                address="10.9.0.4/24",
                received=stamp(12 - 0.0031),
                taken=stamp(12),
                takeover_ms=3.1,
            ),
        ],
    ),
    "claimed by another machine": (
        taken().say(20, "address_conflict", **where(mac="02:fc:00:00:00:02")),
        [failover(released=stamp(20))],
    ),
    "claimed, let go and then found to be the owner's": (
        taken()
        .say(20, "address_conflict", **where(mac="02:fc:00:00:00:02"))
        .release(23, 2, "the owner is back"),
        [failover(released=stamp(20))],
    ),
    "claimed, and taken again": (
        taken()
        .say(20, "address_conflict", **where(mac="02:fc:00:00:00:02"))
        .say(23, "address_restored", **where())
        .release(30, 2),
        [failover(released=stamp(30))],
    ),
    "lost": (taken().say(20, "address_lost", **where()), [failover(released=stamp(20))]),
    "lost and not to be had again": (
        taken()
        .say(20, "address_lost", **where())
        .say(20.1, "takeover_failed", **where(reason="no permission")),
        [failover(released=stamp(20))],
    ),
    "held by a worker that was stopped": (
        taken()
        .say(30, "stopping", signal="SIGTERM")
        .release(30, 2, "stopping")
        .say(30, "stopped", uptime_s=30.0),
        [failover(released=stamp(30))],
    ),
    "held by a worker that was killed": (taken().start(60), [failover()]),
    "held by a worker that was killed, and taken again by the next": (
        taken().start(60).take(70.2, 2, took_ms=200.0, ordered=70),
        [failover(), failover(received=stamp(70), taken=stamp(70.2))],
    ),
    "held by a worker that was killed, and given back by the next": (
        taken().say(60, "started", node=1).release(60.2, 2, "its owner is back"),
        [failover(released=stamp(60.2))],
    ),
    "ordered from a worker that was killed, and refused by the next": (
        Worker(1)
        .start(0)
        .say(10, "received", **recover(2, 1))
        .start(60)
        .say(70, "received", **recover(2, 1))
        .refuse(71, 2, "in use"),
        [
            failover(
                outcome="failed",
                reason="the worker fell silent before it had an outcome",
                taken=None,
                takeover_ms=None,
            ),
            failover(received=stamp(70), outcome="refused", reason="in use", taken=None, takeover_ms=None),
        ],
    ),
    "held by a worker that was killed, and adopted": (
        taken()
        .say(60, "started", node=1)
        .say(60, "address_adopted", **where(interface="eth0"))
        .release(70, 2),
        [failover(released=stamp(70))],
    ),
    "without an outcome: stopped": (
        Worker(1).start(0).say(10, "received", **recover(2, 1)).stop(11),
        [
            failover(
                outcome="failed",
                reason="the worker stopped before it had an outcome",
                taken=None,
                takeover_ms=None,
            )
        ],
    ),
    "without an outcome: killed": (
        Worker(1).start(0).say(10, "received", **recover(2, 1)).start(60),
        [
            failover(
                outcome="failed",
                reason="the worker fell silent before it had an outcome",
                taken=None,
                takeover_ms=None,
            )
        ],
    ),
    "without an outcome: the log ends": (
        Worker(1).start(0).say(10, "received", **recover(2, 1)),
        [
            failover(
                outcome="failed",
                reason="the log ends before its outcome",
                taken=None,
                takeover_ms=None,
                pending=True,
            )
        ],
    ),
    "a log that begins behind the order": (
        Worker(1)
        .say(10, "takeover_started", **where())
        .say(10.2, "takeover_done", **where(interface="eth0", took_ms=200.0)),
        [failover()],
    ),
    "a duration that is none": (
        Worker(1)
        .start(0)
        .say(10, "received", **recover(2, 1))
        .say(10.2, "takeover_done", **where(interface="eth0", took_ms="nan")),
        [failover(takeover_ms=None)],
    ),
}


@pytest.mark.parametrize("name", FAILOVERS)
def test_failovers(story_of, name):
    worker, expected = FAILOVERS[name]
    assert as_json(story_of(worker, names=["node1"]))["failovers"] == expected


def test_failovers_of_all_nodes_are_ordered_by_their_order_s_arrival(story_of):
    west = timezone(timedelta(hours=-8))
    story = story_of(
        Worker(1).start(0).take(30, 2).release(40, 2).take(50, 4), Worker(3, west).start(0).take(35, 6)
    )
    assert [(each.disconnected_node, each.recovery_node) for each in story.failovers] == [
        (2, 1),
        (6, 3),
        (4, 1),
    ]
    assert as_json(story)["failovers"][1]["taken"] == stamp(35, west)


def test_only_what_is_held_where_the_log_ends_is_still_held(story_of):
    held, killed = story_of(taken()).failovers[0], story_of(taken().start(60)).failovers[0]
    assert (held.still_held, killed.still_held) == (True, False)


def test_an_order_that_is_under_way_where_the_log_ends_is_no_failure(story_of):
    worker = Worker(1).start(0).say(10, "received", **recover(2, 1)).say(10, "takeover_started", **where())
    story = story_of(worker)
    (one,) = [one for one in sentences(story) if "take" in one.text]
    assert one.text == f"node 1 was told to take {ADDRESS} for node 2; its log ends before the outcome"
    assert one.tone == "plain"
    assert "orders: node 1 (outcome not logged)" in account(story.absences[0], story.failovers, str)
    out = io.StringIO()
    show(story, out)
    assert "not logged" in out.getvalue()
    assert "failed" not in out.getvalue()


def test_whose_a_folder_is(story_of):
    by_started = Worker(3).start(0)
    by_join = Worker().say(0, "connecting").say(1, "sent", **joined(2)).ping(2, 8)
    by_name = Worker().ping(2, 4)
    by_nothing = Worker().ping(2, 6)
    story = story_of(by_started, by_join, by_name, by_nothing, names=["node9", "node8", "node7", "logs"])
    assert [(node.node, node.folders) for node in story.nodes] == [
        (2, ("node8",)),
        (3, ("node9",)),
        (7, ("node7",)),
        (None, ("logs",)),
    ]
    assert [node.pings for node in story.nodes] == [4, 0, 2, 3]


def test_a_folder_whose_node_was_changed_is_split_where_it_was(story_of):
    worker = Worker(4).ping(-5, -1).start(0).ping(1, 9).stop(10)
    worker.node = 5
    worker.start(20).ping(21, 23)
    story = story_of(worker)
    assert [(node.node, node.pings) for node in story.nodes] == [(4, 8), (5, 2)]
    assert [(node.first, node.last) for node in story.nodes] == [(at(-5), at(10)), (at(20), at(23))]


def test_two_folders_of_one_node_are_one_node_s(story_of):
    older, newer = (
        Worker(2).start(0).ping(1, 9, rtt_ms=1.0).stop(10),
        Worker(2).start(20).ping(21, 29, rtt_ms=9.0),
    )
    (node,) = story_of(newer, older).nodes
    assert (node.pings, node.first, node.last) == (10, at(0), at(29))
    assert list(node.answered_at) == sorted(node.answered_at)
    assert (node.rtt.p50, node.rtt.max) == (1.0, 9.0)


def test_nodes_are_ordered_by_number(story_of):
    story = story_of(*(Worker(number).start(0) for number in (10, 2, 9, 1)))
    assert [node.node for node in story.nodes] == [1, 2, 9, 10]


def test_the_story_of_a_night(tmp_path):
    diaries = []
    for path in a_night(tmp_path):
        diary = Diary(path.name)
        diary.read(Folder(path).items())
        diaries.append(diary)
    assert told(tell(diaries)) == [
        (at(0), "node 1 started (version 1.0.0)"),
        (at(0), "node 2 started (version 1.0.0)"),
        (at(0), "node 3 started (version 1.0.0)"),
        (at(0.04), "node 1 reached the master after 40.0 ms"),
        (at(0.04), "node 2 reached the master after 40.0 ms"),
        (at(0.04), "node 3 reached the master after 40.0 ms"),
        (at(3), "node 2 fell silent for 17.0 s: killed, or its machine died"),
        (at(8.1), "node 3 refused to take 10.9.0.2/24 for node 2: no interface holds 10.9.0.2"),
        (at(8.3), "node 1 took 10.9.0.2/24 for node 2 in 3.1 ms"),
        (at(12.5), "node 3 lost the master: ping timeout (the master answered node 1 meanwhile)"),
        (at(15.25), "node 3 reached the master after 2.8 s"),
        (at(20), "node 2 started (version 1.0.0)"),
        (at(20.04), "node 2 reached the master after 40.0 ms"),
        (at(20.7), "node 1 gave 10.9.0.2/24 back after 12.4 s (restore)"),
        (
            at(20.7),
            "10.9.0.2/24 of node 2: away for 17.0 s; nobody held it for up to 5.3 s; two did for up to 700 ms",
        ),
    ]


def test_what_happened_to_a_held_address_is_told(story_of):
    worker = (
        taken()
        .say(20, "address_conflict", **where(mac="02:fc:00:00:00:02"))
        .say(23, "address_restored", **where())
    )
    worker.say(25, "address_lost", **where()).say(25.1, "address_restored", **where())
    worker.say(60, "started", node=1).say(60, "address_adopted", **where())
    texts = [text for _, text in told(story_of(worker))]
    assert [text for text in texts if ADDRESS in text] == [
        "node 1 took 10.9.0.2/24 for node 2 in 200 ms",
        "node 1 saw 10.9.0.2/24 in use by another machine (02:fc:00:00:00:02) and let it go",
        "node 1 took 10.9.0.2/24 again: nobody else answers on it",
        "node 1 lost 10.9.0.2/24: it was taken off the interface, or its lease ran out",
        "node 1 took 10.9.0.2/24 again: nobody else answers on it",
        "node 1 found 10.9.0.2/24 still on its interface and keeps it",
    ]


def test_an_order_that_had_to_wait_is_told_when_it_came(story_of):
    worker = Worker(1).start(0).say(10, "received", **recover(2, 1)).refuse(40, 2, "its owner is alive")
    assert told(story_of(worker))[-2:] == [
        (at(10), "node 1 was told to take 10.9.0.2/24 for node 2"),
        (at(40), "node 1 refused to take 10.9.0.2/24 for node 2: its owner is alive"),
    ]
