"""Counts the master's orders by what became of them, for the metrics and the status. Only the owner's thread uses it."""

OUTCOMES = (
    ("recover", "taken"),
    ("recover", "refused"),
    ("recover", "withdrawn"),
    ("recover", "failed"),
    ("restore", "done"),
    ("restore", "failed"),
)
"""What the master can order, and what can become of it."""


class OrderCounter:
    """`counts` has a number for each order and outcome, 0 included."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(OUTCOMES, 0)

    def add(self, order: str, outcome: str) -> None:
        self.counts[order, outcome] += 1
