"""What the actions are made of: adding an address, removing it, and answering the master."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from failover.counter import OrderCounter
from failover.orders import RESTORE_KEYS, Recover, as_echo, refusal
from failover.states import ABSENCE_S, AGAIN_S, HOLDING, State, VipState
from logging_setup import EventLogger
from network.base import Address, Network, NetworkError, Vip


@dataclass(frozen=True)
class Reply:
    """An answer to the master: `extra` alone, or on top of the join data as they are when it is sent.

    `order` is the number of the order that it answers. One that says that the address of `owner` is held, or is not
    held any more, is not to be sent once that is no longer so.
    """

    event: str
    extra: Mapping[str, Any]
    with_join: bool
    order: int | None = None
    owner: int | None = None
    says_held: bool = False


class VipTable:
    """Acts on the machine, and reports what came of it: in the log, and to the master through `answer`."""

    def __init__(
        self,
        node_id: int,
        neighbors: Mapping[int, Sequence[int]],
        network: Network,
        log: EventLogger,
        answer: Callable[[Reply], None],
    ) -> None:
        self.entries: dict[int, VipState] = {}
        self.orders = OrderCounter()
        self.clear_up_s = math.inf
        self.reported: dict[
            int, tuple[str | None, float]
        ] = {}  # each owner's MAC that was found alive, and when
        self._leftovers: dict[Vip, VipState] = {}
        self._node_id = node_id
        self._neighbors = neighbors
        self._network = network
        self._log = log
        self._answer = answer

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
            self._network.hold(vip)
            self._network.announce(vip.interface, vip.ip.ip)
        except NetworkError as exc:
            entry.trouble = str(exc)
            return False
        return True

    def remove(self, entry: VipState, held_s: float | None, reason: str) -> bool:
        """Remove it, and see that it is gone; False: it is still there, and `entry.trouble` says why.

        `held_s` is for how long it was held, None: it was not, and a success goes without saying.
        """
        vip = entry.vip
        try:
            self._network.release(vip)
            if self.is_there(entry):
                raise NetworkError(f"{vip.interface} still holds {vip.ip} after it was removed")
        except NetworkError as exc:
            entry.trouble = str(exc)
            self.say("ERROR", "release_failed", entry, reason=entry.trouble)
            return False
        if held_s is not None:
            self.say("INFO", "release_done", entry, reason=reason, held_s=held_s)
        return True

    def drop(self, entry: VipState, now: float, held_s: float | None, reason: str) -> None:
        """As `remove`, for an address that is given up either way: what is still there is removed by `clear_up`."""
        if not self.remove(entry, held_s, reason):
            self._leftovers[entry.vip] = entry
            self.clear_up_s = now + AGAIN_S

    def clear_up(self, now: float) -> None:
        """Once a second until it is gone, remove what could not be removed when it was given up."""
        if now < self.clear_up_s:
            return
        self._leftovers = {vip: entry for vip, entry in self._leftovers.items() if not self._cleared(entry)}
        self.clear_up_s = now + AGAIN_S if self._leftovers else math.inf

    def _cleared(self, entry: VipState) -> bool:
        newer = self.entries.get(entry.vip.owner)
        if newer and newer.state in HOLDING and newer.vip == entry.vip:
            return True
        try:
            self._network.release(entry.vip)
            if self.is_there(entry):
                return False
        except NetworkError:
            return False  # the first failure was logged
        self.say("INFO", "release_done", entry, reason="it could not be removed before")
        return True

    def is_there(self, entry: VipState) -> bool:
        """Raises NetworkError when the machine cannot be asked."""
        return self.among(entry.vip, self._network.addresses(entry.vip.interface))

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
            self._answer(Reply("update node", extra, True, order.number, order.owner, says_held=True))
        entry.orders.clear()

    def report_user(self, entry: VipState, now: float, wait_s: float) -> None:
        """The address is in use: a WARNING once in an absence of its owner's worker."""
        mac, at_s = self.reported.get(entry.vip.owner, (None, -math.inf))
        known = mac == entry.other_mac and now - at_s < ABSENCE_S
        self.reported[entry.vip.owner] = (entry.other_mac, now)
        self.say("INFO" if known else "WARNING", "owner_alive", entry, mac=entry.other_mac, wait_s=wait_s)

    def refuse(self, entry: VipState, reason: str, level: str = "ERROR") -> None:
        """Failure to every recover that waits; the address is given up."""
        self.enter(entry, State.FREE)
        if entry.orders:
            self.say(level, "takeover_refused", entry, reason=reason)
            self.orders.add("recover", "refused")
        self.fail_orders(entry, reason)

    def withdraw(self, entry: VipState, reason: str) -> None:
        """Failure to every recover that waits, of which none was carried out; the address is given up."""
        self.enter(entry, State.FREE)
        if entry.orders:
            self.say("INFO", "takeover_withdrawn", entry, reason=reason, order=entry.orders[-1].number)
            self.orders.add("recover", "withdrawn")
        self.fail_orders(entry, reason)

    def lose(self, entry: VipState, reason: str) -> None:
        """Failure to every recover that waits, or once more to the one that was answered with success."""
        self.enter(entry, State.FREE)
        entry.orders = entry.orders or [entry.answered or self._as_order(entry.vip)]
        self.fail_orders(entry, reason)

    def fail_orders(self, entry: VipState, reason: str) -> None:
        """Failure to every recover that waits."""
        for order in entry.orders:
            self._answer(Reply("update node", refusal(order.data, reason), False, order.number))
        entry.orders.clear()

    def refuse_recover(self, data: Mapping[str, Any], reason: str, number: int | None) -> None:
        """Failure to an order that never came to be an entry."""
        node, address = _shown(data.get("disconnected_node")), _shown(data.get("ip"))
        fields = {"node": node, "address": address, "reason": reason, "order": number}
        self._log.error("takeover_refused", **fields, **self._simulated())
        self.orders.add("recover", "refused")
        self._answer(Reply("update node", refusal(data, reason), False, number))

    def refuse_restore(self, data: Mapping[str, Any], reason: str, number: int | None) -> None:
        fields = {"node": _shown(data.get("restore_node")), "reason": reason, "order": number}
        self._log.error("release_failed", **fields, **self._simulated())
        self.orders.add("restore", "failed")
        echo = refusal(data, reason, RESTORE_KEYS)
        self._answer(Reply("restore node", {**echo, "status": False}, False, number))

    def restored(self, owner: int, number: int | None, reason: str | None = None) -> None:
        """The success form of `restore node`; with a reason, where no order asked for it."""
        extra: dict[str, Any] = {"restore_node": owner, "status": True}
        if reason:
            extra["reason"] = reason
        else:
            self.orders.add("restore", "done")
        self._answer(Reply("restore node", extra, True, number, owner))

    def not_restored(self, entry: VipState) -> None:
        self.orders.add("restore", "failed")
        extra = {"restore_node": entry.vip.owner, "status": False, "error": entry.trouble}
        self._answer(Reply("restore node", extra, False, entry.number))

    def say(self, level: str, event: str, entry: VipState, **fields: object) -> None:
        vip = entry.vip
        place = {"node": vip.owner, "address": str(vip.ip), "interface": vip.interface}
        self._log.write(level, event, {**place, "order": entry.number, **fields, **self._simulated()})

    def _simulated(self) -> dict[str, object]:
        return {"simulated": True} if self._network.backend == "simulated" else {}

    def _as_order(self, vip: Vip) -> Recover:
        """The order that an adopted address must once have had, as far as can be told: a master that reads
        from it whom to ask next finds every neighbor of the owner there.
        """
        data = {
            "disconnected_node": vip.owner,
            "recovery_node": str(self._node_id),
            "ip": str(vip.ip.ip),
            "netmask": str(vip.ip.netmask),
            "active_neighbors": [str(node) for node in self._neighbors.get(vip.owner, ())],
        }
        return Recover(vip.owner, vip.ip, as_echo(data), 0.0)


def _shown(value: object) -> object:
    """A field of a refused order, for the log; None where it is no text and no number of usual size."""
    return value if isinstance(value, str) or (type(value) is int and value.bit_length() < 64) else None
