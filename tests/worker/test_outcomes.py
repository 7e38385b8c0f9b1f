"""Answers whose link dies around them: none is lost, and what surely arrived is not said twice."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import signal
import threading
import time

import pytest

from connection.dial import Target
from connection.errors import Failure
from connection.messages import Callbacks, Connected, Disconnected, OrderReceived
from connection.outbox import HASTE_S
from connection.reconnect import ATTEMPT_S
from connection.resolve import Resolver
from connection.session import WAIT_S, Session
from logging_setup import NoLog
from tests.lab.masters import OPEN, Master, Puppet, Raw, frame, read_frame, upgrade
from tests.lab.processes import stays
from tests.lab.relay import DOWN, UP, Relay
from tests.lab.waiting import PATIENCE_S, until
from tests.worker.test_worker import HOLDING, RECOVER, says
from worker.inbox import ORDERS, Inbox

UPDATED = {**HOLDING, "disconnected_node": 2}


@pytest.fixture
def master(serve):
    return serve(Master())


@pytest.fixture
def relay(serve, master):
    return serve(Relay(master))


def updates(master):
    return [heard for heard in master.heard if heard.event == "update node"]


def comes_once(master, since):
    """An answer comes after the join of the next connection, and no second one behind it."""
    answer = master.wait("update node", since=since)
    assert says(answer.data, UPDATED)
    events = [h.event for h in master.heard[since:] if h.sid == answer.sid]
    assert events[:3] == ["connect", "join", "update node"]
    master.wait("ping", 3, since=master.heard.index(answer))
    assert len(updates(master)) == 1


def test_an_answer_into_a_half_open_link_is_sent_again(work, master, relay):
    worker = work(relay)
    master.wait("ping", 2)
    relay.swallows = {UP}
    since = len(master.heard)
    master.emit("recover", RECOVER)
    worker.wait("sent", event="update node")
    worker.wait("disconnected")
    relay.swallows = set()
    comes_once(master, since)


def test_an_answer_into_a_peer_that_reads_nothing_is_sent_again(work, master, relay):
    worker = work(relay)
    master.wait("ping", 2)
    since = len(master.heard)

    def stall(direction, data):
        relay.stalled = relay.stalled or (direction == DOWN and b"recover" in data)

    relay.on_passing = stall
    master.emit("recover", RECOVER)
    worker.wait("sent", event="update node")
    worker.wait("disconnected")
    relay.on_passing = lambda direction, data: None
    relay.cut()
    relay.stalled = False
    comes_once(master, since)


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_an_answer_to_an_order_with_which_the_link_ends_is_sent_once(work, master, relay, reset):
    worker = work(relay, CONFLICT_PROBE=0)
    master.wait("ping", 2)
    for round_ in range(1, 6):
        since = len(master.heard)

        def swallow(direction, data):
            if b'"recover"' in data:
                relay.swallows = {UP}  # a quick answer would pass before the cut
            return data

        def cut(direction, data):
            if direction == DOWN and b'"recover"' in data:
                relay.cut(reset=reset)

        relay.alter, relay.on_passing = swallow, cut
        master.emit("recover", RECOVER)
        worker.wait("disconnected", round_)
        relay.alter, relay.on_passing = lambda direction, data: data, lambda direction, data: None
        relay.swallows = set()
        answer = master.wait("update node", since=since)
        events = [h.event for h in master.heard[since:] if h.sid == answer.sid]
        assert events[:3] == ["connect", "join", "update node"]
        master.wait("ping", 2, since=master.heard.index(answer))
    assert len(updates(master)) == 5


def test_an_answer_that_a_hung_master_never_read_is_sent_again_when_it_is_killed(work, master):
    """Its machine had every byte; so has a proxy's."""
    worker = work(master, PING_TIMEOUT=10)
    master.wait("ping", 2)
    master.emit("recover", RECOVER)
    worker.wait("takeover_started")
    master.send(signal.SIGSTOP)
    said = worker.wait("sent", event="update node")
    until(lambda: time.time() - said.when.timestamp() > 0.5)
    master.kill()
    worker.wait("disconnected")
    since = len(master.heard)
    master.start()
    comes_once(master, since)


