"""`--check`: whether this machine and the masters are as the worker needs them; changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Optional

from attempt import Attempt, Down, Hooks, Target, Up
from config import Config
from connection import ATTEMPT_S
from logging_setup import NoLog
from network.choose import open_network
from network.interface import NetworkError
from node import Node


@dataclass(frozen=True)
class Item:
    """One line of the report; `text` ends in the remedy where `ok` is False."""

    ok: bool
    name: str
    text: str


def check(config: Config) -> int:
    """Print a line for each item; 0 when all is well, 1 when the machine or a master falls short."""
    good = True
    for item in items(config):
        print(f"{'ok  ' if item.ok else 'FAIL'} {item.name}: {item.text}", flush=True)
        good = good and item.ok
    return 0 if good else 1


def items(config: Config) -> Iterator[Item]:
    yield Item(
        True, "configuration", f"node {config.node_id}, neighbours {_list(config.neighbours[config.node_id])}"
    )
    yield Item(True, "logs", f"{config.log_dir} is writable")
    for text in config.warnings:
        yield Item(False, "configuration", text)
    yield from _machine(config)
    for url in config.masters:
        yield _master(Target(url, _auth(config), config.master_ca_file))


def _list(nodes: tuple[int, ...]) -> str:
    return ", ".join(map(str, nodes)) or "none"


def _auth(config: Config) -> Optional[dict[str, object]]:
    return {"token": config.master_token, "NODE_ID": config.node_id} if config.master_token else None


def _machine(config: Config) -> Iterator[Item]:
    log = NoLog()
    try:
        network = open_network(config.vip_backend, config.node_id, config.interface, config.address_lease_s)
        node = Node(config.node_id, (), config.interface, network, log)
        node.find(None)
    except NetworkError as exc:
        yield Item(False, "interface", str(exc))
        return
    if node.primary:
        text = f"{node.primary.interface}; neighbours will protect {node.primary.ip}, its first address"
        yield Item(True, "interface", text)
    else:
        yield Item(
            False, "interface", "no IPv4 address to protect; give an interface one, or name it by INTERFACE"
        )
    try:
        network.start(lambda _: None)
        network.close()
        yield Item(True, "addresses", f"can be changed by {network.backend}")
    except NetworkError as exc:
        yield Item(False, "addresses", str(exc))


def _master(target: Target) -> Item:
    """Connect as the worker would, without joining."""
    inbox: SimpleQueue[object] = SimpleQueue()
    attempt = Attempt(target, Hooks(inbox.put, lambda _: None, frozenset()), NoLog())
    began_s = time.monotonic()
    attempt.start()
    try:
        answer = inbox.get(timeout=ATTEMPT_S)
    except Empty:
        answer = None
    attempt.leave(0.5)
    name = f"master {target.url}"
    if isinstance(answer, Up):
        took_ms = (time.monotonic() - began_s) * 1000
        return Item(True, name, f"accepts by {answer.transport} in {took_ms:.0f} ms")
    why = (
        str(answer.failure) if isinstance(answer, Down) else f"no answer in {ATTEMPT_S:g} s, {attempt.phase}"
    )
    return Item(False, name, why)
