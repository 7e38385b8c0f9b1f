"""The two logs as files: their content, how they rotate, and what a moved file, a full disk or a blocked
terminal does to them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import logging_setup
from logging_setup import Logs
from logs import console as log_console
from logs import file as log_files
from logs.format import parse_line
from logs.redact import Redactor
from logs.writer import LineQueue, Writer
from tests.lab.waiting import PATIENCE_S, until

REPOSITORY = Path(logging_setup.__file__).parent
SECRET = 'Zg7!k"Q \\ü/+hunter2'


@contextlib.contextmanager
def logs_in(folder, **options):
    logs = Logs(folder, **{"console": False, **options})
    try:
        yield logs
    finally:
        logs.close()


def entries(path):
    """Every line, each of which must be whole and of the form."""
    data = path.read_bytes()
    assert data.endswith(b"\n") or not data
    assert all(len(line) < 4096 for line in data.split(b"\n"))
    return [parse_line(line) for line in data.decode().splitlines(keepends=True)]


def numbers(*paths):
    return [int(entry.fields["n"]) for path in paths for entry in entries(path) if entry.event == "line"]


def problem(logs):
    """Why comms.log cannot be written; None: it can."""
    return logs._files["comms"].problem


def settled(path, n):
    """Wait until line n is on the file."""

    def there():
        try:
            return re.search(rf"\[line n={n}\b", path.read_text())
        except FileNotFoundError:  # not yet made, or being rotated
            return None

    until(there, 5)


def test_each_log_has_its_file_and_lines_are_there_within_a_second(tmp_path):
    with logs_in(tmp_path) as logs:
        logs.comms.info("connected", sid="x")
        logs.ping.warning("ping_missed", seq=1)
        until(lambda: (tmp_path / "comms.log").exists() and (tmp_path / "ping.log").exists(), 1)
        until(lambda: [entry.event for entry in entries(tmp_path / "ping.log")] == ["ping_missed"], 1)
    (entry,) = entries(tmp_path / "comms.log")
    assert (entry.level, entry.event, entry.fields) == ("INFO", "connected", {"sid": "x"})
    assert abs(time.time() - entry.when.timestamp()) < 60


@pytest.mark.parametrize(("level", "count"), [("DEBUG", 5), ("WARNING", 3), ("CRITICAL", 1)])
def test_lines_below_the_level_are_not_written(tmp_path, level, count):
    with logs_in(tmp_path, level=level) as logs:
        for log in (logs.comms, logs.ping):
            for write in (log.debug, log.info, log.warning, log.error, log.critical):
                write("something")
    assert len(entries(tmp_path / "comms.log")) == len(entries(tmp_path / "ping.log")) == count


# secrets


def spellings(text):
    yield text
    for escaped in (json.dumps(text), json.dumps(text, ensure_ascii=False)):
        yield escaped
        yield json.dumps(escaped)
        yield json.dumps({"data": json.dumps({"token": escaped})})
        yield escaped.replace("/", "\\/")
    yield json.dumps(text).replace("\\u00fc", "\\u00FC")
    yield "".join(f"\\u{ord(char):04X}" for char in text if ord(char) < 0x10000)
    yield from (repr(text), ascii(text), repr([repr(text)]))
    for safe in ("", "/", "!/+"):
        yield urllib.parse.quote(text, safe=safe)
        yield urllib.parse.quote(text, safe=safe).lower() if text == text.lower() else text
    yield urllib.parse.quote_plus(text)


def test_a_secret_is_hidden_however_it_is_spelled(tmp_path):
    texts = list(spellings(SECRET))
    with logs_in(tmp_path, secrets=(SECRET, "other", "a plain one")) as logs:
        for text in texts:
            logs.comms.info("received", data=f"<{text}>", more={"auth": [text]})
        logs.ping.info("ping", reason=SECRET, error=ValueError(SECRET), name="other", form="a+plain+one")
    for entry in [*entries(tmp_path / "comms.log"), *entries(tmp_path / "ping.log")]:
        for value in entry.fields.values():
            assert "***" in value
            assert "hunter" not in value
            assert not any(part in value for part in ("Zg7", "\\u0068", "%68"))
    assert len(entries(tmp_path / "comms.log")) == len(texts)


@given(st.text(min_size=3), st.text(), st.text())
@example("\\\\\\", "\\", "\\")
@example("a\\b", '"', "\\")
@example("\n\t ", "", "")
def test_any_secret_in_any_text(secret, before, after):
    redact = Redactor([secret])
    for text in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], urllib.parse.quote(secret)):
        found = redact(before + text + after)
        assert "***" in found
        assert text not in found.replace("***", "") or len(set(secret)) == 1 or text in before + after
    assert Redactor([])(before) == Redactor([""])(before) == before


def test_a_secret_across_the_cut_leaves_no_piece(tmp_path):
    secret = "0123456789abcdefghijklmnopqrstuvwxyz"
    with logs_in(tmp_path, secrets=(secret,)) as logs:
        for at in range(3900, 4100, 7):
            logs.comms.info("received", data="-" * at + secret + "-" * 9000)
        for at in range(8100, 10000, 13):
            logs.comms.info("received", data=("-" * at + secret) * 3)
        logs.comms.info("received", data=json.dumps([secret] * 5000))
    for line in (tmp_path / "comms.log").read_text().splitlines():
        assert parse_line(line).left_out
        assert "0123" not in line.partition(" bytes left out")[0].rpartition("(")[0]


def test_a_hostile_text_is_searched_in_linear_time():
    redact = Redactor([SECRET, "\\" * 20 + "x", "aaaaaaaaaaaaaaaab"])

    def cpu_s(text):
        times = []
        for _ in range(3):
            began_s = time.thread_time()
            redact(text)
            times.append(time.thread_time() - began_s)
        return min(times)

    for piece in ("\\", "Z\\", "a", "%5C", "+\\"):
        # quadratic: 64 times, whatever the machine
        assert cpu_s(piece * 16_000) < 30 * max(cpu_s(piece * 2000), 0.0005)


# rotation


@pytest.mark.parametrize("backups", [0, 1, 3])
def test_rotation_keeps_whole_lines_sizes_and_the_number_of_files(tmp_path, backups):
    with logs_in(tmp_path, max_bytes=20_000, backup_count=backups) as logs:
        for n in range(3000):
            logs.comms.info("line", n=n, text="x" * (n % 300))
            if n % 500 == 0:
                settled(tmp_path / "comms.log", n)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(["comms.log", "ping.log", *(f"comms.log.{n}" for n in range(1, backups + 1))])
    newest_last = [tmp_path / f"comms.log.{n}" for n in range(backups, 0, -1)] + [tmp_path / "comms.log"]
    kept = numbers(*newest_last)
    assert kept == list(range(kept[0], 3000))  # nothing is missing between, nothing is out of order
    for path in newest_last[:-1]:
        assert 19_000 < path.stat().st_size <= 22_000
    assert newest_last[-1].stat().st_size <= 22_000


def test_a_file_over_the_limit_from_before_is_rotated_first(tmp_path):
    (tmp_path / "comms.log").write_bytes(b"old\n" * 1000)
    with logs_in(tmp_path, max_bytes=1000, backup_count=2) as logs:
        logs.comms.info("line", n=1)
    assert (tmp_path / "comms.log.1").read_bytes() == b"old\n" * 1000
    assert numbers(tmp_path / "comms.log") == [1]


def test_no_rotation_with_a_limit_of_0(tmp_path):
    with logs_in(tmp_path, max_bytes=0, backup_count=5) as logs:
        for n in range(2000):
            logs.comms.info("line", n=n, text="x" * 500)
    assert not (tmp_path / "comms.log.1").exists()
    assert numbers(tmp_path / "comms.log") == list(range(2000))


# what others do to the files


def test_moved_removed_truncated_and_without_a_folder_they_are_made_again(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    log = folder / "comms.log"
    with logs_in(folder) as logs:
        logs.comms.info("line", n=0)
        settled(log, 0)
        log.rename(folder / "moved")
        until(log.exists, 3)
        logs.comms.info("line", n=1)
        settled(log, 1)
        log.unlink()
        until(log.exists, 3)
        logs.comms.info("line", n=2)
        settled(log, 2)
        os.truncate(log, 0)
        logs.comms.info("line", n=3)
        settled(log, 3)
        assert numbers(log) == [3]  # no hole of zeroes before it
        shutil.rmtree(folder)
        until(lambda: log.exists() and (folder / "ping.log").exists(), 3)
        logs.comms.info("line", n=4)
        settled(log, 4)
    assert numbers(log) == [4]


def test_reopen_follows_at_once_and_loses_nothing(tmp_path):
    log = tmp_path / "comms.log"
    with logs_in(tmp_path) as logs:
        for n in range(400):
            logs.comms.info("line", n=n)
            if n % 100 == 50:
                settled(log, n)
                log.rename(tmp_path / f"moved.{n}")
                logs.reopen()
                until(log.exists, 0.9)  # without SIGHUP it takes up to a second
    assert numbers(*(tmp_path / f"moved.{n}" for n in (50, 150, 250, 350)), log) == list(range(400))


def test_a_line_that_a_crash_cut_is_ended_and_nothing_else_is_touched(tmp_path):
    (tmp_path / "comms.log").write_bytes(b"[2026-11-24 22:47:01.123+0000] : [INFO] - [x]\n[2026-11-24 22:4")
    with logs_in(tmp_path) as logs:
        logs.comms.info("line", n=1)
    first, second, third = (tmp_path / "comms.log").read_bytes().splitlines()
    assert second == b"[2026-11-24 22:4"
    assert parse_line(first.decode()).event == "x"
    assert parse_line(third.decode()).fields == {"n": "1"}


# a disk that is full or stalls


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with 256 KiB."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("mounting a small disk needs Linux and root")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_on_a_full_disk_no_line_is_torn_and_every_lost_one_is_counted(small_disk, monkeypatch):
    monkeypatch.setattr(log_files, "QUEUE_LIMIT", 100_000)
    log = small_disk / "comms.log"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 120_000)
    with logs_in(small_disk) as logs:
        for n in range(2000):
            logs.comms.info("line", n=n, text="x" * 150)
            if n == 400:
                settled(log, n)
        until(lambda: logs.lines_lost, 5)
        # what did not fit whole is taken back at once
        until(lambda: log.read_bytes().endswith(b"\n"), 1)
        before = numbers(log)
        assert before == list(range(len(before)))
        ballast.unlink()
        until(lambda: any(entry.event == "log_lines_lost" for entry in entries(log)), 5)
        logs.comms.info("line", n=2000)
    there = entries(log)
    reported = [entry for entry in there if entry.event == "log_lines_lost"]
    assert {(entry.level, entry.fields["file"]) for entry in reported} == {("WARNING", "comms.log")}
    lost = sum(int(entry.fields["count"]) for entry in reported)
    assert lost == logs.lines_lost > 0
    assert len(numbers(log)) + lost == 2001
    assert numbers(log) == sorted(set(numbers(log)))


def test_a_disk_that_stalls_holds_up_nobody(tmp_path):
    os.mkfifo(
        tmp_path / "comms.log"
    )  # to open it for reading and writing succeeds; it takes 64 KiB, then blocks
    logs = Logs(tmp_path, console=False)
    # a thread that waited for the disk would wait forever
    for n in range(5000):
        logs.comms.info("line", n=n, text="x" * 100)
    logs.ping.info("ping", seq=1)
    logs.close(0.3)


def test_a_flood_into_one_queue_leaves_the_writer_to_the_others():
    """On a disk so slow that more lines have come whenever some were written."""
    over = threading.Event()

    class Queue(LineQueue):
        def __init__(self, target):
            super().__init__(target, 100)
            self.written = b""

        def write(self, data):
            self.written += data
            return len(data)

    class Flooded(Queue):
        def write(self, data):
            for _ in range(0 if over.is_set() else 20):  # more than there is room for
                self.put(b"a line\n")
            writer.wake.set()
            return super().write(data)

    flooded, other = Flooded("flooded.log"), Queue("other.log")
    writer = Writer([flooded, other])
    flooded.put(b"a line\n")
    other.put(b"other\n")
    writer.wake.set()
    writer.start()
    try:
        until(lambda: other.written == b"other\n" and b"log_lines_lost file=flooded.log" in flooded.written)
    finally:
        over.set()
        writer.close(PATIENCE_S)
    counts = map(int, re.findall(rb"count=([0-9]+)", flooded.written))
    assert sum(counts) == flooded.lost_total > 0


# never through a link


def test_a_log_that_is_a_link_is_not_written_and_the_reason_is_said(tmp_path, capfd):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"not a log\n")
    (tmp_path / "comms.log").symlink_to(elsewhere)
    with logs_in(tmp_path, console=True) as logs:
        logs.comms.info("line", n=1)
        until(lambda: problem(logs))
        assert "symbolic link" in problem(logs)
        (tmp_path / "comms.log").unlink()
        settled(tmp_path / "comms.log", 1)
        until(lambda: "log_resumed" in (tmp_path / "comms.log").read_text())
        assert problem(logs) is None
    assert elsewhere.read_bytes() == b"not a log\n"
    said = [parse_line(line) for line in capfd.readouterr().err.splitlines()]
    (failed,) = [entry for entry in said if entry.event == "log_failed"]
    assert (failed.level, failed.fields["file"]) == ("WARNING", "comms.log")
    assert "symbolic link" in failed.fields["reason"]
    assert numbers(tmp_path / "comms.log") == [1]


def test_a_log_that_becomes_a_link_is_left_at_once(tmp_path):
    log, elsewhere = tmp_path / "comms.log", tmp_path / "elsewhere"
    with logs_in(tmp_path) as logs:
        logs.comms.info("line", n=1)
        settled(log, 1)
        log.rename(elsewhere)
        log.symlink_to(elsewhere)
        until(lambda: problem(logs))
        logs.comms.info("line", n=2)
        log.unlink()
        settled(log, 2)
    assert numbers(elsewhere) == [1]


@pytest.fixture
def no_inodes(small_disk):
    subprocess.run(["mount", "-o", "remount,nr_inodes=2", str(small_disk)], check=True)
    with contextlib.suppress(OSError):
        for n in range(10):
            (small_disk / f"filler{n}").touch()
    return small_disk


def test_without_inodes_the_reason_says_what_helps(no_inodes):
    with logs_in(no_inodes) as logs:
        logs.comms.info("line", n=1)
        until(lambda: problem(logs))
        assert "inodes" in problem(logs)
        (no_inodes / "filler0").unlink(missing_ok=True)
        settled(no_inodes / "comms.log", 1)


# the console


SPEAKER = """
import sys, time
from pathlib import Path
from logging_setup import Logs
logs = Logs(Path(sys.argv[1]), secrets=("hunter2",))
logs.install_hooks()
for n in range(int(sys.argv[2])):
    logs.comms.info("line", n=n, text="x" * int(sys.argv[3]))
