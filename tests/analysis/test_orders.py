"""Orders at one worker: what became of each, in logs that number them and in those of version 1.0."""

from __future__ import annotations

import pytest

from analysis.model import as_json
from analysis.sentences import sentences
from tests.analysis.logs import Worker, recover, stamp

ADDRESS = "10.9.0.2/24"


def attempts_of(story):
    return [one for failover in as_json(story)["failovers"] for one in failover["attempts"]]


def attempt(**changes):
    return {
        "recovery_node": 1,
        "outcome": "taken",
        "reason": None,
        "received": stamp(10),
        "taken": stamp(10.2),
        "released": None,
        "takeover_ms": 200.0,
        **changes,
    }


def not_taken(**changes):
    return attempt(**{"taken": None, "takeover_ms": None, **changes})


def taken():
    """Node 1, which was ordered at 10 s to take node 2's address, and took it at 10.2 s."""
    return Worker(1).start(0).take(10.2, 2, took_ms=200.0, ordered=10)


def where(**fields):
    return {"node": 2, "address": ADDRESS, **fields}


ORDERS = {
    "taken and still held": (taken(), [attempt()]),
    "given back": (taken().release(30, 2), [attempt(released=stamp(30))]),
    "refused, without a start": (
        Worker(1).start(0).say(10, "received", **recover(2, 1)).refuse(10.1, 2, "in use"),
        [attempt(outcome="refused", reason="in use", taken=None, takeover_ms=None)],
    ),
    "failed": (
        Worker(1)
        .start(0)
        .say(10, "received", **recover(2, 1))
        .say(10, "takeover_started", **where())
        .say(10.1, "takeover_failed", **where(reason="no permission")),
        [attempt(outcome="failed", reason="no permission", taken=None, takeover_ms=None)],
    ),
    "for another node": (
        Worker(1).start(0).say(10, "received", **recover(2, 9)).refuse(10, 2, "for node 9"),
        [attempt(outcome="refused", reason="for node 9", taken=None, takeover_ms=None)],
    ),
    "cut by its length": (
        Worker(1)
        .start(0)
        .say(10, "received", event="recover", data={"disconnected_node": 2, "ip": "1" * 9000})
        .say(10, "takeover_refused", node=2, reason="no address"),
        [attempt(outcome="refused", reason="no address", taken=None, takeover_ms=None)],
    ),
    "repeated while held": (
        taken().say(15, "received", **recover(2, 1)).answer(15, 2).release(30, 2),
        [attempt(released=stamp(30))],
    ),
    "repeated while held, and logged as done": (
        taken()
        .say(15, "received", **recover(2, 1))
        .say(15, "takeover_done", **where(interface="eth0", took_ms=0.1))
        .answer(15, 2)
        .release(30, 2),
        [attempt(released=stamp(30))],
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
        [attempt()],
    ),
    "repeated while held, and refused when free": (
        taken()
        .say(15, "received", **recover(2, 1))
        .answer(15, 2)
        .release(30, 2)
        .say(40, "received", **recover(2, 1))
        .refuse(41, 2, "in use"),
        [
            attempt(released=stamp(30)),
            attempt(received=stamp(40), outcome="refused", reason="in use", taken=None, takeover_ms=None),
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
            attempt(outcome="refused", reason="restored", taken=None, takeover_ms=None),
            attempt(received=stamp(10.04), taken=stamp(10.3), takeover_ms=260.0),
        ],
    ),
    "repeated while held, and the log ends": (taken().say(15, "received", **recover(2, 1)), [attempt()]),
    "taken twice": (
        taken().release(30, 2).take(40.2, 2, took_ms=200.0, ordered=40),
        [
            attempt(released=stamp(30)),
            attempt(received=stamp(40), taken=stamp(40.2)),
        ],
    ),
    "one that waits while another is taken": (
        Worker(1)
        .start(0)
        .say(10, "received", **recover(2, 1))
        .take(12, 4)
        .say(40, "takeover_refused", **where(reason="its owner is alive")),
        [
            attempt(outcome="refused", reason="its owner is alive", taken=None, takeover_ms=None),
            attempt(
                received=stamp(12 - 0.0031),
                taken=stamp(12),
                takeover_ms=3.1,
            ),
        ],
    ),
    "claimed by another machine": (
        taken().say(20, "address_conflict", **where(mac="02:fc:00:00:00:02")),
        [attempt(released=stamp(20))],
    ),
    "claimed, let go and then found to be the owner's": (
        taken()
        .say(20, "address_conflict", **where(mac="02:fc:00:00:00:02"))
        .release(23, 2, "the owner is back"),
        [attempt(released=stamp(20))],
    ),
    "claimed, and taken again": (
        taken()
        .say(20, "address_conflict", **where(mac="02:fc:00:00:00:02"))
        .say(23, "address_restored", **where())
        .release(30, 2),
        [attempt(released=stamp(30))],
    ),
    "lost": (taken().say(20, "address_lost", **where()), [attempt(released=stamp(20))]),
    "lost and not to be had again": (
        taken()
        .say(20, "address_lost", **where())
        .say(20.1, "takeover_failed", **where(reason="no permission")),
        [attempt(released=stamp(20))],
    ),
    "held by a worker that was stopped": (
        taken()
        .say(30, "stopping", signal="SIGTERM")
        .release(30, 2, "stopping")
        .say(30, "stopped", uptime_s=30.0),
        [attempt(released=stamp(30))],
    ),
    "held by a worker that was killed": (taken().start(60), [attempt()]),
    "held by a worker that was killed, and taken again by the next": (
        taken().start(60).take(70.2, 2, took_ms=200.0, ordered=70),
        [attempt(), attempt(received=stamp(70), taken=stamp(70.2))],
    ),
    "held by a worker that was killed, and given back by the next": (
        taken().say(60, "started", node=1).release(60.2, 2, "its owner is back"),
        [attempt(released=stamp(60.2))],
    ),
    "ordered from a worker that was killed, and refused by the next": (
        Worker(1)
        .start(0)
        .say(10, "received", **recover(2, 1))
        .start(60)
        .say(70, "received", **recover(2, 1))
        .refuse(71, 2, "in use"),
        [
            attempt(
                outcome="failed",
                reason="the worker fell silent before its outcome",
                taken=None,
                takeover_ms=None,
            ),
            attempt(received=stamp(70), outcome="refused", reason="in use", taken=None, takeover_ms=None),
        ],
    ),
    "held by a worker that was killed, and adopted": (
        taken()
        .say(60, "started", node=1)
        .say(60, "address_adopted", **where(interface="eth0"))
        .release(70, 2),
        [attempt(released=stamp(70))],
    ),
    "without an outcome: stopped": (
        Worker(1).start(0).say(10, "received", **recover(2, 1)).stop(11),
        [
            attempt(
                outcome="failed",
                reason="the worker stopped before its outcome",
                taken=None,
                takeover_ms=None,
            )
        ],
    ),
    "without an outcome: killed": (
        Worker(1).start(0).say(10, "received", **recover(2, 1)).start(60),
        [
            attempt(
                outcome="failed",
                reason="the worker fell silent before its outcome",
                taken=None,
                takeover_ms=None,
            )
        ],
    ),
    "without an outcome: the log ends": (
        Worker(1).start(0).say(10, "received", **recover(2, 1)),
        [
            attempt(
                outcome="failed",
                reason="the log ends before its outcome",
                taken=None,
                takeover_ms=None,
            )
        ],
    ),
    "a log that begins behind the order": (
        Worker(1)
        .say(10, "takeover_started", **where())
        .say(10.2, "takeover_done", **where(interface="eth0", took_ms=200.0)),
        [attempt()],
    ),
    "a duration that is none": (
        Worker(1)
        .start(0)
        .say(10, "received", **recover(2, 1))
        .say(10.2, "takeover_done", **where(interface="eth0", took_ms="nan")),
        [attempt(takeover_ms=None)],
    ),
}


