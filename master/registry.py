"""Which masters are there: each counts a number of its own up in Redis, and looks whether the others' still grow."""

import time
from typing import Any

from redis.asyncio import Redis

from master.logs import info, warning

MASTERS = "failover:masters"
"""The key: a hash of each master's number."""
BEAT_S = 0.5
"""How often a number grows."""
SILENT_S = 2.0
"""A number that stands still for so long is that of a master that is gone."""
FORGOTTEN_S = 60
"""After so long it is removed."""


class MasterRegistry:
    def __init__(self, client: Redis, name: str) -> None:
        self.name = name
        self.present = {name}
        """Those that are there, this one included."""
        self.next_beat = time.monotonic()
        self._redis = client
        self._counter = 0
        self._known: dict[str, tuple[bytes, float]] = {}
        """Each one's number, and since when it has stood there, by this machine's clock."""
        self._looked = self.next_beat
        self._forgetful_until = self.next_beat
        """Redis has lost what it had; until then a number that is missing only stands still."""

    async def beat(self) -> None:
        """Show that this one is there. Raises redis.RedisError, as the others do."""
        self.next_beat = time.monotonic() + BEAT_S
        self._counter += 1
        is_new = await self._redis.hset(MASTERS, self.name, str(self._counter))
        if is_new and self._counter > 1:
            self._forgetful_until = time.monotonic() + SILENT_S

    async def look(self) -> None:
        numbers: Any = await self._redis.hgetall(MASTERS)
        now = time.monotonic()
        # a master that did not look for so long saw no number grow
        before = self._known if now - self._looked < SILENT_S else {}
        self._looked = now
        self._known = dict(before) if now < self._forgetful_until else {}
        for key, number in numbers.items():
            name = key.decode("utf-8", "replace")
            known = before.get(name)
            self._known[name] = known if known and known[0] == number else (number, now)
        ages = {name: now - since for name, (_, since) in self._known.items()}
        for name in [name for name, age in ages.items() if age > FORGOTTEN_S]:
            await self._redis.hdel(MASTERS, name)
        present = {name for name, age in ages.items() if age < SILENT_S} | {self.name}
        for name in present - self.present:
            info("master_there", name=name)
        for name in self.present - present:
            warning("master_gone", name=name, reason="its workers have to join another")
        self.present = present

    async def leave(self) -> None:
        await self._redis.hdel(MASTERS, self.name)
