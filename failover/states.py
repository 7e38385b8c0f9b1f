"""One address ordered of this node: its state, and when what is due for it. No I/O; times are monotonic seconds."""

import math
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address

from failover.orders import Recover
from network.base import Vip

PROBES = 3
"""Probes (RFC 5227 §2.1.1) in the time for which the wire is probed."""
WATCH_S = 0.95
"""Seconds between two requests while an address is held: a little less than the second that two holders may last."""
AGAIN_S = 1.0
"""Seconds between two rounds while a live owner is waited for, and before a failed change is tried again."""
CONFLICT_S = 3.0
"""Seconds for which the wire is asked after somebody claimed an address that was held."""
OWNER_START_S = 10.0
"""Seconds that an owner gets to come up after it probed for its address."""
VERIFY_S = 0.2
"""Seconds in which a MAC that is said to use another address must answer for it."""
ADOPT_PROBE_S = 0.2
"""Seconds at least for which the wire is asked about an address that was found at start."""
RETAKES, RETAKES_WITHIN_S = 3, 600.0
ANNOUNCE_AT_S = (0.0, 0.4, 0.8, 1.5, 5.0)
"""Three in the first second, since some devices miss one and Linux ignores a change within 1 s of the last."""
ANNOUNCE_EVERY_S = 60.0
LOG_AGAIN_S = 60.0
ABSENCE_S = 1200.0
"""Seconds without an order for an address in use, after which the next is of another absence of its owner's worker."""


class State(Enum):
    FREE = "not held, not ordered"
    PROBING = "ordered; the wire is being probed"
    OWNER_ALIVE = "ordered; its owner answers, and may be on its way down"
    HELD = "held"
    REVERIFYING = "held; the wire is being asked, since the link or the process was away"
    IN_CONFLICT = "removed since another MAC claimed it; the wire is being asked"
    LOST = "gone from the interface; the wire is being asked"
    ADOPTING = "left by an earlier run; the wire is being asked"


HOLDING = (State.HELD, State.REVERIFYING)
TAKING = (State.PROBING, State.OWNER_ALIVE)


class Event(Enum):
    RECOVER = "a valid `recover`"
    RESTORE = "`restore` for that node"
    NO_CONFLICT = "silence for as long as the wire was asked"
    CONFLICT = "another MAC uses it: an answer or a claim"
    OWNER_PROBE = "a probe from the owner's known MAC"
    SIMULTANEOUS_PROBE = "a probe from a lower MAC than this node's, of a host that wants it too"
    CONFLICT_WAIT_OVER = "CONFLICT_WAIT over"
    PROBE_FAILED = "a probe could not be sent"
    REMOVED = "gone from the interface without an order"
    REVALIDATE = "the link came back, or the process or machine was frozen"
    CARRIER_LOST = "its interface is without carrier for longer than a flap"
    MASTER_LOST = "MASTER_LOSS_RELEASE over"
    STOP = "the worker stops"


@dataclass(frozen=True)
class Suspect:
    """A probe from what may be the owner's MAC, unless that MAC really has the other address that it was seen with."""

    mac: str
    other_ip: IPv4Address
    due_s: float


@dataclass
class VipState:
    """`orders` are the recovers that wait for an answer, `answered` is the one that was answered with success,
    `number` that of the order to which the log lines belong.

    `owner_mac` is the owner's MAC, None: unknown; `owner_told`: the master said so, else it is a guess that has to
    be verified; `owner_also_uses` is another address that the guessed MAC was seen to use. `other_mac` is the one
    that spoke last, `user_mac` the one that last answered for the address while it was probed for, `prober` a
    stranger's that last probed for it, and when. `trouble` says why the machine could not do what was asked of it.
    """

    vip: Vip
    state: State = State.FREE
    orders: list[Recover] = field(default_factory=list)
    answered: Recover | None = None
    number: int | None = None
    owner_mac: str | None = None
    owner_told: bool = False
    owner_also_uses: IPv4Address | None = None
    suspect: Suspect | None = None
    other_mac: str | None = None
    user_mac: str | None = None
    prober: tuple[str, float] | None = None
    trouble: str = ""
    taken_s: float = 0.0
    probing_since_s: float = 0.0
    probing_for_s: float = 0.0
    probes: int = PROBES
    verdict_s: float = math.inf
    round_s: float = math.inf
    wait_ends_s: float = math.inf
    renew_s: float = math.inf
    watch_s: float = math.inf
    _probe_s: float = math.inf
    _probes_left: int = 0
    _announcements: list[float] = field(default_factory=list)
    _retakes: list[float] = field(default_factory=list)
    _logged: dict[str, float] = field(default_factory=dict)

    def begin_probing(self, now: float, for_s: float, probes: int = PROBES) -> None:
        """Begin anew to ask the wire for `for_s` seconds; with 0 it is asked once, and not waited for."""
        self.probing_since_s, self.probing_for_s, self.probes = now, for_s, probes
        self.verdict_s = self.round_s = math.inf
        self._probe_s = now
        self._probes_left = probes if for_s else 1

    def probed(self, now: float) -> None:
        """A probe was really sent at `now`: only from then on is silence counted, in which the next one or the verdict is due."""
        self._probes_left -= 1
        after_s = now + self.probing_for_s / self.probes
        self._probe_s = after_s if self._probes_left else math.inf
        self.verdict_s = math.inf if self._probes_left else after_s

    def end_probing(self) -> None:
        self.verdict_s = self._probe_s = math.inf

    def hold(self, now: float, lease_s: float) -> None:
        """It was just taken, and announced once."""
        self.end_probing()
        self.taken_s = now
        self.wait_ends_s = self.round_s = math.inf
        self.renew_s = now + lease_s / 3 if lease_s else math.inf
        self.watch_s = now + WATCH_S
        self._announcements = [now + after for after in ANNOUNCE_AT_S[1:]]

    def announce_again(self, now: float) -> None:
        """Begin the series of announcements anew, with one that is due at once."""
        self._announcements = [now + after for after in ANNOUNCE_AT_S]

    def probe_due(self, now: float) -> bool:
        return self._probe_s <= now

    def announcement_due(self, now: float) -> bool:
        later = [at for at in self._announcements if at > now]
        due = len(later) < len(self._announcements)
        self._announcements = later or [now + ANNOUNCE_EVERY_S]
        return due

    def may_retake(self, now: float) -> bool:
        """Whether it may be taken again after a conflict, and if so, count it."""
        self._retakes = [at for at in self._retakes if at > now - RETAKES_WITHIN_S]
        if len(self._retakes) >= RETAKES:
            return False
        self._retakes.append(now)
        return True

    def may_log(self, reason: str, now: float) -> bool:
        """Whether that trouble is to be logged, which it is once a minute while it lasts."""
        due = self._logged.get(reason, -math.inf) <= now
        if due:
            self._logged[reason] = now + LOG_AGAIN_S
        return due

    def due_s(self) -> float:
        """When `Failover.tick` has something to do for it next."""
        if self.state in HOLDING:
            return min([self.renew_s, self.watch_s, self._probe_s, *self._announcements])
        return min(self.round_s, self._probe_s)

    def verdict_due_s(self) -> float:
        """When `Failover.judge` has to decide next."""
        return min(self.verdict_s, self.wait_ends_s, self.suspect.due_s if self.suspect else math.inf)