NUMBERED = {
    "two orders whose outcomes come in the other order": (
        Worker(1)
        .start(0)
        .say(10, "received", order=1, **recover(2, 1))
        .say(11, "received", order=2, **recover(2, 1))
        .say(12, "takeover_refused", order=2, **where(reason="no"))
        .say(13, "takeover_done", order=1, **where(took_ms=3000.0)),
        [
            attempt(taken=stamp(13), takeover_ms=3000.0),
            not_taken(received=stamp(11), outcome="refused", reason="no"),
        ],
    ),
    "three that wait for one answer": (
        Worker(1)
        .start(0)
        .say(10, "received", order=1, **recover(2, 1))
        .say(11, "received", order=2, **recover(2, 1))
        .say(12, "received", order=3, **recover(2, 1))
        .say(13, "takeover_refused", order=1, **where(interface="eth0", reason="no")),
        [not_taken(received=stamp(at), outcome="refused", reason="no") for at in (10, 11, 12)],
    ),
    "two of which one is carried out": (
        Worker(1)
        .start(0)
        .say(10, "received", order=1, **recover(2, 1))
        .say(10.1, "received", order=2, **recover(2, 1))
        .say(10.2, "takeover_done", order=1, **where(interface="eth0", took_ms=200.0))
        .say(20, "release_done", order=1, **where(interface="eth0", reason="restore")),
        [attempt(released=stamp(20))],
    ),
    "two that are carried out together, under the number of the later one": (
        Worker(1)
        .start(0)
        .say(10, "received", order=1, **recover(2, 1))
        .say(10.1, "received", order=2, **recover(2, 1))
        .say(10.2, "takeover_done", order=2, **where(interface="eth0", took_ms=200.0))
        .say(20, "address_lost", order=2, **where(interface="eth0"))
        .say(20.5, "takeover_failed", order=2, **where(interface="eth0", reason="no carrier")),
        [attempt(released=stamp(20))],
    ),
    "withdrawn": (
        Worker(1)
        .start(0)
        .say(10, "received", order=7, **recover(2, 1))
        .say(10.1, "takeover_withdrawn", order=7, **where()),
        [not_taken(outcome="withdrawn", reason="the master took it back")],
    ),
    "withdrawn, in version 1.0": (
        Worker(1)
        .start(0)
        .say(10, "received", **recover(2, 1))
        .say(
            10.1,
            "takeover_refused",
            **where(reason="the master asked for the address back before it was taken"),
        ),
        [not_taken(outcome="withdrawn", reason="the master asked for the address back before it was taken")],
    ),
    "whose number the received line does not carry": (
        Worker(1)
        .start(0)
        .say(10, "received", **recover(2, 1))
        .say(10, "takeover_started", order=1, **where())
        .say(10.2, "takeover_done", order=1, **where(took_ms=200.0))
        .say(20, "owner_returned", order=1, **where(mac="02:00:00:00:00:02"))
        .say(20, "release_done", order=1, **where(reason="claimed by 02:00:00:00:00:02")),
        [attempt(released=stamp(20))],
    ),
}
ORDERS.update(NUMBERED)


