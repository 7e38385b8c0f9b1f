"""`/metrics`, by prometheus-client."""

import logging
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from master.state import State

OUTCOMES = {
    "takeover_ordered": "ordered",
    "takeover_done": "taken",
    "takeover_failed": "failed",
    "takeover_withdrawn": "withdrawn",
}


class Metrics(logging.Handler):
    """Counts what is logged, and reads the rest where it is when it is asked."""

    def __init__(
        self, state: Callable[[], State], connections: Callable[[], int], reachable: Callable[[], bool]
    ) -> None:
        super().__init__(logging.INFO)
        self.registry = registry = CollectorRegistry()
        name = "failover_master_orders"
        self._orders = Counter(name, "Orders to take an address, by outcome.", ["outcome"], registry=registry)
        for outcome in OUTCOMES.values():
            self._orders.labels(outcome)
        name = "failover_master_node_deaths"
        self._deaths = Counter(name, "Nodes found dead.", registry=registry)
        name = "failover_master_joins_refused"
        self.joins_refused = Counter(name, "Joins that were refused.", registry=registry)
        name, buckets = "failover_master_takeover_seconds", (0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30)
        self._seconds = Histogram(name, "From an order to its success.", buckets=buckets, registry=registry)

        def gauge(name: str, text: str, read: Callable[[], float]) -> None:
            Gauge(f"failover_master_{name}", text, registry=registry).set_function(read)

        gauge("nodes_known", "Nodes that have joined.", lambda: len(state().members))
        text = "Nodes that are alive."
        gauge("nodes_alive", text, lambda: sum(bool(m.current) for m in state().members.values()))
        text = "Addresses that a neighbor answers for."
        gauge("addresses_held", text, lambda: sum(t.holder is not None for t in state().takeovers.values()))
        gauge("connections", "Open TCP connections.", connections)
        text = "1: the state (Redis) can be reached, and decisions are made."
        gauge("state_reachable", text, reachable)

    def emit(self, record: logging.LogRecord) -> None:
        message: Any = record.msg
        if message.event in OUTCOMES:
            self._orders.labels(OUTCOMES[message.event]).inc()
        if message.event == "takeover_done" and message.fields.get("took_ms") is not None:
            self._seconds.observe(message.fields["took_ms"] / 1000)
        elif message.event == "node_dead":
            self._deaths.inc()
