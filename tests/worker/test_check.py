"""`client.py --check`: what it says of the settings, the machine and real masters, and with what remedy."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from email.utils import formatdate

import pytest
import trustme

from config import load
from connection.dial import Target
from connection.proxies import parse_proxy
from network.sudo.process import PROMPT
from tests.lab import forked
from tests.lab.masters import Master, Puppet, Raw, answering, http
from tests.lab.netns import Lab, in_namespace, needs_namespaces
from tests.lab.ports import free_port
from tests.lab.processes import start_master
from tests.lab.proxy import Proxy
from tests.lab.relay import Relay
from tests.lab.users import reachable_tmp_path
from worker import check_master
from worker.check import items as check_items
from worker.check_machine import disk_item
from worker.check_master import _clock
from worker.instance_lock import InstanceLock

TOKEN = "hunter2hunter2"
tmp_path = reachable_tmp_path


@pytest.fixture
def check(tmp_path):
    """Run it; the exit code, and each item's `ok`, text and remedy by its name."""

    def run(url, /, *options, before=(), **settings):
        environ = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        environ |= {
            "NODE_ID": "3",
            "VIP_BACKEND": "simulated",
            "LOG_DIR": str(tmp_path / "logs"),
            "MASTER_URL": url,
            **{name: str(value) for name, value in settings.items()},
        }
        arguments = ["client.py", "--env-file", os.devnull, "--check", *options]
        done = forked.run(arguments, environ, before)
        assert TOKEN not in done.stdout + done.stderr
        return done

    return run


class Items(dict):
    """By name; one that is missed says what there was instead."""

    def __missing__(self, name):
        pytest.fail(f"no {name} in {dict(self)}")


def items(done):
    told = json.loads(done.stdout)
    assert told["ok"] == all(item["ok"] for item in told["items"]) == (done.returncode == 0)
    for item in told["items"]:
        assert set(item) == {"name", "ok", "text", "remedy"}
        assert item["text"]
        assert bool(item["remedy"]) == (not item["ok"]), item  # no fault without its remedy
    return Items({item["name"]: item for item in told["items"]})


def test_all_is_well(check, tmp_path):
    with start_master("--log-level", "DEBUG", token=TOKEN) as master:
        done = check(master.url, MASTER_TOKEN=TOKEN)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        lines = done.stdout.splitlines()
        assert all(line.startswith("ok  ") for line in lines)
        names = {line[5:].split(":")[0] for line in lines}
        assert {"configuration", "logs", "disk", "backend", "interface", "privilege"} <= names
        text = done.stdout.replace(master.url, "URL")
        assert re.search(r"^ok   master URL: accepts by websocket in \d+ ms$", text, re.MULTILINE)
        assert (
            "ok   master URL handshake: Engine.IO 4, without a proxy; transports polling, websocket; "
            "pings every 25 s and waits 20 s\n"
        ) in text
        assert "ok   master URL clock: this machine's and the master's agree within 2 s\n" in text
        assert "certificate" not in text
        found = items(check(master.url, "--json", MASTER_TOKEN=TOKEN))
        assert [f"ok   {name}" for name in found] == [line.partition(": ")[0] for line in lines]
        # it left as it came: nobody waits for a client that is gone
        for _ in range(4):
            master.wait_for_line('closed .*reason="client disconnect"')
        assert master.state()["active"] == {}
    assert os.listdir(tmp_path / "logs") == []  # and changed nothing


@pytest.mark.parametrize(
    ("master", "text", "remedy"),
    [
        (lambda: None, "connection refused", "start the master"),
        (
            lambda: Raw(answering(http("200 OK", b"<html>", kind="text/html"))),
            "an HTML page",
            "MASTER_URL",
        ),
        (
            lambda: Raw(answering(http("400 Bad Request", b'"unsupported version"'))),
            "Engine.IO v3",
            "upgrade",
        ),
        (lambda: Master(refuse="not you"), "refused this node: not you", "MASTER_TOKEN"),
    ],
    ids=["nobody", "a web server", "an old master", "one that refuses"],
)
def test_a_master_that_falls_short(check, serve, master, text, remedy):
    made = master()
    if made:
        serve(made)
    done = check(made.url if made else f"http://127.0.0.1:{free_port()}", "--json")
    assert done.returncode == 1
    (bad,) = [item for item in items(done).values() if not item["ok"]]
    assert text in bad["text"]
    assert remedy in bad["remedy"]


