"""Several bundled masters on one real Redis: who elects, what is known, and what a fault of each of them does.

That they are one master to the workers is shown by test_master.py, which runs against two of them as well.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from master import messages
from master.cluster import Cluster
from master.redis_store import RedisStore
from master.state import FORM
from master.store import Decision
from tests.lab.processes import Master, Process, start_master, stays, wait_until
from tests.lab.redis_server import RedisServer, needs_redis, start_several
from tests.master.sse import states
from tests.master.test_master import MakeWorker, Worker, workers

__all__ = ["workers"]

pytestmark = needs_redis

QUICK = ("--dead-after", "1")
SHARED = tuple[RedisServer, list]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[SHARED]:
    """Redis, and two masters for which a node silent for 1 s is dead."""
    with start_several(tmp_path, *QUICK) as started:
        yield started
        _, masters = started
        for master in masters:
            print(master.output())
            assert not [line for line in master.stderr if "[fault" in line], master.output()


def join(make: MakeWorker, master: Master, node: int, neighbors: list[int]) -> Worker:
    worker = make(master, node, neighbors).join()
    worker.ping_every(0.1)
    wait_until(lambda: str(node) in master.state()["active"], "known")  # its join may be answered before
    return worker


@pytest.mark.slow
def test_one_death_is_ordered_once_whoever_sees_it(tmp_path: Path, workers: MakeWorker) -> None:
    """The dead node's own master is killed with it, so that both others find out by the same clock."""
    with start_several(tmp_path, *QUICK, count=3) as (_, masters):
        a = join(workers, masters[0], 1, [2])
        join(workers, masters[1], 3, [2])
        b = join(workers, masters[2], 2, [1, 3])
        masters[2].kill()
        b.stop_pinging()
        killed = time.monotonic()
        a.succeed(a.wait_for("recover"))
        assert time.monotonic() - killed > 1 + 1.5, "its worker had no time to join another master"
        wait_until(lambda: [master.holder(2) for master in masters[:2]] == ["1", "1"], "known to both")
        stays(lambda: len(a.events("recover")) == 1, 1)
        decided = [line for master in masters for line in master.stderr if "[takeover_ordered node=2" in line]
        assert len(decided) == 1, decided


