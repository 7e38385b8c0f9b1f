"""Who answers for whom and who is asked next: the master's decisions. No I/O, no threads.

The rules for the address of a node that is dead, or whose interface has no link:

- It is ordered (`recover`) at the node's first live neighbor that holds nothing, else at the first live one. When that
  one refuses, dies or does not answer in time, the next is ordered, until all were tried: that is a round.
- A new round begins every ROUND_S, and when a neighbor comes, while the node is dead and nobody holds its address.
- Where a neighbor finds the address in use by its owner, nobody is ordered before IN_USE_S have passed.
- At most one order for a node is open, and at most one holder is known. A node that loses an order, or turns out to be
  a second holder, is ordered to `restore`; that is always safe, since giving back what one does not hold is a success.
- When the node is back its holder is ordered to `restore`, and again every ROUND_S until it answers that it did.

All calls must come from one thread. `now` is in seconds of a monotonic clock.
"""

import logging
from typing import Any

from master.logs import info, warning
from master.members import Change, Connection, JoinRefusedError, Member, Members, log_death
from master.messages import Join, RecoverAnswer, RestoreAnswer
from master.orders import YIELDED_S, Orders, Send
from master.state import State

ROUND_S = 5.0
CONFLICT_SHOWN_S = 300.0
ASK = "ping request"
"""The event by which a silent node is asked whether it is there; any Socket.IO client acknowledges it."""


class NotHeldError(Exception):
    """There is nothing to give back."""


