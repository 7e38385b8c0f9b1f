"""Who else can read a secret, or write what the worker trusts. POSIX modes only; elsewhere nobody is found."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from settings.types import printable, quoted


def exposed_secret(path: Path, what: str, account: int) -> Iterator[str]:
    """Warnings about a file with a secret; `what` names it, `account` is the user id of the worker."""
    status = _status(path)
    if status and stat.S_ISREG(status.st_mode) and _others(status, stat.S_IRGRP, stat.S_IROTH, account):
        remedy = "chmod o-r" if status.st_mode & stat.S_IROTH else f"chown {account}"
        yield f"{what} {quoted(str(path))} can be read by other users; fix this with: {remedy} {_argument(path)}"
    yield from exposed_to_writers(path.parent, f"the folder of {what}", account)


def exposed_to_writers(path: Path, what: str, account: int) -> Iterator[str]:
    """A warning about a program or a folder; in a sticky one nobody can replace another user's file."""
    status = _status(path)
    sticky = status and stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status and not sticky and _others(status, stat.S_IWGRP, stat.S_IWOTH, account):
        yield f"{what} {quoted(str(path))} can be written by other users; fix this with: chmod go-w {_argument(path)}"


def owner_of(folder: Path) -> int:
    """The account that is taken for the worker's: the owner of its LOG_DIR; -1 where there is no such thing."""
    status = _status(folder)
    return status.st_uid if status else -1


def _status(path: Path) -> os.stat_result | None:
    """None: not on POSIX, or the path cannot be examined."""
    try:
        return path.stat() if os.name == "posix" else None
    except OSError:
        return None


def _others(status: os.stat_result, group_bit: int, other_bit: int, account: int) -> bool:
    """Whether the mode lets in anyone but root, root's group, the account and this process."""
    trusted = {0, account, os.geteuid()}
    if status.st_uid not in trusted or status.st_mode & other_bit:
        return True
    return bool(status.st_mode & group_bit and status.st_gid and _members(status.st_gid) - trusted)


def _members(gid: int) -> set[int]:
    """The users of a group, by their passwd entry or the group's list."""
    import grp
    import pwd

    try:
        named = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        named = set()
    return {user.pw_uid for user in pwd.getpwall() if user.pw_gid == gid or user.pw_name in named}


def _argument(path: Path) -> str:
    return shlex.quote(printable(str(path)))
