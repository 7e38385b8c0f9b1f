r"""One line of a log, `[TIMESTAMP] : [LEVEL] - [event key=value …]`: formatting and parsing. No I/O.

Fields are logfmt. A value is quoted, with the escapes `\n \r \t \" \\ \xHH \uHHHH`, if it is empty or contains white
space, a quote, a backslash, a bracket, `=` or a character that is escaped; any other value is written as it is.
A value that is too long ends in `…(N bytes left out)`, N being the bytes of its escaped text that are missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LINE_LIMIT = 4096
"""Bytes of a line at most, including its newline."""
_FRAME = len("[2026-11-24 22:47:01.123+0000] : [CRITICAL] - []\n")
_BODY_LIMIT = LINE_LIMIT - _FRAME
Excerpt = Callable[[str], tuple[str, int]]
"""Gives what a line can take of a long text, and the number of bytes, escaped, that this leaves out."""

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
    r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d)(\d\d)\] : "
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
    """A field on its way into a line: the value as escaped text, and how many of its bytes were cut."""

    key: str
    value: str
    quoted: bool
    left_out: int

    def __str__(self) -> str:
        value = self.value
        if self.left_out:
            value += f"…({self.left_out}{_MARK_END}"
        elif value.endswith(_MARK_END):  # it was not cut, but ends as if it were
            value = _MARK.sub(r"\\u2026(\1 bytes left out)", value)
        return f' {self.key}="{value}"' if self.quoted else f" {self.key}={value}"

    def cut(self, excess: int) -> None:
        """Make it shorter by at least `excess` bytes, or as short as it can be."""
        data = self.value.encode()
        # its mark, which may be new or get longer, and its quotes
        grown = len(f"…({self.left_out + len(data)}{_MARK_END}".encode()) + 2
        whole = _WHOLE_ESCAPES.match(data[: max(0, len(data) - excess - grown)].decode(errors="ignore"))
        self.value = whole.group() if whole else ""
        self.left_out += len(data) - len(self.value.encode())
        self.quoted = True


def format_message(event: str, fields: Mapping[str, object], excerpt: Excerpt | None = None) -> str:
    """The message of a line: the event's name, then its fields; those that are None are left out.

    The longest values are cut until the message fits. Raises ValueError for an invalid name.
    """
    if not _NAME.fullmatch(event):
        raise ValueError(f"invalid event name {event!r}")
    parts = []
    for key, value in fields.items():
        if value is None:
            continue
        if not _KEY.fullmatch(key):
            raise ValueError(f"invalid field name {key!r}")
        text, left_out = excerpt(as_text(value)) if excerpt else (as_text(value), 0)
        quoted = not text or left_out > 0 or _TO_QUOTE.search(text) is not None
        parts.append(_Field(key, escape(text), quoted, left_out))

    def excess() -> int:
        return sum(len(str(part).encode()) for part in parts) - (_BODY_LIMIT - len(event))

    for part in sorted(parts, key=lambda part: len(part.value), reverse=True):
        over = excess()
        if over <= 0:
            break
        part.cut(over)
    while excess() > 0:
        parts.pop()  # nothing that comes from a peer can be that many fields; still, no line is too long
    return event + "".join(map(str, parts))


def format_line(
    when: datetime, level: str, event: str, fields: Mapping[str, object], excerpt: Excerpt | None = None
) -> str:
    """A complete line without its newline. `when` must know its offset from UTC, in whole minutes."""
    if when.utcoffset() is None:
        raise ValueError(f"{when!r} does not know its offset from UTC")
    if level not in LEVELS:
        raise ValueError(f"invalid level {level!r}; expected one of {', '.join(LEVELS)}")
    iso = when.isoformat(" ", "milliseconds")
    stamp = iso[:26] + iso[27:29]  # without the colon in the offset
    return f"[{stamp}] : [{level}] - [{format_message(event, fields, excerpt)}]"


def line_now(level: str, event: str, **fields: object) -> bytes:
    """A line about the logs themselves, with its newline."""
    return f"{format_line(datetime.now().astimezone(), level, event, fields)}\n".encode()


def parse_line(text: str) -> Entry:
    """Parse a line; one newline at its end is allowed. Raises LineError for any other text."""
    line = _LINE.fullmatch(text.removesuffix("\n"))
    if not line:
        raise LineError("not of the form [TIMESTAMP] : [LEVEL] - [event key=value …]")
    stamp, offset_minutes, level, event, rest = line.groups()
    try:
        when = datetime.fromisoformat(f"{stamp}:{offset_minutes}")
    except ValueError as exc:
        raise LineError(f"no such time: {stamp}{offset_minutes}") from exc
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


def _unescaped(text: str) -> str:
    backslashes = text.count("\\")
    if not backslashes:
        return text
    # JSON is full of quotes, and of nothing else that is escaped
    if backslashes == text.count('\\"'):
        return text.replace('\\"', '"')
    return _ESCAPE.sub(_unescape_one, text)
