"""Taking a dead node's address and giving it back: what happens becomes an `Event`, and TABLE has the action.

It has no I/O of its own. Times are monotonic seconds; answers to the master go out through `answer`.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from config import Config
from failover.actions import TABLE, Actions
from failover.conflicts import ConflictDetector
from failover.node import Node
from failover.orders import OrderError, Recover, check_address, parse_recover, parse_restore
from failover.owners import OwnerMacs
from failover.states import ADOPT_PROBE_S, HOLDING, Event, State, VipState
from failover.vips import Reply, VipTable
from logging_setup import EventLogger
from network.base import (
    AddressesChanged,
    ArpSeen,
    FilterFailed,
    LinkDown,
    LinkUp,
    Network,
    NetworkError,
    NetworkEvent,
    Vip,
)

WAITING_ORDERS, WAITING_BYTES = 2000, 4 << 20
"""Orders that may wait for what becomes of their addresses, and their size as JSON; each is answered then."""
CARRIER_LOSS_S = 3.0
"""Seconds without carrier after which an interface counts as lost; a shorter flap moves nothing."""


class Failover:
    """The addresses that this node holds, or is about to hold, for others; `unusable` is why it can change none."""

    def __init__(
        self,
        settings: Config,
        node: Node,
        network: Network,
        log: EventLogger,
        answer: Callable[[Reply], None],
        clock: Callable[[], float] = time.monotonic,
        owners: OwnerMacs | None = None,
    ) -> None:
        self.unusable: str | None = None
        self._settings = settings
        self._node = node
        self._network = network
        self._table = VipTable(settings, network, log, answer)
        self.orders = self._table.orders
        self._entries = self._table.entries
        self._log = log
        self._owners = owners or OwnerMacs(None, settings.neighbors)
        self._actions = Actions(settings, node, network, self._table, self._owners, clock)
        self._clock = clock
        self._conflicts = ConflictDetector(node, network, self._entries, self._apply)
        self._down_since_s: dict[str, float] = {}
        self._lost_carrier: set[str] = set()
        self.refuse = self._table.refuse_order
        self.is_stale = self._table.is_stale
        self.watch = self._conflicts.watch

    def start(self, now: float) -> None:
        """Find the virtual addresses that an earlier run left; `settled` once they are judged. Raises NetworkError."""
        for address in self._network.addresses():
            if address.owner is not None:
                entry = VipState(Vip(address.owner, address.ip, address.interface))
                older = self._entries.get(address.owner)
                if older:
                    self._table.drop(older, now, f"node {address.owner} has {address.ip} as well")
                self._table.enter(entry, State.ADOPTING)
                self._owners.identify(entry, self._network)
                entry.begin_probing(now, max(ADOPT_PROBE_S, self._settings.conflict_probe_s))
        self.watch()
        self.tick(now)

    @property
    def entries(self) -> tuple[VipState, ...]:
        """Every address that is held or being thought about."""
        return tuple(self._entries.values())

    @property
    def settled(self) -> bool:
        """Whether every virtual address that was found at start is adopted or removed."""
        return all(entry.state is not State.ADOPTING for entry in self._entries.values())

    @property
    def steady(self) -> bool:
        """Whether no address is between held and not held, so that a `join` would say what is true for a moment only."""
        return all(entry.state not in (State.IN_CONFLICT, State.LOST) for entry in self._entries.values())

    @property
    def held(self) -> list[Vip]:
        """The virtual addresses that the interface holds, the newest last."""
        holding = [entry for entry in self._entries.values() if entry.state in HOLDING]
        return [entry.vip for entry in sorted(holding, key=lambda entry: entry.taken_s)]

    def recover(
        self, data: Mapping[str, Any], now: float, arrived_s: float, number: int | None = None
    ) -> str | None:
        """Take an address over; the reason when the order is refused at once, else None: its answer follows."""
        try:
            order = parse_recover(data, self._settings.node_id, self._settings.neighbors, arrived_s, number)
            entry = self._entry_for(order)
            self._check_room(order)
        except (OrderError, NetworkError) as exc:
            return self.refuse("recover", data, str(exc), number)
        entry.orders.append(order)
        entry.number = number
        if entry.state is State.FREE and self._settings.conflict_probe_s:
            # so that others can distinguish this node's probes from those of an owner that comes back
            self._node.announce_on(entry.vip.interface)
        self._apply(entry, Event.RECOVER, now)
        return None

    def restore(self, data: Mapping[str, Any], now: float, number: int | None = None) -> str | None:
        """Give an address back; the reason when it is no valid order, else None."""
        known = {*self._settings.neighbors, *self._entries}
        try:
            owner = parse_restore(data, self._settings.node_id, known)
        except OrderError as exc:
            return self.refuse("restore", data, str(exc), number)
        entry = self._entries.get(owner)
        if entry:
            taken_by, entry.number = entry.number, number
            self._apply(entry, Event.RESTORE, now)
            entry.number = taken_by
        else:
            self._table.restored(owner, number)
        return None

    def seen(self, event: NetworkEvent, now: float) -> None:
        """Something on the wire or the machine changed."""
        if isinstance(event, ArpSeen):
            self._node.seen(event, now)
            for entry in list(self._entries.values()):
                if event.interface == entry.vip.interface:
                    self._conflicts.heard(event, entry, now)
        elif isinstance(event, LinkDown):
            if event.interface in {self._node.interface, *(e.vip.interface for e in self._entries.values())}:
                self._down_since_s.setdefault(event.interface, now)
        elif isinstance(event, LinkUp):
            since_s = self._down_since_s.pop(event.interface, now)
            if event.interface in self._lost_carrier:
                self._lost_carrier.discard(event.interface)
                self._log.info("carrier_restored", interface=event.interface, lost_s=now - since_s)
            if self._node.interface == event.interface:
                self._node.carrier = True
                self._node.announce()
            for entry in list(self._entries.values()):
                if entry.vip.interface == event.interface:
                    self._apply(entry, Event.REVALIDATE, now)
        elif isinstance(event, AddressesChanged):
            self._look(now, event.interface)
        elif isinstance(event, FilterFailed):
            self._log.warning("probes_not_filtered", reason=event.reason)

    def unsure(self, now: float) -> None:
        """The process or the machine was frozen: others may have taken what is held here."""
        self._node.announce()
        self._look(now)
        self._to_all(Event.REVALIDATE, now)

    def master_lost(self, now: float) -> None:
        """MASTER_LOSS_RELEASE is over."""
        self._to_all(Event.MASTER_LOST, now)

    def stop(self, now: float) -> None:
        """Give everything back, whatever was going on."""
        self._to_all(Event.STOP, now)

    def tick_due(self) -> float:
        """The monotonic time at which `tick` has something to do, infinity: nothing is waited for."""
        dues = (entry.due_s() for entry in self._entries.values())
        down = (
            at + CARRIER_LOSS_S for name, at in self._down_since_s.items() if name not in self._lost_carrier
        )
        return min([self._table.clear_up_s, self._conflicts.filter_due_s, *down, *dues])

    def judge_due(self) -> float:
        """The monotonic time at which `judge` has something to decide, infinity: nothing."""
        return min((entry.verdict_due_s() for entry in self._entries.values()), default=math.inf)

    def tick(self, now: float) -> None:
        """Send the probes and announcements that are due, and renew leases."""
        self._table.clear_up(now)
        for interface, since_s in self._down_since_s.items():
            if interface not in self._lost_carrier and since_s + CARRIER_LOSS_S <= now:
                self._lose_carrier(interface, now)
        for entry in list(self._entries.values()):
            if entry.round_s <= now:
                entry.begin_probing(now, self._settings.conflict_probe_s)
            self._send_probe(entry, now)
            if entry.state in HOLDING:
                self._actions.maintain(entry, now)
        self._conflicts.filter(now)

    def judge(self, as_of: float) -> None:
        """Decide where the wire was silent up to `as_of`; whatever it said before must have been `seen`."""
        for entry in list(self._entries.values()):
            suspect = entry.suspect
            if suspect and suspect.due_s <= as_of:
                # nobody has the other address: what was said of it was wrong, and the MAC is the owner's
                entry.suspect, entry.owner_also_uses, entry.other_mac = None, None, suspect.mac
                self._apply(entry, Event.OWNER_PROBE, as_of)
            elif entry.verdict_s <= as_of:
                entry.end_probing()
                self._apply(entry, Event.NO_CONFLICT, as_of)
            elif entry.wait_ends_s <= as_of:
                self._apply(entry, Event.CONFLICT_WAIT_OVER, as_of)

    def _lose_carrier(self, interface: str, now: float) -> None:
        self._lost_carrier.add(interface)
        self._log.warning("carrier_lost", interface=interface, lost_s=now - self._down_since_s[interface])
        if self._node.interface == interface:
            self._node.carrier = False
        for entry in list(self._entries.values()):
            if entry.vip.interface == interface:
                entry.trouble = f"{interface} has had no carrier for {CARRIER_LOSS_S:g} s"
                self._apply(entry, Event.CARRIER_LOST, now)

    def _look(self, now: float, interface: str | None = None) -> None:
        """Whether what is held is still there, on that interface or, None, on any."""
        holding = [
            entry
            for entry in self._entries.values()
            if entry.state in HOLDING and interface in {None, entry.vip.interface}
        ]
        try:
            there = self._network.addresses(interface) if holding else ()
        except NetworkError:
            return  # not knowing is not absence; the next renewal looks again
        for entry in holding:
            if entry.state in HOLDING and not self._table.among(entry.vip, there):
                self._apply(entry, Event.REMOVED, now)

    def _check_room(self, order: Recover) -> None:
        waiting = [one for entry in self._entries.values() for one in entry.orders]
        size = len(order.echo) + sum(len(one.echo) for one in waiting)
        if len(waiting) >= WAITING_ORDERS or size > WAITING_BYTES:
            raise OrderError(
                f"{len(waiting)} orders wait already until it is known whether their addresses are free"
            )

    def _entry_for(self, order: Recover) -> VipState:
        if self.unusable:
            raise NetworkError(self.unusable)
        entry = self._entries.get(order.owner)
        if entry:
            if entry.vip.ip != order.ip:
                raise OrderError(f"{entry.vip.ip} is held or asked for node {order.owner} already")
            return entry
        for other in self._entries.values():
            if other.vip.ip.ip == order.ip.ip:
                raise OrderError(f"{order.ip.ip} is held or asked for node {other.vip.owner} already")
        there = self._network.addresses()
        gateways = [gateway for _, gateway in self._network.default_routes()]
        check_address(order.ip, there, gateways, self._settings.allowed_networks)
        return VipState(Vip(order.owner, order.ip, self._node.interface_for(order.ip.ip, there)))

    def _to_all(self, event: Event, now: float) -> None:
        for entry in list(self._entries.values()):
            self._apply(entry, event, now)

    def _apply(self, entry: VipState, event: Event, now: float) -> None:
        action = TABLE.get((entry.state, event))
        if action:
            action(self._actions, entry, now)
            self._conflicts.update_filter(now)
            try:
                self.watch()
            except NetworkError as exc:
                # a probe whose answer cannot be heard is as good as one that could not be sent
                self._probe_failed(entry, exc, now)

    def _send_probe(self, entry: VipState, now: float) -> None:
        """Send the probe that is due, if one is."""
        if entry.probe_due(now):
            try:
                self._actions.ask(entry)
                entry.probed(self._clock())  # when it was really sent
            except NetworkError as exc:
                self._probe_failed(entry, exc, now)

    def _probe_failed(self, entry: VipState, reason: NetworkError, now: float) -> None:
        entry.trouble = str(reason)
        entry.end_probing()
        self._apply(entry, Event.PROBE_FAILED, now)