def test_every_master_is_asked(check, serve):
    good, dead = serve(Master()), f"http://127.0.0.1:{free_port()}"
    done = check(f"{dead},{good.url}")
    assert done.returncode == 1
    assert f"FAIL master {dead}: connection refused" in done.stdout
    assert "; start the master, or correct MASTER_URL\n" in done.stdout
    assert f"ok   master {good.url} handshake: " in done.stdout


class WebsocketAlone(Puppet):
    """As some are behind a load balancer."""

    def _converse(self, sock, head):
        if b"Upgrade:" in head:
            super()._converse(sock, head)
        else:
            sock.sendall(http("400 Bad Request", b"Invalid transport"))


def test_a_master_that_speaks_websocket_alone(check, serve):
    master = serve(WebsocketAlone())
    found = items(check(master.url, "--json"))
    assert all(item["ok"] for item in found.values())
    assert "a websocket alone is answered" in found[f"master {master.url} handshake"]["text"]


@pytest.mark.parametrize(("days", "ok"), [(90, True), (3, False)])
def test_the_certificate_s_chain_and_end(check, serve, tmp_path, days, ok):
    root = trustme.CA()
    middle = root.create_child_ca()
    end = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=days, hours=1)
    own = middle.issue_cert("localhost", common_name="the master", not_after=end)
    root.cert_pem.write_to_path(tmp_path / "ca.pem")
    own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    master = serve(Master(tls=(str(tmp_path / "own.pem"),)))
    found = items(check(master.url, "--json", MASTER_CA_FILE=tmp_path / "ca.pem"))
    item = found[f"master {master.url} certificate"]
    assert item["ok"] is ok
    assert item["text"].startswith("the master ← ")
    assert item["text"].count(" ← ") == 1
    assert f"good until {end:%Y-%m-%d}, {days} days" in item["text"]
    if not ok:
        assert "renew it" in item["remedy"]


def test_a_proxy_is_named_without_its_password(check, serve):
    master = serve(Master())
    proxy = serve(Proxy(master.port))
    url = f"http://someone:{TOKEN}@127.0.0.1:{proxy.port}"
    done = check("http://master.invalid:5000", "--json", http_proxy=url)
    text = items(done)["master http://master.invalid:5000 handshake"]["text"]
    assert f"through the proxy {proxy.url};" in text


def test_a_proxy_s_url_is_shown_in_one_spelling():
    assert str(parse_proxy("http://a:b@proxy:3128/")) == "http://proxy:3128"
    assert str(parse_proxy("proxy:3128")) == "http://proxy:3128"


@pytest.mark.parametrize("offset_s", [0, 1, -1, 30, -30, 86400])
def test_the_clocks(offset_s):
    now_s = time.time()
    item = _clock("clock", formatdate(now_s - offset_s, usegmt=True), now_s)
    assert item.ok == (abs(offset_s) < 2)
    if not item.ok:
        shown = re.search(r"is (\d+) s (ahead of|behind) the master's", item.text)
        assert int(shown[1]) == pytest.approx(abs(offset_s), abs=1)
        assert shown[2] == ("ahead of" if offset_s > 0 else "behind")
        assert item.remedy


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_a_master_that_tells_no_time(date):
    assert _clock("clock", date, time.time()).ok


def test_a_disk_that_is_too_small_for_the_logs(check, serve):
    master = serve(Master())
    found = items(check(master.url, "--json", LOG_MAX_BYTES=10**15))
    assert "MB free" in found["disk"]["text"]
    assert "LOG_MAX_BYTES" in found["disk"]["remedy"]
    assert items(check(master.url, "--json", LOG_MAX_BYTES=0))["disk"]["ok"]


