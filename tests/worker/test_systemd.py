"""What a service manager is told by a real worker over a real notify socket."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from tests.lab.lateness import Lateness
from tests.lab.manager import Manager
from tests.lab.masters import Master, Puppet
from tests.lab.ports import free_port
from tests.lab.waiting import until
from tests.lab.workers import REPOSITORY
from worker import loop
from worker.inbox import ReopenLogs
from worker.systemd import SystemdNotifier

TOKEN = "hunter2hunter2"
RECOVER = {
    "disconnected_node": 2,
    "recovery_node": "3",
    "ip": "10.9.0.2",
    "netmask": "255.255.255.0",
    "active_neighbors": ["3"],
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sd_notify is Linux's")


@pytest.fixture
def manager(tmp_path, serve):
    return serve(Manager(tmp_path))


def test_a_life_as_the_manager_sees_it(work, serve, manager):
    master = serve(Master())
    worker = work(master, NOTIFY_SOCKET=manager.address)
    manager.wait("READY", "1")
    assert {"comms.log", "ping.log"} <= set(os.listdir(worker.log_dir))
    worker.wait("connecting")
    words = manager.wait("STATUS", lambda text: "last round trip" in text).assignments["STATUS"]
    assert words.startswith(f"connected to {master.url}; holding no address for others; last round trip ")
    assert words.endswith(" ms")

    master.order("recover", RECOVER)
    manager.wait("STATUS", lambda text: "holding 10.9.0.2/24 for node 2;" in text)

    since = len(manager.told)
    before_us = time.monotonic_ns() // 1000
    worker.send(signal.SIGHUP)
    reloading = manager.wait("RELOADING", "1", since=since)
    assert before_us <= int(reloading.assignments["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    manager.wait("READY", "1", since=manager.told.index(reloading))

    master.kill()
    manager.wait("STATUS", lambda text: text.startswith(f"not connected to {master.url} for "))
    # known at the second try
    manager.wait("STATUS", lambda text: "s: connection refused" in text and "holding 10.9.0.2/24" in text)
    since = len(manager.told)
    assert worker.stop() == 0
    manager.wait("STOPPING", "1", since=since)
    assert not manager.all("WATCHDOG")  # nobody asked for it


def test_a_sighup_before_the_first_join_makes_the_worker_not_ready():
    reopened = []
    worker = SimpleNamespace(
        _joined=False,
        _logs=SimpleNamespace(reopen=lambda: reopened.append("logs")),
        _status=SimpleNamespace(reloading=lambda: reopened.append("ready")),
    )
    loop.Worker._handle(worker, ReopenLogs(), 0.0)
    assert reopened == ["logs"]
    worker._joined = True
    loop.Worker._handle(worker, ReopenLogs(), 0.0)
    assert reopened == ["logs", "logs", "ready"]


def test_an_abstract_socket(work, serve, tmp_path):
    manager = serve(Manager(tmp_path, abstract=True))
    work(serve(Master()), NOTIFY_SOCKET=manager.address)
    manager.wait("READY", "1")


def test_ready_does_not_wait_for_the_master(work, manager):
    worker = work(f"http://127.0.0.1:{free_port()}", NOTIFY_SOCKET=manager.address)
    manager.wait("READY", "1")
    worker.wait("connect_failed")
    manager.wait("STATUS", lambda text: text.startswith("not connected to ") and "connection refused" in text)


def test_the_watchdog_is_fed_at_half_its_time(work, serve, manager):
    work(serve(Puppet()), NOTIFY_SOCKET=manager.address, WATCHDOG_USEC=500_000)
    lateness = Lateness()
    until(lambda: len(manager.all("WATCHDOG")) >= 7)
    lateness.close()
    fed_s = [told.at_s for told in manager.all("WATCHDOG")]
    late_s = 5 * lateness.worst_of_all_s
    assert all(after - before < 0.5 + late_s for before, after in itertools.pairwise(fed_s))
    assert fed_s[6] - fed_s[0] == pytest.approx(6 * 0.25, abs=0.5 + late_s)


def test_a_watchdog_that_is_meant_for_another_process_is_not_fed(work, serve, manager):
    work(serve(Puppet()), NOTIFY_SOCKET=manager.address, WATCHDOG_USEC=100_000, WATCHDOG_PID=1)
    manager.wait("STATUS", lambda text: "last round trip" in text)
    assert not manager.all("WATCHDOG")


def test_a_hostile_master_s_words_stay_words(work, serve, manager):
    """A line break in the reason would be another assignment, and MAINPID one that the manager obeys."""
    master = serve(Master(refuse=f"no\nMAINPID=1\nREADY=0 {TOKEN} " + "x" * 50_000))
    work(master, NOTIFY_SOCKET=manager.address, MASTER_TOKEN=TOKEN)
    manager.wait("STATUS", lambda text: "refused this node: no" in text)
    for told in manager.told:
        assert set(told.assignments) <= {"READY", "STATUS"}
        assert TOKEN not in told.assignments.get("STATUS", "")
        assert len(told.assignments.get("STATUS", "")) <= 1000


def test_a_manager_that_does_not_read_or_is_gone_holds_nobody_up(tmp_path):
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        told = SystemdNotifier({"NOTIFY_SOCKET": name})
        assert told.send("STATUS=x")
        # one that waited for the manager would never return
        assert not all(told.send("STATUS=" + "x" * 1000) for _ in range(10_000))
    os.unlink(name)
    assert not told.send("READY=1")
    # one that was started again is told again
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        assert told.send("READY=1", "STATUS=y")
        assert sock.recv(100) == b"READY=1\nSTATUS=y"


@pytest.mark.parametrize("usec", ["", "0", "-1", "x", "1e6", "١"])
def test_without_a_watchdog(usec):
    assert SystemdNotifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": usec}).feed_s is None


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234"])
def test_without_a_manager_nothing_is_sent(address):
    told = SystemdNotifier({"NOTIFY_SOCKET": address})
    assert not told.listening
    assert told.send("READY=1")


def test_children_do_not_inherit_the_manager(tmp_path):
    """Else a program that the worker starts could speak in its name."""
    script = (
        "import subprocess, client, os\nfrom worker import loop as worker\n"
        "class Worker:\n"
        "    def __init__(self, config, version, inbox, notifier): self.notifier = notifier\n"
        "    def run(self): print(self.notifier.feed_s); subprocess.run(['env'])\n"
        "worker.Worker = Worker\n"
        "client.main(['--env-file', os.devnull])\n"
    )
    environ = {
        "PATH": os.environ["PATH"],
        "NODE_ID": "3",
        "LOG_DIR": str(tmp_path),
        "VIP_BACKEND": "simulated",
        "NOTIFY_SOCKET": "/run/notify",
        "WATCHDOG_USEC": "3000000",
        "MASTER_TOKEN": TOKEN,
    }
    out = subprocess.run(
        [sys.executable, "-u", "-c", script], cwd=REPOSITORY, env=environ, capture_output=True, text=True
    )
    assert out.stdout.startswith("1.5\n"), out.stderr
    assert "LOG_DIR=" in out.stdout
    for name in ("NOTIFY_SOCKET", "WATCHDOG", TOKEN):
        assert name not in out.stdout
