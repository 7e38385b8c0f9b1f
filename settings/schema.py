"""Every setting, once: what is parsed, what `--help` says and what `.env.example` offers follow from it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Optional

from settings import files
from settings import types as values
from settings.types import Kind

NODE_MAY_HOLD = "the number of a node that NETWORK_CONFIG lists, such as 1"


@dataclass(frozen=True)
class Variable:
    """A setting: its name, the attribute of Config that it fills, and what it may hold.

    `default` is the text that an unset one has, "" where it has none; `unset` then says what counts instead.
    `beside` is a default's path, seen from the folder of client.py. Where several fill one attribute, the first
    that is set does.
    """

    name: str
    attribute: str
    kind: Kind
    meaning: str
    default: str = ""
    unset: str = "none"
    beside: Optional[str] = None
    required: bool = False


VARIABLES = (
    Variable(
        "NODE_ID",
        "node_id",
        Kind(NODE_MAY_HOLD, values.whole(1, 999_999_999).parse),
        "This node's number, as NETWORK_CONFIG lists it.",
        required=True,
    ),
    Variable(
        "PASSWORD",
        "password",
        values.secret(),
        "The local sudo password (Linux and macOS); needed only where the worker cannot change addresses by"
        " itself. PASSWORD_FILE keeps it out of the process's environment.",
    ),
    Variable(
        "PASSWORD_FILE",
        "password",
        files.secret_file(),
        "A file whose first line is the sudo password; PASSWORD comes first.",
    ),
    Variable(
        "MASTER_URL",
        "masters",
        values.master_urls(),
        "The master; several, separated by commas, are tried in order.",
        default="http://localhost:5000",
    ),
    Variable(
        "MASTER_TOKEN",
        "master_token",
        values.secret(),
        "The secret that this node and the master share.",
    ),
    Variable(
        "MASTER_TOKEN_FILE",
        "master_token",
        files.secret_file(),
        "A file whose first line is that secret; MASTER_TOKEN comes first.",
    ),
    Variable(
        "MASTER_CA_FILE",
        "master_ca_file",
        files.ca_file(),
        "The certificates (PEM) by which an https master is verified.",
        unset="the system's",
    ),
    Variable(
        "INTERFACE",
        "interface",
        values.interface(),
        "Where addresses are added.",
        unset="the one whose subnet holds the address",
    ),
    Variable(
        "NETWORK_CONFIG",
        "neighbors",
        files.neighbours(),
        "A file with a line for each node: its number and its neighbours', separated by commas.",
        unset="network_config.txt in the folder of client.py",
        beside="network_config.txt",
    ),
    Variable(
        "ALLOWED_NETWORKS",
        "allowed_networks",
        values.networks(),
        "The networks from which an address may be taken over.",
        unset="the interface's own subnets",
    ),
    Variable(
        "VIP_BACKEND",
        "vip_backend",
        values.backend(),
        "How addresses are added; simulated only pretends, for demos and tests.",
        default="auto",
    ),
    Variable(
        "ADDRESS_LEASE",
        "address_lease_s",
        values.whole(3, 86400, or_zero=True),
        "Seconds for which the kernel lends an address, renewed while the worker is well; 0: no lease.",
        default="10",
    ),
    Variable(
        "MASTER_LOSS_RELEASE",
        "master_loss_release_s",
        values.seconds(),
        "Seconds without the master after which held addresses are given back; 0: they are kept.",
        default="0",
    ),
    Variable(
        "JOIN_INTERVAL",
        "join_interval_s",
        values.seconds(0.02, or_zero=True),
        "Seconds between joins that refresh the master's memory; 0: only on connect.",
        default="60",
    ),
    Variable(
        "CONFLICT_PROBE",
        "conflict_probe_s",
        values.seconds(),
        "Seconds spent asking the wire for an address's user before it is taken; 0: nobody is asked.",
        default="0.2",
    ),
    Variable(
        "CONFLICT_WAIT",
        "conflict_wait_s",
        values.seconds(),
        "Seconds that an order waits for a living owner to fall silent; 0: it is refused at once.",
        default="30",
    ),
    Variable(
        "PING_INTERVAL",
        "ping_interval_s",
        values.seconds(0.02),
        "Seconds between keep-alive pings.",
        default="2",
    ),
    Variable(
        "PING_TIMEOUT",
        "ping_timeout_s",
        values.seconds(0.02),
        "Seconds that a ping's answer may take.",
        default="2",
    ),
    Variable(
        "PING_MAX_MISSED",
        "ping_max_missed",
        values.whole(1, 1000),
        "Missed pings in a row after which the connection is made anew.",
        default="3",
    ),
    Variable(
        "RECONNECT_DELAY",
        "reconnect_delay_s",
        values.seconds(0.02),
        "Seconds before the first try to reconnect, at most; doubled from try to try.",
        default="0.5",
    ),
    Variable(
        "RECONNECT_DELAY_MAX",
        "reconnect_delay_max_s",
        values.seconds(0.02),
        "Seconds beyond which that delay does not grow.",
        default="10",
    ),
    Variable(
        "LOG_DIR",
        "log_dir",
        files.log_folder(),
        "The folder of ping.log and comms.log; made when missing.",
        unset="the folder of client.py",
        beside=".",
    ),
    Variable(
        "LOG_LEVEL",
        "log_level",
        values.one_of({level: level for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}),
        "The lowest level that both logs write.",
        default="INFO",
    ),
    Variable(
        "LOG_MAX_BYTES",
        "log_max_bytes",
        values.whole(0),
        "The size at which a log is rotated; 0: never, another program does it.",
        default="10485760",
    ),
    Variable("LOG_BACKUP_COUNT", "log_backup_count", values.whole(0), "Rotated files to keep.", default="5"),
    Variable(
        "LOG_CONSOLE",
        "log_console",
        values.one_of({"0": False, "1": True}),
        "1: stderr repeats both logs; 0: it is silent after the start.",
        default="1",
    ),
    Variable(
        "METRICS_FILE",
        "metrics_file",
        files.metrics_file(),
        "A Prometheus textfile, rewritten every 15 s.",
    ),
)


def describe() -> str:
    """Every variable with its default, its meaning and what it may hold, for `--help`."""
    text = [
        "Settings come from the environment, then from .env in the folder of client.py (or from --env-file),",
        "then from these defaults. An empty variable counts as unset. Relative paths start at the current folder.",
        "PASSWORD and MASTER_TOKEN come from the environment, from the file that the environment names, from a",
        "credential of that name in $CREDENTIALS_DIRECTORY (systemd's LoadCredential=), or from .env, in this order.",
    ]
    for variable in VARIABLES:
        default = "required" if variable.required else f"default: {variable.default or variable.unset}"
        text += ["", f"  {variable.name} ({default})"]
        indent = " " * 6
        for sentence in (variable.meaning, f"It may hold {variable.kind.may_hold}."):
            text += textwrap.wrap(sentence, 98, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(text)
