"""`python -m demo` as a newcomer runs it, and when something is not as it should be."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.__main__ import Demo, DemoError
from tests.lab.processes import ROOT, Process, wait_until
from tests.lab.waiting import SCALE

COMMAND = [sys.executable, "-m", "demo"]
STORY = ROOT / "build" / "demo" / "story.html"


@pytest.fixture
def demo() -> Iterator[Process]:
    with Process(COMMAND) as process:
        yield process


def children(pid: int) -> dict[int, str]:
    """The processes that `pid` started, and their command lines. Linux only."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):  # it has ended
            found[int(child)] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
    return found


def test_the_story_is_right_whatever_is_set_in_the_environment() -> None:
    disturbing = {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "NODE_ID": "9",
        "LOG_LEVEL": "ERROR",
        "MASTER_TOKEN": "wrong",
        "NETWORK_CONFIG": "missing.txt",
    }
    with Process(COMMAND, env={**os.environ, **disturbing}) as demo:
        assert demo.wait(60 * SCALE) == 0, demo.output()
        story = "\n".join(demo.stdout)
        assert "1 failover" in story, story
        assert str(STORY) in demo.stdout[-1]
        assert "10.9.0.2" in STORY.read_text(encoding="utf-8")
        assert demo.stderr == []
    log = (STORY.parent / "master.log").read_text(encoding="utf-8")
    assert log.count("[takeover_ordered ") == 1, "the end of the first worker is no failover"
    assert "[node_left " not in log


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_says_what_went_wrong_and_exits_1(demo: Process) -> None:
    demo.wait_for_line("Node 2 is killed")
    (master,) = [pid for pid, command in children(demo.pid).items() if "-m master serve" in command]
    os.kill(master, 9)
    assert demo.wait() == 1
    assert "master" in demo.stderr[-1]
    assert "Traceback" not in demo.output()


def test_a_master_that_dies_in_the_middle_of_an_answer_is_named() -> None:
    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 469\r\n\r\n")

    demo = Demo()
    with socket.create_server(("127.0.0.1", 0)) as server:
        demo._url = f"http://127.0.0.1:{server.getsockname()[1]}"
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        with pytest.raises(DemoError, match="the master does not answer"):
            demo._wait("nothing", lambda state: state)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_told_to_end_it_leaves_no_process(demo: Process) -> None:
    demo.wait_for_line("Node 2 is killed")
    started = children(demo.pid)
    assert len(started) >= 3
    assert demo.stop() == 143
    wait_until(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()], "all of them ended")
