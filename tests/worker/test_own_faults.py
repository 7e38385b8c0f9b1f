"""Faults of the worker's own: they are logged, and end no more than they must."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest

from bench.measure import cpu_s
from logging_setup import Logs
from logs.file import LogFile
from logs.format import LINE_LIMIT, LineError, parse_line
from logs.redact import Redactor
from tests.lab.masters import Master
from tests.lab.waiting import PATIENCE_S, until
from tests.lab.workers import Worker

NO_THREAD = """
import sys
import client, ping_monitor
def start(self):
    raise RuntimeError("can't start new thread")
ping_monitor.PingMonitor.start = start
sys.exit(client.main(sys.argv[1:]))
"""
EACH_TURN = """
import sys
import client
from worker import status
def turn(self, now):
    raise KeyError("a fault of ours")
status.Status.turn = turn
status.Status.due = lambda self: 0.0
sys.exit(client.main(sys.argv[1:]))
"""


@pytest.fixture
def faulty(serve, tmp_path):
    """A worker with a fault of its own: `faulty(CODE, NAME=value)`."""
    workers = []

    def start(code, **settings):
        workers.append(Worker(tmp_path / "worker", serve(Master()), module=("-c", code), **settings))
        return workers[-1]

    yield start
    for worker in workers:
        worker.end()


@pytest.mark.parametrize("console", [0, 1])
def test_what_ends_the_worker_is_logged(faulty, console):
    worker = faulty(NO_THREAD, LOG_CONSOLE=console)
    assert worker.process.wait(PATIENCE_S) == 1
    (crashed,) = worker.all("crashed")
    assert "can't start new thread" in crashed.fields["error"]
    assert "can't start new thread" in worker.said
    worker.wait("stopped")


def test_a_fault_at_each_turn_is_logged_once_and_does_not_spin(faulty):
    worker = faulty(EACH_TURN)
    worker.wait("crashed")
    before_s, began_s = cpu_s(worker.pid), time.monotonic()
    time.sleep(2)
    assert cpu_s(worker.pid) - before_s < 0.5 * (time.monotonic() - began_s)
    assert len(worker.all("crashed")) == 1
    assert worker.stop() == 0


@pytest.fixture
def logs(tmp_path):
    logs = Logs(tmp_path, console=False, max_bytes=2000, backup_count=1)
    yield logs
    logs.close()


def lines(path):
    if not path.exists():
        return []
    return [parse_line(line).fields.get("n") for line in path.read_text().splitlines(keepends=True)]


def test_a_file_whose_close_fails_is_opened_again(logs, tmp_path, monkeypatch):
    close = os.close
    failed = []

    def fails(fd):
        close(fd)
        failed.append(fd)
        raise OSError(errno.EDQUOT, "over quota")

    logs.comms.info("line", n=1)
    until(lambda: lines(tmp_path / "comms.log") == ["1"])
    monkeypatch.setattr(os, "close", fails)
    (tmp_path / "comms.log").rename(tmp_path / "moved")
    logs.reopen()
    until(lambda: failed)
    monkeypatch.undo()
    logs.comms.info("line", n=2)
    until(lambda: lines(tmp_path / "comms.log") == ["2"])


def test_a_file_that_cannot_be_rotated_grows_on(logs, tmp_path):
    (tmp_path / "comms.log.1").mkdir()  # no file can take its place
    for n in range(100):
        logs.comms.info("line", n=n, text="x" * 50)
    until(lambda: lines(tmp_path / "comms.log") == [str(n) for n in range(100)])
    assert logs.lines_lost == 0
    (tmp_path / "comms.log.1").rmdir()

    def rotated():
        logs.comms.info("line", n=100)
        return (tmp_path / "comms.log.1").is_file()

    until(rotated)
    until(lambda: set(lines(tmp_path / "comms.log")) == {"100"})


def test_who_writes_the_logs_goes_on_after_a_fault(logs, tmp_path, monkeypatch):
    failed = threading.Event()

    def fails(*_args):
        failed.set()
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(LogFile, "write", fails)
    logs.comms.info("line", n=1)
    assert failed.wait(PATIENCE_S)
    monkeypatch.undo()
    logs.comms.info("line", n=2)
    until(lambda: (tmp_path / "comms.log").exists() and "n=2]" in (tmp_path / "comms.log").read_text())
    assert "crashed thread=log-writer" in (tmp_path / "comms.log").read_text()


def test_no_part_of_a_secret_is_left_at_a_cut():
    secret = "Tq7xKp2vRm9sWd4yHb6nJc8fLg3kZt5aQe1uXi0oPzVbNsMdFyGhJkLwCrTuEa7B"
    redact = Redactor([secret])
    for count in range(1, 200):
        for part in (1, 20, 63):
            filler = 2 * LINE_LIMIT + redact.margin - len(secret) * count - part
            if filler >= 0:
                text = secret * count + "-" * filler + secret + "y" * 30_000
                assert secret[:10] not in redact.excerpt(text)[0]


def test_a_line_that_leaves_out_more_than_can_be_is_no_line():
    with pytest.raises(LineError):
        parse_line(
            f'[2026-11-25 01:00:00.000+0000] : [INFO] - [received data="x…({"9" * 5000} bytes left out)]'
        )
