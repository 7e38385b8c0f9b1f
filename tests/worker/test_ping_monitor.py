"""The keep-alive of a real worker: what is in ping.log, when a ping is missed, and when the master is gone."""

from __future__ import annotations

import re
import signal
import threading
import time
from datetime import datetime

import pytest

from tests.lab.masters import Master, Puppet
from tests.lab.waiting import until

INTERVAL_S, TIMEOUT_S, MISSED = 0.2, 0.5, 3


def test_pings_go_out_on_their_beat_and_their_answers_are_logged(work, serve):
    puppet = serve(Puppet())
    worker = work(puppet, PING_TIMEOUT=20)
    worker.wait("ping", 12, log="pings")
    worker.stop()
    entries = worker.all("ping", log="pings")
    assert [int(entry.fields["seq"]) for entry in entries] == list(range(1, len(entries) + 1))
    assert all(entry.level == "INFO" and float(entry.fields["rtt_ms"]) > 0 for entry in entries)
    assert [entry.event for entry in worker.pings.read()] == ["started", *["ping"] * len(entries)]
    took_s = (entries[11].when - entries[0].when).total_seconds()
    assert took_s > 11 * INTERVAL_S - 0.35  # not faster than the interval
    for ack_id, data in puppet.pings:
        assert re.fullmatch(r'"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{4}"', data)
        said = datetime.strptime(data.strip('"'), "%Y-%m-%d %H:%M:%S.%f")
        assert abs((datetime.now() - said).total_seconds()) < 30
        assert int(ack_id) in range(1, len(puppet.pings) + 1)
    # keep-alives stand in ping.log alone
    assert "ping" not in {entry.event for entry in worker.comms.read()}
    assert not [entry for entry in worker.all("sent") if entry.fields["event"] == "ping"]


def test_a_ping_does_not_wait_for_the_answer_of_the_one_before(work, serve):
    puppet = serve(Puppet())
    puppet.acks = 0.45
    worker = work(puppet, PING_TIMEOUT=20)
    worker.wait("ping", 8, log="pings")
    worker.stop()
    entries = worker.all("ping", log="pings")
    assert all(float(entry.fields["rtt_ms"]) >= 450 for entry in entries)
    took_s = (entries[7].when - entries[0].when).total_seconds()
    assert took_s > 7 * INTERVAL_S - 0.35  # not faster than the interval


def test_a_master_that_never_acknowledges_is_served_as_long_as_anything_comes(work, serve):
    master = serve(Master(acks=False, ping_interval=1, ping_timeout=1))
    worker = work(master)
    sent = worker.wait("ping_sent", 12, log="pings")  # longer than the interval and the time-out of Engine.IO
    assert sent.level == "INFO"
    assert set(sent.fields) == {"seq"}
    assert {entry.event for entry in worker.pings.read()} == {"started", "ping_sent"}
    assert not worker.all("disconnected")
    master.send(signal.SIGSTOP)
    lost = worker.wait("disconnected")
    # the library and the keep-alive notice at the same time
    assert re.match("nothing from the master for 2 s|Server has stopped", lost.fields["reason"])


def test_a_ping_is_missed_only_when_nothing_at_all_came(work, serve):
    puppet = serve(Puppet())
    worker = work(puppet)
    worker.wait("ping", 2, log="pings")
    # answers queue behind a burst: what comes is life
    puppet.acks = False
    noise = threading.Event()

    def make_noise():
        while not noise.wait(0.05):
            puppet.say('42["news",1]')

    thread = threading.Thread(target=make_noise)
    thread.start()
    try:
        asked = len(puppet.pings)
        until(lambda: len(puppet.pings) >= asked + 8, 10)
        assert not worker.all("ping_missed", log="pings")
    finally:
        noise.set()
        thread.join()
    # silence is not
    third = worker.wait("ping_missed", MISSED, log="pings")
    assert third.level == "WARNING"
    missed = worker.all("ping_missed", log="pings")
    assert [entry.fields["missed"] for entry in missed] == ["1", "2", "3"]
    assert {entry.fields["timeout_ms"] for entry in missed} == {"500"}
    lost = worker.wait("disconnected")
    assert lost.level == "WARNING"
    assert lost.fields["reason"] == "3 pings in a row without an answer"
    assert float(lost.fields["connected_s"]) > 2
    puppet.acks = True
    paused = worker.wait("pings_paused", log="pings")
    resumed = worker.wait("pings_resumed", log="pings")
    assert (paused.level, paused.fields["reason"]) == ("WARNING", lost.fields["reason"])
    assert resumed.level == "INFO"
    assert float(resumed.fields["after_s"]) == pytest.approx(
        (resumed.when - paused.when).total_seconds(), abs=0.02
    )
    after = worker.wait("ping", log="pings", since=worker.pings.read().index(resumed))
    assert int(after.fields["seq"]) > int(third.fields["seq"])  # numbers go on
    assert len(worker.all("pings_paused", log="pings")) == len(worker.all("pings_resumed", log="pings")) == 1


