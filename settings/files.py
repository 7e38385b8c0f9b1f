"""Settings that name a file or a folder: what it must hold, or allow, for the worker to use it."""

from __future__ import annotations

import errno
import os
import re
import ssl
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from secrets import token_hex
from types import MappingProxyType
from typing import Optional

from settings.types import Fault, Kind, UnfitError, shown

ENV_FILE_MAY_HOLD = "a readable file of NAME=value lines"
CREDENTIAL_MAY_HOLD = "the secret in its first line"
_FILE_LIMIT = 1 << 20
_SECRET_LIMIT = 4096


def _read_text(path: Path) -> str:
    """A settings file's text. Raises OSError, and UnfitError when it is too long or not UTF-8."""
    with path.open("rb") as file:
        content = file.read(_FILE_LIMIT + 1)
    if len(content) > _FILE_LIMIT:
        raise UnfitError(Fault("the file is longer than 1 MiB"))
    with suppress(UnicodeDecodeError):
        text = content.decode("utf-8-sig")
        if "\0" not in text:
            return text
    raise UnfitError(Fault("the file is not UTF-8 text (is it UTF-16?); save it as UTF-8"))


@dataclass(frozen=True)
class EnvLine:
    """What a line of the `.env` file gives a variable, "" where it gives nothing."""

    text: str
    number: int


def read_env_file(path: Path, *, may_be_absent: bool) -> Mapping[str, EnvLine]:
    """The variables of a `.env` file by name; the last line of a name counts. `${…}` stays as it is.

    Raises UnfitError with every line that is none, and when the file cannot be read.
    """
    with _as_fault():
        if may_be_absent and (not path.exists() or path.is_dir()):  # a folder: a virtual environment, likely
            return {}
        content = _read_text(path)
    from dotenv.parser import parse_stream  # a tenth of what it takes to start, where there is no such file

    lines: dict[str, EnvLine] = {}
    faults: list[Fault] = []
    for binding in parse_stream(StringIO(content)):
        original = binding.original.string
        # The parser counts blank lines as part of the line that follows them.
        blank = original[: len(original) - len(original.lstrip())]
        number = binding.original.line + blank.count("\n")
        if binding.error:
            where = f"line {number} of {shown(str(path))}"
            faults.append(Fault("it is not NAME=value (is a quote left open?)", where=where, hidden=True))
        elif binding.key is not None:
            lines[binding.key] = EnvLine(binding.value or "", number)
    if faults:
        raise UnfitError(*faults)
    return lines


def others_may_read(path: Path) -> bool:
    """Whether others than its owner and this process may read the file; False where that cannot be told (Windows, a
    pipe). A group's file is as it should be where this process has it by its group alone, as a service has root's.
    """
    if os.name != "posix":
        return False
    try:
        status = path.stat()
    except OSError:
        return False
    by_group = status.st_uid != os.geteuid() and status.st_gid in {os.getegid(), *os.getgroups()}
    others = 0o004 if by_group else 0o044
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & others)


def secret_file() -> Kind:
    """A file whose first line is the secret; the line break is no part of it."""
    return Kind("a readable file whose first line is the secret", _secret_file)


def log_folder() -> Kind:
    """A folder, made when missing, in which files can be made and in which no log is closed to this user."""
    return Kind("a folder that can be made and written", _log_folder)


def metrics_file() -> Kind:
    """A file that can be replaced by renaming: its folder allows that, not the file."""
    return Kind("a file in a folder that exists and can be written", _metrics_file)


def ca_file() -> Kind:
    return Kind("a readable file with one PEM certificate or more", _ca_file)


def neighbours() -> Kind:
    """A file that lists nodes; the value is each node with its neighbours, in the file's order."""
    return Kind("a readable file of lines `node, neighbour, neighbour…`, all numbers from 1", _neighbours)