def test_wrong_settings(check):
    done = check("ftp://x", "--json", NODE_ID="77", MASTER_TOKEN=TOKEN)
    assert done.returncode == 78
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert len(told["items"]) == 2
    for item, line in zip(told["items"], done.stderr.splitlines()):
        assert not item["ok"]
        assert f"{item['text']}; {item['remedy']}" == line


def test_json_goes_with_check_alone():
    done = forked.run(["client.py", "--json"], os.environ)
    assert done.returncode == 2
    assert "--json goes with --check" in done.stderr


ESCAPES = "\x1b[2K\rok   all is well\u2028"


def test_what_a_master_says_is_escaped_and_redacted(check, serve):
    master = serve(Master(refuse=f"no {ESCAPES} {TOKEN}"))
    for options in ((), ("--json",)):
        done = check(master.url, *options, MASTER_TOKEN=TOKEN)
        assert done.returncode == 1
        assert "refused this node" in done.stdout
        text = done.stdout if not options else "".join(item["text"] for item in items(done).values())
        assert TOKEN not in text
        assert "***" in text
        assert not set("\x1b\r\u2028") & set(text)


def nodes_at(serve, check, active=None, inactive=None, body=None, status="200 OK", **settings):
    """What `--check` says of a master with these nodes in its /json, by a server that answers nothing else."""
    listed = json.dumps({"active": active or {}, "inactive": inactive or {}, "recovery_mapper": {}})
    asked = []

    class WithJson(Puppet):
        def _converse(self, sock, head):
            if head.startswith(b"GET /json "):
                asked.append(head)
                sock.sendall(
                    http(status, (listed if body is None else body).encode(), kind="application/json")
                )
            elif b"Upgrade:" in head:
                super()._converse(sock, head)
            else:
                sock.sendall(http("404 Not Found"))

    master = serve(WithJson())
    found = items(check(master.url, "--json", **settings))
    prefix = f"master {master.url} "
    return {name.removeprefix(prefix): item for name, item in found.items() if name.startswith(prefix)}, asked


def node(number, neighbors, ip=None, system="elsewhere"):
    return {
        "NODE_ID": number,
        "neighbors": neighbors,
        "primary_ip": ip or f"10.9.0.{number}",
        "system": system,
    }


def test_a_number_that_is_alive_elsewhere(check, serve):
    found, asked = nodes_at(serve, check, {"3": node(3, ["2", "6"], "10.9.0.77")}, MASTER_TOKEN=TOKEN)
    item = found["NODE_ID"]
    assert not item["ok"]
    assert "node 3 is alive there as another machine: 10.9.0.77 (elsewhere)" in item["text"]
    assert item["remedy"] == "give this machine or 10.9.0.77 another NODE_ID"
    assert f"Authorization: Bearer {TOKEN}".encode() in asked[0]


@pytest.mark.parametrize(
    "active",
    [{}, {"2": node(2, ["1", "3", "5"])}, {"3": node(3, ["2", "6"], "10.9.0.3", socket.gethostname())}],
    ids=["nobody", "another", "this machine's worker"],
)
def test_a_number_that_is_free_or_its_own(check, serve, active):
    assert nodes_at(serve, check, active)[0]["NODE_ID"]["ok"]


def test_neighbors_that_differ(check, serve, tmp_path):
    network_config = tmp_path / "network_config.txt"
    network_config.write_text("1, 2\n2, 1, 3\n3, 2\n")
    found, _ = nodes_at(
        serve,
        check,
        {"2": node(2, ["1", "3"])},
        {"1": node(1, ["2", "3"]), "9": node(9, ["1"])},
        NETWORK_CONFIG=network_config,
    )
    item = found["NETWORK_CONFIG"]
    assert not item["ok"]
    assert "node 1 has 2 3 there and 2 here" in item["text"]
    assert "node 9 is not in this machine's file" in item["text"]
    assert "node 2" not in item["text"]
    assert "the same network_config.txt" in item["remedy"]
    found, _ = nodes_at(serve, check, {"2": node(2, ["1", "3"])}, NETWORK_CONFIG=network_config)
    assert found["NETWORK_CONFIG"]["ok"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("<html>", "200 OK"),
        ("[" * 100_000, "200 OK"),
        ("[1]", "200 OK"),
        ('{"active": 1, "inactive": {}}', "200 OK"),
        ('{"active": {"3": 7, "x": {}, "2": {"neighbors": 5}}, "inactive": {}}', "200 OK"),
        ("no", "404 Not Found"),
        ("", "302 Found"),
    ],
)
def test_a_master_that_lists_nothing_of_use_is_no_fault(check, serve, body, status):
    found, _ = nodes_at(serve, check, body=body, status=status)
    assert all(item["ok"] for item in found.values())


