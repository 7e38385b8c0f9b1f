"""What the worker does in each cell of the transition table.

An action gets the address and the monotonic time at which its event was noticed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from failover.node import Node
from failover.owners import OwnerMacs
from failover.states import (
    AGAIN_S,
    CONFLICT_S,
    HOLDING,
    OWNER_START_S,
    RETAKES,
    TAKING,
    WATCH_S,
    Event,
    State,
    VipState,
)
from failover.vips import VipTable
from network.base import Network, NetworkError


@dataclass(frozen=True)
class FailoverSettings:
    """What of the configuration failover goes by; the names are config.Config's, durations in seconds."""

    node_id: int
    neighbors: Mapping[int, tuple[int, ...]]
    allowed_networks: tuple[IPv4Network, ...] | None
    address_lease_s: float
    conflict_probe_s: float
    conflict_wait_s: float


class Actions:
    """`apply` takes an event that an action found out about; `clock` gives monotonic seconds, for durations and for
    the time at which a probe was really sent.
    """

    def __init__(
        self,
        settings: FailoverSettings,
        node: Node,
        network: Network,
        table: VipTable,
        owners: OwnerMacs,
        apply: Callable[[VipState, Event, float], None],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._node = node
        self._network = network
        self._table = table
        self._owners = owners
        self._apply = apply
        self._clock = clock

    # asking the wire

    def send_probe(self, entry: VipState, now: float) -> None:
        """Send the probe that is due, if one is."""
        if entry.probe_due(now):
            try:
                self._send(entry)
                entry.probed(self._clock())
            except NetworkError as exc:
                entry.trouble = str(exc)
                entry.end_probing()
                self._apply(entry, Event.PROBE_FAILED, now)

    def _send(self, entry: VipState) -> None:
        """A probe of RFC 5227 before an address is taken, so that two nodes that want it see each other; an ordinary
        request while it is held or in conflict, which an owner that probes for it does not take for a conflict.
        """
        vip = entry.vip
        sender = None if entry.state in TAKING else self._node.address_on(vip.interface, vip.ip.ip)
        self._network.probe(vip.interface, vip.ip.ip, sender)

    # the cells

    def start_probe(self, entry: VipState, now: float) -> None:
        """Probes."""
        seen = self._owners.identify(entry, self._network)
        known = entry.owner_mac if entry.owner_also_uses is None else None  # else it may be a former holder's
        if known and known == seen.prober and seen.probed_ago_s < OWNER_START_S:
            entry.other_mac = known
            self.refuse_starting(entry, now)
            return
        self._table.enter(entry, State.PROBING)
        self._table.say("INFO", "takeover_started", entry)
        if self._settings.conflict_probe_s:
            # the first probe is tick's, when the address is watched and its answer will be heard
            entry.begin_probing(now, self._settings.conflict_probe_s)
        else:
            self.take(entry, now)

    def restart_probe(self, entry: VipState, now: float) -> None:
        """What was not heard while the link or the process was away does not count as silence."""
        entry.begin_probing(now, entry.probing_for_s, entry.probes)

    def take(self, entry: VipState, now: float) -> None:
        """Adds it, announces it, verifies that the interface holds it, answers success."""
        before = entry.state
        if not self._table.add(entry):
            self.fail(entry, now)
            return
        self._table.enter(entry, State.HELD)
        self._table.reported.pop(entry.vip.owner, None)
        entry.hold(now, self._settings.address_lease_s)
        if before is State.ADOPTING:
            self._table.say("INFO", "address_adopted", entry)
        elif before in (State.IN_CONFLICT, State.LOST):
            self._table.say("WARNING", "address_restored", entry)
        else:
            self._log_done(entry)
        self._table.succeed(entry)

    def confirm(self, entry: VipState, now: float) -> None:
        """Announces it, answers success."""
        try:
            there = self._table.is_there(entry)
            carrier = self._network.has_carrier(entry.vip.interface)
        except NetworkError as exc:
            self._table.say("ERROR", "takeover_failed", entry, reason=str(exc))
            self._table.orders.add("recover", "failed")
            self._table.fail_orders(entry, str(exc))
            return
        if not there:
            self.on_removed(entry, now)
            return
        if not carrier:
            entry.trouble = f"{entry.vip.interface} has no carrier"
            self.on_carrier_lost(entry, now)
            return
        entry.announce_again(now)
        self.maintain(entry, now)
        self._log_done(entry, already=True)
        self._table.succeed(entry)

    def _log_done(self, entry: VipState, **more: object) -> None:
        took_ms = (self._clock() - entry.orders[0].arrived_s) * 1000
        self._table.say("INFO", "takeover_done", entry, took_ms=took_ms, **more)
        self._table.orders.add("recover", "taken")

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
                self._send(entry)
        except NetworkError as exc:
            # a link that is down, say: what is held stays held, and is asked for when the link comes back
            self._log_unwatched(entry, str(exc), now)

    def _log_unwatched(self, entry: VipState, reason: str, now: float) -> None:
        if entry.may_log(reason, now):
            self._table.say("WARNING", "watch_failed", entry, reason=reason)

    def keep_probing(self, entry: VipState, now: float) -> None:
        """Keeps probing every second, up to CONFLICT_WAIT."""
        entry.end_probing()
        if entry.owner_mac is None:
            # not simply the MAC that answered: a frozen holder answers too
            self._owners.identify(entry, self._network)
        if entry.state is State.PROBING:
            wait_s = self._settings.conflict_wait_s
            self._table.report_user(entry, now, wait_s)
            if not wait_s:
                self.refuse_alive(entry, now)
                return
            self._table.enter(entry, State.OWNER_ALIVE)
            entry.wait_ends_s = now + wait_s
        entry.round_s = now + AGAIN_S

    def refuse_alive(self, entry: VipState, now: float) -> None:
        """Refuses: the owner (MAC) is alive, only its worker is gone, as `owner_alive` has said."""
        ip, mac = entry.vip.ip.ip, entry.other_mac
        if entry.owner_mac in (None, mac):
            self._table.refuse(
                entry, f"{ip} is in use by its owner {mac}: it is alive, only its worker is gone", "INFO"
            )
        else:
            self._table.refuse(entry, f"{ip} is in use by {mac}, which is not its owner {entry.owner_mac}")

    def refuse_starting(self, entry: VipState, now: float) -> None:
        """Refuses: the owner is coming up, and would take this node's probes for a conflict."""
        where = f"{entry.vip.ip.ip} is in use by its owner {entry.other_mac}"
        self._table.refuse(entry, f"{where}, which probed for it and is about to use it", "INFO")

    def defer(self, entry: VipState, now: float) -> None:
        """The lower MAC goes on, the other refuses."""
        self._table.refuse(entry, f"{entry.vip.ip.ip} is being taken by {entry.other_mac}, the lower MAC")

    def withdraw(self, entry: VipState, now: float) -> None:
        """Answers the `recover` with failure, the `restore` with success."""
        self._table.withdraw(entry, "the master asked for the address back before it was taken")
        self._table.restored(entry.vip.owner, entry.number)

    def withdraw_at_stop(self, entry: VipState, now: float) -> None:
        """Answers the `recover` with failure."""
        self._table.withdraw(entry, "stopping")

    def release(self, entry: VipState, now: float) -> None:
        """Removes it, answers."""
        if self._table.remove(entry, now - entry.taken_s, "restore"):
            self._table.enter(entry, State.FREE)
            self._table.restored(entry.vip.owner, entry.number)
        else:
            self._table.not_restored(entry)

    def on_conflict(self, entry: VipState, now: float) -> None:
        """Removes it within 1 s, logs `owner_returned` or `address_conflict`, asks for 3 s."""
        self._log_claim(entry)
        if self._table.remove(entry, now - entry.taken_s, f"claimed by {entry.other_mac}"):
            self._table.enter(entry, State.IN_CONFLICT)
            entry.begin_probing(now, CONFLICT_S)

    def yield_to_owner(self, entry: VipState, now: float) -> None:
        """Removes it at once, logs `owner_returned`, and leaves the owner 10 s to come up."""
        self._log_claim(entry)
        if self._table.remove(entry, now - entry.taken_s, f"its owner {entry.other_mac} asks for it"):
            self._table.enter(entry, State.IN_CONFLICT)
            self.await_owner(entry, now)

    def await_owner(self, entry: VipState, now: float) -> None:
        """Leaves the owner, which is still asking, another 10 s to come up."""
        entry.begin_probing(now, OWNER_START_S, int(OWNER_START_S / AGAIN_S))

    def yield_lost(self, entry: VipState, now: float) -> None:
        """Logs `owner_returned`, and leaves the owner 10 s to come up."""
        self._log_claim(entry)
        self._table.enter(entry, State.IN_CONFLICT)
        self.await_owner(entry, now)

    def _log_claim(self, entry: VipState) -> None:
        if entry.other_mac == entry.owner_mac:
            self._table.say("INFO", "owner_returned", entry, mac=entry.other_mac)
        else:
            self._table.say("CRITICAL", "address_conflict", entry, mac=entry.other_mac)

    def give_up(self, entry: VipState, now: float) -> None:
        """`restore node`, the success form plus the reason: somebody else has the address."""
        reason = f"{entry.vip.ip.ip} is in use by {entry.other_mac}"
        level = "INFO" if entry.other_mac == entry.owner_mac else "WARNING"
        self._table.say(level, "address_ceded", entry, reason=reason)
        self._table.refuse(entry, reason)
        self._table.restored(entry.vip.owner, entry.number, reason)

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
        """A link that is down again will come back, and with it another round."""
        self._table.enter(entry, State.HELD)
        self._log_unwatched(entry, entry.trouble, now)

    def discard(self, entry: VipState, now: float) -> None:
        """Removes it."""
        reason = f"in use by {entry.other_mac}" if entry.other_mac else entry.trouble
        self._table.drop(entry, now, 0.0, reason)
        self._table.enter(entry, State.FREE)

    def fail(self, entry: VipState, now: float) -> None:
        """A machine that could not be asked or changed: failure, with its reason."""
        self._table.say("ERROR", "takeover_failed", entry, reason=entry.trouble)
        self._table.orders.add("recover", "failed")
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
