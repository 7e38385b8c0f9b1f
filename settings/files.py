"""Settings that name a file or a folder: what the worker must find in it, or be allowed to do with it."""

from __future__ import annotations

import errno
import os
import re
import select
import ssl
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from secrets import token_hex
from types import MappingProxyType

from settings.types import Fault, InvalidValue, ValueType, quoted, whole

ENV_FILE_EXPECTED = "a readable file of NAME=value lines"
LOGS = ("comms.log", "ping.log")
_FILE_LIMIT = 1 << 20
_SECRET_LIMIT = 4096
_PIPE_S = 5.0
"""How long to wait for a pipe or a terminal to deliver a setting."""


@dataclass(frozen=True)
class EnvLine:
    """The value that a line of the `.env` file gives a variable, "" for none."""

    text: str
    number: int


def read_env_file(path: Path, *, may_be_absent: bool) -> Mapping[str, EnvLine]:
    """The variables of a `.env` file by name; the last line of a name counts. `${…}` is not expanded.

    Raises InvalidValue with every line that is not an assignment, and if the file cannot be read.
    """
    with _as_fault():
        if may_be_absent and (not path.exists() or path.is_dir()):  # a folder: a virtual environment, likely
            return {}
        content = _read_text(path)
    from dotenv.parser import parse_stream  # a tenth of the time of a start, where there is no such file

    lines: dict[str, EnvLine] = {}
    faults: list[Fault] = []
    for binding in parse_stream(StringIO(content)):
        original = binding.original.string
        # the parser counts blank lines as part of the line that follows them
        blank = original[: len(original) - len(original.lstrip())]
        number = binding.original.line + blank.count("\n")
        if binding.error:
            where = f"line {number} of {quoted(str(path))}"
            faults.append(Fault("it is not NAME=value (is a quote left open?)", where=where, hidden=True))
        elif binding.key is not None:
            lines[binding.key] = EnvLine(binding.value or "", number)
    if faults:
        raise InvalidValue(*faults)
    return lines


def node_number() -> ValueType:
    expected = "the number of a node that NETWORK_CONFIG lists, such as 1"
    return ValueType(expected, whole(1, 999_999_999).parse)


def secret_file() -> ValueType:
    """A file whose first line, without the line break, is the secret."""

    def parse(text: str) -> str:
        # the secret itself may have been put here by mistake
        hidden = not any(separator in text for separator in (os.sep, os.altsep) if separator)
        with _as_fault(hidden=hidden):
            content = _read(_path(text), _SECRET_LIMIT)
        line = content.partition(b"\n")[0].removesuffix(b"\r")
        reason = "its first line is not UTF-8 text"
        with suppress(UnicodeDecodeError):
            value = line.decode("utf-8-sig")
            if not value:
                reason = "its first line is empty"
            elif len(line) > _SECRET_LIMIT:
                reason = f"its first line is longer than {_SECRET_LIMIT} bytes"
            elif "\0" not in value and "\r" not in value:
                return value
        raise InvalidValue(Fault(reason, hidden=hidden))

    return ValueType("a readable file whose first line is the secret", parse)


def log_folder() -> ValueType:
    """A folder, created if missing, in which files can be created and no log is closed to this user."""

    def parse(text: str) -> Path:
        with _as_fault():
            folder = _path(text)
            if folder.exists() and not folder.is_dir():
                raise InvalidValue("it is a file, not a folder")
            folder.mkdir(parents=True, exist_ok=True)
            _try_to_write(folder)
            for log in (folder / name for name in LOGS):
                if log.is_symlink():
                    raise InvalidValue(
                        f"its {log.name} is a symbolic link, which is never followed; remove it"
                    )
                if log.is_dir() or (log.exists() and not os.access(log, os.W_OK)):
                    raise InvalidValue(f"its {log.name} cannot be written; remove it or change its owner")
        return folder

    return ValueType("a folder that exists or can be created, and can be written", parse)


def metrics_file() -> ValueType:
    """A file that can be replaced by renaming: its folder must allow that, not the file."""

    def parse(text: str) -> Path:
        with _as_fault():
            path = _path(text)
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

    return ValueType("a file in a folder that exists and can be written", parse)


