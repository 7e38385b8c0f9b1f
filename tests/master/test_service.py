"""The master as a service: tokens, TLS, settings, page data, metrics, commands, systemd and its log."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import socketio
import trustme

from logs.handler import Message
from master import messages
from master.cluster import Cluster
from master.logs import LOG
from master.routes import Routes
from master.tokens import Tokens
from master.view import RecentEvents, layout
from tests.lab import forked
from tests.lab.processes import ROOT, Master, Process, start_master, stays, wait_until
from tests.lab.redis_server import needs_redis
from tests.lab.waiting import PATIENCE_S
from tests.master.sse import states
from tests.master.test_master import LOG_LINE, MakeWorker, Worker, workers

__all__ = ["workers"]

UNIT = ROOT / "deploy" / "linux" / "failover-master.service"


def node(state: dict[str, Any], number: int) -> dict[str, Any]:
    return next(node for node in state["nodes"] if node["node"] == number)


def command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "COLUMNS": "200", **environ}
    return forked.run(["-m", "master", *arguments, "--env-file", os.devnull], environ)


@pytest.fixture
def master() -> Iterator[Master]:
    with start_master("--dead-after", "60") as master:
        yield master


def taken_over(master: Master, make: MakeWorker) -> tuple[Worker, Worker]:
    """Node 1, which answers for node 2."""
    holder, owner = make(master, 1, [2, 4]).join(), make(master, 2, [1, 3, 5]).join()
    owner.ping()
    owner.client.eio.send(
        "1"
    )  # Socket.IO's DISCONNECT, which the library's own goodbye may close before it is sent
    wait_until(lambda: "2" in master.state()["inactive"])
    owner.close()
    holder.succeed(holder.wait_for("recover"))
    wait_until(lambda: master.holder(2) == "1")
    return holder, owner


def test_the_page_is_told_of_each_change(master: Master, workers: MakeWorker) -> None:
    stream = states(master)
    assert next(stream)["nodes"] == []
    holder, owner = taken_over(master, workers)
    state = next(state for state in stream if state["nodes"] and node(state, 2)["held_by"] == 1)
    assert (
        node(state, 1).items()
        >= {"state": "alive", "holds": [2], "neighbors": [2, 4], "system": "host1"}.items()
    )
    shown = node(state, 2)
    assert (shown["state"], shown["alive"], shown["address"]) == ("dead", False, f"{owner.ip}/24")
    assert shown["since"] <= shown["held_since"] <= state["at"]
    assert shown["last_ping"]
    assert node(state, 5) == {
        **node(state, 5),
        "state": "never",
        "system": None,
        "address": None,
        "since": None,
    }
    first = next(states(master))
    ids = [event["id"] for event in first["events"]]
    assert ids == sorted(ids)
    assert any(event["event"] == "takeover_done" and event["node"] == 2 for event in first["events"])
    holder.give_back(2)
    assert node(next(state for state in stream if node(state, 2)["held_by"] is None), 1)["holds"] == []


def test_a_refused_join_stays_visible(master: Master, workers: MakeWorker) -> None:
    workers(master, 1, [2]).join()
    rival = workers(master, 1, [2], "10.9.0.77")
    rival.client.connect(master.url)
    assert rival.client.call("join", rival.told)["error"]
    assert "10.9.0.77" in node(next(states(master)), 1)["conflict"]


def test_a_page_is_told_of_an_event_with_what_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another page was told of the state just before."""
    cluster, events = Cluster(lambda *_: None, 2.5, 40, 0), RecentEvents()
    of_the_page = Routes(
        SimpleNamespace(cluster=cluster, events=events, is_lost=False, is_stopping=False), Tokens()
    )
    monkeypatch.setattr("master.routes.LOOK_S", 0.2)

    async def tell() -> dict[str, Any]:
        first, second = of_the_page._states(), of_the_page._states()
        await anext(second)
        later = asyncio.ensure_future(anext(second))
        await asyncio.sleep(0.15)
        await anext(first)
        join = {"system": "host", "NODE_ID": 1, "neighbors": ["2"], "primary_ip": "10.9.0.1"}
        cluster.joined("sid", messages.join(join), 0)
        events.emit(LOG.makeRecord("", 20, "", 0, Message("node_alive", {"node": 1}), (), None))
        return json.loads((await later).decode().partition("data: ")[2])

    told = asyncio.run(tell())
    assert [event["event"] for event in told["events"]] == ["node_alive"]
    assert node(told, 1)["alive"]