logs.ping.info("ping", seq=1, reason="hunter2")
logs.close()
"""


def speak(folder, count, size=200, **options):
    argv = [sys.executable, "-c", SPEAKER, str(folder), str(count), str(size)]
    return subprocess.Popen(argv, cwd=REPOSITORY, stdin=subprocess.DEVNULL, **options)


def test_stderr_repeats_both_logs(tmp_path):
    process = speak(tmp_path, 300, stderr=subprocess.PIPE)
    said = process.communicate(timeout=PATIENCE_S)[1].decode()
    there = (tmp_path / "comms.log").read_text() + (tmp_path / "ping.log").read_text()
    assert sorted(said.splitlines()) == sorted(there.splitlines())
    assert len(said.splitlines()) == 301
    assert "hunter2" not in said


@pytest.mark.parametrize("kind", ["pipe", "closed pipe", "terminal", "none", "full"])
def test_a_stderr_that_takes_nothing_does_not_hold_up_the_files(tmp_path, kind):
    reading, writing = pty.openpty() if kind == "terminal" else os.pipe()
    if kind == "closed pipe":
        os.close(reading)
    options = {"stderr": writing}
    if kind == "none":
        options = {"preexec_fn": lambda: os.close(2)}
    elif kind == "full":
        options = {"stderr": os.open("/dev/full", os.O_WRONLY)}
    # a terminal that is called writable need not have room for a long line
    process = speak(tmp_path, 1000, 5000 if kind == "terminal" else 200, **options)
    try:
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
    assert numbers(tmp_path / "comms.log") == list(range(1000))
    assert len(entries(tmp_path / "ping.log")) == 1


def test_lines_that_stderr_had_no_room_for_are_counted(tmp_path, monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setattr(log_console, "QUEUE_LIMIT", 10_000)
    with open(reading, "rb") as read, open(writing, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with logs_in(tmp_path, console=True) as logs:
            for n in range(3000):
                logs.comms.info("line", n=n, text="x" * 100)
            settled(tmp_path / "comms.log", 2999)  # nobody reads stderr, and the file has every line
            said, lost = [], 0
            while len(said) + lost < 3000:
                entry = parse_line(read.readline().decode())
                if entry.event == "log_lines_lost":
                    assert (entry.level, entry.fields["file"]) == ("WARNING", "stderr")
                    lost += int(entry.fields["count"])
                else:
                    said.append(int(entry.fields["n"]))
            logs.comms.info("line", n=3000)
            assert parse_line(read.readline().decode()).fields["n"] == "3000"
    assert said == sorted(set(said))
    assert lost > 0
    assert logs.lines_lost == 0


# as everybody expects of Python's logging


def test_records_can_be_captured_and_handled_as_usual(tmp_path, caplog):
    seen = []

    class Handler(logging.Handler):
        def emit(self, record):
            seen.append(record.getMessage())

    handler = Handler()
    logging.getLogger("comms").addHandler(handler)
    try:
        with logs_in(tmp_path) as logs, caplog.at_level(logging.DEBUG, "comms"):
            logs.comms.debug("received", event="recover", data={"a": 1})
            logging.getLogger("comms").warning("%s of %s", 1, 2)
    finally:
        logging.getLogger("comms").removeHandler(handler)
    assert seen == ['received event=recover data="{\\"a\\":1}"', "1 of 2"]
    assert "received event=recover" in caplog.text
    assert {record.funcName for record in caplog.records} == {
        "test_records_can_be_captured_and_handled_as_usual"
    }
    there = entries(tmp_path / "comms.log")
    assert [entry.event for entry in there] == ["received", "library"]
    assert there[1].fields == {"name": "comms", "text": "1 of 2"}


def test_what_is_asked_for_is_written_whatever_the_level(tmp_path):
    with logs_in(tmp_path, level="CRITICAL") as logs:
        logs.comms.always("state", up=True)
        logging.getLogger("urllib3").error("of no interest at this level")
    (entry,) = entries(tmp_path / "comms.log")
    assert (entry.level, entry.event, entry.fields) == ("INFO", "state", {"up": "true"})


# what Python and the libraries say on their own


TROUBLE = """
import logging, sys, threading, warnings
from pathlib import Path
from logging_setup import Logs
logs = Logs(Path(sys.argv[1]), secrets=("hunter2",))
logs.install_hooks()
warnings.warn("beware of hunter2")
logging.getLogger("urllib3").warning("pool of %s is full", "hunter2")
logging.getLogger("urllib3").warning("%d", "no number")
logging.getLogger("urllib3").info("chatter")
def fail():
    raise RuntimeError("in a thread: hunter2")
