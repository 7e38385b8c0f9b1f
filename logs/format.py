r"""One line of a log: `[TIMESTAMP] : [LEVEL] - [event key=value …]`, written and read back.

Fields are logfmt. A value that is empty or holds white space, a quote, a backslash, `]`, `=` or a character
that is escaped stands in quotes, with the escapes `\n \r \t \" \\ \xHH \uHHHH`; every other value stands
bare, to the letter. No I/O.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LINE_LIMIT = 4096
"""Bytes of a line at the most, its newline included."""
_FRAME = len("[2026-11-24 22:47:01.123+0000] : [CRITICAL] - []\n")
_BODY_LIMIT = LINE_LIMIT - _FRAME
_LEFT_OUT = "…({} bytes left out)"

# C0, DEL and C1 controls, line and paragraph separators, bidirectional controls (UAX #9), lone surrogates
_UNSAFE = "\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_TO_ESCAPE = re.compile(f'["\\\\{_UNSAFE}]')
_TO_QUOTE = re.compile(f'[\\s"\\\\\\]=\\[{_UNSAFE}]')
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_UNNAMED = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}

_ESCAPED = r'\\(?:[nrt"\\]|x[0-9a-f]{2}|u[0-9a-f]{4})'
_ESCAPE = re.compile(_ESCAPED)
_WHOLE_ESCAPES = re.compile(rf"(?:[^\\]|{_ESCAPED})*")
_LINE = re.compile(
    r"\[((\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d))\.(\d{3})([+-]\d{4})\] : "
    rf"\[({'|'.join(LEVELS)})\] - \[([a-z][a-z0-9_]*)(.*)\]",
    re.ASCII,
)
_FIELD = re.compile(
    rf' ([A-Za-z_][A-Za-z0-9_]*)=(?:"((?:[^"\\{_UNSAFE}]|{_ESCAPED})*)"|([^\s"\\\]=\[{_UNSAFE}]+))(?= |$)'
)
_CUT_FIELD = re.compile(
    rf' (?:([A-Za-z_][A-Za-z0-9_]*)(?:=(?:"((?:[^"\\{_UNSAFE}]|{_ESCAPED})*)|([^\s"\\\]=\[{_UNSAFE}]*))"?)?)?$'
)
_CUT = re.compile(r"…\(([0-9]{1,18}) bytes left out\)$")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@lru_cache(maxsize=1024)
def _is(pattern: re.Pattern[str], name: str) -> bool:
    """Kept, since a program has few names and writes many lines."""
    return pattern.fullmatch(name) is not None


class LineError(ValueError):
    """A text that is no line of these logs; says what does not fit."""


@dataclass(frozen=True)
class Entry:
    """A line read back. `when` has the line's own offset; `fields` are texts as they were before escaping;
    `left_out` is the number of bytes that were cut off its message, 0 for a whole line (the last field of a
    cut line may be incomplete).
    """

    when: datetime
    level: str
    event: str
    fields: Mapping[str, str]
    left_out: int = 0


def _escape_one(match: re.Match[str]) -> str:
    char = match.group()
    named = _NAMED.get(char)
    if named:
        return named
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"


def _unescape_one(match: re.Match[str]) -> str:
    code = match.group()
    return _UNNAMED[code[1]] if len(code) == 2 else chr(int(code[2:], 16))


def escape(text: str) -> str:
    """`text` with everything escaped that may not stand raw in a line."""
    if text.isprintable():  # which nothing is that has to be escaped, but for these two
        return text.replace("\\", "\\\\").replace('"', '\\"')
    return _TO_ESCAPE.sub(_escape_one, text)


def _size(text: str, start: int = 0) -> int:
    """Bytes of `text` from `start` on, escaped, as UTF-8; in slices, so that a megabyte is not in memory twice."""
    step = 65536
    return sum(len(escape(text[at : at + step]).encode()) for at in range(start, len(text), step))


def as_text(value: object) -> str:
    """A field's value as text: containers as compact JSON, floats with at most two decimals."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = f"{value:.2f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, (dict, list, tuple)):
        return compact_json(value)
    return str(value)


def compact_json(data: object) -> str:
    """`data` as JSON without spaces; bytes as a text that gives their number, what JSON cannot say by its repr.

    Never raises: what is nested too deeply to be written says so.
    """

    def other(value: object) -> str:
        return f"<{len(value)} bytes>" if isinstance(value, (bytes, bytearray)) else repr(value)

    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=other)
    except (RecursionError, ValueError, TypeError) as exc:
        return f"<data that JSON cannot say: {type(exc).__name__}>"


