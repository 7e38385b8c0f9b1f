"""The worker as a process against masters that are killed, kicked, frozen, hostile or away: what it says on the
wire, how it comes back, and how it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sys

import pytest

from tests.lab.masters import (
    BlackHole,
    Master,
    NameServer,
    Puppet,
    Raw,
    answering,
    http,
    silent,
    trickling,
)
from tests.lab.ports import free_port
from tests.lab.processes import start_master
from tests.lab.waiting import PATIENCE_S, until

TOKEN = 'Zg7"kQ\\hunter2 ü'
DELAY_MAX_S = 0.3  # RECONNECT_DELAY_MAX of tests.workers
RECOVER = {
    "disconnected_node": 2,
    "recovery_node": "3",
    "ip": "10.9.0.2",
    "netmask": "255.255.255.0",
    "active_neighbors": ["6"],
}
JOIN = {
    "system": socket.gethostname(),
    "NODE_ID": 3,
    "neighbors": ["2", "6"],
    "primary_ip": "10.9.0.3",
    "primary_netmask": "255.255.255.0",
    "secondary_ip": None,
    "secondary_netmask": None,
}
HOLDING = {**JOIN, "secondary_ip": "10.9.0.2", "secondary_netmask": "255.255.255.0"}


def says(data, wanted):
    """Whether the keys of the contract are there with their values and types; others may be added."""
    shared = {key: data.get(key, "missing") for key in wanted}
    return json.dumps(shared, sort_keys=True) == json.dumps(wanted, sort_keys=True)


# what it says


def test_join_is_first_and_comes_again_every_join_interval(work, serve):
    master = serve(Master())
    worker = work(master, JOIN_INTERVAL=0.5, LOG_LEVEL="DEBUG")
    master.wait("join", 4)
    joins = master.all("join")
    first = [heard.event for heard in master.heard].index("connect")
    assert [heard.event for heard in master.heard[first : first + 2]] == ["connect", "join"]
    assert all(says(join.data, JOIN) for join in joins)
    assert joins[3].at_s - joins[0].at_s > 3 * 0.5 - 0.3  # not more often
    assert master.all("connect")[0].data is None  # without a token there is nothing to say

    # what went out is what is logged
    def logged():
        return [json.loads(e.fields["data"]) for e in worker.all("sent") if e.fields["event"] == "join"]

    until(lambda: len(logged()) >= len(joins))
    assert logged()[: len(joins)] == [join.data for join in joins]
    master.kick()
    master.wait("join", since=master.heard.index(master.wait("connect", 2)))
    again = master.heard.index(master.wait("connect", 2))
    assert [h.event for h in master.heard[again : again + 2]] == ["connect", "join"]
    # one that says nothing new is of no interest: but the first of a connection is
    until(lambda: len(logged()) > len(joins))
    connected = [entry.when for entry in worker.all("connected")]
    levels = [entry.level for entry in worker.all("sent") if entry.fields["event"] == "join"]
    assert levels.count("INFO") == len(connected) == 2
    assert levels[:2] == ["INFO", "DEBUG"]


def test_no_join_but_on_connect_with_an_interval_of_0(work, serve):
    master = serve(Master())
    work(master, JOIN_INTERVAL=0)
    master.wait("ping", 7)
    assert len(master.all("join")) == 1


def test_recover_and_restore(work, serve):
    master = serve(Master())
    worker = work(master)
    master.wait("join")
    assert master.order("recover", RECOVER) == [{"accepted": True}]
    update = master.wait("update node").data
    assert says(update, {**HOLDING, "disconnected_node": 2})
    assert "error" not in update
    assert master.order("restore", {"restore_node": 2}) == [{"accepted": True}]
    restored = master.wait("restore node").data
    assert says(restored, {**JOIN, "restore_node": 2, "status": True})
    assert "error" not in restored
    # and once more: it is not held, which is a success
    assert master.order("restore", {"restore_node": 2}) == [{"accepted": True}]
    assert says(
        master.wait("restore node", 2).data, {"restore_node": 2, "status": True, "secondary_ip": None}
    )
    # without an acknowledgement asked for
    master.emit("recover", RECOVER)
    assert says(master.wait("update node", 2).data, {**HOLDING, "disconnected_node": 2})
    done = worker.wait("takeover_done", 2)
    assert done.fields["node"] == "2"
    assert done.fields["address"] == "10.9.0.2/24"
    assert done.fields["simulated"] == "true"
    assert float(done.fields["took_ms"]) >= 60
    received = [json.loads(e.fields["data"]) for e in worker.all("received")]
    assert received == [RECOVER, {"restore_node": 2}, {"restore_node": 2}, RECOVER]


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("recover", {**RECOVER, "disconnected_node": 3}),
        ("recover", {**RECOVER, "recovery_node": "4", "secondary_ip": "10.9.0.9", "error": "x", "more": [1]}),
        ("recover", {}),
        ("restore", {"restore_node": "2"}),
        ("restore", {"restore_node": 99, "secondary_ip": 1}),
    ],
)
def test_an_order_that_is_none_is_refused_twice(shared, event, data):
    master, _ = shared
    since = len(master.heard)
    (answer,) = master.order(event, data)
    assert answer["accepted"] is False
    assert isinstance(answer["error"], str)
    outcome = "update node" if event == "recover" else "restore node"
    said = master.wait(outcome, since=since).data
    echo = {key: value for key, value in data.items() if key not in ("secondary_ip", "error")}
    wanted = {**echo, "error": answer["error"], **({"status": False} if event == "restore" else {})}
    assert said == wanted


@pytest.mark.parametrize("data", [None, [], "x", 1, True, [RECOVER], [[RECOVER]]])
@pytest.mark.parametrize("event", ["recover", "restore"])
def test_data_that_is_no_object_is_refused_by_the_acknowledgement_alone(shared, event, data):
    master, _ = shared
    since = len(master.heard)
    (answer,) = master.order(event, data)
    assert answer == {"accepted": False, "error": f"{event} wants an object"}
    # what follows is answered, so nothing else is on its way
    master.order("restore", {"restore_node": 2})
    master.wait("restore node", since=since)
    assert {h.event for h in master.heard[since:]} <= {"ack recover", "ack restore", "restore node", "ping"}
    assert [h.event for h in master.heard[since:]].count("restore node") == 1


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One worker and its master for tests that leave no trace."""
    from tests.lab.workers import Worker

    master = Master()
    worker = Worker(tmp_path_factory.mktemp("shared"), master)
    try:
        master.wait("join")
        yield master, worker
        assert not worker.all("crashed")
    finally:
        worker.end()
        master.close()


