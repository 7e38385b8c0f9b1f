"""Who is alive: nodes, their connections, and the silence after which a node is dead. No I/O, no threads.

Times are seconds of a monotonic clock, given by the caller.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Optional

from demo.messages import Join

LOG = logging.getLogger("demo.master.decided")


@dataclass
class Connection:
    """A worker's connection that has joined."""

    sid: str
    number: int
    """Counts a node's connections up, so that the newer of two is known."""
    join: Join
    """As last told on it."""
    seen: float
    """When its last `join` or `ping` came."""
    is_open: bool = True
    is_reachable: bool = True
    """Whether the master that it leads to is there. Always so for a master that is alone."""


@dataclass
class Member:
    """A node that has joined at least once.

    It may have several connections, an old one half-open or two workers set to one number: the newest that is alive
    counts, and only that one is heard.
    """

    number: int
    join: Join
    """As last told on the connection that counts."""
    connections: list[Connection] = field(default_factory=list)
    current: Optional[Connection] = None
    """The connection that counts. None: the node is dead."""


@dataclass(frozen=True)
class Change:
    """Another connection of the node counts from now on, or none."""

    member: Member
    before: Optional[Connection]
    """The one that counted until now. None: the node was dead or unknown, and is back."""


class Members:
    def __init__(self, dead_after: float, now: float) -> None:
        self._dead_after = dead_after
        self._grace_until = now
        self._members: dict[int, Member] = {}
        self._by_sid: dict[str, Connection] = {}

    def load(self, members: dict[int, Member]) -> None:
        """These are known from now on, and none else."""
        self._members = members
        self._by_sid = {c.sid: c for member in self for c in member.connections if c.is_open}

    def as_dict(self) -> dict[int, Member]:
        return self._members

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def get(self, number: int) -> Optional[Member]:
        return self._members.get(number)

    def is_alive(self, number: int) -> bool:
        member = self._members.get(number)
        return member is not None and member.current is not None

    def speaker(self, sid: str) -> Optional[Member]:
        """The node that speaks on this connection. None: it has not joined, or another connection counts."""
        connection = self._by_sid.get(sid)
        member = self._members[connection.join.node] if connection else None
        return member if member and member.current is connection else None

    def joined(self, sid: str, join: Join, now: float) -> list[Change]:
        changes = []
        connection = self._by_sid.get(sid)
        if connection and connection.join.node != join.node:
            LOG.warning("node_changed from=%d to=%d, on one connection", connection.join.node, join.node)
            changes = self.left(sid, now)
            connection = None
        member = self._members.setdefault(join.node, Member(join.node, join))
        if connection is None:
            count = max((c.number for c in member.connections), default=0) + 1
            connection = self._by_sid[sid] = Connection(sid, count, join, now)
            member.connections.append(connection)
            if member.current:
                LOG.warning("second_connection node=%d: the newer one counts from now on", member.number)
        connection.join, connection.seen = join, now
        changes += self._review(member, now)
        if member.current is connection:
            member.join = join
        else:
            LOG.warning(
                "join_ignored node=%d: a newer connection counts; two workers, one NODE_ID?", member.number
            )
        return changes

    def pinged(self, sid: str, now: float) -> list[Change]:
        connection = self._by_sid.get(sid)
        if connection is None:
            return []
        connection.seen = now
        member = self._members[connection.join.node]
        return [] if member.current is connection else self._review(member, now)

    def left(self, sid: str, now: float) -> list[Change]:
        """The connection was closed. While the grace of `resumed` lasts that is no death yet."""
        connection = self._by_sid.pop(sid, None)
        if connection is None:
            return []
        connection.is_open = False
        member = self._members[connection.join.node]
        if now >= self._grace_until or member.current is not connection:
            member.connections.remove(connection)
        return self._review(member, now)

    def find_silent(self, now: float) -> list[Change]:
        due = [m for m in self if m.current and self.is_silent(m.current, now)]
        return [change for member in due for change in self._review(member, now)]

    def is_silent(self, connection: Connection, now: float) -> bool:
        """Whether it was silent for as long as makes its node dead."""
        return now >= self._death(connection)

    def resumed(self, now: float) -> None:
        """The master itself stood still until now. Its own silence proves nothing about the others, and many of them
        will have lost patience and closed: all are alive for `dead_after` from now on, connected or not.
        """
        self._grace_until = now + self._dead_after
        for member in self:
            for connection in member.connections:
                connection.seen = now

    def next_death(self) -> float:
        """When the first node is dead if it stays silent; infinity where none is alive."""
        return min((self._death(m.current) for m in self if m.current), default=float("inf"))

    def _death(self, connection: Connection) -> float:
        return connection.seen + self._dead_after

    def _review(self, member: Member, now: float) -> list[Change]:
        """See which of the node's connections counts now. One to a master that is gone can only be its newest: a
        worker leaves that master for another.
        """
        newest = max(member.connections, key=lambda c: c.number, default=None)
        left = [c for c in member.connections if c.is_reachable or c is newest]
        alive = [c for c in left if not self.is_silent(c, now)]
        for connection in member.connections:
            if connection not in left:
                self._by_sid.pop(connection.sid, None)
        member.connections = [c for c in left if c.is_open or c in alive]
        before, member.current = member.current, max(alive, key=lambda c: c.number, default=None)
        if member.current is before:
            return []
        if member.current:
            member.join = member.current.join
        return [Change(member, before)]
