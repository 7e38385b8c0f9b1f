"""Taking a dead node's address and giving it back: a table of states, without I/O of its own.

Everything that happens to an address ordered of this node is a `Happening`; what the worker then does is the
cell of TABLE for the state in which the address is. Time comes in as monotonic seconds, the machine is the
`Network` that was given, answers to the master go out through `answer`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Optional

from claim import ADOPT_PROBE_S, DOUBT_S, RETAKES, WATCH_S, Claim, Happening, State
from loans import Loans, Outcome
from logging_setup import Log
from network.interface import AddressesChanged, ArpSeen, Event, LinkUp, Loan, Network, NetworkError
from node import Node
from orders import OrderError, Recover, check_address, parse_recover, parse_restore

NOBODY = IPv4Address(0)
HOLDING = (State.HELD, State.UNSURE)


@dataclass(frozen=True)
class Rules:
    """What of the configuration failover goes by; the names are config.Config's, durations in seconds."""

    node_id: int
    neighbours: Mapping[int, tuple[int, ...]]
    allowed_networks: Optional[tuple[IPv4Network, ...]]
    address_lease_s: float
    conflict_probe_s: float
    conflict_wait_s: float


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
        self._clock = clock
        self._loans = Loans(rules.node_id, network, log, answer)
        self._claims = self._loans.claims

    def start(self, now: float) -> None:
        """Find the loans that an earlier run of this node left; `settled` tells when they are judged.

        Raises NetworkError when the machine cannot be asked.
        """
        for address in self._network.addresses():
            if address.owner is not None:
                claim = Claim(Loan(address.owner, address.ip, address.interface))
                self._loans.enter(claim, State.FOUND)
                claim.ask(now, max(ADOPT_PROBE_S, self._rules.conflict_probe_s))
        self.watch()
        self.tick(now)

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
        except (OrderError, NetworkError) as exc:
            self._loans.refuse_recover(data, str(exc))
            return str(exc)
        claim.orders.append(order)
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
                happening = self._meaning(event, claim)
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
        return min((claim.due_s() for claim in self._claims.values()), default=math.inf)

    def judge_due(self) -> float:
        """The monotonic time at which `judge` has something to decide, infinity: nothing."""
        return min((claim.judged_s() for claim in self._claims.values()), default=math.inf)

    def tick(self, now: float) -> None:
        """Send the questions and announcements that are due, and renew leases."""
        for claim in list(self._claims.values()):
            if claim.round_s <= now:
                claim.ask(now, self._rules.conflict_probe_s)
            if claim.probe_due(now):
                try:
                    self._network.probe(claim.loan.interface, claim.loan.ip.ip)
                except NetworkError as exc:
                    claim.trouble = str(exc)
                    claim.asked()
                    self._happens(claim, Happening.MUTE, now)
            if claim.state in HOLDING:
                self._keep(claim, now)

    def judge(self, as_of: float) -> None:
        """Decide where the wire was silent up to `as_of`; whatever it said before must have been `seen`."""
        for claim in list(self._claims.values()):
            if claim.verdict_s <= as_of:
                claim.asked()
                self._happens(claim, Happening.SILENCE, as_of)
            elif claim.patience_s <= as_of:
                self._happens(claim, Happening.PATIENCE_OVER, as_of)

    def _keep(self, claim: Claim, now: float) -> None:
        loan = claim.loan
        try:
            if claim.renew_s <= now:
                claim.renew_s = now + self._rules.address_lease_s / 3
                if not self._loans.is_there(claim):
                    self._happens(claim, Happening.GONE, now)
                    return
                self._network.hold(loan)
            if claim.announcement_due(now):
                self._network.announce(loan.interface, loan.ip.ip)
            if claim.watch_s <= now:
                claim.watch_s = now + WATCH_S
                self._network.probe(loan.interface, loan.ip.ip)
            claim.trouble = ""
        except NetworkError as exc:
            # a link that is down, say: what is held stays held, and is asked for when the link comes back
            if claim.trouble != str(exc):
                claim.trouble = str(exc)
                self._loans.say("WARNING", "watch_failed", claim, reason=claim.trouble)

    def _look(self, now: float) -> None:
        try:
            there = self._network.addresses()
        except NetworkError:
            return  # not knowing is not absence; the next renewal looks again
        for claim in list(self._claims.values()):
            if claim.state in HOLDING and not self._loans.among(claim.loan, there):
                self._happens(claim, Happening.GONE, now)

    def _meaning(self, arp: ArpSeen, claim: Claim) -> Optional[Happening]:
        """What an ARP packet says of an address (RFC 5227 §2.1.1, §2.4); None: nothing."""
        ip = claim.loan.ip.ip
        if arp.sender_ip == ip:
            return Happening.ANSWER
        if arp.sender_ip != NOBODY or arp.target_ip != ip or arp.reply:
            return None
        if arp.sender_mac == claim.owner_mac:
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
            cell(self, claim, now)
            self.watch()

    # the cells of the table

    def _ask(self, claim: Claim, now: float) -> None:
        """Asks the wire."""
        self._loans.enter(claim, State.ASKED)
        self._loans.say("INFO", "takeover_started", claim)
        claim.owner_mac = self._network.last_mac(claim.loan.interface, claim.loan.ip.ip)
        self.watch()
        if self._rules.conflict_probe_s:
            claim.ask(now, self._rules.conflict_probe_s)
            self.tick(now)
        else:
            self._take(claim, now)

    def _ask_afresh(self, claim: Claim, now: float) -> None:
        """What was not heard while the link or the process was away does not count as silence."""
        claim.ask(now, claim.asks_for_s)

    def _take(self, claim: Claim, now: float) -> None:
        """Adds it, announces it, sees that the interface holds it, answers success."""
        before = claim.state
        if not self._loans.add(claim):
            self._fail(claim, now)
            return
        self._loans.enter(claim, State.HELD)
        claim.hold(now, self._rules.address_lease_s)
        if before is State.FOUND:
            self._loans.say("INFO", "address_adopted", claim)
        elif before in (State.DOUBTED, State.LOST):
            self._loans.say("WARNING", "address_restored", claim)
        else:
            self._say_done(claim)
        self._loans.succeed(claim)

    def _confirm(self, claim: Claim, now: float) -> None:
        """Announces it, answers success."""
        if not self._loans.is_there(claim):
            self._miss(claim, now)
            return
        claim.announce_again(now)
        self._keep(claim, now)
        self._say_done(claim, already=True)
        self._loans.succeed(claim)

    def _say_done(self, claim: Claim, **more: object) -> None:
        took_ms = (self._clock() - claim.orders[0].arrived_s) * 1000
        self._loans.say("INFO", "takeover_done", claim, took_ms=took_ms, **more)

    def _wait(self, claim: Claim, now: float) -> None:
        """Asks on every second, up to CONFLICT_WAIT."""
        claim.asked()
        if claim.state is State.ASKED:
            if not self._rules.conflict_wait_s:
                self._refuse_alive(claim, now)
                return
            self._loans.enter(claim, State.WAITING)
            claim.patience_s = now + self._rules.conflict_wait_s
            self._loans.say("WARNING", "owner_alive", claim, mac=claim.other_mac, wait_s=self._rules.conflict_wait_s)
        claim.round_s = now + WATCH_S

    def _refuse_alive(self, claim: Claim, now: float) -> None:
        """Refuses: the owner is alive (MAC), only its worker is gone."""
        reason = f"{claim.loan.ip.ip} is in use by {claim.other_mac}: its owner is alive, only its worker is gone"
        self._loans.refuse(claim, reason)

    def _yield(self, claim: Claim, now: float) -> None:
        """The lower MAC goes on, the other refuses."""
        self._loans.refuse(claim, f"{claim.loan.ip.ip} is being taken by {claim.other_mac}, the lower MAC")

    def _abandon(self, claim: Claim, now: float) -> None:
        """Answers the recover with failure, the restore with success."""
        self._loans.refuse(claim, "the master asked for the address back before it was taken")
        self._loans.restored(claim.loan.owner)

    def _give_back(self, claim: Claim, now: float) -> None:
        """Removes it, answers."""
        if self._loans.remove(claim, now - claim.taken_s, "restore"):
            self._loans.enter(claim, State.FREE)
            self._loans.restored(claim.loan.owner)
        else:
            self._loans.not_restored(claim)

    def _doubt(self, claim: Claim, now: float) -> None:
        """Removes it within 1 s, logs the conflict, asks for 3 s."""
        self._loans.say("CRITICAL", "address_conflict", claim, mac=claim.other_mac)
        if self._loans.remove(claim, now - claim.taken_s, f"claimed by {claim.other_mac}"):
            self._loans.enter(claim, State.DOUBTED)
            claim.ask(now, DOUBT_S)

    def _cede(self, claim: Claim, now: float) -> None:
        """`restore node`, the success form plus the reason: somebody else has the address."""
        reason = f"{claim.loan.ip.ip} is in use by {claim.other_mac}"
        self._loans.say("WARNING", "address_ceded", claim, reason=reason)
        self._loans.refuse(claim, reason)
        self._loans.restored(claim.loan.owner, reason)

    def _retake(self, claim: Claim, now: float) -> None:
        """Takes it again; the fourth time in 10 minutes: the failure form."""
        if claim.may_retake(now):
            self._take(claim, now)
        else:
            claim.trouble = f"{claim.loan.ip.ip} was claimed by others {RETAKES + 1} times in ten minutes"
            self._fail(claim, now)

    def _miss(self, claim: Claim, now: float) -> None:
        """Logs that it is gone, asks."""
        self._loans.say("WARNING", "address_lost", claim)
        self._loans.enter(claim, State.LOST)
        claim.ask(now, self._rules.conflict_probe_s)
        self.tick(now)

    def _check(self, claim: Claim, now: float) -> None:
        """Asks."""
        self._loans.enter(claim, State.UNSURE)
        claim.ask(now, self._rules.conflict_probe_s)
        self.tick(now)

    def _go_on(self, claim: Claim, now: float) -> None:
        """Announces again."""
        self._loans.enter(claim, State.HELD)
        claim.announce_again(now)
        self._keep(claim, now)

    def _wait_for_link(self, claim: Claim, now: float) -> None:
        """A link that is down again will come back, and with it another question."""
        self._loans.enter(claim, State.HELD)

    def _discard(self, claim: Claim, now: float) -> None:
        """Removes it."""
        reason = f"in use by {claim.other_mac}" if claim.other_mac else claim.trouble
        self._loans.remove(claim, 0.0, reason)
        self._loans.enter(claim, State.FREE)

    def _fail(self, claim: Claim, now: float) -> None:
        """A machine that could not be asked or changed: failure, with its reason."""
        self._loans.say("ERROR", "takeover_failed", claim, reason=claim.trouble)
        reason = claim.trouble
        self._loans.remove(claim, None, reason)
        self._loans.lose(claim, reason)

    def _leave(self, claim: Claim, now: float) -> None:
        """Removes it, and sends the failure form, so that the master elects another."""
        self._loans.remove(claim, now - claim.taken_s if claim.state in HOLDING else None, "stopping")
        self._loans.lose(claim, "stopping")

    def _leave_lost_master(self, claim: Claim, now: float) -> None:
        """Removes it; the failure form waits for the next join."""
        if self._loans.remove(claim, now - claim.taken_s, "master lost"):
            self._loans.lose(claim, "the master was lost for longer than MASTER_LOSS_RELEASE")


