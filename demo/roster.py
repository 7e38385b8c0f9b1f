"""Which masters are there: each counts a number of its own up in Redis, and looks whether the others' still grow."""

from __future__ import annotations

import logging
import time
from typing import Any

import redis

MASTERS = "failover:masters"
"""The key: a hash of each master's number."""
BEAT_S = 0.5
"""How often a number grows."""
SILENT_S = 2.0
"""A number that stands still for so long is that of a master that is gone."""
FORGOTTEN_S = 60
"""After so long it is removed."""

LOG = logging.getLogger("demo.master")


class Roster:
    def __init__(self, client: redis.Redis, name: str) -> None:
        self.name = name
        self.there = {name}
        """Those that are, this one included."""
        self.next_beat = time.monotonic()
        self._redis = client
        self._counter = 0
        self._known: dict[str, tuple[bytes, float]] = {}
        """Each one's number, and since when it stands there, by this machine's clock."""
        self._looked = self.next_beat

    def beat(self) -> None:
        """Show that this one is there. Raises redis.RedisError, as the others do."""
        self.next_beat = time.monotonic() + BEAT_S
        self._counter += 1
        self._redis.hset(MASTERS, self.name, str(self._counter))

    def look(self) -> None:
        numbers: Any = self._redis.hgetall(MASTERS)
        now = time.monotonic()
        # who did not look for so long saw no number grow
        before = self._known if now - self._looked < SILENT_S else {}
        self._looked, self._known = now, {}
        for key, number in numbers.items():
            name = key.decode("utf-8", "replace")
            known = before.get(name)
            self._known[name] = known if known and known[0] == number else (number, now)
        ages = {name: now - since for name, (_, since) in self._known.items()}
        for name in [name for name, age in ages.items() if age > FORGOTTEN_S]:
            self._redis.hdel(MASTERS, name)
        there = {name for name, age in ages.items() if age < SILENT_S} | {self.name}
        for name in there - self.there:
            LOG.info("master_there name=%s", name)
        for name in self.there - there:
            LOG.warning("master_gone name=%s: its workers have to join another", name)
        self.there = there

    def leave(self) -> None:
        self._redis.hdel(MASTERS, self.name)
