"""`--check` as the account that runs the service: what it may read and write, and whether it can change addresses."""

from __future__ import annotations

import codecs
import json
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from config import HERE, Config
from network.base import NetworkError
from network.choose import resolve
from network.privilege import HOW_TO_GRANT
from settings.files import LOGS
from settings.permissions import owner_of
from worker.assembly import network_of
from worker.check_item import Item

UNIT = Path("/etc/systemd/system/failover-worker.service")
"""As `make install` writes it."""
NEEDED = {"CAP_NET_ADMIN", "CAP_NET_RAW"}


def account_items(config: Config, account: int | None) -> Iterator[Item]:
    """Whether the account can read the settings' files, write its logs, and change addresses by the backend."""
    if os.name != "posix":
        yield from _privilege(config)
        return
    uid = owner_of(config.log_dir) if account is None else account
    name, group = _names(uid)
    if os.geteuid() not in {0, uid}:
        text = f"{name} runs the worker; what it may read and write is not known to another user"
        yield Item(True, "account", text)
        yield from _privilege(config)
        return
    unit = _unit()
    by_unit = f"\nUser={name}\n" in unit
    # systemd reads the credentials, as root
    given = set(re.findall(r"^LoadCredential=[^:\n]+:(/.*)$", unit, re.MULTILINE)) if by_unit else set()
    faults = _as_account(uid, lambda: list(_file_faults(config, name, group, given)))
    yield from faults
    if not faults:
        whose = "--as names it" if account is not None else "the owner of LOG_DIR"
        yield Item(True, "account", f"{name} ({whose}) can read the settings and write the logs")
    capabilities = " ".join(re.findall(r"^AmbientCapabilities=(.*)$", unit, re.MULTILINE)).split()
    if by_unit and uid != os.geteuid() and set(capabilities) >= NEEDED:
        yield Item(True, "privilege", f"{UNIT.name} gives {name} {' and '.join(sorted(NEEDED))}")
        yield from _privilege(config)
        return
    # what it imports is imported now: the account may not be able to read it
    codecs.lookup("ascii")
    with suppress(NetworkError):
        network_of(config).close()
    yield from _as_account(uid, lambda: list(_privilege(config)))


def _as_account(uid: int, work: Callable[[], list[Item]]) -> list[Item]:
    """What `work` finds as that user, in a child process that gives up every other right."""
    if uid == os.geteuid():
        return work()
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, of which there are none yet
        pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            _become(uid)
            rows = [[item.ok, item.name, item.text, item.remedy] for item in work()]
            with open(write, "w", encoding="utf-8", errors="replace") as pipe:
                json.dump(rows, pipe)
        finally:
            os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8", errors="replace") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    try:
        return [Item(*row) for row in json.loads(text)]
    except ValueError:
        what = f"what {_names(uid)[0]} may do could not be found out"
        return [Item(False, "account", what, "run --check as that user")]


def _become(uid: int) -> None:
    import pwd

    try:
        entry = pwd.getpwuid(uid)
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
    except KeyError:
        os.setgroups([])
        os.setgid(uid)
    os.setuid(uid)


def _names(uid: int) -> tuple[str, str]:
    """The account's name and its group's; numbers where they have none."""
    import grp
    import pwd

    try:
        entry = pwd.getpwuid(uid)
        return entry.pw_name, grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        return f"uid {uid}", str(uid)


def _file_faults(config: Config, name: str, group: str, given: set[str]) -> Iterator[Item]:
    """As the account: each file and folder that it cannot use, but those of `given`, which systemd reads for it.

    A file that it cannot even look at, in a folder that is closed to it, is one of these.
    """

    def fault(variable: str, what: str, remedy: str) -> Item:
        return Item(False, "account", f"{variable}: {name} {what}", remedy)

    enter = f"let {name} enter the folders above it"
    for variable, path in (*config.paths, ("the worker's code", HERE / "client.py")):
        try:
            if str(path) not in given:
                path.open("rb").close()
        except OSError as exc:
            file = shlex.quote(str(path))
            remedy = f"chgrp {group} {file} && chmod 640 {file}, and {enter}"
            yield fault(variable, f"cannot read {path}: {exc.strerror}", remedy)
    folders = {config.log_dir: "LOG_DIR"}
    if config.metrics_file:
        folders.setdefault(config.metrics_file.parent, "METRICS_FILE")
    for folder, variable in folders.items():
        if not os.access(folder, os.W_OK | os.X_OK):
            remedy = f"chown {name} {shlex.quote(str(folder))}, and {enter}"
            yield fault(variable, f"cannot write in {folder}", remedy)
    for log in (config.log_dir / file for file in LOGS):
        if os.path.exists(log) and not os.access(log, os.W_OK):
            yield fault("LOG_DIR", f"cannot write {log}", f"chown {name} {shlex.quote(str(log))}")
    command = config.notify_command
    if command and not os.access(command, os.X_OK):
        yield fault("NOTIFY_COMMAND", f"cannot run {command}", f"chmod 755 {shlex.quote(str(command))}")


def _privilege(config: Config) -> Iterator[Item]:
    try:
        backend, why = resolve(config.vip_backend)
        yield Item(True, "backend", f"{backend}: {why}")
        network = network_of(config)
    except NetworkError as exc:
        yield Item(False, "backend", str(exc), "set VIP_BACKEND to what this machine has")
        return
    try:
        network.start(lambda _event: None)
        yield Item(True, "privilege", f"addresses can be changed by {network.backend}")
    except NetworkError as exc:
        yield Item(False, "privilege", str(exc), HOW_TO_GRANT)
    finally:
        network.close()


def _unit() -> str:
    """The installed unit with its drop-ins, "" where there is none."""
    text = ""
    if sys.platform == "linux":
        for file in (UNIT, *sorted(UNIT.parent.glob(f"{UNIT.name}.d/*.conf"))):
            with suppress(OSError):
                text += file.read_text(encoding="utf-8", errors="replace") + "\n"
    return text
