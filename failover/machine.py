"""Taking a dead node's address and giving it back: a table of states, without I/O of its own.

Everything that happens to an address ordered of this node is a `Happening`; what the worker then does is the
cell of TABLE for the state in which the address is. Time comes in as monotonic seconds, the machine is the
`Network` that was given, answers to the master go out through `answer`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, Optional

from failover.actions import Cells, Rules
from failover.node import Node
from failover.orders import OrderError, Recover, check_address, parse_recover, parse_restore
from failover.vip_state import ADOPT_PROBE_S, HOLDING, Claim, Happening, State
from failover.vips import Loans, Outcome
from logging_setup import Log
from network.base import AddressesChanged, ArpSeen, Event, LinkUp, Loan, Network, NetworkError

NOBODY = IPv4Address(0)
WAITING = 2000
"""Orders for one address that may wait for what becomes of it; each is answered then."""
REPEATS_S = 1.0
"""For which further packets of the claim that raised a doubt are no answer to the questions since."""


class Failover:
    """The addresses that this node holds, or is about to hold, for others. One thread calls it.

    `unusable` is the reason for which this worker can change no address, None: it can.
    """

    def __init__(
        self,
        rules: Rules,
        node: Node,
        network: Network,
        log: Log,
        answer: Callable[[Outcome], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unusable: Optional[str] = None
        self._rules = rules
        self._node = node
        self._network = network
        self._loans = Loans(rules.node_id, rules.neighbours, network, log, answer)
        self._claims = self._loans.claims
        self._cells = Cells(rules, network, self._loans, self._happens, clock)

    def start(self, now: float) -> None:
        """Find the loans that an earlier run of this node left; `settled` tells when they are judged.

        Raises NetworkError when the machine cannot be asked.
        """
        for address in self._network.addresses():
            if address.owner is not None:
                claim = Claim(Loan(address.owner, address.ip, address.interface))
                older = self._claims.get(address.owner)
                if older:
                    self._loans.drop(older, now, 0.0, f"node {address.owner} has {address.ip} as well")
                self._loans.enter(claim, State.FOUND)
                self._cells.learn(claim)
                claim.ask(now, max(ADOPT_PROBE_S, self._rules.conflict_probe_s))
        self.watch()
        self.tick(now)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Every address that is held or being thought about."""
        return tuple(self._claims.values())

    @property
    def settled(self) -> bool:
        """Whether every loan that was found at start is adopted or removed."""
        return all(claim.state is not State.FOUND for claim in self._claims.values())

    @property
    def steady(self) -> bool:
        """Whether no address is between held and not held, so that there is nothing half true to tell."""
        return all(claim.state not in (State.DOUBTED, State.LOST) for claim in self._claims.values())

    @property
    def held(self) -> list[Loan]:
        """The loans that the interface holds, the newest last."""
        holding = [claim for claim in self._claims.values() if claim.state in HOLDING]
        return [claim.loan for claim in sorted(holding, key=lambda claim: claim.taken_s)]

    def recover(self, data: Mapping[str, Any], now: float, arrived_s: float) -> Optional[str]:
        """Take an address over; the reason when the order is refused at once, else None: its answer follows."""
        try:
            order = parse_recover(data, self._rules.node_id, self._rules.neighbours, arrived_s)
            claim = self._claim_for(order)
            if len(claim.orders) >= WAITING:
                raise OrderError(
                    f"{WAITING} orders for {order.ip.ip} wait already until it is known whether it is free"
                )
        except (OrderError, NetworkError) as exc:
            self._loans.refuse_recover(data, str(exc))
            return str(exc)
        if claim.orders and claim.orders[-1].data == data:
            order = replace(order, data=claim.orders[-1].data)  # of one that repeats itself one is kept
        claim.orders.append(order)
        if claim.state is State.FREE and self._rules.conflict_probe_s:
            # so that others tell this node's questions from those of an owner that comes back
            self._node.announce()
        self._happens(claim, Happening.RECOVER, now)
        return None

    def restore(self, data: Mapping[str, Any], now: float) -> Optional[str]:
        """Give an address back; the reason when it is no valid order, else None."""
        known = {*self._rules.neighbours, *self._claims}
        try:
            owner = parse_restore(data, self._rules.node_id, known)
        except OrderError as exc:
            self._loans.refuse_restore(data, str(exc))
            return str(exc)
        claim = self._claims.get(owner)
        if claim:
            self._happens(claim, Happening.RESTORE, now)
        else:
            self._loans.restored(owner)
        return None

    def seen(self, event: Event, now: float) -> None:
        """Something on the wire or the machine changed."""
        if isinstance(event, ArpSeen):
            self._node.seen(event, now)
            for claim in list(self._claims.values()):
                happening = self._meaning(event, claim, now)
                if happening:
                    claim.other_mac = event.sender_mac
                    self._happens(claim, happening, now)
        elif isinstance(event, LinkUp):
            if self._node.primary and self._node.primary.interface == event.interface:
                self._node.announce()
            for claim in list(self._claims.values()):
                if claim.loan.interface == event.interface:
                    self._happens(claim, Happening.UNSURE, now)
        elif isinstance(event, AddressesChanged):
            self._look(now)

    def unsure(self, now: float) -> None:
        """The process or the machine was frozen: others may have taken what is held here."""
        self._node.announce()
        self._look(now)
        self._to_all(Happening.UNSURE, now)

    def master_lost(self, now: float) -> None:
        """MASTER_LOSS_RELEASE is over."""
        self._to_all(Happening.MASTER_LOST, now)

    def stop(self, now: float) -> None:
        """Give everything back, whatever was going on."""
        self._to_all(Happening.STOP, now)

    def watch(self) -> None:
        """Tell the network which addresses matter: those asked for or held, and the node's own."""
        own = {self._node.primary.ip.ip} if self._node.primary else set()
        self._network.watch(frozenset(own.union(claim.loan.ip.ip for claim in self._claims.values())))

    def tick_due(self) -> float:
        """The monotonic time at which `tick` has something to do, infinity: nothing is waited for."""
        return min([self._loans.clear_up_s, *(claim.due_s() for claim in self._claims.values())])

    def judge_due(self) -> float:
        """The monotonic time at which `judge` has something to decide, infinity: nothing."""
        return min((claim.judged_s() for claim in self._claims.values()), default=math.inf)

    def tick(self, now: float) -> None:
        """Send the questions and announcements that are due, and renew leases."""
        self._loans.clear_up(now)
        for claim in list(self._claims.values()):
            if claim.round_s <= now:
                claim.ask(now, self._rules.conflict_probe_s)
            self._cells.probe(claim, now)
            if claim.state in HOLDING:
                self._cells.keep(claim, now)

    def judge(self, as_of: float) -> None:
        """Decide where the wire was silent up to `as_of`; whatever it said before must have been `seen`."""
        for claim in list(self._claims.values()):
            if claim.verdict_s <= as_of:
                claim.asked()
                self._happens(claim, Happening.SILENCE, as_of)
            elif claim.patience_s <= as_of:
                self._happens(claim, Happening.PATIENCE_OVER, as_of)

    def _look(self, now: float) -> None:
        try:
            there = self._network.addresses()
        except NetworkError:
            return  # not knowing is not absence; the next renewal looks again
        for claim in list(self._claims.values()):
            if claim.state in HOLDING and not self._loans.among(claim.loan, there):
                self._happens(claim, Happening.GONE, now)

    def _meaning(self, arp: ArpSeen, claim: Claim, now: float) -> Optional[Happening]:
        """What an ARP packet says of an address (RFC 5227 §2.1.1, §2.4); None: nothing."""
        ip = claim.loan.ip.ip
        if arp.sender_ip == ip:
            answers = arp.reply and arp.target_ip == NOBODY
            repeats = claim.state is State.DOUBTED and now - claim.asked_s < REPEATS_S
            return None if repeats and not answers else Happening.ANSWER
        if arp.sender_ip != NOBODY or arp.target_ip != ip or arp.reply:
            return None
        if arp.sender_mac == claim.owner_mac and not arp.uses_others:
            return Happening.ANSWER
        try:
            ours = self._network.mac(claim.loan.interface)
        except NetworkError:
            return None
        return Happening.RIVAL if arp.sender_mac < ours else None

    def _claim_for(self, order: Recover) -> Claim:
        if self.unusable:
            raise NetworkError(self.unusable)
        claim = self._claims.get(order.owner)
        if claim:
            if claim.loan.ip != order.ip:
                raise OrderError(f"{claim.loan.ip} is held or asked for node {order.owner} already")
            return claim
        for other in self._claims.values():
            if other.loan.ip.ip == order.ip.ip:
                raise OrderError(f"{order.ip.ip} is held or asked for node {other.loan.owner} already")
        there = self._network.addresses()
        check_address(order.ip, there, self._network.gateways(), self._rules.allowed_networks)
        return Claim(Loan(order.owner, order.ip, self._network.interface_for(order.ip.ip)))

    def _to_all(self, happening: Happening, now: float) -> None:
        for claim in list(self._claims.values()):
            self._happens(claim, happening, now)

    def _happens(self, claim: Claim, happening: Happening, now: float) -> None:
        cell = TABLE.get((claim.state, happening))
        if cell:
            cell(self._cells, claim, now)
            try:
                self.watch()
            except NetworkError as exc:
                # a question whose answer cannot be heard is as good as one that could not be sent
                claim.trouble = str(exc)
                claim.asked()
                self._happens(claim, Happening.MUTE, now)


