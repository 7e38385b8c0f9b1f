"""`client.py --status`: what it says of real workers, to whom, and at what cost to them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading

import pytest

from tests.lab import forked
from tests.lab.masters import Master, Raw, answering, http
from tests.lab.ports import free_port
from tests.lab.users import reachable_tmp_path
from tests.lab.waiting import PATIENCE_S, until
from worker.status_socket import SOCKET_NAME, StatusSocket, show_status

TOKEN = "hunter2hunter2"
tmp_path = reachable_tmp_path
RECOVER = {
    "disconnected_node": 2,
    "recovery_node": "3",
    "ip": "10.9.0.2",
    "netmask": "255.255.255.0",
    "active_neighbors": ["3"],
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a Unix socket, and who is at its other end")


def status(log_dir, *options, before=(), **settings):
    environ = {
        "PATH": os.environ["PATH"],
        "NODE_ID": "3",
        "VIP_BACKEND": "simulated",
        "LOG_DIR": str(log_dir),
        **settings,
    }
    return forked.run(["client.py", "--env-file", os.devnull, "--status", *options], environ, before)


def state_of(worker, code=0):
    done = status(worker.log_dir, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_connected_worker_that_holds_an_address(work, serve):
    master = serve(Master())
    worker = work(master)
    master.wait("ping", 2)
    master.order("recover", RECOVER)
    master.wait("update node")
    state = state_of(worker)
    assert state["running"] is state["connected"] is True
    assert (state["node"], state["pid"], state["master"]) == (3, worker.pid, master.url)
    assert state["run"] == worker.wait("started").fields["run"]
    (held,) = state["held"]
    assert (held["node"], held["address"]) == (2, "10.9.0.2/24")
    assert held["held_s"] >= 0
    assert state["in_progress"] == []
    assert state["rtt_ms"] > 0
    assert state["lines_lost"] == 0
    done = status(worker.log_dir)
    assert done.returncode == 0
    assert f"connected to {master.url} for " in done.stdout
    assert "10.9.0.2/24 of node 2 on " in done.stdout
    assert worker.stop() == 0
    assert status(worker.log_dir).returncode == 3
    assert SOCKET_NAME not in os.listdir(worker.log_dir)


def test_sigusr1_shows_the_same(work, serve):
    master = serve(Master())
    worker = work(master)
    master.wait("ping", 2)
    asked = state_of(worker)
    worker.send(signal.SIGUSR1)
    logged = worker.wait("state").fields
    shown = {name for name, value in asked.items() if value is not None}
    assert shown - {"running"} <= set(logged)
    for name in ("node", "pid", "run", "version", "master", "backend"):
        assert logged[name] == str(asked[name])


def test_without_a_master_the_code_is_1_and_the_reason_shown(work):
    worker = work(f"http://127.0.0.1:{free_port()}")
    worker.wait("connect_failed")
    state = state_of(worker, 1)
    assert state["connected"] is False
    assert "refused" in state["trouble"]
    done = status(worker.log_dir)
    assert done.returncode == 1
    assert "NOT CONNECTED to http://127.0.0.1:" in done.stdout


def test_nothing_runs(tmp_path):
    done = status(tmp_path)
    assert (done.returncode, done.stdout) == (3, f"no worker runs with LOG_DIR {tmp_path}\n")
    done = status(tmp_path, "--json")
    assert (done.returncode, json.loads(done.stdout)["running"]) == (3, False)


def test_a_killed_worker_does_not_run_and_the_next_one_answers(work, serve):
    master = serve(Master())
    worker = work(master, name="both")
    until(lambda: status(worker.log_dir).returncode == 0)
    worker.end()
    assert SOCKET_NAME in os.listdir(worker.log_dir)
    assert status(worker.log_dir).returncode == 3
    again = work(master, name="both")
    until(lambda: status(again.log_dir).returncode == 0)


def test_a_long_folder(work, serve, tmp_path):
    worker = work(serve(Master()), name="/".join(["long" * 20] * 3))
    assert len(str(worker.log_dir)) > 240
    until(lambda: status(worker.log_dir).returncode == 0)


def test_a_folder_that_was_removed_gets_a_socket_again(work, serve):
    worker = work(serve(Master()))
    until(lambda: status(worker.log_dir).returncode == 0)
    (worker.log_dir / SOCKET_NAME).unlink()
    until(lambda: status(worker.log_dir).returncode == 0)


def listening(worker):
    """The path of its socket, once it is complete."""
    path = worker.log_dir / SOCKET_NAME

    def answers():
        with socket.socket(socket.AF_UNIX) as asker, contextlib.suppress(OSError):
            asker.connect(str(path))
            return True

    until(answers)
    return path


def test_only_its_user_can_open_it(work, serve):
    worker = work(serve(Master()))
    path = listening(worker)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


ASK_AS_NOBODY = """
import os, socket, sys
os.setgid(65534), os.setuid(65534)
with socket.socket(socket.AF_UNIX) as asker:
    try:
        asker.connect(sys.argv[1])
        print(len(asker.recv(65536)))
    except OSError as exc:
        print(type(exc).__name__)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="acts as another user: needs root")
