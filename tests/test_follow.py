"""`diagnose.py --follow`: a process that watches folders which others write."""

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

from logging_setup import format_line
from story.following import Teller, Watched
from story.tail import Tail
from story.timeline import tell
from story.words import Sentence
from tests.lab.processes import Process
from tests.lab.waiting import PATIENCE_S
from tests.story_logs import LEVELS, PING_LOG, at, recover

ROOT = Path(__file__).resolve().parents[1]
QUICK_S = 2.0
"""From the writing of a line to the event, on a machine that has other things to do."""


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

    def rotate(self, name="comms.log"):
        os.replace(self.folder / name, self.folder / f"{name}.1")


@contextmanager
def following(*folders, options=()):
    command = [sys.executable, "diagnose.py", "--follow", *options, *map(str, folders)]
    with Process(command) as process:
        process.wait_for_line("following")
        yield process


def told(process, text, deadline_s=QUICK_S):
    """That an event was printed, as a whole line with its time."""
    process.wait_for_line(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}}  {re.escape(text)}$", deadline_s)


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "node1", 1).make()


def test_each_event_is_told_once_as_it_happens(log):
    log.start(ago=60).say("disconnected", 30, reason="old", connected_s=30.0).say("connected", 29, master="m")
    with following(log.folder) as process:
        log.say("disconnected", reason="WebSocket connection was closed", connected_s=29.0)
        told(process, "node 1 lost the master: WebSocket connection was closed")
        log.say("connect_failed", master="m", error="connection refused: nothing listens", retry_s=0.1)
        log.say("connected", master="m", sid="b", took_ms=1.0)
        process.wait_for_line(r"node 1 reached the master after \d", QUICK_S)
        log.say("received", **recover(2, 1))
        log.say("takeover_done", node=2, address="10.9.0.2/24", interface="eth0", took_ms=201.0)
        told(process, "node 1 took 10.9.0.2/24 for node 2 in 201 ms")
        log.say("release_done", node=2, address="10.9.0.2/24", interface="eth0", reason="restore", held_s=1.0)
        process.wait_for_line("node 1 gave 10.9.0.2/24 back", QUICK_S)
        assert process.stop() == 0
    assert len(process.stdout) == len(set(process.stdout))
    assert not [line for line in process.stdout if "old" in line or "started" in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_0_when_it_is_told_to(log, number):
    with following(log.folder) as process:
        process.signal(number)
        assert process.wait(QUICK_S) == 0
    assert not [line for line in process.stderr if "Traceback" in line]


def test_since_tells_what_was_before_too(log):
    log.start(ago=3000).say("disconnected", 2000, reason="too old", connected_s=1.0).say(
        "connected", 1999, master="m"
    )
    log.say("disconnected", 100, reason="recent", connected_s=1.0).say("connected", 99, master="m")
    with following(log.folder, options=("--since", "5m")) as process:
        process.wait_for_line("node 1 lost the master: recent", QUICK_S)
    assert not [line for line in process.stdout if "too old" in line]


def test_rotation_loses_and_doubles_nothing(log):
    log.start()
    with following(log.folder) as process:
        for place in range(12):
            if place % 3 == 2:
                log.rotate()
            log.say("address_lost", node=2, address=f"10.9.0.{place}/24")
            time.sleep(0.07)
        told(process, "node 1 lost 10.9.0.11/24: it was taken off the interface, or its lease ran out")
        process.stop()
    found = re.findall(r"lost 10\.9\.0\.(\d+)/24", "\n".join(process.stdout))
    assert sorted(map(int, found)) == list(range(12))


def test_a_folder_and_files_that_come_later(tmp_path, log):
    log.start()
    late = Log(tmp_path / "node2", 2)
    with following(log.folder, late.folder) as process:
        process.wait_for_line(f"{late.folder}: no logs yet; waiting")
        late.make().start()
        told(process, "node 2 started (version 1.0.0)")
        late.say("stopping", signal="SIGTERM").say("stopped", uptime_s=1.0)
        told(process, "node 2 stopped as it was told (SIGTERM)")


def test_events_of_several_nodes_come_in_the_order_of_their_time(tmp_path, log):
    other = Log(tmp_path / "node2", 2).make()
    log.start()
    other.start()
    with following(log.folder, other.folder) as process:
        log.say("address_lost", 0.2, address="10.9.0.7/24")
        other.say("address_lost", 0.3, address="10.9.0.8/24")
        told(process, "node 1 lost 10.9.0.7/24: it was taken off the interface, or its lease ran out")
    lost = [line.split()[3] for line in process.stdout]
    assert lost == ["2", "1"]


def test_what_another_node_logged_before_is_told_before(monkeypatch):
    """Though it was read a moment later."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    told = []
    teller = Teller(told.append)
    late, early = Sentence(at(2), "late"), Sentence(at(1), "early")
    teller.hear([late])
    teller.tell()
    clock[0] += 0.2
    teller.hear([early])
    teller.tell()
    assert told == []
    clock[0] += 0.3
    teller.tell()
    assert told == [early, late]


def test_a_process_that_falls_silent_and_comes_back(log, monkeypatch):
    log.start(ago=6).say("ping", 4, seq=1, rtt_ms=1.0).say("ping", 2, seq=2, rtt_ms=1.0)
    watched = Watched(log.folder)
    watched.begin(lambda _: None)
    log.say("ping", seq=3, rtt_ms=1.0)
    assert not watched.read_on()  # that is no news
    tell([watched.diary])  # which settles whose it is
    assert list(watched.silence()) == []
    later_s = time.monotonic() + 12
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    (silent,) = watched.silence()
    assert silent.text == "node 1 fell silent: nothing was logged since"
    assert list(watched.silence()) == []
    log.say("ping", ago=-12, seq=4, rtt_ms=1.0)
    assert watched.read_on()
    (again,) = watched.silence()
    assert re.fullmatch(r"node 1 writes again after 12\.\d s", again.text)
    watched.close()


def test_a_log_of_warnings_alone_does_not_fall_silent(log, monkeypatch):
    log.say("ping_missed", 2, seq=1, missed=1)
    watched = Watched(log.folder)
    watched.begin(lambda _: None)
    later_s = time.monotonic() + 1000
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    assert list(watched.silence()) == []
    watched.close()


def test_json_gives_an_object_a_line(log):
    log.start()
    with following(log.folder, options=("--json", "--node", "1")) as process:
        log.say("address_lost", address="10.9.0.7/24")
        process.wait_for_line("10.9.0.7", QUICK_S)
    (one,) = map(json.loads, process.stdout)
    assert set(one) == {"at", "tone", "text"}
    assert datetime.fromisoformat(one["at"]).utcoffset() == timedelta()


def test_other_nodes_are_left_out_when_one_is_asked_for(tmp_path, log):
    other = Log(tmp_path / "node2", 2).make()
    log.start()
    other.start()
    with following(log.folder, other.folder, options=("--node", "2")) as process:
        log.say("address_lost", 0.1, address="10.9.0.7/24")
        other.say("address_lost", address="10.9.0.8/24")
        process.wait_for_line("10.9.0.8", QUICK_S)
    assert not [line for line in process.stdout if "10.9.0.7" in line]


def test_a_reader_that_leaves_ends_it(log):
    log.start()
    command = [sys.executable, "diagnose.py", "--follow", str(log.folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        process.stderr.readline()
        process.stdout.close()
        log.say("address_lost", address="10.9.0.7/24")
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


# the tail of one file


@pytest.fixture
def tail(tmp_path):
    tails = [Tail(tmp_path / "x.log")]
    yield tails[0]
    tails[0].close()


def write(path, text, mode="a"):
    with open(path, mode) as file:
        file.write(text)


def test_it_begins_behind_the_last_whole_line(tail, tmp_path):
    path = tmp_path / "x.log"
    write(path, "one\ntwo\nthr")
    assert tail.begin() == (path.stat().st_ino, 8)
    assert tail.lines() == []
    write(path, "ee\nfour\n")
    assert tail.lines() == [b"three", b"four"]


def test_a_file_that_is_not_there_yet_is_read_from_its_start(tail, tmp_path):
    assert tail.begin() is None
    assert tail.lines() == []
    write(tmp_path / "x.log", "one\n")
    assert tail.lines() == [b"one"]


def test_several_rotations_between_two_looks(tail, tmp_path):
    path = tmp_path / "x.log"
    write(path, "one\n")
    tail.begin()
    write(path, "two\n")
    for number in (3, 2, 1):
        os.replace(path, tmp_path / f"x.log.{number}")
        write(path, f"after {number}\n")
    assert tail.lines() == [b"two", b"after 3", b"after 2", b"after 1"]


def test_the_last_words_of_a_writer_that_has_not_noticed_yet(tail, tmp_path):
    path = tmp_path / "x.log"
    write(path, "one\n")
    tail.begin()
    with path.open("a") as writer:
        os.replace(path, tmp_path / "x.log.1")
        assert tail.lines() == []
        writer.write("two\n")
        writer.flush()
        assert tail.lines() == [b"two"]
        write(path, "three\n")
        assert tail.lines() == [b"three"]
        for late in (b"late", b"later"):
            writer.write(late.decode() + "\n")
            writer.flush()
            assert tail.lines() == [late]


def test_a_file_that_was_cut_is_read_anew(tail, tmp_path):
    path = tmp_path / "x.log"
    write(path, "one\ntwo\n")
    tail.begin()
    write(path, "new\n", mode="w")
    assert tail.lines() == [b"new"]


def test_a_line_without_an_end_is_not_kept(tail, tmp_path):
    path = tmp_path / "x.log"
    tail.begin()
    write(path, "x" * 3_000_000)
    assert tail.lines() == []
    write(path, "x\nshort\n")
    assert tail.lines() == [b"\0x", b"short"]


def test_a_pipe_in_its_place_is_passed_over(tail, tmp_path):
    os.mkfifo(tmp_path / "x.log")
    assert tail.begin() is None
    assert tail.lines() == []
