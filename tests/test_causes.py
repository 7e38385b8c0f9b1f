import errno
import socket
import ssl

import pytest
import requests
import websocket

from connection.errors import Failure, barred, explain, explain_answer
from connection.protocol import MISMATCH
from story.causes import (
    CAUSES,
    FREEZE,
    MASTER_GONE,
    NETWORK,
    NO_ANSWER,
    NO_MASTER,
    OWN_STOP,
    REFUSED,
    START,
    TLS,
    UNKNOWN,
    of_text,
)
from story.episodes import as_json
from story.words import sentences
from tests.story_logs import Worker, at

# a host whose name says what it must not be taken for
URL = "https://token-tls.refused.example:5000"


def untrusted():
    exc = ssl.SSLCertVerificationError(1, "certificate verify failed")
    exc.verify_message = "self-signed certificate"
    return exc


def plain():
    exc = ssl.SSLError(1, "wrong version number")
    exc.reason = "WRONG_VERSION_NUMBER"
    return exc


# what the worker logs of each failure → its cause
FAILURES = {
    "refused connection": (explain(ConnectionRefusedError(), URL), MASTER_GONE),
    "reset": (explain(ConnectionResetError(), URL), MASTER_GONE),
    "a proxy's 502": (explain_answer(502, "text/html", b"<html>", URL), MASTER_GONE),
    "no network": (explain(OSError(errno.ENETUNREACH, "Network is unreachable"), URL), NETWORK),
    "no route": (explain(OSError(errno.EHOSTUNREACH, "No route to host"), URL), NETWORK),
    "no such name": (explain(socket.gaierror(socket.EAI_NONAME, "Name not known"), URL), NETWORK),
    "time-out": (explain(requests.Timeout(), URL), NO_ANSWER),
    "five seconds": (Failure(f"no answer from {URL} in 5 s, in the websocket handshake"), NO_ANSWER),
    "certificate": (explain(untrusted(), URL), TLS),
    "plain http": (explain(plain(), URL), TLS),
    "token": (Failure("the master refused this node: the token is wrong or missing"), REFUSED),
    "old library": (Failure(MISMATCH), NO_MASTER),
    "old library here": (
        "the master speaks Engine.IO v4, this worker v3: install requirements.txt",
        NO_MASTER,
    ),
    "refused by HTTP": (explain_answer(401, "application/json", b'"not you"', URL), REFUSED),
    "a session that is forgotten": ("Unexpected status code 400 in server response", MASTER_GONE),
    "a thread's end": ("the connection broke", MASTER_GONE),
    "web server": (explain_answer(200, "text/html", b"<html>", URL), NO_MASTER),
    "redirect": (explain_answer(302, "", b"", URL), NO_MASTER),
    "empty": (explain_answer(200, "", b"", URL), NO_MASTER),
    "rubbish": (explain(websocket.WebSocketException("?"), URL), NO_MASTER),
    "proxy": (barred(URL, "it says 'HTTP/1.1 407 No'", 407), NO_MASTER),
    "pings": ("3 pings in a row without an answer", NO_ANSWER),
    "quiet": ("nothing from the master for 45 s", NO_ANSWER),
    "closed": ("WebSocket connection was closed", MASTER_GONE),
    "told": ("the master closed the connection", MASTER_GONE),
    "nothing known": ("42", UNKNOWN),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_the_worker_logs_names_its_cause(name):
    text, cause = FAILURES[name]
    assert of_text(str(text)) == cause
    assert cause in CAUSES


def lost(worker, start, reason, *errors, back=None):
    worker.say(start, "disconnected", reason=reason, connected_s=9.0)
    for place, error in enumerate(errors):
        worker.say(start + 0.1 * (place + 1), "connecting", master="m")
        worker.say(start + 0.1 * (place + 1), "connect_failed", master="m", error=error, retry_s=0.1)
    return worker.say(start + 2 if back is None else back, "connected", master="m", sid="b", took_ms=2.0)


PINGS, CLOSED = "3 pings in a row without an answer", "WebSocket connection was closed"
REFUSAL = f"connection refused: nothing listens at {URL}"
ALONE = {
    "pings, and then refused": (lambda: lost(up(1, 9), 10, PINGS, REFUSAL), MASTER_GONE),
    "closed, and then refused": (lambda: lost(up(1, 9), 10, CLOSED, REFUSAL), MASTER_GONE),
    "closed, and then another token": (
        lambda: lost(up(1, 9), 10, CLOSED, "the master refused this node: no"),
        MASTER_GONE,
    ),
    "sent away": (lambda: lost(up(1, 9), 10, "the master disconnected this node"), REFUSED),
    "all are sent away by a master that stops": (
        lambda: lost(up(1, 9), 10, "the master disconnected this node", REFUSAL),
        MASTER_GONE,
    ),
    "pings, and then no network": (
        lambda: lost(up(1, 9), 10, PINGS, f"Network is unreachable ({URL})"),
        NETWORK,
    ),
    "pings alone": (lambda: lost(up(1, 9), 10, PINGS), NO_ANSWER),
    "a freeze": (
        lambda: lost(
            up(1, 9).say(19.9, "was_frozen", reason="the process stood still for 10.5 s"), 20, CLOSED
        ),
        FREEZE,
    ),
    "a suspend": (
        lambda: lost(
            up(1, 9).say(19.9, "was_frozen", reason="the machine was suspended for 10.5 s"), 20, CLOSED
        ),
        FREEZE,
    ),
    "a freeze of long ago": (
        lambda: lost(
            up(1, 9).say(12, "was_frozen", reason="the process stood still for 2.5 s").ping(13, 39), 40, PINGS
        ),
        NO_ANSWER,
    ),
    "a clock that was set": (
        lambda: lost(
            up(1, 9).say(9.9, "was_frozen", reason="the wall clock went forward by 2.5 s"), 10, PINGS
        ),
        NO_ANSWER,
    ),
}


def up(node, last):
    return Worker(node).start(0).ping(1, last)


@pytest.mark.parametrize("name", ALONE)
def test_an_outage_is_classed_by_its_own_log(story_of, name):
    make, cause = ALONE[name]
    (node,) = story_of(make()).nodes
    assert [outage.cause for outage in node.outages] == [START, cause]


def test_starts(story_of):
    worker = up(1, 9).stop(10).start(20).ping(21, 29).start(40)
    worker.say(50, "disconnected", reason=CLOSED).start(60)
    worker.say(60.5, "disconnected", reason=CLOSED).stop(61).say(62, "started", node=1)
    worker.say(62, "connecting", master="m").say(62.1, "connect_failed", master="m", error=REFUSAL)
    worker.say(63, "connected", master="m")
    (node,) = story_of(worker).nodes
    assert [outage.cause for outage in node.outages] == [
        START,
        OWN_STOP,
        START,
        MASTER_GONE,
        START,
        MASTER_GONE,
        MASTER_GONE,
    ]


def causes(story):
    return [[(outage.cause, outage.detail) for outage in node.outages[1:]] for node in story.nodes]


def test_what_one_node_alone_has_lost_is_its_own_network(story_of):
    story = story_of(up(1, 41), lost(up(2, 9), 16, PINGS, back=18), up(3, 41))
    detail = "the master answered node 1 and node 3 meanwhile"
    assert causes(story) == [[], [(NETWORK, detail)], []]


def test_what_all_have_lost_is_the_master(story_of):
    story = story_of(
        lost(up(1, 9), 15, PINGS, back=22).ping(23, 41), lost(up(2, 9), 16, PINGS, back=21).ping(23, 41)
    )
    assert causes(story) == [[(MASTER_GONE, "the others lost it too")]] * 2


def test_where_the_others_tell_nothing_it_is_said(story_of):
    alone = story_of(lost(up(2, 9), 16, PINGS, back=18).ping(19, 41))
    ended = story_of(up(1, 9).stop(10), lost(up(2, 9), 16, PINGS, back=18).ping(19, 41))
    for story in (alone, ended):
        assert causes(story)[-1] == [
            (NO_ANSWER, "no other node's log tells whether it was the master or the way to it")
        ]


def test_the_others_are_asked_by_their_own_clock(story_of):
    """Node 1's clock is 90 s ahead: what it says of the same moment stands 90 s later in its log."""
    ahead, other = Worker(1).start(90).ping(91, 131), up(2, 29)
    for second in (8, 20):
        lost(ahead, second + 90, CLOSED, back=second + 90.2)
        lost(other, second, CLOSED, back=second + 0.2)
    lost(other, 37, PINGS, back=38)
    told = causes(story_of(ahead, other))[1]
    assert told[-1] == (NETWORK, "the master answered node 1 meanwhile")


def test_the_cause_stands_in_the_object(story_of):
    (node,) = as_json(story_of(lost(up(2, 9), 16, PINGS, back=18)))["nodes"]
    outage = node["outages"][-1]
    assert (outage["cause"], outage["last_answer"]) == (NO_ANSWER, at(9).isoformat(timespec="milliseconds"))


def test_where_comms_log_is_missing_the_keep_alive_tells_of_outages(story_of):
    worker = Worker(2).ping(1, 29).say(32, "ping_missed", seq=16, timeout_ms=2000, missed=1)
    worker.say(36, "pings_paused", reason=PINGS, unanswered=3).say(96, "pings_resumed", after_s=60)
    worker.ping(96, 120).say(121, "pings_paused", reason=CLOSED, unanswered=0).ping(141, 161)
    story = story_of(worker, names=["node2"])
    (node,) = story.nodes
    assert [(one.start, one.end, one.reason, one.cause, one.last_answer) for one in node.outages] == [
        (at(36), at(96), PINGS, NO_ANSWER, at(29)),
        (at(121), at(141), CLOSED, MASTER_GONE, at(120)),
    ]
    assert node.availability == pytest.approx(100 * (1 - 80 / 160))
    assert node.holes == ()
    assert (
        "No comms.log of node 2 was given: whether it had a master, and why not, is told by its pings alone."
        in story.unknown
    )


def test_a_log_that_begins_in_an_outage_without_comms_log(story_of):
    worker = (
        Worker(2).say(10, "pings_resumed", after_s=60).ping(10, 20).say(21, "pings_paused", reason=CLOSED)
    )
    (node,) = story_of(worker, names=["node2"]).nodes
    assert [(one.start, one.end) for one in node.outages] == [(at(21), None)]


def test_comms_log_is_believed_before_the_keep_alive(story_of):
    worker = up(2, 9).say(10, "pings_paused", reason=PINGS).say(12, "disconnected", reason=PINGS)
    worker.say(14, "connected", master="m").say(16, "pings_resumed", after_s=6).ping(16, 20)
    story = story_of(worker)
    assert [(one.start, one.end) for one in story.nodes[0].outages[1:]] == [(at(12), at(14))]
    assert not any("comms.log" in text for text in story.unknown)


def test_a_silence_without_comms_log_is_not_told_to_be_connected(story_of):
    story = story_of(Worker(2).ping(1, 39).ping(1239, 1260), names=["node2"])
    (text,) = (one.text for one in sentences(story) if "nothing" in one.text)
    assert text == "node 2 logged nothing for 20 min 0 s, and no comms.log tells why"
    assert not any("connected" in text for text in story.unknown)


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
    detail = "no other node's log tells whether it was the master or the way to it"
    assert causes(story) == [[(NO_ANSWER, detail)], []]


def test_of_several_masters_those_who_had_the_same_one_are_asked(story_of):
    story = story_of(on(1, (0, A), (20, B), last=41), on(2, (0, B), last=41), on(3, (0, A), last=41))
    assert causes(story)[0] == [(NETWORK, "the master answered node 3 meanwhile")]
    story = story_of(
        on(1, (0, A), (20, B), last=41), on(2, (0, B), last=41), on(3, (0, A), (20.5, B), last=41)
    )
    assert causes(story) == [[(MASTER_GONE, "the others lost it too")], [], causes(story)[0]]


def test_a_log_that_does_not_name_the_only_master_tells_of_it(story_of):
    """As those of the scripts of 2020."""
    other = Worker(2).start(0).ping(1, 41)
    other.lines["comms.log"] = [line.split(" master=")[0] + "]" for line in other.lines["comms.log"][:3]]
    story = story_of(on(1, (0, A), (20, A), last=41), other, names=["node1", "node2"])
    assert causes(story)[0] == [(NETWORK, "the master answered node 2 meanwhile")]


def test_an_answer_of_the_next_master_is_none_of_the_one_that_is_gone(story_of):
    story = story_of(lost(on(1, (0, A), last=17), 19, CLOSED, back=30), on(2, (0, A), (19.5, B), last=41))
    assert causes(story)[0] == [(MASTER_GONE, "the others lost it too")]
