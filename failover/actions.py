"""The transition table: what the worker does when an event, noticed at that monotonic time, meets a state."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from config import Config
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
from failover.vips import Reply, VipTable
from network.base import Network, NetworkError


@dataclass(frozen=True)
class Actions:
    """`clock` gives monotonic seconds, for durations."""

    settings: Config
    node: Node
    network: Network
    table: VipTable
    owners: OwnerMacs
    clock: Callable[[], float]

    def ask(self, entry: VipState) -> None:
        """Probe (RFC 5227) before it is taken, so that two takers see each other; else ask, which is no owner's conflict."""
        vip = entry.vip
        sender = None if entry.state in TAKING else self.node.address_on(vip.interface, vip.ip.ip)
        self.network.probe(vip.interface, vip.ip.ip, sender)

    def start_probe(self, entry: VipState, now: float) -> None:
        seen = self.owners.identify(entry, self.network)
        known = entry.owner_mac if entry.owner_also_uses is None else None  # else it may be a former holder's
        if known and seen.probed_ago_s.get(known, OWNER_START_S) < OWNER_START_S:
            entry.other_mac = known
            self.refuse_starting(entry, now)
            return
        self.table.enter(entry, State.PROBING)
        self.table.say("INFO", "takeover_started", entry)
        if self.settings.conflict_probe_s:
            # the first probe is tick's, when the address is watched and its answer will be heard
            entry.begin_probing(now, self.settings.conflict_probe_s)
        else:
            self.take(entry, now)

    def restart_probe(self, entry: VipState, now: float) -> None:
        """What was not heard while the link or the process was away does not count as silence."""
        entry.begin_probing(now, entry.probing_for_s, entry.probes)

    def take(self, entry: VipState, now: float) -> None:
        before = entry.state
        if not self.table.add(entry):
            self.fail(entry, now)
            return
        self.table.enter(entry, State.HELD)
        self.table.reported.pop(entry.vip.owner, None)
        entry.hold(now, self.settings.address_lease_s)
        if before is State.ADOPTING:
            self.table.say("INFO", "address_adopted", entry)
        elif before in (State.IN_CONFLICT, State.LOST):
            self.table.say("WARNING", "address_restored", entry)
        else:
            self._log_done(entry)
        self.table.succeed(entry)

    def confirm(self, entry: VipState, now: float) -> None:
        try:
            there = self.table.is_there(entry.vip)
            carrier = there and self.network.interface(entry.vip.interface).fault is None
        except NetworkError as exc:
            self.table.say("ERROR", "takeover_failed", entry, reason=str(exc))
            self.table.orders["recover", "failed"] += 1
            self.table.fail_orders(entry, str(exc))
            return
        if not there:
            self.on_removed(entry, now)
            return
        if not carrier:
            entry.trouble = f"{entry.vip.interface} has no carrier"
            self.lose(entry, now)
            return
        entry.announce_again(now)
        self.maintain(entry, now)
        self._log_done(entry, already=True)
        self.table.succeed(entry)

    def _log_done(self, entry: VipState, **more: object) -> None:
        took_ms = (self.clock() - entry.orders[0].arrived_s) * 1000
        self.table.say("INFO", "takeover_done", entry, took_ms=took_ms, **more)
        self.table.orders["recover", "taken"] += 1

    def maintain(self, entry: VipState, now: float) -> None:
        """Renew the lease, announce and ask, where that is due."""
        vip = entry.vip
        try:
            if entry.renew_s <= now:
                entry.renew_s = now + AGAIN_S  # when this fails
                if not self.table.is_there(vip):
                    self.on_removed(entry, now)
                    return
                self.network.renew(vip)
                entry.renew_s = now + self.settings.address_lease_s / 3
            if entry.announcement_due(now):
                self.network.announce(vip.interface, vip.ip.ip)
            if entry.watch_s <= now:
                entry.watch_s = now + WATCH_S
                self.ask(entry)
        except NetworkError as exc:
            # a link that is down, say: what is held stays held, and is asked for when the link comes back
            self._log_unwatched(entry, str(exc), now)

    def _log_unwatched(self, entry: VipState, reason: str, now: float) -> None:
        if entry.may_log(reason, now):
            self.table.say("WARNING", "watch_failed", entry, reason=reason)

    def keep_probing(self, entry: VipState, now: float) -> None:
        """Keeps probing every second, up to CONFLICT_WAIT."""
        entry.end_probing()
        if entry.owner_mac is None:
            # not simply the MAC that answered: a frozen holder answers too
            self.owners.identify(entry, self.network)
        if entry.state is State.PROBING:
            wait_s = self.settings.conflict_wait_s
            self.table.report_user(entry, now, wait_s)
            if not wait_s:
                self.refuse_alive(entry, now)
                return
            self.table.enter(entry, State.OWNER_ALIVE)
            entry.wait_ends_s = now + wait_s
        entry.round_s = now + AGAIN_S

    def refuse_alive(self, entry: VipState, now: float) -> None:
        ip, mac = entry.vip.ip.ip, entry.other_mac
        if entry.owner_mac in (None, mac):
            reason = f"{ip} is in use by its owner {mac}: it is alive, only its worker is gone"
            self.table.refuse(entry, reason, "INFO", "owner_alive")
        else:
            self.table.refuse(entry, f"{ip} is in use by {mac}, which is not its owner {entry.owner_mac}")

    def refuse_starting(self, entry: VipState, now: float) -> None:
        """Refuses: the owner is coming up, and would take this node's probes for a conflict."""
        where = f"{entry.vip.ip.ip} is in use by its owner {entry.other_mac}"
        self.table.refuse(
            entry, f"{where}, which probed for it and is about to use it", "INFO", "owner_alive"
        )

    def defer(self, entry: VipState, now: float) -> None:
        """The lower MAC goes on, the other refuses."""
        self.table.refuse(entry, f"{entry.vip.ip.ip} is being taken by {entry.other_mac}, the lower MAC")

    def withdraw(self, entry: VipState, now: float) -> None:
        self.table.refuse(
            entry, "the master asked for the address back before it was taken", "INFO", "withdrawn"
        )
        self.table.restored(entry.vip.owner, entry.number)

    def withdraw_at_stop(self, entry: VipState, now: float) -> None:
        self.table.refuse(entry, "stopping", "INFO", "withdrawn")

    def release(self, entry: VipState, now: float) -> None:
        if self.table.remove(entry, now, "restore"):
            self.table.enter(entry, State.FREE)
            self.table.restored(entry.vip.owner, entry.number)
        else:
            self.table.orders["restore", "failed"] += 1
            extra = {"restore_node": entry.vip.owner, "status": False, "error": entry.trouble}
            self.table.answer(Reply("restore node", extra, entry.number))

    def on_conflict(self, entry: VipState, now: float) -> None:
        """Removes it within 1 s, logs `owner_returned` or `address_conflict`, asks for 3 s."""
        self._log_claim(entry)
        if self.table.remove(entry, now, f"claimed by {entry.other_mac}"):
            self.table.enter(entry, State.IN_CONFLICT)
            entry.begin_probing(now, CONFLICT_S)

    def yield_to_owner(self, entry: VipState, now: float) -> None:
        """Removes it at once, logs `owner_returned`, and leaves the owner 10 s to come up."""
        self._log_claim(entry)
        if self.table.remove(entry, now, f"its owner {entry.other_mac} asks for it"):
            self.table.enter(entry, State.IN_CONFLICT)
            self.await_owner(entry, now)

    def yield_lost(self, entry: VipState, now: float) -> None:
        """As `yield_to_owner`, of what is gone: what a renamed interface may still hold is removed, if it can be."""
        self._log_claim(entry)
        with suppress(NetworkError):
            self.network.release(entry.vip)
        self.table.enter(entry, State.IN_CONFLICT)
        self.await_owner(entry, now)

    def await_owner(self, entry: VipState, now: float) -> None:
        """Leaves the owner, which is still asking, another 10 s to come up."""
        entry.begin_probing(now, OWNER_START_S, int(OWNER_START_S / AGAIN_S))

    def _log_claim(self, entry: VipState) -> None:
        if entry.other_mac == entry.owner_mac:
            self.table.say("INFO", "owner_returned", entry, mac=entry.other_mac)
        else:
            self.table.say("CRITICAL", "address_conflict", entry, mac=entry.other_mac)

    def give_up(self, entry: VipState, now: float) -> None:
        """`restore node`, the success form plus the reason: somebody else has the address."""
        reason = f"{entry.vip.ip.ip} is in use by {entry.other_mac}"
        level = "INFO" if entry.other_mac == entry.owner_mac else "WARNING"
        self.table.say(level, "address_ceded", entry, reason=reason)
        self.table.refuse(entry, reason)
        self.table.restored(entry.vip.owner, entry.number, reason)

    def retake(self, entry: VipState, now: float) -> None:
        """Takes it again; the fourth time in 10 minutes: the failure form."""
        if entry.may_retake(now):
            self.take(entry, now)
        else:
            entry.trouble = f"{entry.vip.ip.ip} was claimed by others {RETAKES + 1} times in ten minutes"
            self.fail(entry, now)

    def on_removed(self, entry: VipState, now: float) -> None:
        self.table.say("WARNING", "address_lost", entry)
        self.table.enter(entry, State.LOST)
        entry.begin_probing(now, self.settings.conflict_probe_s)

    def reverify(self, entry: VipState, now: float) -> None:
        self.table.enter(entry, State.REVERIFYING)
        entry.begin_probing(now, self.settings.conflict_probe_s)

    def resume(self, entry: VipState, now: float) -> None:
        self.table.enter(entry, State.HELD)
        entry.announce_again(now)
        self.maintain(entry, now)

    def wait_for_link(self, entry: VipState, now: float) -> None:
        """A link that is down again will come back, and with it another round."""
        self.table.enter(entry, State.HELD)
        self._log_unwatched(entry, entry.trouble, now)

    def discard(self, entry: VipState, now: float) -> None:
        reason = f"in use by {entry.other_mac}" if entry.other_mac else entry.trouble
        self.table.drop(entry, now, reason)
        self.table.enter(entry, State.FREE)

    def fail(self, entry: VipState, now: float) -> None:
        """A machine that could not be asked or changed: failure, with its reason."""
        self.table.say("ERROR", "takeover_failed", entry, reason=entry.trouble)
        self.table.orders["recover", "failed"] += 1
        self.lose(entry, now)

    def lose(self, entry: VipState, now: float) -> None:
        """Removes it, and sends the failure form, so that the next neighbor is asked; `trouble` is the reason."""
        reason = entry.trouble
        self.table.drop(entry, now, reason)
        self.table.lose(entry, reason)

    def stop(self, entry: VipState, now: float) -> None:
        """Removes it, and sends the failure form, so that the master elects another."""
        entry.trouble = "stopping"
        self.lose(entry, now)

    def release_without_master(self, entry: VipState, now: float) -> None:
        """Removes it; the failure form waits for the next join."""
        self.table.drop(entry, now, "master lost")
        self.table.lose(entry, "the master was lost for longer than MASTER_LOSS_RELEASE")


