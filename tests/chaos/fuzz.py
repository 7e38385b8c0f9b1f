"""What is read from outside, given anything: log lines, orders, settings. Nothing but their named errors may come.

Each target is a test of hypothesis'; `for_a_while` repeats it with other examples until its time is over.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import config
from failover.orders import OrderError, check_address, parse_recover, parse_restore, refusal
from logs.format import LineError, format_line, parse_line
from network.base import Address
from settings.schema import VARIABLES

BATCH = 300
"""Examples that share a seed."""
calm = settings(
    max_examples=BATCH, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
)

# log lines

levels = st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
names = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
pieces = st.sampled_from(
    ["[", "]", " ", "=", '"', "\\", "\\n", "\\x1b", "\\ud800", "\n", "\r", "\x1b[2J", "\0", "\u2028", "\u202e", "\ud800",
     "a=b", 'k="v"', "…(3 bytes left out)", "]\n[", " - [", "] : [", "+0000", "-1400", "+9999", "INFO", "é", "\U0001f600"]
)  # fmt: skip
texts = st.text() | st.lists(pieces | st.text(max_size=5)).map("".join)
values = texts | st.builds(lambda text, times: text * times, texts, st.integers(2, 900))
moments = st.builds(
    lambda when, minutes: when.replace(tzinfo=timezone(timedelta(minutes=minutes)), microsecond=0),
    st.datetimes(datetime(1000, 1, 1), datetime(9998, 1, 1)),
    st.integers(-1439, 1439),
)


@calm
@given(moments, levels, names, st.dictionaries(keys, values, max_size=5), st.data())
def log_lines(when: datetime, level: str, event: str, fields: dict[str, str], data: st.DataObject) -> None:
    line = format_line(when, level, event, fields)
    assert len(line.encode()) <= 4096
    assert "\n" not in line
    entry = parse_line(line)
    assert (entry.when, entry.level, entry.event) == (when, level, event)
    if entry.left_out:
        assert entry.fields.keys() == fields.keys()
        assert all(fields[key].startswith(value) for key, value in entry.fields.items())
    else:
        assert entry.fields == fields
    # and with something amiss
    at = data.draw(st.integers(0, len(line)))
    until = data.draw(st.integers(at, min(len(line), at + 20)))
    try:
        changed = parse_line(line[:at] + data.draw(texts) + line[until:])
    except LineError:
        return
    if changed.when.year < 1000:
        return  # strftime(3) writes fewer than four digits
    again = parse_line(format_line(changed.when, changed.level, changed.event, changed.fields))
    if not changed.left_out and not again.left_out:
        assert again == changed


# orders

NODES = frozenset(range(1, 10))
HERE = (Address("eth0", IPv4Interface("10.9.0.3/24")), Address("eth0", IPv4Interface("10.9.0.4/24"), owner=4))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
numbers = st.integers(-1, 11) | st.integers(0, 11).map(str) | st.integers(0, 11).map(float)
ips = st.ip_addresses().map(str) | st.integers(0, 255).map("10.9.0.{}".format) | texts
masks = st.integers(0, 32).map(lambda bits: str(IPv4Network((0, bits)).netmask)) | ips
orders = st.fixed_dictionaries(
    {},
    optional={
        "disconnected_node": numbers | json_values,
        "recovery_node": st.just("3") | json_values,
        "ip": ips | json_values,
        "netmask": masks | json_values,
        "active_neighbors": st.lists(st.integers(1, 9).map(str)) | json_values,
        "restore_node": numbers | json_values,
        "secondary_ip": json_values,
        "error": json_values,
    },
)
valid_enough = st.builds(
    lambda owner, ip, mask: {
        "disconnected_node": owner, "recovery_node": "3", "ip": ip, "netmask": mask, "active_neighbors": [],
    },
    st.integers(1, 9), ips, masks,
)  # fmt: skip
networks = st.none() | st.lists(
    st.builds(
        lambda ip, bits: IPv4Network((int(ip), bits), strict=False), st.ip_addresses(v=4), st.integers(0, 32)
    )
).map(tuple)


@calm
@given(orders | valid_enough | st.dictionaries(texts, json_values), networks)
def order_parser(data: dict[str, Any], allowed: Any) -> None:
    try:
        order = parse_recover(data, 3, NODES, 0.0)
    except OrderError as exc:
        _refused(data, exc)
    else:
        assert type(order.owner) is int
        assert order.owner in NODES - {3}
        assert (str(order.ip.ip), str(order.ip.netmask)) == (data["ip"], data["netmask"])
        try:
            check_address(order.ip, HERE, frozenset({IPv4Address("10.9.0.1")}), allowed)
        except OrderError as exc:
            _refused(data, exc)
        else:
            assert order.ip.ip not in (IPv4Address("10.9.0.3"), IPv4Address("10.9.0.1"))
            within = (IPv4Network("10.9.0.0/24"),) if allowed is None else allowed
            assert any(order.ip.network.subnet_of(network) for network in within)
    try:
        assert parse_restore(data, 3, NODES) in NODES - {3}
    except OrderError as exc:
        _refused(data, exc)


def _refused(data: dict[str, Any], exc: OrderError) -> None:
    """The reason is short, and the answer can be sent."""
    assert 0 < len(str(exc)) < 2000
    answer = refusal(data, str(exc))
    assert "secondary_ip" not in answer
    assert answer["error"] == str(exc)
    json.dumps(answer)


# settings

# without a slash, so that none leads out of the folder
words = st.text(st.characters(blacklist_characters="/"), max_size=40) | st.sampled_from(
    [
        "0",
        "10",
        "-1",
        "nan",
        "1e9",
        "٣",
        "~",
        "",
        " ",
        "simulated",
        "1,2",
        "http:",
        "\0",
        "${HOME}",
        "'",
        '"',
        "#",
        "\ufeff",
    ]
)
variables = st.sampled_from([variable.name for variable in VARIABLES] + ["MASTER_URLS", "node_id"])
env_lines = st.builds(
    lambda name, sign, value, end: f"{name}{sign}{value}{end}".encode("utf-8", "surrogatepass"),
    variables | words, st.sampled_from(["=", " = ", "", ":", "=="]), words, st.sampled_from(["\n", "\r\n", "", "\r"]),
)  # fmt: skip
env_files = st.lists(env_lines | st.binary(max_size=30), max_size=8).map(
    lambda lines: b"".join(lines).replace(b"/", b"")
)


@calm
@given(
    st.dictionaries(variables, words),
    env_files | env_files.map(lambda data: data.decode("latin-1").encode("utf-16")),
)
def settings_of_any_kind(environ: dict[str, str], env_file: bytes) -> None:
    Path("any.env").write_bytes(env_file)
    for settled in (environ, {"NODE_ID": "3", **environ, "LOG_DIR": "logs"}):
        try:
            found = config.load(settled, Path("any.env"))
        except config.ConfigError as exc:
            assert exc.faults
            assert all(fault.isprintable() and len(fault) < 800 for fault in exc.faults)
        else:
            assert isinstance(found, config.Config)


TARGETS: dict[str, Callable[[], None]] = {
    "log lines": log_lines,
    "orders": order_parser,
    "settings": settings_of_any_kind,
}


def for_a_while(target: Callable[[], None], seed: int, seconds: float) -> int:
    """Examples that were tried; what fails is raised, with the examples that show it."""
    end_s = time.monotonic() + seconds
    batches = 0
    back = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.chdir(folder)
        try:
            while time.monotonic() < end_s:
                hypothesis.seed(f"{seed}:{batches}")(target)()
                batches += 1
        finally:
            os.chdir(back)
    return batches * BATCH
