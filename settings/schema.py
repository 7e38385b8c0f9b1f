"""Every setting, once: parsing, `--help`, docs/settings.md and `.env.example` follow from the fields of Config."""

# ruff: noqa: RUF009 - setting() returns a field, as dataclasses.field() does

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from settings import files
from settings.types import (
    DAY_S,
    ValueType,
    backend,
    interface,
    master_urls,
    networks,
    node_number,
    one_of,
    seconds,
    secret,
    whole,
)

REQUIRED = "(required)"
NONE = "(none)"
_DURATION, _INTERVAL, _COUNT = seconds(), seconds(0.02), whole(0)
_LEVELS = one_of({level: level for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")})
_SWITCH = one_of({"0": False, "1": True})


@dataclass(frozen=True)
class Variable:
    """A setting of the environment, and the attribute of Config that it fills.

    `default` is the text that counts where it is unset; in parentheses: what happens then; `./…`: a path next to
    client.py.
    """

    name: str
    type: ValueType
    default: str
    meaning: str
    attribute: str = ""

    @property
    def default_text(self) -> str:
        """The default for people."""
        if self.default == "./":
            return "the folder of client.py"
        if self.default.startswith("./"):
            return f"{self.default[2:]} next to client.py"
        return self.default.strip("()")

    @property
    def default_value(self) -> str:
        """The default as a value of its own, "" if it is none."""
        return "" if self.default.startswith(("(", "./")) else self.default


def setting(name: str, value_type: ValueType, default: str, meaning: str) -> Any:
    """A field of Config with its variable; a secret has a second one, NAME_FILE."""
    rows = [Variable(name, value_type, default, meaning)]
    if value_type is secret:
        meaning = f"A file whose first line is that secret; {name} wins over it."
        rows.append(Variable(f"{name}_FILE", files.secret_file, default, meaning))
    return field(metadata={"variables": rows}, repr=value_type is not secret)


@dataclass(frozen=True)
class Config:
    """What the worker runs with. Names that end in `_s` are seconds.

    `neighbors` is the whole of NETWORK_CONFIG: each node with its neighbors. `masters` has URLs without a trailing
    slash. None means: no `password`, no `master_token`, no `notify_command`, no `metrics_file`; for `master_ca_file`
    the system's CAs; for `interface` the one whose subnet contains the address; for `allowed_networks` the
    interface's own subnets. `conflict_wait_s` is 0 without a probe, since nobody is then found to wait for.
    `log_dir` exists. `warnings` are lines for the log; `paths` are the files that were read, each with its variable.
    """

    node_id: int = setting("NODE_ID", node_number, REQUIRED, "This node's number.")
    password: str | None = setting(
        "PASSWORD", secret, NONE, "The sudo password, needed only to change addresses by sudo."
    )
    masters: tuple[str, ...] = setting(
        "MASTER_URL", master_urls, "http://localhost:5000", "The master; several are tried in order."
    )
    master_token: str | None = setting(
        "MASTER_TOKEN", secret, NONE, "The secret that this node shares with the master."
    )
    master_ca_file: Path | None = setting(
        "MASTER_CA_FILE", files.ca_file, "(the system's)", "CA certificates that verify an https master."
    )
    interface: str | None = setting(
        "INTERFACE",
        interface,
        "(the one whose subnet contains the address)",
        "The interface on which addresses are added.",
    )
    neighbors: Mapping[int, tuple[int, ...]] = setting(
        "NETWORK_CONFIG",
        files.neighbors,
        "./network_config.txt",
        "A file with one line per node and its neighbors.",
    )
    allowed_networks: tuple[IPv4Network, ...] | None = setting(
        "ALLOWED_NETWORKS",
        networks,
        "(the interface's subnets)",
        "The networks from which an address may be taken over.",
    )
    vip_backend: str = setting(
        "VIP_BACKEND", backend, "auto", "How addresses are changed; simulated: in memory only."
    )
    address_lease_s: int = setting(
        "ADDRESS_LEASE",
        whole(3, DAY_S, or_zero=True),
        "10",
        "Seconds of kernel lifetime of a held address, renewed by the worker; 0: no lease.",
    )
    master_loss_release_s: float = setting(
        "MASTER_LOSS_RELEASE",
        _DURATION,
        "0",
        "Seconds without a master after which held addresses are released; 0: never.",
    )
    join_interval_s: float = setting(
        "JOIN_INTERVAL", seconds(0.02, or_zero=True), "60", "Seconds between joins; 0: only on connect."
    )
    conflict_probe_s: float = setting(
        "CONFLICT_PROBE", _DURATION, "0.2", "Seconds of ARP probing before an address is taken; 0: none."
    )
    conflict_wait_s: float = setting(
        "CONFLICT_WAIT",
        _DURATION,
        "30",
        "Seconds that an order waits for a live owner to fall silent; 0: it is refused at once.",
    )
    ping_interval_s: float = setting("PING_INTERVAL", _INTERVAL, "2", "Seconds between keep-alive pings.")
    ping_timeout_s: float = setting(
        "PING_TIMEOUT", _INTERVAL, "2", "Seconds within which a ping must be answered."
    )
    ping_max_missed: int = setting(
        "PING_MAX_MISSED", whole(1, 1000), "3", "Missed pings in a row until the connection is made anew."
    )
    reconnect_delay_s: float = setting(
        "RECONNECT_DELAY", _INTERVAL, "0.5", "Seconds at most before the first new attempt; then doubled."
    )
    reconnect_delay_max_s: float = setting(
        "RECONNECT_DELAY_MAX", _INTERVAL, "2", "Seconds beyond which that delay does not grow."
    )
    notify_command: Path | None = setting(
        "NOTIFY_COMMAND",
        files.executable,
        NONE,
        "A program to run after each change of an address, with `taken`, `released` or `lost`, node, address and interface.",
    )
    log_dir: Path = setting(
        "LOG_DIR", files.log_folder, "./", "The folder of ping.log and comms.log, created if missing."
    )
    log_level: str = setting("LOG_LEVEL", _LEVELS, "INFO", "The lowest level that both logs record.")
    log_max_bytes: int = setting(
        "LOG_MAX_BYTES", _COUNT, "10485760", "The size in bytes at which a log is rotated; 0: never."
    )
    log_backup_count: int = setting("LOG_BACKUP_COUNT", _COUNT, "5", "How many rotated files are kept.")
    log_console: bool = setting(
        "LOG_CONSOLE", _SWITCH, "1", "1: stderr repeats both logs; 0: it is silent after the start."
    )
    metrics_file: Path | None = setting(
        "METRICS_FILE", files.metrics_file, NONE, "A Prometheus textfile, rewritten every 15 s."
    )
    warnings: tuple[str, ...] = ()
    paths: tuple[tuple[str, Path], ...] = field(default=(), compare=False)
    proxy_passwords: tuple[str, ...] = field(default=(), repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log and no error message may contain."""
        own = (self.password, self.master_token)
        return (*(secret for secret in own if secret is not None), *self.proxy_passwords)


VARIABLES = tuple(
    replace(row, attribute=attribute.name)
    for attribute in fields(Config)
    for row in attribute.metadata.get("variables", ())
)


def describe() -> str:
    """Every variable with its default, its meaning and its valid values, for `--help`."""
    text = [
        "Settings come from the environment, then from .env next to client.py (or from --env-file), then from these",
        "defaults. An empty variable counts as unset. Relative paths start at the current folder.",
    ]
    for variable in VARIABLES:
        default = "" if variable.default == REQUIRED else "default: "
        text += ["", f"  {variable.name} ({default}{variable.default_text})"]
        for sentence in (variable.meaning, f"Expected: {variable.type.expected}."):
            text += textwrap.wrap(sentence, 98, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(text)
