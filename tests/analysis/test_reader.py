"""The files of a folder: rotated, packed, damaged, foreign, growing."""

from __future__ import annotations

import gzip
import os
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.parser import Line, Ping
from analysis.reader import BLOCK, EXPANSION, Folder, Tail
from logs.format import format_line
from tests.analysis.logs import DAMAGED, PIECES, Worker, at


def said(second, **fields):
    return format_line(at(second), "INFO", "said", fields)


def read(path):
    folder = Folder(path)
    items = [item for log in ("comms", "ping") for item in folder.read(log)]
    folder.finish()
    return folder, items


def put(path, *lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def marks(items):
    return [item.fields["mark"] for item in items]


def test_rotated_and_gzipped_files_are_read_oldest_first(tmp_path):
    put(tmp_path / "comms.log", said(12, mark="12"))
    for number in range(1, 12):
        put(tmp_path / f"comms.log.{number}", said(12 - number, mark=str(12 - number)))
    packed = tmp_path / "comms.log.11"
    (tmp_path / "comms.log.11.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    folder, items = read(tmp_path)
    assert marks(items) == [str(number) for number in range(1, 13)]
    assert (folder.readable, folder.unreadable, folder.faults) == (12, 0, [])


def test_files_that_begin_in_one_millisecond_are_read_by_their_number(tmp_path):
    for number in (10, 9, 2, 1):
        put(tmp_path / f"comms.log.{number}", said(0, mark=str(number)))
    put(tmp_path / "comms.log", said(0, mark="0"))
    assert marks(read(tmp_path)[1]) == ["10", "9", "2", "1", "0"]


def test_a_file_that_is_just_being_gzipped_is_read_once(tmp_path):
    put(tmp_path / "comms.log.1", said(1, mark="1"))
    (tmp_path / "comms.log.1.gz").write_bytes(gzip.compress((tmp_path / "comms.log.1").read_bytes())[:-9])
    put(tmp_path / "comms.log", said(2, mark="2"))
    folder, items = read(tmp_path)
    assert marks(items) == ["1", "2"]
    assert folder.faults == []


def test_an_old_gzipped_file_beside_a_newer_one_of_its_number_is_read_before_it(tmp_path):
    (tmp_path / "comms.log.1.gz").write_bytes(gzip.compress((said(1, mark="1") + "\n").encode()))
    put(tmp_path / "comms.log.2", said(2, mark="2"))
    put(tmp_path / "comms.log.1", said(3, mark="3"))
    put(tmp_path / "comms.log", said(4, mark="4"))
    assert marks(read(tmp_path)[1]) == ["1", "2", "3", "4"]


def test_logrotate_s_dated_files_are_read_and_others_named(tmp_path):
    put(tmp_path / "comms.log-20261124", said(1, mark="1"))
    put(tmp_path / "comms.log", said(2, mark="2"))
    (tmp_path / "comms.log.1.xz").write_bytes(b"packed otherwise")
    folder, items = read(tmp_path)
    assert marks(items) == ["1", "2"]
    assert [str(tmp_path / "comms.log.1.xz") in note for note in folder.notes] == [True]


def test_lines_of_one_millisecond_keep_their_order(tmp_path):
    put(tmp_path / "comms.log", *(said(1, mark=mark) for mark in "cabde"))
    assert "".join(marks(read(tmp_path)[1])) == "cabde"


def test_a_zone_is_kept_and_its_time_the_same(tmp_path):
    zone = timezone(timedelta(hours=5, minutes=30))
    folder = Worker(1, zone).say(7, "connecting").ping(8, 8).write(tmp_path)
    line, ping = read(folder)[1]
    assert (line.at, line.zone) == (at(7).timestamp(), zone)
    assert (ping.at, ping.zone) == (at(8).timestamp(), zone)


@pytest.mark.parametrize("damage", DAMAGED, ids=range(len(DAMAGED)))
@pytest.mark.parametrize("log", ["ping.log", "comms.log"])
def test_a_line_that_does_not_fit_is_counted_and_the_next_is_read(tmp_path, log, damage):
    good = format_line(at(1), "INFO", "ping", {"seq": 1, "rtt_ms": 1.5}).encode()
    (tmp_path / log).write_bytes(good + b"\n" + damage + b"\n" + good + b"\n")
    folder, items = read(tmp_path)
    assert (len(items), folder.readable, folder.unreadable) == (2, 2, 1)


def test_the_end_of_a_line_that_is_too_long_is_no_line_of_its_own(tmp_path):
    (tmp_path / "comms.log").write_bytes(b"z" * (2 * BLOCK) + said(1).encode() + b"\n" + said(2).encode())
    folder, items = read(tmp_path)
    assert [item.at for item in items] == [at(2).timestamp()]
    assert (folder.readable, folder.unreadable) == (1, 1)


def test_a_line_that_is_still_being_written_is_counted_as_it_is(tmp_path):
    whole = said(1, mark="1")
    (tmp_path / "comms.log").write_text(whole + "\n" + whole[:30])
    folder, _ = read(tmp_path)
    assert (folder.readable, folder.unreadable) == (1, 1)
    (tmp_path / "comms.log").write_text(whole + "\n" + whole)
    folder, _ = read(tmp_path)
    assert (folder.readable, folder.unreadable) == (2, 0)


def test_windows_line_ends_are_read(tmp_path):
    ping = format_line(at(1), "INFO", "ping", {"seq": 1, "rtt_ms": 1.5})
    (tmp_path / "ping.log").write_bytes(f"{ping}\r\n{said(2)}\r\n".encode())
    folder, items = read(tmp_path)
    assert [type(item) for item in items] == [Ping, Line]
    assert folder.unreadable == 0


def test_what_stands_before_the_damage_of_a_gzip_file_is_read_and_the_file_named(tmp_path):
    lines = "".join(said(second / 1000, mark=os.urandom(20).hex()) + "\n" for second in range(5000))
    packed = gzip.compress(lines.encode())
    (tmp_path / "comms.log.1.gz").write_bytes(packed[: len(packed) // 2])
    put(tmp_path / "comms.log", said(9, mark="last"))
    folder, items = read(tmp_path)
    assert 1000 < len(items) < 5000
    assert marks(items)[-1] == "last"
    assert [str(tmp_path / "comms.log.1.gz") in fault for fault in folder.faults] == [True]


def test_a_file_is_unpacked_only_where_its_name_and_its_bytes_say_so(tmp_path):
    put(tmp_path / "comms.log.1.gz", said(1, mark="plain"))
    (tmp_path / "comms.log").write_bytes(b"\x1f\x8b\x08\n" + said(2, mark="damaged").encode())
    folder, items = read(tmp_path)
    assert marks(items) == ["plain", "damaged"]
    assert (folder.unreadable, folder.faults) == (1, [])


def folder_that_is_missing(path):
    return path / "nowhere"


def folder_that_is_a_file(path):
    put(path / "file", said(1))
    return path / "file"


def folder_that_is_empty(path):
    return path


def folder_with_empty_logs(path):
    put(path / "ping.log")
    put(path / "comms.log")
    return path


def folder_of_rubbish(path):
    put(path / "comms.log", "rubbish")
    return path


def folder_with_a_pipe(path):
    # opening it would wait for a writer forever
    os.mkfifo(path / "comms.log")
    return path


@pytest.mark.parametrize(
    "make",
    [
        folder_that_is_missing,
        folder_that_is_a_file,
        folder_that_is_empty,
        folder_with_empty_logs,
        folder_of_rubbish,
        folder_with_a_pipe,
    ],
)
def test_a_folder_without_anything_to_read_is_named(tmp_path, make):
    path = make(tmp_path)
    folder, items = read(path)
    assert items == []
    assert [str(path) in fault for fault in folder.faults] == [True]


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_read(tmp_path):
    put(tmp_path / "comms.log", said(1, mark="1"))
    (tmp_path / "comms.log.1").mkdir()
    folder, items = read(tmp_path)
    assert marks(items) == ["1"]
    assert [str(tmp_path / "comms.log.1") in fault for fault in folder.faults] == [True]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("node3", 3),
        ("3", 3),
        ("worker-04", 4),
        ("logs", None),
        ("2026-11-24", None),
        ("2026-11-24-node5", 5),
        ("node1-node2", None),
        ("node" + "9" * 30, None),
    ],
)
def test_the_number_in_a_folder_s_name(tmp_path, name, number):
    assert Folder(tmp_path / name).number == number


def test_what_a_small_packed_file_expands_to_is_bounded(tmp_path):
    packed = gzip.compress(b"[\n" * 15_000_000, 9)
    (tmp_path / "comms.log.1.gz").write_bytes(packed)
    put(tmp_path / "comms.log", said(1, mark="1"))
    folder, items = read(tmp_path)
    assert marks(items) == ["1"]
    assert folder.unreadable < EXPANSION * len(packed) + 5_000_000
    assert [f"expands to more than {EXPANSION} times its size" in fault for fault in folder.faults] == [True]


def test_names_of_files_are_escaped(tmp_path):
    path = tmp_path / "a\x1b]0;x\x07"
    folder, _ = read(path)
    assert folder.name.endswith(r"a\x1b]0;x\x07")
    assert not [fault for fault in folder.faults if "\x1b" in fault]


@given(
    pieces=st.lists(PIECES), end=st.sampled_from([b"", b"\n"]), log=st.sampled_from(["ping.log", "comms.log"])
)
def test_every_line_of_any_bytes_is_counted_once(tmp_path_factory, pieces, end, log):
    path = tmp_path_factory.mktemp("logs")
    text = b"\n".join(pieces) + end
    (path / log).write_bytes(text)
    folder, items = read(path)
    lines = text.count(b"\n") + (not text.endswith(b"\n") and text != b"")
    assert folder.readable + folder.unreadable == lines
    assert len(items) == folder.readable


def test_a_ping_s_short_form_says_what_the_long_one_does(tmp_path):
    """One with a further field is read by the general parser."""
    fields = {"seq": 7, "rtt_ms": 12.25}
    put(
        tmp_path / "ping.log",
        *(format_line(at(3), "INFO", "ping", {**fields, **more}) for more in ({}, {"x": 1}, {"late": True})),
    )
    short, long, late = read(tmp_path)[1]
    assert short == long == Ping(at(3).timestamp(), timezone.utc, 12.25, False, "7")
    assert late == short._replace(late=True)


# a log that grows


def write(path, *lines, mode="a"):
    with open(path, mode, encoding="utf-8") as file:
        file.write("".join(line + "\n" for line in lines))


@pytest.fixture
def tail(tmp_path):
    write(tmp_path / "x.log", "old")
    tail = Tail(tmp_path / "x.log")
    tail.skip()
    return tail


def test_a_tail_begins_behind_the_last_whole_line(tail, tmp_path):
    assert tail.lines() == []
    with open(tmp_path / "x.log", "a") as file:
        file.write("half")
    assert tail.lines() == []
    write(tmp_path / "x.log", " whole", "next")
    assert tail.lines() == [b"half whole", b"next"]


def test_a_tail_follows_a_rotation_and_hears_the_last_words_of_a_writer_that_has_not_noticed(tail, tmp_path):
    write(tmp_path / "x.log", "1")
    os.replace(tmp_path / "x.log", tmp_path / "x.log.1")
    assert tail.lines() == [b"1"]
    write(tmp_path / "x.log", "3")
    write(tmp_path / "x.log.1", "2")
    assert sorted(tail.lines() + tail.lines()) == [b"2", b"3"]


def test_a_tail_stays_with_a_moved_file_until_its_writer_has_left_it(tail, tmp_path):
    os.replace(tmp_path / "x.log", tmp_path / "x.log.1")
    write(tmp_path / "x.log")  # as logrotate's `create` makes it
    assert tail.lines() == []
    write(tmp_path / "x.log.1", "1")
    assert tail.lines() == [b"1"]
    write(tmp_path / "x.log.1", "2")
    write(tmp_path / "x.log", "3")
    assert tail.lines() == [b"2", b"3"]
    write(tmp_path / "x.log", "4")
    assert tail.lines() == [b"4"]


def test_a_tail_reads_a_file_that_was_cut_anew(tail, tmp_path):
    write(tmp_path / "x.log", "1")
    assert tail.lines() == [b"1"]
    write(tmp_path / "x.log", mode="w")
    tail.lines()
    write(tmp_path / "x.log", "2")
    assert tail.lines() == [b"2"]


def test_a_tail_waits_for_a_file_and_passes_over_a_pipe(tmp_path):
    tail = Tail(tmp_path / "y.log")
    tail.skip()
    assert tail.lines() == []
    os.mkfifo(tmp_path / "y.log")
    assert tail.lines() == []
    os.unlink(tmp_path / "y.log")
    write(tmp_path / "y.log", "1")
    assert tail.lines() == [b"1"]
