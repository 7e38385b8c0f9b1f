"""The master's Socket.IO side, and the loop that decides.

Handlers check what came and put a decision into the inbox; the loop takes them in their order, has the store make them,
and what follows is sent in the order in which it was decided. HTTP requests take the same way and wait for their answer.
"""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable
from typing import Any

import socketio
import socketio.exceptions

from master import logs, messages
from master.cluster import ASK, Cluster, NotHeldError
from master.guard import MESSAGE_LIMIT
from master.listener import Listener
from master.members import JoinRefusedError
from master.metrics import Metrics
from master.sessions import Session, Sessions, TextPacket
from master.settings import Settings
from master.store import Decision, Emit, Store, StoreLostError
from master.view import RecentEvents

TICK_S = 0.05
"""The loop wakes at least this often, so that a gap in its own time shows."""
LATE_S = 0.1
"""When the loop is later than this, what arrived meanwhile is heard before anybody is judged."""
FROZEN_S = 0.25
ENGINEIO_PING_S, ENGINEIO_TIMEOUT_S = 25, 20
"""Whole seconds: python-engineio rounds a fraction down when it sends them to the client."""
REPLY_S = 5.0
"""For which a request waits for its decision."""
JOIN_REPLY_S = 1.0
"""For which a join's acknowledgement waits; pings that come behind it wait too."""
LONGEST_INBOX = 10_000
"""Decisions that wait while the state is out of reach; what comes then is dropped."""
RETRY_S = 0.2
"""Between tries to reach the state."""


