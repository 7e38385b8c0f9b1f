from datetime import timedelta, timezone

from story.episodes import as_json
from story.words import sentences
from tests.story_logs import Worker, at, recover, stamp

ADDRESS = "10.9.0.2/24"


def absences(story):
    return as_json(story)["absences"]


def silent(node, last, back=None):
    """A worker that is killed after its ping at `last`, and started again at `back`."""
    worker = Worker(node).start(0).ping(1, last)
    return worker.start(back).ping(back + 1, back + 9) if back else worker


def stretch(start, end, length, **more):
    return {"start": stamp(start), "end": end and stamp(end), "duration_s": length, **more}


def test_a_failover_is_one_thing_across_nodes(story_of):
    refuser = Worker(3).start(0).ping(1, 39).say(9.5, "received", **recover(2, 3)).refuse(9.6, 2, "in use")
    taker = Worker(1).start(0).ping(1, 39).take(10, 2, ordered=9.7).release(30.5, 2)
    (one,) = absences(story_of(taker, silent(2, 9, 30), refuser))
    assert one == {
        "node": 2,
        "address": ADDRESS,
        "start": stamp(9),
        "end": stamp(30.04),
        "cause": "silent",
        "failovers": [0, 1],
        "holders": [{"node": 1, "from": stamp(10), "to": stamp(30.5), "still_held": False}],
        "gaps": [stretch(9, 10, 1.0)],
        "doubles": [stretch(30, 30.5, 0.5, nodes=[1, 2])],
        "owner_answered": False,
        "unknown": [],
    }


def test_nothing_contradicts_it(story_of):
    story = story_of(Worker(1).start(0).ping(1, 39).take(10, 2).release(30.5, 2), silent(2, 9, 30))
    assert [text for text in story.unknown if "had lost sight of it" in text] == []


def test_a_worker_that_is_killed_as_soon_as_it_is_connected(story_of):
    owner = (
        Worker(2)
        .say(0, "started", node=2)
        .say(0, "connecting")
        .say(0.1, "connected")
        .say(0.11, "sent", event="x")
    )
    (one,) = absences(story_of(Worker(1).start(0).take(1, 2, ordered=0.2).ping(2, 39), owner.start(30)))
    assert (one["start"], one["end"], one["cause"]) == (stamp(0.11), stamp(30.04), "silent")


def test_its_holder_is_stopped_and_another_takes_it(story_of):
    first = Worker(1).start(0).ping(1, 19).take(10, 2).say(20, "stopping", signal="SIGTERM")
    first.release(20, 2, "stopping").say(20, "stopped", uptime_s=20.0)
    second = Worker(3).start(0).ping(1, 39).take(20.3, 2, ordered=20.1).release(29.8, 2)
    (one,) = absences(story_of(first, silent(2, 9, 30), second))
    assert [(holder["node"], holder["from"], holder["to"]) for holder in one["holders"]] == [
        (1, stamp(10), stamp(20)),
        (3, stamp(20.3), stamp(29.8)),
    ]
    assert one["gaps"] == [stretch(9, 10, 1.0), stretch(20, 20.3, 0.3), stretch(29.8, 30, 0.2)]
    assert one["doubles"] == []


def test_two_that_hold_it_at_one_time(story_of):
    first, second = (
        Worker(1).start(0).take(10, 2).release(15, 2),
        Worker(3).start(0).take(12, 2).release(14, 2),
    )
    (one,) = absences(story_of(first.ping(1, 39), silent(2, 9, 30), second.ping(1, 39)))
    assert one["doubles"] == [stretch(12, 14, 2.0, nodes=[1, 3])]
    assert one["gaps"] == [stretch(9, 10, 1.0), stretch(15, 30, 15.0)]


def test_an_address_that_was_claimed_and_taken_again(story_of):
    where = {"node": 2, "address": ADDRESS}
    taker = (
        Worker(1)
        .start(0)
        .ping(1, 39)
        .take(10, 2)
        .say(15, "address_conflict", mac="02:fc:00:00:00:07", **where)
    )
    taker.say(18, "address_restored", **where).release(29, 2)
    (one,) = absences(story_of(taker, silent(2, 9, 30)))
    assert [(holder["from"], holder["to"]) for holder in one["holders"]] == [
        (stamp(10), stamp(15)),
        (stamp(18), stamp(29)),
    ]
    assert one["gaps"][1] == stretch(15, 18, 3.0)


