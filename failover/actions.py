"""What the worker does in each cell of failover's table.

A cell gets the claim and the monotonic time at which its happening was noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Optional

from failover.vip_state import AGAIN_S, DOUBT_S, HOLDING, RETAKES, WATCH_S, Claim, Happening, State
from failover.vips import Loans
from network.base import Network, NetworkError


@dataclass(frozen=True)
class Rules:
    """What of the configuration failover goes by; the names are config.Config's, durations in seconds."""

    node_id: int
    neighbours: Mapping[int, tuple[int, ...]]
    allowed_networks: Optional[tuple[IPv4Network, ...]]
    address_lease_s: float
    conflict_probe_s: float
    conflict_wait_s: float


class Cells:
    """`happens` tells the table what a cell found out; `clock` gives monotonic seconds, for durations and for
    the time at which a question was really sent.
    """

    def __init__(
        self,
        rules: Rules,
        network: Network,
        loans: Loans,
        happens: Callable[[Claim, Happening, float], None],
        clock: Callable[[], float],
    ) -> None:
        self._rules = rules
        self._network = network
        self._loans = loans
        self._happens = happens
        self._clock = clock

    def probe(self, claim: Claim, now: float) -> None:
        """Send the question that is due, if one is."""
        if claim.probe_due(now):
            try:
                self._network.probe(claim.loan.interface, claim.loan.ip.ip)
                claim.probed(self._clock())
            except NetworkError as exc:
                claim.trouble = str(exc)
                claim.asked()
                self._happens(claim, Happening.MUTE, now)

    def learn(self, claim: Claim) -> None:
        """Remember the owner's MAC, to know its probe when it comes back."""
        try:
            claim.owner_mac = self._network.last_mac(claim.loan.interface, claim.loan.ip.ip)
        except NetworkError:
            claim.owner_mac = None  # an interface that is gone: the probe will say so

    def keep(self, claim: Claim, now: float) -> None:
        """Renew the lease, announce and ask, where that is due."""
        loan = claim.loan
        try:
            if claim.renew_s <= now:
                claim.renew_s = now + AGAIN_S  # when this fails
                if not self._loans.is_there(claim):
                    self._happens(claim, Happening.GONE, now)
                    return
                self._network.renew(loan)
                claim.renew_s = now + self._rules.address_lease_s / 3
            if claim.announcement_due(now):
                self._network.announce(loan.interface, loan.ip.ip)
            if claim.watch_s <= now:
                claim.watch_s = now + WATCH_S
                self._network.probe(loan.interface, loan.ip.ip)
        except NetworkError as exc:
            # a link that is down, say: what is held stays held, and is asked for when the link comes back
            self._say_unwatched(claim, str(exc), now)

    def ask(self, claim: Claim, now: float) -> None:
        """Asks the wire."""
        self._loans.enter(claim, State.ASKED)
        self._loans.say("INFO", "takeover_started", claim)
        self.learn(claim)
        if self._rules.conflict_probe_s:
            # the first question is tick's, when the address is watched and its answer will be heard
            claim.ask(now, self._rules.conflict_probe_s)
        else:
            self.take(claim, now)

    def ask_afresh(self, claim: Claim, now: float) -> None:
        """What was not heard while the link or the process was away does not count as silence."""
        claim.ask(now, claim.asks_for_s)

    def take(self, claim: Claim, now: float) -> None:
        """Adds it, announces it, sees that the interface holds it, answers success."""
        before = claim.state
        if not self._loans.add(claim):
            self.fail(claim, now)
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

    def confirm(self, claim: Claim, now: float) -> None:
        """Announces it, answers success."""
        try:
            there = self._loans.is_there(claim)
        except NetworkError as exc:
            self._loans.say("ERROR", "takeover_failed", claim, reason=str(exc))
            self._loans.fail_orders(claim, str(exc))
            return
        if not there:
            self.miss(claim, now)
            return
        claim.announce_again(now)
        self.keep(claim, now)
        self._say_done(claim, already=True)
        self._loans.succeed(claim)

    def _say_unwatched(self, claim: Claim, reason: str, now: float) -> None:
        if claim.may_say(reason, now):
            self._loans.say("WARNING", "watch_failed", claim, reason=reason)

    def _say_done(self, claim: Claim, **more: object) -> None:
        took_ms = (self._clock() - claim.orders[0].arrived_s) * 1000
        self._loans.say("INFO", "takeover_done", claim, took_ms=took_ms, **more)

    def wait(self, claim: Claim, now: float) -> None:
        """Asks on every second, up to CONFLICT_WAIT."""
        claim.asked()
        if claim.owner_mac is None:
            # not simply the MAC that answered: a frozen holder answers too
            self.learn(claim)
        if claim.state is State.ASKED:
            if not self._rules.conflict_wait_s:
                self.refuse_alive(claim, now)
                return
            self._loans.enter(claim, State.WAITING)
            claim.patience_s = now + self._rules.conflict_wait_s
            self._loans.say(
                "WARNING", "owner_alive", claim, mac=claim.other_mac, wait_s=self._rules.conflict_wait_s
            )
        claim.round_s = now + AGAIN_S

    def refuse_alive(self, claim: Claim, now: float) -> None:
        """Refuses: the owner is alive (MAC), only its worker is gone."""
        reason = (
            f"{claim.loan.ip.ip} is in use by {claim.other_mac}: its owner is alive, only its worker is gone"
        )
        self._loans.refuse(claim, reason)

    def yield_(self, claim: Claim, now: float) -> None:
        """The lower MAC goes on, the other refuses."""
        self._loans.refuse(claim, f"{claim.loan.ip.ip} is being taken by {claim.other_mac}, the lower MAC")

    def abandon(self, claim: Claim, now: float) -> None:
        """Answers the recover with failure, the restore with success."""
        self._loans.refuse(claim, "the master asked for the address back before it was taken")
        self._loans.restored(claim.loan.owner)

    def give_back(self, claim: Claim, now: float) -> None:
        """Removes it, answers."""
        if self._loans.remove(claim, now - claim.taken_s, "restore"):
            self._loans.enter(claim, State.FREE)
            self._loans.restored(claim.loan.owner)
        else:
            self._loans.not_restored(claim)

    def doubt(self, claim: Claim, now: float) -> None:
        """Removes it within 1 s, logs the conflict, asks for 3 s."""
        self._loans.say("CRITICAL", "address_conflict", claim, mac=claim.other_mac)
        if self._loans.remove(claim, now - claim.taken_s, f"claimed by {claim.other_mac}"):
            self._loans.enter(claim, State.DOUBTED)
            claim.ask(now, DOUBT_S)

    def cede(self, claim: Claim, now: float) -> None:
        """`restore node`, the success form plus the reason: somebody else has the address."""
        reason = f"{claim.loan.ip.ip} is in use by {claim.other_mac}"
        self._loans.say("WARNING", "address_ceded", claim, reason=reason)
        self._loans.refuse(claim, reason)
        self._loans.restored(claim.loan.owner, reason)

    def retake(self, claim: Claim, now: float) -> None:
        """Takes it again; the fourth time in 10 minutes: the failure form."""
        if claim.may_retake(now):
            self.take(claim, now)
        else:
            claim.trouble = f"{claim.loan.ip.ip} was claimed by others {RETAKES + 1} times in ten minutes"
            self.fail(claim, now)

    def miss(self, claim: Claim, now: float) -> None:
        """Logs that it is gone, asks."""
        self._loans.say("WARNING", "address_lost", claim)
        self._loans.enter(claim, State.LOST)
        claim.ask(now, self._rules.conflict_probe_s)

    def check(self, claim: Claim, now: float) -> None:
        """Asks."""
        self._loans.enter(claim, State.UNSURE)
        claim.ask(now, self._rules.conflict_probe_s)

    def go_on(self, claim: Claim, now: float) -> None:
        """Announces again."""
        self._loans.enter(claim, State.HELD)
        claim.announce_again(now)
        self.keep(claim, now)

    def wait_for_link(self, claim: Claim, now: float) -> None:
        """A link that is down again will come back, and with it another question."""
        self._loans.enter(claim, State.HELD)
        self._say_unwatched(claim, claim.trouble, now)

    def discard(self, claim: Claim, now: float) -> None:
        """Removes it."""
        reason = f"in use by {claim.other_mac}" if claim.other_mac else claim.trouble
        self._loans.drop(claim, now, 0.0, reason)
        self._loans.enter(claim, State.FREE)

    def fail(self, claim: Claim, now: float) -> None:
        """A machine that could not be asked or changed: failure, with its reason."""
        self._loans.say("ERROR", "takeover_failed", claim, reason=claim.trouble)
        reason = claim.trouble
        self._loans.drop(claim, now, None, reason)
        self._loans.lose(claim, reason)

    def leave(self, claim: Claim, now: float) -> None:
        """Removes it, and sends the failure form, so that the master elects another."""
        found_s = 0.0 if claim.state is State.FOUND else None
        held_s = now - claim.taken_s if claim.state in HOLDING else found_s
        self._loans.remove(claim, held_s, "stopping")
        self._loans.lose(claim, "stopping")

    def leave_lost_master(self, claim: Claim, now: float) -> None:
        """Removes it; the failure form waits for the next join."""
        self._loans.drop(claim, now, now - claim.taken_s, "master lost")
        self._loans.lose(claim, "the master was lost for longer than MASTER_LOSS_RELEASE")
