"""The owner: one inbox, one loop, and every decision made in it.

Connection threads, the keep-alive, the network's watch and signal handlers only put messages into the inbox. What is
done about an address is decided by failover/, what is sent to the master by reports.py.
"""

from __future__ import annotations

import math
import os
import threading
import time
import traceback
from contextlib import ExitStack
from typing import Any

from config import Config
from connection.messages import Callbacks, Connected, Disconnected, JoinAcknowledged, OrderReceived
from connection.reconnect import Connection
from failover.machine import Failover
from failover.node import Node
from failover.owners import OwnerMacs
from failover.states import HOLDING, VipState
from logging_setup import Logs
from network.base import AddressesChanged, ArpSeen, FilterFailed, LinkDown, LinkUp, NetworkError
from network.choose import open_network
from ping_monitor import PingMonitor
from worker.assembly import log_warnings, own_mac, targets_of
from worker.inbox import DumpState, Inbox, MasterTimeout, ProbeTimeout, ReopenLogs, StatusAsked, Stop
from worker.notify_command import NotifyCommand
from worker.reports import Reports
from worker.route_watch import RouteWatch
from worker.status import Status
from worker.suspend import SuspendDetector
from worker.systemd import SystemdNotifier
from worker.watchdog import watch

BEAT_S, IDLE_BEAT_S = 1.0, 2.5
"""Longest time between two turns of the loop, in seconds: while an address is held or in question, and else."""
CRASHED_S = 0.05
"""Pause after an error of its own, in seconds: it may come back at once."""
CRASH_AGAIN_S = 60.0
"""Seconds between two reports of the same error."""
STOP_LIMIT_S = 1.9
"""Seconds that a stop may take in all."""
NOTIFY_LIMIT_S = 1.5
"""Seconds of a stop after which NOTIFY_COMMAND is no longer waited for."""
GOODBYE_S = 0.6
"""Seconds for which a stop waits until the last answers are sent."""


