"""Faults of the master, and of what answers in its place."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable
from typing import ClassVar

from tests.chaos import impostors
from tests.chaos import stage as stages
from tests.chaos.faults import LOST, SILENT, Fault, Lift, Silence
from tests.chaos.stage import Stage
from tests.lab.masters import Raw

CLOSED = r".* closed the connection during the handshake|connection refused: .*"


class Kill(Fault):
    """The master is killed, and started again."""

    kind = "master killed"
    holds = (0.0, 1.5)
    weight = 1.5
    ends = (1, 1)
    failures = CLOSED

    def strike(self, stage: Stage) -> Lift:
        stage.master.kill()
        return stage.master.start


class Freeze(Silence):
    kind = "master frozen"

    def strike(self, stage: Stage) -> Lift:
        stage.master.send(signal.SIGSTOP)
        return lambda: stage.master.send(signal.SIGCONT)


class Kick(Fault):
    kind = "kicked"
    ends = (1, 1)
    reasons = "the master disconnected this node"
    dismisses = True

    def strike(self, stage: Stage) -> Lift:
        stage.master.kick()
        return super().strike(stage)


class Refuse(Fault):
    """It lets nobody in, for a reason of its own, after it threw out who was in."""

    kind = "refused"
    holds = (0.1, 2.0)
    ends = (1, 1)
    reasons = "the master disconnected this node"
    dismisses = True
    failures = r"(?s)the master refused this node: .*"

    def strike(self, stage: Stage) -> Lift:
        text = "".join(self.rng.choices('not today \n\x1b[31m"]=\\\u202eü', k=12))
        stage.master.refuse(text)
        stage.master.kick()
        return lambda: stage.master.refuse(None)


class Slow(Fault):
    """Every handler of the master takes its time, and with it each acknowledgement."""

    kind = "slow handlers"
    holds = (0.5, 2.5)

    def strike(self, stage: Stage) -> Lift:
        stage.master.slow(self.rng.uniform(0.05, stages.PING_TIMEOUT_S - 0.4))
        return lambda: stage.master.slow(0.0)


class TooSlow(Fault):
    """So much time that the master passes for dead, at least once."""

    kind = "handlers too slow"
    holds = (0.5, 3.0)
    ends = (0, 1)
    reasons = SILENT
    misses = True
    extra_s = stages.NOTICED_S

    def strike(self, stage: Stage) -> Lift:
        stage.master.slow(self.rng.uniform(2.0, 3.0))
        return lambda: stage.master.slow(0.0)


class Impostor(Fault):
    """Something else answers in the master's place."""

    holds = (0.2, 2.0)
    ends = (1, 1)
    failures = r"(?s).*"
    acts: ClassVar[Callable[[random.Random], impostors.Act]]

    def strike(self, stage: Stage) -> Lift:
        raw = Raw(type(self).acts(self.rng))
        true, stage.relay.target = stage.relay.target, ("127.0.0.1", raw.port)
        stage.relay.cut()

        def lift() -> None:
            stage.relay.target = true
            raw.close()

        return lift


class WrongHttp(Impostor):
    kind = "wrong HTTP"
    weight = 2.0
    acts = impostors.wrong_http


class Mute(Impostor):
    kind = "nothing answers"
    acts = impostors.mute


class WrongHandshake(Impostor):
    kind = "wrong handshake"
    weight = 2.0
    events = frozenset({"received unreadable"})
    acts = impostors.wrong_handshake


class WrongPackets(Impostor):
    """It lets the node in, says what no master says, and hangs up, or not."""

    kind = "wrong packets"
    weight = 2.0
    ends = (1, 500)
    reasons = rf"(?s){LOST}|{SILENT}|Unexpected .*|the master refused this node: .*|.*(frame|opcode|packet).*"
    events = frozenset({"library", "received unreadable", "order_refused"})
    misses = True
    strangers = True
    acts = impostors.wrong_packets


class Burst(Fault):
    """Thousands of events at once, and an order among them."""

    kind = "burst"
    weight = 0.7
    extra_s = 30.0
    orders = (("restore", {"restore_node": 8}),)
    number: ClassVar[int] = 5000

    def strike(self, stage: Stage) -> Lift:
        with contextlib.suppress(OSError):
            stage.master.burst("news", self.number, 480, self.orders[0])
        return super().strike(stage)

    def settled(self, stage, entries):
        return bool(entries) and self._numbers(entries)[-1:] == [self.number - 1]

    def complaints(self, entries):
        numbers = self._numbers(entries)
        if numbers != list(range(self.number)):
            missing = sorted(set(range(self.number)) - set(numbers))
            yield f"of {self.number} events {len(numbers)} are in comms.log, missing {missing[:10]}, or out of order"

    @staticmethod
    def _numbers(entries):
        return [
            int(entry.fields["data"].partition(",")[0].rpartition(":")[2])
            for entry in entries
            if entry.event == "received" and entry.fields["event"] == "news"
        ]


KINDS = (Kill, Freeze, Kick, Refuse, Slow, TooSlow, WrongHttp, Mute, WrongHandshake, WrongPackets, Burst)
