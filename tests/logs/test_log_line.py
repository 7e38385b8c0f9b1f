"""A line of the logs: its form, what is escaped, where it is cut, and that it can be read back."""

from __future__ import annotations

import logging
import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from logs.format import LINE_LIMIT, LineError, escape, format_line, format_message, parse_line
from logs.handler import LineHandler, Message
from logs.redact import Redactor

UTC = timezone.utc
WHEN = datetime(2026, 11, 24, 22, 47, 1, 123999, tzinfo=UTC)

# st.text() leaves lone surrogates out; a JSON text may well hold them
any_text = st.text(st.characters(exclude_categories=()))
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,15}", fullmatch=True)
whens = st.builds(
    lambda when, minutes: when.replace(microsecond=when.microsecond // 1000 * 1000, tzinfo=timezone(minutes)),
    st.datetimes(datetime(1970, 1, 2), datetime(2999, 1, 1)),
    st.builds(lambda minutes: timedelta(minutes=minutes), st.integers(-14 * 60, 14 * 60)),
)
levels = st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
events = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)


def line_of(**fields):
    return format_line(WHEN, "INFO", "connected", fields)


def test_the_form_of_the_contract():
    when = WHEN.replace(tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
    fields = {"master": "http://10.9.0.10:5000", "sid": "kx3v", "transport": "websocket", "took_ms": 41.704}
    assert format_line(when, "INFO", "connected", fields) == (
        "[2026-11-24 22:47:01.123-0330] : [INFO] - "
        "[connected master=http://10.9.0.10:5000 sid=kx3v transport=websocket took_ms=41.7]"
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("10.9.0.2/24", "10.9.0.2/24"),
        ("Grüße→😀", "Grüße→😀"),
        ("", '""'),
        ("two words", '"two words"'),
        ('say "x"', r'"say \"x\""'),
        ("a]b", '"a]b"'),
        ("a=b", '"a=b"'),
        ("a\\b", r'"a\\b"'),
        ("a\n\r\tb", r'"a\n\r\tb"'),
        ("\x00\x1b[31m\x7f\x85", r'"\x00\x1b[31m\x7f\x85"'),
        ("\u2028\u2029\u202e\u2066\u200f", r'"\u2028\u2029\u202e\u2066\u200f"'),
        ("\ud800", r'"\ud800"'),
        (True, "true"),
        (3, "3"),
        (2.0, "2"),
        (2.345678, "2.35"),
        (float("nan"), "nan"),
        ({"a": [1, None, "ü"]}, r'"{\"a\":[1,null,\"ü\"]}"'),
        ([b"ab"], r'"[\"<2 bytes>\"]"'),
    ],
)
def test_a_value_as_it_is_written(value, written):
    assert line_of(key=value).endswith(f"[connected key={written}]")
    assert parse_line(line_of(key=value)).fields["key"] == (
        value if isinstance(value, str) else parse(written)
    )


def parse(written):
    return parse_line(f"[2026-11-24 22:47:01.123+0000] : [INFO] - [x key={written}]").fields["key"]


def test_a_field_that_is_none_is_left_out():
    assert line_of(a=None, b=1).endswith("[connected b=1]")


@given(whens, levels, events, st.dictionaries(keys, any_text, max_size=6))
@example(WHEN.replace(microsecond=123000), "INFO", "x", {"a": "…(3 bytes left out)", "b": "]"})
@example(WHEN.replace(microsecond=123000), "INFO", "x", {"a": "\ud83d\ude00", "b": "\\x41\\"})
def test_what_was_written_is_read_back(when, level, event, fields):
    line = format_line(when, level, event, fields)
    assert len(line.encode()) < 4096
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", line)
    entry = parse_line(line + "\n")
    if entry.left_out == 0:
        assert (entry.when, entry.level, entry.event, entry.fields) == (when, level, event, fields)
        assert entry.when.utcoffset() == when.utcoffset()


