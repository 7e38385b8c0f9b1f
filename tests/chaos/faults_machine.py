"""Faults of the node's own machine: its disk, its logs, its clock, its signals, its addresses."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time

from tests.chaos.faults import Fault, Lift
from tests.chaos.stage import Stage
from tests.lab.waiting import until


class FreezeWorker(Fault):
    kind = "worker frozen"
    holds = (0.1, 3.0)
    events = frozenset({"was_frozen"})
    paced = False

    def strike(self, stage: Stage) -> Lift:
        stage.worker.send(signal.SIGSTOP)
        return lambda: stage.worker.send(signal.SIGCONT)

    def complaints(self, entries):
        if self.hold_s > 2.7 and not any(entry.event == "was_frozen" for entry in entries):
            yield f"frozen for {self.hold_s:.1f} s, and nothing in comms.log says so"


class DiskFull(Fault):
    kind = "disk full"
    events = frozenset({"log_resumed"})
    needs = "disk"
    holds = (0.2, 3.0)
    extra_s = 3.0

    def strike(self, stage: Stage) -> Lift:
        ballast = stage.disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
        return ballast.unlink


class DiskRefuses(Fault):
    """No file of the worker's may grow (setrlimit(2), RLIMIT_FSIZE), in the middle of a line too."""

    kind = "disk refuses"
    events = frozenset({"log_resumed"})
    holds = (0.2, 3.0)
    extra_s = 3.0

    def strike(self, stage: Stage) -> Lift:
        import resource  # not on Windows, where this module is only collected

        pid = stage.worker.pid
        free = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        size = max((path.stat().st_size for path in stage.log_dir.glob("*.log")), default=0)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + self.rng.randint(0, 200), free[1]))
        return lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, free)


class ClockStep(Fault):
    """Somebody sets the wall clock, forward or back, by a little or by an hour."""

    kind = "clock set"
    weight = 2.0
    holds = (0.0, 0.5)
    events = frozenset({"was_frozen"})
    steps = True

    def strike(self, stage: Stage) -> Lift:
        rng = self.rng
        stage.offset.set(rng.choice([rng.uniform(-3600, 3600), stage.offset.get() + rng.uniform(-2, 2)]))
        return super().strike(stage)


class LogsGone(Fault):
    """The logs are no longer where they belong; within 3 s they are made again."""

    extra_s = 3.0

    def settled(self, stage, entries):
        return stage.comms.path.exists() and stage.pings.path.exists()


class LogsMoved(LogsGone):
    """As logrotate does, without a word to the worker."""

    kind = "logs moved"

    def strike(self, stage: Stage) -> Lift:
        for follow in (stage.comms, stage.pings):
            follow.read()
            os.replace(follow.path, f"{follow.path}.moved")
        return super().strike(stage)


class LogsTruncated(Fault):
    """As logrotate's copytruncate does; the worker is held meanwhile, so that nothing is lost between the two."""

    kind = "logs truncated"

    def strike(self, stage: Stage) -> Lift:
        stage.worker.send(signal.SIGSTOP)
        try:
            until(lambda: stage.worker.stopped)
            for follow in (stage.comms, stage.pings):
                follow.read()
                os.truncate(follow.path, 0)
                follow.read()
        finally:
            stage.worker.send(signal.SIGCONT)
        return super().strike(stage)


class FolderRemoved(LogsGone):
    kind = "LOG_DIR removed"
    events = frozenset({"status_unavailable"})

    def strike(self, stage: Stage) -> Lift:
        for follow in (stage.comms, stage.pings):
            follow.read()
        gone = stage.log_dir.with_name("gone")
        # at once, so that none that the worker makes anew is removed
        os.replace(stage.log_dir, gone)
        shutil.rmtree(gone)
        return super().strike(stage)


class Hangups(Fault):
    """SIGHUP, many times in a short while."""

    kind = "SIGHUP storm"
    holds = (0.1, 1.0)

    def strike(self, stage: Stage) -> Lift:
        rng, over = self.rng, threading.Event()

        def storm() -> None:
            while not over.is_set():
                stage.worker.send(signal.SIGHUP)
                time.sleep(rng.uniform(0.0, 0.01))

        thread = threading.Thread(target=storm)
        thread.start()

        def lift() -> None:
            over.set()
            thread.join()

        return lift


class LoanTakenOff(Fault):
    """Somebody removes an address that the worker holds, behind its back."""

    kind = "address removed"
    needs = "namespaces"
    events = frozenset({"address_lost", "address_restored"})
    extra_s = 2.0

    def strike(self, stage: Stage) -> Lift:
        held = sorted(stage.addresses())
        if held:
            ip = self.rng.choice(held)
            stage.host.run("ip", "addr", "del", f"{ip}/24", "dev", stage.host.interface, check=False)
        return super().strike(stage)


KINDS = (
    FreezeWorker,
    DiskFull,
    DiskRefuses,
    ClockStep,
    LogsMoved,
    LogsTruncated,
    FolderRemoved,
    Hangups,
    LoanTakenOff,
)
