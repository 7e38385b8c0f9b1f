"""Numbers, durations and texts from logs, spelled for people."""

from __future__ import annotations

LONGEST_TEXT = 300
"""Characters of a text from a log that a sentence or a cell repeats."""


def visible(text: str) -> str:
    """Text from a log, fit for a terminal: what does not print, escapes and bidirectional controls among it,
    is spelled out, and what is too long is cut.
    """
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}… ({len(text) - LONGEST_TEXT} more characters)"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _spelled(char) for char in text)


def _spelled(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"


def duration(seconds: float) -> str:
    """Such as `3.1 ms`, `12.4 s`, `4 min 10 s`, `2 h 5 min`."""
    if seconds < 1:
        return milliseconds(seconds * 1000)
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest_s} s"
    return f"{minutes // 60} h {minutes % 60} min"


def milliseconds(ms: float) -> str:
    return f"{ms:.1f} ms" if ms < 100 else f"{ms:.0f} ms"


def count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def listed(names: list[str]) -> str:
    """Such as `node 1, node 2 and node 3`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