def executable() -> ValueType:
    def parse(text: str) -> Path:
        with _as_fault():
            path = Path(text)
            if not path.is_absolute():
                raise InvalidValue("it is not an absolute path")
            if not path.is_file():
                raise InvalidValue("it is not a file" if path.exists() else "there is no such file")
            if not os.access(path, os.X_OK):
                raise InvalidValue("it is not executable; fix this with chmod +x")
        return path

    return ValueType("the absolute path of an executable file, without arguments", parse)


def ca_file() -> ValueType:
    def parse(text: str) -> Path:
        with _as_fault():
            path = _path(text)
            if not path.is_file():  # a device or a pipe might be read forever
                raise InvalidValue("it is not a file" if path.exists() else "there is no such file")
            path.open("rb").close()  # if it cannot be read, OpenSSL's own reason would be a number
            try:
                # not create_default_context(), which opens SSLKEYLOGFILE
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.load_verify_locations(cafile=str(path))
                found = context.cert_store_stats()["x509"]
            except ssl.SSLError:
                found = 0
            if not found:
                raise InvalidValue("it contains no PEM certificate")
        return path

    return ValueType("a readable file with at least one PEM certificate", parse)


def neighbors() -> ValueType:
    """A file that lists nodes; the value is each node with its neighbors, in the file's order."""
    expected = "a readable file of lines `node, neighbor, neighbor…`, all of them whole numbers from 1"
    return ValueType(expected, _neighbors)


def _neighbors(text: str) -> Mapping[int, tuple[int, ...]]:
    with _as_fault():
        path = _path(text)
        content = _read_text(path)
    rows = [(number, line.strip()) for number, line in enumerate(content.split("\n"), 1)]
    rows = [(number, line) for number, line in rows if line and not line.startswith("#")]
    if rows and rows[0][1].partition("#")[0].strip() == "0":  # the original's file begins with it
        del rows[0]
    listed: dict[int, tuple[int, ...]] = {}
    lines: dict[int, str] = {}
    faults: list[Fault] = []
    all_named = True
    for number, line in rows:
        where = f"line {number} of {quoted(str(path))}"
        node, *near = (_node_number(entry.strip()) for entry in line.partition("#")[0].split(","))
        if None in (node, *near):
            # the whole line is the piece: half a secret, from a file in the wrong variable, would be shown
            faults.append(Fault("not every entry of it is a node number", line, where))
        if node is None:
            all_named = False
        elif node in listed:
            faults.append(Fault("that node is listed already, above", str(node), where))
        else:
            listed[node] = tuple(dict.fromkeys(other for other in near if other is not None))
            lines[node] = where
        if node is not None and node in near:
            faults.append(Fault("a node cannot be its own neighbor", str(node), where))
    if all_named:  # otherwise the node that seems missing may be the one whose number could not be read
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


def _node_number(text: str) -> int | None:
    return int(text) or None if re.fullmatch("[0-9]{1,9}", text) else None


def _path(text: str) -> Path:
    """An absolute path, so that it means the same in any current folder. Raises what _as_fault translates."""
    return Path(text).expanduser().absolute()


def _read_text(path: Path) -> str:
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
    """A file's first bytes, a few more than `limit` if it has them. Raises OSError.

    A pipe or a terminal is waited for, not forever. TimeoutError: nobody wrote into it, or left it open.
    """
    end_s = time.monotonic() + _PIPE_S
    content = b""
    # a pipe without a writer would block the opening
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        waits = not stat.S_ISREG(os.fstat(fd).st_mode) and hasattr(select, "poll")
        poll = select.poll() if waits else None
        if poll:
            poll.register(fd, select.POLLIN)
        while len(content) <= limit + 4:
            if poll and not poll.poll(max(0.0, end_s - time.monotonic()) * 1000):
                raise TimeoutError(errno.ETIMEDOUT, f"nothing came through this pipe in {_PIPE_S:g} s")
            piece = os.read(fd, limit + 5 - len(content))
            if not piece:
                break
            content += piece
    finally:
        os.close(fd)
    return content


def _try_to_write(folder: Path) -> None:
    """Create and remove a file. Raises OSError; a full disk is no fault of the setting, the logs survive it."""
    trial = folder / f".worker-{token_hex(8)}.tmp"
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as exc:
        if exc.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise


@contextmanager
def _as_fault(*, hidden: bool = False) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise InvalidValue(Fault(exc.strerror or "it cannot be used", hidden=hidden)) from None
    except (ValueError, RuntimeError):  # a NUL, a lone surrogate; a `~` without a home
        raise InvalidValue(Fault("no file can have that name", hidden=hidden)) from None
