"""The command: what it prints, writes and ends with; nothing in any log ends it or reaches the terminal raw."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
import sys
from argparse import ArgumentTypeError
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.model import as_json
from analysis.narrative import counts
from analysis.page import render
from analysis.reader import Folder
from analysis.selection import parse_nodes, parse_time, select
from analysis.sentences import sentences
from analysis.terminal import show
from analysis.timeline import read, tell
from tests.analysis.logs import PIECES, Worker, a_night, recover, stamp
from tests.analysis.pages import Page
from tests.lab.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, str(ROOT / "diagnose.py")]


def diagnose(*arguments, **environment):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        timeout=2 * PATIENCE_S,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
    )


def told(*arguments):
    done = diagnose(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def night(tmp_path):
    return a_night(tmp_path)


def test_json_is_that_object_to_the_letter(night):
    done = diagnose(*night, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    west = timezone(timedelta(hours=-5))
    assert json.loads(done.stdout) == {
        "nodes": [
            {
                "node": 1,
                "from": stamp(0),
                "to": stamp(29),
                "pings": 15,
                "missed": 0,
                "rtt_ms": {"p50": 1.8, "p99": 1.8, "max": 1.8},
                "outages": [],
            },
            {
                "node": 2,
                "from": stamp(0),
                "to": stamp(29),
                "pings": 7,
                "missed": 0,
                "rtt_ms": {"p50": 1.5, "p99": 2.0, "max": 2.0},
                "outages": [],
            },
            {
                "node": 3,
                "from": stamp(0, west),
                "to": stamp(28, west),
                "pings": 13,
                "missed": 1,
                "rtt_ms": {"p50": 1.5, "p99": 1.5, "max": 1.5},
                "outages": [
                    {
                        "start": stamp(12.5, west),
                        "end": stamp(15.25, west),
                        "duration_s": 2.75,
                        "cause": "network",
                        "reason": "ping timeout",
                    }
                ],
            },
        ],
        "failovers": [
            {
                "node": 2,
                "address": "10.9.0.2/24",
                "start": stamp(3),
                "end": stamp(20.04),
                "cause": "silent",
                "unserved_s": 5.3,
                "doubled_s": 0.7,
                "attempts": [
                    {
                        "recovery_node": 3,
                        "outcome": "refused",
                        "reason": "no interface holds 10.9.0.2",
                        "received": stamp(8, west),
                        "taken": None,
                        "released": None,
                        "takeover_ms": None,
                    },
                    {
                        "recovery_node": 1,
                        "outcome": "taken",
                        "reason": None,
                        "received": stamp(8.297),
                        "taken": stamp(8.3),
                        "released": stamp(20.7),
                        "takeover_ms": 3.1,
                    },
                ],
            }
        ],
        "unreadable_lines": 0,
    }


def test_header_tables_page_and_object_count_the_same(night, tmp_path):
    page = tmp_path / "page.html"
    text = diagnose(*night, "--html", page).stdout.decode()
    object_ = told(*night)
    numbers = "1 failover (2 orders: 1 taken, 1 refused), 1 outage, every line read"
    assert len(object_["failovers"]) == 1
    assert sum(len(node["outages"]) for node in object_["nodes"]) == 1
    assert numbers in " ".join(text.split())
    html = page.read_text(encoding="utf-8")
    assert numbers in Page(html).words
    assert json.loads(Page(html).raw["story"]) == object_
    row = next(line.split() for line in text.splitlines() if line.startswith(" 3 "))
    assert row[-1] == "1"


def test_three_clean_starts_are_no_outage(tmp_path):
    folders = [Worker(node).start(0).ping(1, 9).write(tmp_path / f"node{node}") for node in (1, 2, 3)]
    text = diagnose(*folders).stdout.decode()
    assert text.startswith("All nodes had their master all the time, and no address changed hands.")
    assert "0 outages" in text
    assert "Without the master" not in text


def test_a_folder_that_cannot_be_read_is_named_and_the_others_are_told(night, tmp_path):
    (tmp_path / "empty").mkdir()
    done = diagnose(tmp_path / "missing", night[0], tmp_path / "empty", "--json")
    assert done.returncode == 1
    assert [node["node"] for node in json.loads(done.stdout)["nodes"]] == [1]
    lines = done.stderr.decode().splitlines()
    assert [any(name in line for line in lines) for name in ("missing", "empty")] == [True, True]
    assert len(lines) == 2


def test_the_object_is_printed_where_nothing_could_be_read(tmp_path):
    done = diagnose(tmp_path / "missing", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"nodes": [], "failovers": [], "unreadable_lines": 0}
    assert diagnose(tmp_path / "missing").returncode == 1


def test_unreadable_lines_are_counted_over_all_folders_and_are_no_fault(night):
    for folder in night[:2]:
        with (folder / "comms.log").open("ab") as file:
            file.write(b"\xff\xfe\n\nnot ours\n[2026-11-24 22:")
    assert told(*night)["unreadable_lines"] == 8
    assert "8 lines did not fit" in " ".join(diagnose(*night).stdout.decode().split())


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
    assert diagnose(night[0], "--json").stdout == diagnose(night[0], again, "--json").stdout


def test_two_machines_with_one_number_are_named_on_stderr_beside_the_object(tmp_path):
    first, second = (Worker(1).start(at).ping(at + 1, 98, rtt_ms=at + 1.0) for at in (0, 10))
    done = diagnose(first.write(tmp_path / "a"), second.write(tmp_path / "b"), "--json")
    assert done.returncode == 0
    assert [node["node"] for node in json.loads(done.stdout)["nodes"]] == [1, 1]
    assert b"Two machines ran as node 1 at the same time" in done.stderr


def test_the_tables_say_the_same_in_a_hundred_columns(night):
    done = diagnose(*night)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    assert max(map(len, text.splitlines())) <= 100
    for words in (
        "Node 2 died at 22:47:03; node 1 answered for it 5.3 s later; it came back at 22:47:20.",
        "22:47:03.000  node 2 logged nothing for 17.0 s, until it started again",
        "22:47:08.300  node 1 took 10.9.0.2/24 of node 2 in 3.1 ms",
        "22:47:20.700  node 1 gave 10.9.0.2/24 of node 2 back after 12.4 s, as the master asked",
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
        process.wait(60)
    return output


def test_color_is_for_terminals_alone(night):
    assert b"\x1b[" in in_a_terminal(*night, NO_COLOR="")
    assert b"\x1b[" not in in_a_terminal(*night, NO_COLOR="1")
    assert b"\x1b[" not in diagnose(*night, FORCE_COLOR="1").stdout


HOSTILE = "</script><script>alert(1)</script>\x1b[2J\u202e[red]:bomb:" + "x" * 900


@pytest.fixture
def hostile(tmp_path):
    worker = Worker(1).start(0).ping(1, 5).say(6, "disconnected", reason=HOSTILE)
    worker.say(7, "takeover_refused", node=2, address=HOSTILE, reason=HOSTILE)
    worker.say(8, "address_conflict", node=2, address=HOSTILE, mac=HOSTILE).say(9, "crashed", error=HOSTILE)
    return worker.write(tmp_path / "node1\x1b]0;x\x07")


def test_nothing_in_a_log_or_a_name_reaches_the_terminal_raw(hostile, tmp_path):
    output = in_a_terminal(hostile, tmp_path / "missing\x1b]0;x\x07", NO_COLOR="1").decode()
    assert not {"\x1b", "\x07", "\u202e"} & set(output)
    assert "[red]:bomb:" in output
    assert r"missing\x1b]0;x\x07" in output


def flat(text):
    return "".join(text.split())


def terminal_and_page(*folders):
    """What is shown in both, without blanks, since folded lines break words."""
    story = tell(read([Folder(folder) for folder in folders]))
    printed = io.StringIO()
    show(story, printed)
    return flat(printed.getvalue()), flat(Page(render(story)).words)


def test_a_long_answer_is_shown_whole_and_a_log_s_text_in_it_cut(tmp_path):
    owner = Worker(2).start(0).ping(1, 9)
    refusing = [Worker(node).start(0).ping(1, 29).refuse(12, 2, HOSTILE) for node in (1, 3)]
    end = flat("it is not back where the logs end. Nobody answered for its address for")
    for shown in terminal_and_page(*(one.write(tmp_path / f"n{one.node}") for one in (owner, *refusing))):
        assert end in shown
        assert HOSTILE[-400:] not in shown
        assert not {"\x1b", "\u202e"} & set(shown)


def test_the_remedy_of_a_fault_is_shown_however_long_the_folders_names_are(tmp_path):
    workers = [Worker(1).start(at).ping(at + 1, 98, rtt_ms=at + 1.0) for at in (0, 10)]
    folders = [worker.write(tmp_path / (letter * 250)) for worker, letter in zip(workers, "ab", strict=True)]
    remedy = flat("give each its own NODE_ID. Their failovers cannot be trusted.")
    for shown in terminal_and_page(*folders):
        assert shown.count(remedy) >= 2, "the headline and the fault"


def test_several_failovers_one_by_one_are_told_to_their_end(tmp_path):
    reason = "because " * 50
    owners = [Worker(node).start(0).ping(1, 9) for node in (2, 4)]
    holder = Worker(1).start(0).ping(1, 29).refuse(12, 2, reason).refuse(12, 4, reason)
    end = flat("it is not back where the logs end.")
    for shown in terminal_and_page(*(one.write(tmp_path / f"n{one.node}") for one in (*owners, holder))):
        assert shown.count(end) >= 3, "the headline and two accounts"


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
    with subprocess.Popen(
        [*COMMAND, str(worker.write(tmp_path / "node1")), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_an_output_that_is_not_unicode_gets_what_it_can_spell(night):
    worker = Worker(1).start(0).say(1, "disconnected", reason="Zeitüberschreitung …")
    done = diagnose(worker.write(night[0]), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Zeit\\xfcberschreitung" in done.stdout


def test_a_folder_whose_name_is_no_text(tmp_path):
    """Whose name is what its node is called, since no line says its number."""
    name = os.path.join(os.fsencode(tmp_path), b"b\xfcro")
    os.mkdir(name)
    with open(os.path.join(name, b"ping.log"), "w") as file:
        file.write("[2026-11-24 10:00:00.000+0000] : [INFO] - [ping seq=1 rtt_ms=1.0]\n")
    for options in ([], ["--json"], ["--html", str(tmp_path / "page.html")]):
        done = subprocess.run([*COMMAND, *options, name], capture_output=True, timeout=2 * PATIENCE_S)
        assert (done.returncode, done.stderr) == (0, b"")
    assert "\\udcfcro" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_help_and_wrong_calls():
    helped = diagnose("--help")
    assert helped.returncode == 0
    assert all(option in helped.stdout for option in (b"LOGDIR", b"--html", b"--json", b"--follow"))
    wrong = diagnose()
    assert (wrong.returncode, b"LOGDIR" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "yesterday"),
        ("--until", "25:00"),
        ("--node", "two"),
        ("--node", "1,,2"),
        ("--since", "1h", "--until", "2h"),
        ("--follow", "--html", "page.html"),
        ("--follow", "--until", "1h"),
        ("--nodes",),
    ],
)
def test_a_wrong_call_is_named_and_ends_with_2(night, arguments):
    done = diagnose(*night, *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert arguments[-1].encode() in done.stderr or b"--follow" in done.stderr or b"--until" in done.stderr


LOGS = st.dictionaries(
    st.sampled_from(["ping.log", "comms.log", "comms.log.1", "master.log"]), st.lists(PIECES), min_size=1
)


@given(
    folders=st.lists(LOGS, min_size=1, max_size=3),
    window=st.sampled_from([{}, {"since": 0.0, "until": 2e9}]),
    nodes=st.sampled_from([None, frozenset({1, 2})]),
)
def test_no_bytes_in_any_folders_end_it(tmp_path_factory, folders, window, nodes):
    paths = []
    for place, logs in enumerate(folders, 1):
        path = tmp_path_factory.mktemp("logs") / f"node{place % 2}"
        path.mkdir()
        for name, pieces in logs.items():
            (path / name).write_bytes(b"\n".join(pieces))
        paths.append(Folder(path))
    story = select(tell(read(paths), **window), nodes)
    assert sentences(story) is not None
    printed = io.StringIO()
    show(story, printed)
    page = render(story)
    page.encode()
    assert Page(page).unbalanced == []
    assert "\x1b" not in printed.getvalue() + page
    object_ = json.loads(json.dumps(as_json(story), allow_nan=False))
    assert object_["unreadable_lines"] == sum(folder.unreadable for folder in paths)
    assert f"{len(object_['failovers']):,} failover" in counts(story)
    for one in object_["failovers"]:
        assert one["attempts"]
        assert one["unserved_s"] >= 0


# --since, --until, --node

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-11-24T22:47Z", datetime(2026, 11, 24, 22, 47, tzinfo=timezone.utc)),
        ("2026-11-24 22:47:01.123+0100", datetime(2026, 11, 24, 21, 47, 1, 123000, tzinfo=timezone.utc)),
        ("11:59Z", datetime(2026, 11, 24, 11, 59, tzinfo=timezone.utc)),
        ("12:01Z", datetime(2026, 11, 23, 12, 1, tzinfo=timezone.utc)),
        ("2h", datetime(2026, 11, 24, 10, 0, tzinfo=timezone.utc)),
        ("1d2h30m", datetime(2026, 11, 23, 9, 30, tzinfo=timezone.utc)),
        ("now", NOON),
    ],
)
def test_times_as_people_write_them(text, when):
    assert parse_time(text, NOON) == when


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "24:00", "2026-11-24T22", "1h 2", "٣h"])
def test_what_is_no_time_is_named_with_the_remedy(text):
    with pytest.raises(ArgumentTypeError, match="expected a time such as"):
        parse_time(text, NOON)


def test_node_numbers():
    assert parse_nodes("1, 3,12") == {1, 3, 12}
    for text in ("", "1,", "one", "-1", "²", "9" * 12):
        with pytest.raises(ArgumentTypeError, match="expected a number such as 3"):
            parse_nodes(text)


def test_a_part_of_the_time(night):
    """From 8.2 s to 13 s: node 3's refusal and node 2's last ping lie before."""
    part = told(*night, "--since", stamp(8.2), "--until", stamp(13))
    west = timezone(timedelta(hours=-5))
    assert [(node["node"], node["from"], node["to"]) for node in part["nodes"]] == [
        (1, stamp(8.2), stamp(13)),
        (2, stamp(8.2), stamp(13)),
        (3, stamp(8.2, west), stamp(13, west)),
    ]
    # pings at 9, 11 and 13; none; 9, and the missed one
    assert [(node["pings"], node["missed"]) for node in part["nodes"]] == [(3, 0), (0, 0), (2, 1)]
    assert [len(node["outages"]) for node in part["nodes"]] == [0, 0, 1]
    assert part["failovers"] == told(*night)["failovers"]


def test_what_lies_across_the_border_is_told_whole(night):
    whole, part = told(*night), told(*night, "--since", stamp(14), "--until", stamp(15))
    assert part["nodes"][2]["outages"] == whole["nodes"][2]["outages"]
    assert part["failovers"] == whole["failovers"]


def test_the_events_keep_to_the_window(night):
    text = diagnose(*night, "--since", stamp(8.2), "--until", stamp(13)).stdout.decode()
    lines = text[text.index("What happened") :].splitlines()
    assert [line.split()[0] for line in lines if line[:2].isdigit()] == ["22:47:08.300", "22:47:12.500"]


@pytest.mark.parametrize("arguments", [("--node", "2,3"), ("--node", "2", "--node", "3")])
def test_some_of_the_nodes(night, arguments):
    whole, part = told(*night), told(*night, *arguments)
    assert part["nodes"] == whole["nodes"][1:]
    assert part["failovers"] == whole["failovers"]


def test_a_node_s_failovers_are_those_that_it_has_to_do_with(night):
    assert told(*night, "--node", "3")["failovers"] == told(*night)["failovers"]
    part = told(*night, "--node", "7")
    assert (part["nodes"], part["failovers"]) == ([], [])


def test_a_takeover_that_goes_on_is_in_every_window_since(tmp_path):
    worker = Worker(1).start(0).say(10, "received", **recover(2, 1)).take(10.3, 2, ordered=10.1).ping(11, 99)
    part = told(worker.write(tmp_path / "node1"), "--since", stamp(50))
    assert [[each["outcome"] for each in one["attempts"]] for one in part["failovers"]] == [["taken"]]


def test_the_date_stands_with_times_of_other_days(tmp_path):
    folder = Worker(1).start(0).take(10, 2).ping(3 * 86400, 3 * 86400 + 40).write(tmp_path / "node1")
    text = diagnose(folder).stdout.decode()
    assert re.search(r"11-24 22:47:10\.000  node 1 took", text)
