"""A worker whose owner loop hangs, and the service manager that the test plays."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from tests.integration.scene import OWNER, Scene
from tests.lab.cluster import Worker
from tests.lab.manager import Manager
from tests.lab.netns import needs_namespaces, until
from tests.lab.waiting import PATIENCE_S

pytestmark = needs_namespaces

WATCHDOG_S, LEASE_S = 1.0, 3.0


def test_a_hung_owner_loop_ends_by_the_watchdog_and_its_address_is_free_within_the_lease(
    scene: Scene, tmp_path: Path
) -> None:
    scene.double_s = LEASE_S  # its kernel goes on answering until then
    manager, hang = Manager(tmp_path), tmp_path / "hang"
    worker = scene.workers[1] = Worker(
        scene.lab,
        1,
        tmp_path / "1",
        command=(sys.executable, "-m", "tests.integration.hang", str(hang)),
        NOTIFY_SOCKET=manager.address,
        WATCHDOG_USEC=str(int(WATCHDOG_S * 1e6)),
        ADDRESS_LEASE=str(int(LEASE_S)),
    )
    manager.wait("READY", "1")
    scene.director.wait("join", 1, limit_s=10)
    scene.lab.node(2).cut()
    scene.take(1)
    manager.wait("STATUS", lambda text: f"holding {OWNER}/24 for node 2" in text)

    hang.touch()
    hung_s = time.monotonic()
    until(lambda: time.monotonic() - manager.all("WATCHDOG")[-1].at_s > WATCHDOG_S, WATCHDOG_S + 2)
    # its other threads go on: nobody but the watchdog would have noticed
    assert worker.process.poll() is None
    logged = (tmp_path / "1" / "ping.log").read_text().count("- [ping ")
    until(lambda: (tmp_path / "1" / "ping.log").read_text().count("- [ping ") > logged, 2)
    worker.process.send_signal(signal.SIGABRT)  # WatchdogSignal='s default
    assert worker.process.wait(PATIENCE_S) == -signal.SIGABRT
    until(lambda: worker.vips == [], hung_s + LEASE_S + 1 - time.monotonic())
    manager.close()

    # and so started again, as Restart=always does, it is of use at once
    hang.unlink()
    since = time.monotonic()
    worker.start()
    scene.director.wait("join", 1, since, limit_s=10)
    scene.take(1)
    assert scene[1].vips == [f"{OWNER}/24"]