class Master:
    def __init__(self, settings: Settings, listener: Listener) -> None:
        self._tokens, self._listener = settings.tokens, listener
        # a gap in the loop's time longer than this was a freeze; less is a busy machine
        self._frozen_after = max(FROZEN_S, settings.dead_after / 5)
        self._gap_s = 0.0
        """The longest gap since the last turn."""
        self._inbox: list[tuple[Decision, asyncio.Future[Any] | None]] = []
        """What is not decided yet, in the order in which it came."""
        self._wakes = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_lost = False
        """The state is out of reach."""
        self.is_stopping = False
        self.sio = socketio.AsyncServer(
            async_mode="asgi",
            async_handlers=False,  # in the order of arrival
            ping_interval=ENGINEIO_PING_S,
            ping_timeout=ENGINEIO_TIMEOUT_S,
            max_http_buffer_size=MESSAGE_LIMIT,
            cors_allowed_origins=[],  # no CORS; the guard compares the origin
            http_compression=False,
            serializer=TextPacket,
            logger=logging.getLogger("socketio.server"),
            engineio_logger=logging.getLogger("engineio.server"),
        )
        self.sessions = Sessions(self.sio)
        self.sio.on("connect", self._on_connect)
        self.sio.on("disconnect", self._on_disconnect)
        self.sio.on("join", self._on_join)
        self._on_answer("update node", messages.recover_answer, Cluster.answered_recover)
        self._on_answer("restore node", messages.restore_answer, Cluster.answered_restore)
        self.sio.on("ping", self._on_ping)
        self.sio.on("*", self._on_unknown)
        self.events = RecentEvents()
        self._store = _store(settings, self._emit, self.events)
        self.metrics = Metrics(lambda: self.cluster.state, lambda: len(listener), lambda: not self.is_lost)
        for handler in (self.events, self.metrics):
            logs.LOG.addHandler(handler)

    @property
    def cluster(self) -> Cluster:
        """As of the last turn; to be read only."""
        return self._store.cluster

    def is_idle_for(self, seconds: float) -> bool:
        """Whether nothing is to be decided before, as far as is known."""
        return not self._inbox and self._store.next_due() - time.monotonic() > seconds

    async def run(self) -> None:
        """Decide, until `stop`."""
        lost_at = 0.0
        before = time.monotonic()
        tasks = [
            asyncio.create_task(self.sessions.end_unjoined()),
            asyncio.create_task(self._look_for_gaps()),
        ]
        while not self.is_stopping:
            # after a failure time must pass, whether or not something comes
            wait_s = RETRY_S if self.is_lost else min(self._store.next_due() - time.monotonic(), TICK_S)
            if self.is_lost:
                await asyncio.sleep(wait_s)
            else:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wakes.wait(), max(wait_s, 0))
            self._wakes.clear()
            # also if it was late in the turn itself, or waited there for the state
            if time.monotonic() - before - max(wait_s, 0) > LATE_S:
                await asyncio.sleep(TICK_S)
            gap_s, self._gap_s = self._gap_s, 0.0
            if gap_s > self._frozen_after:
                logs.warning("resumed", seconds=gap_s)
                self._inbox.insert(0, (functools.partial(Cluster.resumed, stood_s=gap_s), None))
            before = now = time.monotonic()
            if self._inbox or now >= self._store.next_due():
                try:
                    await self._turn()
                except StoreLostError as exc:
                    if not self.is_lost:
                        logs.error("state_lost", error=str(exc), hint="nothing is decided until it is back")
                        self.is_lost, lost_at = True, now
                else:
                    if self.is_lost:
                        logs.warning("state_back", after_s=time.monotonic() - lost_at)
                    self.is_lost = False
        for task in tasks:
            task.cancel()
        await self._store.close()

    async def _look_for_gaps(self) -> None:
        """A task of its own, for the loop that decides may wait for the state, which is no freeze."""
        while True:
            due = time.monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            self._gap_s = max(self._gap_s, time.monotonic() - due)

    async def _turn(self) -> None:
        """Raises StoreLostError; then all of it is still to be decided."""
        batch = list(self._inbox)
        outcomes = await self._store.turn([decision for decision, _ in batch])
        del self._inbox[: len(batch)]
        for (_, reply), (result, exc) in zip([*batch, (Cluster.tick, None)], outcomes, strict=True):
            if reply and not reply.done():
                reply.set_exception(exc) if exc else reply.set_result(result)
            elif exc and not isinstance(exc, (JoinRefusedError, KeyError, NotHeldError)):
                # a fault of one decision must not end the master
                logs.fault(exc)

    def stop(self) -> None:
        self.is_stopping = True
        self._wakes.set()

    def _submit(self, decision: Decision, reply: asyncio.Future[Any] | None = None) -> None:
        if len(self._inbox) < LONGEST_INBOX:
            self._inbox.append((decision, reply))
            self._wakes.set()
        else:
            logs.warn_limited("bound_reached", "inbox", bound="decisions that wait for the state")

    async def ask(self, decision: Decision, limit_s: float = REPLY_S) -> Any:
        """The result of `decision`; what it raises is raised here.

        Raises StoreLostError when there is none in time, or the state is out of reach.
        """
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._submit(decision, reply)
        try:
            return await asyncio.wait_for(reply, limit_s)
        except asyncio.TimeoutError:
            raise StoreLostError(f"no decision within {limit_s:g} s; the master's log says why") from None

    async def _on_connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        engine = self.sio.manager.eio_sid_from_sid(sid, "/")
        client = environ["asgi.scope"]["client"]
        host, peer = str(client[0]), self._listener.get(tuple(client))
        if peer:
            peer.session = engine  # a websocket that was not polling before does not say it
        shown = auth.get("token") if isinstance(auth, dict) else None
        try:
            nodes = self._tokens.nodes(shown)
            number = auth.get("NODE_ID") if isinstance(auth, dict) else None
            if nodes is not None and number is not None and messages.node_number(number) not in nodes:
                raise PermissionError(f"this token is not node {messages.node_number(number)}'s")
        except (PermissionError, messages.MessageError) as exc:
            logs.warn_limited("connection_refused", host, address=host, reason=str(exc))
            raise socketio.exceptions.ConnectionRefusedError(str(exc)) from None
        if not self.sessions.begin(sid, engine, host, nodes):
            raise socketio.exceptions.ConnectionRefusedError("this connection is connected already")

    async def _on_disconnect(self, sid: str, reason: str) -> None:
        session = self.sessions.end(sid)
        if session is None:
            return
        level = logging.INFO if session.join else logging.DEBUG
        logs.log(level, "closed", address=session.host, reason=reason)
        if session.join:
            planned = reason == self.sio.reason.CLIENT_DISCONNECT
            address = self._store.address(sid)
            self._submit(lambda cluster, now: cluster.left(address, now, planned))

    async def _on_join(self, sid: str, *data: object) -> dict[str, Any] | None:
        """Acknowledged with nothing, or with the reason why it is refused."""
        session = self.sessions.get(sid)
        if session is None:
            return None
        try:
            join = messages.join(data[0] if data else None)
        except messages.MessageError as exc:
            logs.warn_limited(
                "ignored", f"join {session.host}", event="join", address=session.host, reason=str(exc)
            )
            return {"accepted": False, "error": str(exc)}
        if not self._tokens.admits(session.nodes, join.node):
            reason = f"the token that was shown is not node {join.node}'s"
            return self._refuse(sid, session, join.node, reason)
        address = self._store.address(sid)
        try:
            await self.ask(lambda cluster, now: cluster.joined(address, join, now), JOIN_REPLY_S)
        except JoinRefusedError as exc:
            return self._refuse(sid, session, join.node, str(exc))
        except StoreLostError:
            pass  # it is decided when the state is back
        session.join = join
        self._listener.admit_session(session.engine)
        return None

    def _refuse(self, sid: str, session: Session, node: int, reason: str) -> dict[str, Any]:
        self.metrics.joins_refused.inc()
        logs.warn_limited(
            "join_refused", f"{node} {session.host}", node=node, address=session.host, reason=reason
        )
        task = asyncio.get_running_loop().create_task(self._end_refused(sid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return {"accepted": False, "error": reason}

    async def _end_refused(self, sid: str) -> None:
        await asyncio.sleep(0.2)  # the acknowledgement goes first
        await self.sio.disconnect(sid)  # which the worker reports as a refusal

    def _on_answer(
        self, event: str, parse: Callable[[object], Any], handle: Callable[[Cluster, str, Any, float], None]
    ) -> None:
        async def handler(sid: str, *data: object) -> None:
            try:
                message = parse(data[0] if data else None)
            except messages.MessageError as exc:
                logs.warn_limited("ignored", event, event=event, reason=str(exc))
            else:
                address = self._store.address(sid)
                self._submit(lambda cluster, now: handle(cluster, address, message, now))

        self.sio.on(event, handler)

    async def _on_ping(self, sid: str, *_: object) -> None:
        """What it carries is of no interest. Returning nothing acknowledges with an empty list."""
        if not self._store.heard(sid):
            address, session = self._store.address(sid), self.sessions.get(sid)
            join = session.join if session else None
            self._submit(lambda cluster, now: cluster.pinged(address, now, join))

    async def _on_unknown(self, event: str, _sid: str, *_: object) -> None:
        logs.warn_limited("ignored", "unknown", event=event[:100], reason="no such event")

    async def _emit(self, sid: str, event: str, data: dict[str, Any]) -> None:
        address = self._store.address(sid)

        def answered(*_: object) -> None:
            self._submit(lambda cluster, _: cluster.members.answered(address))

        await self.sio.emit(event, data, to=sid, callback=answered if event == ASK else None)


def _store(settings: Settings, emit: Emit, events: RecentEvents) -> Store:
    url = settings.redis or settings.redis_file
    if url is None:
        return Store(emit, settings.dead_after, settings.order_timeout, settings.nodes)
    from master.redis_store import RedisStore  # its import takes 0.2 s, and most masters are alone

    return RedisStore(url, emit, settings.dead_after, settings.order_timeout, settings.nodes, events.emit)
