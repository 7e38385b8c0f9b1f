"""What the worker does in each cell of failover's table.

A cell gets the claim and the monotonic time at which its event was noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Optional

from failover.states import AGAIN_S, DOUBT_S, HOLDING, RETAKES, WATCH_S, Event, State, VipState
from failover.vips import VipTable
from network.base import Network, NetworkError


@dataclass(frozen=True)
class FailoverSettings:
    """What of the configuration failover goes by; the names are config.Config's, durations in seconds."""

    node_id: int
    neighbors: Mapping[int, tuple[int, ...]]
    allowed_networks: Optional[tuple[IPv4Network, ...]]
    address_lease_s: float
    conflict_probe_s: float
    conflict_wait_s: float


class Actions:
    """`apply` tells the table what a cell found out; `clock` gives monotonic seconds, for durations and for
    the time at which a question was really sent.
    """

    def __init__(
        self,
        settings: FailoverSettings,
        network: Network,
        vips: VipTable,
        apply: Callable[[VipState, Event, float], None],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._network = network
        self._table = vips
        self._apply = apply
        self._clock = clock

    def send_probe(self, entry: VipState, now: float) -> None:
        """Send the question that is due, if one is."""
        if entry.probe_due(now):
            try:
                self._network.probe(entry.vip.interface, entry.vip.ip.ip)
                entry.probed(self._clock())
            except NetworkError as exc:
                entry.trouble = str(exc)
                entry.end_probing()
                self._apply(entry, Event.PROBE_FAILED, now)

    def learn_owner(self, entry: VipState) -> None:
        """Remember the owner's MAC, to know its probe when it comes back."""
        try:
            entry.owner_mac = self._network.last_mac(entry.vip.interface, entry.vip.ip.ip)
        except NetworkError:
            entry.owner_mac = None  # an interface that is gone: the probe will say so

    def maintain(self, entry: VipState, now: float) -> None:
        """Renew the lease, announce and ask, where that is due."""
        vip = entry.vip
        try:
            if entry.renew_s <= now:
                entry.renew_s = now + AGAIN_S  # when this fails
                if not self._table.is_there(entry):
                    self._apply(entry, Event.REMOVED, now)
                    return
                self._network.renew(vip)
                entry.renew_s = now + self._settings.address_lease_s / 3
            if entry.announcement_due(now):
                self._network.announce(vip.interface, vip.ip.ip)
            if entry.watch_s <= now:
                entry.watch_s = now + WATCH_S
                self._network.probe(vip.interface, vip.ip.ip)
        except NetworkError as exc:
            # a link that is down, say: what is held stays held, and is asked for when the link comes back
            self._say_unwatched(entry, str(exc), now)

    def start_probe(self, entry: VipState, now: float) -> None:
        """Asks the wire."""
        self._table.enter(entry, State.PROBING)
        self._table.say("INFO", "takeover_started", entry)
        self.learn_owner(entry)
        if self._settings.conflict_probe_s:
            # the first question is tick's, when the address is watched and its answer will be heard
            entry.begin_probing(now, self._settings.conflict_probe_s)
        else:
            self.take(entry, now)

    def restart_probe(self, entry: VipState, now: float) -> None:
        """What was not heard while the link or the process was away does not count as silence."""
        entry.begin_probing(now, entry.probing_for_s)

    def take(self, entry: VipState, now: float) -> None:
        """Adds it, announces it, sees that the interface holds it, answers success."""
        before = entry.state
        if not self._table.add(entry):
            self.fail(entry, now)
            return
        self._table.enter(entry, State.HELD)
        entry.hold(now, self._settings.address_lease_s)
        if before is State.ADOPTING:
            self._table.say("INFO", "address_adopted", entry)
        elif before in (State.IN_CONFLICT, State.LOST):
            self._table.say("WARNING", "address_restored", entry)
        else:
            self._say_done(entry)
        self._table.succeed(entry)

    def confirm(self, entry: VipState, now: float) -> None:
        """Announces it, answers success."""
        try:
            there = self._table.is_there(entry)
        except NetworkError as exc:
            self._table.say("ERROR", "takeover_failed", entry, reason=str(exc))
            self._table.fail_orders(entry, str(exc))
            return
        if not there:
            self.on_removed(entry, now)
            return
        if not self._network.has_carrier(entry.vip.interface):
            entry.trouble = f"{entry.vip.interface} has no carrier"
            self.on_carrier_lost(entry, now)
            return
        entry.announce_again(now)
        self.maintain(entry, now)
        self._say_done(entry, already=True)
        self._table.succeed(entry)

    def _say_unwatched(self, entry: VipState, reason: str, now: float) -> None:
        if entry.may_say(reason, now):
            self._table.say("WARNING", "watch_failed", entry, reason=reason)

    def _say_done(self, entry: VipState, **more: object) -> None:
        took_ms = (self._clock() - entry.orders[0].arrived_s) * 1000
        self._table.say("INFO", "takeover_done", entry, took_ms=took_ms, **more)

    def keep_probing(self, entry: VipState, now: float) -> None:
        """Asks on every second, up to CONFLICT_WAIT."""
        entry.end_probing()
        if entry.owner_mac is None:
            # not simply the MAC that answered: a frozen holder answers too
            self.learn_owner(entry)
        if entry.state is State.PROBING:
            if not self._settings.conflict_wait_s:
                self.refuse_alive(entry, now)
                return
            self._table.enter(entry, State.OWNER_ALIVE)
            entry.wait_ends_s = now + self._settings.conflict_wait_s
            self._table.say(
                "WARNING", "owner_alive", entry, mac=entry.other_mac, wait_s=self._settings.conflict_wait_s
            )
        entry.round_s = now + AGAIN_S

    def refuse_alive(self, entry: VipState, now: float) -> None:
        """Refuses: the owner is alive (MAC), only its worker is gone."""
        reason = (
            f"{entry.vip.ip.ip} is in use by {entry.other_mac}: its owner is alive, only its worker is gone"
        )
        self._table.refuse(entry, reason)

    def defer(self, entry: VipState, now: float) -> None:
        """The lower MAC goes on, the other refuses."""
        self._table.refuse(entry, f"{entry.vip.ip.ip} is being taken by {entry.other_mac}, the lower MAC")

    def withdraw(self, entry: VipState, now: float) -> None:
        """Answers the recover with failure, the restore with success."""
        self._table.refuse(entry, "the master asked for the address back before it was taken")
        self._table.restored(entry.vip.owner)

    def release(self, entry: VipState, now: float) -> None:
        """Removes it, answers."""
        if self._table.remove(entry, now - entry.taken_s, "restore"):
            self._table.enter(entry, State.FREE)
            self._table.restored(entry.vip.owner)
        else:
            self._table.not_restored(entry)

    def on_conflict(self, entry: VipState, now: float) -> None:
        """Removes it within 1 s, logs the conflict, asks for 3 s."""
        self._table.say("CRITICAL", "address_conflict", entry, mac=entry.other_mac)
        if self._table.remove(entry, now - entry.taken_s, f"claimed by {entry.other_mac}"):
            self._table.enter(entry, State.IN_CONFLICT)
            entry.begin_probing(now, DOUBT_S)

    def give_up(self, entry: VipState, now: float) -> None:
        """`restore node`, the success form plus the reason: somebody else has the address."""
        reason = f"{entry.vip.ip.ip} is in use by {entry.other_mac}"
        self._table.say("WARNING", "address_ceded", entry, reason=reason)
        self._table.refuse(entry, reason)
        self._table.restored(entry.vip.owner, reason)

    def retake(self, entry: VipState, now: float) -> None:
        """Takes it again; the fourth time in 10 minutes: the failure form."""
        if entry.may_retake(now):
            self.take(entry, now)
        else:
            entry.trouble = f"{entry.vip.ip.ip} was claimed by others {RETAKES + 1} times in ten minutes"
            self.fail(entry, now)

    def on_removed(self, entry: VipState, now: float) -> None:
        """Logs that it is gone, asks."""
        self._table.say("WARNING", "address_lost", entry)
        self._table.enter(entry, State.LOST)
        entry.begin_probing(now, self._settings.conflict_probe_s)

    def reverify(self, entry: VipState, now: float) -> None:
        """Asks."""
        self._table.enter(entry, State.REVERIFYING)
        entry.begin_probing(now, self._settings.conflict_probe_s)

    def resume(self, entry: VipState, now: float) -> None:
        """Announces again."""
        self._table.enter(entry, State.HELD)
        entry.announce_again(now)
        self.maintain(entry, now)

    def wait_for_link(self, entry: VipState, now: float) -> None:
        """A link that is down again will come back, and with it another question."""
        self._table.enter(entry, State.HELD)
        self._say_unwatched(entry, entry.trouble, now)

    def discard(self, entry: VipState, now: float) -> None:
        """Removes it."""
        reason = f"in use by {entry.other_mac}" if entry.other_mac else entry.trouble
        self._table.drop(entry, now, 0.0, reason)
        self._table.enter(entry, State.FREE)

    def fail(self, entry: VipState, now: float) -> None:
        """A machine that could not be asked or changed: failure, with its reason."""
        self._table.say("ERROR", "takeover_failed", entry, reason=entry.trouble)
        reason = entry.trouble
        self._table.drop(entry, now, None, reason)
        self._table.lose(entry, reason)

    def stop(self, entry: VipState, now: float) -> None:
        """Removes it, and sends the failure form, so that the master elects another."""
        found_s = 0.0 if entry.state is State.ADOPTING else None
        held_s = now - entry.taken_s if entry.state in HOLDING else found_s
        self._table.remove(entry, held_s, "stopping")
        self._table.lose(entry, "stopping")

    def on_carrier_lost(self, entry: VipState, now: float) -> None:
        """Removes it, and sends the failure form, so that the next neighbor is asked; `trouble` is the reason."""
        reason = entry.trouble
        self._table.drop(entry, now, now - entry.taken_s, reason)
        self._table.lose(entry, reason)

    def release_without_master(self, entry: VipState, now: float) -> None:
        """Removes it; the failure form waits for the next join."""
        self._table.drop(entry, now, now - entry.taken_s, "master lost")
        self._table.lose(entry, "the master was lost for longer than MASTER_LOSS_RELEASE")