def test_an_answer_that_the_link_had_no_time_for_is_sent_once_after_the_next_join(work, serve):
    port = free_port()
    master = serve(Master(port))
    worker = work(master, CONFLICT_PROBE=1.2)
    master.wait("join")
    master.order("recover", RECOVER)
    master.kill()  # while the wire is being asked
    worker.wait("takeover_done")
    assert not [e for e in worker.all("sent") if e.fields["event"] == "update node"]
    since = len(master.heard)
    master.start()
    update = master.wait("update node", since=since, limit_s=5)
    assert says(update.data, {**HOLDING, "disconnected_node": 2})
    events = [heard.event for heard in master.heard[since:]]
    assert events[:4] == ["listening", "connect", "join", "update node"]
    assert says(master.wait("join", since=since).data, HOLDING)
    master.kick()
    master.wait("ping", 2, since=master.heard.index(master.wait("connect", 2, since=since)))
    assert len([heard for heard in master.heard[since:] if heard.event == "update node"]) == 1


def test_a_success_is_not_sent_again_after_the_address_was_given_back(work, serve):
    """The link ends before a ping showed that the answers arrived: they are sent again, as far as they are still true."""
    master = serve(Master(free_port()))
    work(master, PING_INTERVAL=5)
    master.wait("join")
    master.order("recover", RECOVER)
    master.wait("update node")
    master.order("restore", {"restore_node": 2})
    master.wait("restore node")
    since = len(master.heard)
    master.kill()
    master.start()
    again = master.wait("restore node", since=since)
    assert says(again.data, {"restore_node": 2, "status": True, "held": {}})
    assert [heard for heard in master.heard[since:] if heard.event == "update node"] == []


