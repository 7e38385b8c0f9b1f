import json
from datetime import datetime, timedelta, timezone

import pytest

from story.window import parse_nodes, parse_time
from tests.story_logs import Worker, a_night, at, recover, stamp
from tests.test_diagnose import diagnose

NOW = datetime(2026, 11, 25, 8, 30, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-11-24T22:47:01.123+00:00", at(1.123)),
        ("2026-11-24 22:47:01.123+0000", at(1.123)),
        ("2026-11-24 22:47:01,123Z", at(1.123)),
        ("2026-11-24T22:47Z", at(0)),
        ("2026-11-24T17:47-05:00", at(0)),
        ("2026-11-24Z", at(0).replace(hour=0, minute=0)),
        ("now", NOW),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("1d2h3m4s ago", NOW - timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("07:15+01:00", NOW.replace(hour=7, minute=15)),
        # one that is still to come today was meant of yesterday
        ("22:15+01:00", NOW.replace(day=24, hour=22, minute=15)),
    ],
)
def test_times_as_people_write_them(text, when):
    assert parse_time(text, NOW) == when


def test_a_time_without_an_offset_is_local():
    assert parse_time("2026-11-24 22:47", NOW) == datetime(2026, 11, 24, 22, 47).astimezone()
    assert parse_time("2026-07-24", NOW) == datetime(2026, 7, 24).astimezone()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "h",
        "ago",
        "2x",
        "-2h",
        "25:00",
        "2026-02-30",
        "2026-11-24T22:47+25:00",
        "0000-01-01",
        "9" * 40,
    ],
)
def test_what_is_no_time_is_named_with_the_remedy(text):
    with pytest.raises(ValueError, match=r"(?s)no time.*2026-11-24T22:47") as caught:
        parse_time(text, NOW)
    assert repr(text) in str(caught.value)


def test_node_numbers():
    assert parse_nodes("1, 3,12") == {1, 3, 12}
    for text in ("", "1,", "one", "-1", "²", "9" * 12):
        with pytest.raises(ValueError, match="no node's number; give one such as 3"):
            parse_nodes(text)


@pytest.fixture
def night(tmp_path):
    return a_night(tmp_path)


