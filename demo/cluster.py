"""Who holds whose address and who is asked next: the master's decisions. No I/O, no threads.

The rules for the address of a dead node:

- It is ordered (`recover`) at its first live neighbour that holds nothing, else at the first live one. When that one
  refuses, dies or does not answer in time, the next is ordered, until all were tried: that is a round.
- A new round begins every BEAT_S, and when a neighbour comes, while the node is dead and nobody holds its address.
- At most one order for a node is open, and at most one holder is known. Whoever loses an order, or turns out to be a
  second holder, is told to `restore`; that is always safe, since giving back what one does not hold is a success.
- When the node is back its holder is told to `restore`, and again every BEAT_S until it answers that it did.

All calls must come from one thread. Times are seconds of a monotonic clock, given by the caller.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Optional

from demo.cases import Case, Order, as_json
from demo.members import Change, Connection, Member, Members
from demo.messages import Join, RecoverAnswer, RestoreAnswer
from demo.state import State

BEAT_S = 5.0
LOG = logging.getLogger("demo.master.decided")

Send = Callable[[str, str, dict[str, Any]], None]
"""Is given a connection's sid, an event and its data, and must neither block nor raise."""


class NotHeldError(Exception):
    """There is nothing to give back."""


class Cluster:
    def __init__(self, send: Send, dead_after: float, order_timeout: float, now: float) -> None:
        """`dead_after`: the silence of a node, in seconds, that makes it dead. `order_timeout`: how long, in seconds,
        the answer to a `recover` may take.
        """
        self.beats = True
        """Whether this master begins rounds and asks back. Of several that share their state one does."""
        self.members = Members(dead_after, now)
        self._send = send
        self._order_timeout = order_timeout
        self._beat = now + BEAT_S
        self.load(State())

    def load(self, state: State) -> None:
        """Go on from another state than the one that was reached here."""
        self.state = state
        self.members.load(state.members)
        self._cases, self._unclaimed = state.cases, state.unclaimed

    def joined(self, sid: str, join: Join, now: float) -> None:
        known = self.members.get(join.node)
        if known is None or (known.join.ip, known.join.neighbours) != (join.ip, join.neighbours):
            LOG.info(
                "node node=%d system=%r ip=%s neighbours=%s", join.node, join.system, join.ip, join.neighbours
            )
            if join.ip is None:
                LOG.warning("unprotected node=%d: it tells no primary_ip with its netmask", join.node)
        for change in self.members.joined(sid, join, now):
            self._follow(change, joining=sid)
        worker = self.members.speaker(sid)
        if worker:
            self._reconcile(worker, join)
            self._begin_rounds_beside(worker)
        self._settle(now)

    def pinged(self, sid: str, now: float) -> None:
        changes = self.members.pinged(sid, now)
        for change in changes:
            self._follow(change)
            self._begin_rounds_beside(change.member)
        if changes:
            self._settle(now)

    def left(self, sid: str, now: float) -> None:
        for change in self.members.left(sid, now):
            self._follow(change)
        self._settle(now)

    def answered_recover(self, sid: str, answer: RecoverAnswer, now: float) -> None:
        worker = self.members.speaker(sid)
        case = self._cases.get(answer.node)
        if worker is None:
            LOG.warning("ignored event='update node': its connection has not joined or does not count")
        elif answer.address:
            self._claim(worker, answer.node, answer.address)
        elif case and case.order and case.order.by == worker.number:
            LOG.warning("recover_failed node=%d by=%d reason=%r", case.number, worker.number, answer.reason)
            case.order = None
            case.tried.add(worker.number)
        elif case and case.holder == worker.number:
            self._release(case, f"node {worker.number} lost it: {answer.reason!r}")
            case.tried = {worker.number}
        self._settle(now)

    def answered_restore(self, sid: str, answer: RestoreAnswer, now: float) -> None:
        worker = self.members.speaker(sid)
        case = self._cases.get(answer.node)
        if worker is None:
            LOG.warning("ignored event='restore node': its connection has not joined or does not count")
        elif case and case.holder == worker.number and answer.done:
            self._release(case, f"node {worker.number} gave it back, reason={answer.reason!r}")
            case.tried = {worker.number}
        elif case and case.holder == worker.number:
            LOG.warning("restore_failed node=%d by=%d reason=%r", case.number, worker.number, answer.reason)
        self._settle(now)

    def give_back(self, number: int) -> int:
        """Have the address of node `number` given back, by hand; returns the node that was told to.

        Where the node is dead nobody takes the address again before the node was back. Raises KeyError for a node
        that is not known, NotHeldError where no other node holds its address.
        """
        case = self._cases.get(number)
        if case is None and self.members.get(number) is None:
            raise KeyError(number)
        told = (case.order.by if case.order else case.holder) if case else None
        if case is None or told is None:
            raise NotHeldError(f"nobody holds the address of node {number}")
        LOG.info("given_back_by_hand node=%d", number)
        case.set_aside = not self.members.is_alive(number)
        self._withdraw(case, "given back by hand")
        self._ask_back(case)
        return told

    def tick(self, now: float) -> None:
        """Do what is due: find the silent, end overdue orders, begin new rounds."""
        for change in self.members.find_silent(now):
            self._follow(change)
        for case in self._cases.values():
            if case.order and now >= case.order.since + self._order_timeout:
                case.tried.add(case.order.by)
                self._withdraw(case, f"no answer in {self._order_timeout:g} s")
        if now >= self._beat:
            self._beat = now + BEAT_S
            for case in self._cases.values() if self.beats else ():
                self._begin_round(case)
                if case.giving_back:
                    self._ask_back(case)
        self._settle(now)

    def resumed(self, now: float) -> None:
        """The master itself was frozen until now: time that passed meanwhile counts against nobody."""
        self.members.resumed(now)
        for case in self._cases.values():
            if case.order:
                case.order.since = now

    def next_due(self) -> float:
        """When `tick` has something to do next."""
        overdue = [case.order.since + self._order_timeout for case in self._cases.values() if case.order]
        return min([self._beat, self.members.next_death(), *overdue])

    def as_json(self) -> dict[str, dict[str, Any]]:
        return as_json(self.members, self._cases)

    def _case(self, number: int) -> Case:
        return self._cases.setdefault(number, Case(number))

    def _follow(self, change: Change, joining: Optional[str] = None) -> None:
        """Draw the consequences of a node's death, return or change of connection.

        `joining` is the sid that a `join` just came on: if it now counts, that join tells what the node holds.
        """
        member, before = change.member, change.before
        case = self._case(member.number)
        if before:
            for other in self._cases.values():
                if other.order and other.order.sid == before.sid:
                    self._withdraw(other, "its connection is gone or silent")
        if before and not (member.current and member.current.sid == joining):
            self._forget_loans_of(member, before)
        if member.current is None:
            LOG.warning("node_dead node=%d", member.number)
            self._begin_round(case)
        elif before is None:
            LOG.info("node_alive node=%d", member.number)
            case.set_aside = case.stranded = False
            self._withdraw(case, "the node is back")
            self._ask_back(case)

    def _forget_loans_of(self, worker: Member, before: Connection) -> None:
        """What a dead node held is held by nobody. One that was only frozen finds the `restore` when it thaws."""
        self._forget_unclaimed(worker)
        for case in self._cases.values():
            if case.holder == worker.number:
                if before.is_open:
                    self._send(before.sid, "restore", {"restore_node": case.number})
                self._release(case, f"node {worker.number} is gone or silent")
                self._begin_round(case)

    def _forget_unclaimed(self, worker: Member) -> None:
        for ip in [ip for ip, holder in self._unclaimed.items() if holder == worker.number]:
            del self._unclaimed[ip]

    def _reconcile(self, worker: Member, join: Join) -> None:
        """Believe what a worker says that it holds: it may have restarted since, or this master may have."""
        self._forget_unclaimed(worker)
        held = dict(join.held or {})
        if join.held is None and join.secondary_ip:
            owner = next((m for m in self.members if m.join.ip == join.secondary_ip), None)
            if owner:
                held[owner.number] = join.secondary_ip
            else:
                LOG.info(
                    "unclaimed ip=%s holder=%d: its owner is not known yet", join.secondary_ip, worker.number
                )
                self._unclaimed[join.secondary_ip] = worker.number
        tells_all = join.held is not None or join.secondary_ip is None
        for case in self._cases.values():
            if tells_all and case.holder == worker.number and case.number not in held:
                self._release(case, f"node {worker.number} says that it holds it no more")
                self._begin_round(case)
        for number, ip in held.items():
            self._claim(worker, number, ip)
        holder = self.members.get(self._unclaimed.pop(join.ip or "", 0))
        if holder and join.ip:
            self._claim(holder, worker.number, join.ip)

    def _claim(self, worker: Member, number: int, ip: str) -> None:
        """`worker` says that it holds the address `ip` of node `number`."""
        if number == worker.number:
            LOG.warning("claim_ignored node=%d ip=%s: its own address", number, ip)
            return
        case = self._case(number)
        if case.holder not in (None, worker.number):
            LOG.warning("second_holder node=%d holder=%s second=%d", number, case.holder, worker.number)
            if worker.current:
                self._send(worker.current.sid, "restore", {"restore_node": number})
            return
        if case.order and case.order.by != worker.number:
            self._withdraw(case, f"node {worker.number} holds it already")
        if case.holder is None:
            LOG.info("held node=%d ip=%s holder=%d", number, ip, worker.number)
        case.order, case.holder, case.ip = None, worker.number, ip
        if self.members.is_alive(number):
            self._ask_back(case)

    def _release(self, case: Case, why: str) -> None:
        LOG.info("held_by_nobody node=%d: %s", case.number, why)
        case.holder, case.ip, case.giving_back = None, None, False

    def _ask_back(self, case: Case) -> None:
        """Tell the holder, if there is one, to restore; each beat tells it again until it answers that it did."""
        holder = self.members.get(case.holder) if case.holder is not None else None
        if holder and holder.current:
            LOG.info("restore node=%d holder=%d", case.number, holder.number)
            case.giving_back = True
            self._send(holder.current.sid, "restore", {"restore_node": case.number})

    def _withdraw(self, case: Case, why: str) -> None:
        """End the open order, if there is one: a `restore` undoes it at whatever point it is."""
        if case.order:
            LOG.warning("recover_withdrawn node=%d by=%d: %s", case.number, case.order.by, why)
            self._send(case.order.sid, "restore", {"restore_node": case.number})
            case.order = None

    def _begin_rounds_beside(self, worker: Member) -> None:
        for member in self.members:
            if worker.number in member.join.neighbours:
                self._begin_round(self._case(member.number))

    def _begin_round(self, case: Case) -> None:
        if case.order is None:
            case.tried = set()

    def _settle(self, now: float) -> None:
        """Order the next neighbour for every node that needs one."""
        for member in self.members:
            case = self._case(member.number)
            waits = member.current is None and case.holder is None and case.order is None
            if waits and not case.set_aside and member.join.ip:
                self._elect(member, case, now)

    def _elect(self, dead: Member, case: Case, now: float) -> None:
        neighbours = [m for m in map(self.members.get, dead.join.neighbours) if m]
        lines = [(m.number, m.current) for m in neighbours if m.current]
        active = [(number, line.sid) for number, line in lines if line.is_open and line.is_reachable]
        candidates = [one for one in active if one[0] not in case.tried]
        if not candidates:
            if not case.stranded:
                LOG.warning("nobody_left node=%d: no live neighbour can take %s", dead.number, dead.join.ip)
            case.stranded = True
            return
        by, sid = min(candidates, key=lambda one: self._holds_something(one[0]))
        LOG.info("recover node=%d ip=%s by=%d", dead.number, dead.join.ip, by)
        case.order, case.stranded = Order(by, sid, now), False
        order = {
            "disconnected_node": dead.number,
            "recovery_node": str(by),
            "ip": dead.join.ip,
            "netmask": dead.join.netmask,
            "active_neighbors": [str(number) for number, _ in active],
        }
        self._send(sid, "recover", order)

    def _holds_something(self, number: int) -> bool:
        """Counting what it is just asked to take."""
        taken = {case.holder for case in self._cases.values()} | set(self._unclaimed.values())
        return number in taken or any(c.order and c.order.by == number for c in self._cases.values())