def test_a_link_that_is_dead_from_the_start_is_noticed_where_the_master_is_known_to_acknowledge(work, serve):
    """Not by Engine.IO's time-out alone, 45 s here; one that no longer acknowledges is served the next time."""
    puppet = serve(Puppet())
    worker = work(puppet)
    worker.wait("ping", log="pings")
    puppet.acks = False
    puppet.say("41")
    worker.wait("connected", 2)
    assert "pings in a row without an answer" in worker.wait("disconnected", 2).fields["reason"]
    worker.wait("connected", 3)
    worker.wait("ping_sent", MISSED + 1, log="pings")
    assert len(worker.all("disconnected")) == 2


def test_answers_that_come_late_are_logged_and_keep_the_connection(work, serve):
    puppet = serve(Puppet())
    worker = work(puppet, PING_INTERVAL=0.4, PING_TIMEOUT=0.1, PING_MAX_MISSED=4)
    worker.wait("ping", 2, log="pings")
    puppet.acks = 0.25
    late = worker.wait("ping", 6, log="pings", late="true")
    assert float(late.fields["rtt_ms"]) >= 250
    assert len(worker.all("ping_missed", log="pings")) > 4
    in_a_row = 0
    for entry in worker.pings.read():
        # each late answer ends the row; on a slow machine it may be later than the next ping is missed
        in_a_row = in_a_row + 1 if entry.event == "ping_missed" else 0
        assert entry.event != "ping_missed" or entry.fields["missed"] == str(in_a_row)
    assert not worker.all("disconnected")


@pytest.mark.slow
def test_its_own_freeze_is_no_fault_of_the_master(work, serve):
    """A ping is on its way whenever it is frozen, and its answer waits for it when it goes on."""
    puppet = serve(Puppet())
    worker = work(puppet, PING_INTERVAL=0.4, PING_TIMEOUT=0.3)
    worker.wait("ping", 2, log="pings")
    puppet.acks = 0.15
    for frozen_s in (0.45, 0.7, 1.3):
        asked = len(puppet.pings)
        until(lambda asked=asked: len(puppet.pings) > asked)
        worker.send(signal.SIGSTOP)
        time.sleep(frozen_s)
        worker.send(signal.SIGCONT)
        worker.wait("ping", since=len(worker.pings.read()), log="pings")
    assert not worker.all("ping_missed", log="pings")
    assert not worker.all("disconnected")


def test_a_stopped_master_is_noticed_in_time(work, serve):
    master = serve(Master())
    worker = work(master)
    worker.wait("ping", 3, log="pings")
    master.send(signal.SIGSTOP)
    worker.wait("disconnected")
    paused = worker.wait("pings_paused", log="pings")
    assert paused.fields["reason"] == "3 pings in a row without an answer"
    master.send(signal.SIGCONT)
    worker.wait("connected", 2, limit_s=8)
    until(lambda: len(master.sids) == 1, 5)


def test_a_kick_pauses_the_pings_at_once(work, serve):
    master = serve(Master())
    worker = work(master)
    worker.wait("ping", 2, log="pings")
    master.kick()
    paused = worker.wait("pings_paused", log="pings")
    assert paused.fields["reason"] == "the master disconnected this node"
    worker.wait("pings_resumed", log="pings")
    assert not worker.all("ping_missed", log="pings")
