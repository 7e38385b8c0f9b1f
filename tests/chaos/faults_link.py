"""Faults of the link: what lies between the worker and its master breaks, stalls, or garbles."""

from __future__ import annotations

from tests.chaos import stage as stages
from tests.chaos.faults import LOST, SILENT, Fault, Lift, Silence
from tests.chaos.stage import Stage
from tests.lab.relay import DOWN, UP

CUT = r".*(closed|reset|refused|no answer).*"


class Cut(Fault):
    kind = "link cut"
    ends = (1, 1)

    def strike(self, stage: Stage) -> Lift:
        stage.relay.cut()
        return super().strike(stage)


class Reset(Fault):
    kind = "link reset"
    ends = (1, 1)

    def strike(self, stage: Stage) -> Lift:
        stage.relay.cut(reset=True)
        return super().strike(stage)


class RefuseConnections(Fault):
    """The port is closed for a while."""

    kind = "port closed"
    holds = (0.1, 2.0)
    ends = (1, 1)
    failures = r"connection refused: .*"

    def strike(self, stage: Stage) -> Lift:
        stage.relay.refuse()
        stage.relay.cut()
        return stage.relay.accept


class HalfOpen(Fault):
    """What goes into one or both directions vanishes; in the end the connections of that time break."""

    kind = "half-open"
    holds = (0.2, 3.5)
    ends = (1, 1)
    reasons = f"{LOST}|{SILENT}"
    failures = CUT
    misses = True

    def strike(self, stage: Stage) -> Lift:
        stage.relay.swallows = self.rng.choice([{UP}, {DOWN}, {UP, DOWN}])

        def lift() -> None:
            stage.relay.swallows = set()
            stage.relay.cut()

        return lift


class Stall(Silence):
    """Nothing is read on either side, and nothing is lost."""

    kind = "stalled"

    def strike(self, stage: Stage) -> Lift:
        stage.relay.stalled = True

        def lift() -> None:
            stage.relay.stalled = False

        return lift


class Chop(Fault):
    """What passes next is cut somewhere in the middle, and then comes the end, nothing, or noise."""

    kind = "frame cut"
    weight = 3.0
    holds = (0.3, 3.0)
    ends = (1, 2)
    reasons = rf"(?s){LOST}|{SILENT}|Unexpected .*|.*(frame|opcode|packet|payload).*"
    failures = CUT
    events = frozenset({"received unreadable"})
    extra_s = stages.NOTICED_S
    misses = True

    def strike(self, stage: Stage) -> Lift:
        rng, relay = self.rng, stage.relay
        which, then = rng.choice([UP, DOWN]), rng.choice(["end", "reset", "nothing", "noise"])
        at, noise = rng.random(), rng.randbytes(rng.randint(1, 300))
        done = []

        def alter(direction: str, data: bytes) -> bytes:
            if direction != which or done or len(data) < 2:
                return data
            done.append(True)
            kept = data[: max(1, int(len(data) * at))]
            return kept + noise if then == "noise" else kept

        def after(direction: str, data: bytes) -> None:
            if done == [True] and direction == which:
                done.append(True)
                if then == "nothing":
                    relay.swallows = {which}
                elif then != "noise":
                    relay.cut(reset=then == "reset")

        relay.alter, relay.on_passing = alter, after

        def lift() -> None:
            relay.alter, relay.on_passing = lambda direction, data: data, lambda direction, data: None
            relay.swallows = set()
            # neither the half of a frame nor the noise is ever made good
            relay.cut()

        return lift


class CableCut(Silence):
    """Node's cable is pulled and plugged in again; TCP then takes a while to send again what was lost."""

    kind = "cable pulled"
    needs = "namespaces"
    holds = (0.1, 2.0)  # beyond 3 s without carrier what is held is released
    failures = r".*(no answer|unreachable|No route|closed).*"
    events = frozenset({"watch_failed"})
    extra_s = 5.0
    obeyed = False

    def ended(self, late_s: float) -> tuple[int, int]:
        return int(self.hold_s > stages.NOTICED_S + 0.5 + late_s), int(self.hold_s > 0.3 - late_s)

    def strike(self, stage: Stage) -> Lift:
        stage.host.cut()
        return stage.host.mend


class LinkDown(CableCut):
    """The node's card is switched off and on."""

    kind = "card down"

    def strike(self, stage: Stage) -> Lift:
        stage.host.down()
        return stage.host.up


KINDS = (Cut, Reset, RefuseConnections, HalfOpen, Stall, Chop, CableCut, LinkDown)
