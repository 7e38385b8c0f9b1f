"""`--check`: whether this machine and the masters are as the worker needs them; changes nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from queue import Empty, SimpleQueue

from attempt import Attempt, Down, Hooks, Target, Up
from config import Config
from connection import ATTEMPT_S
from logging_setup import NoLog
from network.choose import resolve
from network.interface import Address, ArpSeen, Network, NetworkError
from node import Node
from parts import network_of, targets_of

STRANGERS, STRANGER_S = 4, 0.9
"""Addresses that are asked for to find proxy ARP, and the seconds spent on it."""


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
    for target in targets_of(config):
        yield _master(target)


def _list(nodes: tuple[int, ...]) -> str:
    return ", ".join(map(str, nodes)) or "none"


def _machine(config: Config) -> Iterator[Item]:
    log = NoLog()
    try:
        backend, why = resolve(config.vip_backend)
        yield Item(True, "backend", f"{backend}: {why}")
        network = network_of(config)
        node = Node(config.node_id, (), config.interface, network, log)
        node.find(None)
    except NetworkError as exc:
        yield Item(False, "interface", str(exc))
        return
    if node.primary:
        why = (
            "INTERFACE names it"
            if config.interface
            else "it has the default route, or is the first with an address"
        )
        text = (
            f"{node.primary.interface} ({why}); neighbours will protect {node.primary.ip}, its first address"
        )
        yield Item(True, "interface", text)
    else:
        where = f"{config.interface} has" if config.interface else "this machine has"
        yield Item(False, "interface", f"{where} no IPv4 address to protect; add one, or set INTERFACE")
    heard: SimpleQueue[object] = SimpleQueue()
    try:
        network.start(heard.put)
        yield Item(True, "privilege", f"addresses can be changed by {network.backend}")
        if node.primary and network.backend != "simulated":
            yield _nobody_answers_for_all(network, node.primary, heard)
    except NetworkError as exc:
        yield Item(False, "privilege", str(exc))
    finally:
        network.close()


def _nobody_answers_for_all(network: Network, own: Address, heard: SimpleQueue[object]) -> Item:
    """Ask for a few addresses that nobody should have: one MAC that answers for all of them is proxy ARP
    (RFC 1027), and then every takeover would be refused.
    """
    there = {address.ip.ip for address in network.addresses()} | network.gateways()
    size = min(own.ip.network.num_addresses - 2, 1 << 16)
    picked = random.sample(range(1, size + 1), min(size, 50)) if size > 0 else []
    candidates = [own.ip.network.network_address + offset for offset in picked]
    asked = [ip for ip in candidates if ip not in there and network.last_mac(own.interface, ip) is None][
        :STRANGERS
    ]
    if len(asked) < STRANGERS:
        return Item(True, "proxy ARP", f"{own.ip.network} is too small to tell")
    network.watch(frozenset(asked))
    answers: dict[str, set[IPv4Address]] = {}
    for _ in range(3):
        for ip in asked:
            network.probe(own.interface, ip)
        end_s = time.monotonic() + STRANGER_S / 3
        while (left_s := end_s - time.monotonic()) > 0:
            try:
                event = heard.get(timeout=left_s)
            except Empty:
                break
            if isinstance(event, ArpSeen) and event.sender_ip in asked:
                answers.setdefault(event.sender_mac, set()).add(event.sender_ip)
    for mac, ips in answers.items():
        if len(ips) == len(asked):
            text = (
                f"{mac} answers for addresses that nobody has ({', '.join(map(str, sorted(ips)))}): takeovers would be "
                "refused for ever; switch off proxy ARP or ARP suppression for this segment"
            )
            return Item(False, "proxy ARP", text)
    return Item(True, "proxy ARP", f"nobody answers for {STRANGERS} addresses that nobody should have")


def _master(target: Target) -> Item:
    """Connect as the worker would, without joining."""
    inbox: SimpleQueue[object] = SimpleQueue()
    hooks = Hooks(inbox.put, lambda _order, _limit_s: True, lambda _ack_id: None)
    attempt = Attempt(target, hooks, NoLog())
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