@pytest.mark.parametrize(
    ("neighbors", "expected"),
    [
        ({1: [2, 4], 5: [2, 4, 6, 8], 9: [6, 8]}, {"columns": 3}),
        ({1: [2], 2: [1, 3], 3: [2]}, {"columns": 3}),
        ({1: [2, 5], 6: [2, 5, 7]}, {"columns": 4}),
        ({1: [2, 7], 2: [1, 3], 4: [9]}, None),
        ({}, None),
    ],
)
def test_the_layout_is_that_of_the_neighborhoods(neighbors: dict[int, list[int]], expected: object) -> None:
    members = [
        SimpleNamespace(number=n, join=SimpleNamespace(neighbors=beside)) for n, beside in neighbors.items()
    ]
    assert layout(SimpleNamespace(members=members)) == expected


def test_metrics_count_what_happens(master: Master, workers: MakeWorker) -> None:
    taken_over(master, workers)
    host, _, port = master.url.partition("://")[2].rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    for line in (
        "failover_master_nodes_known 2.0",
        "failover_master_nodes_alive 1.0",
        "failover_master_addresses_held 1.0",
        "failover_master_state_reachable 1.0",
        'failover_master_orders_total{outcome="taken"} 1.0',
        "failover_master_takeover_seconds_count 1.0",
    ):
        assert f"{line}\n" in text, text


def test_status_and_restore(master: Master, workers: MakeWorker) -> None:
    holder, owner = taken_over(master, workers)
    table = command("status", master.url)
    assert table.returncode == 0, table.stderr
    line = rf"2 +stopped +{owner.ip}/24 .* 1 +host2 *$"
    assert re.search(line, table.stdout, re.MULTILINE), table.stdout
    narrow = command("status", master.url, COLUMNS="80").stdout
    assert re.search(rf"2 +stopped +{owner.ip}/24 .* 1 ", narrow), narrow
    assert max(map(len, narrow.splitlines())) <= 80
    assert json.loads(command("status", master.url, "--json").stdout) == master.state()
    with Process([sys.executable, "-m", "master", "status", master.url, "--watch", "--json"]) as watching:
        watching.wait_for_line('"held_by": 1')
    done = command("restore", "2", MASTER_URL=f"{master.url},http://127.0.0.1:1")
    assert done.stdout == "Node 1 is ordered to give the address of node 2 back.\n"
    assert holder.wait_for("restore") == {"restore_node": 2}
    holder.give_back(2)
    wait_until(lambda: master.holder(2) is None)
    assert (
        command("restore", "2", master.url).returncode,
        command("restore", "7", master.url).returncode,
    ) == (1, 1)
    nowhere = command("status", "http://127.0.0.1:1")
    assert (nowhere.returncode, "does not answer" in nowhere.stderr) == (1, True)


def test_a_watched_master_that_is_lost_is_said_once_and_waited_for() -> None:
    with start_master() as master:
        watching = Process([sys.executable, "-m", "master", "status", master.url, "--watch", "--json"])
        with watching:
            watching.wait_for_line('"nodes"')
            master.kill()
            watching.wait_for_line("The master is lost: .* does not answer")
            before = len(watching.stdout)
            stays(lambda: sum("does not answer" in line for line in watching.stderr) == 1, 2.5)
            with start_master("--port", master.url.rpartition(":")[2]):
                wait_until(lambda: len(watching.stdout) > before)


def test_the_table_shows_names_as_they_are(master: Master, workers: MakeWorker) -> None:
    workers(master, 1, [2]).join(system="[/x] [red]a\x1b[2J")
    table = command("status", master.url)
    assert table.returncode == 0, table.stderr
    assert "[/x] [red]a\\x1b[2J" in table.stdout


