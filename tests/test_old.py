"""Lines of the scripts of 2020, in both of their forms."""

import time
from datetime import datetime

import pytest

from story.episodes import as_json
from story.reading import Folder
from story.timeline import Diary, tell
from story.words import remarks

FORMS = ("[{}] [{}] [{}] - {}", "[{}] - [{}] - [{}] - {}")


def put(folder, log, *lines, form=FORMS[0]):
    """`lines`: the second and the text of each."""
    folder.mkdir(exist_ok=True)
    stamps = [
        f"2020-05-17 12:{int(second) // 60:02d}:{second % 60:06.3f}".replace(".", ",") for second, _ in lines
    ]
    texts = [form.format(stamp, "client", "INFO", text) for stamp, (_, text) in zip(stamps, lines)]
    (folder / log).write_text("".join(text + "\n" for text in texts), encoding="utf-8")


def told(folder):
    reading = Folder(folder)
    diary = Diary("logs", reading.number)
    diary.read(reading.items())
    assert reading.faults == []
    story = tell([diary], reading.unreadable, reading.unreadable_by, reading.old)
    return story, as_json(story)


def at(second):
    when = datetime(2020, 5, 17, 12, int(second) // 60, int(second) % 60, round(second % 1 * 1e6))
    return when.astimezone().isoformat(timespec="milliseconds")


@pytest.mark.parametrize("form", FORMS)
def test_connections_of_their_client_library(tmp_path, form):
    put(
        tmp_path / "node2",
        "comms.log",
        (1, "Attempting polling connection to http://10.9.0.10:5000/socket.io/?transport=polling&EIO=3"),
        (1.5, "Engine.IO connection established"),
        (1.6, "Namespace / is connected"),
        (60, "WebSocket connection was closed, aborting"),
        (60.1, "Engine.IO connection dropped"),
        (60.2, "Exiting read loop task"),
        (61, "Connection failed, new attempt in 0.92 seconds"),
        (62, "Attempting polling connection to http://10.9.0.10:5000/socket.io/?transport=polling&EIO=3"),
        (62.5, "Reconnection successful"),
        form=form,
    )
    _, object_ = told(tmp_path / "node2")
    (node,) = object_["nodes"]
    assert object_["unreadable_lines"] == 0
    assert (node["node"], node["from"], node["to"]) == (2, at(1), at(62.5))
    assert [(one["start"], one["end"], one["cause"]) for one in node["outages"]] == [
        (at(1), at(1.5), "unknown"),
        (at(60), at(62.5), "master gone"),
    ]


@pytest.mark.parametrize(
    ("texts", "pings", "missed", "slowest"),
    [
        (["ping sent", "pong received"], 1, 0, 1000.0),
        (["ping", "ping", "ping"], 3, 0, None),
        (["Ping sent: 2020-05-17 12:00:01.1234", "ping acknowledged"], 1, 0, 1000.0),
        (["ping: 12.5 ms", "latency 0.5 s"], 2, 0, 500.0),
        (['Emitting event "ping" [/]', "ping timed out"], 1, 1, None),
        (["pong"], 0, 0, None),
    ],
)
def test_pings_as_far_as_they_go(tmp_path, texts, pings, missed, slowest):
    put(tmp_path / "node1", "ping.log", *enumerate(texts, 1))
    (node,) = told(tmp_path / "node1")[1]["nodes"]
    assert (node["pings"], node["missed"], node["rtt_ms"]["max"]) == (pings, missed, slowest)


def test_a_takeover_in_json_and_as_python_writes_it(tmp_path):
    order = (
        '{"disconnected_node": 2, "recovery_node": "1", "ip": "10.9.0.2", "netmask": "255.255.255.0", '
        '"active_neighbors": ["1"]}'
    )
    answer = (
        "{'system': 'a', 'NODE_ID': 1, 'secondary_ip': '10.9.0.2', 'status': None, 'disconnected_node': 2}"
    )
    put(
        tmp_path / "logs",
        "comms.log",
        (1, "emit join {'NODE_ID': 1, 'secondary_ip': None}"),
        (10, f"recover received: {order}"),
        (10.4, f"emitting update node: {answer}"),
        (30, "received restore {'restore_node': 2}"),
        (30.2, "sent restore node {'NODE_ID': 1, 'restore_node': 2, 'status': True}"),
    )
    _, object_ = told(tmp_path / "logs")
    assert [node["node"] for node in object_["nodes"]] == [1]
    (one,) = object_["failovers"]
    assert (one["disconnected_node"], one["recovery_node"], one["address"]) == (2, 1, "10.9.0.2/24")
    assert (one["outcome"], one["received"], one["taken"], one["released"]) == (
        "taken",
        at(10),
        at(10.4),
        at(30.2),
    )


def test_a_takeover_that_failed(tmp_path):
    order = "{'disconnected_node': 2, 'recovery_node': '1', 'ip': '10.9.0.2', 'netmask': '255.255.255.0'}"
    put(tmp_path / "node1", "comms.log", (1, f"got {order}"), (2, f"emit {order[:-1]}, 'error': 'no sudo'}}"))
    (one,) = told(tmp_path / "node1")[1]["failovers"]
    assert (one["outcome"], one["reason"]) == ("failed", "no sudo")


def test_a_text_that_says_nothing_known_is_read_and_says_nothing(tmp_path):
    put(tmp_path / "node1", "comms.log", (1, "hello"), (2, "update {'a': 1}"), (3, "client stopped"))
    story, object_ = told(tmp_path / "node1")
    (node,) = object_["nodes"]
    assert (node["from"], node["to"], node["availability"], node["outages"]) == (at(1), at(3), 0, [])
    assert object_["unreadable_lines"] == 0
    assert remarks(story)[0].startswith(
        "3 lines of the scripts before this worker were read as far as the words go"
    )


def test_both_kinds_in_one_folder(tmp_path):
    """As on the day of the upgrade, with the worker's LOG_DIR where the scripts wrote."""
    put(tmp_path / "node1", "comms.log", (1, "connected"))
    with (tmp_path / "node1" / "comms.log").open("a") as file:
        file.write("[2026-11-24 22:47:01.123+0000] : [INFO] - [started node=1 version=1.0.0]\n")
    (node,) = told(tmp_path / "node1")[1]["nodes"]
    assert node["node"] == 1
    assert len(node["silences"]) == 1


@pytest.mark.parametrize(
    "line",
    [
        "[2020-05-17 12:34:56,789] [client] [INFO] -",
        "[2020-05-17 12:34:56.789] [client] [INFO] - connected",
        "[2020-02-30 12:34:56,789] [client] [INFO] - connected",
        "2020-05-17 12:34:56,789 - client - INFO - connected",
        "[2020-05-17 12:34:56,789] [client] [INFO] - \x1b[31mconnected",
    ],
)
def test_what_is_almost_one_is_counted(tmp_path, line):
    put(tmp_path / "node1", "comms.log", (1, "connected"))
    with (tmp_path / "node1" / "comms.log").open("a") as file:
        file.write(line + "\n")
    assert told(tmp_path / "node1")[1]["unreadable_lines"] == 1


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def local(folder, *times):
    folder.mkdir(exist_ok=True)
    text = "".join(f"[2020-10-25 {when},500] [client] [INFO] - pong 12 ms\n" for when in times)
    (folder / "ping.log").write_text(text)
    return told(folder)[1]["nodes"][0]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process cannot be set here")
@pytest.mark.parametrize(
    ("times", "to", "steps"),
    [
        (("01:59:50", "02:30:00", "02:59:50", "02:00:10", "02:59:00"), "02:59:00.500+01:00", []),
        (("02:59:50", "02:00:10", "03:00:10"), "03:00:10.500+01:00", []),
        (("02:30:00", "02:30:00", "02:29:59"), "02:29:59.500+02:00", []),
        (("03:59:50", "03:00:10"), "03:00:10.500+01:00", [-3580]),
    ],
)
def test_the_end_of_summer_time_puts_no_clock_back(tmp_path, berlin, times, to, steps):
    node = local(tmp_path, *times)
    assert node["to"] == f"2020-10-25T{to}"
    assert [one["seconds"] for one in node["clock_steps"]] == steps


def test_a_day_of_them_is_read_quickly(tmp_path):
    lines = [
        f"[2020-05-17 {s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d},5] ".replace(",5", ",500")
        for s in range(43200)
    ]
    (tmp_path / "ping.log").write_text("".join(f"{line}[ping] [INFO] - pong 12 ms\n" for line in lines))
    began_s = time.process_time()
    (node,) = told(tmp_path)[1]["nodes"]
    assert node["pings"] == 43200
    assert time.process_time() - began_s < 5
