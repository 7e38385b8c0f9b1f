"""The real logrotate, by the snippet that is installed, while a burst goes into the log."""

from __future__ import annotations

import gzip
import os
import pwd
import shutil
import subprocess
import sys
import threading
import time

import pytest

from logs.format import parse_line
from tests.lab.masters import Puppet
from tests.lab.waiting import PATIENCE_S, until
from tests.lab.workers import REPOSITORY

SNIPPET = REPOSITORY / "deploy" / "linux" / "logrotate.conf"
PIECE, ROTATIONS = 200, 3

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("logrotate") is None,
    reason="rotating by logrotate needs Linux, root and logrotate",
)


def lines_of(folder, name):
    """Of the log and of all its rotated files, logrotate's, gzipped or not, and the worker's own."""
    for file in folder.glob(f"{name}*"):
        content = file.read_bytes()
        yield from (gzip.decompress(content) if file.suffix == ".gz" else content).splitlines()


def look(file):
    try:
        return file.stat()
    except FileNotFoundError:
        return None


@pytest.mark.parametrize("max_bytes", [0, 20_000])
def test_no_line_is_lost(work, serve, tmp_path, max_bytes):
    """Whether the worker bounds the size of its logs in between or not."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    master = serve(Puppet())
    worker = work(master, LOG_MAX_BYTES=max_bytes, LOG_BACKUP_COUNT=1000)
    assert master.up.wait(10)
    worker.wait("ping", log="pings")
    text = SNIPPET.read_text(encoding="utf-8")
    text = text.replace("/var/log/failover-worker", str(worker.log_dir))
    text = text.replace("su failover failover", f"su {user} {user}")
    snippet = tmp_path / "logrotate.conf"
    snippet.write_text(text)
    os.chmod(worker.log_dir, 0o750)

    sent = 0
    enough = threading.Event()

    def burst():
        nonlocal sent
        while not enough.wait(0.1):
            master.say(*(f'42["x",{n}]' for n in range(sent, sent + PIECE)))
            sent += PIECE

    log = worker.log_dir / "comms.log"
    sender = threading.Thread(target=burst, daemon=True)
    sender.start()
    for _ in range(ROTATIONS):
        # with content, else there is nothing to rotate; the worker rotates it too, and then it is away for a moment
        before = until(lambda: (found := look(log)) and found.st_size and found.st_ino)
        done = subprocess.run(
            ["logrotate", "--force", "--state", str(tmp_path / "state"), str(snippet)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        # a day in life: by the next time the worker has long made its files anew, and the date is another one
        until(lambda before=before: (found := look(log)) and found.st_ino != before)
        until(lambda second=int(time.time()): int(time.time()) > second + 1)
        until(lambda: (worker.log_dir / "ping.log").exists())
    enough.set()
    sender.join(20)
    master.say('42["last",0]')

    def is_there():
        try:
            return any(b"event=last" in line for line in lines_of(worker.log_dir, "comms.log"))
        except FileNotFoundError:  # rotated between the look and the reading
            return False

    until(is_there, PATIENCE_S)
    assert worker.stop() == 0
    assert list(worker.log_dir.glob("comms.log-*.gz"))
    assert bool(list(worker.log_dir.glob("comms.log.1"))) is bool(max_bytes)

    entries = [parse_line(line.decode()) for line in lines_of(worker.log_dir, "comms.log")]
    numbers = [int(e.fields["data"]) for e in entries if e.fields.get("event") == "x"]
    assert sent > ROTATIONS * PIECE
    assert sorted(numbers) == list(range(sent))
    assert not [entry for entry in entries if entry.event == "log_lines_lost"]
    pings = [parse_line(line.decode()) for line in lines_of(worker.log_dir, "ping.log")]
    seqs = [int(entry.fields["seq"]) for entry in pings if entry.event == "ping"]
    assert sorted(seqs) == list(range(1, len(seqs) + 1))
