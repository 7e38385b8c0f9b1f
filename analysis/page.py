"""The story as one HTML file that fetches nothing: its chart's data, its tables and sentences, escaped. No I/O beyond
reading the page's own parts.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from . import tables
from .chart import chart
from .formatting import LONGEST, Times, visible
from .model import Story, as_json
from .narrative import account, counts, headline

ROWS = 500
"""Of each table and of the list of events: the newest."""
JSON_LIMIT = 400_000
"""Bytes of the `--json` object that are put into the page; a longer one is left out."""


def render(story: Story) -> str:
    """The page. Every text of a log is escaped, and what could reorder or hide text is spelled out."""
    here = Path(__file__).parent
    script = (here / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    times = Times(story)
    accounts = [account(one, times) for one in story.failovers[-ROWS:]]
    told = json.dumps(as_json(story), ensure_ascii=True, separators=(",", ":"))
    return Template((here / "page.html").read_text(encoding="utf-8")).substitute(
        title=_text(headline(story)),
        headline=_text(headline(story)),
        counts=_text(counts(story)),
        faults="".join(
            f'<p class="fault" role="alert"><b>Fault:</b> {_text(fault)}</p>' for fault in story.faults
        ),
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=digest,
        accounts=_list("One by one", accounts if len(accounts) > 1 else ()),
        caveats=_list("What the logs do not show", story.caveats),
        events=_table(tables.events(story, times)),
        tables="".join(_table(table) for table in tables.of(story, times)),
        chart=_script_safe(json.dumps(chart(story), ensure_ascii=True, separators=(",", ":"))),
        story=_script_safe(told if len(told) <= JSON_LIMIT else "null"),
    )


def _text(text: str, limit: int | None = None) -> str:
    return escape(visible(text, limit))


def _script_safe(text: str) -> str:
    """JSON that cannot end its element: of ASCII, without < and &."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _list(title: str, texts: Sequence[str]) -> str:
    if not texts:
        return ""
    items = "".join(f"<li>{_text(text)}</li>" for text in texts)
    return f"<section><h2>{title}</h2><ul>{items}</ul></section>"


def _table(table: tables.Table) -> str:
    """Its time leads to its place in the chart. Empty where there are no rows."""
    if not table.rows:
        return ""
    time = next(place for place, name in enumerate(table.columns) if name in ("time", "received", "from"))
    kinds = [' class="number"' if column in tables.NUMBERS else "" for column in table.columns]
    heads = (f'<th scope="col"{kind}>{name}</th>' for kind, name in zip(kinds, table.columns, strict=True))
    rows = []
    for row in table.rows[-ROWS:]:
        cells = [_text(cell, LONGEST) for cell in row.cells]
        if row.at is not None:
            cells[time] = f'<a href="#chart" data-at="{row.at:.3f}">{cells[time]}</a>'
        data = "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, cells, strict=True))
        rows.append(f'<tr class="{row.tone}">{data}</tr>')
    more = f" (the last {ROWS} of {len(table.rows):,})" if len(table.rows) > ROWS else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{table.title}"><table>'
        f"<caption>{table.title}{more}</caption><thead><tr>{''.join(heads)}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
