"""A failover is one absence of a node's owner: who answered for its address when, over all nodes' logs."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest

from analysis.model import as_json
from analysis.narrative import headline
from analysis.sentences import sentences
from tests.analysis.logs import NIGHT, Worker, recover, stamp

ADDRESS = "10.9.0.2/24"
BASE = NIGHT.timestamp()
ALIVE = "10.9.0.2 is in use by 02:fc:00:00:00:02: its owner is alive, only its worker is gone"


def silent(node, last, back=None):
    """A worker that is killed after its ping at `last`, and started again at `back`."""
    worker = Worker(node).start(0).ping(1, last)
    return worker.start(back).ping(back + 1, back + 9) if back else worker


def spans(those):
    return [(round(one.start - BASE, 3), round(one.until - BASE, 3)) for one in those]


def test_a_failover_is_one_thing_across_nodes(story_of):
    refuser = Worker(3).start(0).ping(1, 39).say(9.5, "received", **recover(2, 3)).refuse(9.6, 2, "in use")
    taker = Worker(1).start(0).ping(1, 39).take(10, 2, ordered=9.7).release(30.5, 2)
    story = story_of(taker, silent(2, 9, 30), refuser)
    (one,) = as_json(story)["failovers"]
    attempts = one.pop("attempts")
    assert one == {
        "node": 2,
        "address": ADDRESS,
        "start": stamp(9),
        "end": stamp(30.04),
        "cause": "silent",
        "unserved_s": 1.0,
        "doubled_s": 0.5,
    }
    assert [(each["recovery_node"], each["outcome"]) for each in attempts] == [(3, "refused"), (1, "taken")]
    assert headline(story) == (
        "Node 2 died at 22:47:09; node 1 answered for it 1.0 s later; it came back at 22:47:30. "
        "Two machines had it at once for 0.50 s."
    )


def test_a_hand_over_within_a_tenth_of_a_second_is_no_news(story_of):
    taker = Worker(1).start(0).ping(1, 39).take(10, 2, ordered=9.7).release(30.09, 2)
    story = story_of(taker, silent(2, 9, 30))
    assert 0 < as_json(story)["failovers"][0]["doubled_s"] < 0.1
    assert (
        headline(story)
        == "Node 2 died at 22:47:09; node 1 answered for it 1.0 s later; it came back at 22:47:30."
    )


def one_of(story):
    (one,) = story.failovers
    return one


def test_a_worker_that_is_killed_as_soon_as_it_is_connected(story_of):
    owner = Worker(2).say(0, "started", node=2).say(0, "connecting").say(0.1, "connected").say(0.11, "said")
    one = one_of(story_of(Worker(1).start(0).take(1, 2, ordered=0.2).ping(2, 39), owner.start(30)))
    assert (one.start - BASE, one.cause) == (pytest.approx(0.11), "silent")


def test_its_holder_is_stopped_and_another_takes_it(story_of):
    first = Worker(1).start(0).ping(1, 19).take(10, 2).say(20, "stopping", signal="SIGTERM")
    first.release(20, 2, "stopping").say(20, "stopped", uptime_s=20.0)
    second = Worker(3).start(0).ping(1, 39).take(20.3, 2, ordered=20.1).release(29.8, 2)
    one = one_of(story_of(first, silent(2, 9, 30), second))
    assert spans(one.gaps) == [(9, 10), (20, 20.3), (29.8, 30)]
    assert one.doubles == ()
    assert one.unserved_s == pytest.approx(1.5)


def test_two_that_hold_it_at_one_time(story_of):
    first = Worker(1).start(0).take(10, 2).release(15, 2)
    second = Worker(3).start(0).take(12, 2).release(14, 2)
    one = one_of(story_of(first.ping(1, 39), silent(2, 9, 30), second.ping(1, 39)))
    assert spans(one.doubles) == [(12, 14)]
    assert spans(one.gaps) == [(9, 10), (15, 30)]


def test_an_address_that_was_claimed_and_taken_again(story_of):
    where = {"node": 2, "address": ADDRESS}
    taker = Worker(1).start(0).ping(1, 39).take(10, 2).say(15, "address_conflict", mac="02:07", **where)
    one = one_of(story_of(taker.say(18, "address_restored", **where).release(29, 2), silent(2, 9, 30)))
    assert [round(hold.start - BASE, 3) for hold in one.attempts[0].holds] == [10, 18]
    assert spans(one.gaps)[1] == (15, 18)


def test_what_is_held_where_the_logs_end(story_of):
    one = one_of(story_of(Worker(1).start(0).take(10, 2).ping(11, 39), silent(2, 9)))
    assert (one.end, spans(one.gaps), one.caveats) == (None, [(9, 10)], ())


def test_a_holder_that_was_killed_leaves_its_end_unknown(story_of):
    killed = Worker(1).start(0).take(10, 2).ping(11, 19).start(40)
    one = one_of(story_of(killed, silent(2, 9, 50)))
    assert spans(one.gaps) == [(9, 10)]
    assert [text.split(":")[0] for text in one.caveats] == ["until when node 1 held it"]


def test_a_holder_that_was_killed_for_good_and_another_after_it(story_of):
    killed = Worker(3).start(0).take(10, 2).ping(11, 19)
    second = Worker(1).start(0).ping(1, 69).take(28, 2).release(50.1, 2)
    one = one_of(story_of(killed, silent(2, 9, 50).ping(61, 69), second))
    assert spans(one.gaps) == [(9, 10), (19, 28)]
    assert [text.split(":")[0] for text in one.caveats] == ["until when node 3 held it"]


@pytest.mark.parametrize(("back", "gap", "end"), [(None, (9, 69), None), (30, (9, 30), 30.04)])
def test_nobody_who_could_take_it(story_of, back, gap, end):
    refuser = Worker(3).start(0).ping(1, 69).say(9.5, "received", **recover(2, 3)).refuse(9.6, 2, "no")
    one = one_of(story_of(refuser, silent(2, 9, back)))
    assert spans(one.gaps) == [gap]
    assert one.end is None if end is None else one.end - BASE == pytest.approx(end)


def test_two_absences_of_one_node_are_two(story_of):
    owner = silent(2, 9, 30).start(50).ping(51, 59)
    taker = Worker(1).start(0).ping(1, 59).take(10, 2).release(30.1, 2).take(40, 2).release(50.1, 2)
    told = [(one["start"], one["end"]) for one in as_json(story_of(taker, owner))["failovers"]]
    assert told == [(stamp(9), stamp(30.04)), (stamp(39), stamp(50.04))]


def test_four_cable_cuts_are_four_failovers_whatever_was_refused(story_of):
    """Each has a refusal and a takeover; the tables, the counts and the object say the same."""
    owner, refuser, taker = (Worker(node).start(0) for node in (2, 3, 1))
    for start in (10, 30, 50, 70):
        owner.ping(start - 9, start).say(
            start + 6, "disconnected", reason="3 pings in a row without an answer"
        )
        owner.say(start + 9, "connected", master="http://10.9.0.10:5000")
        refuser.say(start + 1, "received", **recover(2, 3)).refuse(start + 1.1, 2, "no carrier")
        taker.take(start + 2, 2).release(start + 8.9, 2)
    story = story_of(owner.ping(81, 99), refuser.ping(1, 99), taker.ping(1, 99))
    assert [len(one.attempts) for one in story.failovers] == [2, 2, 2, 2]
    assert {one.cause for one in story.failovers} == {"network"}
    assert len(story.outages) == 4


def test_a_cable_that_is_cut_counts_from_the_last_answer(story_of):
    owner = Worker(2).start(0).ping(1, 9).say(15, "disconnected", reason="3 pings in a row without an answer")
    owner.say(25, "connected", master="m").ping(26, 38)
    taker = Worker(1).start(0).ping(1, 39).take(14, 2).release(24.9, 2, "claimed by 02:fc:00:00:00:02")
    one = one_of(story_of(taker, owner))
    assert (round(one.start - BASE, 3), one.cause) == (9, "network")
    # when it claimed its address it was on the wire, whenever its worker reached the master
    assert spans(one.gaps) == [(9, 14)]


def test_an_owner_that_stood_still(story_of):
    owner = Worker(2).start(0).ping(1, 9).say(20, "was_frozen", reason="the process stood still for 10.5 s")
    owner.say(20.01, "disconnected", reason="closed").say(20.3, "connected", master="m").ping(21, 39)
    one = one_of(story_of(Worker(1).start(0).ping(1, 39).take(14, 2).release(20.35, 2), owner))
    assert (round(one.start - BASE, 3), round(one.end - BASE, 3), one.cause) == (9, 20.3, "frozen")
    assert spans(one.doubles) == [(20, 20.35)]


def test_an_owner_whose_machine_goes_on_answering_leaves_no_gap(story_of):
    refuser = Worker(3).start(0).ping(1, 39).say(9.5, "received", **recover(2, 3)).refuse(10.6, 2, ALIVE)
    story = story_of(refuser, silent(2, 9, 30))
    one = one_of(story)
    assert (one.gaps, one.owner_heard, one.cause) == ((), True, "silent")
    assert headline(story).startswith("Node 2's worker died at 22:47:09; its machine went on answering")


def test_a_machine_that_dies_later_than_its_worker_leaves_one_from_its_last_answer(story_of):
    taker = Worker(1).start(0).ping(1, 39).say(9.5, "received", **recover(2, 1))
    taker.say(9.6, "owner_alive", node=2, address=ADDRESS, mac="02:fc:00:00:00:02", wait_s=30)
    taker.say(14, "takeover_done", node=2, address=ADDRESS, interface="eth0", took_ms=4500.0).release(30.1, 2)
    assert spans(one_of(story_of(taker, silent(2, 9, 30))).gaps) == [(9.6, 14)]


def test_a_worker_stopped_by_plan_that_nobody_served_is_not_known_to_be_unserved(story_of):
    """Its neighbors stopped too before they could hear that its machine goes on."""
    owner = Worker(2).start(0).ping(1, 9).say(9.5, "stopping", signal="SIGTERM").say(9.6, "stopped")
    owner.start(40).ping(41, 49)
    taker = Worker(1).start(0).ping(1, 9).say(9.7, "received", order=1, **recover(2, 1))
    taker.say(9.8, "takeover_withdrawn", order=1, node=2, address=ADDRESS, reason="stopping")
    taker.say(9.9, "stopping", signal="SIGTERM").say(10, "stopped").start(40).ping(41, 49)
    story = story_of(taker, owner)
    one = one_of(story)
    assert (one.cause, one.unserved_s) == ("own_stop", 0)
    assert "Nobody answered" not in headline(story)
    assert any("whether node 2's machine went on answering" in caveat for caveat in one.caveats)


def test_an_order_that_was_withdrawn(story_of):
    taker = Worker(1).start(0).ping(1, 39).say(9.5, "received", order=1, **recover(2, 1))
    taker.say(9.6, "takeover_withdrawn", order=1, node=2, address=ADDRESS)
    story = story_of(taker, Worker(2).start(0).ping(1, 39))
    assert [one.outcome for one in one_of(story).attempts] == ["withdrawn"]
    assert one_of(story).unserved_s == 0
    assert "took its order back before anything was taken" in headline(story)


def test_an_owner_whose_log_was_not_given(story_of):
    story = story_of(
        Worker(1).start(0).take(10, 2, ordered=9).release(20, 2).take(30, 2, ordered=29).ping(31, 39)
    )
    first, second = story.failovers
    assert (first.start_known, first.cause, round(first.start - BASE, 3), round(first.end - BASE, 3)) == (
        False,
        "unknown",
        9,
        20,
    )
    assert spans(first.gaps) == [(9, 10)]
    assert second.end is None
    assert "No log of node 2 was given: what it did itself is not known." in story.caveats


def test_an_owner_that_was_there_all_the_while(story_of):
    story = story_of(Worker(1).start(0).ping(1, 39).take(10, 2), Worker(2).start(0).ping(1, 39))
    one = one_of(story)
    assert (one.start_known, one.gaps) == (False, ())
    assert [text for text in story.caveats if "does not show it away" in text]


def test_durations_allow_for_clocks_that_are_apart(story_of):
    """Node 2's clock is 90 s behind, and set to another zone."""
    west = timezone(timedelta(hours=-8))
    owner = Worker(2, west).start(-90).ping(-89, -81).start(-60).ping(-59, -51).start(-20).ping(-19, -11)
    taker = Worker(1).start(0).ping(1, 99).take(10, 2).release(30.1, 2)
    for second in (30.05, 70.05):
        taker.say(second, "received", event="restore", data={"restore_node": 2})
    story = story_of(taker, owner)
    one = as_json(story)["failovers"][0]
    assert (one["start"], one["end"]) == (stamp(-81, west), stamp(-59.96, west))
    assert (one["unserved_s"], one["doubled_s"]) == (
        pytest.approx(1.0, abs=0.1),
        pytest.approx(0.1, abs=0.05),
    )
    assert [text for text in story.caveats if text.startswith("The clock of node 2 is 90.0 s behind")]


def test_the_master_s_log_says_who_was_taken_for_dead_and_why(story_of, tmp_path):
    taker = Worker(1).start(0).take(10, 2, ordered=9.8).release(20, 2).ping(1, 29)
    taker.lines["master.log"] = (
        Worker().say(9.7, "node_dead", node=2, cause="silent", silent_s=2.5).lines["comms.log"]
    )
    story = story_of(taker)
    assert one_of(story).cause == "silent"
    assert "the master took node 2 for dead: no ping for 2.5 s" in [one.text for one in sentences(story)]