def test_what_is_held_where_the_logs_end(story_of):
    (one,) = absences(story_of(Worker(1).start(0).take(10, 2).ping(11, 39), silent(2, 9)))
    assert (one["end"], one["gaps"], one["unknown"]) == (None, [stretch(9, 10, 1.0)], [])
    assert one["holders"] == [{"node": 1, "from": stamp(10), "to": None, "still_held": True}]


def test_a_holder_that_was_killed_leaves_its_end_unknown(story_of):
    killed = Worker(1).start(0).take(10, 2).ping(11, 19).start(40)
    (one,) = absences(story_of(killed, silent(2, 9, 50)))
    assert one["gaps"] == [stretch(9, 10, 1.0)]
    assert [text.split(":")[0] for text in one["unknown"]] == ["until when node 1 held it"]


def killed_holder():
    """Node 3 takes node 2's address, is killed for good, and node 1 takes it in its turn."""
    killed = Worker(3).start(0).take(10, 2).ping(11, 19)
    second = Worker(1).start(0).ping(1, 69).take(28, 2).release(50.1, 2)
    return killed, silent(2, 9, 50).ping(61, 69), second


def test_a_holder_that_was_killed_for_good_holds_nothing_at_the_end(story_of):
    story = story_of(*killed_holder())
    assert [one.still_held for one in story.failovers] == [False, False]
    (one,) = absences(story)
    assert [holder["still_held"] for holder in one["holders"]] == [False, False]
    assert one["gaps"] == [stretch(9, 10, 1.0), stretch(19, 28, 9.0)]
    assert [text.split(":")[0] for text in one["unknown"]] == ["until when node 3 held it"]


def test_what_it_cost_is_told_though_one_holder_was_killed_for_good(story_of):
    told = sentences(story_of(*killed_holder()))
    assert told[-1].when == at(50.1)
    assert "away for 41.0 s; nobody held it for up to 10.0 s" in told[-1].text


def test_the_last_holder_that_was_killed_for_good_leaves_its_end_unknown(story_of):
    killed, owner, _ = killed_holder()
    story = story_of(killed, owner)
    (one,) = absences(story)
    assert one["gaps"] == [stretch(9, 10, 1.0)]
    assert [text.split(":")[0] for text in one["unknown"]] == ["until when node 3 held it"]
    assert [one.text for one in sentences(story) if "nobody held it" in one.text] == []


def test_nobody_who_could_take_it(story_of):
    refuser = Worker(3).start(0).ping(1, 69).say(9.5, "received", **recover(2, 3)).refuse(9.6, 2, "no")
    gone = absences(story_of(refuser, silent(2, 9)))[0]
    assert gone["gaps"] == [stretch(9, None, 60.0)]
    (back,) = absences(story_of(refuser, silent(2, 9, 30)))
    assert back["gaps"] == [stretch(9, 30, 21.0)]


def test_two_absences_of_one_node_are_two(story_of):
    owner = silent(2, 9, 30).start(50).ping(51, 59)
    taker = Worker(1).start(0).ping(1, 59).take(10, 2).release(30.1, 2).take(40, 2).release(50.1, 2)
    both = absences(story_of(taker, owner))
    assert [(one["start"], one["end"], one["failovers"]) for one in both] == [
        (stamp(9), stamp(30.04), [0]),
        (stamp(39), stamp(50.04), [1]),
    ]


def test_a_cable_that_is_cut_counts_from_the_last_answer(story_of):
    owner = Worker(2).start(0).ping(1, 9).say(15, "disconnected", reason="3 pings in a row without an answer")
    owner.say(25, "connected", master="m").ping(26, 38)
    taker = Worker(1).start(0).ping(1, 39).take(14, 2).release(24.9, 2, "claimed by 02:fc:00:00:00:02")
    (one,) = absences(story_of(taker, owner))
    assert (one["start"], one["end"], one["cause"]) == (stamp(9), stamp(25), "without the master")
    # when it claimed its address it was on the wire, whenever its worker reached the master
    assert one["gaps"] == [stretch(9, 14, 5.0)]


def test_an_owner_that_stood_still(story_of):
    owner = Worker(2).start(0).ping(1, 9).say(20, "was_frozen", reason="the process stood still for 10.5 s")
    owner.say(20.01, "disconnected", reason="closed").say(20.3, "connected", master="m").ping(21, 39)
    taker = Worker(1).start(0).ping(1, 39).take(14, 2).release(20.35, 2)
    (one,) = absences(story_of(taker, owner))
    assert (one["start"], one["end"], one["cause"]) == (stamp(9), stamp(20.3), "frozen")
    assert one["doubles"] == [stretch(20, 20.35, 0.35, nodes=[1, 2])]


