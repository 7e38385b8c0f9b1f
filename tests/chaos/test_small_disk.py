"""A small disk that fills: pings go on, no line is partial, and what is missing is exactly what is said to be lost.

How one log file behaves then is tested in test_logging_setup.py; this is the whole worker.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

import client
from logs import file as log_files
from tests.chaos.follow import Follow
from tests.lab.masters import Master
from tests.lab.waiting import until
from tests.lab.workers import Worker

INTERVAL_S = 0.02
QUEUE = 10_000
"""Bytes that may wait for the disk, in place of 8 MiB: they would take hours to fill with pings."""
LINE = 70
"""Bytes of a ping's line, at least."""


@pytest.fixture
def disk(tmp_path):
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs Linux and root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def lost(follow):
    return sum(int(entry.fields["count"]) for entry in follow.read() if entry.event == "log_lines_lost")


@pytest.mark.slow
def test_a_disk_of_1_mb_that_fills(tmp_path, disk):
    master = Master()
    worker = Worker(
        tmp_path / "worker",
        master,
        module=("-m", "tests.chaos.test_small_disk"),
        LOG_DIR=disk / "logs",
        LOG_MAX_BYTES=0,
        JOIN_INTERVAL=0,
        PING_INTERVAL=INTERVAL_S,
        PING_TIMEOUT=5,
    )
    comms, pings = Follow(disk / "logs" / "comms.log"), Follow(disk / "logs" / "ping.log")
    try:
        master.wait("ping", 10)
        # the master's events themselves fill it
        sent = 0
        while os.statvfs(disk).f_bavail > 1:
            master.emit("news", {"n": sent, "fill": "x" * 2000})
            sent += 1
            time.sleep(0.002)
        full = len(master.heard)
        for _ in range(100):
            master.emit("news", {"n": sent, "fill": "x" * 2000})
            sent += 1
        # pings go on until ping.log's queue, and what was left on the disk, have overflowed too
        master.wait("ping", (QUEUE + 2 * os.statvfs(disk).f_bsize) // LINE, limit_s=60, since=full)
        # an order is carried out and answered all the same
        recover = {"disconnected_node": 2, "recovery_node": "3", "ip": "10.9.0.2", "netmask": "255.255.255.0"}
        assert master.order("recover", {**recover, "active_neighbors": []}) == [{"accepted": True}]
        assert master.wait("update node").data["secondary_ip"] == "10.9.0.2"
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        until(lambda: lost(comms) and lost(pings), 10)
        master.wait("ping", 20, since=len(master.heard))
        assert len(master.all("connect")) == 1
        assert worker.stop() == 0
        assert worker.said == ""
    finally:
        worker.end()
        master.close()
    assert comms.bad == pings.bad == []
    numbers = [
        int(entry.fields["data"].partition(":")[2].partition(",")[0])
        for entry in comms.of("received")
        if entry.fields["event"] == "news"
    ]
    assert numbers == sorted(set(numbers))
    seqs = [int(entry.fields["seq"]) for entry in pings.of("ping")]
    assert seqs == sorted(set(seqs))
    assert not pings.of("ping_missed")
    assert lost(pings) == seqs[-1] - len(seqs) > 5
    # the order's own lines may be among those that were lost
    order = (
        ("received", "recover"),
        ("takeover_started", None),
        ("takeover_done", None),
        ("sent", "update node"),
    )
    lines = {
        (entry.event, entry.fields.get("event"))
        for entry in comms.read()
        if "error" not in entry.fields.get("data", "")
    }
    missing = sent - len(numbers) + len(set(order) - lines)
    # on a machine that stood still there are more that may be lost: that it did, and that it joins again for that
    stood_still = len(master.all("join")) - 1
    assert 50 < missing <= lost(comms) <= missing + 3 * stood_still


if __name__ == "__main__":
    log_files.QUEUE_LIMIT = QUEUE
    os._exit(client.main(sys.argv[1:]))
