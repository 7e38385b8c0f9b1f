"""Faults let loose on a stage one after another, and after each: whether all is as it must be."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from logs.format import Entry
from tests.chaos import commands, judge
from tests.chaos.faults import Step
from tests.chaos.stage import NOTICED_S, RECONNECT_DELAY_MAX_S, Stage
from tests.lab.masters import Heard

START_S = 15.0
ANSWERED_S = 5.0


About = tuple[str, str]


class Violation(AssertionError):
    """A fault after which not all was as it must be; one complaint a line."""


@dataclass(frozen=True)
class Result:
    """`back_s` is the time from the fault's end to the new connection, None: it ended none."""

    step: Step
    ends: int
    back_s: float | None
    late_s: float


class Play:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._pings = judge.Pings()
        self._held: dict[int, str] = {}
        self._sid = ""
        self._before: deque[tuple[bool, set[About]]] = deque(maxlen=2)
        """Of the last faults, whether orders came of which nobody knows, and what the others were about."""
        try:
            joined = stage.master.wait("join", limit_s=START_S)
            stage.master.wait("ping", 2, limit_s=START_S)
            self._wait(lambda: stage.comms.of("connected"), START_S, "no line says that it is connected")
        except (Violation, pytest.fail.Exception) as exc:
            raise Violation(f"it did not start: {exc} {stage.worker.said}") from exc
        self._sid = joined.sid
        stage.comms.take()

    def play(self, step: Step) -> Result:
        """Raises Violation."""
        stage, fault = self._stage, step.fault
        stage.late.start()
        since = len(stage.master.heard)
        for order in step.before:
            stage.order(order)
        lift = fault.strike(stage)
        try:
            time.sleep(fault.hold_s / 2)
            for order in step.during:
                stage.order(order)
            time.sleep(fault.hold_s / 2)
        finally:
            lift()
        lifted_s, lifted_at = time.monotonic(), time.time() + stage.offset.get()
        self._come_back(step, lifted_s, lifted_at)
        complaints = [*self._answered(step, since), *self._holds(step)]
        late_s = stage.late.worst_s
        sids = {heard.sid for heard in stage.master.heard if heard.event == "connect"}
        comms, pings = stage.comms.take(), stage.pings.take()
        complaints += judge.told(fault, comms, sids, late_s)
        complaints += self._pings.told(fault, comms, pings, late_s)
        complaints += self._sound()
        if complaints:
            # so that they are there to be shown
            stage.comms.new[:0], stage.pings.new[:0] = comms, pings
            raise Violation("\n".join(complaints))
        ends = sum(entry.event == "disconnected" for entry in comms)
        connected = [
            heard
            for heard in stage.master.heard[since:]
            if heard.event == "connect" and heard.sid == self._sid
        ]
        back_s = max(0.0, connected[-1].at_s - lifted_s) if connected else None
        if len(stage.master.heard) > 20_000:
            del stage.master.heard[:-10_000]
        return Result(step, ends, back_s, late_s)

    def _come_back(self, step: Step, lifted_s: float, lifted_at: float) -> None:
        stage, fault = self._stage, step.fault
        limit_s = RECONNECT_DELAY_MAX_S + 2 + fault.extra_s + (NOTICED_S if fault.misses else 0.0)
        seen = len(stage.pings.read())

        def why_not() -> str | None:
            comms = stage.comms.read()
            changes = [entry for entry in comms if entry.event in ("connected", "disconnected")]
            if changes:
                self._sid = changes[-1].fields.get("sid", "")
            ends = sum(entry.event == "disconnected" for entry in changes)
            least, _ = fault.ended(stage.late.worst_s)
            if ends < least:
                return f"{ends} connections ended, not {least}"
            if not self._sid:
                return "it is not connected"
            # who polled and was cut off is gone for the master when no ping is answered, and not before
            polled = {heard.sid for heard in stage.master.all("polls")}
            if [sid for sid in stage.master.sids if sid == self._sid or sid not in polled] != [self._sid]:
                return f"the master has {stage.master.sids}, the worker {self._sid}"
            if not fault.settled(stage, comms):
                return "not all has come about"
            fresh = [ping for ping in stage.pings.read()[seen:] if ping.event == "ping"]
            if fault.steps:
                return None if len(fresh) >= 3 else "no three pings were acknowledged"
            if not any(_sent_at(ping) > lifted_at for ping in fresh):
                return "no ping that it sent since was acknowledged"
            return None

        self._wait(lambda: not why_not(), limit_s, why_not, lifted_s)

    def _wait(
        self, met: Callable[[], Any], limit_s: float, why_not: Any, since_s: float | None = None
    ) -> None:
        since_s = time.monotonic() if since_s is None else since_s
        while not met():
            over_s = time.monotonic() - since_s
            if over_s > limit_s + 2 * self._stage.late.worst_s:
                why = why_not() if callable(why_not) else why_not
                raise Violation(f"after {over_s:.1f} s: {why}")
            if self._stage.worker.process.poll() is not None:
                raise Violation(f"the worker ended with {self._stage.worker.process.returncode}")
            time.sleep(0.02)

    def _try(self, met: Callable[[], Any], limit_s: float) -> bool:
        try:
            self._wait(met, limit_s, "")
        except Violation:
            return False
        return True

    def _answered(self, step: Step, since: int) -> Iterator[str]:
        """Gives the last order, and reports what is wrong with the answers to all that came."""
        stage, fault = self._stage, step.fault
        earlier = [*step.before, *fault.orders, *step.during]
        given = [*earlier, step.after]

        def arrived() -> list[commands.Order]:
            return [order for order in commands.received(stage.comms.read()) if order in given]

        def came() -> Counter[About]:
            return Counter(map(_about, arrived()))

        def overtaken() -> Counter[About]:
            """Orders whose answer is left out if it could not be sent before the opposite was ordered."""
            orders = [_about(order) for order in arrived()]
            return Counter(
                about
                for n, about in enumerate(orders)
                if any(owner == about[1] and event != about[0] for event, owner in orders[n + 1 :])
            )

        def answers(start: int = since) -> list[Heard]:
            return [
                heard for heard in stage.master.heard[start:] if heard.event in commands.OUTCOMES.values()
            ]

        def said() -> Counter[About]:
            return Counter(commands.about(heard.event, heard.data) for heard in answers())

        def ended() -> bool:
            return any(entry.event == "disconnected" for entry in stage.comms.read())

        def all_said(orders: list[commands.Order]) -> bool:
            if not ended() and Counter(map(_about, orders)) - came():
                return False
            owed = came() - said()
            return fault.strangers or fault.dismisses or not (owed - overtaken() if ended() else owed)

        self._try(lambda: all_said(earlier), ANSWERED_S + fault.extra_s)
        after = len(stage.master.heard)
        stage.order(step.after)
        wanted = _about(step.after)

        def last() -> list[Heard]:
            return [heard for heard in answers(after) if commands.about(heard.event, heard.data) == wanted]

        if not self._try(lambda: last() and wanted in came() and all_said(given), ANSWERED_S + fault.extra_s):
            yield f"orders came: {dict(came())}, the last one was {step.after}; answered were {dict(said())}"
            return
        if ("error" not in last()[-1].data) != commands.is_valid(step.after):
            yield f"{step.after} was answered with {last()[-1].data}"
        if not ended():
            sent = Counter(map(_about, given))
            if not sent == came() == said():
                yield f"orders given: {dict(sent)}, that came: {dict(came())}, answered: {dict(said())}"
        elif not fault.strangers and not any(strangers for strangers, _ in self._before):
            # an answer may be said twice where the link broke, and those before may have been the link's last
            strange = set(said()).difference(map(_about, given), *(about for _, about in self._before))
            if strange:
                yield f"answered without an order: {strange}"
        self._before.append((fault.strangers, set(map(_about, given))))

    def _holds(self, step: Step) -> Iterator[str]:
        """Whether it holds, and says so, what the last orders leave."""
        stage, before = self._stage, self._held
        given = [*step.before, *step.fault.orders, *step.during, step.after]

        def wanted() -> dict[str, str]:
            if not step.fault.obeyed:
                return self._says_held() or {}
            # read each time: an answer may be heard before the line of its order is written
            orders = [order for order in commands.received(stage.comms.read()) if order in given]
            return {str(owner): ip for owner, ip in commands.held_after(before, orders).items()}

        def holds() -> bool:
            there, right = stage.addresses(), wanted()
            return self._says_held() == right and there in (None, set(right.values()))

        if not self._try(holds, ANSWERED_S):
            yield f"it must hold {wanted()}, says {self._says_held()}, and has {stage.addresses()}"
        self._held = {int(owner): ip for owner, ip in wanted().items()}

    def _says_held(self) -> dict[str, str] | None:
        """What it last told the master, on this connection."""
        for heard in reversed(self._stage.master.heard):
            if heard.sid == self._sid and isinstance(heard.data, dict) and "held" in heard.data:
                return heard.data["held"]
        return None

    def _sound(self) -> Iterator[str]:
        stage = self._stage
        for follow in (stage.comms, stage.pings):
            for line in follow.bad:
                yield f"{follow.path.name} has a line that is none: {line[:300]!r}"
            follow.bad.clear()
        if stage.worker.said:
            yield f"on its stderr: {stage.worker.said[:2000]}"


def _about(order: commands.Order) -> About:
    return commands.about(*order)


def _sent_at(ping: Entry) -> float:
    # the line's time is cut to milliseconds
    return ping.when.timestamp() - float(ping.fields["rtt_ms"]) / 1000
