"""The state in Redis, for several masters at once.

Each turn reads the state, decides, and writes the state with the messages that follow in one transaction, which fails
when another master wrote meanwhile (WATCH): then the turn is made again on what that one decided. So of several that
see one death one elects, and an order is in the state exactly if it is also in the list of messages to the master that
the worker is connected to. Each master sends what is in its own list.

Each master judges by its own clock, and only what it can hear itself: the silence of its connections, and how long
an order on one of them takes. The connections of a master that is gone are judged by all: they are silent from then
on, so their nodes have `dead_after` to join another master.

Redis may be away: connections stay open, and decisions wait until it is back. What it forgot meanwhile is put back.
"""

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from logs.handler import Message
from master.logs import LOG, fault, info, warning
from master.members import Connection, Pulse
from master.state import State, StateError, decode, encode
from master.store import Decision, Emit, Outcome, Store, StoreLostError, decide

STATE, MESSAGES, MASTERS = "failover:state", "failover:messages:", "failover:masters:"
"""Keys: `VERSION JSON`; with a master's name behind, the list of messages to it, and that it is there, which expires."""
BEAT_S, SILENT_S = 0.5, 2.0
"""How often a master shows that it is there, and after what silence it is gone."""
FORGOTTEN_S = 60
"""For which messages to a master that is gone are kept."""
LIMIT_S = 2.0
"""For an answer from Redis."""
TRIES = 100
"""To make a turn while others write. Each failure is a success of another."""


