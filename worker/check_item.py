"""One line of `--check`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """`remedy` is what to do where `ok` is False."""

    ok: bool
    name: str
    text: str
    remedy: str = ""