thread = threading.Thread(target=fail, name="worker-thread")
thread.start()
thread.join()
raise KeyError("in main: hunter2\\n\\x1b[31m")
"""


def test_warnings_records_and_tracebacks_are_lines_of_the_log(tmp_path):
    argv = [sys.executable, "-c", TROUBLE, str(tmp_path)]
    done = subprocess.run(
        argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 1
    assert sorted(done.stderr.splitlines()) == sorted((tmp_path / "comms.log").read_text().splitlines())
    there = entries(tmp_path / "comms.log")
    assert [(entry.level, entry.event) for entry in there] == [
        ("WARNING", "library"),
        ("WARNING", "library"),
        ("WARNING", "library"),
        ("CRITICAL", "crashed"),
        ("CRITICAL", "crashed"),
    ]
    assert there[1].fields == {"name": "urllib3", "text": "pool of *** is full"}
    assert [entry.fields["thread"] for entry in there[3:]] == ["worker-thread", "MainThread"]
    assert "Traceback" in there[4].fields["traceback"]
    assert "hunter2" not in done.stderr


def test_many_threads_write_whole_lines_in_their_order(tmp_path):
    with logs_in(tmp_path, max_bytes=200_000, backup_count=100) as logs:

        def write(name):
            for n in range(500):
                logs.comms.info("line", n=n, thread=name)

        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name in "abcd":
        there = [int(e.fields["n"]) for e in entries(tmp_path / "comms.log") if e.fields["thread"] == name]
        assert there == list(range(500))