def story(*arguments):
    done = diagnose(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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
    assert done.returncode == 2
    assert done.stdout == b""
    assert arguments[-1].encode() in done.stderr or b"--follow" in done.stderr or b"--until" in done.stderr


def test_a_part_of_the_time(night):
    """From 8.2 s to 13 s: node 3's refusal and node 2's last ping lie before."""
    told = story(*night, "--since", stamp(8.2), "--until", stamp(13))
    assert [(node["node"], node["from"], node["to"]) for node in told["nodes"]] == [
        (1, stamp(8.2), stamp(13)),
        (2, stamp(8.2), stamp(13)),
        (3, stamp(8.2, timezone(timedelta(hours=-5))), stamp(13, timezone(timedelta(hours=-5)))),
    ]
    # pings at 9, 11 and 13; none; 9
    assert [(node["pings"], node["missed"]) for node in told["nodes"]] == [(3, 0), (0, 0), (2, 1)]
    assert [len(node["outages"]) for node in told["nodes"]] == [0, 0, 1]
    assert [node["availability"] for node in told["nodes"]] == [
        100,
        0,
        pytest.approx(100 * 4.3 / 4.8, abs=0.01),
    ]
    # one failover across nodes, with the order that was refused before
    assert [(one["recovery_node"], one["outcome"]) for one in told["failovers"]] == [
        (3, "refused"),
        (1, "taken"),
    ]
    assert told["absences"][0]["failovers"] == [0, 1]


def test_what_lies_across_the_border_is_told_whole(night):
    whole = story(*night)
    told = story(*night, "--since", stamp(14), "--until", stamp(15))
    assert told["nodes"][2]["outages"] == whole["nodes"][2]["outages"][1:]
    assert (told["failovers"], told["absences"]) == (whole["failovers"], whole["absences"])
    assert told["nodes"][1]["silences"] == whole["nodes"][1]["silences"]


def test_the_time_line_keeps_to_the_window(night):
    text = diagnose(*night, "--since", stamp(8.2), "--until", stamp(13)).stdout.decode()
    lines = text[text.index("What happened") :].splitlines()
    assert [line.split()[0] for line in lines if line[:2].isdigit()] == ["22:47:08.300", "22:47:12.500"]


def test_a_node_without_a_line_of_that_time_is_named(night):
    for name in ("ping.log", "comms.log"):
        lines = (night[1] / name).read_text().splitlines(keepends=True)
        (night[1] / name).write_text("".join(line for line in lines if line < "[2026-11-24 22:47:10"))
    told = story(*night, "--since", stamp(25))
    assert [node["node"] for node in told["nodes"]] == [1, 3]
    assert "The log of node 2 has no line of that time." in told["unknown"]


@pytest.mark.parametrize("arguments", [("--node", "2,3"), ("--node", "2", "--node", "3")])
def test_some_of_the_nodes(night, arguments):
    whole, told = story(*night), story(*night, *arguments)
    assert told["nodes"] == whole["nodes"][1:]
    assert told["failovers"] == whole["failovers"]


def test_a_node_s_failovers_are_those_that_it_has_to_do_with(night):
    """Whole, with the orders at others: else one of them would hold the address without an order."""
    whole, told = story(*night), story(*night, "--node", "3")
    assert (told["failovers"], told["absences"]) == (whole["failovers"], whole["absences"])
    text = " ".join(diagnose(*night, "--node", "3").stdout.decode().split())
    assert "orders: node 3 (refused) and node 1 (taken); held by node 1 from" in text
    told = story(*night, "--node", "7")
    assert (told["nodes"], told["failovers"]) == ([], [])
    assert "No log of node 7 was given." in told["unknown"]


def test_files_of_pings_that_end_before_are_passed_over(tmp_path):
    """What they hold is not even looked at; the connection is known all the same."""
    folder = Worker(1).start(0).ping(101, 199).write(tmp_path / "node1")
    (folder / "ping.log.1").write_bytes(b"not looked at\n" * 1000)
    older = Worker(1).ping(1, 99)
    (folder / "ping.log.1").write_text(older.lines["ping.log"][0] + "\n" + "not looked at\n" * 1000)
    told = story(folder, "--since", stamp(150))
    assert (told["unreadable_lines"], told["nodes"][0]["pings"], told["nodes"][0]["availability"]) == (
        0,
        25,
        100,
    )
    assert story(folder)["unreadable_lines"] == 1000


def test_a_takeover_that_goes_on_is_in_every_window_since(tmp_path):
    worker = Worker(1).start(0).say(10, "received", **recover(2, 1)).take(10.3, 2, ordered=10.1).ping(11, 99)
    told = story(worker.write(tmp_path / "node1"), "--since", stamp(50))
    assert [one["outcome"] for one in told["failovers"]] == ["taken"]


GONE = {
    "killed": lambda worker: worker.start(100),
    "without the master": lambda worker: worker.say(
        44, "disconnected", reason="3 pings in a row without an answer"
    ).say(100, "connected", master="m"),
    "frozen": lambda worker: (
        worker.say(99, "was_frozen", reason="the process stood still for 60 s")
        .say(99, "disconnected", reason="x")
        .say(100, "connected", master="m")
    ),
}


@pytest.mark.parametrize("how", GONE)
def test_since_when_a_node_was_away_is_told_by_its_last_ping_in_a_file_that_ends_before(tmp_path, how):
    first = Worker(1).start(0).ping(1, 139).take(45, 2).release(130, 2).write(tmp_path / "node1")
    worker = GONE[how](Worker(2).start(0).ping(1, 39)).ping(101, 139)
    second = worker.write(tmp_path / "node2")
    pings = worker.lines["ping.log"]
    (second / "ping.log.1").write_text("".join(f"{line}\n" for line in pings[:20]))
    (second / "ping.log").write_text("".join(f"{line}\n" for line in pings[20:]))
    whole, told = story(first, second), story(first, second, "--since", stamp(120))
    assert told["absences"] == whole["absences"]
    assert told["absences"][0]["start"] == stamp(39)


def test_the_date_stands_with_times_of_other_days(tmp_path):
    """A takeover of three days before --since is still held."""
    worker = Worker(1).start(0).take(10, 2).ping(3 * 86400, 3 * 86400 + 40)
    folder = worker.write(tmp_path / "node1")
    text = diagnose(folder, "--since", stamp(3 * 86400 + 10)).stdout.decode()
    assert "11-24 22:47:09.997" in text
    assert "held by node 1 from 11-24 22:47:10.000" in " ".join(text.split())
    text = diagnose(folder, "--since", stamp(3 * 86400 + 10), "--node", "1", "--until", stamp(3 * 86400 + 20))
    assert "11-27 22:47:10" in text.stdout.decode()


def test_why_there_is_nothing_to_tell(night):
    def headline(*arguments):
        return diagnose(*night, *arguments).stdout.decode().splitlines()[0].strip()

    assert headline("--since", stamp(500)) == (
        "Nothing to tell: no line is of that time, 0 lines did not fit."
    )
    assert headline("--node", "7") == "Nothing to tell: no log of node 7 was given, 0 lines did not fit."
    assert headline("--node", "7,8").startswith("Nothing to tell: no log of nodes 7 and 8 was given, ")


def test_the_failovers_of_a_node_without_a_log(night, tmp_path):
    page = tmp_path / "page.html"
    text = diagnose(night[0], night[2], "--node", "2", "--html", page).stdout.decode()
    headline, _, rest = text.partition("\n")
    assert headline.startswith("No log of node 2 was given, from 2026-11-24 17:47:08 -0500 on: 2 failovers, ")
    assert "17:47:08.300  node 1 took 10.9.0.2/24 for node 2" in rest
    assert "10.9.0.2/24" in page.read_text()


def test_orders_about_another_absence_are_left_out(tmp_path):
    first = Worker(1).start(0).take(10, 2).release(30, 2).ping(1, 139)
    third = Worker(3).start(0).take(60, 4).release(80, 4).ping(1, 139)
    folders = [worker.write(tmp_path / f"node{worker.node}") for worker in (first, third)]
    told = story(*folders, "--node", "3")
    assert [one["disconnected_node"] for one in told["failovers"]] == [4]
    assert [(one["node"], one["failovers"]) for one in told["absences"]] == [(4, [0])]
