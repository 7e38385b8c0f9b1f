"""The connection to the master: made, kept and remade forever.

One attempt at a time, each with a session of its own under a deadline (session.py); after a failed round over
all masters a back-off with full jitter. The owner's thread calls everything here but `send` and `ping`.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from connection.dial import Target
from connection.errors import Failure, unanswered
from connection.messages import Callbacks, Connected, Disconnected
from connection.outbox import JOIN_ACK_ID
from connection.payload import encode, shorten
from connection.resolve import Resolver
from connection.session import Session
from logging_setup import EventLogger

ATTEMPT_S = 5.0
"""Seconds that one master may take to accept, from the look-up of its name on."""
PATIENT_S = 20.0
"""The most that it doubles to, round by round, for one whose machine answers: it may be slow under load."""
LASTED_S = 10.0
"""Seconds from which on a connection was worth the master's turn; after a shorter one it is the next master's."""
WAKE_S = 0.5
"""At least between two attempts that a change of the network brings about."""
ROOM = 32
"""Bytes of a packet around its data, at most."""
SAY_FIRST, SAY_EVERY_S = 3, 60.0
"""Of the same failure, the first few are logged, then one a minute with the number of the silent ones."""


def back_off(
    delay_s: float, max_s: float, chance: Callable[[], float] = random.random
) -> Iterator[tuple[float, float]]:
    """Forever: a delay drawn from 0 to a ceiling, and the ceiling, which doubles from `delay_s` to `max_s`.

    "Full jitter": nodes that lost one master at one time do not come back at one time.
    """
    ceiling = delay_s
    while True:
        yield chance() * ceiling, ceiling
        ceiling = min(max_s, ceiling * 2)


class Connection:
    """Its state is for reading: `up` is the connection that the master accepted, None: there is none now, and `up_s`
    the monotonic time since which it stands; `lost_s` that since which there is none; `made` counts them.

    `release_s` is MASTER_LOSS_RELEASE, 0: none; attempts come well within it.
    """

    def __init__(
        self,
        targets: tuple[Target, ...],
        delay_s: float,
        max_s: float,
        callbacks: Callbacks,
        log: EventLogger,
        *,
        release_s: float = 0.0,
    ) -> None:
        self.up: Connected | None = None
        self.up_s = 0.0
        self.lost_s: float | None = None
        self.made = 0
        longest_s = release_s / 4 if release_s else math.inf
        self._targets = targets
        self._delays = (min(delay_s, longest_s), min(max_s, longest_s))
        self._patient_s = max(ATTEMPT_S, min(PATIENT_S, longest_s))
        self._callbacks = callbacks
        self._log = log
        self._resolver = Resolver()
        self._back_off = back_off(*self._delays)
        self._ceiling = 0.0
        self._session: Session | None = None
        self._began_s = 0.0
        self._turn = self._round = 0
        self._restarted = False
        self._mute: set[str] = set()
        self._blocked: set[str] = set()
        self._retry_s = self._deadline_s = math.inf
        self._same = 0
        self._last_failure: tuple[str, str] | None = None
        self._said_s = self._froze_s = -math.inf

    @property
    def url(self) -> str:
        """The master that is connected, or whose turn it is."""
        return self._targets[self._turn].url

    @property
    def trouble(self) -> str | None:
        """Why the last attempt failed, None: it did not."""
        return self._last_failure[1] if self._last_failure else None

    @property
    def last_packet_s(self) -> float:
        """The monotonic time of the last sign of life from the master on this connection."""
        session = self._session
        return session.last_packet_s if session else 0.0

    @property
    def has_others(self) -> bool:
        """Whether there is another master that has not been found mute."""
        return bool({target.url for target in self._targets} - self._mute - {self.url})

    @property
    def on_the_way(self) -> tuple[Any, ...]:
        """What was sent with `keep` and the master may not have read yet."""
        return self._session.on_the_way if self._session else ()

    def begin(self, now: float) -> None:
        self.lost_s = now
        self._try(now)

    def due(self) -> float:
        """The monotonic time at which `tick` has something to do, infinity: nothing."""
        return min(self._retry_s, self._deadline_s)

    def tick(self, now: float) -> None:
        session = self._session
        if self._deadline_s <= now and session:
            if session.dialer.reached and now < self._began_s + session.limit_s:
                self._deadline_s = self._began_s + session.limit_s
                return
            session.dialer.useless()
            session.abandon()
            if session.dialer.reached:
                self._blocked.add(self.url)
            limit_s = self._deadline_s - self._began_s
            self._failed(unanswered(session.target.url, limit_s, session.phase), now)
        elif self._retry_s <= now:
            self._try(now)

    def wake(self, now: float) -> None:
        """The network has changed: try at once, where nothing has answered yet."""
        if self._session and not (self.up or self._session.dialer.reached):
            if self._restarted or now < self._began_s + WAKE_S:
                return  # a network that changes all the time must leave an attempt its time
            self._restarted = True
            self._session.abandon()
            self._session = None
            self._deadline_s = math.inf
            self._retry_s = now
        elif self._session is None and self._retry_s != math.inf:
            self._retry_s = min(self._retry_s, max(now, self._began_s + WAKE_S))

    def froze(self, now: float) -> None:
        """This process or machine stood still until now: an end that is found before the master speaks again is put
        down to that.
        """
        self._froze_s = now

    def accepted(self, up: Connected, now: float) -> bool:
        """Take a Connected; False: it comes from a session that is over."""
        session = self._session
        if session is None or up.session is not session:
            return False
        self.up, self.up_s = up, now
        self._deadline_s = math.inf
        self._restarted = False
        self.lost_s = None
        self.made += 1
        self._last_failure, self._same = None, 0
        if up.transport == "websocket":
            self._blocked.discard(self.url)
        self._log.info(
            "connected",
            master=session.target.url,
            sid=up.sid,
            transport=up.transport,
            took_ms=(now - self._began_s) * 1000,
        )
        return True

    def ended(self, down: Disconnected, now: float) -> str | None:
        """Take a Disconnected; the reason when it ended the connection, None: there was none yet."""
        session = self._session
        if session is None or down.session is not session:
            return None
        if self.up is None:
            session.dialer.useless()
            if down.failure.blocked:
                self._blocked.add(self.url)
            self._failed(down.failure, now)
            return None
        lasted_s = now - self.up_s
        reason, cause = str(down.failure), down.failure.cause
        if session.last_packet_s < self._froze_s and cause in ("master_gone", "no_answer", "network"):
            cause = "frozen"
        self._log.warning("disconnected", reason=reason, cause=cause, connected_s=lasted_s)
        mute = session.last_packet_s <= self.up_s
        (self._mute.add if mute else self._mute.discard)(self.url)
        self._session = self.up = None
        self.lost_s = now
        lasted = not mute and lasted_s >= max(LASTED_S, self._ceiling)
        if lasted:
            # it was a success; one that was taken back at once counts as a failure
            self._back_off, self._round = back_off(*self._delays), 0
        self._next_turn(now, 0 if lasted else self._turn + 1)
        return reason

    def drop(self, reason: str) -> None:
        """End the connection; `Disconnected` follows. An attempt that is under way is another one's, and goes on."""
        if self.up and self._session:
            self._session.end(Failure(reason))

    def close(self, timeout_s: float) -> None:
        """Send what is queued, say goodbye, and begin nothing any more."""
        self._retry_s = self._deadline_s = math.inf
        if self._session:
            self._session.leave(timeout_s)
        if self.up:
            connected_s = time.monotonic() - self.up_s
            self._log.info(
                "disconnected", reason="this worker stops", cause="own_stop", connected_s=connected_s
            )
            self.up = None

    def send(
        self,
        event: str,
        data: object,
        keep: object | None = None,
        order: int | None = None,
        level: str = "INFO",
    ) -> bool:
        """Send an event, and log it at `level`; False: there is no connection, nothing was sent. `keep`: as for a
        session; `order` is the number of the order that it answers. What is larger than the master takes is cut.
        """
        session = self._session
        if session is None or self.up is None:
            return False
        limit = session.max_payload
        if limit and isinstance(data, dict) and len(encode(data)) + len(event) + ROOM > limit:
            data = shorten(data, limit - len(event) - ROOM)
        ack_id = JOIN_ACK_ID if event == "join" else None
        if not session.send(event, data, ack_id, keep):
            return False
        self._log.write(level, "sent", {"event": event, "data": data, "order": order})
        return True

    def ping(self, seq: int, data: str) -> bool:
        """Queue a keep-alive whose acknowledgement will carry `seq`. The ping thread's; not logged here."""
        session = self._session
        return session is not None and self.up is not None and session.send("ping", data, ack_id=seq)

    def acknowledge(self, session: object, ack_id: int, data: Any) -> None:
        """Acknowledge an event of the master; one of a connection that is over has nobody to hear it."""
        if self._session and session is self._session and self._session.acknowledge(ack_id, data):
            self._log.debug("acknowledged", data=data)

    def _try(self, now: float) -> None:
        target = self._targets[self._turn]
        self._retry_s = math.inf
        self._began_s = now
        self._deadline_s = now + ATTEMPT_S
        known = self._last_failure is not None and self._last_failure[0] == target.url
        (self._log.debug if known else self._log.info)("connecting", master=target.url)
        limit_s = min(self._patient_s, ATTEMPT_S * 2**self._round)
        self._session = Session(
            target, self._callbacks, self._log, self._resolver, limit_s, fall_back=target.url in self._blocked
        )
        self._session.start()

    def _failed(self, failure: Failure, now: float) -> None:
        url = self._targets[self._turn].url
        self._session = None
        self._restarted = False
        self._deadline_s = math.inf
        self._next_turn(now, self._turn + 1)
        same = self._last_failure == (url, failure.text)
        self._same = self._same + 1 if same else 0
        self._last_failure = (url, failure.text)
        if self._same < SAY_FIRST or now - self._said_s >= SAY_EVERY_S:
            self._said_s = now
            (self._log.error if failure.permanent else self._log.warning)(
                "connect_failed",
                master=url,
                error=failure.text,
                cause=failure.cause,
                retry_s=self._retry_s - now,
                repeats=self._same or None,
            )

    def _next_turn(self, now: float, turn: int) -> None:
        """The master of that number is next: at once, but after a delay where a round over all has failed."""
        self._turn = turn % len(self._targets)
        if self._turn:
            self._retry_s = now
            return
        if turn:
            self._round = min(self._round + 1, 10)
        delay, self._ceiling = next(self._back_off)
        self._retry_s = now + delay
