"""How often something may happen."""

import time


class Bucket:
    """A rate with a burst."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, time.monotonic()

    def take(self, count: float = 1) -> bool:
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < count:
            return False
        self._left -= count
        return True


class Rates:
    """A bucket for each address, or whatever else it is distinguished by."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: dict[str, Bucket] = {}

    def take(self, key: str) -> bool:
        if len(self._buckets) > 4096:
            self._buckets.clear()
        if key not in self._buckets:
            self._buckets[key] = Bucket(self._rate, self._burst)
        return self._buckets[key].take()
