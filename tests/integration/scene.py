"""What the takeover tests act on, and what holds for each of them: never two holders for more than a second."""

from __future__ import annotations

import time
from pathlib import Path

from tests.lab.cluster import Director, Worker
from tests.lab.lateness import Lateness
from tests.lab.netns import Lab
from tests.lab.waiting import until

OWNER = "10.9.0.2"


class Scene:
    """Workers on the hosts of a Lab, an onlooker who asks for node 2's address all the time.

    `double_s` is for how long two may answer for it: a second, or the rest of the lease where the test leaves a
    holder without a worker; on a busy machine as much longer as it is late. Leaving the block asserts it.
    """

    def __init__(self, lab: Lab, folder: Path, director: Director | None = None) -> None:
        self.lab, self.folder = lab, folder
        self._director = director
        self.workers: dict[int, Worker] = {}
        self.double_s = 1.0
        self.holders = lab.holders(OWNER)

    def __enter__(self) -> Scene:
        self._lateness = Lateness()
        self.holders.__enter__()
        return self

    def __exit__(self, kind: object, *_exc: object) -> None:
        self.holders.__exit__()
        self._lateness.close()
        if kind is None:
            longest_s, late_s = self.holders.longest_double_s(), self.late_s
            found = f"two holders for {longest_s:.2f} s (late by {late_s:.2f}): {self.holders.macs()}"
            assert longest_s <= self.double_s + late_s, found

    @property
    def late_s(self) -> float:
        """What a bound on a worker allows for, by now: it has its turn some times."""
        return 5 * self._lateness.worst_of_all_s

    @property
    def director(self) -> Director:
        assert self._director is not None
        return self._director

    def start(self, *nodes: int, **environ: str) -> None:
        """Start workers, and wait until each has joined."""
        for node in nodes:
            self.workers[node] = Worker(self.lab, node, self.folder / str(node), **environ)
        for node in nodes:
            if self._director:
                self._director.wait("join", node, limit_s=10)
            else:
                self.workers[node].wait_log("connected", limit_s=10)

    def take(self, by: int, node: int = 2) -> None:
        """Order node's address taken, which nobody answers for."""
        at = time.monotonic()
        self.director.recover(node, by)

        def taken() -> bool:
            # where the link ended meanwhile, an earlier answer comes again, and may come first
            answers = self.director.answers("update node", by, at)
            return any(answer.get("secondary_ip") == f"10.9.0.{node}" for answer in answers)

        until(taken, what=lambda: self.director.answers("update node", by, at))

    def __getitem__(self, node: int) -> Worker:
        return self.workers[node]
