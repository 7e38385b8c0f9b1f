"""One worker on a LOG_DIR and one of a NODE_ID, between real processes and real network namespaces."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.lab.users import reachable_tmp_path
from tests.lab.waiting import PATIENCE_S, until
from worker import instance_lock as instance
from worker.instance_lock import NAMES, AlreadyRunning, InstanceLock, LockError

REPOSITORY = Path(instance.__file__).resolve().parents[1]
LINUX = sys.platform == "linux"
NODE = 900_000_000 + os.getpid()  # a number that no worker on this machine has
acquire = InstanceLock.acquire
tmp_path = reachable_tmp_path

HOLDER = """
import sys, subprocess
from pathlib import Path
from worker.instance_lock import InstanceLock, LockError
try:
    InstanceLock.acquire(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2] != "-" else None)
except LockError as error:
    print("refused", getattr(error, "pid", "-"), error, flush=True)
    sys.exit(75)
if len(sys.argv) > 3:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    print("held", child.pid, flush=True)
else:
    print("held", flush=True)
sys.stdin.read()
"""


class Worker:
    """A process that claims, says how that went, and goes on until it is ended."""

    def __init__(self, log_dir, node, *more, space=None):
        prefix = ["ip", "netns", "exec", space] if space else []  # it execs: the pid stays the same
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", HOLDER, str(log_dir), str(node), *more],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        self.said = self.process.stdout.readline().split(" ", 2)
        self.held = self.said[0].strip() == "held"

    def end(self, number=signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path):
    workers = []

    def start_one(folder, node, *more, space=None):
        (tmp_path / folder).mkdir(exist_ok=True)
        workers.append(Worker(tmp_path / folder, node, *more, space=space))
        return workers[-1]

    yield start_one
    for worker in workers:
        worker.end()


def test_a_second_one_on_the_folder_learns_the_pid_of_the_first(start, tmp_path):
    first = start("logs", NODE)
    assert first.held
    assert (tmp_path / "logs" / ".worker.lock").read_text() == f"{first.pid}\n"
    second = start("logs", NODE + 1)
    assert second.said[:2] == ["refused", str(first.pid)]
    assert (
        f"another worker (pid {first.pid}, which is alive) has LOG_DIR '{tmp_path / 'logs'}'; stop it"
        in second.said[2]
    )
    assert "another LOG_DIR" in second.said[2]
    assert second.process.wait(PATIENCE_S) == 75
    assert start("elsewhere", NODE + 1).held  # the refused one had its number free again


def test_a_second_one_of_the_number_learns_the_pid_of_the_first(start):
    first = start("a", NODE)
    second = start("b", NODE)
    assert second.said[:2] == ["refused", str(first.pid)]
    assert f"another worker (pid {first.pid}, which is alive) has NODE_ID {NODE}; stop it" in second.said[2]
    assert "another NODE_ID" in second.said[2]
    assert start("b", NODE + 1).held  # the refused one had its folder free again


def test_simulated_ones_may_have_the_same_number(start):
    assert start("a", "-").held
    assert start("b", "-").held
    assert not start("a", "-").held


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_however_the_first_ends_both_are_free(start, number):
    first = start("a", NODE)
    first.end(number)
    second = start("a", NODE)
    assert second.held
    assert start("a", NODE).said[1] == str(second.pid)  # not the pid that the first left behind


def test_programs_that_it_started_do_not_hold_it(start):
    first = start("a", NODE, "with a child")
    child = int(first.said[1])
    try:
        first.process.kill()
        first.process.wait(PATIENCE_S)
        os.kill(child, 0)  # it is still there
        assert start("a", NODE).held
    finally:
        os.kill(child, signal.SIGKILL)


def test_claims_are_given_back(tmp_path):
    held = acquire(tmp_path, NODE)
    with pytest.raises(AlreadyRunning) as caught:
        acquire(tmp_path, NODE)
    assert caught.value.pid == os.getpid()
    held.release()
    held.release()
    acquire(tmp_path, NODE).release()
    assert (tmp_path / ".worker.lock").exists()


def test_nothing_of_an_earlier_pid_is_left(tmp_path):
    file = tmp_path / ".worker.lock"
    file.write_text("12345678901234567890\n")
    acquire(tmp_path, None).release()
    assert file.read_text() == f"{os.getpid()}\n"


def test_nothing_is_held_after_a_refusal(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    gc.collect()  # what other tests left open
    before = len(os.listdir("/proc/self/fd")) if LINUX else 0
    first = acquire(tmp_path / "a", NODE)
    with pytest.raises(AlreadyRunning):
        acquire(tmp_path / "b", NODE)
    with pytest.raises(AlreadyRunning):
        acquire(tmp_path / "a", NODE + 1)
    first.release()
    until(lambda: (len(os.listdir("/proc/self/fd")) if LINUX else 0) <= before)


@pytest.mark.skipif(sys.platform == "win32", reason="needs file locks as POSIX systems have them")
@pytest.mark.parametrize("left", ["of one that has ended", "", "12", "x\n"])
def test_the_first_is_given_time_to_write_its_pid(tmp_path, left):
    import fcntl

    if left.startswith("of"):
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait(PATIENCE_S)
        left = f"{ended.pid}\n"
    file = tmp_path / ".worker.lock"
    file.write_text(left)
    with file.open("r+") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        late = threading.Timer(0.1, file.write_text, [f"{os.getpid()}\n"])
        late.start()
        with pytest.raises(AlreadyRunning) as caught:
            acquire(tmp_path, None)
        late.join()
    assert caught.value.pid == os.getpid()


@pytest.mark.skipif(not LINUX, reason="needs /dev/full")
def test_a_full_disk_does_not_keep_it_from_starting(tmp_path, monkeypatch):
    def full(_descriptor, content):
        with open("/dev/full", "wb", buffering=0) as file:
            return file.write(content)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        held = acquire(tmp_path, None)
    with pytest.raises(AlreadyRunning):
        acquire(tmp_path, None)
    held.release()


@pytest.mark.skipif(not LINUX, reason="needs abstract sockets")
def test_where_the_file_cannot_be_locked_the_socket_name_is(tmp_path):
    (tmp_path / ".worker.lock").mkdir()
    held = acquire(tmp_path, None)
    assert re.search(r"LOG_DIR .* is not locked .*: Is a directory; remove the file", held.warnings[0])
    with pytest.raises(AlreadyRunning) as caught:
        acquire(tmp_path, None)
    assert caught.value.pid == os.getpid()
    held.release()


@pytest.mark.skipif(not LINUX, reason="needs abstract sockets")
def test_a_file_system_without_locks_keeps_no_worker_out(tmp_path, monkeypatch):
    def no_locks(_descriptor, _operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(instance.fcntl, "flock", no_locks)
    held = acquire(tmp_path, None)
    assert "No locks available; remove the file .worker.lock in it, or set LOG_DIR" in held.warnings[0]
    with pytest.raises(AlreadyRunning):
        acquire(tmp_path, None)
    held.release()


def test_elsewhere_than_on_linux_it_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    (tmp_path / ".worker.lock").mkdir()
    with pytest.raises(LockError, match="set LOG_DIR to a folder of this user's on a local file system"):
        acquire(tmp_path, None)


@pytest.mark.skipif(sys.platform == "win32", reason="needs file locks as POSIX systems have them")
def test_elsewhere_than_on_linux_a_lock_without_a_pid_is_another_worker_s(tmp_path, monkeypatch):
    """To remove the file, as an error of the disk is remedied, would let two run."""
    import fcntl

    monkeypatch.setattr(sys, "platform", "darwin")
    with (tmp_path / ".worker.lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        with pytest.raises(AlreadyRunning) as caught:
            acquire(tmp_path, None)
    assert caught.value.pid is None
    assert "another worker (its pid is not known) has LOG_DIR" in str(caught.value)
    assert "remove" not in str(caught.value)


@pytest.mark.skipif(not LINUX, reason="needs abstract sockets")
def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("content")
    (tmp_path / ".worker.lock").symlink_to(precious)
    held = acquire(tmp_path, None)
    assert "link" in held.warnings[0]
    assert held.warnings[0].count("remove") == 1
    held.release()
    assert precious.read_text() == "content"


def test_control_characters_of_a_folder_are_not_shown(tmp_path):
    folder = tmp_path / "a\x1b[31m\nb"
    folder.mkdir()
    held = acquire(folder, None)
    with pytest.raises(AlreadyRunning) as caught:
        acquire(folder, None)
    held.release()
    assert str(caught.value).isprintable()


def test_where_there_are_no_abstract_sockets_a_file_is_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    held = acquire(tmp_path / "a", NODE)
    with pytest.raises(AlreadyRunning) as caught:
        acquire(tmp_path / "b", NODE)
    assert (caught.value.what, caught.value.pid) == (f"NODE_ID {NODE}", os.getpid())
    held.release()
    acquire(tmp_path / "b", NODE).release()


@pytest.mark.skipif(not LINUX, reason="needs abstract sockets")
def test_a_process_that_has_the_name_and_does_not_listen_is_no_worker(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(f"\0failover-worker.node-{NODE}")
        held = acquire(tmp_path, NODE)
        with pytest.raises(AlreadyRunning):
            acquire(tmp_path, NODE)
        held.release()


@pytest.mark.skipif(not LINUX, reason="needs abstract sockets")
def test_a_hundred_refusals_do_not_hide_the_pid(tmp_path):
    (tmp_path / "a").mkdir()
    held = acquire(tmp_path / "a", NODE)
    for _ in range(150):
        with pytest.raises(AlreadyRunning) as caught:
            acquire(tmp_path, NODE)
        assert caught.value.pid == os.getpid()
    held.release()


@pytest.fixture
def namespace():
    name = f"claim-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True, timeout=PATIENCE_S)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True, timeout=PATIENCE_S)


@pytest.mark.skipif(
    not LINUX or os.geteuid() != 0 or not shutil.which("ip"),
    reason="makes network namespaces: needs root and iproute2",
)
def test_another_network_namespace_has_numbers_of_its_own(namespace, start):
    assert start("a", NODE).held
    there = start("b", NODE, space=namespace)
    assert there.held
    assert start("c", NODE, space=namespace).said[:2] == ["refused", str(there.pid)]
    assert not start("b", NODE + 1).held  # a folder is shared by all of them


STRANGER = 65534
HOLD = """
import fcntl, os, socket, sys
os.setuid(65534)
kept = []
for target in sys.argv[1:]:
    if target.startswith("@"):
        kept.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        kept[-1].bind("\\0" + target[1:])
        kept[-1].listen()
    else:
        kept.append(open(target))
        fcntl.flock(kept[-1], fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def stranger():
    """A process of another, unprivileged user that holds files and socket names."""
    processes = []

    def start(*targets):
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", HOLD, *map(str, targets)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert processes[-1].stdout.readline() == "held\n"
        return processes[-1]

    yield start
    for process in processes:
        process.communicate("")


needs_root = pytest.mark.skipif(not LINUX or os.geteuid() != 0, reason="acts as another user: needs root")


@needs_root
def test_another_user_that_holds_the_socket_name_keeps_no_worker_out(stranger, tmp_path):
    stranger(f"@failover-worker.node-{NODE}")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    held = acquire(tmp_path / "a", NODE)
    assert held.warnings == ()
    with pytest.raises(AlreadyRunning) as caught:
        acquire(tmp_path / "b", NODE)
    assert (caught.value.what, caught.value.pid) == (f"NODE_ID {NODE}", os.getpid())
    held.release()


@needs_root
def test_a_worker_that_took_another_name_is_found_when_the_first_is_free_again(stranger, tmp_path):
    squatter = stranger(f"@failover-worker.node-{NODE}")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    held = acquire(tmp_path / "a", NODE)
    squatter.communicate("")
    with pytest.raises(AlreadyRunning):
        acquire(tmp_path / "b", NODE)
    held.release()
    acquire(tmp_path / "b", NODE).release()


@needs_root
def test_one_that_holds_every_name_is_reported_and_does_no_more(stranger, tmp_path):
    stranger(*(f"@failover-worker.node-{NODE}{f'.{n}' if n else ''}" for n in range(NAMES)))
    held = acquire(tmp_path, NODE)
    assert held.warnings == (
        f"NODE_ID {NODE} is not locked: other users of this machine hold every socket name for it",
    )
    held.release()


@needs_root
@pytest.mark.parametrize("left", ["", "1234567\n"])
def test_another_user_that_locks_the_file_keeps_no_worker_out(stranger, tmp_path, left):
    """Of a worker before 2.0, whose lock file all could open."""
    file = tmp_path / ".worker.lock"
    file.write_text(left)
    file.chmod(0o644)
    stranger(file)
    held = acquire(tmp_path, None)
    assert "no worker of this user's has its lock file locked" in held.warnings[0]
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(AlreadyRunning) as caught:  # by its socket name
        acquire(tmp_path, None)
    assert caught.value.pid == os.getpid()
    held.release()


@needs_root
def test_a_lock_file_that_another_user_made_is_not_used(stranger, tmp_path):
    file = tmp_path / ".worker.lock"
    file.write_text("1\n")
    os.chown(file, STRANGER, STRANGER)
    held = acquire(tmp_path, None)
    assert "its lock file is another user's" in held.warnings[0]
    assert file.read_text() == "1\n"
    held.release()


def test_nobody_else_can_open_the_lock_file(tmp_path):
    acquire(tmp_path, None).release()
    assert (tmp_path / ".worker.lock").stat().st_mode & 0o777 == 0o600