# coming back


class Health:
    """What must not grow: threads, descriptors, memory; after what once is made, such as caches, was made."""

    def __init__(self, worker):
        self._worker = worker
        self._before = self._now()

    def _now(self):
        return self._worker.status("Threads"), self._worker.descriptors, self._worker.status("VmRSS")

    def check(self):
        threads, descriptors, memory_kb = self._before
        until(
            lambda: self._now()[0] <= threads and self._now()[1] <= descriptors,
            8,
            lambda: (self._before, self._now()),
        )
        assert self._now()[2] < memory_kb + 4096


@pytest.mark.slow
def test_after_ten_kills_of_the_master_it_is_back_with_one_connection(work, serve):
    master = serve(Master())
    worker = work(master, PING_TIMEOUT=600)  # on a busy machine a master may be slow to answer
    master.wait("ping")
    health = None
    for n in range(1, 11):
        master.kill()
        worker.wait("disconnected", n)
        since = len(master.heard)
        master.start()
        master.wait("join", since=since)
        master.wait("ping", 2, since=since)
        assert [heard.event for heard in master.heard[since:]].count("connect") == 1
        assert len(master.sids) == 1
        health = health or Health(worker)
    health.check()


def test_a_kick_and_a_refusal_that_is_lifted(work, serve):
    master = serve(Master())
    worker = work(master)
    master.wait("ping")
    for n in range(2, 8):
        master.kick()
        master.wait("ping", since=master.heard.index(master.wait("join", n)))
        if n == 3:
            health = Health(worker)
    assert {e.fields["reason"] for e in worker.all("disconnected")} == {"the master disconnected this node"}
    master.refuse("not today")
    master.kick()
    refused = worker.wait("connect_failed", 3)
    assert (refused.level, refused.fields["error"]) == ("ERROR", "the master refused this node: not today")
    since = len(master.heard)
    master.refuse(None)
    master.wait("join", since=since)
    master.wait("ping", 2, since=since)
    assert len(master.sids) == 1
    health.check()


@pytest.mark.slow
def test_whatever_answers_in_the_master_s_place_it_is_back_soon_after_the_master(work, serve):
    """For each of the wrong answers a worker of its own, all at the same time."""
    answers = {
        "empty": answering(http("200 OK")),
        "204": answering(http("204 No Content")),
        "0": answering(http("200 OK", b"0")),
        "0{}": answering(http("200 OK", b"0{}")),
        "502": answering(http("502 Bad Gateway", b"<html>", kind="text/html")),
        "html": answering(http("200 OK", b"<html>", kind="text/html")),
    }
    masters = {name: serve(Master()) for name in answers}
    workers = {name: work(master, name=name, LOG_LEVEL="DEBUG") for name, master in masters.items()}
    raws = {}
    for name, master in masters.items():
        master.wait("ping")
        master.kill()
    for name, master in masters.items():
        workers[name].wait("disconnected")
        raws[name] = Raw(answers[name], master.port)
    try:
        healths = {}
        for name, worker in workers.items():
            worker.wait("connecting", 6)
            healths[name] = worker.status("Threads"), worker.descriptors, worker.status("VmRSS")
        for name, worker in workers.items():
            worker.wait("connecting", 24, limit_s=20)
            threads, descriptors, memory_kb = healths[name]
            assert worker.status("VmRSS") < memory_kb + 4096, name
            until(
                lambda: worker.descriptors <= descriptors + 3,
                5,
                lambda: (name, descriptors, worker.descriptors),
            )
            until(lambda: worker.status("Threads") <= max(threads, 5), 5)
    finally:
        for raw in raws.values():
            raw.close()
    for name, master in masters.items():
        since = len(master.heard)
        master.start()
        master.wait("join", since=since)
        master.wait("ping", 2, since=since)
        assert len(master.sids) == 1
        until(lambda name=name: workers[name].status("Threads") <= 7)


def test_at_most_seven_threads_when_idle(work, serve):
    master = serve(Master())
    worker = work(master)
    master.wait("ping", 5)
    until(lambda: worker.status("Threads") <= 7)