def format_message(
    event: str, fields: Mapping[str, object], redact: Callable[[str], str] = str, margin: int = 0
) -> str:
    """The message of a line: the event's name, then its fields; those that are None are left out.

    `redact` replaces secrets in each value; `margin` is the length of the longest text that it replaces, so
    that none is cut in two and missed. Raises ValueError for a name that can be none.
    """
    if not _is(_NAME, event):
        raise ValueError(f"{event!r} is no name of an event")
    parts = [event]
    rest = 0
    for key, value in fields.items():
        if value is None:
            continue
        if not _is(_KEY, key):
            raise ValueError(f"{key!r} is no name of a field")
        text = as_text(value)
        if rest:
            quotes = 2 if not text or _TO_QUOTE.search(text) else 0
            rest += _size(text) + len(f" {key}=") + quotes
        elif len(text) > 2 * (LINE_LIMIT + margin):
            # the end of the slice may hold half a secret: it is dropped with the margin
            head = redact(text[: 2 * LINE_LIMIT + margin])
            parts.append(f'{key}="{escape(head[: max(0, min(LINE_LIMIT, len(head) - margin))])}')
            rest = _size(text, LINE_LIMIT) + 1
        else:
            text = redact(text)
            parts.append(f'{key}="{escape(text)}"' if not text or _TO_QUOTE.search(text) else f"{key}={text}")
    body = " ".join(parts)
    if rest or (len(body) * 4 > _BODY_LIMIT and len(body.encode()) > _BODY_LIMIT):
        return _cut(body, rest)
    return body


def _cut(body: str, rest: int) -> str:
    raw = body.encode()
    marker = len(_LEFT_OUT.format(len(raw) + rest).encode())
    kept = raw[: _BODY_LIMIT - marker].decode(errors="ignore")
    whole = _WHOLE_ESCAPES.match(kept)
    kept = whole.group() if whole else ""
    return kept + _LEFT_OUT.format(len(raw) - len(kept.encode()) + rest)


def format_line(when: datetime, level: str, event: str, fields: Mapping[str, object]) -> str:
    """A whole line without its newline. `when` must know its offset from UTC, whole minutes."""
    offset = when.strftime("%z")[:5]
    if not offset:
        raise ValueError(f"{when!r} does not know its offset from UTC")
    if level not in LEVELS:
        raise ValueError(f"{level!r} is none of {', '.join(LEVELS)}")
    stamp = f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03d}{offset}"
    return f"[{stamp}] : [{level}] - [{format_message(event, fields)}]"


class Stamp:
    """Writes times of the wall clock as a line's timestamp; the part above a second is kept for the next."""

    def __init__(self) -> None:
        self._second = -1
        self._head = self._offset = ""

    def __call__(self, now_s: float) -> str:
        second, fraction = divmod(now_s, 1)
        if second != self._second:
            local = time.localtime(second)
            self._head = time.strftime("%Y-%m-%d %H:%M:%S", local)
            sign, minutes = ("-", -local.tm_gmtoff) if local.tm_gmtoff < 0 else ("+", local.tm_gmtoff)
            self._offset = f"{sign}{minutes // 3600:02d}{minutes // 60 % 60:02d}"
            self._second = int(second)
        return f"{self._head}.{int(fraction * 1000):03d}{self._offset}"


def parse_line(text: str) -> Entry:
    """Read a line back; one newline at its end is allowed. Raises LineError for any other text."""
    line = _LINE.fullmatch(text.removesuffix("\n"))
    if not line:
        raise LineError("not of the form [TIMESTAMP] : [LEVEL] - [event key=value …]")
    date, *numbers, millis, offset, level, event, rest = line.groups()
    try:
        # strptime, which looks its form up anew each time, takes twice as long as all the rest
        year, month, day, hour, minute, second = map(int, numbers)
        when = datetime(year, month, day, hour, minute, second, int(millis) * 1000, _zone(offset))
    except ValueError as exc:
        raise LineError(f"no such time: {date} {offset}") from exc
    left_out = 0
    cut = _CUT.search(rest)
    if cut:
        left_out = int(cut.group(1))
        rest = rest[: cut.start()]
    fields: dict[str, str] = {}
    at = 0
    while at < len(rest):
        field = _FIELD.match(rest, at)
        if not field:
            field = _CUT_FIELD.match(rest, at) if left_out else None
            if not field:
                raise LineError(f"no key=value at {rest[at : at + 40]!r}")
        key, quoted, bare = field.groups()
        if key is not None and (quoted is not None or bare is not None):
            fields[key] = bare if quoted is None else _unescaped(quoted)
        at = field.end()
    return Entry(when, level, event, fields, left_out)


@lru_cache(maxsize=64)
def _zone(text: str) -> timezone:
    """Raises ValueError for an offset that no zone can have."""
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:5]))
    return timezone(-offset if text.startswith("-") else offset)


def _unescaped(text: str) -> str:
    backslashes = text.count("\\")
    if not backslashes:
        return text
    # JSON is full of quotes and of nothing else that is escaped
    if backslashes == text.count('\\"'):
        return text.replace('\\"', '"')
    return _ESCAPE.sub(_unescape_one, text)