@given(
    st.dictionaries(keys, st.text(st.characters(exclude_categories=()), min_size=1), min_size=1, max_size=3),
    st.integers(1, 9000),
)
@example({"a": "ü"}, 2100)
@example({"a": "\x00"}, 1020)
@example({"a": "\n", "b": "x"}, 5000)
@example({"a": "…(3 bytes left out)"}, 500)
def test_a_long_line_is_cut_and_says_exactly_how_much_is_missing(fields, times):
    fields = {key: value * times for key, value in fields.items()}
    line = format_line(WHEN, "CRITICAL", "received", fields)
    assert len(line.encode()) <= 4095
    entry = parse_line(line)
    assert list(entry.fields) == list(fields)
    missing = sum(len(escape(value).encode()) for value in fields.values())
    missing -= sum(len(escape(value).encode()) for value in entry.fields.values())
    assert entry.left_out == missing
    for key, value in entry.fields.items():
        assert fields[key].startswith(value)
    if missing:
        assert len(line.encode()) > 4050  # no more is missing than has to be


def test_a_value_that_is_cut_keeps_its_quote_and_the_fields_after_it():
    line = line_of(event="news", data={"mark": "x" * 1_000_000}, order=7, reason="two words")
    assert re.search(r' data="\{\\"mark\\":\\"x+…\(\d+ bytes left out\)" order=7 reason="two words"\]$', line)
    assert len(line.encode()) in range(4050, 4096)
    entry = parse_line(line)
    assert entry.fields["order"] == "7"
    assert len(escape(entry.fields["data"])) + entry.left_out == 1_000_000 + len('{\\"mark\\":\\"\\"}')


def test_the_longest_value_is_cut_first():
    entry = parse_line(line_of(a="a" * 1000, b="b" * 9000, c="c" * 1000))
    assert (len(entry.fields["a"]), len(entry.fields["c"])) == (1000, 1000)
    assert 1900 < len(entry.fields["b"]) < 2100


@pytest.mark.parametrize("size", [8193, 13_990, 14_050, 104_000])
def test_a_value_whose_count_gets_one_digit_longer_is_cut_and_kept(size):
    """The redactor has left most of it out already; the digits of the count are those of 9,999 and 10,000."""
    for length in range(size, size + 150):
        message = format_message("received", {"data": "x" * length, "order": 7}, Redactor([]).excerpt)
        entry = parse_line(f"[2026-11-24 22:47:01.123+0000] : [INFO] - [{message}]")
        assert list(entry.fields) == ["data", "order"]
        assert len(entry.fields["data"]) + entry.left_out == length


def test_a_value_that_only_looks_cut_is_read_back():
    text = "x…(12 bytes left out)"
    for value in (text, text + text, f'{{"a":"{text}'):
        entry = parse_line(line_of(data=value))
        assert (entry.fields["data"], entry.left_out) == (value, 0)


def test_more_fields_than_a_line_has_room_for_make_it_no_longer():
    line = line_of(**{f"field{n}": "x" * 20 for n in range(500)})
    assert len(line.encode()) < LINE_LIMIT
    assert list(parse_line(line).fields) == [f"field{n}" for n in range(len(parse_line(line).fields))]


@pytest.mark.parametrize(
    ("end", "fields"),
    [
        (' data="[1,2…(99 bytes left out)', {"data": "[1,2"}),
        (" data=[1,2…(99 bytes left out)", None),
        (" data=12…(99 bytes left out)", {"data": "12"}),
        (" da…(99 bytes left out)", {}),
    ],
)
def test_a_line_that_version_1_0_cut_is_read(end, fields):
    text = f"[2026-11-24 22:47:01.123+0000] : [INFO] - [received event=x{end}]"
    if fields is None:
        with pytest.raises(LineError):
            parse_line(text)
        return
    entry = parse_line(text)
    assert (entry.fields, entry.left_out) == ({"event": "x", **fields}, 99)


