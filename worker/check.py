"""`--check`: whether the settings, this machine and the masters are as the worker needs them; changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from config import Config
from logs.redact import Redactor
from settings.types import printable
from worker.assembly import insecure_masters, targets_of, warnings_of
from worker.check_machine import Item, account_items, disk_item, machine_items
from worker.check_master import cluster_items, master_items


def check(config: Config, *, as_json: bool = False, account: int | None = None) -> int:
    """Print a line for each item as it becomes known, or all of them as one JSON object.

    `account` is the user id that the worker runs as, None: the owner of LOG_DIR. Returns 0 when all is well, 1 when the
    machine or a master falls short.
    """
    redact = Redactor(config.secrets)
    found = []
    for raw in items(config, account):
        item = _clean(raw, redact)
        found.append(item)
        if not as_json:
            remedy = f"; {item.remedy}" if item.remedy and not item.ok else ""
            print(f"{'ok  ' if item.ok else 'FAIL'} {item.name}: {item.text}{remedy}", flush=True)
    if as_json:
        print(report(found), flush=True)
    return 0 if all(item.ok for item in found) else 1


def report(found: Sequence[Item]) -> str:
    """The items for scripts, as one JSON object; `remedy` is null where none is needed."""
    rows = [{**asdict(item), "remedy": None if item.ok else item.remedy} for item in found]
    return json.dumps({"ok": all(item.ok for item in found), "items": rows}, indent=1, ensure_ascii=False)


def items(config: Config, account: int | None = None) -> Iterator[Item]:
    """Every item, as it becomes known."""
    warnings = warnings_of(config)
    yield from settings_items(warnings)
    if not warnings:
        neighbors = ", ".join(map(str, config.neighbors[config.node_id])) or "none"
        yield Item(True, "configuration", f"node {config.node_id}, neighbors {neighbors}")
    for url, reason in insecure_masters(config):
        token = ", MASTER_TOKEN too" if config.master_token else ""
        yield Item(
            True, f"master {url} privacy", f"{reason}: all can be read on the way{token}; https would hide it"
        )
    yield Item(True, "logs", f"{config.log_dir} is writable")
    yield disk_item(config)
    # before any thread is started: it acts as another user in a child process
    privileged = True
    for item in account_items(config, account):
        privileged &= item.ok or item.name != "privilege"
        yield item
    accepted = []
    for target in targets_of(config):
        connected = yield from master_items(target)
        if connected:
            accepted.append((target, connected))
    own = yield from machine_items(config, accepted[0][1] if accepted else None, privileged=privileged)
    for target, _ in accepted:
        yield from cluster_items(config, target, own)


def settings_items(lines: Sequence[str]) -> list[Item]:
    """What is wrong with the settings; each line ends with its remedy."""
    parts = (line.rpartition("; ") for line in lines)
    return [Item(False, "configuration", what, remedy) for what, _, remedy in parts]


def _clean(item: Item, redact: Callable[[str], str]) -> Item:
    """Without secrets and terminal escapes: some of it comes from a master."""
    name, text, remedy = (printable(redact(part)) for part in (item.name, item.text, item.remedy))
    return Item(item.ok, name, text, remedy)
