"""The story as one HTML file that fetches nothing: its chart's data, its tables and sentences, escaped.

The chart is drawn in the browser alone, by page.js; here it is only measured: times in seconds from the first line,
round trips as the lowest and highest of each column.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template

from . import tables
from .formatting import Times, capital, duration, visible
from .model import CAUSE_WORDS, Attempt, Lane, Story, as_json
from .narrative import account, counts, headline
from .sentences import sentences

COLUMNS, COLUMNS_IN_ALL = 6000, 54_000
"""Of round trips, of one lane and of all: nine lanes are about half a megabyte."""
UNIT_MS = 0.1
SPANS = 400
"""Of a kind in one lane; where there are more, those that lie close are drawn as one."""
ABSENT = 20
"""Lanes of nodes whose logs were not given."""
ROWS = 500
"""Of each table and of the list of events: the newest."""
JSON_LIMIT = 400_000
"""Bytes of the `--json` object that are put into the page; a longer one is left out."""
TONES = ("bad", "warn", "good")


def render(story: Story) -> str:
    """The page. Every text of a log is escaped, and what could reorder or hide text is spelled out."""
    here = Path(__file__).parent
    script = (here / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    times = Times(story)
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
        accounts=_list("One by one", [account(one, times) for one in story.failovers[-ROWS:]])
        if len(story.failovers) > 1
        else "",
        caveats=_list("What the logs do not show", story.caveats),
        sentences=_sentences(story, times),
        tables="".join(_table(table) for table in tables.of(story, times) if table.rows),
        chart=_script_safe(json.dumps(chart(story), ensure_ascii=True, separators=(",", ":"))),
        story=_script_safe(told if len(told) <= JSON_LIMIT else "null"),
    )


def _text(text: str) -> str:
    return escape(visible(text))


def _script_safe(text: str) -> str:
    """JSON that cannot end its element: of ASCII, without < and &."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _list(title: str, texts: Sequence[str]) -> str:
    if not texts:
        return ""
    items = "".join(f"<li>{_text(text)}</li>" for text in texts)
    return f"<section><h2>{title}</h2><ul>{items}</ul></section>"


def _when(at: float | None, text: str) -> str:
    return _text(text) if at is None else f'<a href="#chart" data-at="{at:.3f}">{_text(text)}</a>'


def _sentences(story: Story, times: Times) -> str:
    told = sentences(story)
    rows = "".join(
        f'<tr class="{one.tone}"><td class="time">{_when(one.at, times(one.at))}</td>'
        f'<td class="text">{_text(one.text)}</td></tr>'
        for one in told[-ROWS:]
    )
    more = f" (the last {ROWS} of {len(told):,})" if len(told) > ROWS else ""
    head = '<thead><tr><th scope="col">time</th><th scope="col">what happened</th></tr></thead>'
    return (
        f"<table><caption>Event by event{more}</caption>{head}<tbody>{rows}</tbody></table>" if told else ""
    )


def _table(table: tables.Table) -> str:
    numbers = [column in table.right for column in table.columns]
    head = "".join(
        f'<th scope="col"{_class(number)}>{escape(column)}</th>'
        for column, number in zip(table.columns, numbers)
    )
    rows = []
    for row in table.rows[-ROWS:]:
        cells = "".join(
            f"<td{_class(number)}>{_when(row.at if place == _place_of_time(table) else None, cell)}</td>"
            for place, (cell, number) in enumerate(zip(row.cells, numbers))
        )
        rows.append(f'<tr class="{row.tone}">{cells}</tr>')
    more = f" (the last {ROWS} of {len(table.rows):,})" if len(table.rows) > ROWS else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}"><table>'
        f"<caption>{escape(table.title)}{more}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        "</table></div>"
    )


def _class(number: bool) -> str:
    return ' class="number"' if number else ""


def _place_of_time(table: tables.Table) -> int:
    return table.columns.index("received" if "received" in table.columns else "from")