def test_a_megabyte_is_cut_and_counted():
    text = "ab\n" * 400_000
    entry = parse_line(line_of(data=text))
    shown = escape(entry.fields["data"])
    assert len(shown) + entry.left_out == len(escape(text))
    assert text.startswith(entry.fields["data"])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        "[2026-11-24 22:47:01.123+0000] : [INFO] - []",
        "[2026-11-24 22:47:01.123+0000] : [INFO] - [Connected]",
        "[2026-11-24 22:47:01.123+0000] : [info] - [connected]",
        "[2026-11-24 22:47:01.123+0000] : [NOTICE] - [connected]",
        "[2026-11-24 22:47:01+0000] : [INFO] - [connected]",
        "[2026-11-24 22:47:01.123] : [INFO] - [connected]",
        "[2026-13-24 22:47:01.123+0000] : [INFO] - [connected]",
        "[2026-11-24 22:47:01.123+9999] : [INFO] - [connected]",
        "[2026-11-24 22:47:01.123+0000] : [INFO] - [connected",
        "[2026-11-24 22:47:01.123+0000] : [INFO] - [connected] x",
        "[2026-11-24 22:47:01.123+0000] : [INFO] - [connected a=b c]",
        "[2026-11-24 22:47:01.123+0000] : [INFO] - [connected a=b=c]",
        "[2026-11-24 22:47:01.123+0000] : [INFO] - [connected a=]",
        '[2026-11-24 22:47:01.123+0000] : [INFO] - [connected a="b]',
        '[2026-11-24 22:47:01.123+0000] : [INFO] - [connected a="\\q"]',
        "[2026-11-24 22:47:01.123+0000] : [INFO] - [connected a=\x1b]",
        "[2026-11-24 22:47:01.123+0000] : [INFO] - [connected]\n\n",
        "[2026-11-24 22:47:01.123+0000] : [INFO] - [connected]\n[2026-11-24 22:47:01.123+0000] : [INFO] - [x]",
        "[٢٠٢٦-11-24 22:47:01.123+0000] : [INFO] - [connected]",
    ],
)
def test_what_is_no_line(line):
    with pytest.raises(LineError):
        parse_line(line)


@given(any_text)
def test_any_text_is_a_line_or_a_line_error(text):
    for line in (text, f"[2026-11-24 22:47:01.123+0000] : [INFO] - [{text}]"):
        try:
            parse_line(line)
        except LineError:
            pass


@pytest.mark.parametrize(
    "make",
    [
        lambda: format_line(datetime(2026, 11, 24), "INFO", "x", {}),
        lambda: format_line(WHEN, "NOTICE", "x", {}),
        lambda: format_line(WHEN, "INFO", "two words", {}),
        lambda: format_line(WHEN, "INFO", "", {}),
        lambda: format_line(WHEN, "INFO", "x", {"a b": 1}),
        lambda: format_line(WHEN, "INFO", "x", {"": 1}),
    ],
)
def test_what_cannot_be_written(make):
    with pytest.raises(ValueError):
        make()


def test_data_too_deep_for_json_is_said_to_be():
    deep = current = []
    for _ in range(100_000):
        current.append([])
        current = current[0]
    assert "RecursionError" in format_message("received", {"data": deep})


@given(st.floats(0, 4e9))
@example(0.9999999)
@example(1764024421.9996)
def test_the_stamp_is_local_time_to_the_millisecond(now_s):
    record = logging.makeLogRecord({"created": now_s, "levelno": logging.INFO, "msg": Message("x", {})})
    when = parse_line(LineHandler({}, None, Redactor([])).format(record)).when
    assert -0.000001 < now_s - when.timestamp() < 0.0011  # a datetime has microseconds
    assert when.utcoffset() == datetime.fromtimestamp(now_s).astimezone().utcoffset()
