"""Removes secrets from what is logged, however the text that contains them spells them. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

from logs.format import LINE_LIMIT, escape

_DEEP = 16
"""Backslashes that may stand before one character: four layers of JSON, each in a text of the next."""
_NAMED = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


class Redactor:
    """Replaces secrets by `***`: as they are, and as JSON, Python and URLs spell them, one inside the other too.

    `margin` is the length of the longest text that it replaces.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        longest_first = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self.margin = max((_longest(secret) for secret in longest_first), default=0)
        self._plain = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._spelled = re.compile("|".join(map(_spellings, longest_first)))

    def __call__(self, text: str) -> str:
        if self._plain is None:
            return text
        # every spelling but the plain one contains one of these, and looking for all of them takes its time
        if "\\" in text or "%" in text or "+" in text:
            return self._spelled.sub("***", text)
        return self._plain.sub("***", text)

    def excerpt(self, text: str) -> tuple[str, int]:
        """The text as a line can take it, and the number of bytes, escaped, that are left out of it."""
        if len(text) <= 2 * (LINE_LIMIT + self.margin):
            return self(text), 0
        # the end of the slice may be half a secret, so it goes with the margin
        head = self(text[: 2 * LINE_LIMIT + self.margin])
        step = 65536  # so that megabytes are not in memory twice
        rest = (text[at : at + step] for at in range(LINE_LIMIT, len(text), step))
        return head[: max(0, min(LINE_LIMIT, len(head) - self.margin))], sum(
            len(escape(part).encode()) for part in rest
        )


def _spellings(secret: str) -> str:
    """A pattern for each way to spell it. A run of backslashes is one piece, since otherwise there would be too many
    ways to divide them.
    """
    parts = []
    for char, group in groupby(secret):
        times = len(list(group))
        if char == "\\":
            codes = "|".join(_codes(char))
            parts.append(rf"(?:\\{{{times},{_DEEP * times}}}|(?:{codes}){{{times}}})")
        else:
            parts.append(_one(char) * times)
    return "".join(parts)


def _one(char: str) -> str:
    ways = [rf"\\{{0,{_DEEP}}}{re.escape(char)}", *_codes(char)]
    if char in _NAMED:
        ways.append(rf"\\{{1,{_DEEP}}}{_NAMED[char]}")
    if char == " ":
        ways.append(r"\+")
    return f"(?:{'|'.join(ways)})"


def _codes(char: str) -> list[str]:
    """The escapes by number: JSON's and Python's, and percent-encoding (RFC 3986 §2.1)."""
    escaped = rf"\\{{1,{_DEEP}}}"
    units = char.encode("utf-16-be", "surrogatepass")
    ways = ["".join(f"{escaped}u(?i:{units[at : at + 2].hex()})" for at in range(0, len(units), 2))]
    if ord(char) < 0x100:
        ways.append(f"{escaped}x(?i:{ord(char):02x})")
    if ord(char) > 0xFFFF:
        ways.append(f"{escaped}U(?i:{ord(char):08x})")
    ways.append("".join(f"%(?i:{byte:02x})" for byte in char.encode("utf-8", "surrogatepass")))
    return ways


def _longest(secret: str) -> int:
    return sum((_DEEP + len("Uxxxxxxxx")) * (2 if ord(char) > 0xFFFF else 1) for char in secret)
