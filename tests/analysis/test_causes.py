"""Why a master was lost: by the worker's own words, in version 1.0 by its reasons, and by what other nodes saw."""

from __future__ import annotations

import pytest

from analysis.causes import of_text
from analysis.model import CAUSES
from tests.analysis.logs import NIGHT, Worker

BASE = NIGHT.timestamp()
# a host whose name says what it must not be taken for
URL = "https://token-tls.refused.example:5000"
TEXTS = {
    f"connection refused: nothing listens at {URL}": "master_gone",
    "Connection reset by peer": "master_gone",
    f"HTTP 502 from {URL}": "master_gone",
    "Unexpected status code 400 in server response": "master_gone",
    "WebSocket connection was closed": "master_gone",
    f"Network is unreachable ({URL})": "network",
    "No route to host": "network",
    f"the name in {URL} could not be resolved": "network",
    "timed out": "no_answer",
    f"no answer from {URL} in 5 s, in the websocket handshake": "no_answer",
    "3 pings in a row without an answer": "no_answer",
    "nothing from the master for 45 s": "no_answer",
    f"TLS to {URL} failed: certificate verify failed": "tls",
    "the master refused this node: the token is wrong or missing": "refused",
    "One or more namespaces failed to connect: /": "refused",
    "the master speaks Engine.IO v3": "not_a_master",
    f"no Socket.IO master answers at {URL}": "not_a_master",
    f"HTTP 302 Found from {URL}, a redirect, which is not followed": "not_a_master",
    f"the proxy did not let through to {URL}: failed CONNECT via proxy status: 403": "not_a_master",
    "42": "",
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_reason_of_version_1_0_names_its_cause(text):
    assert of_text(text) == TEXTS[text]
    assert of_text(text) in ("", *CAUSES)


def lost(worker, start, reason, *errors, back=None):
    worker.say(start, "disconnected", reason=reason, connected_s=9.0)
    for place, error in enumerate(errors):
        worker.say(start + 0.1 * (place + 1), "connecting", master="m")
        worker.say(start + 0.1 * (place + 1), "connect_failed", master="m", error=error, retry_s=0.1)
    return worker.say(start + 2 if back is None else back, "connected", master="m", sid="b", took_ms=2.0)


PINGS, CLOSED = "3 pings in a row without an answer", "WebSocket connection was closed"
REFUSAL = f"connection refused: nothing listens at {URL}"
ALONE = {
    "pings, and then refused": (lambda: lost(up(1, 9), 10, PINGS, REFUSAL), "master_gone"),
    "closed, and then refused": (lambda: lost(up(1, 9), 10, CLOSED, REFUSAL), "master_gone"),
    "closed, and then another token": (
        lambda: lost(up(1, 9), 10, CLOSED, "the master refused this node: no"),
        "master_gone",
    ),
    "sent away": (lambda: lost(up(1, 9), 10, "the master disconnected this node"), "refused"),
    "all are sent away by a master that stops": (
        lambda: lost(up(1, 9), 10, "the master disconnected this node", REFUSAL),
        "master_gone",
    ),
    "pings, and then no network": (
        lambda: lost(up(1, 9), 10, PINGS, f"Network is unreachable ({URL})"),
        "network",
    ),
    "pings alone": (lambda: lost(up(1, 9), 10, PINGS), "no_answer"),
    "a freeze": (
        lambda: lost(
            up(1, 9).say(19.9, "was_frozen", reason="the process stood still for 10.5 s"), 20, CLOSED
        ),
        "frozen",
    ),
    "a suspend": (
        lambda: lost(
            up(1, 9).say(19.9, "was_frozen", reason="the machine was suspended for 10.5 s"), 20, CLOSED
        ),
        "frozen",
    ),
    "a freeze of long ago": (
        lambda: lost(
            up(1, 9).say(12, "was_frozen", reason="the process stood still for 2.5 s").ping(13, 39), 40, PINGS
        ),
        "no_answer",
    ),
    "a clock that was set": (
        lambda: lost(
            up(1, 9).say(9.9, "was_frozen", reason="the wall clock went forward by 2.5 s"), 10, PINGS
        ),
        "no_answer",
    ),
}


def up(node, last):
    return Worker(node).start(0).ping(1, last)


@pytest.mark.parametrize("name", ALONE)
def test_an_outage_is_classed_by_its_own_log(story_of, name):
    make, cause = ALONE[name]
    assert [outage.cause for outage in story_of(make()).lanes[0].outages] == [cause]


@pytest.mark.parametrize("cause", CAUSES[:-1])
def test_a_cause_that_is_logged_is_believed(story_of, cause):
    worker = up(1, 9).say(10, "disconnected", reason=CLOSED, cause=cause).say(12, "connected", master="m")
    assert [outage.cause for outage in story_of(worker).lanes[0].outages] == [cause]


def causes(story):
    return [[(outage.cause, outage.detail) for outage in lane.outages] for lane in story.lanes]


def test_what_one_node_alone_has_lost_is_its_own_network(story_of):
    story = story_of(up(1, 41), lost(up(2, 9), 16, PINGS, back=18), up(3, 41))
    detail = "the master answered node 1 and node 3 meanwhile"
    assert causes(story) == [[], [("network", detail)], []]


def test_what_all_have_lost_is_the_master(story_of):
    story = story_of(
        lost(up(1, 9), 15, PINGS, back=22).ping(23, 41), lost(up(2, 9), 16, PINGS, back=21).ping(23, 41)
    )
    assert causes(story) == [[("master_gone", "the others lost it too")]] * 2


def test_the_others_are_asked_by_their_own_clock(story_of):
    """Node 1's clock is 90 s ahead: what it says of the same moment stands 90 s later in its log."""
    ahead, other = Worker(1).start(90).ping(91, 131), up(2, 29)
    for second in (8, 20):
        lost(ahead, second + 90, CLOSED, back=second + 90.2)
        lost(other, second, CLOSED, back=second + 0.2)
    lost(other, 37, PINGS, back=38)
    told = causes(story_of(ahead, other))[1]
    assert told[-1] == ("network", "the master answered node 1 meanwhile")


def test_where_nobody_else_can_tell_it_stays_open(story_of):
    alone = story_of(lost(up(2, 9), 16, PINGS, back=18).ping(19, 41))
    ended = story_of(up(1, 9).stop(10), lost(up(2, 9), 16, PINGS, back=18).ping(19, 41))
    assert causes(alone)[-1] == causes(ended)[-1] == [("no_answer", "")]


def test_where_comms_log_is_missing_the_keep_alive_tells_of_outages(story_of):
    worker = Worker(2).ping(1, 29).say(32, "ping_missed", seq=16, timeout_ms=2000, missed=1)
    worker.say(36, "pings_paused", reason=PINGS, unanswered=3).say(96, "pings_resumed", after_s=60)
    (lane,) = story_of(worker.ping(96, 120), names=["node2"]).lanes
    (one,) = lane.outages
    assert (one.start - BASE, one.end - BASE, one.cause, one.last_answer - BASE) == (36, 96, "no_answer", 29)


def test_where_comms_log_is_missing_a_start_in_ping_log_begins_a_process(story_of):
    worker = Worker(2).ping(1, 9).ping(61, 69)
    worker.lines["ping.log"].insert(5, Worker().say(60, "started", run="b").lines["comms.log"][0])
    (lane,) = story_of(worker, names=["node2"]).lanes
    assert [(one.start - BASE, one.end - BASE) for one in lane.silences] == [(9, 60)]


A, B = "http://a:5000", "http://b:5000"


def on(node, *connections, last):
    """One that starts with the first of `connections`, which are times and URLs, and pings to the last."""
    (start, url), *later = connections
    worker = Worker(node).say(start, "started", node=node).say(start, "connecting", master=url)
    worker.say(start, "connected", master=url).ping(start + 1, later[0][0] - 7 if later else last)
    for second, url in later:
        worker.say(second - 1, "disconnected", reason=PINGS).say(second, "connected", master=url)
        worker.ping(second, last)
    return worker


def test_a_node_at_another_master_does_not_tell_of_this_one(story_of):
    story = story_of(on(1, (0, A), (20, B), last=41), on(2, (0, B), last=41))
    assert causes(story) == [[("no_answer", "")], []]


def test_of_several_masters_those_who_had_the_same_one_are_asked(story_of):
    story = story_of(on(1, (0, A), (20, B), last=41), on(2, (0, B), last=41), on(3, (0, A), last=41))
    assert causes(story)[0] == [("network", "the master answered node 3 meanwhile")]
    story = story_of(
        on(1, (0, A), (20, B), last=41), on(2, (0, B), last=41), on(3, (0, A), (20.5, B), last=41)
    )
    assert causes(story) == [[("master_gone", "the others lost it too")], [], causes(story)[0]]


def test_an_answer_of_the_next_master_is_none_of_the_one_that_is_gone(story_of):
    story = story_of(lost(on(1, (0, A), last=17), 19, CLOSED, back=30), on(2, (0, A), (19.5, B), last=41))
    assert causes(story)[0] == [("master_gone", "the others lost it too")]


def test_who_is_back_sooner_had_lost_the_master_too(story_of):
    first, second = (on(node, (0, A), last=9).say(10, "disconnected", reason=CLOSED) for node in (1, 2))
    first.say(10.5, "connected", master=A).ping(11, 41)
    second.say(20, "connected", master=A).ping(21, 41)
    assert causes(story_of(first, second)) == [[("master_gone", "the others lost it too")]] * 2


def test_who_loses_the_master_later_had_it_until_then(story_of):
    alone = on(1, (0, A), last=9).say(10, "disconnected", reason=CLOSED).say(20, "connected", master=A)
    others = [on(node, (0, A), last=15).say(16, "disconnected", reason=CLOSED) for node in (2, 3)]
    for other in others:
        other.say(16.5, "connected", master=A).ping(17, 41)
    told = causes(story_of(alone.ping(21, 41), *others))
    assert told[0] == [("network", "the master answered node 2 and node 3 meanwhile")]
    assert [one[0][0] for one in told[1:]] == ["master_gone"] * 2
