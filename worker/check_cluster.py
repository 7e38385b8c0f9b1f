"""`--check` of what a master knows of the cluster: whether this number is alive elsewhere, and the neighbors the same."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from config import Config
from connection.dial import Dialer, Target
from connection.errors import Failure
from connection.payload import loads
from connection.polling import exchange
from connection.resolve import Resolver
from network.base import Address
from worker.check_item import Item

LIMIT = 4 << 20
"""Bytes of /json that are read."""
TIMEOUT_S = 3.0


def cluster_items(config: Config, target: Target, own: Address | None) -> Iterator[Item]:
    """What the master's /json says of this node's number, and of the neighbors in network_config.txt.

    `own` is the address that this node joins with, None: not known. A master without /json is no fault.
    """
    name = f"master {target.url}"
    nodes = _nodes(target)
    if isinstance(nodes, str):
        yield Item(True, f"{name} nodes", f"it does not list its nodes: {nodes}")
        return
    active, inactive = nodes
    yield _number_item(f"{name} NODE_ID", config.node_id, active, own)
    yield _neighbors_item(f"{name} NETWORK_CONFIG", config, {**inactive, **active})


def _nodes(target: Target) -> tuple[dict[str, Any], dict[str, Any]] | str:
    """The nodes that are alive and those that are dead, by number; a text: why they are not known."""
    token = (target.auth or {}).get("token")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        dialer = Dialer(target, Resolver(), time.monotonic() + TIMEOUT_S)
        answer = exchange(dialer, "GET", "/json", headers=headers, limit=LIMIT)
        if answer.status != HTTPStatus.OK:
            return f"HTTP {answer.status} for /json"
        data = loads(answer.body)
    except (OSError, HTTPException, Failure) as exc:
        return f"/json could not be read ({type(exc).__name__})"
    except ValueError:
        return "/json is not JSON"
    groups = [data.get(key) if isinstance(data, dict) else None for key in ("active", "inactive")]
    known = [group for group in groups if isinstance(group, dict)]
    if len(known) < len(groups):
        return "/json has no active and inactive nodes"
    active, inactive = (
        {number: node for number, node in group.items() if isinstance(node, dict)} for group in known
    )
    return active, inactive


def _number_item(name: str, number: int, active: Mapping[str, Any], own: Address | None) -> Item:
    node = active.get(str(number))
    if node is None:
        return Item(True, name, f"no node {number} is connected there")
    system, address = node.get("system"), node.get("primary_ip")
    same_system = system == socket.gethostname()
    same_address = own is None or address is None or address == str(own.ip.ip)
    if same_system and same_address:
        return Item(True, name, f"node {number} is connected there as this machine's worker ({address})")
    return Item(
        False,
        name,
        f"node {number} is alive there as another machine: {address} ({system})",
        f"give this machine or {address} another NODE_ID",
    )


def _neighbors_item(name: str, config: Config, nodes: Mapping[str, Any]) -> Item:
    differing = []
    for number, node in sorted(nodes.items(), key=lambda pair: (len(pair[0]), pair[0])):
        neighbors = node.get("neighbors")
        if (
            not number.isascii()
            or not number.isdecimal()
            or len(number) > 9
            or not isinstance(neighbors, list)
        ):
            continue
        there = [str(neighbor) for neighbor in neighbors]
        here = config.neighbors.get(int(number))
        if here is None:
            differing.append(f"node {number} is not in this machine's file")
        elif there != [str(neighbor) for neighbor in here]:
            differing.append(f"node {number} has {_list(there)} there and {_list(map(str, here))} here")
    if differing:
        more = f", and {len(differing) - 5} more" if len(differing) > 5 else ""
        text = f"the neighbors that nodes joined with differ: {', '.join(differing[:5])}{more}"
        return Item(
            False, name, text, "put the same network_config.txt on every node, and restart the workers"
        )
    return Item(
        True, name, f"its {len(nodes)} nodes joined with the neighbors that this machine's file lists"
    )


def _list(neighbors: Iterable[str]) -> str:
    return " ".join(neighbors) or "none"
