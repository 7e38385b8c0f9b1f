"""Settings that name a file or a folder: what the worker must find in it, or be allowed to do with it, and who else can
read or write it, by POSIX modes.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import ssl
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from queue import Empty, SimpleQueue
from secrets import token_hex
from types import MappingProxyType
from typing import NamedTuple

from settings.types import Fault, InvalidValue, expects, printable, quoted

LOGS = ("comms.log", "ping.log")
_FILE_LIMIT = 1 << 20
_SECRET_LIMIT = 4096
_PIPE_S = 5.0
"""How long to wait for a pipe or a terminal to deliver a setting."""


class EnvLine(NamedTuple):
    """The value that a line of the `.env` file gives a variable, "" for none."""

    text: str
    number: int


@expects("a readable file of NAME=value lines")
def env_file(text: str) -> Mapping[str, EnvLine]:
    """The variables of a `.env` file by name; the last line of a name counts. `${…}` is not expanded."""
    content = read_text(absolute(text))
    from dotenv.parser import parse_stream  # a tenth of the time of a start, where there is no such file

    lines: dict[str, EnvLine] = {}
    faults: list[str] = []
    for binding in parse_stream(StringIO(content)):
        original = binding.original.string
        # the parser counts blank lines as part of the line that follows them
        blank = original[: len(original) - len(original.lstrip())]
        number = binding.original.line + blank.count("\n")
        if binding.error:
            faults.append(f"line {number} of {quoted(text)} is not NAME=value (is a quote left open?)")
        elif binding.key is not None:
            lines[binding.key] = EnvLine(binding.value or "", number)
    if faults:
        raise InvalidValue(*faults)
    return lines


@expects(
    "a readable file whose first line is the secret",
    # the secret itself may have been put here by mistake
    hides=lambda text: not any(separator in text for separator in (os.sep, os.altsep) if separator),
)
def secret_file(text: str) -> str:
    """The file's first line, without the line break."""
    line = _read(absolute(text), _SECRET_LIMIT).partition(b"\n")[0].removesuffix(b"\r")
    if len(line) > _SECRET_LIMIT:
        raise InvalidValue(f"its first line is longer than {_SECRET_LIMIT} bytes")
    value = "\0"
    with suppress(UnicodeDecodeError):
        value = line.decode("utf-8-sig")
    if not value:
        raise InvalidValue("its first line is empty")
    if "\0" in value or "\r" in value:
        raise InvalidValue("its first line is not UTF-8 text")
    return value


