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
from settings.permissions import owner_of
from worker.assembly import network_of
from worker.check_item import Item

UNIT = Path("/etc/systemd/system/failover-worker.service")
"""As `make install` writes it."""
NEEDED = {"CAP_NET_ADMIN", "CAP_NET_RAW"}


def account_items(config: Config, account: int | None) -> Iterator[Item]:
    """Whether the account can read the settings' files and write its logs; nothing off POSIX."""
    uid = _uid(config, account)
    if uid is None:
        return
    name, group = _names(uid)
    if not _can_become(uid):
        text = f"{name} runs the worker; what it may read and write is not known to another user"
        yield Item(True, "account", text)
        return
    faults = as_account(uid, lambda: _file_faults(config, name, group))
    yield from faults
    if not faults:
        whose = "--as names it" if account is not None else "the owner of LOG_DIR"
        yield Item(True, "account", f"{name} ({whose}) can read the settings and write the logs")


def privilege_items(config: Config, account: int | None) -> Iterator[Item]:
    """The backend, and whether the account can change addresses by it."""
    uid = _uid(config, account)
    if uid is None or not _can_become(uid) or uid == os.geteuid():
        yield from _privilege(config)
        return
    name, _ = _names(uid)
    if _unit_user() == name and _unit_capabilities() >= NEEDED:
        yield Item(True, "privilege", f"{UNIT.name} gives {name} {' and '.join(sorted(NEEDED))}")
        yield from _privilege(config)
        return
    # what it imports is imported now: the account may not be able to read it
    codecs.lookup("ascii")
    with suppress(NetworkError):
        network_of(config).close()
    yield from as_account(uid, lambda: list(_privilege(config)))


def as_account(uid: int, work: Callable[[], list[Item]]) -> list[Item]:
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
        return [
            Item(bool(ok), str(name), str(text), str(remedy)) for ok, name, text, remedy in json.loads(text)
        ]
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


def _uid(config: Config, account: int | None) -> int | None:
    """None: this system has no such accounts."""
    if os.name != "posix":
        return None
    return owner_of(config.log_dir) if account is None else account


def _can_become(uid: int) -> bool:
    return os.geteuid() in {0, uid}


def _names(uid: int) -> tuple[str, str]:
    """The account's name and its group's; numbers where they have none."""
    import grp
    import pwd

    try:
        entry = pwd.getpwuid(uid)
        return entry.pw_name, grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        return f"uid {uid}", str(uid)


def _file_faults(config: Config, name: str, group: str) -> list[Item]:
    """As the account: each file and folder that it cannot use."""
    faults = []
    credentials = _credentials() if _unit_user() == name else set()
    for variable, path in (*config.paths, ("the worker's code", HERE / "client.py")):
        if path in credentials:
            continue  # systemd reads it, as root
        try:
            with path.open("rb"):
                pass
        except OSError as exc:
            quoted = shlex.quote(str(path))
            remedy = (
                f"chgrp {group} {quoted} && chmod 640 {quoted}, and let {name} enter the folders above it"
            )
            text = f"{variable}: {name} cannot read {path}: {exc.strerror}"
            faults.append(Item(False, "account", text, remedy))
    folders = {config.log_dir: "LOG_DIR"}
    if config.metrics_file:
        folders.setdefault(config.metrics_file.parent, "METRICS_FILE")
    for folder, variable in folders.items():
        if not os.access(folder, os.W_OK | os.X_OK):
            remedy = f"chown {name} {shlex.quote(str(folder))}"
            faults.append(Item(False, "account", f"{variable}: {name} cannot write in {folder}", remedy))
    for log in (config.log_dir / "ping.log", config.log_dir / "comms.log"):
        if log.exists() and not os.access(log, os.W_OK):
            remedy = f"chown {name} {shlex.quote(str(log))}"
            faults.append(Item(False, "account", f"LOG_DIR: {name} cannot write {log}", remedy))
    command = config.notify_command
    if command and not os.access(command, os.X_OK):
        remedy = f"chmod 755 {shlex.quote(str(command))}"
        faults.append(Item(False, "account", f"NOTIFY_COMMAND: {name} cannot run {command}", remedy))
    return faults


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


def _unit_user() -> str | None:
    found = re.search(r"^User=(\S+)$", _unit(), re.MULTILINE)
    return found[1] if found else None


def _unit_capabilities() -> set[str]:
    return set(" ".join(re.findall(r"^AmbientCapabilities=(.*)$", _unit(), re.MULTILINE)).split())


def _credentials() -> set[Path]:
    """The files that the unit is given copies of."""
    return {Path(path) for path in re.findall(r"^LoadCredential=[^:\n]+:(/.*)$", _unit(), re.MULTILINE)}


def _unit() -> str:
    """The installed unit with its drop-ins, "" where there is none."""
    text = ""
    if sys.platform == "linux":
        for file in (UNIT, *sorted(UNIT.parent.glob(f"{UNIT.name}.d/*.conf"))):
            with suppress(OSError):
                text += file.read_text(encoding="utf-8", errors="replace") + "\n"
    return text
