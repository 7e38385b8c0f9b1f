"""How late a busy machine runs what is due."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from tests.lab.waiting import SCALE


class Lateness:
    """Measures by how much this machine is late to run what is due, so that a bound on a worker allows for it."""

    def __init__(self) -> None:
        self._worst_s = 0.0
        self.worst_of_all_s = 0.0
        self._over = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            due_s = time.monotonic() + 0.02
            if self._over.wait(0.02):
                return
            late_s = time.monotonic() - due_s
            self._worst_s = max(self._worst_s, late_s)
            self.worst_of_all_s = max(self.worst_of_all_s, late_s)

    def start(self) -> None:
        self._worst_s = 0.0

    @property
    def worst_s(self) -> float:
        """Seconds since `start`; 0 for no more than what an idle machine is late by."""
        return self._worst_s if self._worst_s > 0.1 else 0.0

    def close(self) -> None:
        self._over.set()


@contextlib.contextmanager
def at_most(limit_s: float) -> Iterator[None]:
    """Assert that the block takes no longer than that, or than this machine is late meanwhile.

    For what is to be over at once, where a time-out that is waited for would be a fault.
    """
    lateness = Lateness()
    began_s = time.monotonic()
    yield
    took_s = time.monotonic() - began_s
    lateness.close()
    # what is waited for has its turn many times
    allowed_s = limit_s * SCALE + 20 * lateness.worst_of_all_s
    assert took_s < allowed_s, f"it took {took_s:.2f} s, with {lateness.worst_of_all_s:.2f} s of lateness"
