"""Who is alive: nodes, their connections, and the silence after which a node is dead. No I/O, no threads.

Times are seconds of a monotonic clock, given by the caller.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from master.logs import info, warning
from master.messages import Join

ASK_S = 0.3
"""Before a silent node's time is over it is asked once whether it is there."""
GRACE_EVERY = 5
"""A short stop of the master costs `dead_after` at most once in so many of them."""
LATE = 1.25
"""A node that answers is alive until its ping is overdue by its own rhythm: this many of its intervals."""
MOST_CONNECTIONS = 4
"""Of one node; a further one takes the place of the oldest."""


class JoinRefusedError(Exception):
    """The node may not join like this; the text says why."""


@dataclass
class Pulse:
    """What was heard on a connection, and when; known to the master that it leads to."""

    seen: float
    """When its last `join` or `ping` came."""
    pinged: float | None = None
    """When its last `ping` came."""
    gap: float = 0.0
    """Seconds between its last two pings."""
    interval: float = 0.0
    """Its rhythm: the shorter of the last two gaps."""
    asked: bool = False
    """Whether the node was asked since it was last seen."""
    answered: bool = False

    def joined(self, now: float) -> None:
        self.seen = now
        self.asked = self.answered = False

    def beat(self, now: float) -> None:
        if self.pinged is not None:
            self.gap, before = now - self.pinged, self.gap
            self.interval = min(self.gap, before)
        self.pinged = now
        self.joined(now)


@dataclass
class Connection:
    """A worker's connection that has joined."""

    sid: str
    join: Join
    """The latest that came on it."""
    pulse: Pulse
    is_open: bool = True
    is_reachable: bool = True
    """Whether the master that it leads to is there. Always so for a master that is alone."""


@dataclass
class Member:
    """A node that has joined at least once.

    It may have several connections, one of them half-open: the newest that is alive counts, and only that one is heard.
    """

    number: int
    join: Join
    """The latest that came on the connection that counts."""
    connections: list[Connection] = field(default_factory=list)
    """The newest last."""
    current: Connection | None = None
    """The connection that counts. None: the node is dead."""
    since: float = 0.0
    """Since when it is alive or dead, in seconds since the epoch."""
    last_ping: float = 0.0
    """Of one that is dead, in seconds since the epoch; 0: none is known."""


@dataclass(frozen=True)
class Change:
    """Another connection of the node counts from now on, or none."""

    member: Member
    before: Connection | None
    """The one that counted until now. None: the node was dead or unknown, and is back."""
    planned: bool = False
    """The worker itself closed the connection, as one that stops does."""


