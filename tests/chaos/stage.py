"""What faults are let loose on: a worker, the relay through which it reaches its master, and the master.

On loopback with simulated addresses, or, with namespaces, on a host of a Lab with real ones.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from tests.chaos.clock import Offset
from tests.chaos.commands import NODE, Order
from tests.chaos.follow import Follow
from tests.lab.lateness import Lateness
from tests.lab.masters import Master
from tests.lab.netns import Host, Lab, in_namespace
from tests.lab.relay import Relay
from tests.lab.workers import Worker

PING_INTERVAL_S = 0.25
PING_TIMEOUT_S = 1.0
PING_MAX_MISSED = 3
RECONNECT_DELAY_MAX_S = 0.3
NOTICED_S = PING_TIMEOUT_S + PING_MAX_MISSED * PING_INTERVAL_S
"""At the latest after this a silent master is taken for dead."""
DISK_MB = 96


class Stage:
    """Leaving the block ends everything. `disk` is the small file system under LOG_DIR, None: there can be none."""

    def __init__(self, folder: Path, *, namespaces: bool = False) -> None:
        self._folder = folder
        self._namespaces = namespaces
        self._open = contextlib.ExitStack()
        self.disk: Path | None = None
        self.lab: Lab | None = None

    def __enter__(self) -> Stage:
        try:
            self._set_up()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self._open.close()

    def _set_up(self) -> None:
        folder = self._folder
        folder.mkdir(parents=True)
        self.late = Lateness()
        self._open.callback(self.late.close)
        self.disk = self._mount(folder / "disk")
        self.log_dir = (self.disk or folder) / "logs"
        self.offset = Offset(folder / "offset", create=True)
        self.master = Master(async_handlers=True)  # else a slow one holds up those after it, and goodbyes
        self._open.callback(self.master.close)
        before, backend, listen = [], "simulated", None
        if self._namespaces:
            self.lab = self._open.enter_context(Lab(nodes=(NODE,)))
            before, backend = self.host.argv(), "netlink"
            master = self.lab.master

            def listen(port: int) -> socket.socket:
                return in_namespace(master.ns, lambda: socket.create_server((master.ip, port or 5000)))

        self.relay = Relay(self.master, listen=listen)
        self._open.callback(self.relay.close)
        self.worker = Worker(
            folder / "worker",
            self.relay,
            NODE,
            before=before,
            module=("-m", "tests.chaos.clock", str(folder / "offset")),
            LOG_DIR=self.log_dir,
            LOG_BACKUP_COUNT=2,
            VIP_BACKEND=backend,
            PING_INTERVAL=PING_INTERVAL_S,
            PING_TIMEOUT=PING_TIMEOUT_S,
            PING_MAX_MISSED=PING_MAX_MISSED,
            RECONNECT_DELAY_MAX=RECONNECT_DELAY_MAX_S,
        )
        self._open.callback(self.worker.end)
        self.comms = Follow(self.log_dir / "comms.log")
        self.pings = Follow(self.log_dir / "ping.log")

    def _mount(self, at: Path) -> Path | None:
        if sys.platform != "linux" or os.geteuid() != 0:
            return None
        at.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", str(at)]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            return None
        self._open.callback(subprocess.run, ["umount", "-l", str(at)], check=False)
        return at

    @property
    def lacks(self) -> set[str]:
        """What of the needs of faults it has not."""
        return ({"disk"} if self.disk is None else set()) | ({"namespaces"} if self.lab is None else set())

    @property
    def host(self) -> Host:
        assert self.lab is not None
        return self.lab.node(NODE)

    def order(self, order: Order) -> None:
        """Have the master give it to whom it takes for connected; a master that is dead gives none."""
        with contextlib.suppress(OSError):
            self.master.emit(*order, ack=True)

    def addresses(self) -> set[str] | None:
        """What the card holds beside its own address; None: nobody can tell, they are simulated."""
        if self.lab is None:
            return None
        return {ip.partition("/")[0] for ip in self.host.addresses()} - {self.host.ip}

    def remove_logs(self) -> None:
        """LOG_DIR with all that is in it; who has a file open reads on in it."""
        shutil.rmtree(self.log_dir, ignore_errors=True)

    def vital(self) -> tuple[int, int, int]:
        """The worker's threads, descriptors and resident memory in kB."""
        worker = self.worker
        return worker.status("Threads"), worker.descriptors, worker.status("VmRSS")
