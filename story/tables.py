"""The story as tables, made of the very object that `--json` prints, so that both say the same.

A field that this module has no name for gets a column of its own name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from html import escape
from typing import Any, Optional

from .account import account
from .episodes import Story
from .words import Clock, Sentence, held_for, remarks, visible

ROWS = 500
"""Rows of a table on the page; what is left out is said, and `--json` has it."""
LONG = 24
"""Characters past which a cell's text gets room for a few words a line, however narrow the screen is."""
_HEADINGS = {
    "rtt_ms.p50": "p50 ms",
    "rtt_ms.p99": "p99 ms",
    "rtt_ms.max": "max ms",
    "duration_s": "lasted s",
    "start": "from",
    "end": "to",
    "disconnected_node": "of node",
    "recovery_node": "at node",
    "received": "ordered",
    "released": "given back",
    "takeover_ms": "took ms",
}
_NULLS = {"end": "not seen"}
_NEVER = datetime.min.replace(tzinfo=timezone.utc)
_CAPTIONS = {
    "outages": "Without the master",
    "absences": "Addresses that changed hands",
    "clock_skew": "Clocks beside each other",
    "clock_steps": "Clocks that were set",
}
_SELDOM = frozenset(
    {"silences", "stops", "freezes", "holes", "clock_steps", "incidents", "detail", "pending"}
)
_LEFT_OUT = frozenset({"folders"})
ACCOUNTS = 20
"""Addresses that changed hands of which the page gives an account; the newest."""


def tables(story: Story, told: Mapping[str, Any]) -> str:
    """`told`: the story as `as_json` gives it."""
    names = [visible(node.name) if node.node is None else node.node for node in story.nodes]
    nodes = [
        {key: value for key, value in {**node, "node": name}.items() if key not in _LEFT_OUT}
        for node, name in zip(told["nodes"], names)
    ]
    in_all = [sum(outage["duration_s"] for outage in node["outages"]) for node in nodes]
    parts = [
        _table("nodes", [{**node, "without_master_s": round(s, 3)} for node, s in zip(nodes, in_all)], story)
    ]
    lists = dict.fromkeys(key for node in nodes for key, value in node.items() if _is_rows(value))
    for key in lists:
        rows = [{"node": node["node"], **row} for node in nodes for row in node.get(key, ())]
        rows.sort(key=lambda row: next(filter(None, map(_moment, row.values())), _NEVER))
        parts.append(_table(key, rows, story))
    failovers = [
        {**row, "held": held_for(failover)} for row, failover in zip(told["failovers"], story.failovers)
    ]
    parts.append(_table("failovers", failovers, story))
    absences = [{**each, "failovers": len(each["failovers"])} for each in told.get("absences", ())]
    rest = {**told, "absences": absences}
    parts.extend(
        _table(key, value, story)
        for key, value in rest.items()
        if key not in ("nodes", "failovers") and _is_rows(value)
    )
    return "\n".join(part for part in parts if part)


def accounts(story: Story) -> str:
    """Each failover across all nodes, the newest ones; empty: there is none."""
    newest = story.absences[-ACCOUNTS:]
    if not newest:
        return ""
    clock = Clock(story)
    items = "".join(f"<li>{escape(account(each, story.failovers, clock))}</li>" for each in newest)
    more = len(story.absences) - len(newest)
    left_out = f'<p class="remark">{more} older ones are left out here.</p>' if more else ""
    return f"<h2>Addresses that changed hands</h2><ul>{items}</ul>{left_out}"


def notes(story: Story) -> str:
    """What the logs do not tell, and where they contradict each other; empty: nothing."""
    items = "".join(f"<li>{escape(remark)}</li>" for remark in remarks(story))
    return f"<h2>What the logs say of themselves</h2><ul>{items}</ul>" if items else ""


def sentence_table(sentences: Sequence[Sentence], story: Story, at: Callable[[datetime], float]) -> str:
    """`at`: where a time stands in the picture; its row leads there."""
    if not sentences:
        return "<p>The logs tell of no event.</p>"
    clock = Clock(story)
    rows = [
        f'<tr class="{sentence.tone}"><td class="time"><a href="#picture" data-at="{at(sentence.when):.9f}">'
        f'{clock(sentence.when)}</a></td><td class="text">{escape(sentence.text)}</td></tr>'
        for sentence in sentences[-ROWS:]
    ]
    heads = ['<th scope="col" class="time">time</th>', '<th scope="col">what happened</th>']
    return _framed("One line of time for all nodes", heads, rows, len(sentences))


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _table(key: str, objects: Iterable[Mapping[str, Any]], story: Story) -> str:
    """Empty where there is no row."""
    clock = Clock(story)
    rows = [dict(_flat(each)) for each in objects]
    if not rows:
        return ""
    columns = [
        column for column in dict.fromkeys(column for row in rows for column in row) if _says(column, rows)
    ]
    marks = {column: _mark([row.get(column) for row in rows]) for column in columns}
    heads = [f'<th scope="col"{marks[column]}>{escape(_heading(column))}</th>' for column in columns]
    body = []
    for row in rows[-ROWS:]:
        cells = "".join(
            f"<td{marks[column]}>{_cell(column, row.get(column), clock)}</td>" for column in columns
        )
        body.append(f"<tr>{cells}</tr>")
    return _framed(_CAPTIONS.get(key, key.replace("_", " ").capitalize()), heads, body, len(rows))


def _framed(caption: str, heads: Sequence[str], rows: Sequence[str], count: int) -> str:
    left_out = (
        f'<p class="remark">{count - len(rows)} older ones are left out here.</p>'
        if count > len(rows)
        else ""
    )
    caption = escape(caption)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table><caption>{caption}</caption>\n'
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>{left_out}"
    )


def _flat(one: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """An object in an object is several fields; a list of objects is a number of them."""
    for key, value in one.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", each) for inner, each in value.items())
        elif isinstance(value, list):
            whole = all(isinstance(each, (str, int)) for each in value) and value
            yield key, ", ".join(map(str, value)) if whole else len(value)
        else:
            yield key, value


def _says(column: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a column of what is seldom there, such as freezes, has anything in it."""
    return column not in _SELDOM or any(row.get(column) for row in rows)


def _heading(column: str) -> str:
    return _HEADINGS.get(column, column.replace("_", " ").replace(".", " "))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _moment(value: object) -> Optional[datetime]:
    """The time that a value of the object tells; None: it tells none."""
    if not isinstance(value, str) or len(value) < 19 or not value.startswith(("1", "2")):
        return None
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return None
    return when if when.tzinfo else None


def _mark(values: Sequence[object]) -> str:
    """The class of a column's cells, by what it holds."""
    known = [value for value in values if value is not None]
    if known and all(map(_is_number, known)):
        return ' class="number"'
    if known and all(map(_moment, known)):
        return ' class="time"'
    return ' class="text"' if any(len(str(value)) > LONG for value in known) else ""


def _cell(column: str, value: object, clock: Clock) -> str:
    if value is None:
        return _NULLS.get(column, "–")
    when = _moment(value)
    if when:
        return f'<time datetime="{escape(str(value))}">{clock(when)}</time>'
    return escape(visible(value)) if isinstance(value, str) else escape(json.dumps(value))