# hostile masters


def deep(levels):
    return "[" * levels + "]" * levels


HOSTILE = [
    *(f"4{text}" for text in ("", "2", "2[]", "2{}", "2[1]", "2[null,1]", '2"x"', "2[", "2/x,[1]", "9", "x", "\x00")),
    *(f'42["{event}",{data}]' for event in ("recover", "restore") for data in ("null", "[]", "1", '"x"', "NaN", "{}")),
    *(f'42["{event}",{{"disconnected_node":{n},"restore_node":{n}}}]' for event in ("recover", "restore") for n in ("1e999", "-1", "2.0", "true", '"2"', "9" * 400, '{"a":1}')),
    *(f'42["recover",{{"disconnected_node":2,"recovery_node":"3","ip":{ip},"netmask":{mask}}}]' for ip in ('"10.9.0.2/24"', '"010.9.0.2"', '"::1"', '"\\ud800"', '"١٠.9.0.2"', "0") for mask in ('"255.0.255.0"', '"24"', "null")),
    *(f'42["recover",{deep(n)}]' for n in (100, 500, 900, 960, 980, 990, 1000, 5000, 100000)),
    *(f'42["recover",{{"disconnected_node":2,"x":{deep(n)}}}]' for n in (900, 930, 940, 950, 960, 970, 975, 980, 985, 990, 995)),
    *(f'42["recover",{{"x":{json.dumps(text)}}}]' for text in ("\n[2026-11-24 22:47:01.123+0000] : [INFO] - [forged]\n", "\x1b[2J", "\u202e", "x" * 70_000, "\\" * 9000, "…(3 bytes left out)")),
    *(f"43{text}" for text in ("", "[]", "1[]", "999999[]", "-1[]", "9" * 90 + "[]", "1", "1{}")),
    '451-["recover",{"_placeholder":true,"num":7}]',
    b"attachment",
    b"unexpected",
    '459999999-["recover",{"_placeholder":true,"num":0}]',
    '451-["recover",{"_placeholder":true,"num":0}]',
    b"attachment",
    '461-1[{"_placeholder":true,"num":0}]',
    b"attachment",
    "3probe",
    "6",
    "5",
    "2",
    "2probe",
    '42["\u0000\u202e",1]',
    '42["' + "e" * 9000 + '",1]',
    "42" + json.dumps(["news", *range(5000)]),
    '42["news","' + "ü" * 9000 + '"]',
]  # fmt: skip


@pytest.mark.slow
def test_no_payload_of_a_hostile_master_does_harm(work, serve):
    assert len(HOSTILE) >= 100
    puppet = serve(Puppet())
    worker = work(puppet, LOG_LEVEL="DEBUG", MASTER_TOKEN=TOKEN)
    assert puppet.up.wait(PATIENCE_S)
    worker.wait("ping", log="pings")

    def restored():
        successes = ('42["restore node"', '"restore_node":2,"status":true}')
        return sum(said.startswith(successes[0]) and successes[1] in said for said in puppet.said)

    for n, message in enumerate(HOSTILE):
        puppet.say(message)
        if n % 10 == 9:
            # it still obeys, and nothing was swallowed
            before = restored()
            puppet.say('421["restore",{"restore_node":2}]')
            until(lambda before=before: restored() > before, 5, lambda n=n: HOSTILE[n - 9 : n + 1])
    worker.wait("ping", 3, since=len(worker.pings.read()), log="pings")
    assert not worker.all("disconnected")
    assert not worker.all("crashed")
    assert "forged" not in {entry.event for entry in worker.comms.read()}  # which also reads every line back
    received = worker.all("received")
    assert len(received) >= 95
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("1", "the master closed the connection"),
        ("41", "the master disconnected this node"),
        ('44{"message":"away"}', "the master refused this node: away"),
        ("", "the master sent what is no Engine.IO packet: ''"),
        ("x", "the master sent what is no Engine.IO packet: 'x'"),
        ('42["news","\ud800"]', "the master sent what is no websocket's frame: .*utf-8.*"),
    ],
)
def test_what_ends_a_connection_is_told_and_another_one_made(work, serve, message, reason):
    puppet = serve(Puppet())
    worker = work(puppet)
    assert puppet.up.wait(PATIENCE_S)
    worker.wait("ping", log="pings")
    puppet.say(message)
    lost = worker.wait("disconnected")
    assert re.fullmatch(reason, lost.fields["reason"])
    worker.wait("connected", 2)
    worker.wait(
        "ping", since=worker.pings.read().index(worker.wait("pings_resumed", log="pings")), log="pings"
    )
    assert len(worker.all("disconnected")) == 1


