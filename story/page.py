"""The story as one web page: a single file that needs no network, is at most 1 MB, and reads without its script."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from .episodes import Story, as_json
from .picture import Picture
from .tables import accounts, notes, sentence_table, tables
from .timeline import span
from .words import headline, period, sentences

LARGEST = 1_000_000
"""Bytes of a page. Where the story itself is longer than that, so is its page: it is never cut."""


def render(story: Story) -> str:
    """The page. Whatever stands in the logs is escaped, since their texts come from the network; and no script
    but the page's own, told by its hash, is run by a browser.
    """
    picture, told, script = Picture(story), as_json(story), _part("page.js")
    title = f"What happened, {period(story)}" if span(story) else "What happened"
    parts = {
        "title": escape(title),
        "script_hash": b64encode(sha256(script.encode()).digest()).decode(),
        "style": _part("page.css"),
        "headline": escape(headline(story)),
        "accounts": accounts(story),
        "notes": notes(story),
        "picture": picture.html(),
        "sentences": sentence_table(sentences(story), story, picture.at),
        "tables": tables(story, told),
        "story": _json(told),
        "lanes": _json(picture.data()),
        "script": script,
    }
    room = LARGEST - sum(len(part.encode()) for name, part in parts.items() if name != "lanes") - 10_000
    while len(parts["lanes"]) > room and picture.coarser():
        parts["lanes"] = _json(picture.data())
    return Template(_part("page.html")).substitute(parts)


def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _json(data: Mapping[str, Any]) -> str:
    """JSON that ends no script element, whatever it holds."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