Action = Callable[[Actions, VipState, float], None]
_GONE = (State.IN_CONFLICT, State.LOST)
_ROWS: tuple[tuple[tuple[State, ...], Event, Action], ...] = (
    ((State.FREE,), Event.RECOVER, Actions.start_probe),
    # Ordered: the wire is probed before it is taken, and its owner may answer.
    (TAKING, Event.NO_CONFLICT, Actions.take),
    (TAKING, Event.CONFLICT, Actions.keep_probing),
    ((State.OWNER_ALIVE,), Event.CONFLICT_WAIT_OVER, Actions.refuse_alive),
    (TAKING, Event.OWNER_PROBE, Actions.refuse_starting),
    (TAKING, Event.SIMULTANEOUS_PROBE, Actions.defer),
    (TAKING, Event.STOP, Actions.withdraw_at_stop),
    # Held; REVERIFYING after the link or the process was away.
    (HOLDING, Event.RECOVER, Actions.confirm),
    (HOLDING, Event.RESTORE, Actions.release),
    (HOLDING, Event.CONFLICT, Actions.on_conflict),
    (HOLDING, Event.OWNER_PROBE, Actions.yield_to_owner),
    (HOLDING, Event.REMOVED, Actions.on_removed),
    ((State.HELD,), Event.REVALIDATE, Actions.reverify),
    ((State.REVERIFYING,), Event.NO_CONFLICT, Actions.resume),
    ((State.REVERIFYING,), Event.PROBE_FAILED, Actions.wait_for_link),
    (HOLDING, Event.CARRIER_LOST, Actions.lose),
    (HOLDING, Event.MASTER_LOST, Actions.release_without_master),
    ((*HOLDING, *_GONE, State.ADOPTING), Event.STOP, Actions.stop),
    # Removed, since another MAC claimed it, or gone from the interface without an order.
    ((State.IN_CONFLICT,), Event.NO_CONFLICT, Actions.retake),
    ((State.LOST,), Event.NO_CONFLICT, Actions.take),
    (_GONE, Event.CONFLICT, Actions.give_up),
    (_GONE, Event.SIMULTANEOUS_PROBE, Actions.give_up),
    ((State.IN_CONFLICT,), Event.OWNER_PROBE, Actions.await_owner),
    ((State.LOST,), Event.OWNER_PROBE, Actions.yield_lost),
    # Asked for, before it is taken or after it was lost.
    ((*TAKING, *_GONE), Event.PROBE_FAILED, Actions.fail),
    ((*TAKING, *_GONE), Event.CARRIER_LOST, Actions.fail),
    ((*TAKING, *_GONE), Event.RESTORE, Actions.withdraw),
    ((*TAKING, State.REVERIFYING, *_GONE, State.ADOPTING), Event.REVALIDATE, Actions.restart_probe),
    # Left by an earlier run.
    ((State.ADOPTING,), Event.NO_CONFLICT, Actions.take),
    ((State.ADOPTING,), Event.CONFLICT, Actions.discard),
    ((State.ADOPTING,), Event.OWNER_PROBE, Actions.discard),
    ((State.ADOPTING,), Event.SIMULTANEOUS_PROBE, Actions.discard),
    ((State.ADOPTING,), Event.PROBE_FAILED, Actions.discard),
    ((State.ADOPTING,), Event.CARRIER_LOST, Actions.discard),
)
# a pair that is not in it is ignored
TABLE = {(state, event): action for states, event, action in _ROWS for state in states}