def basic(token: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'anybody:{token}'.encode()).decode()}"}


def test_a_token_opens_the_page_by_basic_and_bearer(workers: MakeWorker) -> None:
    with start_master(token="s3cret-één") as master:
        for path in ("/", "/json", "/events", "/metrics", "/dashboard.js"):
            assert master.request(path)[0] == 401, path
        assert master.request("/json", headers=basic("wrong"))[0] == 401
        assert master.request("/json", headers=basic("s3cret-één"))[0] == 200
        assert master.request("/json", headers={"Authorization": "Basic %"})[0] == 401
        assert next(states(master, **basic("s3cret-één")))["nodes"] == []
        assert command("status", master.url, MASTER_TOKEN="s3cret-één").returncode == 0
        assert "MASTER_TOKEN" in command("status", master.url).stderr
        assert "s3cret" not in master.output()


def join_with(master: Master, token: str, number: int, claimed: int | None = None) -> str | None:
    """Why a join as `number` is refused, None: it is not; `claimed` is the NODE_ID of the auth."""
    reasons: list[Any] = []
    client = socketio.Client(reconnection=False, handle_sigint=False)
    client.on("connect_error", reasons.append)
    join = {"system": "x", "NODE_ID": number, "neighbors": [], "primary_ip": f"10.9.1.{number}"}
    try:
        client.connect(
            master.url, auth={"token": token, "NODE_ID": claimed or number}, transports=["websocket"]
        )
        reply = client.call("join", {**join, "primary_netmask": "255.255.255.0"}, timeout=PATIENCE_S)
        return reply and reply["error"]
    except socketio.exceptions.ConnectionError:
        return str(reasons)
    finally:
        client.disconnect()