class Cluster:
    def __init__(
        self,
        send: Send,
        dead_after: float,
        order_timeout: float,
        now: float,
        nodes: frozenset[int] | None = None,
    ) -> None:
        """`dead_after`: the silence of a node, in seconds, that makes it dead. `order_timeout`: how long, in seconds,
        the answer to a `recover` may take. `nodes`: the numbers that may join; None: any.
        """
        self.leads = True
        """Whether this master begins rounds and asks back. Of several that share their state one does."""
        self.conflicts: dict[int, tuple[str, float]] = {}
        """By node: why a join as this node was refused last, and when."""
        self.members = Members(dead_after, now)
        self._orders = Orders(self.members, send)
        self._send = send
        self._nodes = nodes
        self._order_timeout = order_timeout
        self._round = now + ROUND_S
        self.load(State())

    def load(self, state: State) -> None:
        """Go on from another state than the one that was reached here."""
        self.state = self._orders.state = state
        self.members.by_number = state.members

    def joined(self, sid: str, join: Join, now: float) -> None:
        """Raises JoinRefusedError."""
        known = self.members.get(join.node)
        before = known.join if known else None
        try:
            if not self._may_join(join.node):
                raise JoinRefusedError(f"node {join.node} is not among this master's nodes; see its --nodes")
            changes = self.members.joined(sid, join, now)
        except JoinRefusedError as exc:
            if known:
                self.conflicts[join.node] = (str(exc), now)
            raise
        if changes or before is None or (before.ip, before.neighbors) != (join.ip, join.neighbors):
            beside = ",".join(map(str, join.neighbors))
            info(
                "node_joined", node=join.node, system=join.system, ip=join.ip, neighbors=beside, mac=join.mac
            )
            if join.ip is None:
                warning("node_unprotected", node=join.node, reason="it has no primary_ip with a netmask")
        for change in changes:
            self._follow(change, now, joining=sid)
        worker = self.members.speaker(sid)
        if worker:
            if before and before.carrier and not join.carrier:
                warning("carrier_lost", node=join.node)
            elif before and join.carrier and not before.carrier:
                info("carrier_back", node=join.node)
                self._orders.withdraw(self._orders.of(join.node), "its link is back", logging.INFO)
                self._orders.ask_back(self._orders.of(join.node))
            self._reconcile(worker, join, now)
            self._begin_rounds_beside(worker)
        self._orders.settle(now)

    def pinged(self, sid: str, now: float, join: Join | None = None) -> None:
        """`join`: what came on this connection last, in case that the state has lost it. Raises JoinRefusedError."""
        if join and not self.members.find(sid):
            self.joined(sid, join, now)
        changes = self.members.pinged(sid, now)
        for change in changes:
            self._follow(change, now)
            self._begin_rounds_beside(change.member)
        if changes:
            self._orders.settle(now)

    def left(self, sid: str, now: float, planned: bool = False) -> None:
        for change in self.members.left(sid, now, planned):
            self._follow(change, now)
        self._orders.settle(now)

    def answered_recover(self, sid: str, answer: RecoverAnswer, now: float) -> None:
        worker = self.members.speaker(sid)
        takeover = self.state.takeovers.get(answer.node)
        if worker is None:
            warning("ignored", event="update node", reason="its connection has not joined or does not count")
        elif answer.address:
            self._claim(worker, answer.node, answer.address, now)
        elif takeover and takeover.order and takeover.order.by == worker.number:
            self._orders.failed(takeover, worker.number, answer.reason or "", now)
        elif takeover and takeover.holder == worker.number:
            self._orders.release(takeover, f"node {worker.number} let it go: {answer.reason}")
            takeover.tried = {worker.number}
        self._orders.settle(now)

    def answered_restore(self, sid: str, answer: RestoreAnswer, now: float) -> None:
        worker = self.members.speaker(sid)
        takeover = self.state.takeovers.get(answer.node)
        if worker is None:
            warning("ignored", event="restore node", reason="its connection has not joined or does not count")
        elif takeover and takeover.holder == worker.number and answer.done:
            asked = takeover.giving_back
            self._orders.release(takeover, answer.reason or f"node {worker.number} gave it back")
            takeover.tried = {worker.number}
            if answer.reason and not asked and not self.members.serves(answer.node):
                takeover.not_before = self.members.epoch + now + YIELDED_S
        elif takeover and takeover.holder == worker.number:
            warning("restore_failed", node=takeover.number, by=worker.number, reason=answer.reason)
        self._orders.settle(now)

    def give_back(self, number: int) -> int:
        """Have the address of node `number` given back, by hand; returns the node that was ordered to.

        Where the node is dead nobody takes the address again before the node was back. Raises KeyError for a node
        that is not known, NotHeldError where no other node holds its address.
        """
        takeover = self.state.takeovers.get(number)
        if takeover is None and self.members.get(number) is None:
            raise KeyError(number)
        by = (takeover.order.by if takeover.order else takeover.holder) if takeover else None
        if takeover is None or by is None:
            raise NotHeldError(f"nobody holds the address of node {number}")
        info("given_back_by_hand", node=number, by=by)
        takeover.set_aside = not self.members.serves(number)
        self._orders.withdraw(takeover, "given back by hand", logging.INFO)
        self._orders.ask_back(takeover)
        return by

    def tick(self, now: float) -> None:
        """Do what is due: ask and find the silent, end overdue orders, begin new rounds."""
        for connection in self.members.find_unasked(now):
            self._send(connection.sid, ASK, {})
        for change in self.members.find_silent(now):
            self._follow(change, now)
        for takeover in self.state.takeovers.values():
            if takeover.order and now >= takeover.order.since + self._order_timeout:
                takeover.tried.add(takeover.order.by)
                self._orders.withdraw(takeover, f"no answer in {self._order_timeout:g} s")
        if now >= self._round:
            self._round = now + ROUND_S
            for takeover in self.state.takeovers.values() if self.leads else ():
                self._orders.begin_round(takeover)
                if takeover.giving_back:
                    self._orders.ask_back(takeover)
            for number, (_, at) in list(self.conflicts.items()):
                if now > at + CONFLICT_SHOWN_S:
                    del self.conflicts[number]
        self._orders.settle(now)

    def resumed(self, now: float, stood_s: float) -> None:
        """The master itself was frozen for `stood_s` until now: that time counts against nobody."""
        self.members.resumed(now, stood_s)
        for takeover in self.state.takeovers.values():
            if takeover.order:
                takeover.order.since = min(now, takeover.order.since + stood_s)

    def next_due(self) -> float:
        """When `tick` has something to do next."""
        overdue = [t.order.since + self._order_timeout for t in self.state.takeovers.values() if t.order]
        held_off = [t.not_before - self.members.epoch for t in self.state.takeovers.values() if t.not_before]
        return min([self._round, self.members.next_due(), *overdue, *held_off])

    def as_json(self) -> dict[str, dict[str, Any]]:
        return self.state.as_json()

    def _may_join(self, number: int) -> bool:
        return self._nodes is None or number in self._nodes

    def _follow(self, change: Change, now: float, joining: str | None = None) -> None:
        """Draw the consequences of a node's death, return or change of connection.

        `joining` is the sid that a `join` just came on: if it now counts, that join says what the node holds.
        """
        member, before = change.member, change.before
        takeover = self._orders.of(member.number)
        if before:
            for other in self.state.takeovers.values():
                if other.order and other.order.sid == before.sid:
                    level = logging.INFO if change.planned else logging.WARNING
                    self._orders.withdraw(other, "its connection is gone or silent", level)
        if before and not (member.current and member.current.sid == joining):
            self._forget_holdings(member, before)
        if member.current is None and before:
            member.since = self.members.epoch + now
            member.last_ping = self.members.epoch + before.pulse.pinged if before.pulse.pinged else 0.0
            takeover.is_planned = change.planned
            log_death(member, before, now, change.planned)
            self._orders.begin_round(takeover)
        elif before is None:
            away_s = round(self.members.epoch + now - member.since, 1) if member.since else None
            info("node_alive", node=member.number, system=member.join.system, away_s=away_s)
            member.since = self.members.epoch + now
            takeover.set_aside = takeover.stranded = False
            takeover.in_use, takeover.not_before = 0, 0.0
            if member.join.carrier:
                self._orders.withdraw(takeover, "the node is back", logging.INFO)
                self._orders.ask_back(takeover)

    def _forget_holdings(self, worker: Member, before: Connection) -> None:
        """What a dead node held is held by nobody. One that was only frozen finds the `restore` when it thaws."""
        self._forget_unclaimed(worker)
        for takeover in self.state.takeovers.values():
            if takeover.holder == worker.number:
                if before.is_open:
                    self._send(before.sid, "restore", {"restore_node": takeover.number})
                self._orders.release(takeover, f"node {worker.number} is gone or silent")
                self._orders.begin_round(takeover)

    def _forget_unclaimed(self, worker: Member) -> None:
        for ip in [ip for ip, holder in self.state.unclaimed.items() if holder == worker.number]:
            del self.state.unclaimed[ip]

    def _reconcile(self, worker: Member, join: Join, now: float) -> None:
        """Believe what a worker says that it holds: it may have restarted since, or this master may have."""
        self._forget_unclaimed(worker)
        held = dict(join.held or {})
        if join.held is None and join.secondary_ip:
            owner = next((m for m in self.members if m.join.ip == join.secondary_ip), None)
            if owner:
                held[owner.number] = join.secondary_ip
            else:
                why = "its owner is not known yet"
                info("holds_unknown", ip=join.secondary_ip, holder=worker.number, reason=why)
                self.state.unclaimed[join.secondary_ip] = worker.number
        is_complete = join.held is not None or join.secondary_ip is None
        for takeover in self.state.takeovers.values():
            if is_complete and takeover.holder == worker.number and takeover.number not in held:
                self._orders.release(takeover, f"node {worker.number} no longer holds it")
                self._orders.begin_round(takeover)
        for number, ip in held.items():
            self._claim(worker, number, ip, now)
        holder = self.members.get(self.state.unclaimed.pop(join.ip or "", 0))
        if holder and join.ip:
            self._claim(holder, worker.number, join.ip, now)

    def _claim(self, worker: Member, number: int, ip: str, now: float) -> None:
        """`worker` says that it holds the address `ip` of node `number`."""
        if number == worker.number or not self._may_join(number):
            warning("claim_ignored", node=number, by=worker.number, ip=ip)
            return
        takeover = self._orders.of(number)
        if takeover.holder not in (None, worker.number):
            warning("second_holder", node=number, holder=takeover.holder, second=worker.number)
            if worker.current:
                self._send(worker.current.sid, "restore", {"restore_node": number})
            return
        took_ms = None
        if takeover.order and takeover.order.by != worker.number:
            self._orders.withdraw(takeover, f"node {worker.number} holds it already")
        elif takeover.order:
            took_ms = round((now - takeover.order.since) * 1000, 1)
        if takeover.holder is None:
            info("takeover_done", node=number, address=ip, by=worker.number, took_ms=took_ms)
            takeover.held_since = self.members.epoch + now
        takeover.order, takeover.holder, takeover.ip = None, worker.number, ip
        if self.members.serves(number):
            self._orders.ask_back(takeover)

    def _begin_rounds_beside(self, worker: Member) -> None:
        for member in self.members:
            if worker.number in member.join.neighbors:
                self._orders.begin_round(self._orders.of(member.number))