def test_a_master_that_says_goodbye_on_hearing_the_answer_hears_it_once(work, serve):
    """It had every byte, and was alive to say goodbye."""
    puppet = serve(Puppet())
    puppet.acks = False  # so that no acknowledgement says that the answer arrived
    worker = work(puppet)
    assert puppet.up.wait(PATIENCE_S)
    for round_ in range(1, 6):
        puppet.say(f'42["recover",{{"disconnected_node":2,"recovery_node":"3","ip":"10.9.0.2",'
                   f'"netmask":"255.255.255.0","active_neighbors":["{round_}"]}}]')  # fmt: skip
        until(lambda: sum("update node" in said for said in puppet.said) == round_)
        joins = sum('"join"' in said for said in puppet.said)
        puppet.say("1")
        worker.wait("disconnected", round_)
        until(lambda: sum('"join"' in said for said in puppet.said) == joins + 1)
        until(lambda seen=len(puppet.pings): len(puppet.pings) >= seen + 2)
        assert sum("update node" in said for said in puppet.said) == round_


def test_an_answer_that_no_acknowledged_ping_has_followed_is_sent_again_after_a_goodbye(work, serve):
    """Its machine had every byte, but a master that stops may drop what it has not read."""
    puppet = serve(Puppet())
    worker = work(puppet, PING_INTERVAL=60)
    worker.wait("ping", log="pings")
    puppet.say('421["restore",{"restore_node":2}]')
    until(lambda: any("restore node" in said for said in puppet.said))
    puppet.say("1")
    until(lambda: sum("restore node" in said for said in puppet.said) == 2)


@pytest.mark.parametrize("goodbye", ["41", '44{"message":"enough"}', "1"])
def test_answers_that_wait_when_the_master_says_goodbye_are_given_back(serve, goodbye):
    """It has read none for a while, and has acknowledged none."""
    posted, heard = queue.Queue(), []
    said, ended, over = threading.Event(), threading.Event(), threading.Event()

    def act(sock, head):
        upgrade(sock, head)
        sock.sendall(frame(OPEN) + frame('40{"sid":"deaf"}'))
        said.wait(PATIENCE_S)
        sock.sendall(frame(goodbye))
        ended.wait(PATIENCE_S)
        with contextlib.suppress(OSError):
            while text := read_frame(sock):
                heard.extend(map(int, re.findall(r'^42\["answer",\["(\d+)', text)))
        over.set()

    callbacks = Callbacks(posted.put, lambda order, limit_s: True, lambda ack_id: None)
    session = Session(Target(serve(Raw(act)).url, None, None), callbacks, NoLog(), Resolver(), ATTEMPT_S)
    session.start()
    assert isinstance(posted.get(timeout=PATIENCE_S), Connected)
    # the kernels take some megabytes, after which packets wait
    until(lambda: session.send("filler", "x" * 40_000) and session.waiting > 50)
    answers = range(20)
    for number in answers:
        assert session.send("answer", [str(number)], keep=number)
    sent_s = time.monotonic()
    until(lambda: time.monotonic() > sent_s + 3 * HASTE_S)
    said.set()
    end = posted.get(timeout=PATIENCE_S)
    ended.set()
    assert over.wait(PATIENCE_S)
    assert not heard
    assert list(end.undelivered) == list(answers)