def test_a_list_of_nodes_that_comes_byte_by_byte_is_not_waited_for(serve, monkeypatch):
    monkeypatch.setattr(check_master, "NODES_S", 0.5)
    over = threading.Event()

    def trickle(sock, _head):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not over.wait(0.05):
            sock.sendall(b" ")

    master = serve(Raw(trickle))
    (item,) = check_master.cluster_items(None, Target(master.url, None, None), None)
    assert not over.is_set()
    over.set()
    assert item.ok
    assert item.text == "it does not list its nodes: its answer takes too long"


def test_it_names_the_address_that_the_worker_joins_with(check, serve):
    master = serve(Master())
    text = items(check(master.url, "--json"))["interface"]["text"]
    assert text.startswith("joins with 10.9.0.3 of simulated0")
    done = check(f"http://127.0.0.1:{free_port()}", "--json")
    assert "since no master accepts" in items(done)["interface"]["text"]


@needs_namespaces
def test_with_two_cards_it_is_this_end_of_the_connection_to_the_master(check, serve):
    """The default route is on the other card."""
    with Lab(nodes=(3,)) as lab:
        host = lab.node(3)
        host.run("ip", "link", "add", "mgmt0", "type", "veth", "peer", "name", "mgmt1")
        for command in ("addr add 192.0.2.3/24 dev mgmt0", "link set mgmt0 up", "link set mgmt1 up"):
            host.run("ip", *command.split())
        host.run("ip", "route", "replace", "default", "via", "192.0.2.1")
        place, puppet = lab.master, serve(Master())
        master = serve(
            Relay(
                puppet,
                listen=lambda port: in_namespace(place.ns, lambda: socket.create_server((place.ip, port))),
            )
        )
        found = items(check(master.url, "--json", before=host.argv(), VIP_BACKEND="netlink"))
        assert f"joins with {host.ip} of " in found["interface"]["text"]
        missing = items(
            check(master.url, "--json", before=host.argv(), VIP_BACKEND="netlink", INTERFACE="eth9")
        )["interface"]
    assert not missing["ok"]
    assert missing["text"].startswith("INTERFACE=eth9 is missing: ")
    assert "mgmt0" in missing["remedy"]


@needs_namespaces
def test_a_wrong_sudo_password_is_tried_once(check, tmp_path):
    sudo, tried = tmp_path / "bin" / "sudo", tmp_path / "tried"
    sudo.parent.mkdir()
    sudo.write_text(f"""#!/bin/sh
printf %s '{PROMPT}'
read password && echo "$password" >>{tried}
printf %s '{PROMPT}'
read password && echo "$password" >>{tried}
exit 1
""")
    sudo.chmod(0o755)
    with Lab(nodes=(3,)) as lab:
        found = items(
            check(
                "http://127.0.0.1:9", "--json", before=lab.node(3).argv(),
                VIP_BACKEND="sudo", PASSWORD="Pa55word", PATH=f"{sudo.parent}:{os.environ['PATH']}",
            )
        )  # fmt: skip
        assert found["interface"]["text"].startswith(f"joins with {lab.node(3).ip} of ")
    assert "sudo refused the password" in found["privilege"]["text"]
    assert tried.read_text() == "Pa55word\n"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="judges for another user: needs root")
