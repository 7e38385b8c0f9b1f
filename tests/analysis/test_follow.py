"""--follow: each event is printed once, soon after it happened, whatever becomes of the files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from analysis.follow import SETTLE_S, Follower
from logs.format import format_line
from tests.analysis.logs import LEVELS, PING_LOG, recover
from tests.lab.processes import PATIENCE_S, Process

ROOT = Path(__file__).resolve().parents[2]
SOON_S = PATIENCE_S


class Log:
    """Writes lines as they happen, as a worker does."""

    def __init__(self, folder, node):
        self.folder, self.node = folder, node

    def make(self):
        self.folder.mkdir(exist_ok=True)
        return self

    def say(self, event, /, ago=0.0, **fields):
        when = datetime.now(timezone.utc) - timedelta(seconds=ago)
        line = format_line(when, LEVELS.get(event, "INFO"), event, fields) + "\n"
        with open(self.folder / ("ping.log" if event in PING_LOG else "comms.log"), "a") as file:
            file.write(line)
        return self

    def start(self, ago=0.0):
        self.say("started", ago, node=self.node, version="1.0.0").say("connecting", ago, master="m")
        return self.say("connected", ago, master="m", sid="a", took_ms=1.0)


@contextmanager
def following(*folders, options=()):
    command = [sys.executable, "diagnose.py", "--follow", *options, *map(str, folders)]
    with Process(command) as process:
        process.wait_for_line("following", SOON_S)
        yield process


def printed(process, text):
    """That an event was printed, as a whole line with its time."""
    process.wait_for_line(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}}  {re.escape(text)}$", SOON_S)


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "node1", 1).make()


def test_each_event_is_printed_once_as_it_happens(log):
    log.start(ago=60).say("disconnected", 30, reason="old", connected_s=30.0).say("connected", 29, master="m")
    with following(log.folder) as process:
        log.say("disconnected", reason="WebSocket connection was closed", connected_s=29.0)
        printed(process, "node 1 lost the master: WebSocket connection was closed (the master was gone)")
        log.say("connect_failed", master="m", error="connection refused: nothing listens", retry_s=0.1)
        log.say("connected", master="m", sid="b", took_ms=1.0)
        process.wait_for_line(r"node 1 reached the master after \d", SOON_S)
        log.say("received", **recover(2, 1))
        log.say("takeover_done", node=2, address="10.9.0.2/24", interface="eth0", took_ms=201.0)
        printed(process, "node 1 took 10.9.0.2/24 of node 2 in 201 ms")
        log.say("release_done", node=2, address="10.9.0.2/24", interface="eth0", reason="restore", held_s=1.0)
        process.wait_for_line("node 1 gave 10.9.0.2/24 of node 2 back", SOON_S)
        assert process.stop() == 0
    assert len(process.stdout) == len(set(process.stdout)) == 4
    assert not [line for line in process.stdout if "old" in line or "started" in line]


def test_what_becomes_known_bit_by_bit_is_printed_once(log):
    log.start(ago=10)
    found = []
    follower = Follower([log.folder], found.append, time.time() - 5)
    follower.begin()
    place = {"node": 2, "address": "10.9.0.2/24", "interface": "eth0"}
    for line in (
        lambda: log.say("received", 2.0, order=1, **recover(2, 1)),
        lambda: log.say("takeover_done", order=1, took_ms=2000.0, **place),
        lambda: log.say("address_lost", **place),
        lambda: log.say("release_done", reason="restore", **place),
        lambda: log.say("stopping", signal="SIGTERM"),
        lambda: log.say("sent", event="update node", data="{}"),
        lambda: log.say("stopped", uptime_s=1.0),
    ):
        line()
        end_s = time.monotonic() + 3 * SETTLE_S
        follower.run(lambda end_s=end_s: time.monotonic() > end_s)
    said = [re.match(r"node 1 (was ordered|took|lost|gave|stopped)", one.text)[1] for one in found]
    assert said == ["was ordered", "took", "lost", "gave", "stopped"]


def test_a_machine_that_comes_with_the_same_number_has_nothing_printed_again(tmp_path, log):
    log.start()
    twin = Log(tmp_path / "other", 1).make()
    found = []
    follower = Follower([log.folder, twin.folder], found.append, time.time() - 5)
    follower.begin()
    log.say("address_lost", address="10.9.0.7/24")
    for _ in range(2):
        end_s = time.monotonic() + 3 * SETTLE_S
        follower.run(lambda end_s=end_s: time.monotonic() > end_s)
        twin.start()
    assert [one.text for one in found if "10.9.0.7" in one.text or "started" in one.text] == [
        "node 1 started (version 1.0.0)",
        "node 1 lost 10.9.0.7/24: it was removed from the interface, or its lease ran out",
        f"node 1 ({twin.folder}) started (version 1.0.0)",
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_0_when_it_is_told_to(log, number):
    log.start()
    with following(log.folder) as process:
        process.signal(number)
        assert process.wait(SOON_S) == 0
    assert not [line for line in process.stderr if "Traceback" in line]


def test_since_prints_what_was_before_too(log):
    log.start(ago=3000).say("disconnected", 2000, reason="too old").say("connected", 1999, master="m")
    log.say("disconnected", 100, reason="recent").say("connected", 99, master="m")
    with following(log.folder, options=("--since", "5m")) as process:
        process.wait_for_line("node 1 lost the master: recent", SOON_S)
    assert not [line for line in process.stdout if "too old" in line]


def test_rotation_loses_and_doubles_nothing(log):
    log.start()
    with following(log.folder) as process:
        for place in range(12):
            if place % 3 == 2:
                os.replace(log.folder / "comms.log", log.folder / "comms.log.1")
            log.say("address_lost", node=2, address=f"10.9.0.{place}/24")
            printed(
                process,
                f"node 1 lost 10.9.0.{place}/24: it was removed from the interface, or its lease ran out",
            )
        process.stop()
    found = re.findall(r"lost 10\.9\.0\.(\d+)/24", "\n".join(process.stdout))
    assert sorted(map(int, found)) == list(range(12))


def test_a_folder_and_files_that_come_later(tmp_path, log):
    log.start()
    late = Log(tmp_path / "node2", 2)
    with following(log.folder, late.folder) as process:
        process.wait_for_line(f"{late.folder}: .*; waiting", SOON_S)
        late.make().start()
        printed(process, "node 2 started (version 1.0.0)")
        late.say("stopping", signal="SIGTERM").say("stopped", uptime_s=1.0)
        printed(process, "node 2 stopped by SIGTERM")


def test_events_of_several_nodes_come_in_the_order_of_their_time(tmp_path, log):
    other = Log(tmp_path / "node2", 2).make()
    log.start(ago=10)
    other.start(ago=10)
    found = []
    follower = Follower([log.folder, other.folder], found.append, time.time() - 5)
    follower.begin()
    log.say("address_lost", 0.2, address="10.9.0.7/24")
    other.say("address_lost", 0.3, address="10.9.0.8/24")
    end_s = time.monotonic() + SOON_S
    follower.run(lambda: len(found) == 2 or time.monotonic() > end_s)
    assert [one.text.split()[1] for one in found] == ["2", "1"]


def test_json_gives_an_object_a_line(log):
    log.start()
    with following(log.folder, options=("--json", "--node", "1")) as process:
        log.say("address_lost", address="10.9.0.7/24")
        process.wait_for_line("10.9.0.7", SOON_S)
    (one,) = map(json.loads, process.stdout)
    assert set(one) == {"at", "tone", "text"}
    assert datetime.fromisoformat(one["at"]).utcoffset() is not None


def test_other_nodes_are_left_out_when_one_is_asked_for(tmp_path, log):
    other = Log(tmp_path / "node2", 2).make()
    log.start()
    other.start()
    with following(log.folder, other.folder, options=("--node", "2")) as process:
        log.say("address_lost", 0.1, address="10.9.0.7/24")
        other.say("address_lost", address="10.9.0.8/24")
        process.wait_for_line("10.9.0.8", SOON_S)
    assert not [line for line in process.stdout if "10.9.0.7" in line]


def test_what_is_logged_in_the_millisecond_of_its_start_is_printed(log):
    log.start()
    log.say("address_lost", address="10.9.0.7/24")
    now = (log.folder / "comms.log").read_text().splitlines()[-1].partition("]")[0][1:]
    now_s = datetime.strptime(now, "%Y-%m-%d %H:%M:%S.%f%z").timestamp() + 0.0009
    code = f"import sys, time; time.time = lambda: {now_s!r}; import diagnose; sys.exit(diagnose.main())"
    with Process([sys.executable, "-c", code, "--follow", str(log.folder)]) as process:
        process.wait_for_line("10.9.0.7", SOON_S)


def test_a_reader_that_leaves_ends_it(log):
    log.start()
    command = [sys.executable, "diagnose.py", "--follow", str(log.folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            process.stderr.readline()
            process.stdout.close()
            log.say("address_lost", address="10.9.0.7/24")
            assert process.wait(SOON_S) == 0
            assert process.stderr.read() == b""
        finally:
            process.kill()