def test_a_user_of_redis_without_dangerous_commands_is_enough(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    try:
        server.ask("ACL", "SETUSER", "failover", "on", ">secret", "~failover:*", "+@all", "-@dangerous")
        url = server.url.replace("://", "://failover:secret@")
        with start_master(REDIS_URL=url) as first, start_master(REDIS_URL=url) as second:
            for master in (first, second):
                master.wait_for_line(r"\[master_there ")
                assert master.request("/healthz")[0] == 200
    finally:
        server.end()


def test_of_two_that_decide_at_once_one_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The second one's turn comes in the middle of the first one's: that is made again, and says and sends nothing."""
    server = RedisServer(tmp_path)
    try:
        with caplog.at_level("INFO", "master"):
            asyncio.run(_decide_at_once(server.url))
        # in one process the first one's filter keeps back what the other says as well
        assert not [text for text in caplog.messages if text.startswith("takeover_ordered")]
    finally:
        server.end()


async def _decide_at_once(url: str) -> None:
    sent: list[tuple[str, str]] = []
    turns: list[str] = []

    async def emit(sid: str, event: str, _: object) -> None:
        sent.append((sid, event))

    first, second = (RedisStore(url, emit, 60, 60, None) for _ in range(2))

    def join(sid: str, node: int, neighbor: int) -> Decision:
        data = {"NODE_ID": node, "neighbors": [neighbor], "primary_ip": f"10.9.0.{node}"}
        data["primary_netmask"] = "255.255.255.0"
        return lambda cluster, now: cluster.joined(first.address(sid), messages.join(data), now)

    def leave(cluster: Cluster, now: float) -> None:
        cluster.left(first.address("sid2"), now)

    def overtaken(cluster: Cluster, now: float) -> None:
        turns.append("first")
        if len(turns) == 1:
            with ThreadPoolExecutor(1) as pool:  # as another process: this one's loop waits for it
                pool.submit(asyncio.run, _leave(url, first.name)).result()
        leave(cluster, now)

    await first.turn([join("sid1", 1, 2), join("sid2", 2, 1)])
    await second.turn([])
    await first.turn([overtaken])
    for _ in range(100):
        await asyncio.sleep(0.02)
        if sent:
            break
    await asyncio.sleep(0.3)
    assert sent == [("sid1", "recover")]
    assert len(turns) == 2
    await first.close()
    await second.close()


async def _leave(url: str, name: str) -> None:
    """Another master finds out first."""

    async def emit(*_: object) -> None:
        pass

    third = RedisStore(url, emit, 60, 60, None)
    await third.turn([lambda cluster, now: cluster.left(f"{name}:sid2", now)])
    await third.close()


def test_an_order_reaches_a_worker_of_the_other_master_once(shared: SHARED, workers: MakeWorker) -> None:
    _, (first, second) = shared
    a = join(workers, first, 1, [2])
    b = join(workers, second, 2, [1])
    assert first.state()["active"].keys() == second.state()["active"].keys() == {"1", "2"}
    b.close()
    a.succeed(a.wait_for("recover"))
    wait_until(lambda: second.holder(2) == "1", "known to the other master")
    assert second.request("/restore/2", "POST")[0] == 200
    assert a.wait_for("restore") == {"restore_node": 2}
    a.give_back(2)
    wait_until(lambda: first.holder(2) is None, "given back")
    assert (len(a.events("recover")), len(a.events("restore"))) == (1, 1)


def test_each_page_shows_what_either_decided(shared: SHARED, workers: MakeWorker) -> None:
    _, (first, second) = shared
    a = join(workers, first, 1, [2])
    join(workers, second, 2, [1]).close()
    a.succeed(a.wait_for("recover"))
    for master in (first, second):
        wait_until(
            lambda master=master: (
                {"takeover_ordered", "takeover_done"}
                <= {event["event"] for event in next(states(master))["events"]}
            ),
            "shown",
        )


def test_masters_that_all_restart_have_forgotten_nothing(shared: SHARED, workers: MakeWorker) -> None:
    server, masters = shared
    a = join(workers, masters[0], 1, [2])
    b = join(workers, masters[1], 2, [1, 3])
    b.close()
    a.succeed(a.wait_for("recover"))
    wait_until(lambda: masters[1].holder(2) == "1", "held")
    a.stop_pinging()
    before = masters[0].state()["recovery_mapper"]
    for master in masters:
        master.kill()
    with start_master("--redis", server.url, *QUICK) as third:
        assert third.state()["recovery_mapper"] == before
        assert third.state()["inactive"].keys() == {"2"}
        # the holder never comes back; a neighbor that had not been there takes its place
        c = join(workers, third, 3, [2])
        order = c.wait_for("recover")
        assert (order["disconnected_node"], order["ip"]) == (2, b.ip)


def test_an_order_that_a_killed_master_did_not_send_is_given_by_another(
    shared: SHARED, workers: MakeWorker
) -> None:
    """It is decided, and is in the list of a master that is frozen, then killed."""
    _, (first, second) = shared
    a = join(workers, first, 1, [2])
    b = join(workers, second, 2, [1])
    first.freeze()
    b.close()
    second.wait_for_line(r"\[takeover_ordered node=2 .* by=1\]")
    first.kill()
    moved = join(workers, second, 1, [2])
    moved.succeed(moved.wait_for("recover"))
    wait_until(lambda: second.holder(2) == "1", "held")
    assert (a.events("recover"), len(moved.events("recover"))) == ([], 1)


def test_a_master_that_stood_still_finds_its_workers_alive(shared: SHARED, workers: MakeWorker) -> None:
    """They were counted as dead meanwhile, since they did not join the other one."""
    _, (first, second) = shared
    join(workers, first, 1, [2])
    first.freeze()
    second.wait_for_line("node_dead node=1", 6)
    second.wait_for_line("master_gone")
    first.thaw()
    second.wait_for_line("master_there", 3)
    for master in (first, second):
        wait_until(lambda master=master: master.state()["active"].keys() == {"1"}, "alive again")
    stays(lambda: second.state()["active"].keys() == {"1"}, 1)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_while_redis_is_away_workers_stay_and_then_orders_go_on(
    shared: SHARED, workers: MakeWorker, how: str
) -> None:
    """A stopped one comes back empty; what it had is put back."""
    server, (first, second) = shared
    a = join(workers, first, 1, [2, 3])
    b = join(workers, second, 2, [1])
    held = join(workers, second, 3, [1])
    held.close()
    a.succeed(a.wait_for("recover"))
    wait_until(lambda: second.holder(3) == "1", "held")

    if how == "stopped":
        server.end()
    else:
        server.process.freeze()
    for master in (first, second):
        master.wait_for_line("state_lost", 5)
    b.close()
    status, said = second.request("/json")
    assert (status, "Redis" in said["error"]) == (503, True)
    assert a.client.connected
    if how == "stopped":
        server.start()
    else:
        server.process.thaw()

    assert a.wait_for("recover", 2, 8)["disconnected_node"] == 2
    for master in (first, second):
        master.wait_for_line("state_back")
        assert master.state()["active"].keys() == {"1"}
        assert master.holder(3) == "1", "forgotten"
    assert a.client.connected
    assert not [line for line in first.stderr if "node_dead node=1" in line]
    assert any("put_back" in line for line in [*first.stderr, *second.stderr]) == (how == "stopped")


def test_without_redis_it_answers_503_says_what_to_do_and_goes_on_when_redis_comes(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.end()
    url = server.url.replace("redis://", "redis://me:a-secret@").replace("/0", "/0")
    with start_master(REDIS_URL=url) as master:
        master.wait_for_line("state_lost.*start Redis there, or correct the URL")
        assert master.request("/json")[0] == master.request("/healthz")[0] == 503
        assert "a-secret" not in master.output()
        assert "Traceback" not in master.output()


def test_a_state_of_another_form_is_left_alone(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    try:
        server.ask("SET", "failover:state", '7 {"form":1}')
        with start_master("--redis", server.url) as master:
            master.wait_for_line("failover:state")
            master.wait_for_line(f"knows form {FORM}")
        assert '7 {"form":1}' in server.ask("GET", "failover:state")
    finally:
        server.end()


def test_garbage_in_redis_ends_no_master(shared: SHARED, workers: MakeWorker) -> None:
    """Of the messages it is left out; as the state it stops the decisions until it is gone."""
    server, (first, second) = shared
    a = join(workers, first, 1, [2])
    b = join(workers, first, 2, [1])
    name = second.wait_for_line(r"master_there name=(\w+)").group(1)
    for message in ("garbage", "5", '["sid", "recover"]', "[1, {}, null]"):
        server.ask("RPUSH", f"failover:messages:{name}", message)
    server.ask("SET", "failover:state", "99 [")
    for master in (first, second):
        master.wait_for_line("state_lost error=.the key failover:state", 3)
    server.ask("DEL", "failover:state")
    for master in (first, second):
        master.wait_for_line("state_back")
    b.close()
    a.succeed(a.wait_for("recover"))
    for master in (first, second):
        wait_until(lambda master=master: master.holder(2) == "1", "held")
        assert master.returncode is None
        master.stderr[:] = [line for line in master.stderr if "[fault" not in line]


@pytest.mark.parametrize(
    "url", ["http://u:pass@h/0", "redis://u:pass@h:99999/0", "redis://u:pass@h/0?db=x", "h:6379"]
)
def test_a_url_that_is_none_is_named_without_its_password(url: str) -> None:
    with Process([sys.executable, "-m", "master", "serve", "--port", "0", "--redis", url]) as master:
        assert master.wait() in (1, 2)
        assert "--redis" in master.output()
        assert "u:pass" not in master.output()
        assert "Traceback" not in master.output()