# Contract §5, a line here for each line there, and those that it implies.
TABLE: dict[tuple[State, Happening], Callable[[Failover, Claim, float], None]] = {
    (State.FREE, Happening.RECOVER): Failover._ask,
    (State.ASKED, Happening.SILENCE): Failover._take,
    (State.ASKED, Happening.ANSWER): Failover._wait,
    (State.ASKED, Happening.RIVAL): Failover._yield,
    (State.WAITING, Happening.SILENCE): Failover._take,
    (State.WAITING, Happening.ANSWER): Failover._wait,
    (State.WAITING, Happening.RIVAL): Failover._yield,
    (State.WAITING, Happening.PATIENCE_OVER): Failover._refuse_alive,
    (State.ASKED, Happening.RESTORE): Failover._abandon,
    (State.WAITING, Happening.RESTORE): Failover._abandon,
    (State.ASKED, Happening.STOP): Failover._leave,
    (State.WAITING, Happening.STOP): Failover._leave,
    (State.HELD, Happening.RECOVER): Failover._confirm,
    (State.HELD, Happening.RESTORE): Failover._give_back,
    (State.HELD, Happening.ANSWER): Failover._doubt,
    (State.DOUBTED, Happening.ANSWER): Failover._cede,
    (State.DOUBTED, Happening.RIVAL): Failover._cede,
    (State.DOUBTED, Happening.SILENCE): Failover._retake,
    (State.DOUBTED, Happening.RESTORE): Failover._abandon,
    (State.HELD, Happening.GONE): Failover._miss,
    (State.LOST, Happening.SILENCE): Failover._take,
    (State.LOST, Happening.ANSWER): Failover._cede,
    (State.LOST, Happening.RIVAL): Failover._cede,
    (State.LOST, Happening.RESTORE): Failover._abandon,
    (State.HELD, Happening.UNSURE): Failover._check,
    (State.UNSURE, Happening.SILENCE): Failover._go_on,
    (State.UNSURE, Happening.ANSWER): Failover._doubt,
    (State.UNSURE, Happening.MUTE): Failover._wait_for_link,
    (State.UNSURE, Happening.RECOVER): Failover._confirm,
    (State.UNSURE, Happening.RESTORE): Failover._give_back,
    (State.UNSURE, Happening.GONE): Failover._miss,
    (State.FOUND, Happening.SILENCE): Failover._take,
    (State.FOUND, Happening.ANSWER): Failover._discard,
    (State.FOUND, Happening.RIVAL): Failover._discard,
    (State.FOUND, Happening.MUTE): Failover._discard,
    **{(state, Happening.STOP): Failover._leave for state in State if state is not State.FREE},
    **{(state, Happening.MASTER_LOST): Failover._leave_lost_master for state in HOLDING},
    **{
        (state, Happening.MUTE): Failover._fail
        for state in (State.ASKED, State.WAITING, State.DOUBTED, State.LOST)
    },
    **{
        (state, Happening.UNSURE): Failover._ask_afresh
        for state in (State.ASKED, State.WAITING, State.UNSURE, State.DOUBTED, State.LOST, State.FOUND)
    },
}