# Contract §5, a line here for each line there, and those that it implies.
TABLE: dict[tuple[State, Happening], Callable[[Cells, Claim, float], None]] = {
    (State.FREE, Happening.RECOVER): Cells.ask,
    (State.ASKED, Happening.SILENCE): Cells.take,
    (State.ASKED, Happening.ANSWER): Cells.wait,
    (State.ASKED, Happening.RIVAL): Cells.yield_,
    (State.WAITING, Happening.SILENCE): Cells.take,
    (State.WAITING, Happening.ANSWER): Cells.wait,
    (State.WAITING, Happening.RIVAL): Cells.yield_,
    (State.WAITING, Happening.PATIENCE_OVER): Cells.refuse_alive,
    (State.ASKED, Happening.RESTORE): Cells.abandon,
    (State.WAITING, Happening.RESTORE): Cells.abandon,
    (State.ASKED, Happening.STOP): Cells.leave,
    (State.WAITING, Happening.STOP): Cells.leave,
    (State.HELD, Happening.RECOVER): Cells.confirm,
    (State.HELD, Happening.RESTORE): Cells.give_back,
    (State.HELD, Happening.ANSWER): Cells.doubt,
    (State.DOUBTED, Happening.ANSWER): Cells.cede,
    (State.DOUBTED, Happening.RIVAL): Cells.cede,
    (State.DOUBTED, Happening.SILENCE): Cells.retake,
    (State.DOUBTED, Happening.RESTORE): Cells.abandon,
    (State.HELD, Happening.GONE): Cells.miss,
    (State.LOST, Happening.SILENCE): Cells.take,
    (State.LOST, Happening.ANSWER): Cells.cede,
    (State.LOST, Happening.RIVAL): Cells.cede,
    (State.LOST, Happening.RESTORE): Cells.abandon,
    (State.HELD, Happening.UNSURE): Cells.check,
    (State.UNSURE, Happening.SILENCE): Cells.go_on,
    (State.UNSURE, Happening.ANSWER): Cells.doubt,
    (State.UNSURE, Happening.MUTE): Cells.wait_for_link,
    (State.UNSURE, Happening.RECOVER): Cells.confirm,
    (State.UNSURE, Happening.RESTORE): Cells.give_back,
    (State.UNSURE, Happening.GONE): Cells.miss,
    (State.FOUND, Happening.SILENCE): Cells.take,
    (State.FOUND, Happening.ANSWER): Cells.discard,
    (State.FOUND, Happening.RIVAL): Cells.discard,
    (State.FOUND, Happening.MUTE): Cells.discard,
    **{(state, Happening.STOP): Cells.leave for state in State if state is not State.FREE},
    **{(state, Happening.MASTER_LOST): Cells.leave_lost_master for state in HOLDING},
    **{
        (state, Happening.MUTE): Cells.fail
        for state in (State.ASKED, State.WAITING, State.DOUBTED, State.LOST)
    },
    **{
        (state, Happening.UNSURE): Cells.ask_afresh
        for state in (State.ASKED, State.WAITING, State.UNSURE, State.DOUBTED, State.LOST, State.FOUND)
    },
}