def test_a_master_that_acknowledges_nothing_has_read_what_was_sent_before_it_spoke(work, serve):
    puppet = serve(Puppet())
    puppet.acks = False
    relay = serve(Relay(puppet))
    worker = work(relay)
    assert puppet.up.wait(PATIENCE_S)
    order = '42["recover",{"disconnected_node":%d,"recovery_node":"3","ip":"10.9.0.%d","netmask":"255.255.255.0","active_neighbors":[]}]'  # fmt: skip
    puppet.say(order % (2, 2))
    said = worker.wait("sent", event="update node")
    until(lambda: time.time() - said.when.timestamp() > 0.3)
    puppet.say('42["news"]')
    worker.wait("received", event="news")
    puppet.say(order % (6, 6))
    # else the cut takes the second with it
    until(lambda: sum("update node" in said for said in puppet.said) == 2)
    relay.cut()
    until(lambda: sum("update node" in said for said in puppet.said) == 3)
    until(lambda seen=len(puppet.pings): len(puppet.pings) >= seen + 2)
    answers = [said for said in puppet.said if "update node" in said]
    assert [json.loads(said[2:])[1]["disconnected_node"] for said in answers] == [2, 6, 6]


def test_a_master_frozen_with_the_answer_on_its_way_hears_it(work, master):
    worker = work(master)
    master.wait("ping", 2)
    master.emit("recover", RECOVER)
    worker.wait("takeover_started")
    master.send(signal.SIGSTOP)
    try:
        worker.wait("sent", event="update node")
        worker.wait("disconnected")
    finally:
        master.send(signal.SIGCONT)
    assert says(master.wait("update node").data, UPDATED)


def test_the_answers_of_one_outage_come_in_the_order_of_their_orders(work, master, relay):
    worker = work(relay, node=5)
    master.wait("ping", 2)
    relay.swallows = {UP}
    since = len(master.heard)
    for node in (2, 8, 6, 4):
        master.emit("recover", {**RECOVER, "disconnected_node": node, "recovery_node": "5",
                                "ip": f"10.9.0.{node}"})  # fmt: skip
    worker.wait("sent", 4, event="update node")
    worker.wait("disconnected")
    relay.swallows = set()
    master.wait("update node", 4, since=since)
    assert [update.data["disconnected_node"] for update in updates(master)] == [2, 8, 6, 4]
    stays(lambda: len(updates(master)) == 4, 0.5)
    assert re.search("pings in a row", worker.wait("disconnected").fields["reason"])


def test_hundreds_of_answers_into_a_half_open_link_are_sent_again(work, master, relay):
    worker = work(relay, PING_TIMEOUT=600)  # however long 600 orders take
    master.wait("ping", 2)
    relay.swallows = {UP}
    for _ in range(600):
        master.emit("restore", {"restore_node": 9})
    worker.wait("sent", 600, event="restore node", limit_s=PATIENCE_S)
    relay.swallows = set()
    relay.cut()
    # at least once: on a busy machine this connection may end as well
    until(lambda: len(master.all("restore node")) >= 600, PATIENCE_S, lambda: len(master.all("restore node")))


def test_orders_that_were_read_when_the_connection_ended_are_obeyed(master):
    """The owner is busy, the inbox full, and the reader has more at hand."""
    received = []

    class Log(NoLog):
        def write(self, level, event, fields):
            received.append(fields.get("event"))

    inbox = Inbox()
    callbacks = Callbacks(inbox.put, inbox.put_order, lambda _seq: None)
    session = Session(Target(master.url, None, None), callbacks, Log(), Resolver(), ATTEMPT_S)
    session.start()
    assert isinstance(inbox.get(5), Connected)
    master.burst("restore", 3 * ORDERS, 1)
    until(lambda: received.count("restore") > ORDERS)
    session.end(Failure("the master is gone"))
    time.sleep(3 * WAIT_S)  # the owner is busy for longer than the reader waits for it
    messages = list(iter(lambda: inbox.get(0.5), None))
    assert received.count("restore") == sum(isinstance(one, OrderReceived) for one in messages)
    assert sum(isinstance(one, Disconnected) for one in messages) == 1
