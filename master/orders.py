"""Orders to workers: who is to take an address, and who is to give one back. No I/O, no threads."""

import logging
from collections.abc import Callable
from typing import Any

from master.logs import info, log
from master.members import Member, Members
from master.state import Order, State, Takeover

IN_USE_S = (30.0, 60.0, 120.0, 300.0)
"""How long nobody is ordered after the first, second, … refusal because the owner itself answers."""
YIELDED_S = 10.0
"""How long nobody is ordered after a holder let go because it saw the owner, whose worker is about to start."""

Send = Callable[[str, str, dict[str, Any]], None]
"""Is given a connection's sid, an event and its data, and must neither block nor raise."""


class Orders:
    def __init__(self, members: Members, send: Send) -> None:
        self._members, self._send = members, send
        self.state = State()

    def of(self, number: int) -> Takeover:
        return self.state.takeovers.setdefault(number, Takeover(number))

    def settle(self, now: float) -> None:
        """Order the next neighbor for every node that needs one."""
        for member in self._members:
            if self._members.serves(member.number):
                continue
            takeover = self.of(member.number)
            if takeover.not_before <= self._members.epoch + now:
                takeover.not_before = 0.0
            is_unserved = takeover.holder is None and takeover.order is None and not takeover.not_before
            if is_unserved and not takeover.set_aside and member.join.ip:
                self._elect(member, takeover, now)

    def _elect(self, dead: Member, takeover: Takeover, now: float) -> None:
        neighbors = [m for m in map(self._members.get, dead.join.neighbors) if m and m.join.carrier]
        lines = [(m.number, m.current) for m in neighbors if m.current]
        active = [(number, line.sid) for number, line in lines if line.is_open and line.is_reachable]
        candidates = [one for one in active if one[0] not in takeover.tried]
        if not candidates:
            if not takeover.stranded:
                level = logging.INFO if takeover.in_use or takeover.is_planned else logging.WARNING
                why = "no live neighbor can take it"
                log(level, "nobody_left", node=dead.number, address=dead.join.ip, reason=why)
            takeover.stranded = True
            return
        by, sid = min(candidates, key=lambda one: self._holds_something(one[0]))
        info("takeover_ordered", node=dead.number, address=dead.join.ip, by=by)
        takeover.order, takeover.stranded = Order(by, sid, now), False
        order = {
            "disconnected_node": dead.number,
            "recovery_node": str(by),
            "ip": dead.join.ip,
            "netmask": dead.join.netmask,
            "active_neighbors": [str(number) for number, _ in active],
        }
        if dead.join.mac:
            order["owner_mac"] = dead.join.mac
        self._send(sid, "recover", order)

    def _holds_something(self, number: int) -> bool:
        """Counting what it was just ordered to take."""
        takeovers = self.state.takeovers.values()
        busy = {t.holder for t in takeovers} | {t.order.by for t in takeovers if t.order}
        return number in busy or number in self.state.unclaimed.values()

    def failed(self, takeover: Takeover, by: int, reason: str, now: float) -> None:
        """The neighbor that was ordered did not take the address."""
        # the owner itself, whose worker comes next; it has not answered, so it may be gone again
        is_starting = "asks before" in reason or "about to use" in reason
        is_used = not is_starting and "in use by" in reason
        is_quiet = reason == "stopping" or is_starting or (is_used and takeover.in_use)
        level = logging.INFO if is_quiet else logging.WARNING
        log(level, "takeover_failed", node=takeover.number, by=by, reason=reason)
        takeover.order = None
        if is_used:
            wait_s = IN_USE_S[min(takeover.in_use, len(IN_USE_S) - 1)]
            takeover.in_use += 1
            takeover.not_before = self._members.epoch + now + wait_s
            takeover.tried = set()
        elif is_starting:
            takeover.not_before = self._members.epoch + now + YIELDED_S
        else:
            takeover.tried.add(by)

    def release(self, takeover: Takeover, why: str) -> None:
        info("takeover_ended", node=takeover.number, address=takeover.ip, by=takeover.holder, reason=why)
        takeover.holder, takeover.ip, takeover.giving_back = None, None, False

    def ask_back(self, takeover: Takeover) -> None:
        """Order the holder, if there is one, to restore; each round repeats it until it answers that it did."""
        holder = self._members.get(takeover.holder) if takeover.holder is not None else None
        if holder and holder.current:
            info("restore_ordered", node=takeover.number, by=holder.number)
            takeover.giving_back = True
            self._send(holder.current.sid, "restore", {"restore_node": takeover.number})

    def withdraw(self, takeover: Takeover, why: str, level: int = logging.WARNING) -> None:
        """End the open order, if there is one: a `restore` undoes it at whatever point it is."""
        if takeover.order:
            log(level, "takeover_withdrawn", node=takeover.number, by=takeover.order.by, reason=why)
            self._send(takeover.order.sid, "restore", {"restore_node": takeover.number})
            takeover.order = None

    def begin_round(self, takeover: Takeover) -> None:
        if takeover.order is None:
            takeover.tried = set()
