"""The connection to the master: made, kept and remade for ever.

One attempt at a time, each with a client of its own under a deadline (attempt.py); after a failed round over
all masters a back-off with full jitter. The owner's thread calls everything here but `send` and `ping`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any, Optional

from connection.attempt import Attempt
from connection.errors import Failure
from connection.link import Down, Hooks, Target, Up
from logging_setup import Log

ATTEMPT_S = 5.0
"""For which one master may take to accept, from the look-up of its name on."""
SAY_FIRST, SAY_EVERY_S = 3, 60.0
"""Of the same failure, the first few are logged, then one a minute with the number of the silent ones."""


def back_off(
    delay_s: float, max_s: float, chance: Callable[[], float] = random.random
) -> Iterator[tuple[float, float]]:
    """For ever: a delay drawn from 0 to a ceiling, and the ceiling, which doubles from `delay_s` to `max_s`.

    "Full jitter": nodes that lost one master at one time do not come back at one time.
    """
    ceiling = delay_s
    while True:
        yield chance() * ceiling, ceiling
        ceiling = min(max_s, ceiling * 2)


class Connection:
    """`lost_s` is the monotonic time since which there is no master, None: there is one; `made` counts those that
    a master accepted.
    """

    def __init__(
        self, targets: tuple[Target, ...], delay_s: float, max_s: float, hooks: Hooks, log: Log
    ) -> None:
        self.lost_s: Optional[float] = None
        self.made = 0
        self._targets = targets
        self._delays = (delay_s, max_s)
        self._hooks = hooks
        self._log = log
        self._back_off = back_off(*self._delays)
        self._ceiling = 0.0
        self._attempt: Optional[Attempt] = None
        self._up: Optional[Up] = None
        self._up_s = self._began_s = 0.0
        self._turn = 0
        self._retry_s = self._deadline_s = math.inf
        self._same = 0
        self._last_failure: Optional[tuple[str, str]] = None
        self._said_s = -math.inf

    @property
    def up(self) -> Optional[Up]:
        """The connection that the master accepted, None: there is none now."""
        return self._up

    @property
    def up_s(self) -> float:
        """The monotonic time since which it stands."""
        return self._up_s

    @property
    def url(self) -> str:
        """The master that is connected, or whose turn it is."""
        return self._targets[self._turn].url

    @property
    def trouble(self) -> Optional[str]:
        """Why the last attempt failed, None: it did not."""
        return self._last_failure[1] if self._last_failure else None

    @property
    def last_packet_s(self) -> float:
        """The monotonic time of the last packet of any kind from the master on this connection."""
        attempt = self._attempt
        return attempt.last_packet_s if attempt else 0.0

    def begin(self, now: float) -> None:
        self.lost_s = now
        self._try(now)

    def due(self) -> float:
        """The monotonic time at which `tick` has something to do, infinity: nothing."""
        return min(self._retry_s, self._deadline_s)

    def tick(self, now: float) -> None:
        if self._deadline_s <= now and self._attempt:
            attempt = self._attempt
            attempt.abandon()
            self._failed(
                Failure(f"no answer from {attempt.target.url} in {ATTEMPT_S:g} s, {attempt.phase}"), now
            )
        elif self._retry_s <= now:
            self._try(now)

    def accepted(self, up: Up, now: float) -> bool:
        """Take an Up; False: it comes from an attempt that is over."""
        if up.attempt is not self._attempt:
            return False
        self._up, self._up_s = up, now
        self._deadline_s = math.inf
        self.lost_s = None
        self.made += 1
        self._last_failure, self._same = None, 0
        self._log.info(
            "connected",
            master=up.attempt.target.url,
            sid=up.sid,
            transport=up.transport,
            took_ms=(now - self._began_s) * 1000,
        )
        return True

    def ended(self, down: Down, now: float) -> Optional[str]:
        """Take a Down; the reason when it ended the connection, None: it did not, or there was none yet."""
        if down.attempt is not self._attempt:
            return None
        if self._up is None:
            self._failed(down.failure, now)
            return None
        lasted_s = now - self._up_s
        reason = str(down.failure)
        self._log.warning("disconnected", reason=reason, connected_s=lasted_s)
        self._attempt = self._up = None
        self.lost_s = now
        # one that lasted was a success; one that was taken back at once counts as a failure
        if lasted_s >= self._ceiling:
            self._back_off = back_off(*self._delays)
        self._turn = 0
        self._wait(now)
        return reason

    def drop(self, reason: str) -> None:
        """End the connection; `Down` follows. An attempt that is under way is another one's, and goes on."""
        if self._up:
            self._up.attempt.drop(reason)

    def close(self, timeout_s: float) -> None:
        """Send what is queued, say goodbye, and begin nothing any more."""
        self._retry_s = self._deadline_s = math.inf
        if self._attempt:
            self._attempt.leave(timeout_s)

    def send(self, event: str, data: object, keep: Optional[object] = None) -> bool:
        """Send and log an event; False: there is no connection, nothing was sent. `keep`: as for an attempt."""
        if self._up is None or not self._up.attempt.send(event, data, keep=keep):
            return False
        self._log.info("sent", event=event, data=data)
        return True

    def ping(self, seq: int, data: str) -> bool:
        """Queue a keep-alive whose acknowledgement will carry `seq`. The ping thread's; not logged here."""
        up = self._up
        return up is not None and up.attempt.send("ping", data, ack_id=seq)

    def acknowledge(self, attempt: Attempt, ack_id: int, data: Any) -> None:
        """Acknowledge an event of the master; one of a connection that is over has nobody to hear it."""
        if attempt.acknowledge(ack_id, data):
            self._log.debug("acknowledged", data=data)

    def _try(self, now: float) -> None:
        target = self._targets[self._turn]
        self._retry_s = math.inf
        self._began_s = now
        self._deadline_s = now + ATTEMPT_S
        level = "INFO" if self._last_failure is None or self._last_failure[0] != target.url else "DEBUG"
        self._log.write(level, "connecting", {"master": target.url})
        self._attempt = Attempt(target, self._hooks, self._log)
        self._attempt.start()

    def _failed(self, failure: Failure, now: float) -> None:
        url = self._targets[self._turn].url
        self._attempt = None
        self._deadline_s = math.inf
        self._turn = (self._turn + 1) % len(self._targets)
        if self._turn:
            self._retry_s = now
        else:
            self._wait(now)
        same = self._last_failure == (url, failure.text)
        self._same = self._same + 1 if same else 0
        self._last_failure = (url, failure.text)
        if self._same < SAY_FIRST or now - self._said_s >= SAY_EVERY_S:
            self._said_s = now
            self._log.write(
                "ERROR" if failure.mend else "WARNING",
                "connect_failed",
                {
                    "master": url,
                    "error": failure.text,
                    "retry_s": self._retry_s - now,
                    "repeats": self._same or None,
                },
            )

    def _wait(self, now: float) -> None:
        delay, self._ceiling = next(self._back_off)
        self._retry_s = now + delay
