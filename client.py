"""The failover worker of one node: `python client.py`.

It keeps a connection to the master, and takes over or gives back a neighbour's address when the master says
so. This module reads the command line, puts the parts together, and runs the one loop that owns them.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import config as configuration
from connection import light
from worker import systemd as notify
from worker.instance_lock import ClaimError, claim

VERSION = "1.0.0"
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h
TLS_VARIABLES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "WEBSOCKET_CLIENT_CA_BUNDLE",
    "SSLKEYLOGFILE",
)
"""By which OpenSSL and the libraries would trust others than MASTER_CA_FILE or the system does, each for one transport
only, or give the keys away.
"""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the worker until it is told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="client.py",
        description="Failover worker: takes a dead neighbour's address when the master orders it.",
        epilog=configuration.describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--env-file", type=Path, metavar="FILE", help="read FILE instead of .env beside client.py"
    )
    parser.add_argument(
        "--check", action="store_true", help="check the settings, this machine and the masters"
    )
    parser.add_argument("--json", action="store_true", help="with --check: print it as JSON")
    parser.add_argument("--version", action="store_true", help="print it, and the protocol, and leave")
    options = parser.parse_args(arguments)
    if options.version:
        print(f"failover worker {VERSION}, {_protocol()}")
        return 0
    if options.json and not options.check:
        parser.error("--json goes with --check")
    for name in TLS_VARIABLES:
        os.environ.pop(name, None)
    try:
        config = configuration.load(os.environ, options.env_file)
    except configuration.ConfigError as exc:
        print(*exc.faults, sep="\n", file=sys.stderr)
        if options.json:
            from worker.check import faults_report

            print(faults_report(exc.faults), flush=True)
        return EXIT_CONFIG
    # the secrets are in `config` now, and no child process is to inherit them
    for name in ("PASSWORD", "MASTER_TOKEN"):
        os.environ.pop(name, None)
    notifier = notify.from_environ(os.environ)
    light.import_requests()
    if options.check:
        from worker.check import check

        return check(config, as_json=options.json)

    # a signal must find its handler from the first log line on: nothing else happens in one but this
    from worker.inbox import Inbox

    inbox = Inbox()
    from worker.loop import Reopen, Stop, Worker
    from worker.status import ShowState

    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(
                getattr(signal, name), lambda number, _: inbox.put(Stop(signal.Signals(number).name))
            )
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: inbox.put(Reopen()))
        signal.signal(signal.SIGUSR1, lambda *_: inbox.put(ShowState()))
    try:
        node_id = None if config.vip_backend == "simulated" else config.node_id
        # held until this process ends
        claimed = claim(config.log_dir, node_id)
    except ClaimError as exc:
        print(exc, file=sys.stderr)
        return EXIT_CONFIG
    Worker(config, VERSION, inbox, notifier).run()
    claimed.close()
    return 0


def _protocol() -> str:
    """What the installed libraries speak; they are not imported, which would take most of a start."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        engine, library = version("python-engineio"), version("python-socketio")
    except PackageNotFoundError as exc:
        return f"no protocol: {exc.name} is not installed, see requirements.txt"
    return f"Engine.IO {engine.split('.')[0]} (python-socketio {library}, python-engineio {engine})"


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # threads that still wait for a name server or a stalled disk must not hold up the end
    os._exit(code)