def test_no_secret_stands_anywhere_even_when_the_master_echoes_it(work, serve):
    puppet = serve(Puppet())
    worker = work(puppet, MASTER_TOKEN=TOKEN, PASSWORD="pass wörd%41", LOG_LEVEL="DEBUG", LOG_CONSOLE=1)
    assert puppet.up.wait(PATIENCE_S)
    worker.wait("connected")
    for secret in (TOKEN, "pass wörd%41"):
        for spelled in (
            json.dumps(secret),
            json.dumps(secret, ensure_ascii=False),
            json.dumps(json.dumps(secret)),
        ):
            puppet.say(f'42["recover",{{"disconnected_node":{spelled},"ip":{spelled},"more":[{spelled}]}}]')
            puppet.say(f"42[{spelled},{spelled}]", f"42{spelled}", f"4{spelled}", f"2{spelled}")
            puppet.say(f'42["news",[{spelled},"{"x" * 9000}"]]', f'42["news","{"x" * 8150}",{spelled}]')
    puppet.say('42["done"]')
    worker.wait("received", event="done")
    puppet.say(f'44{{"message":{json.dumps(TOKEN)}}}')
    worker.wait("disconnected")
    cmdline = open(f"/proc/{worker.pid}/cmdline", encoding="utf-8").read()
    worker.stop()
    texts = {
        "comms": worker.comms.path.read_text(),
        "pings": worker.pings.path.read_text(),
        "stderr": worker.said,
        "cmdline": cmdline,
    }
    for name, text in texts.items():
        for piece in ("hunter", "wörd", "w\\u00f6rd", "Zg7"):
            assert piece not in text, name
    assert texts["comms"].count("***") >= 20


def test_a_burst_of_orders_is_answered_in_its_order_each_once(work, serve):
    puppet = serve(Puppet())
    worker = work(puppet)
    assert puppet.up.wait(PATIENCE_S)
    worker.wait("ping", log="pings")
    orders = [f'42{n}["restore",{{"restore_node":{n % 9 + 1}}}]' for n in range(1000)]
    puppet.say(*orders)

    def acknowledged():
        return [int(said[2 : said.index("[")]) for said in puppet.said if said.startswith("43")]

    until(lambda: len(acknowledged()) == 1000, 10, lambda: len(acknowledged()))
    assert acknowledged() == list(range(1000))
    answers = [json.loads(said[2:])[1] for said in puppet.said if said.startswith('42["restore node"')]
    assert [answer["restore_node"] for answer in answers] == [n % 9 + 1 for n in range(1000)]
    assert [answer["status"] for answer in answers] == [n % 9 + 1 != 3 for n in range(1000)]


