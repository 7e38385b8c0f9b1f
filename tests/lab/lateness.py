"""How late a busy machine runs what is due."""

from __future__ import annotations

import threading
import time


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
