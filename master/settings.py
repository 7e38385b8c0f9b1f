"""The settings of `serve`, from flags, the environment and `.env`, in this order; every fault at once."""

# ruff: noqa: RUF009 - _option() returns a field, as dataclasses.field() does

import argparse
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
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


def default_env_file() -> Path:
    """`.env` beside master/, else that of the installed master."""
    beside = Path(__file__).resolve().parent.parent / ".env"
    return INSTALLED_ENV_FILE if not beside.exists() and os.access(INSTALLED_ENV_FILE, os.R_OK) else beside


class CommandError(Exception):
    """A command cannot do what it should; the text says why, without secrets."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        """`exit_code`: 2 where an argument is wrong, 78 (EX_CONFIG) where the environment or a file is."""
        super().__init__(text)
        self.exit_code = exit_code


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
    from redis import Redis  # its import takes 0.2 s

    try:
        Redis.from_url(text).connection_pool.make_connection()  # which connects to nothing yet
    except (ValueError, TypeError):
        raise InvalidValue("") from None
    return text


def _readable(text: str) -> Path:
    if not os.access(text, os.R_OK):
        raise InvalidValue("")
    return Path(text)


def _may_be_secret(text: str) -> bool:
    """Whether it may be the secret instead of its file's name; a URL with a password and a key have slashes too."""
    return secret_file.hides(text) or "://" in text or "-----BEGIN" in text


_file = expects("a file that can be read")(_readable)
_key_file = expects("a file that can be read", hides=_may_be_secret)(_readable)
_token_file = expects("a file with lines TOKEN or NODE_ID TOKEN", hides=_may_be_secret)(tokens.read)


@expects(f"a file with {_redis.expected}", hides=_may_be_secret)
def _redis_file(text: str) -> Any:
    return _redis.convert(secret_file.convert(text).strip())


@expects("printable characters", hides=lambda _: True)
def _token(text: str) -> str:
    if not text.isprintable():
        raise InvalidValue("")
    return text


_folder = expects("a folder")(Path)
_level = one_of({level: level for level in LEVELS})


@dataclass(frozen=True)
class Option:
    variable: str
    type: ValueType
    default: str | None
    help: str | None
    """None: there is no argument of that name."""


def _option(*row: Any) -> Any:
    """`row`: an Option's fields."""
    return field(metadata={"option": Option(*row)}, repr=False)


@dataclass(frozen=True)
class Settings:
    host: str = _option("MASTER_HOST", expects("a host")(str), "127.0.0.1", "the address to listen on")
    port: int = _option("MASTER_PORT", whole(0, 65535), "5000", "the port; 0: a free one")
    token: str | None = _option("MASTER_TOKEN", _token, None, None)
    token_file: Tokens = _option(
        "MASTER_TOKEN_FILE", _token_file, None, "lines TOKEN or NODE_ID TOKEN; MASTER_TOKEN: one for all"
    )
    tls_cert: Path | None = _option("MASTER_TLS_CERT", _file, None, "certificate (chain), PEM")
    tls_key: Path | None = _option("MASTER_TLS_KEY", _key_file, None, "its private key, PEM")
    redis: str | None = _option("REDIS_URL", _redis, None, "where several masters share their state")
    redis_file: str | None = _option("REDIS_URL_FILE", _redis_file, None, None)
    dead_after: float = _option(
        "MASTER_DEAD_AFTER", _SECONDS, "2.5", "after S seconds of silence a node is dead"
    )
    order_timeout: float = _option(
        "MASTER_ORDER_TIMEOUT",
        _SECONDS,
        "40",
        "an order is answered within S seconds; more than CONFLICT_WAIT",
    )
    nodes: frozenset[int] = _option("MASTER_NODES", _nodes, "1-9", "the numbers that may join")
    allowed_hosts: frozenset[str] = _option(
        "MASTER_ALLOWED_HOSTS", _names, "", "names by which it may be asked, besides this machine's own"
    )
    max_connections: int = _option("MASTER_MAX_CONNECTIONS", whole(16, 100_000), "1024", "connections in all")
    log_dir: Path | None = _option("MASTER_LOG_DIR", _folder, None, "also log to master.log in this folder")
    log_level: str = _option("MASTER_LOG_LEVEL", _level, "INFO", _level.expected)

    @property
    def tokens(self) -> Tokens:
        entries = self.token_file.entries if self.token_file else ()
        return Tokens(((None, self.token), *entries) if self.token else entries)


OPTIONS: dict[str, Option] = {each.name: each.metadata["option"] for each in fields(Settings)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--env-file", type=Path, default=default_env_file(), metavar="FILE", help="default: %(default)s"
    )
    for name, option in OPTIONS.items():
        if option.help:
            default = f"; default: {option.default}" if option.default else ""
            metavar = "S" if option.type is _SECONDS else name.rpartition("_")[2].upper()
            shown = f"{option.help} ({option.variable}{default})"
            parser.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=shown)


def environment(env_file: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`.env` and the environment, which wins; an empty variable counts as unset.

    Raises CommandError.
    """
    logging.getLogger("dotenv.main").setLevel(logging.CRITICAL)
    try:
        lines = dotenv_values(env_file, interpolate=False, encoding="utf-8-sig") if env_file.is_file() else {}
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandError(f"{env_file}: {exc}", 78) from None
    return {name: value for name, value in [*lines.items(), *environ.items()] if value}


def own_token(values: Mapping[str, str]) -> str | None:
    """The token of a client of the master, MASTER_TOKEN or the first in MASTER_TOKEN_FILE for all. Raises ValueError."""
    path = values.get("MASTER_TOKEN_FILE")
    if "MASTER_TOKEN" in values or path is None:
        return values.get("MASTER_TOKEN")
    read: Tokens = _parse("MASTER_TOKEN_FILE", _token_file, path)
    return min(read.entries, key=lambda entry: entry[0] is not None)[1]


def _parse(source: str, value_type: ValueType, text: str) -> Any:
    """Raises ValueError that says what is wrong, without a secret."""
    try:
        return value_type.parse(text)
    except InvalidValue as invalid:
        shown = "(not shown)" if value_type.hides(text) else quoted(text)
        reason = f": {invalid.faults[0].reason}" if invalid.faults[0].reason else ""
        raise ValueError(f"{source}: invalid value {shown}{reason}; expected {value_type.expected}") from None


def load(arguments: argparse.Namespace) -> Settings:
    """Raises CommandError with every fault, one a line."""
    values = environment(arguments.env_file)
    faults: list[str] = []
    is_usage = False
    found: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        flag = getattr(arguments, name, None)
        text = flag if flag is not None else values.get(option.variable, option.default)
        source = f"--{name.replace('_', '-')}" if flag is not None else option.variable
        try:
            found[name] = None if text is None else _parse(source, option.type, text)
            if name == "redis" and flag and urlsplit(flag).password:
                raise ValueError(f"{source}: ps would show its password; use REDIS_URL or REDIS_URL_FILE")
        except ValueError as exc:
            faults.append(str(exc))
            is_usage = is_usage or (flag is not None and option.type is not _token_file)
    if (found.get("tls_cert") is None) != (found.get("tls_key") is None):
        faults.append("--tls-cert and --tls-key: expected both or none")
    if faults:
        raise CommandError("\n".join(faults), 2 if is_usage else 78)
    return Settings(**found)
