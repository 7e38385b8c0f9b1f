"""`/metrics`, by prometheus-client."""

import logging
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from master.cluster import Cluster

OUTCOMES = {
    "takeover_ordered": "ordered",
    "takeover_done": "taken",
    "takeover_failed": "failed",
    "takeover_withdrawn": "withdrawn",
}


class Metrics(logging.Handler):
    """Counts what is logged, and reads the rest where it is when it is asked."""

    def __init__(
        self, cluster: Callable[[], Cluster], connections: Callable[[], int], reachable: Callable[[], bool]
    ) -> None:
        super().__init__(logging.INFO)
        self.registry = registry = CollectorRegistry()
        self._orders = Counter(
            "failover_master_orders", "Orders to take an address, by outcome.", ["outcome"], registry=registry
        )
        for outcome in OUTCOMES.values():
            self._orders.labels(outcome)
        self._deaths = Counter("failover_master_node_deaths", "Nodes found dead.", registry=registry)
        self.joins_refused = Counter(
            "failover_master_joins_refused", "Joins that were refused.", registry=registry
        )
        self._seconds = Histogram(
            "failover_master_takeover_seconds",
            "From an order to its success.",
            buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30),
            registry=registry,
        )
        gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "nodes_known": ("Nodes that have joined.", lambda: len(cluster().state.members)),
            "nodes_alive": (
                "Nodes that are alive.",
                lambda: sum(member.current is not None for member in cluster().members),
            ),
            "addresses_held": (
                "Addresses that a neighbor answers for.",
                lambda: sum(takeover.holder is not None for takeover in cluster().state.takeovers.values()),
            ),
            "connections": ("Open TCP connections.", connections),
            "state_reachable": ("1: the state (Redis) can be reached, and decisions are made.", reachable),
        }
        for name, (text, read) in gauges.items():
            Gauge(f"failover_master_{name}", text, registry=registry).set_function(read)

    def emit(self, record: logging.LogRecord) -> None:
        message: Any = record.msg
        if message.event in OUTCOMES:
            self._orders.labels(OUTCOMES[message.event]).inc()
        if message.event == "takeover_done" and message.fields.get("took_ms") is not None:
            self._seconds.observe(message.fields["took_ms"] / 1000)
        elif message.event == "node_dead":
            self._deaths.inc()