class RedisStore(Store):
    def __init__(
        self,
        url: str,
        emit: Emit,
        dead_after: float,
        order_timeout: float,
        nodes: frozenset[int] | None,
        show: Callable[[logging.LogRecord], None] = lambda _: None,
    ) -> None:
        """`show` is given what other masters logged of their decisions."""
        super().__init__(emit, dead_after, order_timeout, nodes)
        self._show = show
        self.name = secrets.token_hex(4)
        self._nodes = nodes
        no_retry = Retry(NoBackoff(), 0)  # a turn is made again as a whole, so a command is not
        self._redis = Redis.from_url(
            url, socket_timeout=LIMIT_S, socket_connect_timeout=LIMIT_S, retry=no_retry
        )
        self._version, self._body = 0, ""
        self._present = {self.name}
        """The masters that are there, this one included."""
        self._next_beat = self._forgetful_until = 0.0
        """Until then a master that is missing in Redis is not gone."""
        self._pulses: dict[str, Pulse] = {}
        self._since: dict[tuple[int, str], float] = {}
        """Of the connections and orders that this master judges."""
        self._current: frozenset[str] = frozenset()
        """This master's connections that count."""
        self._sender: asyncio.Task[None] | None = None

    def address(self, sid: str) -> str:
        return f"{self.name}:{sid}"

    def heard(self, sid: str) -> bool:
        address = self.address(sid)
        pulse = self._pulses.get(address) if address in self._current else None
        if pulse is None:
            return False
        pulse.beat(time.monotonic())
        return True

    async def turn(self, decisions: Sequence[Decision]) -> list[Outcome]:
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all())
        try:
            if time.monotonic() >= self._next_beat:
                await self._beat()
            for _ in range(TRIES):
                outcomes = await self._try(decisions)
                if outcomes is not None:
                    return outcomes
        except (redis.RedisError, OSError) as exc:
            await self._redis.connection_pool.disconnect()  # the others would fail one by one
            raise StoreLostError(
                f"{type(exc).__name__}: {exc}; start Redis there, or correct the URL"
            ) from exc
        except StateError as exc:
            raise StoreLostError(
                f"the key {STATE}: {exc}; stop all masters and delete it, they learn from the workers' joins"
            ) from exc
        raise StoreLostError(f"others wrote {TRIES} times meanwhile")

    def next_due(self) -> float:
        return min(self.cluster.next_due(), self._next_beat)

    async def close(self) -> None:
        if self._sender:
            self._sender.cancel()
        try:
            await self._redis.delete(MASTERS + self.name, MESSAGES + self.name)
            await self._redis.aclose()
        except redis.RedisError as exc:
            warning("redis_lost", error=str(exc))

    async def _beat(self) -> None:
        own, now = MASTERS + self.name, time.monotonic()
        if self._next_beat and not await self._redis.exists(own):
            # Redis has lost what it had, or this master or Redis stood still: the others have to show themselves first
            self._forgetful_until = now + SILENT_S
        self._next_beat = now + BEAT_S
        await self._redis.set(own, "", px=int(SILENT_S * 1000))
        await self._look()

    async def _look(self) -> None:
        """See which masters are there."""
        # not KEYS, which holds up all of Redis, and which a user without dangerous commands may not use
        keys = [key async for key in self._redis.scan_iter(f"{MASTERS}*", count=1000)]
        present = {self.name} | {key.decode("utf-8", "replace").removeprefix(MASTERS) for key in keys}
        if time.monotonic() < self._forgetful_until:
            present |= self._present
        for name in present - self._present:
            info("master_there", name=name)
        for name in self._present - present:
            warning("master_gone", name=name, reason="its workers have to join another")
        self._present = present

    async def _try(self, decisions: Sequence[Decision]) -> list[Outcome] | None:
        """None: another master wrote meanwhile."""
        async with self._redis.pipeline() as pipe:
            await pipe.watch(STATE)
            found: Any = await pipe.get(STATE)
            version, body, is_lost = self._newest(found)
            if version != self._version:
                await self._look()  # one that was gone may be back, and have written this
            self.cluster.leads = self.name == min(self._present)
            self.cluster.load(self._fill(body))
            self._outbox.clear()
            with _held_back() as held:
                outcomes = decide(self.cluster, decisions)
            now = time.monotonic()
            after = encode(self.cluster.state, lambda c: self.cluster.members.is_silent(c, now))
            if after != body or is_lost or self._outbox:
                version += 1
                pipe.multi()  # type: ignore[no-untyped-call]
                pipe.set(STATE, f"{version} {after}")
                orders = [(_master(address), [address, *rest]) for address, *rest in self._outbox]
                events = [_as_message(record) for record in held if record.levelno >= logging.INFO]
                others = self._present - {self.name}
                for name, message in [*orders, *((name, event) for name in others for event in events)]:
                    pipe.rpush(MESSAGES + name, json.dumps(message))
                    pipe.expire(MESSAGES + name, FORGOTTEN_S)
                try:
                    await pipe.execute()
                except redis.WatchError:
                    return None
            if is_lost:
                warning("put_back", version=version, reason="Redis had an older state")
            self._version, self._body = version, after
            self._remember()
            for record in held:
                LOG.handle(record)
        return outcomes

    def _newest(self, found: bytes | None) -> tuple[int, str, bool]:
        """The version and text to go on from: what Redis has, or what this master read or wrote last where that is
        newer, since Redis lost or never kept it; then it must be written.
        """
        version, _, body = (found or b"0 ").decode("utf-8", "replace").partition(" ")
        if not version.isdecimal():
            raise StateError("it does not begin with a number")
        # of one version there may be two texts: another master, which had not read the latest, put back what it knew
        if int(version) > self._version or (int(version) == self._version and body == self._body):
            return int(version), body, False
        return self._version, self._body, True

    def _fill(self, body: str) -> State:
        """The state as this master judges it."""
        now = time.monotonic()
        state = decode(body, now) if body else State()
        if self._nodes is not None:
            state.members = {n: m for n, m in state.members.items() if n in self._nodes}
            state.takeovers = {n: t for n, t in state.takeovers.items() if n in self._nodes}
        for member in state.members.values():
            for connection in member.connections:
                connection.is_reachable = _master(connection.sid) in self._present
                known = self._pulses.get(connection.sid)
                if known and self._judges(connection):
                    connection.pulse = replace(known)
        for takeover in state.takeovers.values():
            if takeover.order and _master(takeover.order.sid) == self.name:
                takeover.order.since = self._since.get((takeover.number, takeover.order.sid), now)
        return state

    def _remember(self) -> None:
        """What this master alone knows of the state that it just left."""
        members, takeovers = self.cluster.state.members.values(), self.cluster.state.takeovers.values()
        pulses = {}
        for connection in (c for member in members for c in member.connections if self._judges(c)):
            heard = self._pulses.get(connection.sid)
            if heard and heard.seen > connection.pulse.seen:  # a ping came during the turn
                connection.pulse = heard
            pulses[connection.sid] = connection.pulse
        self._pulses = pulses
        self._since = {(t.number, t.order.sid): t.order.since for t in takeovers if t.order}
        current = (member.current for member in members)
        self._current = frozenset(c.sid for c in current if c and _master(c.sid) == self.name)

    def _judges(self, connection: Connection) -> bool:
        """Its own, and those that lead to a master that is gone."""
        return _master(connection.sid) == self.name or not connection.is_reachable

    async def _send_all(self) -> None:
        """Send this master's messages in the order in which they were decided, whichever master decided them, and show
        what the others logged of that.
        """
        while True:
            try:
                found: Any = await self._redis.blpop([MESSAGES + self.name], timeout=1)
            except (redis.RedisError, OSError):
                await asyncio.sleep(BEAT_S)  # `turn` logs it
                continue
            try:
                if found:
                    address, event, data = json.loads(found[1])
                    if address:
                        await self._emit(address.partition(":")[2], str(event), dict(data))
                    else:
                        message = Message(event, data["fields"])
                        self._show(logging.makeLogRecord({**data["record"], "msg": message}))
            except Exception as exc:  # noqa: BLE001 - the top of this task: one message must not keep the next ones
                fault(exc, message=repr(found)[:200])


@contextlib.contextmanager
def _held_back() -> Iterator[list[logging.LogRecord]]:
    """Keep back what is logged: a decision that has to be made again must not have logged anything."""
    held: list[logging.LogRecord] = []

    def keep(record: logging.LogRecord) -> bool:
        held.append(record)
        return False

    LOG.addFilter(keep)
    try:
        yield held
    finally:
        LOG.removeFilter(keep)


def _as_message(record: logging.LogRecord) -> list[object]:
    message: Any = record.msg
    kept = {key: getattr(record, key) for key in ("levelno", "levelname", "created")}
    return [None, message.event, {"record": kept, "fields": message.fields}]


def _master(sid: str) -> str:
    return sid.partition(":")[0]
