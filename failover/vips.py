"""What the actions are made of: adding an address, removing it, and answering the master."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from config import Config
from failover.orders import Recover, refusal
from failover.states import ABSENCE_S, AGAIN_S, HOLDING, State, VipState
from logging_setup import EventLogger
from network.base import Address, Network, NetworkError, Vip

OUTCOMES = (
    ("recover", "taken"),
    ("recover", "refused"),
    ("recover", "owner_alive"),
    ("recover", "withdrawn"),
    ("recover", "failed"),
    ("restore", "done"),
    ("restore", "failed"),
)
"""What the master can order, and what can become of it; that the owner is alive is no fault of this node's."""


@dataclass(frozen=True)
class Reply:
    """An answer to the master. With `owner` it is a success, and `extra` goes on top of the join data as they are when it
    is sent: the owner's address is held, or not any more. It is not to be sent once that is no longer so.
    """

    event: str
    extra: Mapping[str, Any]
    order: int | None = None
    owner: int | None = None
    says_held: bool = False


@dataclass
class VipTable:
    """Acts on the machine, and reports what came of it: in the log, and to the master through `answer`.

    `entries` has each address that is not FREE, by its owner, `orders` the number of orders by outcome, `reported` each
    owner's MAC that was found alive, and when. `leftovers` is what could not be removed when it was given up.
    """

    settings: Config
    network: Network
    log: EventLogger
    answer: Callable[[Reply], None]
    entries: dict[int, VipState] = field(default_factory=dict)
    orders: dict[tuple[str, str], int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    reported: dict[int, tuple[str | None, float]] = field(default_factory=dict)
    leftovers: dict[Vip, VipState] = field(default_factory=dict)
    clear_up_s: float = math.inf

    def enter(self, entry: VipState, state: State) -> None:
        """Move an address to another state; one that is FREE is forgotten."""
        entry.state = state
        if state is State.FREE:
            self.entries.pop(entry.vip.owner, None)
        else:
            self.entries[entry.vip.owner] = entry

    def add(self, entry: VipState) -> bool:
        """Add it and announce it; False: `entry.trouble` says why not."""
        vip = entry.vip
        try:
            self.network.hold(vip)
            self.network.announce(vip.interface, vip.ip.ip)
        except NetworkError as exc:
            entry.trouble = str(exc)
            return False
        return True

    def remove(self, entry: VipState, now: float, reason: str) -> bool:
        """Remove it, and see that it is gone; False: it is still there, and `entry.trouble` says why."""
        try:
            self._take_off(entry.vip)
        except NetworkError as exc:
            entry.trouble = str(exc)
            self.say("ERROR", "release_failed", entry, reason=entry.trouble)
            return False
        if entry.state in (*HOLDING, State.ADOPTING):
            held_s = 0.0 if entry.state is State.ADOPTING else now - entry.taken_s
            self.say("INFO", "release_done", entry, reason=reason, held_s=held_s)
        return True

    def drop(self, entry: VipState, now: float, reason: str) -> None:
        """As `remove`, for an address that is given up either way: what is still there is removed by `clear_up`."""
        if not self.remove(entry, now, reason):
            self.leftovers[entry.vip] = entry
            self.clear_up_s = now + AGAIN_S

    def clear_up(self, now: float) -> None:
        """Once a second until it is gone, remove what could not be removed when it was given up."""
        if now < self.clear_up_s:
            return
        self.leftovers = {vip: entry for vip, entry in self.leftovers.items() if not self._cleared(entry)}
        self.clear_up_s = now + AGAIN_S if self.leftovers else math.inf

    def _cleared(self, entry: VipState) -> bool:
        newer = self.entries.get(entry.vip.owner)
        if newer and newer.state in HOLDING and newer.vip == entry.vip:
            return True
        try:
            self._take_off(entry.vip)
        except NetworkError:
            return False  # the first failure was logged
        self.say("INFO", "release_done", entry, reason="it could not be removed before")
        return True

    def _take_off(self, vip: Vip) -> None:
        self.network.release(vip)
        if self.is_there(vip):
            raise NetworkError(f"{vip.interface} still holds {vip.ip} after it was removed")

    def is_there(self, vip: Vip) -> bool:
        """Raises NetworkError when the machine cannot be asked."""
        return self.among(vip, self.network.addresses(vip.interface))

    @staticmethod
    def among(vip: Vip, addresses: tuple[Address, ...]) -> bool:
        return Address(vip.interface, vip.ip, vip.owner) in addresses

    def is_stale(self, reply: Reply) -> bool:
        """Whether an answer that could not be sent at once has been overtaken by what happened since."""
        if reply.owner is None:
            return False
        entry = self.entries.get(reply.owner)
        return entry is None if reply.says_held else entry is not None and entry.state in HOLDING

    def succeed(self, entry: VipState) -> None:
        """Success to every recover that waits."""
        for order in entry.orders:
            entry.answered = order
            extra = {"disconnected_node": order.owner}
            self.answer(Reply("update node", extra, order.number, order.owner, says_held=True))
        entry.orders.clear()

    def report_user(self, entry: VipState, now: float, wait_s: float) -> None:
        """The address is in use: a WARNING once in an absence of its owner's worker."""
        mac, at_s = self.reported.get(entry.vip.owner, (None, -math.inf))
        known = mac == entry.other_mac and now - at_s < ABSENCE_S
        self.reported[entry.vip.owner] = (entry.other_mac, now)
        self.say("INFO" if known else "WARNING", "owner_alive", entry, mac=entry.other_mac, wait_s=wait_s)

    def refuse(self, entry: VipState, reason: str, level: str = "ERROR", outcome: str = "refused") -> None:
        """Failure to every recover that waits, of which none was carried out; the address is given up."""
        self.enter(entry, State.FREE)
        if entry.orders:
            event = "takeover_withdrawn" if outcome == "withdrawn" else "takeover_refused"
            self.say(level, event, entry, reason=reason, order=entry.orders[-1].number)
            self.orders["recover", outcome] += 1
        self.fail_orders(entry, reason)

    def lose(self, entry: VipState, reason: str) -> None:
        """Failure to every recover that waits, or once more to the one that was answered with success."""
        self.enter(entry, State.FREE)
        entry.orders = entry.orders or [entry.answered or self._as_order(entry.vip)]
        self.fail_orders(entry, reason)

    def fail_orders(self, entry: VipState, reason: str) -> None:
        """Failure to every recover that waits."""
        for order in entry.orders:
            self.answer(Reply("update node", refusal(order.data, reason), order.number))
        entry.orders.clear()

    def refuse_order(
        self, event: str, data: Mapping[str, Any], reason: str, number: int | None = None
    ) -> str:
        """Failure to an order that never came to be an entry, or must not even be read; the reason."""
        fields = {"reason": reason, "order": number, **self._simulated()}
        if event == "recover":
            place = {"node": _shown(data.get("disconnected_node")), "address": _shown(data.get("ip"))}
            self.log.write("ERROR", "takeover_refused", {**place, **fields})
            self.orders["recover", "refused"] += 1
            self.answer(Reply("update node", refusal(data, reason), number))
        else:
            node = _shown(data.get("restore_node"))
            self.log.write("ERROR", "release_failed", {"node": node, **fields})
            self.orders["restore", "failed"] += 1
            answer = {**refusal(data, reason), "status": False}
            self.answer(Reply("restore node", answer, number))
        return reason

    def restored(self, owner: int, number: int | None, reason: str | None = None) -> None:
        """The success form of `restore node`; with a reason, where no order asked for it."""
        extra: dict[str, Any] = {"restore_node": owner, "status": True}
        if reason:
            extra["reason"] = reason
        else:
            self.orders["restore", "done"] += 1
        self.answer(Reply("restore node", extra, number, owner))

    def say(self, level: str, event: str, entry: VipState, **fields: object) -> None:
        vip = entry.vip
        place = {"node": vip.owner, "address": str(vip.ip), "interface": vip.interface}
        self.log.write(level, event, {**place, "order": entry.number, **fields, **self._simulated()})

    def _simulated(self) -> dict[str, object]:
        return {"simulated": True} if self.network.backend == "simulated" else {}

    def _as_order(self, vip: Vip) -> Recover:
        """The order that an adopted address must have had, with every neighbor of the owner, which may be asked next."""
        data = {
            "disconnected_node": vip.owner,
            "recovery_node": str(self.settings.node_id),
            "ip": str(vip.ip.ip),
            "netmask": str(vip.ip.netmask),
            "active_neighbors": [str(node) for node in self.settings.neighbors.get(vip.owner, ())],
        }
        return Recover(vip.owner, vip.ip, json.dumps(data), 0.0)


def _shown(value: object) -> object:
    """A field of a refused order, for the log; None where it is no text and no number of usual size."""
    return value if isinstance(value, str) or (type(value) is int and value.bit_length() < 64) else None