class TestAccount:
    """File modes and privileges are those of the account that runs the service."""

    @pytest.fixture
    def folder(self, tmp_path):
        """One that the account can reach."""
        (tmp_path / "logs").mkdir()
        os.chown(tmp_path / "logs", 65534, 65534)
        token = tmp_path / "token"
        token.write_text(TOKEN)
        token.chmod(0o640)
        os.chown(token, 0, 65534)
        return tmp_path

    def test_the_owner_of_log_dir_is_judged(self, check, serve, folder):
        found = items(check(serve(Master()).url, "--json", MASTER_TOKEN_FILE=folder / "token"))
        assert found["account"]["text"].startswith("nobody (the owner of LOG_DIR) can read the settings")
        assert found["account"]["ok"]

    def test_a_file_that_it_cannot_read(self, check, serve, folder):
        """`chmod 600` as root would be a remedy that keeps the service from starting."""
        (folder / "token").chmod(0o600)
        item = items(check(serve(Master()).url, "--json", MASTER_TOKEN_FILE=folder / "token"))["account"]
        assert not item["ok"]
        assert item["text"] == f"MASTER_TOKEN_FILE: nobody cannot read {folder / 'token'}: Permission denied"
        assert f"chgrp nogroup {folder / 'token'} && chmod 640 {folder / 'token'}" in item["remedy"]
        found = items(
            check(serve(Master()).url, "--json", "--as", "root", MASTER_TOKEN_FILE=folder / "token")
        )
        assert found["account"]["ok"]

    def test_a_folder_that_it_cannot_write(self, check, serve, folder):
        os.chown(folder / "logs", 0, 0)
        (folder / "logs").chmod(0o755)
        item = items(check(serve(Master()).url, "--json", "--as", "nobody"))["account"]
        assert f"LOG_DIR: nobody cannot write in {folder / 'logs'}" in item["text"]

    def test_a_folder_that_it_cannot_enter(self, check, serve, folder):
        """Nor see whether there are logs in it."""
        folder.chmod(0o700)
        item = items(check(serve(Master()).url, "--json"))["account"]
        assert item["text"] == f"LOG_DIR: nobody cannot write in {folder / 'logs'}"
        assert item["remedy"] == f"chown nobody {folder / 'logs'}, and let nobody enter the folders above it"

    @pytest.mark.skipif(sys.platform != "linux", reason="Linux's capabilities")
    def test_privileges_are_the_account_s(self, check, serve, folder):
        found = items(check(serve(Master()).url, "--json", VIP_BACKEND="netlink"))
        assert not found["privilege"]["ok"]
        assert "CAP_NET_ADMIN" in found["privilege"]["text"]

    def test_an_account_that_is_none(self, check):
        done = check("http://127.0.0.1:1", "--as", "no-such-user")
        assert done.returncode == 2
        assert "there is no user 'no-such-user'" in done.stderr


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounting a disk without inodes needs Linux and root"
)
def test_a_disk_without_inodes_is_named(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m,nr_inodes=1", "none", str(folder)], check=True)
    try:
        config = load({"NODE_ID": "3", "LOG_DIR": str(folder), "VIP_BACKEND": "simulated"})
        item = disk_item(config)
        lock = InstanceLock.acquire(folder, None)
        lock.release()
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert not item.ok
    assert "inodes" in item.text
    assert "remove files" in item.remedy
    assert any("no inodes are left; remove files" in warning for warning in lock.warnings)


def test_plain_http_to_another_machine_is_noted_and_a_doubtful_setting_is_one_verdict(tmp_path):
    config = load({
        "NODE_ID": "3", "LOG_DIR": str(tmp_path), "VIP_BACKEND": "simulated",
        "MASTER_URL": "http://192.0.2.1:5000", "MASTER_TOKEN": TOKEN,
    })  # fmt: skip
    sound = list(itertools.islice(check_items(config), 2))
    assert [item.ok for item in sound] == [True, True]
    assert "MASTER_TOKEN too; https" in sound[1].text
    doubtful = list(itertools.islice(check_items(replace(config, warnings=("it is odd; change it",))), 2))
    assert [item.ok for item in doubtful] == [False, True]
    assert doubtful[1].text == sound[1].text