@pytest.mark.parametrize("name", ORDERS)
def test_orders(story_of, name):
    worker, expected = ORDERS[name]
    assert attempts_of(story_of(worker, names=["node1"])) == expected


@pytest.mark.parametrize("data", [{"disconnected_node": ["2"], "ip": 7}, [[[]]], "[1]"])
def test_what_is_no_order_is_an_incident(story_of, data):
    worker = Worker(1).start(0).say(10, "received", event="recover", data=data)
    story = story_of(worker.say(10, "takeover_refused", reason="no order"))
    assert story.failovers == ()
    assert [one.text for one in sentences(story) if "invalid" in one.text] == [
        "node 1 refused an invalid order: no order"
    ]


def test_an_order_whose_outcome_may_still_come_is_no_failure(story_of):
    story = story_of(
        Worker(1).start(0).say(10, "received", **recover(2, 1)).say(10, "takeover_started", **where())
    )
    (one,) = [one for one in sentences(story) if "take" in one.text]
    assert one.text == f"node 1 was ordered to take {ADDRESS} of node 2; its log ends before the outcome"
    assert one.tone == "plain"


def test_what_a_forced_return_is_told_as(story_of):
    (one,) = [one for one in sentences(story_of(taken().release(30, 2))) if "gave" in one.text]
    assert one.text == f"node 1 gave {ADDRESS} of node 2 back after 19.8 s, as the master asked"


def test_a_claim_by_the_owner_s_mac_is_its_return(story_of):
    mac = "02:fc:00:00:00:02"
    owner = (
        Worker(2).say(0, "started", node=2, mac=mac, run="r").say(0.01, "connected", master="m").ping(1, 39)
    )
    taker = (
        taken().say(20, "address_conflict", **where(mac=mac)).release(20, 2, f"claimed by {mac}").ping(21, 39)
    )
    texts = [one.text for one in sentences(story_of(taker, owner))]
    assert f"node 1 let {ADDRESS} go: its owner is back ({mac})" in texts
    assert [text for text in texts if text.endswith("its owner is back")]
    assert not [text for text in texts if "another machine" in text]


def test_a_return_is_told_once(story_of):
    mac = "02:fc:00:00:00:02"
    taker = taken().say(20, "owner_returned", **where(mac=mac)).release(20, 2, "owner returned").ping(21, 39)
    texts = [one.text for one in sentences(story_of(taker))]
    assert len([text for text in texts if "its owner is back" in text]) == 1