def chart(story: Story) -> dict[str, object]:
    """What page.js draws. Each lane: `spans` [kind, from, to, goes on, text], `holds` [from, to, goes on, text, lane of
    the owner, given back], `marks` [at, kind, text, lane of the owner]; all lists are in the order of time.
    """
    if not story.lanes:
        return {}
    start, end = _extent(story)
    length = max(end - start, 0.1)
    numbers = [lane.node for lane in story.lanes]
    named = {one.node for one in story.failovers}
    absent = sorted(named.difference(number for number in numbers if number is not None))[:ABSENT]
    order: list[tuple[int, Lane | None]] = [
        *((lane.node if lane.node is not None else 10**9, lane) for lane in story.lanes),
        *((node, None) for node in absent),
    ]
    order.sort(key=lambda one: one[0])
    places = {node: place for place, (node, _) in reversed(list(enumerate(order)))}
    limit = min(COLUMNS, COLUMNS_IN_ALL // len(order))
    first = min(story.lanes, key=lambda lane: lane.first)
    offset = datetime.fromtimestamp(start, first.first_zone).utcoffset()
    lanes = [_lane(story, node, lane, places, start, length, limit) for node, lane in order]
    ranges = [lane.rtt for lane in story.lanes if lane.rtt]
    return {
        "start": round(start, 3),
        "length": round(length, 3),
        "offset": offset.total_seconds() if offset else 0,
        "high_ms": 10 ** math.ceil(math.log10(max([one.max for one in ranges], default=10) + 0.01)),
        "unit_ms": UNIT_MS,
        "lanes": lanes,
    }


def _extent(story: Story) -> tuple[float, float]:
    start = min(lane.first for lane in story.lanes)
    end = max(lane.last for lane in story.lanes)
    return (start, end) if end - start < 10 * 366 * 86400 else (end - 366 * 86400, end)


def _lane(
    story: Story,
    node: int,
    lane: Lane | None,
    places: dict[int, int],
    start: float,
    length: float,
    limit: int,
) -> dict[str, object]:
    spans = list(_spans(story, node, lane, start, length))
    kinds: dict[str, list[tuple[str, float, float, bool, str]]] = {}
    for span in sorted(spans, key=lambda one: one[1]):
        kinds.setdefault(span[0], []).append(span)
    attempts = [
        one
        for failover in story.failovers
        for one in failover.attempts
        if lane is not None and one.lane == lane.key and one.node is not None
    ]
    return {
        "name": capital(lane.name) if lane else f"Node {node}",
        "summary": _summary(lane),
        "spans": [span for those in kinds.values() for span in _thinned(those, length / SPANS)],
        "holds": list(_holds(attempts, places, start)),
        "marks": list(_marks(attempts, places, start, length)),
        "points": _points(lane, start, length, limit) if lane else None,
        "missed": _ticks(lane.missed_at, start, length, limit) if lane else [],
    }


def _summary(lane: Lane | None) -> str:
    if lane is None:
        return "no log given"
    if lane.rtt is None:
        return f"{lane.pings:,} pings, none answered" if lane.pings else "no pings logged"
    missed = f", {lane.missed:,} missed" if lane.missed else ""
    return f"{lane.pings:,} pings{missed}; median {lane.rtt.p50:g} ms, p99 {lane.rtt.p99:g}, max {lane.rtt.max:g}"


def _spans(
    story: Story, node: int, lane: Lane | None, start: float, length: float
) -> Iterator[tuple[str, float, float, bool, str]]:
    def span(
        kind: str, begin: float, end: float, *, goes_on: bool, text: str
    ) -> tuple[str, float, float, bool, str]:
        a = min(max(0.0, begin - start), length)
        return kind, round(a, 3), round(min(length, max(a, end - start)), 3), goes_on, visible(text)

    if lane is not None:
        for one in lane.outages:
            words = CAUSE_WORDS.get(one.cause, one.cause)
            text = f"no master for {duration(one.duration_s)}, {words}: {one.reason.removeprefix('start: ')}"
            yield span(
                "outage",
                one.start,
                one.until if one.end is None else one.end,
                goes_on=one.end is None,
                text=text,
            )
        for kind, those, words in (
            ("silence", lane.silences, "nothing logged for"),
            ("freeze", lane.freezes, "stood still for"),
            ("stopped", lane.stops, "stopped for"),
        ):
            for gone in those:
                end = start + length if gone.end is None else gone.end
                text = f"{words} {duration(max(0.0, end - gone.start))}"
                yield span(kind, gone.start, end, goes_on=gone.end is None, text=text)
    for failover in story.failovers:
        if failover.node == node and (lane is None or failover.lane in (None, lane.key)):
            for kind, those, words in (
                ("unserved", failover.gaps, "nobody answered for its address for"),
                ("doubled", failover.doubles, "two had its address for"),
            ):
                for gap in those:
                    end = gap.until if gap.end is None else gap.end
                    yield span(
                        kind, gap.start, end, goes_on=False, text=f"{words} {duration(gap.duration_s)}"
                    )


def _thinned(
    spans: Sequence[tuple[str, float, float, bool, str]], near_s: float
) -> Iterable[tuple[str, float, float, bool, str]]:
    if len(spans) <= SPANS:
        return spans
    joined: list[tuple[str, float, float, bool, str]] = []
    number = 1
    for span in spans:
        if joined and span[1] - joined[-1][2] < near_s and span[2] - joined[-1][1] < 20 * near_s:
            number += 1
            kind, begin, end, _, _ = joined[-1]
            joined[-1] = (kind, begin, max(end, span[2]), span[3], f"{number} times; the last: {span[4]}")
        else:
            number = 1
            joined.append(span)
    return joined


def _holds(attempts: Sequence[Attempt], places: dict[int, int], start: float) -> Iterator[list[object]]:
    for one in attempts[-SPANS:]:
        for place, hold in enumerate(one.holds):
            end = hold.until if hold.end is None else hold.end
            back = hold.end is not None and place + 1 == len(one.holds)
            text = f"{visible(one.address or 'address')} of node {one.node}"
            owner = places.get(one.node if one.node is not None else -1, -1)
            yield [round(hold.start - start, 3), round(end - start, 3), hold.end is None, text, owner, back]


def _marks(
    attempts: Sequence[Attempt], places: dict[int, int], start: float, length: float
) -> Iterator[list[object]]:
    for one in attempts[-SPANS:]:
        if one.taken is None:
            kind = "pending" if one.pending else one.outcome
            at = (one.settled or one.received) - start
            words = {"pending": "ordered to take", "refused": "refused", "withdrawn": "not needed"}.get(
                kind, "failed"
            )
            text = f"{words}: {visible(one.address or 'address')} of node {one.node}"
            reason = f" ({visible(one.reason)})" if one.reason and not one.pending else ""
            owner = places.get(one.node if one.node is not None else -1, -1)
            yield [round(min(length, max(0.0, at)), 3), kind, text + reason, owner]


def _points(lane: Lane, start: float, length: float, limit: int) -> dict[str, object] | None:
    """Columns with a ping: how far each lies from the one before, its lowest round trip, and how much higher the
    highest is; `break_s`: past which two are not joined.
    """
    times, values = lane.answered_at, lane.answered_ms
    begin, end = bisect_left(times, start), bisect_right(times, start + length)
    if begin == end:
        return None
    number = min(limit, max(50, 4 * (end - begin)))
    width = length / number
    steps: list[int] = []
    lows: list[int] = []
    rises: list[int] = []
    column, low, high, before = -1, 0.0, 0.0, 0

    def put() -> None:
        nonlocal before
        steps.append(column - before)
        before = column
        lows.append(round(low / UNIT_MS))
        rises.append(round(high / UNIT_MS) - round(low / UNIT_MS))

    for place in range(begin, end):
        here = min(number - 1, int((times[place] - start) / width))
        ms = values[place]
        if here != column:
            if column >= 0:
                put()
            column, low, high = here, ms, ms
        elif ms < low:
            low = ms
        elif ms > high:
            high = ms
    put()
    sample = times[begin : min(end, begin + 500)]
    gaps = sorted(after - earlier for earlier, after in zip(sample, sample[1:]))
    usual = gaps[len(gaps) // 2] if gaps else 1.0
    return {
        "columns": number,
        "steps": steps,
        "lows": lows,
        "rises": rises,
        "break_s": max(3 * usual, 2.5 * width),
    }


def _ticks(times: Sequence[float], start: float, length: float, limit: int) -> list[float]:
    width = length / limit
    columns = {int((at - start) / width) for at in times if 0 <= at - start <= length}
    return [round(column * width, 3) for column in sorted(columns)]
