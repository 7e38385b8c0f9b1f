"""Notices that the way to a master has changed, while there is no connection to one."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

LOOK_S = 0.5
"""Seconds between two looks."""
ANYWHERE = "198.51.100.1"
"""Stands for a master that is given by name: the way there is the default route (RFC 5737, never a real host)."""


class RouteWatch:
    """Asks the kernel which of this machine's addresses it would use for each master; that sends nothing."""

    def __init__(self, urls: Iterable[str]) -> None:
        self._urls = tuple(urls)
        self._looked_s = -math.inf
        self._ways: list[str | None] = []

    def changed(self, now: float) -> bool:
        """Whether a way is another one than at the last look, or is there again. `now` is monotonic."""
        if now < self._looked_s + LOOK_S:
            return False
        self._looked_s = now
        before, self._ways = self._ways, [_way(url) for url in self._urls]
        return any(way is not None and way != old for way, old in zip(self._ways, before, strict=False))


def _way(url: str) -> str | None:
    """The own address that packets to a master would have; None: there is no route."""
    address = urlsplit(url).hostname or ""
    try:
        ip_address(address)
    except ValueError:
        address = ANYWHERE
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None
