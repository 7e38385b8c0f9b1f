"""Which interfaces have been without carrier for too long to serve anybody."""

import math

from logging_setup import EventLogger

CARRIER_LOSS_S = 3.0
"""Seconds without carrier after which an interface counts as lost; a shorter flap moves nothing."""


class CarrierMonitor:
    """Times are monotonic seconds. Interfaces are those that were reported down and not up again."""

    def __init__(self, log: EventLogger) -> None:
        self._log = log
        self._down_since_s: dict[str, float] = {}
        self._lost: set[str] = set()

    def down(self, interface: str, now: float) -> None:
        """The interface has no carrier."""
        self._down_since_s.setdefault(interface, now)

    def up(self, interface: str, now: float) -> None:
        """The interface has a carrier."""
        since_s = self._down_since_s.pop(interface, now)
        if interface in self._lost:
            self._lost.discard(interface)
            self._log.info("carrier_restored", interface=interface, lost_s=now - since_s)

    def due_s(self) -> float:
        """When the next interface will count as lost, infinity: none is without carrier."""
        since = (since_s for name, since_s in self._down_since_s.items() if name not in self._lost)
        return min(since, default=math.inf) + CARRIER_LOSS_S

    def newly_lost(self, now: float) -> list[str]:
        """The interfaces that count as lost from now on."""
        lost = [
            name
            for name, since_s in self._down_since_s.items()
            if name not in self._lost and since_s + CARRIER_LOSS_S <= now
        ]
        for name in lost:
            self._lost.add(name)
            self._log.warning("carrier_lost", interface=name, lost_s=now - self._down_since_s[name])
        return lost
