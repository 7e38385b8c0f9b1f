"""The settings of `serve`, from flags, the environment and `.env`, in this order; every fault at once."""

# ruff: noqa: RUF009 - _option() returns a field, as dataclasses.field() does

import argparse
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dotenv import dotenv_values

from logs.format import LEVELS
from master import tokens
from master.messages import LARGEST_NODE
from master.tokens import Tokens
from settings.files import secret_file
from settings.types import InvalidValue, ValueType, expects, one_of, quoted, seconds, whole

INSTALLED_ENV_FILE = Path("/etc/failover-master/master.env")
CREDENTIALS = {
    "MASTER_TOKEN": "MASTER_TOKEN_FILE",
    "REDIS_URL": "REDIS_URL_FILE",
    "MASTER_TLS_CERT": "MASTER_TLS_CERT",
    "MASTER_TLS_KEY": "MASTER_TLS_KEY",
}
"""By name: the variables that systemd's credentials stand for (systemd.exec(5), LoadCredential=)."""


def default_env_file() -> Path:
    """`.env` beside master/, else that of the installed master."""
    beside = Path(__file__).resolve().parent.parent / ".env"
    return INSTALLED_ENV_FILE if not beside.exists() and os.access(INSTALLED_ENV_FILE, os.R_OK) else beside


class SettingsError(Exception):
    """Something is wrong with the settings; one line a fault, without secrets."""

    def __init__(self, faults: list[str], is_usage: bool) -> None:
        super().__init__("\n".join(faults))
        self.exit_code = 2 if is_usage else 78
        """2: a flag is wrong; 78: the environment or a file is (EX_CONFIG)."""


_SECONDS = seconds(0.02)


@expects(f"numbers from 1 to {LARGEST_NODE}, such as 1-9 or 1,3,7-9")
def _nodes(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= LARGEST_NODE:
            raise InvalidValue("")
        found.update(range(first, last + 1))
    return frozenset(found)


@expects("names without ports, comma-separated")
def _names(text: str) -> frozenset[str]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not all(re.fullmatch(r"[a-z0-9._-]+", name) for name in names):
        raise InvalidValue("")
    return frozenset(names)


@expects("redis://HOST:PORT/DB, rediss://HOST:PORT/DB (TLS) or unix:///PATH?db=DB", hides=lambda _: True)
def _redis(text: str) -> str:
    with suppress(ValueError):
        parts = urlsplit(text)
        if parts.scheme in ("redis", "rediss", "unix") and parts.port != 0:
            return text
    raise InvalidValue("")


def _readable(text: str) -> Path:
    if not os.access(text, os.R_OK):
        raise InvalidValue("")
    return Path(text)


def _may_be_secret(text: str) -> bool:
    """Whether it may be the secret instead of its file's name; a URL with a password and a key have slashes too."""
    return secret_file.hides(text) or "://" in text or "-----BEGIN" in text


_file = expects("a file that can be read")(_readable)
_file_of_secret = expects("a file that can be read", hides=_may_be_secret)(_readable)
_redis_file = replace(secret_file, hides=_may_be_secret)


@dataclass(frozen=True)
class Option:
    variable: str
    type: ValueType
    default: str | None
    help: str


def _option(variable: str, value_type: ValueType, default: str | None, shown: str) -> Any:
    return field(metadata={"option": Option(variable, value_type, default, shown)})


@dataclass(frozen=True)
class Settings:
    host: str = _option("MASTER_HOST", expects("a host")(str), "127.0.0.1", "the address to listen on")
    port: int = _option("MASTER_PORT", whole(0, 65535), "5000", "the port; 0: a free one")
    token_file: Path | None = _option(
        "MASTER_TOKEN_FILE",
        _file_of_secret,
        None,
        "a file with lines TOKEN or NODE_ID TOKEN; MASTER_TOKEN: one token for all",
    )
    tls_cert: Path | None = _option("MASTER_TLS_CERT", _file, None, "certificate (chain), PEM")
    tls_key: Path | None = _option("MASTER_TLS_KEY", _file_of_secret, None, "its private key, PEM")
    redis: str | None = _option("REDIS_URL", _redis, None, "where several masters share their state")
    dead_after: float = _option(
        "MASTER_DEAD_AFTER", _SECONDS, "2.5", "a node that is silent for S seconds is dead"
    )
    order_timeout: float = _option(
        "MASTER_ORDER_TIMEOUT",
        _SECONDS,
        "40",
        "S seconds for the answer to an order; more than CONFLICT_WAIT",
    )
    nodes: frozenset[int] = _option("MASTER_NODES", _nodes, "1-9", "the numbers that may join")
    allowed_hosts: frozenset[str] = _option(
        "MASTER_ALLOWED_HOSTS", _names, "", "names by which it may be asked, besides this machine's own"
    )
    max_connections: int = _option("MASTER_MAX_CONNECTIONS", whole(16, 100_000), "1024", "connections in all")
    log_dir: Path | None = _option(
        "MASTER_LOG_DIR", expects("a folder")(Path), None, "also log to master.log in this folder"
    )
    log_level: str = _option(
        "MASTER_LOG_LEVEL",
        one_of({level: level for level in LEVELS}),
        "INFO",
        "DEBUG, INFO, WARNING or ERROR",
    )
    tokens: Tokens = field(default=Tokens(), repr=False)


OPTIONS: dict[str, Option] = {
    each.name: each.metadata["option"] for each in fields(Settings) if each.name != "tokens"
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--env-file", type=Path, default=default_env_file(), metavar="FILE", help="default: %(default)s"
    )
    for name, option in OPTIONS.items():
        shown = f"{option.help} ({option.variable}" + (
            f"; default: {option.default})" if option.default else ")"
        )
        metavar = "S" if option.type is _SECONDS else name.rpartition("_")[2].upper()
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=shown)