def test_a_burst_of_40_000_events_is_logged_in_order_while_pings_and_an_order_go_through(work, serve):
    """The library alone would drop the link for want of something to send, and lose a third of them."""
    count = 40_000
    puppet = serve(Puppet())
    worker = work(puppet, CONFLICT_PROBE=0, PING_INTERVAL=1, PING_TIMEOUT=2, LOG_MAX_BYTES=0)
    assert puppet.up.wait(PATIENCE_S)
    worker.wait("ping", log="pings")
    before_kb = worker.status("VmRSS")
    events = [f'42["news",{{"n":{n},"pad":"{"x" * 469}"}}]' for n in range(count)]
    events.insert(count // 2, f'42["recover",{json.dumps(RECOVER)}]')
    assert len(events[count // 2 - 1]) == 500
    for at in range(0, len(events), 500):  # so that acknowledgements find room between them
        puppet.say(*events[at : at + 500])
    peak_kb = before_kb

    def logged():
        nonlocal peak_kb
        peak_kb = max(peak_kb, worker.status("VmRSS"))
        return len(worker.comms.read()) > count and worker.all("sent")[-1].fields["event"] == "update node"

    until(logged, 60, lambda: worker.lines)
    assert peak_kb < before_kb + 60 * 1024
    received = [entry for entry in worker.all("received") if entry.fields["event"] == "news"]
    assert [json.loads(entry.fields["data"])["n"] for entry in received] == list(range(count))
    # answered in between, not after the burst
    entries = worker.comms.entries
    asked = entries.index(worker.wait("received", event="recover"))
    assert entries.index(worker.wait("sent", event="update node")) - asked < count // 10
    worker.wait("ping", 2, since=len(worker.pings.read()), log="pings")
    assert (
        not worker.all("disconnected") + worker.all("log_lines_lost") + worker.all("ping_missed", log="pings")
    )


# the end


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_within_two_seconds_in_every_state(work, serve, tmp_path, number):
    """One worker in each state, all at the same time; they are stopped one after another."""
    slow = {"RECONNECT_DELAY": 60, "RECONNECT_DELAY_MAX": 60}
    stopped, holder, asking = (serve(Master()) for _ in range(3))
    gone = f"http://127.0.0.1:{free_port()}"
    workers = {
        "connected": work(serve(Master())),
        "backing off": work(gone, **slow),
        "black hole": work(serve(BlackHole()), **slow),
        "silent": work(serve(Raw(silent)), **slow),
        "trickling": work(serve(Raw(trickling)), **slow),
        "stopped master": work(stopped, PING_INTERVAL=60),
        "holding": work(holder),
        "taking over": work(asking, CONFLICT_PROBE=30),
        "stalled terminal": work(gone, **slow, LOG_CONSOLE=1, stderr=serve(FullPipe()).writing),
    }
    if os.geteuid() == 0 and sys.platform == "linux":
        name_server = serve(NameServer("127.0.53.3", answers=False))
        workers["name server"] = work("http://master.test:5000", **name_server.settings(tmp_path / "dns"))
    workers["connected"].wait("ping", log="pings")
    workers["backing off"].wait("connect_failed")
    for name in ("black hole", "silent", "trickling", "name server", "stalled terminal"):
        if name in workers:
            workers[name].wait("connecting")
    stopped.wait("ping")
    stopped.send(signal.SIGSTOP)
    for master in (holder, asking):
        master.wait("join")
        master.order("recover", RECOVER)
    holder.wait("update node")
    workers["taking over"].wait("takeover_started")
    for name, worker in workers.items():
        assert (name, worker.stop(number)) == (name, 0)
        last, stopping = worker.comms.read()[-1], worker.all("stopping")
        assert (name, last.event) == (name, "stopped")
        assert [entry.fields["signal"] for entry in stopping] == [number.name]
    # addresses are released, and the master learns it
    assert workers["holding"].wait("release_done").fields["reason"] == "stopping"
    for master, n in ((holder, 2), (asking, 1)):
        assert master.wait("update node", n).data == {**RECOVER, "error": "stopping"}
        assert master.wait("disconnect").data == "client disconnect"  # it said goodbye


class FullPipe:
    """A pipe that nobody reads, and that is full."""

    def __init__(self):
        self._reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.writing, b"x" * 4096)
        os.set_blocking(self.writing, True)

    def close(self):
        os.close(self._reading)
        os.close(self.writing)


def test_signals_that_come_in_numbers_end_it_once(work, serve):
    master = serve(Master())
    worker = work(master)
    worker.wait("started")
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ProcessLookupError):
            worker.send(number)
    assert worker.process.wait(PATIENCE_S) == 0
    assert len(worker.all("stopping")) == len(worker.all("stopped")) == 1
    assert worker.said == ""


def test_sighup_reopens_both_logs(work, serve):
    worker = work(serve(Master()), LOG_MAX_BYTES=0)
    worker.wait("ping", log="pings")
    for tail in (worker.comms, worker.pings):
        tail.path.rename(tail.path.with_suffix(".moved"))
    worker.send(signal.SIGHUP)
    until(lambda: worker.comms.path.exists() and worker.pings.path.exists(), 0.9)
    assert worker.process.poll() is None


def test_a_second_worker_on_the_folder_names_the_first(work, serve):
    master = serve(Master())
    first = work(master, name="both")
    first.wait("connected")
    second = work(master, name="both", node=2)
    assert second.process.wait(PATIENCE_S) == 75
    assert re.fullmatch(
        rf"another worker \(pid {first.pid}, which is alive\) has LOG_DIR '.*/both'; stop it, .*\n",
        second.said,
    )
    assert len(master.all("connect")) == 1
    assert len(first.all("started")) == 1
    assert first.stop() == 0
    third = work(master, name="both")
    master.wait("connect", 2)
    assert third.process.poll() is None


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({"NODE_ID": ""}, ["NODE_ID"]),
        ({"NODE_ID": "10"}, ["NODE_ID"]),
        ({"MASTER_URL": "ftp://x"}, ["MASTER_URL"]),
        ({"MASTER_URL": "http://x/path", "PING_INTERVAL": "nan", "LOG_LEVEL": "LOUD"}, ["MASTER_URL", "PING_INTERVAL", "LOG_LEVEL"]),
        ({"MASTER_TOKEN_FILE": "/nowhere", "PASSWORD": TOKEN, "VIP_BACKEND": TOKEN}, ["MASTER_TOKEN_FILE", "VIP_BACKEND"]),
        ({"LOG_DIR": "/dev/null/x"}, ["LOG_DIR"]),
        ({"NODE_ID": "300", "NETWORK_CONFIG": "BIG"}, ["NODE_ID|VIP_BACKEND"]),
    ],
)  # fmt: skip
def test_wrong_settings_end_it_with_78_and_a_line_for_each(work, tmp_path, settings, lines):
    (tmp_path / "big").write_text("300, 301\n301, 300\n")
    settings = {name: tmp_path / "big" if value == "BIG" else value for name, value in settings.items()}
    worker = work("http://127.0.0.1:9", name="wrong", **settings)
    assert worker.process.wait(PATIENCE_S) == 78
    said = worker.said.splitlines()
    assert len(said) == len(lines)
    for name in lines:
        assert any(re.match(name, line) for line in said), said
    assert "hunter2" not in worker.said
    assert not worker.comms.path.exists()


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="gives a process another host name: needs root"
)
def test_a_join_that_is_refused_is_an_error_with_the_other_s_address(work):
    """As the bundled master does with a NODE_ID that is alive elsewhere."""
    with start_master() as master:
        first = work(master, name="first")
        until(lambda: master.state()["active"].get("3"))
        second = work(
            master, name="second", before=("unshare", "--uts", "sh", "-c", 'hostname other; exec "$@"', "-")
        )
        refused = second.wait("join_refused")
        assert refused.level == "ERROR"
        assert refused.fields["master"] == master.url
        assert "10.9.0.3" in refused.fields["reason"]
        assert first.process.poll() is None
        assert not first.all("join_refused")
        until(lambda: len(second.all("connecting")) + len(second.all("connected")) >= 3)
        assert len(second.all("join_refused")) == 1  # the same is said once a minute


def test_simulated_addresses_are_joined_with_wherever_the_master_is(work, serve):
    """This end of the connection is none of them."""
    host = next((there for there in own_addresses() if not there.startswith("127.")), None)
    if host is None:
        pytest.skip("this machine has no address but loopback's")
    master = serve(Master(host=host))
    work(master)
    assert master.wait("join").data["primary_ip"] == "10.9.0.3"


def own_addresses():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return [probe.getsockname()[0]]
    return []


def test_the_first_line_names_the_run_and_the_mac(work, serve):
    worker = work(serve(Master()))
    started = worker.wait("started").fields
    assert re.fullmatch(r"[0-9a-f]{8}", started["run"])
    assert re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", started["mac"])
    assert worker.wait("started", log="pings").fields["run"] == started["run"]