ALIVE = "10.9.0.2 is in use by 02:fc:00:00:00:02: its owner is alive, only its worker is gone"


def test_an_owner_whose_machine_goes_on_answering_leaves_no_gap(story_of):
    refuser = Worker(3).start(0).ping(1, 39).say(9.5, "received", **recover(2, 3)).refuse(10.6, 2, ALIVE)
    story = story_of(refuser, silent(2, 9, 30))
    (one,) = absences(story)
    assert (one["gaps"], one["owner_answered"], one["cause"]) == ([], True, "silent")
    assert "its machine answered for it all the same" in sentences(story)[-1].text


def test_a_machine_that_dies_later_than_its_worker_leaves_one_from_its_last_answer(story_of):
    taker = Worker(1).start(0).ping(1, 39).say(9.5, "received", **recover(2, 1))
    taker.say(9.6, "owner_alive", node=2, address=ADDRESS, mac="02:fc:00:00:00:02", wait_s=30)
    taker.say(14, "takeover_done", node=2, address=ADDRESS, interface="eth0", took_ms=4500.0).release(30.1, 2)
    (one,) = absences(story_of(taker, silent(2, 9, 30)))
    assert one["gaps"] == [stretch(9.6, 14, 4.4)]


def test_an_owner_whose_log_was_not_given(story_of):
    story = story_of(
        Worker(1).start(0).take(10, 2, ordered=9).release(20, 2).take(30, 2, ordered=29).ping(31, 39)
    )
    first, second = absences(story)
    assert (first["start"], first["end"], first["cause"]) == (None, None, "unknown")
    assert first["gaps"] == [stretch(9, 10, 1.0)]
    assert "no log of it was given" in first["unknown"][0]
    assert second["failovers"] == [1]


def test_a_taker_whose_log_was_not_given(story_of):
    refuser = (
        Worker(3).start(0).ping(1, 39).say(9.5, "received", **recover(2, 3, active_neighbors=["1", "3"]))
    )
    (one,) = absences(story_of(refuser.refuse(9.6, 2, "in use"), silent(2, 9, 30)))
    assert one["unknown"] == ["whether node 1 took the address: no log of it was given"]
    assert "No log of node 1 was given: what it did itself is not known." in story_of(refuser).unknown


def test_an_owner_that_was_there_all_the_while(story_of):
    story = story_of(Worker(1).start(0).ping(1, 39).take(10, 2), Worker(2).start(0).ping(1, 39))
    (one,) = absences(story)
    assert (one["start"], one["gaps"], one["doubles"]) == (None, [], [])
    assert "does not show it away" in one["unknown"][0]
    assert [text for text in story.unknown if "had lost sight of it" in text]


def test_durations_allow_for_clocks_that_are_apart(story_of):
    """Node 2's clock is 90 s behind, and set to another zone."""
    west = timezone(timedelta(hours=-8))
    owner = Worker(2, west).start(-90).ping(-89, -81).start(-60).ping(-59, -51).start(-20).ping(-19, -11)
    taker = Worker(1).start(0).ping(1, 99).take(10, 2).release(30.1, 2)
    for second in (30.05, 70.05):
        taker.say(second, "received", event="restore", data={"restore_node": 2})
    (one,) = absences(story_of(taker, owner))
    assert (one["start"], one["end"]) == (stamp(-81, west), stamp(-59.96, west))
    (gap,), (double,) = one["gaps"], one["doubles"]
    assert (gap["start"], gap["end"], round(gap["duration_s"], 1)) == (stamp(-81, west), stamp(10), 1.0)
    assert (double["start"], double["end"], round(double["duration_s"], 1)) == (
        stamp(-60, west),
        stamp(30.1),
        0.1,
    )


def test_what_it_cost_is_told_at_its_end(tmp_path, story_of):
    story = story_of(Worker(1).start(0).ping(1, 39).take(10, 2).release(30.5, 2), silent(2, 9, 30))
    assert (
        at(30.5),
        f"{ADDRESS} of node 2: away for 21.0 s; nobody held it for up to 1.0 s; two did for up to 500 ms",
    ) in [(one.when, one.text) for one in sentences(story)]
