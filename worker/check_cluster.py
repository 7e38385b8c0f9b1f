"""`--check` of what a master knows of the cluster: whether this number is alive elsewhere, and the neighbors the same."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any

from config import Config
from connection.dial import Dialer, Target
from connection.errors import Failure
from connection.payload import loads
from connection.resolve import Resolver
from network.base import Address
from worker.check_item import Item
from worker.check_master import ask

LIMIT = 4 << 20
"""Bytes of /json that are read."""
TIMEOUT_S = 3.0
SHOWN = 5
"""Nodes that are named."""


def cluster_items(config: Config, target: Target, own: Address | None) -> Iterator[Item]:
    """What the master's /json says of this node's number, and of the neighbors in network_config.txt.

    `own` is the address that this node joins with, None: not known. A master without /json is no fault.
    """
    name = f"master {target.url}"
    token = (target.auth or {}).get("token")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    dialer = Dialer(target, Resolver())
    try:
        answer = ask(dialer, "/json", TIMEOUT_S, headers=headers, limit=LIMIT)
        data = loads(answer.body)
        active, inactive = (
            {number: node for number, node in data[key].items() if isinstance(node, dict)}
            for key in ("active", "inactive")
        )
    except Failure as failure:
        yield Item(True, f"{name} nodes", f"it does not list its nodes: {failure}")
    except (AttributeError, KeyError, TypeError, ValueError):
        text = (
            f"it does not list its nodes: HTTP {answer.status} for /json, without active and inactive nodes"
        )
        yield Item(True, f"{name} nodes", text)
    else:
        yield _number_item(f"{name} NODE_ID", config.node_id, active, own)
        yield _neighbors_item(f"{name} NETWORK_CONFIG", config, {**inactive, **active})


def _number_item(name: str, number: int, active: Mapping[str, Any], own: Address | None) -> Item:
    node = active.get(str(number))
    if node is None:
        return Item(True, name, f"no node {number} is connected there")
    system, address = node.get("system"), node.get("primary_ip")
    same_address = own is None or address is None or address == str(own.ip.ip)
    if system == socket.gethostname() and same_address:
        return Item(True, name, f"node {number} is connected there as this machine's worker ({address})")
    text = f"node {number} is alive there as another machine: {address} ({system})"
    return Item(False, name, text, f"give this machine or {address} another NODE_ID")


def _neighbors_item(name: str, config: Config, nodes: Mapping[str, Any]) -> Item:
    here = {str(number): " ".join(map(str, neighbors)) for number, neighbors in config.neighbors.items()}
    differing = []
    for number, node in sorted(nodes.items(), key=lambda pair: (len(pair[0]), pair[0])):
        neighbors = node.get("neighbors")
        if not isinstance(neighbors, list):
            continue
        there = " ".join(map(str, neighbors))
        if number not in here:
            differing.append(f"node {number} is not in this machine's file")
        elif there != here[number]:
            differing.append(f"node {number} has {there or 'none'} there and {here[number] or 'none'} here")
    if not differing:
        text = f"its {len(nodes)} nodes joined with the neighbors that this machine's file lists"
        return Item(True, name, text)
    more = f", and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
    text = f"the neighbors that nodes joined with differ: {', '.join(differing[:SHOWN])}{more}"
    return Item(False, name, text, "put the same network_config.txt on every node, and restart the workers")
