"""What the cells of failover's table are made of: adding, removing, and answering the master for a claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from failover.orders import RESTORE_KEYS, Recover, refusal
from failover.vip_state import AGAIN_S, HOLDING, Claim, State
from logging_setup import Log
from network.base import Address, Loan, Network, NetworkError


@dataclass(frozen=True)
class Outcome:
    """An answer to the master: `extra` alone, or on top of the join data as they stand when it is sent."""

    event: str
    extra: Mapping[str, Any]
    with_join: bool


class Loans:
    """Acts on the machine and tells what came of it: in the log, and to the master through `answer`."""

    def __init__(
        self,
        node_id: int,
        neighbours: Mapping[int, Sequence[int]],
        network: Network,
        log: Log,
        answer: Callable[[Outcome], None],
    ) -> None:
        self.claims: dict[int, Claim] = {}
        self.clear_up_s = math.inf
        self._leftovers: dict[Loan, Claim] = {}
        self._node_id = node_id
        self._neighbours = neighbours
        self._network = network
        self._log = log
        self._answer = answer

    def enter(self, claim: Claim, state: State) -> None:
        """Move a claim to another state; one that is FREE is forgotten."""
        claim.state = state
        if state is State.FREE:
            self.claims.pop(claim.loan.owner, None)
        else:
            self.claims[claim.loan.owner] = claim

    def add(self, claim: Claim) -> bool:
        """Add it and announce it; False: `claim.trouble` says why not."""
        loan = claim.loan
        try:
            self._network.hold(loan)
            self._network.announce(loan.interface, loan.ip.ip)
        except NetworkError as exc:
            claim.trouble = str(exc)
            return False
        return True

    def remove(self, claim: Claim, held_s: Optional[float], reason: str) -> bool:
        """Remove it, and see that it is gone; False: it is still there, and `claim.trouble` says why.

        `held_s` is for how long it was held, None: it was not, and a success goes without saying.
        """
        loan = claim.loan
        try:
            self._network.release(loan)
            if self.is_there(claim):
                raise NetworkError(f"{loan.interface} still holds {loan.ip} after it was removed")
        except NetworkError as exc:
            claim.trouble = str(exc)
            self.say("ERROR", "release_failed", claim, reason=claim.trouble)
            return False
        if held_s is not None:
            self.say("INFO", "release_done", claim, reason=reason, held_s=held_s)
        return True

    def drop(self, claim: Claim, now: float, held_s: Optional[float], reason: str) -> None:
        """As `remove`, for a claim that ends either way: what is still there is removed by `clear_up`."""
        if not self.remove(claim, held_s, reason):
            self._leftovers[claim.loan] = claim
            self.clear_up_s = now + AGAIN_S

    def clear_up(self, now: float) -> None:
        """Once a second until it is gone, remove what could not be removed when its claim ended."""
        if now < self.clear_up_s:
            return
        self._leftovers = {loan: claim for loan, claim in self._leftovers.items() if not self._cleared(claim)}
        self.clear_up_s = now + AGAIN_S if self._leftovers else math.inf

    def _cleared(self, claim: Claim) -> bool:
        newer = self.claims.get(claim.loan.owner)
        if newer and newer.state in HOLDING and newer.loan == claim.loan:
            return True
        try:
            self._network.release(claim.loan)
            if self.is_there(claim):
                return False
        except NetworkError:
            return False  # the first failure was logged
        self.say("INFO", "release_done", claim, reason="it could not be removed before")
        return True

    def is_there(self, claim: Claim) -> bool:
        """Raises NetworkError when the machine cannot be asked."""
        return self.among(claim.loan, self._network.addresses())

    @staticmethod
    def among(loan: Loan, addresses: tuple[Address, ...]) -> bool:
        return Address(loan.interface, loan.ip, loan.owner) in addresses

    def succeed(self, claim: Claim) -> None:
        """Success to every recover that waits."""
        for order in claim.orders:
            claim.answered = order
            self._answer(Outcome("update node", {"disconnected_node": order.owner}, with_join=True))
        claim.orders.clear()

    def refuse(self, claim: Claim, reason: str) -> None:
        """Failure to every recover that waits; the address is given up."""
        self.enter(claim, State.FREE)
        if claim.orders:
            self.say("ERROR", "takeover_refused", claim, reason=reason)
        self.fail_orders(claim, reason)

    def lose(self, claim: Claim, reason: str) -> None:
        """Failure to every recover that waits, or once more to the one that was answered with success."""
        self.enter(claim, State.FREE)
        claim.orders = claim.orders or [claim.answered or self._as_order(claim.loan)]
        self.fail_orders(claim, reason)

    def fail_orders(self, claim: Claim, reason: str) -> None:
        """Failure to every recover that waits."""
        for order in claim.orders:
            self._answer(Outcome("update node", refusal(order.data, reason), with_join=False))
        claim.orders.clear()

    def refuse_recover(self, data: Mapping[str, Any], reason: str) -> None:
        """Failure to an order that never came to be a claim."""
        node, address = _shown(data.get("disconnected_node")), _shown(data.get("ip"))
        fields = {"node": node, "address": address, "reason": reason}
        self._log.write("ERROR", "takeover_refused", {**fields, **self._mark()})
        self._answer(Outcome("update node", refusal(data, reason), with_join=False))

    def refuse_restore(self, data: Mapping[str, Any], reason: str) -> None:
        fields = {"node": _shown(data.get("restore_node")), "reason": reason}
        self._log.write("ERROR", "release_failed", {**fields, **self._mark()})
        echo = refusal(data, reason, RESTORE_KEYS)
        self._answer(Outcome("restore node", {**echo, "status": False}, with_join=False))

    def restored(self, owner: int, reason: Optional[str] = None) -> None:
        """The success form of `restore node`; with a reason, where no order asked for it."""
        extra: dict[str, Any] = {"restore_node": owner, "status": True}
        if reason:
            extra["reason"] = reason
        self._answer(Outcome("restore node", extra, with_join=True))

    def not_restored(self, claim: Claim) -> None:
        extra = {"restore_node": claim.loan.owner, "status": False, "error": claim.trouble}
        self._answer(Outcome("restore node", extra, with_join=False))

    def say(self, level: str, event: str, claim: Claim, **fields: object) -> None:
        loan = claim.loan
        place = {"node": loan.owner, "address": str(loan.ip), "interface": loan.interface}
        self._log.write(level, event, {**place, **fields, **self._mark()})

    def _mark(self) -> dict[str, object]:
        return {"simulated": True} if self._network.backend == "simulated" else {}

    def _as_order(self, loan: Loan) -> Recover:
        """The order that an adopted address must once have had, as far as can be told: a master that reads
        from it whom to ask next finds every neighbour of the owner there.
        """
        data = {
            "disconnected_node": loan.owner,
            "recovery_node": str(self._node_id),
            "ip": str(loan.ip.ip),
            "netmask": str(loan.ip.netmask),
            "active_neighbors": [str(node) for node in self._neighbours.get(loan.owner, ())],
        }
        return Recover(loan.owner, loan.ip, data, 0.0)


def _shown(value: object) -> object:
    """A field of a refused order, for the log; None where it is no text and no number of usual size."""
    return value if isinstance(value, str) or (type(value) is int and value.bit_length() < 64) else None
