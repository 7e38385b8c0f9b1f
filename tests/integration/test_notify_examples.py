"""The programs of docs/notify-command.md, run by a real worker: nginx serves a neighbor's site, a webhook is called."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import textwrap
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.lab.masters import Master
from tests.lab.netns import Lab, in_namespace, needs_namespaces
from tests.lab.ports import free_port
from tests.lab.processes import Process
from tests.lab.relay import Relay
from tests.lab.waiting import PATIENCE_S, until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "notify-command.md"
RECOVER = {
    "disconnected_node": 2,
    "recovery_node": "3",
    "ip": "10.9.0.2",
    "netmask": "255.255.255.0",
    "active_neighbors": ["3"],
}


def program(heading, folder, **replaced):
    """The script below a heading, with other places in it."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    block = re.search(r"(?:^    .*\n|^\n)+", section[section.index("    #!/bin/sh") :], re.MULTILINE)[0]
    text = textwrap.dedent(block).strip() + "\n"
    for old, new in replaced.values():
        assert old in text
        text = text.replace(old, str(new))
    path = folder / "on-change"
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.skipif(
    shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None, reason="needs nginx"
)
def test_nginx_serves_the_neighbor_s_site_while_its_address_is_here(work, serve, tmp_path):
    nginx, port = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"), free_port()
    for folder in ("sites-available", "sites-enabled", "bin", "logs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "sites-available" / "10.9.0.2.conf").write_text(
        f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 'of node 2'; }} }}\n"
    )
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"daemon off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/logs/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; include {tmp_path}/sites-enabled/*; }}\n"
    )
    wrapper = tmp_path / "bin" / "nginx"
    wrapper.write_text(f'#!/bin/sh\nexec {nginx} -c {config} -p {tmp_path} "$@"\n')
    wrapper.chmod(0o755)
    command = program("Serve a neighbor's site with nginx", tmp_path, place=("/etc/nginx", tmp_path))

    def answer():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S) as page:
                return page.read().decode()
        except OSError:
            return None

    with Process([str(wrapper)]) as nginx:
        until((tmp_path / "nginx.pid").exists)
        master = serve(Master())
        path = f"{wrapper.parent}:{os.environ['PATH']}"
        worker = work(master, NOTIFY_COMMAND=command, PATH=path)
        master.wait("join")
        assert answer() is None
        master.order("recover", RECOVER)
        worker.wait("notify_done", change="taken")
        until(lambda: answer() == "of node 2")
        master.order("restore", {"restore_node": 2})
        worker.wait("notify_done", change="released")
        until(lambda: answer() is None)
        assert nginx.stop() == 0  # killed, it would leave its worker process behind


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_a_webhook_is_called(work, serve, tmp_path):
    posted = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    hook = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    try:
        (tmp_path / "webhook.curl").write_text(
            f'url = "http://127.0.0.1:{hook.server_port}/T0/B0/x"\nnoproxy = "*"\n'
        )
        command = program(
            "Post to a webhook",
            tmp_path,
            url=("/etc/failover-worker/webhook.curl", tmp_path / "webhook.curl"),
        )
        master = serve(Master())
        worker = work(master, NOTIFY_COMMAND=command)
        master.wait("join")
        master.order("recover", RECOVER)
        worker.wait("notify_done", change="taken")
        assert worker.stop() == 0
    finally:
        hook.shutdown()
        hook.server_close()
    interface = posted[0][2]["interface"]
    assert posted == [
        (
            "/T0/B0/x",
            "application/json",
            {"node": 3, "change": change, "for": 2, "address": "10.9.0.2/24", "interface": interface},
        )
        for change in ("taken", "released")
    ]


def test_the_units_of_the_installed_service_are_well_formed(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("judging a unit needs systemd-analyze (systemd)")
    section = PAGE.read_text(encoding="utf-8").partition("## From the installed service")[2]
    for name in ("failover-change.path", "failover-change.service"):
        block = section.partition(f"/etc/systemd/system/{name}`")[2].partition("\n\n")[2]
        text = re.match(r"(?:^    .*\n|^\n)+", block, re.MULTILINE)[0]
        (tmp_path / name).write_text(textwrap.dedent(text))
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in os.listdir(tmp_path))],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr


@needs_namespaces
def test_an_address_that_is_removed_by_hand_is_lost_and_taken_again(work, serve, tmp_path):
    command = tmp_path / "on-change"
    command.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/changes\n')
    command.chmod(0o755)
    with Lab(nodes=(3,)) as lab:
        host, place, master = lab.node(3), lab.master, serve(Master())

        def listen(port):
            return in_namespace(place.ns, lambda: socket.create_server((place.ip, port)))

        worker = work(
            serve(Relay(master, listen=listen)),
            before=host.argv(),
            VIP_BACKEND="netlink",
            NOTIFY_COMMAND=command,
        )
        master.wait("join")
        master.order("recover", RECOVER)
        worker.wait("notify_done", change="taken")
        host.run("ip", "addr", "del", "10.9.0.2/24", "dev", "eth0")
        worker.wait("notify_done", 2, change="taken")
        assert worker.stop() == 0
    assert (tmp_path / "changes").read_text().splitlines() == [
        f"{change} 2 10.9.0.2/24 eth0" for change in ("taken", "lost", "taken", "released")
    ]
