"""The privileged helper as a process, and its parent's side of the pipe; without sudo."""

from __future__ import annotations

import fcntl
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from network.base import AddressesChanged, NetworkError
from network.sudo import helper
from network.sudo.process import PROMPT, HelperProcess
from tests.lab.waiting import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "name": "simulated",
    "node_id": 3,
    "interface": None,
    "lease_s": 10,
    "journal_dir": "",
    "allowed": None,
}
HELPER = [sys.executable, "-I", "-B", str(ROOT / "network/sudo/helper.py"), json.dumps(SETTINGS)]
READY = {"ready": True}


@pytest.fixture
def start():
    """Start a process whose standard input and output are pipes."""
    processes = []

    def begin(argv):
        processes.append(subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("surplus", [0, 1, 1000])
def test_a_request_that_is_too_long_ends_the_helper_and_is_not_answered_in_pieces(start, surplus):
    process = start(HELPER)
    request = json.dumps({"do": "watch", "ips": []}).encode()
    too_long = b"x" * (helper._LINE_BYTES + surplus)
    output, _ = process.communicate(request + b"\n" + too_long + b"\n" + request + b"\n", PATIENCE_S)
    assert [json.loads(line) for line in output.splitlines()] == [READY, {"value": None}]
    assert process.returncode == 0


def test_an_answer_longer_than_the_pipe_is_not_torn_by_events_or_by_a_stop(start):
    """Two threads write, and a write that a stop interrupts is cut short."""
    process = start(
        [
            sys.executable,
            "-c",
            """if True:
            import threading
            from network.sudo.helper import _say
            answer = {"value": {f"02:00:00:00:00:{number:02x}": 0.5 for number in range(256)}, "more": "x" * 500000}
            threads = [threading.Thread(target=_say, args=(answer,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for number in range(1000):
                _say({"kind": "LinkUp", "interface": f"eth{number}"})
            for thread in threads:
                thread.join()
            """,
        ]
    )
    size = fcntl.fcntl(process.stdout, fcntl.F_GETPIPE_SZ)
    until(lambda: _waiting(process.stdout) == size)
    os.kill(process.pid, signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    os.kill(process.pid, signal.SIGCONT)
    output, _ = process.communicate(timeout=PATIENCE_S)
    found = [json.loads(line) for line in output.splitlines()]
    assert [line["interface"] for line in found if "kind" in line] == [f"eth{n}" for n in range(1000)]
    assert sum("value" in line for line in found) == 4


def _waiting(pipe) -> int:
    """The number of bytes that nobody has read yet."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


def parent_of(script: str, post=lambda event: None) -> HelperProcess:
    """The parent of a helper that says what the script prints."""
    return HelperProcess([sys.executable, "-u", "-c", script], None, post, PATIENCE_S)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("We trust you have received the usual lecture: ", ""),
        ("\a", ""),
        ("[sudo: ", "] Password: "),  # as sudo-rs does
    ],
)
def test_the_password_is_given_whatever_else_stands_on_the_line_of_the_prompt(before, after):
    script = f"""if True:
        import sys
        sys.stdout.write({before + PROMPT + after!r})
        right = input() == "p\u00e4ss"
        print()
        print('{{"ready": true}}' if right else "wrong")
        input()
        """
    HelperProcess([sys.executable, "-u", "-X", "utf8", "-c", script], "p\u00e4ss", print, PATIENCE_S).close()


def test_what_is_no_object_is_no_answer_and_no_event():
    noise = ["[]", '"x"', "7", "null", "true", "[" * 50_000, '{"kind": []}', "we trust you have received"]
    lines = [
        *noise,
        json.dumps(READY),
        *noise,
        '{"kind": "AddressesChanged", "interface": "eth0"}',
        '{"value": 7}',
    ]
    events: queue.SimpleQueue[object] = queue.SimpleQueue()
    process = parent_of(f"print({chr(10).join(lines)!r}); input(); input()", events.put)
    assert process.ask("watch", {"ips": []}) == 7
    assert events.get(timeout=PATIENCE_S) == AddressesChanged("eth0")
    process.close()


def test_noise_before_a_helper_that_never_was_ready_is_its_reason():
    with pytest.raises(NetworkError, match=r"did not start the helper \(\[\] not today\)"):
        parent_of("print('[]'); print('not today')")