def _secret_file(text: str) -> str:
    # Somebody may have put the secret itself where its file belongs.
    hidden = not any(separator in text for separator in (os.sep, os.altsep) if separator)
    with _as_fault(hidden=hidden), _path(text).open("rb") as file:
        line = file.readline(_SECRET_LIMIT + 1)
    reason = "its first line is not one of UTF-8 text"
    with suppress(UnicodeDecodeError):
        value = line.decode("utf-8-sig").rstrip("\r\n")
        if not value:
            reason = "its first line is empty"
        elif len(line) > _SECRET_LIMIT:
            reason = f"its first line is longer than {_SECRET_LIMIT} bytes"
        elif "\0" not in value and "\r" not in value:
            return value
    raise UnfitError(Fault(reason, hidden=hidden))


def credential(name: str, directory: str) -> str:
    """The credential that the service manager gives this process (systemd.exec(5), LoadCredential=), as a secret's
    text, "" where there is none. Raises UnfitError.
    """
    path = os.path.join(directory, name)
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError:
        pass  # it may be there; reading it says what is wrong
    return _secret_file(path) if os.path.isabs(path) else ""


def _log_folder(text: str) -> Path:
    with _as_fault():
        folder = _path(text)
        if folder.exists() and not folder.is_dir():
            raise UnfitError(Fault("it is a file, not a folder"))
        folder.mkdir(parents=True, exist_ok=True)
        _try_to_write(folder)
        for log in (folder / "ping.log", folder / "comms.log"):
            if log.is_dir() or (log.exists() and not os.access(log, os.W_OK)):
                raise UnfitError(Fault(f"the {log.name} in it cannot be written; remove it or own it"))
    return folder


def _metrics_file(text: str) -> Path:
    with _as_fault():
        path = _path(text)
        if path.is_dir():
            raise UnfitError(Fault("it is a folder, not a file"))
        with suppress(FileNotFoundError):
            path.stat()  # other errors say that there can be no such file
        if not path.parent.is_dir():
            raise UnfitError(Fault("its folder does not exist"))
        _try_to_write(path.parent)
    return path


def _ca_file(text: str) -> Path:
    with _as_fault():
        path = _path(text)
        if not path.is_file():  # a device or a pipe might be read for ever
            raise UnfitError(Fault("it is no file" if path.exists() else "there is no such file"))
        path.open("rb").close()  # where it cannot be read, OpenSSL's own reason would be a number
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cafile=str(path))
            found = context.cert_store_stats()["x509"]
        except ssl.SSLError:
            found = 0
        if not found:
            raise UnfitError(Fault("it holds no PEM certificate"))
    return path


def _neighbours(text: str) -> Mapping[int, tuple[int, ...]]:
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
        where = f"line {number} of {shown(str(path))}"
        node, *near = (_node_number(field.strip()) for field in line.partition("#")[0].split(","))
        if None in (node, *near):
            # The whole line is the piece: half a secret, from a file in the wrong variable, would be shown.
            faults.append(Fault("not every entry of it is a node number", line, where))
        if node is None:
            all_named = False
        elif node in listed:
            faults.append(Fault("that node is listed already, above", str(node), where))
        else:
            listed[node] = tuple(dict.fromkeys(other for other in near if other is not None))
            lines[node] = where
        if node is not None and node in near:
            faults.append(Fault("a node cannot be its own neighbour", str(node), where))
    if all_named:  # else the node that seems missing may be the one whose number could not be read
        faults += (
            Fault("no line lists that node", str(other), lines[node])
            for node, near_ones in listed.items()
            for other in near_ones
            if other not in listed
        )
    if not rows:
        faults.append(Fault("it lists no node"))
    if faults:
        raise UnfitError(*faults)
    return MappingProxyType(listed)


def _node_number(text: str) -> Optional[int]:
    return int(text) or None if re.fullmatch("[0-9]{1,9}", text) else None


def _path(text: str) -> Path:
    """An absolute path, so that it means the same after a change of folder. Raises what _as_fault translates."""
    return Path(text).expanduser().absolute()


def _try_to_write(folder: Path) -> None:
    """Make and remove a file. Raises OSError; a full disk is no fault of the setting, the logs live with it."""
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
        raise UnfitError(Fault(exc.strerror or "it cannot be used", hidden=hidden)) from None
    except (ValueError, RuntimeError):  # a NUL, a lone surrogate; a `~` that has no home
        raise UnfitError(Fault("no file can be called that", hidden=hidden)) from None