def test_a_token_file_binds_tokens_to_nodes(tmp_path: Path, workers: MakeWorker) -> None:
    file = tmp_path / "tokens"
    file.write_text("# all\nshared-one\n2 two-own\n3 three-own\n")
    file.chmod(0o600)
    with start_master("--token-file", str(file)) as master:
        assert join_with(master, "two-own", 2) is None
        assert "not node 3's" in join_with(master, "two-own", 3)
        assert "not node 3's" in join_with(master, "two-own", 3, claimed=2)
        assert "not node 2's" in join_with(master, "shared-one", 2)
        assert join_with(master, "shared-one", 4) is None
        assert "wrong or missing" in join_with(master, "nobody's", 4)
        master.wait_for_line(r"WARNING\] - \[join_refused node=3 ")
        for token, status in (("two-own", 409), ("shared-one", 409), ("three-own", 403), ("x", 401)):
            assert master.request("/restore/2", "POST", basic(token))[0] == status, token
        assert not re.search("shared-one|-own", master.output())


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_token_file_that_others_can_read_is_a_warning_in_the_log(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("shared-one\n")
    file.chmod(0o644)
    with start_master("--token-file", str(file)) as master:
        assert LOG_LINE.fullmatch(master.wait_for_line(r".*WARNING\] - \[token_file_readable .*").group())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives a file to another user")
def test_the_warning_says_what_helps_where_another_user_owns_the_token_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("shared-one\n")
    file.chmod(0o600)
    os.chown(file, 4321, -1)
    with start_master("--token-file", str(file)) as master:
        master.wait_for_line(rf"\[token_file_readable .* fix this with: chown 0 {file}")


@pytest.mark.parametrize("text", ["", "# none\n", "x two\n", "2 a b\n", "0 zero\n"])
def test_a_wrong_token_file_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens").write_text(text)
    done = command("serve", MASTER_TOKEN_FILE=str(tmp_path / "tokens"))
    assert done.returncode == 78
    assert str(tmp_path / "tokens") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_token_file_may_be_a_pipe_but_does_not_keep_the_start_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "tokens"
    os.mkfifo(pipe, 0o600)
    ended = command("serve", "--port", "0", "--token-file", str(pipe))
    assert ended.returncode == 78
    assert "nothing came through this pipe" in ended.stderr
    writer = threading.Thread(target=pipe.write_text, args=("secret\n",), daemon=True)
    writer.start()
    with start_master("--token-file", str(pipe)) as master:
        assert master.request("/json")[0] == 401
        assert master.request("/json", headers={"Authorization": "Bearer secret"})[0] == 200


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there are no such signals")
def test_the_signals_that_a_worker_knows_do_not_end_the_master(tmp_path: Path, workers: MakeWorker) -> None:
    with start_master("--log-dir", str(tmp_path)) as master:
        log = tmp_path / "master.log"
        wait_until(lambda: "[listening" in log.read_text(), "the first lines")
        log.rename(tmp_path / "rotated")
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            master.signal(number)
        worker = workers(master, 1, [2])
        wait_until(lambda: master.request("/json")[0] == 200, "it goes on")
        worker.join()
        wait_until(lambda: log.exists() and "[node_joined" in log.read_text(), "the new file")
        assert "[node_joined" not in (tmp_path / "rotated").read_text()
        worker.close()
        assert master.stop() == 0


def test_every_wrong_setting_is_named_at_once_without_secrets(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(
        "MASTER_PORT=70000\nMASTER_DEAD_AFTER=soon\nREDIS_URL=ftp://me:geheim@x\nMASTER_TLS_CERT=/no\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "master", "serve", "--env-file", env_file, "--nodes", "9-1"],
        cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 2
    for name in ("MASTER_PORT", "MASTER_DEAD_AFTER", "REDIS_URL", "MASTER_TLS_CERT", "--nodes"):
        assert sum(line.startswith(f"{name}:") for line in done.stderr.splitlines()) == 1, done.stderr
    assert "geheim" not in done.stderr
    assert command("serve", MASTER_PORT="x").returncode == 78
    assert "REDIS_URL" in command("serve", "--redis", "redis://me:geheim@127.0.0.1/0").stderr


@pytest.mark.parametrize(
    ("variable", "secret"),
    [
        ("MASTER_TOKEN_FILE", "geheim"),
        ("REDIS_URL_FILE", "geheim"),
        ("REDIS_URL_FILE", "redis://:geheim@127.0.0.1/0"),
        ("MASTER_TLS_KEY", "-----BEGIN PRIVATE KEY----- geheim/geheim"),
    ],
)
def test_a_secret_in_place_of_its_file_is_not_shown(variable: str, secret: str) -> None:
    done = command("serve", **{variable: secret})
    assert done.returncode == 78
    assert f"{variable}: invalid value (not shown)" in done.stderr
    assert "geheim" not in done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["status"], ["conformance", "http://127.0.0.1:9"]])
def test_no_command_shows_a_token_in_place_of_its_file(arguments: list[str]) -> None:
    done = command(*arguments, MASTER_TOKEN_FILE="geheim")
    assert done.returncode in (1, 2)
    assert "MASTER_TOKEN_FILE: invalid value (not shown)" in done.stderr
    assert "geheim" not in done.stdout + done.stderr


@pytest.mark.parametrize("variable", ["MASTER_TOKEN_FILE", "REDIS_URL_FILE", "MASTER_TLS_KEY"])
def test_a_file_that_is_missing_is_named(variable: str) -> None:
    assert f'{variable}: invalid value "/no/such"' in command("serve", **{variable: "/no/such"}).stderr


@needs_redis
@pytest.mark.parametrize("url", ["redis://:geheim@127.0.0.1:1/0?none=1", "redis://:geheim@127.0.0.1:none/0"])
def test_a_url_that_redis_s_client_cannot_use_is_a_wrong_setting(url: str) -> None:
    done = command("serve", REDIS_URL=url)
    assert done.returncode == 78
    assert "REDIS_URL: invalid value (not shown)" in done.stderr
    assert "geheim" not in done.stdout + done.stderr


def test_tls(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = ca.issue_cert("127.0.0.1")
    server.private_key_pem.write_to_path(tmp_path / "key.pem")
    for blob in server.cert_chain_pems:
        blob.write_to_path(tmp_path / "cert.pem", append=True)
    with start_master(
        "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")
    ) as master:
        assert master.url.startswith("https://")
        done = command("status", master.url, "--json", MASTER_CA_FILE=str(tmp_path / "ca.pem"))
        assert done.returncode == 0, done.stderr
        assert command("status", master.url).returncode == 1
        idle = socket.create_connection(
            ("127.0.0.1", int(master.url.rpartition(":")[2]))
        )  # no handshake comes
        idle.settimeout(30)
        with contextlib.suppress(ConnectionError):
            assert idle.recv(1) == b""
        done = command("conformance", master.url, "--limit", "6", MASTER_CA_FILE=str(tmp_path / "ca.pem"))
        assert "This master speaks the protocol" in done.stdout, done.stdout + done.stderr + master.output()


def test_it_logs_to_a_file_too_in_the_format_of_the_worker(tmp_path: Path, workers: MakeWorker) -> None:
    with start_master("--log-dir", str(tmp_path / "logs")) as master:
        workers(master, 1, [2]).join(system='a "b]\n\x1b[2J\u2028=')
        assert master.stop() == 0
        lines = (tmp_path / "logs" / "master.log").read_text().splitlines()
        assert lines == master.stderr
        assert all(LOG_LINE.fullmatch(line) for line in lines)
        assert any(r'system="a \"b]\n\x1b[2J\u2028="' in line for line in lines), lines


def test_its_log_is_never_opened_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "master.log").symlink_to(tmp_path / "elsewhere")
    done = command("serve", "--port", "0", "--log-dir", str(tmp_path))
    assert done.returncode == 1
    assert "symbolic link" in done.stderr
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="a Unix socket")
def test_systemd_is_told_that_it_is_ready_how_it_is_and_that_it_stops(
    tmp_path: Path, workers: MakeWorker
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(60)
        with start_master("--dead-after", "60", NOTIFY_SOCKET=str(tmp_path / "notify")) as master:
            assert sock.recv(1000) == b"READY=1"
            assert sock.recv(1000) == b"WATCHDOG=1\nSTATUS=0 of 0 nodes alive"
            taken_over(master, workers)
            wait_until(lambda: sock.recv(1000).endswith(b"STATUS=1 of 2 nodes alive; answering: 1 for 2"))
            master.stop()
            assert sock.recv(1000) == b"STOPPING=1"


def test_with_pages_open_and_workers_connected_it_stops(master: Master, workers: MakeWorker) -> None:
    """No death is found in the connections that end with it."""
    neighbor, _ = workers(master, 1, [2]).join(), workers(master, 2, [1]).join()
    workers(master, 3, [1], transport="polling").join()
    streams = [states(master) for _ in range(3)]
    for stream in streams:
        next(stream)
    assert master.stop() == 0
    assert neighbor.events("recover") == []
    assert not [line for line in master.stderr if "ERROR" in line or "node_dead" in line], master.output()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_is_hardened() -> None:
    for arguments in (["verify", UNIT], ["security", "--offline=yes", "--threshold=20", UNIT]):
        done = subprocess.run(
            ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=2 * PATIENCE_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
    settings = UNIT.read_text()
    assert "Type=notify" in settings
    assert not re.search("(TOKEN|PASSWORD)=", settings)


def test_the_drop_in_makes_settings_of_the_credentials(tmp_path: Path) -> None:
    drop_in = (UNIT.parent / "master-credentials.conf").read_text()
    variables = dict(re.findall(r"^Environment=(\w+)=%d/(\w+)$", drop_in, re.MULTILINE))
    assert list(variables.values()) == re.findall(r"^LoadCredential=(\w+):", drop_in, re.MULTILINE)
    (tmp_path / variables["MASTER_TOKEN_FILE"]).write_text("from-systemd\n")
    (tmp_path / variables["MASTER_TOKEN_FILE"]).chmod(0o600)
    with start_master(MASTER_TOKEN_FILE=str(tmp_path / variables["MASTER_TOKEN_FILE"])) as master:
        assert master.request("/json")[0] == 401
        assert master.request("/json", headers=basic("from-systemd"))[0] == 200
