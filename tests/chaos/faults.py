"""What a fault is, and the sequence of them that a seed gives."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from logs.format import Entry
from tests.chaos import stage as stages
from tests.chaos.commands import Order, draw
from tests.chaos.stage import Stage

Lift = Callable[[], None]
LOST = r"(the master )?(closed|disconnected|is gone).*|.*(closed|reset|aborted|broken pipe|goodbye|unreachable|EOF|broke).*"
"""Reasons of a connection that was cut."""
SILENT = r"\d+ pings in a row without an answer"


@dataclass(frozen=True)
class Fault:
    """One fault, that is struck, holds for `hold_s` and is lifted. `seed` gives what else it draws.

    The class says what a worker's story may and must hold for it.
    """

    hold_s: float
    seed: int

    kind: ClassVar[str] = ""
    needs: ClassVar[str] = ""
    """`disk` or `namespaces`: on a stage without it there is no such fault."""
    holds: ClassVar[tuple[float, float]] = (0.0, 0.0)
    weight: ClassVar[float] = 1.0
    ends: ClassVar[tuple[int, int]] = (0, 0)
    """How many connections it ends, at least and at most."""
    reasons: ClassVar[str] = LOST
    """Of those ends, a pattern."""
    failures: ClassVar[str] = ""
    """Of attempts to connect, a pattern; empty: none may fail."""
    events: ClassVar[frozenset[str]] = frozenset()
    """Lines that it may cause besides."""
    extra_s: ClassVar[float] = 0.0
    """By which it may hold up the reconnection, after it was lifted."""
    misses: ClassVar[bool] = False
    """Whether pings may go unanswered."""
    paced: ClassVar[bool] = True
    """Whether pings keep their cadence through it."""
    steps: ClassVar[bool] = False
    """Whether the wall clock, and with it the lines' time, may jump."""
    obeyed: ClassVar[bool] = True
    """Whether every valid order is carried out through it."""
    orders: ClassVar[tuple[Order, ...]] = ()
    """Those that it gives itself."""
    strangers: ClassVar[bool] = False
    """Whether another than the master may let the worker in, and be given the answers."""
    dismisses: ClassVar[bool] = False
    """Whether the master says goodbye: then it wants no answers any more, and those on their way are not repeated."""

    def ended(self, late_s: float) -> tuple[int, int]:
        """`ends` on a machine that was late by so much."""
        return self.ends

    def strike(self, stage: Stage) -> Lift:
        """Begin; returns what ends it."""
        return lambda: None

    def settled(self, stage: Stage, entries: Sequence[Entry]) -> bool:
        """Whether all has come about, and is in comms.log's entries since it was struck, that it is to bring."""
        return True

    def complaints(self, entries: Sequence[Entry]) -> Iterable[str]:
        """What is wrong with comms.log since it was struck, besides what the class says."""
        return ()

    @property
    def rng(self) -> random.Random:
        return random.Random(self.seed)


class Calm(Fault):
    """None: nothing may happen."""

    kind = "calm"
    holds = (0.1, 1.0)
    weight = 0.5


class Silence(Fault):
    """The master says nothing for a while: whether that ends the connection depends on how long it lasts."""

    holds = (0.1, 3.5)
    reasons = SILENT
    failures = r"no answer from .*|.*(closed|reset).*"
    misses = True

    def ended(self, late_s: float) -> tuple[int, int]:
        at_least = int(self.hold_s > stages.NOTICED_S + 0.5 + late_s)
        at_most = int(self.hold_s > stages.PING_TIMEOUT_S - 0.3 - late_s)
        return at_least, at_most


@dataclass(frozen=True)
class Step:
    """A fault with its number in the sequence, and the orders that are given meanwhile."""

    number: int
    fault: Fault
    before: tuple[Order, ...]
    during: tuple[Order, ...]
    after: Order
    """Is given when all is well again."""

    def __str__(self) -> str:
        fault = self.fault
        orders = " ".join(f"{when}={getattr(self, when)}" for when in ("before", "during", "after"))
        return f"fault {self.number}: {fault.kind} hold_s={fault.hold_s:.3f} seed={fault.seed} {orders}"


def plan(seed: int, kinds: Sequence[type[Fault]], first: int, number: int) -> list[Step]:
    """The faults `first` to `first + number - 1` of a seed's endless sequence. Each is a function of the seed and its
    number, so that one can be tried alone.
    """
    steps = []
    for n in range(first, first + number):
        rng = random.Random(f"{seed}:{n}")
        kind = rng.choices(kinds, [kind.weight for kind in kinds])[0]
        fault = kind(rng.uniform(*kind.holds), rng.getrandbits(32))
        before, during = (tuple(draw(rng) for _ in range(rng.choice([0, 0, 1, 2]))) for _ in range(2))
        steps.append(Step(n, fault, before, during, draw(rng)))
    return steps


def one_of_each(seed: int, kinds: Sequence[type[Fault]], *, patience: float = 1.0) -> list[Step]:
    """Each kind once, in an order that a seed gives; of the range of `hold_s` only the part `patience` is drawn from."""
    rng = random.Random(seed)
    steps = []
    for n, kind in enumerate(rng.sample(kinds, len(kinds)), 1):
        least, most = kind.holds
        fault = kind(rng.uniform(least, least + patience * (most - least)), rng.getrandbits(32))
        before, during = ((draw(rng),) for _ in range(2))
        steps.append(Step(n, fault, before, during, draw(rng)))
    return steps
