"""Whether this process, or its machine, stood still: found by comparing clocks."""

from __future__ import annotations

import math
import time

LATE_S = 1.5
"""Lateness, in seconds, that scheduling on a busy machine stays below."""


class SuspendDetector:
    """Compares the monotonic clock with the one that also runs in suspend, and with the wall clock."""

    def __init__(self) -> None:
        self._suspended_s = _suspended_s()
        self._called_s = math.inf
        self._wall_s = time.time() - time.monotonic()

    def stood_still(self, expected_s: float, turn_s: float) -> str | None:
        """Why the time since the last call may have been lost, None: it was not.

        `expected_s` is the monotonic time at which the call should come at the latest, `turn_s` the longest time
        since the last one. The wall clock alone may just have been set; believing the worst costs nothing.
        """
        now = time.monotonic()
        called_s, self._called_s = self._called_s, now
        suspended_s, self._suspended_s = self._suspended_s, _suspended_s()
        wall_s, self._wall_s = self._wall_s, time.time() - now
        # the second, for a process that stood still before it had worked out when it would call
        late_s = max(now - expected_s, now - called_s - turn_s)
        if late_s > LATE_S:
            return f"the process stood still for {late_s:.1f} s"
        if self._suspended_s - suspended_s > LATE_S:
            return f"the machine was suspended for {self._suspended_s - suspended_s:.1f} s"
        if self._wall_s - wall_s > LATE_S:
            return f"the wall clock went forward by {self._wall_s - wall_s:.1f} s"
        return None


def _suspended_s() -> float:
    """Seconds for which the machine was suspended since it booted (Linux: clock_gettime(2)); elsewhere 0."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if clock is None else time.clock_gettime(clock) - time.monotonic()
