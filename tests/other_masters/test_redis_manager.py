"""Several masters behind python-socketio's Redis client manager: each can order every worker, wherever it is."""

import shutil
import time

import pytest
from test_behind_nginx import received
from test_other_masters import NEEDS, RECOVER, Master, lines, worker

from tests.lab.ports import free_port
from tests.lab.redis_server import RedisServer, needs_redis
from tests.lab.waiting import until
from tests.other_masters.nginx import Nginx

__all__ = ["worker"]

pytestmark = needs_redis

BOUND_S = 3
"""From a master's end to the next one's join: RECONNECT_DELAY_MAX of 1 s, an attempt, and a busy machine."""


class Pair:
    """Two masters of a kind; `url` and `settings` are the worker's."""

    def __init__(self, kind, folder, front):
        self.kind, self.redis = kind, RedisServer(folder)
        self.masters = [Master(kind, free_port(), self.redis.url) for _ in range(2)]
        self.settings, self.nginx = {}, None
        for master in self.masters:
            until(master.listens, 10)
        if front:
            self.nginx = Nginx(folder / "nginx", [master.port for master in self.masters])
            self.url = f"http://127.0.0.1:{self.nginx.port}"
        else:
            self.url = ",".join(master.url for master in self.masters)

    def home(self):
        """The master that the worker joins next, and the other one."""
        found = until(
            lambda: [m for m in self.masters if any(said["event"] == "join" for said in drained(m))], 10
        )[0]
        return found, self.masters[1 - self.masters.index(found)]

    def close(self):
        if self.nginx:
            self.nginx.end()
        for master in self.masters:
            if master.process.poll() is None:
                master.kill()
        self.redis.end()


def drained(master):
    return [master.heard.get() for _ in range(master.heard.qsize())]


@pytest.fixture(
    params=[
        pytest.param(
            (kind, front),
            id=f"{kind}-{'nginx' if front else 'two_urls'}",
            marks=[
                pytest.mark.skipif(not NEEDS[kind], reason=f"{kind} is not installed"),
                pytest.mark.skipif(front and shutil.which("nginx") is None, reason="this needs nginx"),
            ],
        )
        for kind, front in (("socketio", False), ("socketio", True))
    ]
)
def master(request, tmp_path_factory):
    pair = Pair(request.param[0], tmp_path_factory.mktemp("pair"), request.param[1])
    yield pair
    pair.close()


def order(by, home, folder, since):
    """Have node 2's address taken, then given back, ordered at `by`; each order arrives once, and is answered."""
    for event, data, answer in (
        ("recover", RECOVER, "update node"),
        ("restore", {"restore_node": 2}, "restore node"),
    ):
        by.tell(event, data)
        said = home.wait_for(answer)
        assert "error" not in said, said
        until(lambda event=event: len(received(folder, event)) > since)
    return since + 1


def test_one_is_killed_and_either_can_order_the_worker(master, worker):
    home, other = master.home()
    orders = 0
    for by in (home, other):
        orders = order(by, home, worker, orders)
    time.sleep(1)  # for a second copy to arrive, and be written
    assert (len(received(worker, "recover")), len(received(worker, "restore"))) == (orders, orders)

    home.kill()
    other.wait_for("join")
    orders = order(other, other, worker, orders)
    home.start()
    until(home.listens, 10)
    order(home, other, worker, orders)


def test_redis_stopped_and_back(master, worker):
    """The worker stays where it is; orders of the other master reach it again when both have found Redis."""
    home, other = master.home()
    orders = order(other, home, worker, 0)
    master.redis.end()
    time.sleep(1)  # without it
    orders = order(home, home, worker, orders)
    master.redis.start()

    def reaches():
        other.tell("hello", None)
        return any(entry.fields["event"] == "hello" for entry in lines(worker, "comms.log", "received"))

    until(reaches, 10, pause_s=0.1)  # the client manager tries again after 1 s, then 2 s, then 4 s
    order(other, home, worker, orders)
    assert len(lines(worker, "comms.log", "connected")) == 1
    assert lines(worker, "comms.log", "disconnected") == []
    assert lines(worker, "ping.log", "ping_missed") == []
