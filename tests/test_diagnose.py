import gzip
import io
import json
import os
import subprocess
import sys
from datetime import timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from story.episodes import as_json
from story.page import render
from story.reading import Folder
from story.runs import Window
from story.terminal import show
from story.timeline import Diary, tell
from story.window import choose
from story.words import sentences
from tests.pages import Page
from tests.story_logs import PIECES, Worker, a_night, contract, stamp

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, str(ROOT / "diagnose.py")]


def diagnose(*arguments, **environment):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
    )


@pytest.fixture
def night(tmp_path):
    return a_night(tmp_path)


def outage(start, end, length, reason, zone=timezone.utc):
    return {"start": stamp(start, zone), "end": stamp(end, zone), "duration_s": length, "reason": reason}


def test_json_is_the_object_of_the_contract_to_the_letter(night):
    done = diagnose(*night, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    zone = timezone(timedelta(hours=-5))
    assert contract(json.loads(done.stdout)) == {
        "nodes": [
            {
                "node": 1,
                "from": stamp(0),
                "to": stamp(29),
                "pings": 15,
                "missed": 0,
                "rtt_ms": {"p50": 1.8, "p99": 1.8, "max": 1.8},
                "outages": [outage(0, 0.04, 0.04, "start")],
            },
            {
                "node": 2,
                "from": stamp(0),
                "to": stamp(29),
                "pings": 7,
                "missed": 0,
                "rtt_ms": {"p50": 1.5, "p99": 2.0, "max": 2.0},
                "outages": [outage(0, 0.04, 0.04, "start"), outage(20, 20.04, 0.04, "start")],
            },
            {
                "node": 3,
                "from": stamp(0, zone),
                "to": stamp(28, zone),
                "pings": 13,
                "missed": 1,
                "rtt_ms": {"p50": 1.5, "p99": 1.5, "max": 1.5},
                "outages": [
                    outage(0, 0.04, 0.04, "start", zone),
                    outage(12.5, 15.25, 2.75, "ping timeout", zone),
                ],
            },
        ],
        "failovers": [
            {
                "disconnected_node": 2,
                "recovery_node": 3,
                "address": "10.9.0.2/24",
                "outcome": "refused",
                "reason": "no interface holds 10.9.0.2",
                "received": stamp(8, zone),
                "taken": None,
                "released": None,
                "takeover_ms": None,
            },
            {
                "disconnected_node": 2,
                "recovery_node": 1,
                "address": "10.9.0.2/24",
                "outcome": "taken",
                "reason": None,
                "received": stamp(8.297),
                "taken": stamp(8.3),
                "released": stamp(20.7),
                "takeover_ms": 3.1,
            },
        ],
        "unreadable_lines": 0,
    }


def test_a_folder_that_cannot_be_read_is_named_and_the_others_are_told(night, tmp_path):
    (tmp_path / "empty").mkdir()
    done = diagnose(tmp_path / "missing", night[0], tmp_path / "empty", "--json")
    assert done.returncode == 1
    assert [node["node"] for node in json.loads(done.stdout)["nodes"]] == [1]
    complaints = done.stderr.decode().splitlines()
    assert [str(tmp_path / name) in line for name, line in zip(("missing", "empty"), complaints)] == [
        True,
        True,
    ]
    assert len(complaints) == 2


def test_the_object_is_printed_where_nothing_could_be_read(tmp_path):
    done = diagnose(tmp_path / "missing", "--json")
    assert done.returncode == 1
    assert contract(json.loads(done.stdout)) == {"nodes": [], "failovers": [], "unreadable_lines": 0}
    assert diagnose(tmp_path / "missing").returncode == 1


def test_unreadable_lines_are_counted_over_all_folders_and_are_no_fault(night):
    for folder in night[:2]:
        with (folder / "comms.log").open("ab") as file:
            file.write(b"\xff\xfe\n\nnot ours\n[2026-11-24 22:")
    done = diagnose(*night, "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["unreadable_lines"] == 8
    assert told["unreadable"] == {"binary": 2, "foreign": 4, "truncated": 2}
    assert "8 lines did not fit (2 binary, 4 foreign, 2" in " ".join(diagnose(*night).stdout.decode().split())


def test_rotated_and_packed_logs_tell_the_same(night):
    whole = diagnose(*night, "--json").stdout
    for folder in night:
        for name in ("ping.log", "comms.log"):
            lines = (folder / name).read_bytes().splitlines(keepends=True)
            third = len(lines) // 3
            (folder / f"{name}.2.gz").write_bytes(gzip.compress(b"".join(lines[:third])))
            (folder / f"{name}.1").write_bytes(b"".join(lines[third : 2 * third]))
            (folder / name).write_bytes(b"".join(lines[2 * third :]))
    assert diagnose(*night, "--json").stdout == whole


def test_a_folder_given_twice_is_read_once(night):
    again = night[0].parent / "." / night[0].name / ".." / night[0].name
    once, twice = diagnose(night[0], "--json"), diagnose(night[0], again, "--json")
    assert once.stdout == twice.stdout


def test_the_tables_say_the_same_in_a_hundred_columns(night):
    done = diagnose(*night)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    assert max(map(len, text.splitlines())) <= 100
    for words in (
        "3 nodes, 2026-11-24 22:47:00 to 22:47:29 +0000: 2 failovers, 1 outage, 0 lines did not fit",
        "22:47:03.000  node 2 fell silent for 17.0 s",
        "22:47:08.300  node 1 took 10.9.0.2/24 for node 2 in 3.1 ms",
        "22:47:20.700  node 1 gave 10.9.0.2/24 back after 12.4 s",
        "ping timeout",
        "no interface holds",
    ):
        assert words in text


def test_a_node_whose_logs_were_not_given_is_named(night):
    assert "No log of node 2 was given" in diagnose(night[0]).stdout.decode()


def in_a_terminal(*arguments, **environment):
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", **environment},
    )
    os.close(slave)
    output = b""
    try:
        while block := os.read(master, 65536):
            output += block
    except OSError:
        pass  # how Linux says that the other end is closed
    finally:
        os.close(master)
        assert process.wait(30) == 0
    return output


def test_colour_is_for_terminals_alone(night):
    assert b"\x1b[" in in_a_terminal(*night, NO_COLOR="")
    assert b"\x1b[" not in in_a_terminal(*night, NO_COLOR="1")
    assert b"\x1b[" not in diagnose(*night, FORCE_COLOR="1").stdout


HOSTILE = "</script><script>alert(1)</script>\x1b[2J\u202e[red]:bomb:" + "x" * 900


@pytest.fixture
def hostile(tmp_path):
    worker = Worker(1).start(0).ping(1, 5).say(6, "disconnected", reason=HOSTILE)
    worker.say(7, "takeover_refused", node=2, address=HOSTILE, reason=HOSTILE)
    worker.say(8, "address_conflict", node=2, address=HOSTILE, mac=HOSTILE).say(9, "crashed", error=HOSTILE)
    return worker.write(tmp_path / "node1")


def test_nothing_in_a_log_reaches_the_terminal_raw(hostile):
    output = in_a_terminal(hostile, NO_COLOR="1").decode()
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert "[red]:bomb:" in output


def test_a_page_that_cannot_be_written_is_named(night, tmp_path):
    file = tmp_path / "missing" / "page.html"
    done = diagnose(*night, "--json", "--html", file)
    assert done.returncode == 1
    assert str(file).encode() in done.stderr
    assert len(json.loads(done.stdout)["nodes"]) == 3


@pytest.mark.parametrize("options", [("--json",), ()])
def test_a_reader_that_leaves_early_is_no_fault(tmp_path, options):
    worker = Worker(1).start(0)
    for second in range(3000):
        worker.say(second, "disconnected", reason="gone").say(second, "connected", master="m")
    process = subprocess.Popen(
        [*COMMAND, str(worker.write(tmp_path / "node1")), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == 0
    process.stderr.close()


def test_an_output_that_is_not_unicode_gets_what_it_can_spell(night):
    worker = Worker(1).start(0).say(1, "disconnected", reason="Zeitüberschreitung …")
    done = diagnose(worker.write(night[0]), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Zeit\\xfcberschreitung" in done.stdout


def test_help_and_wrong_calls():
    helped = diagnose("--help")
    assert helped.returncode == 0
    assert all(option in helped.stdout for option in (b"LOGDIR", b"--html", b"--json"))
    wrong = diagnose()
    assert (wrong.returncode, b"LOGDIR" in wrong.stderr) == (2, True)


LOGS = st.dictionaries(
    st.sampled_from(["ping.log", "comms.log", "comms.log.1"]), st.lists(PIECES), min_size=1
)


AT_ONCE = [b"[2000-01-01 00:00:00,000] [x] [INFO] - ping", b"[2000-01-01 00:00:00,000] [x] [INFO] - pong"]
FAR_TOO_LATE = [
    b"[2000-01-01 00:00:00,000] [x] [INFO] - ping",
    b"[2009-01-01 00:00:00,000] [x] [INFO] - pong",
]


@example(folders=[{"ping.log": AT_ONCE}], window=Window())
@example(folders=[{"ping.log": FAR_TOO_LATE}], window=Window())
@given(folders=st.lists(LOGS, min_size=1, max_size=3), window=st.sampled_from([Window(), Window(0, 2e9)]))
def test_no_bytes_in_any_folders_end_it(tmp_path_factory, folders, window):
    diaries, unreadable = [], 0
    for place, logs in enumerate(folders, 1):
        path = tmp_path_factory.mktemp("logs") / f"node{place}"
        path.mkdir()
        for name, pieces in logs.items():
            (path / name).write_bytes(b"\n".join(pieces))
        folder = Folder(path, window.since)
        diary = Diary("logs", folder.number, window)
        diary.read(folder.items())
        diaries.append(diary)
        unreadable += folder.unreadable
    story = choose(tell(diaries, unreadable), window, None)
    sentences(story, live=True)
    printed = io.StringIO()
    show(story, printed)
    page = render(story)
    page.encode()
    assert Page(page).unbalanced == []
    assert "\x1b" not in printed.getvalue() + page
    told = json.loads(json.dumps(as_json(story), allow_nan=False))
    assert told["unreadable_lines"] == unreadable
    assert all(node["availability"] is None or 0 <= node["availability"] <= 100 for node in told["nodes"])


def test_a_folder_whose_name_is_no_text(tmp_path):
    """Whose name is what its node is called, since no line tells."""
    name = os.path.join(os.fsencode(tmp_path), b"b\xfcro")
    os.mkdir(name)
    with open(os.path.join(name, b"ping.log"), "w") as file:
        file.write("[2026-11-24 10:00:00.000+0000] : [INFO] - [ping seq=1 rtt_ms=1.0]\n")
    for options in ([], ["--json"], ["--html", str(tmp_path / "page.html")]):
        done = subprocess.run([*COMMAND, *options, name], capture_output=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"Traceback" not in done.stdout
    assert "\\udcfcro" in (tmp_path / "page.html").read_text(encoding="utf-8")
