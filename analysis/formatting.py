"""How numbers, durations and texts of a log are spelled. No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, tzinfo

from logs.format import escape

from .model import Story

_ESCAPED_QUOTE = re.compile(r'\\(["\\])')
LONGEST = 300


def visible(text: str, limit: int | None = LONGEST) -> str:
    """`text` with everything escaped that could act on a terminal or reorder a line, and cut after `limit` characters.

    None: it is left whole, for a sentence of ours, in which what comes from a log was cut before.
    """
    safe = text if text.isprintable() else _ESCAPED_QUOTE.sub(r"\1", escape(text))
    return safe if limit is None or len(safe) <= limit else f"{safe[:limit]}…"


def count(number: int, what: str) -> str:
    """Such as "1 line" and "2 lines"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def listed(texts: Sequence[str]) -> str:
    """Such as "1, 2 and 3"."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}" if texts else ""


def duration(seconds: float) -> str:
    """With the precision that matters: "0.24 s", "12.3 s", "4 min 05 s", "3 h 02 min"."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 172800:
        return f"{whole // 3600} h {whole // 60 % 60:02d} min"
    return f"{whole // 86400} days {whole // 3600 % 24} h"


def milliseconds(ms: float) -> str:
    return f"{ms:.1f} ms" if ms < 100 else f"{ms:.0f} ms" if ms < 10_000 else duration(ms / 1000)


class Times:
    """Spells times in the zone of the story's first line, with the date where the story has several."""

    def __init__(self, story: Story) -> None:
        self.zone: tzinfo | None = story.lanes[0].first_zone if story.lanes else None
        days = {self._when(at).date() for lane in story.lanes for at in (lane.first, lane.last)}
        days |= {self._when(one.start).date() for one in story.failovers}
        self._form = "%H:%M:%S" if len(days) < 2 else "%m-%d %H:%M:%S"

    def _when(self, at: float) -> datetime:
        when = datetime.fromtimestamp(round(at, 3), self.zone)
        return when if self.zone else when.astimezone()

    def __call__(self, at: float) -> str:
        """To the millisecond."""
        when = self._when(at)
        return f"{when:{self._form}}.{when.microsecond // 1000:03d}"

    def second(self, at: float) -> str:
        return f"{self._when(at):{self._form}}"

    def full(self, at: float) -> str:
        return f"{self._when(at):%Y-%m-%d %H:%M:%S}"

    @property
    def offset(self) -> str:
        return datetime.now(self.zone).astimezone(self.zone).strftime("%z")


def node_name(node: int | None) -> str:
    return "a node that no line names" if node is None else f"node {node}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