class Members:
    def __init__(self, dead_after: float, now: float) -> None:
        self.epoch = 0.0
        """The wall clock at the monotonic clock's zero, in seconds since the epoch."""
        self._dead_after = dead_after
        self._ask_after = max(dead_after - ASK_S, dead_after / 2)
        self._grace_until = self._next_grace = now
        self.by_number: dict[int, Member] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(self.by_number.values())

    def get(self, number: int) -> Member | None:
        return self.by_number.get(number)

    def serves(self, number: int) -> bool:
        """Whether it is alive and its interface has a link: nobody else is to have its address."""
        member = self.get(number)
        return member is not None and member.current is not None and member.join.carrier

    def find(self, sid: str) -> Connection | None:
        """The open connection of that name. None: it has not joined."""
        connections = (c for member in self for c in member.connections)
        return next((c for c in connections if c.sid == sid and c.is_open), None)

    def speaker(self, sid: str) -> Member | None:
        """The node that speaks on this connection. None: it has not joined, or another connection counts."""
        return next((m for m in self if m.current and m.current.sid == sid and m.current.is_open), None)

    def joined(self, sid: str, join: Join, now: float) -> list[Change]:
        """Raises JoinRefusedError for a number or an address that is alive elsewhere; nothing has changed then."""
        self._check(sid, join)
        connection = self.find(sid)
        member = self.by_number.setdefault(join.node, Member(join.node, join))
        if connection is None:
            connection = Connection(sid, join, Pulse(now))
            member.connections = [*member.connections[1 - MOST_CONNECTIONS :], connection]
            if member.current:
                info("connection_replaced", node=member.number, system=join.system)
        connection.join = join
        connection.pulse.joined(now)
        changes = self._review(member, now)
        if member.current is connection:
            member.join = join
        return changes

    def _check(self, sid: str, join: Join) -> None:
        connection = self.find(sid)
        if connection and connection.join.node != join.node:
            raise JoinRefusedError(
                f"this connection is node {connection.join.node}'s; join as {join.node} on another"
            )
        for other in self:
            if other.number != join.node and other.current and join.ip and other.join.ip == join.ip:
                raise JoinRefusedError(f"{join.ip} is the address of node {other.number}, which is alive")
        member = self.get(join.node)
        if member is None or member.current is None:
            return
        known = member.join
        moved = join.ip and known.ip and join.ip != known.ip
        if member.current is connection:
            if moved:
                raise JoinRefusedError(
                    f"node {join.node} changes its address from {known.ip} to {join.ip}: that needs a new connection"
                )
        elif moved or join.system != known.system:
            raise JoinRefusedError(
                f"node {join.node} is alive on {known.system!r} with {known.ip}; this is {join.system!r} with {join.ip}"
            )

    def heard(self, sid: str, now: float) -> bool:
        """A ping came. True: nothing has to be decided."""
        member = self.speaker(sid)
        if member and member.current:
            member.current.pulse.beat(now)
        return member is not None

    def pinged(self, sid: str, now: float) -> list[Change]:
        connection = self.find(sid)
        if connection is None:
            return []
        connection.pulse.beat(now)
        return self._review(self.by_number[connection.join.node], now)

    def answered(self, sid: str) -> None:
        """The node answered when it was asked."""
        connection = self.find(sid)
        if connection and connection.pulse.asked:
            connection.pulse.answered = True

    def left(self, sid: str, now: float, planned: bool) -> list[Change]:
        """The connection was closed. While the grace of `resumed` lasts that is no death yet."""
        connection = self.find(sid)
        if connection is None:
            return []
        connection.is_open = False
        member = self.by_number[connection.join.node]
        if now >= self._grace_until or member.current is not connection:
            member.connections.remove(connection)
        return self._review(member, now, planned)

    def find_unasked(self, now: float) -> list[Connection]:
        """Those that are to be asked whether they are there, each once in a silence."""
        alive = [m.current for m in self if m.current and not m.current.pulse.asked]
        due = [connection for connection in alive if now >= self._question(connection)]
        for connection in due:
            connection.pulse.asked = True
        return [c for c in due if c.is_open and c.is_reachable]

    def find_silent(self, now: float) -> list[Change]:
        due = [m for m in self if m.current and self.is_silent(m.current, now)]
        return [change for member in due for change in self._review(member, now)]

    def is_silent(self, connection: Connection, now: float) -> bool:
        """Whether it was silent for as long as makes its node dead."""
        return now >= self._death(connection)

    def resumed(self, now: float, stood_s: float) -> None:
        """The master itself stood still for `stood_s` until now, which proves nothing about the others.

        Many of them may have lost patience and closed: all are alive for `dead_after` from now on, connected or not. A
        further stop soon after, shorter than that, is only added to each node's time, so that a master that is brought
        to stand still again and again finds the dead all the same.
        """
        is_long = stood_s >= self._dead_after or now >= self._next_grace
        if is_long:
            self._grace_until = now + self._dead_after
            self._next_grace = now + GRACE_EVERY * self._dead_after
        for member in self:
            for connection in member.connections:
                if is_long:
                    connection.pulse.joined(now)
                else:
                    death = self._death(connection) + stood_s
                    connection.pulse.seen = min(now, death - self._dead_after)

    def next_due(self) -> float:
        """When the first node is to be asked, or is dead if it stays silent; infinity where none is alive."""
        alive = [m.current for m in self if m.current]
        return min(
            (self._death(c) if c.pulse.asked else self._question(c) for c in alive), default=float("inf")
        )

    def _question(self, connection: Connection) -> float:
        return connection.pulse.seen + self._ask_after

    def _death(self, connection: Connection) -> float:
        pulse = connection.pulse
        death = pulse.seen + self._dead_after
        if pulse.answered and pulse.pinged is not None:
            return max(death, pulse.pinged + LATE * pulse.interval)
        return death

    def _review(self, member: Member, now: float, planned: bool = False) -> list[Change]:
        """See which of the node's connections counts now. One to a master that is gone can only be its newest: a
        worker leaves that master for another.
        """
        left = [c for c in member.connections if c.is_reachable or c is member.connections[-1]]
        alive = [c for c in left if not self.is_silent(c, now)]
        member.connections = [c for c in left if c.is_open or c in alive]
        before, member.current = member.current, alive[-1] if alive else None
        if member.current is before:
            return []
        if member.current:
            member.join = member.current.join
        return [Change(member, before, planned)]


def log_death(member: Member, before: Connection, now: float, planned: bool) -> None:
    number, ip, pulse = member.number, member.join.ip, before.pulse
    if planned:
        info("node_left", node=number, system=member.join.system, ip=ip)
    else:
        cause, silent_s = "silent" if before.is_open else "closed", round(now - pulse.seen, 2)
        warning(
            "node_dead", node=number, ip=ip, cause=cause, silent_s=silent_s, answers=pulse.answered or None
        )
