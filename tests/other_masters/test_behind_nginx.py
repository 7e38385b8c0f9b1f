"""A master behind nginx: with websocket upgrade, without it, with TLS; nginx reloaded and restarted under load."""

import contextlib
import json
import shutil
import threading
import time

import pytest
import trustme
from test_other_masters import NEEDS, RECOVER, Master, lines, worker
from test_other_masters import test_behavior as behave

from tests.lab.ports import free_port
from tests.lab.waiting import until
from tests.other_masters.nginx import Nginx

__all__ = ["worker"]

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="this needs nginx")

WAYS = {"upgrade": "gunicorn", "polling": "socketio", "tls": "uvicorn"}
"""And the master behind each; that each master does is shown by test_other_masters.py."""


class Behind(Master):
    """A master that is reached through nginx alone."""

    def __init__(self, way, folder):
        certificate = None
        with contextlib.ExitStack() as stack:
            super().__init__(WAYS[way], free_port())
            stack.callback(self.kill)
            until(self.listens, 10)  # nginx in front of nobody says 502, and then polling is tried
            if way == "tls":
                authority = trustme.CA()
                certificate, trusted = folder / "server.pem", folder / "ca.pem"
                authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
                authority.cert_pem.write_to_path(trusted)
                self.settings = {"MASTER_CA_FILE": str(trusted)}
            # while the master restarts nginx says 502: polling is tried next, and may find it up
            self.transports = ["polling"] if way == "polling" else ["websocket", "polling"]
            self.nginx = Nginx(folder / "nginx", [self.port], way != "polling", certificate)
            stack.callback(self.nginx.end)
            self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.nginx.port}"
            self.close = stack.pop_all().close


ways = pytest.mark.parametrize(
    "master",
    [
        pytest.param(
            way, marks=pytest.mark.skipif(not NEEDS[kind], reason=f"the master's {kind} is not installed")
        )
        for way, kind in WAYS.items()
    ],
    indirect=True,
)


@pytest.fixture
def master(request, tmp_path_factory):
    master = Behind(request.param, tmp_path_factory.mktemp("front"))
    yield master
    master.close()


@ways
def test_behavior(master, worker):
    behave(master, worker)


class Load:
    """Events at 100 a second, and an order every 0.1 s: node 2's address is taken and given back in turn."""

    def __init__(self, master):
        self._master, self._over = master, threading.Event()
        self.events = self.orders = 0

    def __enter__(self):
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _run(self):
        while not self._over.wait(0.01):
            self._master.tell("noise", self.events)
            self.events += 1
            if self.events % 10 == 0:
                recover = self.orders % 2 == 0
                self._master.tell(*(("recover", RECOVER) if recover else ("restore", {"restore_node": 2})))
                self.orders += 1


def received(folder, event):
    return [
        json.loads(entry.fields["data"])
        for entry in lines(folder, "comms.log", "received")
        if entry.fields["event"] == event
    ]


def answers(master):
    """What the master has heard in answer to orders, until now."""
    heard = [master.heard.get() for _ in range(master.heard.qsize())]
    return [said["event"] for said in heard if said["event"] in ("update node", "restore node")]


@ways
def test_reloaded_under_load_nothing_is_lost(master, worker):
    master.wait_for("join")
    with Load(master) as load:
        for _ in range(3):
            time.sleep(0.5)  # of load between reloads
            master.nginx.reload()
        time.sleep(0.5)
    heard = []
    until(lambda: heard.extend(answers(master)) or len(heard) >= load.orders, 5, lambda: (heard, load.orders))
    # such a master hears each message on a thread of its own, so the order of the answers says nothing
    assert sorted(heard) == sorted(("update node", "restore node")[n % 2] for n in range(load.orders))
    until(lambda: len(received(worker, "noise")) >= load.events, 5)
    assert received(worker, "noise") == list(range(load.events))
    ways = [entry.fields["transport"] for entry in lines(worker, "comms.log", "connected")]
    assert ways == master.transports[:1], "it was never reconnected"
    assert load.orders >= 8


@ways
def test_restarted_under_load_the_worker_is_back_within_its_bounds(master, worker):
    """What the master says meanwhile reaches nobody; every order that arrived is answered, before or after."""
    master.wait_for("join")
    with Load(master):
        time.sleep(1)
        master.nginx.end()
        time.sleep(0.5)  # away
        master.nginx.start()
        until(lambda: len(lines(worker, "comms.log", "connected")) == 2)
        time.sleep(1)
    orders = len(received(worker, "recover")) + len(received(worker, "restore"))
    heard = []
    until(lambda: heard.extend(answers(master)) or len(heard) >= orders, 5, lambda: (heard, orders))
    assert len(heard) <= orders + 6, "only what may not have reached the master is said again"
    assert orders >= 8
    noise = received(worker, "noise")
    assert noise == sorted(set(noise))
