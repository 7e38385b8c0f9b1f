r"""One line of a log, `[TIMESTAMP] : [LEVEL] - [event key=value …]`: formatting and parsing. No I/O.

Fields are logfmt. A value is quoted, with the escapes `\n \r \t \" \\ \xHH \uHHHH`, if it is empty or contains white
space, a quote, a backslash, a bracket, `=` or a character that is escaped; any other value is written as it is.
A value that is too long ends in `…(N bytes left out)`, N being the bytes of its escaped text that are missing.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LINE_LIMIT = 4096
"""Bytes of a line at most, including its newline."""
_FRAME = len("[2026-11-24 22:47:01.123+0000] : [CRITICAL] - []\n")
_BODY_LIMIT = LINE_LIMIT - _FRAME
_FIELDS_LEFT_OUT = "fields_left_out"
"""The field that counts the fields for which a line had no room."""

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
_MARK_END = " bytes left out)"
_MARK = re.compile(r"…\(([0-9]{1,18}) bytes left out\)$")
# version 1.0 cut the whole message, in the middle of a field or of its name, and left the quote open
_FIELD_OF_1_0 = re.compile(
    rf' (?:([A-Za-z_][A-Za-z0-9_]*)(?:=(?:"((?:[^"\\{_UNSAFE}]|{_ESCAPED})*)|([^\s"\\\]=\[{_UNSAFE}]*))"?)?)?$'
)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@lru_cache(maxsize=1024)
def _is(pattern: re.Pattern[str], name: str) -> bool:
    """Cached, since a program has few names and writes many lines."""
    return pattern.fullmatch(name) is not None


class LineError(ValueError):
    """A text that is not a line of these logs; says what does not fit."""


@dataclass(frozen=True)
class Entry:
    """A parsed line.

    `when` has the line's own offset from UTC. `fields` are texts as they were before escaping. `left_out` is the
    number of bytes that were cut from values, 0 for a complete line; such a value is what was kept of it.
    """

    when: datetime
    level: str
    event: str
    fields: Mapping[str, str]
    left_out: int = 0


class Excerpt(str):
    """The beginning of a longer text, of which `left_out` bytes (escaped) are missing."""

    __slots__ = ("left_out",)
    left_out: int

    @classmethod
    def of(cls, text: str, length: int, head: str) -> Excerpt:
        """`head`, which represents the first `length` characters of `text`."""
        excerpt = cls(head)
        step = 65536  # in slices, so that a megabyte is not in memory twice
        excerpt.left_out = sum(
            len(escape(text[at : at + step]).encode()) for at in range(length, len(text), step)
        )
        return excerpt


def _escape_one(match: re.Match[str]) -> str:
    char = match.group()
    named = _NAMED.get(char)
    if named:
        return named
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"


def _unescape_one(match: re.Match[str]) -> str:
    code = match.group()
    return _UNNAMED[code[1]] if len(code) == 2 else chr(int(code, 0))


def escape(text: str) -> str:
    """`text` with every character escaped that a line must not contain."""
    if text.isprintable():  # then only these two can need it
        return text.replace("\\", "\\\\").replace('"', '\\"')
    return _TO_ESCAPE.sub(_escape_one, text)


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
    """`data` as JSON without spaces; bytes become a text with their number, other objects their repr.

    Never raises: a value that cannot be serialized, such as one nested too deeply, is replaced by the reason.
    """

    def other(value: object) -> str:
        return f"<{len(value)} bytes>" if isinstance(value, (bytes, bytearray)) else repr(value)

    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=other)
    except (RecursionError, ValueError, TypeError) as exc:
        return f"<not serializable as JSON: {type(exc).__name__}>"


@dataclass
class _Field:
    """A field on its way into a line: the value as escaped bytes, and how many of them were cut."""

    key: str
    value: bytes
    quoted: bool
    left_out: int

    def __bytes__(self) -> bytes:
        value = self.value
        if self.left_out:
            value += f"…({self.left_out}{_MARK_END}".encode()
        elif value.endswith(_MARK_END.encode()):
            value = _protected(value.decode()).encode()
        return (
            b' %s="%s"' % (self.key.encode(), value)
            if self.quoted
            else b" %s=%s" % (self.key.encode(), value)
        )

    def cut(self, excess: int) -> None:
        """Make it shorter by at least `excess` bytes, or as short as it can be."""
        # its mark, which may be new or get longer, and its quotes
        grown = len(f"…({self.left_out + len(self.value)}{_MARK_END}".encode()) + 2
        keep = max(0, len(self.value) - excess - (0 if self.left_out else grown))
        whole = _WHOLE_ESCAPES.match(self.value[:keep].decode(errors="ignore"))
        kept = whole.group().encode() if whole else b""
        self.left_out += len(self.value) - len(kept)
        self.value, self.quoted = kept, True


def format_message(event: str, fields: Mapping[str, object]) -> str:
    """The message of a line: the event's name, then its fields; those that are None are left out.

    The longest values are cut until the message fits. Raises ValueError for an invalid name.
    """
    if not _is(_NAME, event):
        raise ValueError(f"invalid event name {event!r}")
    parts = [event]
    cut = False
    for key, value in fields.items():
        if value is None:
            continue
        if not _is(_KEY, key):
            raise ValueError(f"invalid field name {key!r}")
        text = as_text(value)
        cut = cut or isinstance(value, Excerpt)
        parts.append(f"{key}={_quoted(text)}" if not text or _TO_QUOTE.search(text) else f"{key}={text}")
    body = " ".join(parts)
    # no character takes more than four bytes
    if cut or (len(body) * 4 > _BODY_LIMIT and len(body.encode()) > _BODY_LIMIT):
        return _fit(event, fields)
    return body


def _quoted(text: str) -> str:
    escaped = escape(text)
    return f'"{_protected(escaped) if escaped.endswith(_MARK_END) else escaped}"'


def _protected(escaped: str) -> str:
    """The text of a value that was not cut, but ends as if it were."""
    return _MARK.sub(r"\\u2026(\1 bytes left out)", escaped)


def _fit(event: str, fields: Mapping[str, object]) -> str:
    pieces = []
    for key, value in fields.items():
        if value is None:
            continue
        text = as_text(value)
        quoted = not text or isinstance(value, Excerpt) or _TO_QUOTE.search(text) is not None
        left_out = value.left_out if isinstance(value, Excerpt) else 0
        pieces.append(_Field(key, escape(text).encode(), quoted, left_out))
    room = _BODY_LIMIT - len(event)
    for piece in sorted(pieces, key=lambda piece: len(piece.value), reverse=True):
        excess = sum(len(bytes(each)) for each in pieces) - room
        if excess <= 0:
            break
        piece.cut(excess)
    dropped = 0
    while sum(len(bytes(each)) for each in pieces) > room:
        # nothing that comes from a peer can be that many fields; still, no line is too long
        pieces = [piece for piece in pieces if piece.key != _FIELDS_LEFT_OUT]
        pieces.pop()
        dropped += 1
        pieces.append(_Field(_FIELDS_LEFT_OUT, str(dropped).encode(), quoted=False, left_out=0))
    return event + b"".join(map(bytes, pieces)).decode()


def format_line(when: datetime, level: str, event: str, fields: Mapping[str, object]) -> str:
    """A complete line without its newline. `when` must know its offset from UTC, in whole minutes."""
    offset = when.strftime("%z")[:5]
    if not offset:
        raise ValueError(f"{when!r} does not know its offset from UTC")
    if level not in LEVELS:
        raise ValueError(f"invalid level {level!r}; expected one of {', '.join(LEVELS)}")
    stamp = f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03d}{offset}"
    return f"[{stamp}] : [{level}] - [{format_message(event, fields)}]"


class Stamp:
    """Formats times of the wall clock as a line's timestamp. The part above a second is kept for the next call."""

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
    """Parse a line; one newline at its end is allowed. Raises LineError for any other text."""
    line = _LINE.fullmatch(text.removesuffix("\n"))
    if not line:
        raise LineError("not of the form [TIMESTAMP] : [LEVEL] - [event key=value …]")
    date, *numbers, millis, offset, level, event, rest = line.groups()
    try:
        # strptime, which looks its format up each time, takes twice as long as all the rest
        year, month, day, hour, minute, second = map(int, numbers)
        when = datetime(year, month, day, hour, minute, second, int(millis) * 1000, _zone(offset))
    except ValueError as exc:
        raise LineError(f"no such time: {date} {offset}") from exc
    left_out = 0
    cut = _MARK.search(rest)
    if cut:
        left_out = int(cut.group(1))
        rest = rest[: cut.start()]
    fields: dict[str, str] = {}
    at = 0
    while at < len(rest):
        field = _FIELD.match(rest, at) or (_FIELD_OF_1_0.match(rest, at) if left_out else None)
        if not field:
            raise LineError(f"no key=value at {rest[at : at + 40]!r}")
        key, quoted, bare = field.groups()
        at = field.end()
        if quoted is not None:
            mark = _MARK.search(quoted) if quoted.endswith(_MARK_END) else None
            if mark:
                left_out += int(mark.group(1))
                quoted = quoted[: mark.start()]
            fields[key] = _unescaped(quoted)
        elif key is not None and bare is not None:
            fields[key] = bare
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
    # JSON is full of quotes, and of nothing else that is escaped
    if backslashes == text.count('\\"'):
        return text.replace('\\"', '"')
    return _ESCAPE.sub(_unescape_one, text)
