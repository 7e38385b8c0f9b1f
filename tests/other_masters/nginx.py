"""A real nginx in front of a master: a process of its own, with a configuration of its own, on a free port."""

import os
import signal
import subprocess

from tests.lab.ports import free_port
from tests.lab.waiting import PATIENCE_S, until

CONFIG = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log notice;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        ''      close;
    }}
    upstream masters {{
        {servers}
    }}
    server {{
        listen 127.0.0.1:{port} {tls};
        location /socket.io/ {{
            proxy_pass http://masters;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_buffering off;
            {upgrade}
        }}
    }}
}}
"""
UPGRADE = """
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
"""


class Nginx:
    def __init__(self, folder, ports, upgrade=True, certificate=None):
        """`ports`: the masters'. `certificate`: a PEM file with a key and its certificates; None: plain HTTP."""
        folder.mkdir()
        self.folder, self.port = folder, free_port()
        tls = f"ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate}" if certificate else ""
        text = CONFIG.format(
            user="user root;" if os.geteuid() == 0 else "",
            folder=folder,
            servers="\n        ".join(f"server 127.0.0.1:{port};" for port in ports),
            port=self.port,
            tls=tls,
            upgrade=UPGRADE if upgrade else "",
        )
        (folder / "nginx.conf").write_text(text)
        self.start()

    def start(self):
        argv = ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        self.process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        until(self.workers, 5, lambda: (self.folder / "error.log").read_text())

    def workers(self):
        """The pids of its processes that serve, old ones included."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return set(children.read().split())

    def reload(self):
        """The new process serves when this returns; the old one until its connections are over."""
        before = self.workers()
        self.process.send_signal(signal.SIGHUP)
        until(lambda: self.workers() - before, 5)

    def end(self):
        self.process.terminate()
        self.process.wait(PATIENCE_S)
