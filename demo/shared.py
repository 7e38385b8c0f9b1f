"""The state in Redis, for several masters at once.

Each turn reads the state, decides, and writes the state with the messages that follow in one transaction, which fails
when another master wrote meanwhile (WATCH): then the turn is made again on what that one decided. So of several that
see one death one elects, and an order stands in the state exactly if it also stands in the list of messages to the
master that the worker is connected to. Each master sends what stands in its own list.

Each master judges by its own clock, and only what it can hear itself: the silence of its connections, and how long
an order on one of them takes. The connections of a master that is gone are judged by all: they are silent from then
on, so their nodes have `dead_after` to join another master.

Redis may be away: connections stay open, and decisions wait until it is back. What it forgot meanwhile is put back.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Optional

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from demo.cluster import Cluster
from demo.members import Connection
from demo.roster import BEAT_S, FORGOTTEN_S, Roster
from demo.state import State, StateError, decode, encode
from demo.store import Decision, Outcome, StoreLostError, decide

STATE, MESSAGES = "failover:state", "failover:messages:"
"""Keys: `VERSION JSON`; the list of messages of the master whose name follows."""
LIMIT_S = 2.0
"""For an answer from Redis."""
TRIES = 100
"""To make a turn while others write. Each failure is a success of another."""

LOG = logging.getLogger("demo.master")
DECIDED = logging.getLogger("demo.master.decided")

Emit = Callable[[str, str, dict[str, Any]], None]


class Shared:
    def __init__(self, url: str, emit: Emit, dead_after: float, order_timeout: float) -> None:
        """`emit` is given a connection's sid, an event and its data, on a thread of its own.

        Raises StoreLostError where Redis cannot be used.
        """
        self.name = secrets.token_hex(4)
        self._emit = emit
        now = time.monotonic()
        self._cluster = Cluster(self._note, dead_after, order_timeout, now)
        self._redis = _client(url)
        self._version, self._body = 0, ""
        self._outbox: list[tuple[str, str]] = []
        self._lines = _Lines()
        DECIDED.addFilter(self._lines)
        self._roster = Roster(self._redis, self.name)
        self._seen: dict[str, float] = {}
        self._since: dict[tuple[int, str], float] = {}
        """Of the connections and orders that this master judges."""
        self._heard: dict[str, float] = {}
        self._counting: frozenset[str] = frozenset()
        """This master's connections that count, and when each was heard, which other threads write."""
        self._closed = False
        self.turn([])
        threading.Thread(target=self._deliver, name="messages", daemon=True).start()

    def address(self, sid: str) -> str:
        return f"{self.name}:{sid}"

    def heard(self, sid: str) -> bool:
        address = self.address(sid)
        if address not in self._counting:
            return False
        self._heard[address] = time.monotonic()
        return True

    def turn(self, decisions: Sequence[Decision]) -> list[Outcome]:
        try:
            if time.monotonic() >= self._roster.next_beat:
                self._roster.beat()
                self._roster.look()
            for _ in range(TRIES):
                outcomes = self._try(decisions)
                if outcomes is not None:
                    return outcomes
        except redis.RedisError as exc:
            raise StoreLostError(f"{type(exc).__name__}: {exc}") from exc
        except StateError as exc:
            raise StoreLostError(
                f"the key {STATE}: {exc}; stop all masters and delete it, they learn from the workers' joins"
            ) from exc
        raise StoreLostError(f"others wrote {TRIES} times meanwhile")

    def next_due(self) -> float:
        return min(self._cluster.next_due(), self._roster.next_beat)

    def close(self) -> None:
        self._closed = True
        try:
            self._roster.leave()
            self._redis.delete(MESSAGES + self.name)
        except redis.RedisError as exc:
            LOG.warning("redis_lost: %s", exc)

    def _try(self, decisions: Sequence[Decision]) -> Optional[list[Outcome]]:
        """None: another master wrote meanwhile."""
        with self._redis.pipeline() as pipe, self._lines:
            pipe.watch(STATE)  # type: ignore[no-untyped-call]
            found: Any = pipe.get(STATE)
            version, body, put_back = self._newest(found)
            if version != self._version:
                self._roster.look()  # one that was gone may be back, and have written this
            self._cluster.beats = self.name == min(self._roster.there)
            self._cluster.load(self._fill(body))
            self._outbox.clear()
            outcomes = decide(self._cluster, decisions)
            now = time.monotonic()
            after = encode(self._cluster.state, lambda c: self._cluster.members.is_silent(c, now))
            if after != body or put_back or self._outbox:
                version += 1
                pipe.multi()
                pipe.set(STATE, f"{version} {after}")
                for key, message in self._outbox:
                    pipe.rpush(key, message)
                    pipe.expire(key, FORGOTTEN_S)
                try:
                    pipe.execute()
                except redis.WatchError:
                    return None
            self._version, self._body = version, after
            self._remember()
            self._lines.release()
        return outcomes

    def _newest(self, found: Optional[bytes]) -> tuple[int, str, bool]:
        """The version and text to go on from: what Redis has, or what this master read or wrote last where that is
        newer, since Redis lost or never kept it; then it must be written.
        """
        version, _, body = (found or b"0 ").decode("utf-8", "replace").partition(" ")
        if not version.isdecimal():
            raise StateError("it does not begin with a number")
        if int(version) >= self._version:
            return int(version), body, False
        self._lines.warning("put_back version=%d: Redis has version %s", self._version, version)
        return self._version, self._body, True

    def _fill(self, body: str) -> State:
        """The state as this master judges it."""
        now = time.monotonic()
        state = decode(body, now) if body else State()
        for member in state.members.values():
            for connection in member.connections:
                connection.is_reachable = _master(connection.sid) in self._roster.there
                if self._judges(connection):
                    seen = self._seen.get(connection.sid, connection.seen)
                    connection.seen = max(seen, self._heard.get(connection.sid, seen))
        for case in state.cases.values():
            if case.order and _master(case.order.sid) == self.name:
                case.order.since = self._since.get((case.number, case.order.sid), now)
        return state

    def _remember(self) -> None:
        """What this master alone knows of the state that it just left."""
        members, cases = self._cluster.state.members.values(), self._cluster.state.cases.values()
        judged = [c for member in members for c in member.connections if self._judges(c)]
        self._seen = {c.sid: c.seen for c in judged}
        self._since = {(c.number, c.order.sid): c.order.since for c in cases if c.order}
        current = (member.current for member in members)
        self._counting = frozenset(c.sid for c in current if c and _master(c.sid) == self.name)
        for sid in list(self._heard):
            if sid not in self._counting:
                self._heard.pop(sid, None)

    def _judges(self, connection: Connection) -> bool:
        """Its own, and those that lead to a master that is gone."""
        return _master(connection.sid) == self.name or not connection.is_reachable

    def _note(self, sid: str, event: str, data: dict[str, Any]) -> None:
        """To be sent when the turn succeeds."""
        name, _, local = sid.partition(":")
        self._outbox.append((MESSAGES + name, json.dumps([local, event, data])))

    def _deliver(self) -> None:
        """Send this master's messages in the order in which they were decided, whoever decided them."""
        while not self._closed:
            try:
                found: Any = self._redis.blpop([MESSAGES + self.name], timeout=1)
            except redis.RedisError:
                time.sleep(BEAT_S)  # `turn` logs it
            else:
                if found:
                    self._send(found[1])

    def _send(self, message: bytes) -> None:
        try:
            sid, event, data = json.loads(message)
            self._emit(sid, event, data)
        except Exception:  # the top of this thread: one message must not keep the next ones
            LOG.exception("fault")


class _Lines(logging.Filter):
    """Holds back what is logged of a turn until it has succeeded: one that must be made again decided nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._held: Optional[list[logging.LogRecord]] = None

    def __enter__(self) -> None:
        self._held = []

    def __exit__(self, *_: object) -> None:
        self._held = None

    def filter(self, record: logging.LogRecord) -> bool:
        if self._held is None:
            return True
        self._held.append(record)
        return False

    def warning(self, text: str, *fields: object) -> None:
        DECIDED.warning(text, *fields)

    def release(self) -> None:
        held, self._held = self._held or [], None
        for record in held:
            DECIDED.handle(record)


def _master(sid: str) -> str:
    return sid.partition(":")[0]


def _client(url: str) -> redis.Redis:
    """Raises StoreLostError for a URL that is none, without what it holds."""
    no_retry = Retry(NoBackoff(), 0)  # a turn is made again as a whole, so a command is not
    try:
        return redis.Redis.from_url(
            url, socket_timeout=LIMIT_S, socket_connect_timeout=LIMIT_S, retry=no_retry
        )
    except (ValueError, TypeError):
        raise StoreLostError("Redis's client cannot read the URL") from None