def environment(env_file: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`.env` and the environment, which wins; an empty variable counts as unset.

    Raises SettingsError.
    """
    logging.getLogger("dotenv.main").setLevel(logging.CRITICAL)
    try:
        lines = dotenv_values(env_file, interpolate=False, encoding="utf-8-sig") if env_file.is_file() else {}
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError([f"{env_file}: {exc}"], is_usage=False) from None
    values = {name: value for name, value in lines.items() if value}
    folder = environ.get("CREDENTIALS_DIRECTORY")
    for name, variable in CREDENTIALS.items() if folder else ():
        if os.path.exists(f"{folder}/{name}"):
            values[variable] = f"{folder}/{name}"
    return {**values, **{name: value for name, value in environ.items() if value}}


def own_token(values: Mapping[str, str]) -> str | None:
    """The token of a client of the master, MASTER_TOKEN or the first in MASTER_TOKEN_FILE for all. Raises ValueError."""
    path = values.get("MASTER_TOKEN_FILE")
    if "MASTER_TOKEN" in values or path is None:
        return values.get("MASTER_TOKEN")
    try:
        file = _file_of_secret.parse(path)
    except InvalidValue as invalid:
        raise ValueError(_fault("MASTER_TOKEN_FILE", _file_of_secret, path, invalid)) from None
    return min(tokens.read(file).entries, key=lambda entry: entry[0] is not None)[1]


def _fault(source: str, value_type: ValueType, text: str, invalid: InvalidValue) -> str:
    shown = "(not shown)" if value_type.hides(text) else quoted(text)
    reason = f": {invalid.faults[0].reason}" if invalid.faults[0].reason else ""
    return f"{source}: invalid value {shown}{reason}; expected {value_type.expected}"


def load(arguments: argparse.Namespace) -> Settings:
    """Raises SettingsError."""
    values = environment(arguments.env_file)
    faults: list[str] = []
    is_usage = False
    found: dict[str, Any] = {}
    file = values.get("REDIS_URL_FILE")
    if file and "REDIS_URL" not in values and arguments.redis is None:
        try:
            values["REDIS_URL"] = _redis_file.parse(file).strip()
        except InvalidValue as invalid:
            faults.append(_fault("REDIS_URL_FILE", _redis_file, file, invalid))
    for name, option in OPTIONS.items():
        flag = getattr(arguments, name)
        text = flag if flag is not None else values.get(option.variable, option.default)
        source = f"--{name.replace('_', '-')}" if flag is not None else option.variable
        try:
            found[name] = None if text is None else option.type.parse(text)
            if name == "redis" and flag and urlsplit(flag).password:
                raise InvalidValue("ps would show its password; use REDIS_URL or REDIS_URL_FILE")
        except InvalidValue as invalid:
            faults.append(_fault(source, option.type, str(text), invalid))
            is_usage = is_usage or flag is not None
    try:
        found["tokens"] = _tokens(values, found.get("token_file"))
    except ValueError as exc:
        faults.append(str(exc))
    if (found.get("tls_cert") is None) != (found.get("tls_key") is None):
        faults.append("--tls-cert and --tls-key: expected both or none")
    if faults:
        raise SettingsError(faults, is_usage)
    return Settings(**found)


def _tokens(values: Mapping[str, str], path: Path | None) -> Tokens:
    """Raises ValueError."""
    read, shared = tokens.read(path) if path else Tokens(), values.get("MASTER_TOKEN")
    if shared and not shared.isprintable():
        raise ValueError("MASTER_TOKEN: expected a text of printable characters")
    return Tokens(((None, shared), *read.entries)) if shared else read
