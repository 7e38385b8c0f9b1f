"""NOTIFY_COMMAND: run for each change, in order, without a shell and without secrets, and never in the way."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest

from network.base import Vip
from tests.lab.masters import Master
from tests.lab.waiting import PATIENCE_S, until
from worker import notify_command
from worker.notify_command import NotifyCommand

TOKEN = "hunter2hunter2"
RECOVER = {
    "disconnected_node": 2,
    "recovery_node": "3",
    "ip": "10.9.0.2",
    "netmask": "255.255.255.0",
    "active_neighbors": ["3"],
}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its programs are scripts")


@pytest.fixture
def program(tmp_path):
    """An executable Python script of the given lines."""

    def make(*lines):
        path = tmp_path / "a command"
        path.write_text("\n".join([f"#!{sys.executable}", "import json, os, sys, time", *lines]))
        path.chmod(0o755)
        return path

    return make


def recorder(tmp_path, *more):
    """Lines of a script that appends its arguments to a file as it begins."""
    return (
        f"with open({str(tmp_path / 'runs')!r}, 'a') as file:",
        "    print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]), file=file)",
        *more,
    )


def runs(tmp_path):
    path = tmp_path / "runs"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_taken_and_released_by_orders_and_by_a_stop(work, serve, program, tmp_path):
    master = serve(Master())
    worker = work(
        master,
        NOTIFY_COMMAND=program(*recorder(tmp_path, "print('done\\x1b[31m')")),
        MASTER_TOKEN=TOKEN,
        PASSWORD=TOKEN,
    )
    master.wait("join")
    master.order("recover", RECOVER)
    done = worker.wait("notify_done").fields
    assert (done["change"], done["node"], done["address"], done["exit"]) == ("taken", "2", "10.9.0.2/24", "0")
    assert done["output"] == "done\x1b[31m"  # as it is parsed: escaped in the file
    assert b"\x1b" not in worker.comms.path.read_bytes()
    master.order("restore", {"restore_node": 2})
    worker.wait("notify_done", change="released")
    master.order("recover", RECOVER)
    worker.wait("notify_done", 2, change="taken")
    assert worker.stop() == 0
    interface = done["interface"]
    assert [arguments for arguments, _, _ in runs(tmp_path)] == [
        ["taken", "2", "10.9.0.2/24", interface],
        ["released", "2", "10.9.0.2/24", interface],
    ] * 2
    for _, environ, folder in runs(tmp_path):
        assert folder == "/"
        assert environ["NODE_ID"] == "3"
        assert set(environ) <= {"PATH", "NODE_ID", "LANG", "LC_ALL", "LC_CTYPE", "TZ"}
        assert TOKEN not in json.dumps(environ)


def test_a_command_that_hangs_delays_nothing_and_a_stop_least_of_all(work, serve, program, tmp_path):
    master = serve(Master())
    worker = work(master, NOTIFY_COMMAND=program(*recorder(tmp_path, "time.sleep(120)")))
    master.wait("join")
    for n in (1, 2, 3):
        master.order("recover", RECOVER)
        master.wait("update node", n)
        master.order("restore", {"restore_node": 2})
        master.wait("restore node", n)
    pings = len(worker.all("ping", "pings"))
    worker.wait("ping", pings + 3, log="pings")
    assert not worker.all("ping_missed", "pings")
    until(lambda: runs(tmp_path))
    assert worker.stop() == 0
    assert len(runs(tmp_path)) == 1  # one at a time
    reasons = [entry.fields["reason"] for entry in worker.all("notify_failed")]
    assert reasons == ["the worker stopped before it ended"] + ["not run: the worker stopped"] * 5


def test_a_stop_waits_for_the_last_one(work, serve, program, tmp_path):
    master = serve(Master())
    worker = work(master, NOTIFY_COMMAND=program("time.sleep(0.3)", *recorder(tmp_path)))
    master.wait("join")
    master.order("recover", RECOVER)
    worker.wait("notify_done")
    assert worker.stop() == 0
    assert [arguments[0] for arguments, _, _ in runs(tmp_path)] == ["taken", "released"]
    worker.wait("notify_done", change="released")


class Lines:
    """Takes what is logged."""

    def __init__(self):
        self.lines = []

    def info(self, event, /, **fields):
        self.lines.append((event, fields))

    warning = info


def run_once(command, log=None):
    log = log or Lines()
    runner = NotifyCommand(command, 3, log)
    runner.start()
    runner.put("taken", Vip(2, "10.9.0.2/24", "eth0"))
    until(lambda: log.lines)
    runner.close(time.monotonic() + PATIENCE_S)
    (line,) = log.lines
    return line


def test_an_exit_code_and_its_output_are_logged(program):
    event, fields = run_once(program("print('no room')", "sys.exit(3)"))
    assert event == "notify_failed"
    assert (fields["exit"], fields["reason"], fields["output"]) == (3, "exit code 3", "no room")


@pytest.mark.parametrize(("number", "name"), [(15, "SIGTERM"), (40, "signal 40")])
def test_a_signal_is_named(program, number, name):
    assert run_once(program(f"os.kill(os.getpid(), {number})"))[1]["reason"] == f"ended by {name}"


def test_one_that_is_too_slow_is_killed_with_what_it_started(program, tmp_path, monkeypatch):
    monkeypatch.setattr(notify_command, "LIMIT_S", 0.5)
    pid = tmp_path / "pid"
    event, fields = run_once(
        program(
            "child = os.fork()",
            f"open({str(pid)!r}, 'w').write(str(child)) if child else None",
            "time.sleep(600)",
        )
    )
    assert (event, fields["reason"]) == ("notify_failed", "killed after 0.5 s")

    def gone():
        with open(f"/proc/{pid.read_text()}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"

    def ended():
        try:
            return gone()
        except FileNotFoundError:
            return True

    until(ended)


def test_one_that_leaves_a_program_behind_is_not_waited_for(program):
    event, _ = run_once(program("if not os.fork():", "    time.sleep(5)", "print('parent')"))
    assert event == "notify_done"


def test_output_without_end_is_cut(program):
    event, fields = run_once(program("for _ in range(2000): print('x' * 1000)"))
    assert event == "notify_done"
    assert len(fields["output"]) == notify_command.OUTPUT_LIMIT


@pytest.mark.parametrize(
    ("mode", "reason"), [(None, "No such file"), (0o644, "Permission denied"), (0o755, "")]
)
def test_one_that_cannot_be_started(tmp_path, mode, reason):
    path = tmp_path / "command"
    if mode:
        path.write_text("no script at all\n")
        path.chmod(mode)
    event, fields = run_once(path)
    assert event == "notify_failed"
    assert fields["reason"].startswith(f"could not be started: {reason}")


def test_of_too_many_changes_the_last_are_refused(program, monkeypatch):
    monkeypatch.setattr(notify_command, "WAITING_LIMIT", 5)
    log = Lines()
    runner = NotifyCommand(program("time.sleep(600)"), 3, log)
    for _ in range(7):
        runner.put("taken", Vip(2, "10.9.0.2/24", "eth0"))
    assert [fields["reason"] for _, fields in log.lines] == ["not run: 5 changes wait already"] * 2


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [(None, 0, "No such file"), ("", 0o644, "execut"), ("relative", 0o755, "absolute")],
)
def test_a_command_that_cannot_be_one_is_a_wrong_setting(work, tmp_path, content, mode, reason):
    path = tmp_path / "command"
    if content is not None:
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)
    worker = work("http://127.0.0.1:9", NOTIFY_COMMAND="command" if content == "relative" else path)
    assert worker.process.wait(PATIENCE_S) == 78
    assert "NOTIFY_COMMAND" in worker.said
    assert reason.lower() in worker.said.lower()


def test_its_descriptors_are_the_standard_three(program, tmp_path, work, serve):
    """A lock or a socket that it inherited would outlive the worker."""
    master = serve(Master())
    found = tmp_path / "found"
    worker = work(
        master,
        NOTIFY_COMMAND=program(
            f"names = [os.readlink(f'/proc/self/fd/{{n}}') for n in (0, 1, 2)]; "
            f"open({str(found)!r}, 'w').write(json.dumps([names, os.listdir('/proc/self/fd')]))"
        ),
    )
    master.wait("join")
    master.order("recover", RECOVER)
    worker.wait("notify_done")
    names, numbers = json.loads(found.read_text())
    assert names[0] == os.devnull
    assert names[1] == names[2]
    assert len(numbers) <= 5  # the list itself, and the file
