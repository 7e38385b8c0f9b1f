"""Finding a host that answers for addresses that nobody has: proxy ARP (RFC 1027), or ARP suppression of a switch.

It would pass for the owner of every address that is to be taken over or held.
"""

import random
import time
from ipaddress import IPv4Address
from queue import Empty, SimpleQueue

from network.base import Address, ArpSeen, Network

STRANGERS = 4
"""Addresses that are asked for."""
_ROUNDS, _ROUND_S = 3, 0.3
_CANDIDATES = 50


def strangers(network: Network, own: Address) -> tuple[IPv4Address, ...]:
    """Up to 4 addresses of the subnet of `own` that nobody is known to use; fewer where it is too small."""
    there = {address.ip.ip for address in network.addresses()}
    there.update(gateway for _, gateway in network.default_routes() if gateway)
    size = max(min(own.ip.network.num_addresses - 2, 1 << 16), 0)
    offsets = random.sample(range(1, size + 1), min(size, _CANDIDATES))
    found = (own.ip.network.network_address + offset for offset in offsets)
    unused = [ip for ip in found if ip not in there and network.last_seen(own.interface, ip).mac is None]
    return tuple(unused[:STRANGERS])


def answers_for_all(
    network: Network, own: Address, asked: tuple[IPv4Address, ...], heard: SimpleQueue[object]
) -> str | None:
    """The MAC that answers for each of `asked`, None: no host does, in 0.9 s. `heard` gets the events of the network, which
    was started. Raises NetworkError. Requests are ordinary ones: Linux's proxy_arp leaves probes (RFC 5227) unanswered.
    """
    network.watch(frozenset(asked))
    answers: dict[str, set[IPv4Address]] = {}
    for _ in range(_ROUNDS):
        for ip in asked:
            network.probe(own.interface, ip, own.ip.ip)
        end_s = time.monotonic() + _ROUND_S
        while (left_s := end_s - time.monotonic()) > 0:
            try:
                event = heard.get(timeout=left_s)
            except Empty:
                break
            if isinstance(event, ArpSeen) and event.sender_ip in asked:
                answers.setdefault(event.sender_mac, set()).add(event.sender_ip)
    return next((mac for mac, ips in answers.items() if ips == set(asked)), None)