@expects("a folder that exists or can be created, and can be written")
def log_folder(text: str) -> Path:
    """A folder, created if missing, in which files can be created and no log is closed to this user."""
    folder = absolute(text)
    if folder.exists() and not folder.is_dir():
        raise InvalidValue("it is a file, not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    _try_to_write(folder)
    for log in (folder / name for name in LOGS):
        if log.is_symlink():
            raise InvalidValue(f"its {log.name} is a symbolic link, which is never followed; remove it")
        if log.is_dir() or (log.exists() and not os.access(log, os.W_OK)):
            raise InvalidValue(f"its {log.name} cannot be written; remove it or change its owner")
    return folder


@expects("a file in a folder that exists and can be written")
def metrics_file(text: str) -> Path:
    """A file that can be replaced by renaming: its folder must allow that, not the file."""
    path = absolute(text)
    if path.is_dir():
        raise InvalidValue("it is a folder, not a file")
    with suppress(FileNotFoundError):
        path.stat()  # any other error says that there can be no such file
    if not path.parent.is_dir():
        raise InvalidValue("its folder does not exist")
    _try_to_write(path.parent)
    if not find_spec("prometheus_client"):
        raise InvalidValue("it needs prometheus-client: run pip install -r requirements.txt")
    return path


@expects("the absolute path of an executable file, without arguments")
def executable(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise InvalidValue("it is not an absolute path")
    _must_be_file(path)
    if not os.access(path, os.X_OK):
        raise InvalidValue("it is not executable; fix this with chmod +x")
    return path


@expects("a readable file with at least one PEM certificate")
def ca_file(text: str) -> Path:
    path = absolute(text)
    _must_be_file(path)  # a device or a pipe might be read forever
    path.open("rb").close()  # if it cannot be read, OpenSSL's own reason would be a number
    # not create_default_context(), which opens SSLKEYLOGFILE
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with suppress(ssl.SSLError):
        context.load_verify_locations(cafile=str(path))
    if not context.cert_store_stats()["x509"]:
        raise InvalidValue("it contains no PEM certificate")
    return path


@expects("a readable file of lines `node, neighbor, neighbor…`, all of them whole numbers from 1")
def neighbors(text: str) -> Mapping[int, tuple[int, ...]]:
    """A file that lists nodes; the value is each node with its neighbors, in the file's order."""
    path = absolute(text)
    rows = [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), 1)]
    rows = [(number, line) for number, line in rows if line and not line.startswith("#")]
    if rows and rows[0][1].partition("#")[0].strip() == "0":  # the original's file begins with it
        del rows[0]
    listed: dict[int, tuple[int, ...]] = {}
    lines: dict[int, str] = {}
    faults: list[Fault] = []
    all_read = True
    for number, line in rows:
        where = f"line {number} of {quoted(str(path))}"
        entries = [entry.strip() for entry in line.partition("#")[0].split(",")]
        if not all(re.fullmatch("(?=0*[1-9])[0-9]{1,9}", entry) for entry in entries):
            # the whole line is the piece: half a secret, from a file in the wrong variable, would be shown
            faults.append(Fault("not every entry of it is a node number", line, where))
            all_read = False
            continue
        node, *near = map(int, entries)
        if node in listed:
            faults.append(Fault("that node is listed already, above", str(node), where))
        if node in near:
            faults.append(Fault("a node cannot be its own neighbor", str(node), where))
        listed[node], lines[node] = tuple(dict.fromkeys(near)), where
    if all_read:  # otherwise the node that seems missing may be on a line that could not be read
        faults += (
            Fault("no line lists that node", str(other), lines[node])
            for node, near_ones in listed.items()
            for other in near_ones
            if other not in listed
        )
    if not rows:
        faults.append(Fault("it lists no node"))
    if faults:
        raise InvalidValue(*faults)
    return MappingProxyType(listed)


def absolute(text: str) -> Path:
    """A path that means the same in any current folder. Raises RuntimeError for a `~` without a home."""
    return Path(text).expanduser().absolute()


def _must_be_file(path: Path) -> None:
    if not path.is_file():
        raise InvalidValue("it is not a file" if path.exists() else "there is no such file")


def read_text(path: Path) -> str:
    """A settings file's text. Raises OSError, and InvalidValue if it is too long or not UTF-8."""
    content = _read(path, _FILE_LIMIT)
    if len(content) > _FILE_LIMIT:
        raise InvalidValue("the file is longer than 1 MiB")
    with suppress(UnicodeDecodeError):
        text = content.decode("utf-8-sig")
        if "\0" not in text:
            return text
    raise InvalidValue("the file is not UTF-8 text (is it UTF-16?); save it as UTF-8")


def _read(path: Path, limit: int) -> bytes:
    """A file's first bytes, a few more than `limit` if it has them. Raises OSError, ValueError.

    A pipe or a terminal is not waited for forever, as a slow disk is. TimeoutError: nobody wrote into it, or left it open.
    """
    done: SimpleQueue[bytes | OSError | ValueError] = SimpleQueue()

    def read() -> None:
        try:
            with path.open("rb") as file:
                done.put(file.read(limit + 5))
        except (OSError, ValueError) as exc:
            done.put(exc)

    # a thread that can be left behind, since even opening a pipe that nobody writes into takes forever
    threading.Thread(target=read, daemon=True).start()
    try:
        content = done.get(timeout=None if path.is_file() else _PIPE_S)
    except Empty:
        raise TimeoutError(errno.ETIMEDOUT, f"nothing came through this pipe in {_PIPE_S:g} s") from None
    if isinstance(content, bytes):
        return content
    raise content


def _try_to_write(folder: Path) -> None:
    """Create and remove a file. Raises OSError; a full disk is no fault of the setting, the logs survive it."""
    trial = folder / f".worker-{token_hex(8)}.tmp"
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as exc:
        if exc.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise


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
