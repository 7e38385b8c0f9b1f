"""The failover worker of one node: `python client.py`.

It keeps a connection to the master, and takes over or gives back a neighbor's address when the master says
so. This module reads the command line, puts the parts together, and runs the one loop that owns them.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import config as configuration
from connection.versions import libraries_fault
from logs.console import open_missing_streams, print_error
from worker.systemd import SystemdNotifier

VERSION = "2.0.0"
EXIT_LOCKED = 75  # EX_TEMPFAIL of sysexits.h
EXIT_CONFIG = 78  # EX_CONFIG
HERE = Path(__file__).absolute().parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker until it is stopped, or one of the other commands; returns the exit code."""
    open_missing_streams()
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:  # argparse cannot do without
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    options = _parse(arguments)
    try:
        return _run(options)
    except ModuleNotFoundError as exc:
        if (HERE / (exc.name or "").partition(".")[0]).exists():
            raise  # not a library: a part of the worker itself is missing
        print_error(f"the library {exc.name} is not installed; install it with: {_installation()}")
        return EXIT_CONFIG


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="client.py",
        description="Failover worker: takes a dead neighbor's address when the master orders it.",
        epilog=configuration.describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--env-file", type=Path, metavar="FILE", help="read FILE instead of .env beside client.py"
    )
    command = parser.add_mutually_exclusive_group()
    command.add_argument(
        "--check", action="store_true", help="check the settings, this machine and the masters"
    )
    command.add_argument(
        "--status", action="store_true", help="show the state of the worker that runs with these settings"
    )
    command.add_argument("--version", action="store_true", help="print it, and the protocol, and exit")
    parser.add_argument("--json", action="store_true", help="with --check or --status: print it as JSON")
    parser.add_argument(
        "--as",
        dest="account",
        metavar="USER",
        type=_account,
        help="with --check: judge file modes and privileges as this account (default: the owner of LOG_DIR)",
    )
    options = parser.parse_args(arguments)
    if options.json and not (options.check or options.status):
        parser.error("--json goes with --check or --status")
    if options.account is not None and not options.check:
        parser.error("--as goes with --check")
    return options


def _account(name: str) -> int:
    """The user id of an account's name or number."""
    if name.isascii() and name.isdecimal():
        return int(name)
    try:
        import pwd

        return pwd.getpwnam(name).pw_uid
    except (ImportError, KeyError):
        raise argparse.ArgumentTypeError(f"there is no user {name!r}") from None


def _run(options: argparse.Namespace) -> int:
    if options.version:
        print(f"failover worker {VERSION}, {_protocol()}")
        return 0
    fault = libraries_fault()
    if fault:
        print_error(f"{fault}; install it with: {_installation()}")
        return EXIT_CONFIG
    try:
        config = configuration.load(os.environ, options.env_file, options.account)
    except configuration.ConfigError as exc:
        print_error(*exc.faults)
        if options.json:
            from worker.check import report, settings_items

            print(report(settings_items(exc.faults)), flush=True)
        return EXIT_CONFIG
    # the secrets are in `config` now, and no child process is to inherit them
    for name in ("PASSWORD", "MASTER_TOKEN"):
        os.environ.pop(name, None)
    notifier = SystemdNotifier(os.environ)
    if options.status:
        from worker.status_socket import show_status

        return show_status(config.log_dir, as_json=options.json)
    if options.check:
        from worker.check import check

        return check(config, as_json=options.json, account=options.account)
    return _work(config, notifier)


def _work(config: configuration.Config, notifier: SystemdNotifier) -> int:
    # a signal must find its handler from the first log line on: nothing else happens in one but this
    from worker.inbox import DumpState, Inbox, ReopenLogs, Stop

    inbox = Inbox()
    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(
                getattr(signal, name), lambda number, _: inbox.put(Stop(signal.Signals(number).name))
            )
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: inbox.put(ReopenLogs()))
        signal.signal(signal.SIGUSR1, lambda *_: inbox.put(DumpState()))
    from worker.instance_lock import InstanceLock, LockError
    from worker.loop import Worker

    try:
        node_id = None if config.vip_backend == "simulated" else config.node_id
        lock = InstanceLock.acquire(config.log_dir, node_id)
    except LockError as exc:
        print_error(str(exc))
        return EXIT_LOCKED
    config = replace(config, warnings=(*config.warnings, *lock.warnings))
    Worker(config, VERSION, inbox, notifier).run()
    lock.release()
    return 0


def _protocol() -> str:
    """What the installed libraries speak; they are not imported, which would take most of a start."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        engine, library = version("python-engineio"), version("python-socketio")
    except PackageNotFoundError as exc:
        return f"no protocol: {exc.name} is not installed; install it with: {_installation()}"
    return f"Engine.IO {engine.split('.')[0]} (python-socketio {library}, python-engineio {engine})"


def _installation() -> str:
    """The command that installs the libraries where this interpreter finds them."""
    from importlib.util import find_spec
    from shlex import quote

    requirements = quote(str(HERE / "requirements.txt"))
    if sys.prefix == sys.base_prefix:
        env = quote(str(HERE / "env"))
        python = quote(str(HERE / "env" / "bin" / "python"))
        return (
            f"python3 -m venv {env} && {python} -m pip install -r {requirements}, and run {python} client.py"
        )
    if find_spec("pip") is None:
        return "make install, again, from the clone that the service was installed from"
    return f"{quote(sys.executable)} -m pip install -r {requirements}"


def _main() -> NoReturn:
    """Run the command line: whatever becomes of the output, the exit code says what was found out.

    The process ends at once: threads that wait for a name server or a stalled disk must not hold it up.
    """
    try:
        code = main()
    except SystemExit as exc:  # argparse's --help and usage errors
        code = exc.code if isinstance(exc.code, int) else 1
    except BrokenPipeError:
        code = 1  # what read the output has gone, such as `head`
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
        print_error(f"the output could not be written: {exc.strerror}")
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _main()