class Worker:
    """One node's worker, from `run` until a Stop."""

    def __init__(self, config: Config, version: str, inbox: Inbox, notifier: SystemdNotifier) -> None:
        self._config = config
        self._version = version
        self._inbox = inbox
        self._logs = Logs(
            config.log_dir,
            level=config.log_level,
            max_bytes=config.log_max_bytes,
            backup_count=config.log_backup_count,
            console=config.log_console,
            secrets=config.secrets,
        )
        self._log = self._logs.comms
        self._network = open_network(config)
        self._node = Node(config, self._network, self._log)
        self._failover = Failover(
            config,
            self._node,
            self._network,
            self._log,
            lambda reply: self._reports.answer(reply),
            owners=OwnerMacs(config.log_dir / f"owners-{config.node_id}.json", config.neighbors),
        )
        callbacks = Callbacks(inbox.put, inbox.put_order, lambda seq: self._pings.acknowledged(seq))
        self._connection = Connection(
            targets_of(config),
            config.reconnect_delay_s,
            config.reconnect_delay_max_s,
            callbacks,
            self._log,
            release_s=config.master_loss_release_s,
        )
        self._reports = Reports(
            self._node, self._connection, self._failover, config.join_interval_s, self._log
        )
        self._pings = PingMonitor(
            config, self._connection, self._logs.ping, lambda reason: inbox.put(MasterTimeout(reason))
        )
        self._routes = RouteWatch(config.masters)
        command = config.notify_command
        self._notify = NotifyCommand(command, config.node_id, self._log) if command else None
        self._stop_s = math.inf
        self._suspend_detector = SuspendDetector()
        self._expected_s = math.inf
        self._beat_s = BEAT_S
        self._due_s = math.inf
        self._probe_timeout_posted = False
        self._joined = False
        self._crash, self._crash_s, self._crashes = "", 0.0, 0
        self._started_s = time.monotonic()
        self._status = Status(config, notifier, self._logs, self._snapshot, inbox.put, self._started_s)

    def run(self) -> None:
        """Work until a Stop comes; release every address on the way out, whatever the reason."""
        config = self._config
        self._logs.install_hooks()
        self._log.info(
            "started",
            node=config.node_id,
            version=self._version,
            pid=os.getpid(),
            run=self._logs.run,
            master=",".join(config.masters),
            backend=self._network.backend,
            simulated=True if self._network.backend == "simulated" else None,
            mac=own_mac(config, self._network),
        )
        self._logs.ping.info("started", node=config.node_id, run=self._logs.run)
        log_warnings(config, self._log)
        self._status.start()
        if self._notify:
            self._notify.start()
        try:
            self._prepare()
            self._pings.start()
            self._due_s = time.monotonic()
            due_s = {"owner": lambda: self._due_s, "ping": lambda: self._pings.due_s}
            arguments = (due_s, self._log, self._logs.close)
            threading.Thread(target=watch, args=arguments, name="watchdog", daemon=True).start()
            message: object = None
            while True:
                if isinstance(message, Stop):
                    self._stop_s = time.monotonic()
                    self._log.info("stopping", signal=message.signal)
                    self._status.stopping()
                    break
                try:
                    self._turn(message)
                # the last resort: an error of ours must not end what keeps addresses alive
                except Exception as exc:  # noqa: BLE001
                    self._crashed(exc)
                    time.sleep(CRASHED_S)
                message = self._next()
        finally:
            self._shut_down()
        # not after an exception: the hook that logs it closes them
        self._logs.close(max(0.2, self._stop_s + STOP_LIMIT_S - time.monotonic()))

    def _crashed(self, exc: Exception) -> None:
        """Log an error of our own, the same one at most once a minute: one in each turn would fill the disk."""
        text, now = traceback.format_exc(), time.monotonic()
        if text == self._crash and now - self._crash_s < CRASH_AGAIN_S:
            self._crashes += 1
            return
        repeats = self._crashes if text == self._crash else 0
        self._crash, self._crash_s, self._crashes = text, now, 0
        self._log.critical(
            "crashed", thread="owner", error=repr(exc), repeats=repeats or None, traceback=text
        )

    def _prepare(self) -> None:
        now = time.monotonic()
        try:
            self._network.start(self._inbox.put_event)
            self._failover.start(now)
        except NetworkError as exc:
            self._failover.unusable = f"this worker can change no address: {exc}"
            self._log.error("network_unusable", backend=self._network.backend, reason=str(exc))
        self._find_own_address(None)
        self._node.announce()

    def _next(self) -> object:
        """The next message, or None when it is time for something else."""
        now = time.monotonic()
        due = min(self._failover.tick_due(), self._connection.due(), self._reports.due(), self._status.due())
        if not self._probe_timeout_posted:
            due = min(due, self._failover.judge_due())
        # a freeze must be noticed soon by what holds an address; else each turn is CPU time for nothing
        self._beat_s = BEAT_S if self._failover.entries else IDLE_BEAT_S
        wait_s = max(0.0, min(self._beat_s, due - now))
        self._expected_s = self._due_s = now + wait_s
        message = self._inbox.get(wait_s)
        self._due_s = time.monotonic()
        return message

    def _turn(self, message: object) -> None:
        now = time.monotonic()
        stood_still = self._suspend_detector.stood_still(self._expected_s, self._beat_s)
        if stood_still:
            self._log.warning("was_frozen", reason=stood_still)
            self._failover.unsure(now)
            self._connection.froze(now)
            self._reports.rejoin()
        if message is not None:
            self._handle(message, now)
        if self._failover.tick_due() <= now:
            self._failover.tick(now)
        if self._failover.judge_due() <= now and not self._probe_timeout_posted:
            self._probe_timeout_posted = True
            self._inbox.put(ProbeTimeout(now))
        if not self._joined and self._failover.settled:
            self._joined = True
            self._connection.begin(now)
            self._status.ready()
        if self._connection.lost_s is not None and self._routes.changed(now):
            self._connection.wake(now)
        self._connection.tick(now)
        lost_s, release_s = self._connection.lost_s, self._config.master_loss_release_s
        if release_s and lost_s is not None and now - lost_s >= release_s:
            self._failover.master_lost(now)
        self._reports.send_due(now)
        self._notify_changes()
        self._status.turn(now)

    def _handle(self, message: object, now: float) -> None:
        match message:
            case OrderReceived():
                self._carry_out(message, now)
            case ArpSeen() | FilterFailed():
                self._failover.seen(message, now)
            case LinkUp(interface) | LinkDown(interface) | AddressesChanged(interface):
                self._failover.seen(message, now)
                if not isinstance(message, LinkDown):
                    self._connection.wake(now)
                if self._node.affected_by(interface):
                    up = self._connection.up
                    self._find_own_address(up.local_ip if up else None)
            case ProbeTimeout(as_of):
                self._probe_timeout_posted = False
                self._failover.judge(as_of)
            case Connected():
                if self._connection.accepted(message, now):
                    self._find_own_address(message.local_ip)
                    self._node.announce()
                    self._reports.rejoin()
                    self._reports.send_due(now)
                    self._pings.resume(
                        self._connection.url, message.quiet_s, several=self._connection.has_others
                    )
            case Disconnected():
                reason = self._connection.ended(message, now)
                self._reports.answer_again(message.undelivered, message.failure)
                if reason:
                    self._pings.pause(reason)
            case JoinAcknowledged():
                self._reports.join_acknowledged(message.error, now)
            case MasterTimeout(reason):
                self._connection.drop(reason)
            case ReopenLogs():
                self._logs.reopen()
                if self._joined:  # else READY=1 is still to come
                    self._status.reloading()
            case DumpState():
                self._status.dump(now)
            case StatusAsked():
                self._status.answer(message, now)

    def _carry_out(self, order: OrderReceived, now: float) -> None:
        data = order.data
        if not isinstance(data, dict):
            error: str | None = f"{order.event} wants an object"
            self._log.error("order_refused", event=order.event, reason=error, order=order.number)
            self._failover.orders[order.event, "refused" if order.event == "recover" else "failed"] += 1
        elif order.fault:
            error = self._failover.refuse(order.event, data, order.fault, order.number)
        elif order.event == "recover":
            error = self._failover.recover(data, now, order.arrived_s, order.number)
        else:
            error = self._failover.restore(data, now, order.number)
        if order.ack_id is not None:
            answer = {"accepted": False, "error": error} if error else {"accepted": True}
            self._connection.acknowledge(order.session, order.ack_id, answer)

    def _snapshot(self, now: float) -> dict[str, Any]:
        """Every field, the long ones last, since a line of a log is cut at its end.

        Counts are since the start; `connection_s` is how long the connection has lasted, or how long there has been none;
        `answer_age_s` the time since the master last answered. None means: `transport`: there is no connection;
        `rtt_ms`, `answer_age_s`: no answer yet; `primary`: the node's own address is not known; `trouble`: nothing failed;
        `unusable`: this worker can change addresses. These two may contain text of the master's, and secrets.
        """
        connection, pings, primary = self._connection, self._pings, self._node.primary
        up = connection.up
        since_s = connection.up_s if up else connection.lost_s
        # a master that never acknowledges still sends something
        answered_s = pings.answered_s or connection.last_packet_s or None
        return {
            "node": self._config.node_id,
            "version": self._version,
            "run": self._logs.run,
            "pid": os.getpid(),
            "backend": self._network.backend,
            "uptime_s": round(now - self._started_s, 3),
            "connected": up is not None,
            "master": connection.url,
            "transport": up.transport if up else None,
            "connection_s": round(now - (self._started_s if since_s is None else since_s), 3),
            "reconnects": max(0, connection.made - 1),
            "pings_sent": pings.sent,
            "pings_missed": pings.missed,
            "rtt_ms": None if pings.rtt_s is None else round(pings.rtt_s * 1000, 3),
            "answer_age_s": None if answered_s is None else round(max(0.0, now - answered_s), 3),
            "orders": {
                f"{order}_{outcome}": count for (order, outcome), count in self._failover.orders.items()
            },
            "answers_waiting": len(self._reports),
            "lines_lost": self._logs.lines_lost,
            "primary": str(primary.ip) if primary else None,
            "held": [
                {**_place(entry), "held_s": round(now - entry.taken_s, 3)}
                for entry in self._failover.entries
                if entry.state in HOLDING
            ],
            "in_progress": [
                {**_place(entry), "state": entry.state.name.lower(), "orders": len(entry.orders)}
                for entry in self._failover.entries
                if entry.state not in HOLDING
            ],
            "trouble": self._reports.refusal or connection.trouble,
            "unusable": self._failover.unusable,
        }

    def _notify_changes(self) -> None:
        if self._notify:
            self._notify.look(self._failover.entries)

    def _find_own_address(self, local_ip: str | None) -> None:
        if self._network.backend == "simulated":
            local_ip = None  # it is not one of the simulated addresses
        try:
            self._node.find(local_ip)
            self._failover.watch()
        except NetworkError as exc:
            self._log.debug("own_address_unknown", reason=str(exc))

    def _shut_down(self) -> None:
        with ExitStack() as last:
            # in this order from the last line up, each whatever became of those before
            last.callback(lambda: self._log.info("stopped", uptime_s=time.monotonic() - self._started_s))
            last.callback(self._status.close)
            if self._notify:
                last.callback(self._notify.close, min(self._stop_s, time.monotonic()) + NOTIFY_LIMIT_S)
            last.callback(self._network.close)
            last.callback(self._pings.stop, 0.2)
            last.callback(self._connection.close, GOODBYE_S)
            last.callback(self._reports.send_due, time.monotonic())
            last.callback(self._notify_changes)
            last.callback(self._failover.stop, time.monotonic())


def _place(entry: VipState) -> dict[str, Any]:
    return {"node": entry.vip.owner, "address": str(entry.vip.ip), "interface": entry.vip.interface}