@pytest.mark.parametrize(("mode", "said"), [(0o600, "PermissionError"), (0o666, "0")])
def test_another_user_is_told_nothing_even_where_the_mode_was_changed(work, serve, mode, said):
    worker = work(serve(Master()))
    path = listening(worker)
    path.chmod(mode)
    done = subprocess.run(
        [sys.executable, "-c", ASK_AS_NOBODY, str(path)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.stdout.strip() == said, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="acts as another user: needs root")
def test_another_user_s_socket_is_not_believed(tmp_path):
    script = f"""
import os, socket
os.setuid(65534)
listener = socket.socket(socket.AF_UNIX)
os.chdir({str(tmp_path)!r})
listener.bind({SOCKET_NAME!r})
listener.listen()
print("listening", flush=True)
listener.accept()[0].sendall(b'{{"running": true, "connected": true}}')
"""
    tmp_path.chmod(0o777)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "listening\n"
            done = status(tmp_path)
            assert done.returncode == 3
            assert "a process of another user (uid 65534) has the worker's socket" in done.stdout
        finally:
            other.kill()


def test_many_askers_do_not_delay_the_worker(work, serve):
    """Some read, some never do: pings go on, and an order among them is carried out."""
    master = serve(Master())
    worker = work(master, PING_INTERVAL=0.1, PING_TIMEOUT=2)
    path = listening(worker)
    answers, over = [], threading.Event()

    def ask(reads):
        while not over.is_set():
            with socket.socket(socket.AF_UNIX) as asker:
                asker.settimeout(PATIENCE_S)
                try:
                    asker.connect(str(path))
                # so many ask already, or it does not listen yet
                except (BlockingIOError, ConnectionRefusedError):
                    reads_now = False
                else:
                    reads_now = reads
                if reads_now:
                    answers.append(json.loads(asker.makefile().read()))
            over.wait(0.02)  # else these threads leave the test itself no time

    threads = [threading.Thread(target=ask, args=(n % 4 != 0,)) for n in range(12)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(answers) > 20)
        assert master.order("recover", RECOVER) == [{"accepted": True}]
        master.wait("update node")
        until(lambda: any(answer["held"] for answer in answers[-10:]))
        assert status(worker.log_dir).returncode == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not worker.all("ping_missed", "pings")
    assert {answer["pid"] for answer in answers} == {worker.pid}


def test_those_who_wait_are_answered_together(tmp_path):
    taken, ready = [], threading.Event()

    def ask(asked):
        taken.append(len(taken))
        if len(taken) == 1:
            ready.wait(PATIENCE_S)
        asked.reply({"number": len(taken)})

    shown = StatusSocket(tmp_path, ask, None)
    shown.start()

    try:
        with contextlib.ExitStack() as stack:

            def asker():
                made = stack.enter_context(socket.socket(socket.AF_UNIX))
                made.settimeout(PATIENCE_S)
                return None if made.connect_ex(str(tmp_path / SOCKET_NAME)) else made

            first = until(asker)
            until(lambda: taken)
            later = [asker() for _ in range(40)]
            ready.set()
            numbers = [json.loads(one.makefile().read())["number"] for one in (first, *later)]
    finally:
        ready.set()
        shown.close()
    assert numbers == [1] + [2] * 40


def test_a_full_queue_is_waited_for(tmp_path, monkeypatch, capsys):
    """A non-blocking connect to a Unix socket whose queue is full fails at once (unix(7))."""
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(SOCKET_NAME)
        listener.listen(0)
        early = []
        while not early or not early[-1].connect_ex(SOCKET_NAME):
            early.append(stack.enter_context(socket.socket(socket.AF_UNIX)))
            early[-1].setblocking(False)

        def serve():
            listener.settimeout(PATIENCE_S)
            for _ in early:  # all but the last, which found no room, and the one that waits
                with listener.accept()[0] as asker:
                    asker.sendall(b'{"error": "it was asked"}')

        late = threading.Timer(0.2, serve)
        late.start()
        assert show_status(tmp_path) == 1
        late.join()
    assert capsys.readouterr().out == "it was asked\n"


def test_no_secret_and_no_terminal_escape_of_a_master_is_shown(work, serve):
    refusal = f"no {TOKEN} \x1b[2K\r\n"
    master = serve(Master(refuse=refusal))
    worker = work(master, MASTER_TOKEN=TOKEN)
    worker.wait("connect_failed")
    for options in ((), ("--json",)):
        done = status(worker.log_dir, *options)
        assert done.returncode == 1
        assert "refused" in done.stdout
        assert TOKEN not in done.stdout
        assert "\x1b" not in done.stdout
        assert "\\u001b" not in done.stdout


def test_a_frozen_worker_runs_and_does_not_answer(work, serve, monkeypatch):
    worker = work(serve(Master()))
    until(lambda: status(worker.log_dir).returncode == 0)
    worker.send(signal.SIGSTOP)
    done = status(worker.log_dir)
    worker.send(signal.SIGCONT)
    assert done.returncode == 1
    assert "does not answer" in done.stdout


def test_a_loop_that_hangs_is_told(tmp_path):
    shown = StatusSocket(tmp_path, lambda _asked: None, None)
    shown.start()
    try:
        until((tmp_path / SOCKET_NAME).exists)
        done = status(tmp_path)
        assert (done.returncode, done.stdout) == (1, "the worker's loop gave no answer for 2 s\n")
    finally:
        shown.close()


def test_a_folder_that_can_have_no_socket_is_one_warning(work, serve, tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / SOCKET_NAME).mkdir()
    worker = work(serve(Master()), name="w")
    assert "directory" in worker.wait("status_unavailable").fields["reason"].lower()
    assert worker.stop() == 0


def test_a_web_server_for_a_master(work, serve):
    worker = work(serve(Raw(answering(http("200 OK", b"<html>", kind="text/html")))))
    worker.wait("connect_failed")
    assert "an HTML page" in state_of(worker, 1)["trouble"]
