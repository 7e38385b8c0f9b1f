"""The story as one web page that needs no network, no script and no second file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from .episodes import Story
from .lanes import draw
from .timeline import span
from .words import (
    Clock,
    address_name,
    duration,
    headline,
    held_for,
    node_name,
    period,
    remarks,
    sentences,
    visible,
)

ROWS = 1000
"""Rows of a table on the page; what is left out is said, and `--json` has it."""


def render(story: Story) -> str:
    """The page. Whatever stands in the logs is escaped: their texts come from the network."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    whole = span(story)
    title = f"What happened, {period(story)}" if whole else "What happened"
    return template.substitute(
        title=escape(title),
        headline=escape(headline(story)),
        remarks="\n".join(f'<p class="remark">{escape(remark)}</p>' for remark in remarks(story)),
        picture=draw(story),
        zone=f"UTC{whole[0]:%z}" if whole else "not known",
        sentences=_sentences(story),
        tables="\n".join((_nodes(story), _outages(story), _failovers(story))),
    )


def _table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], tones: Sequence[str] = ()
) -> str:
    """A column whose name ends in `#` holds numbers, one that ends in `@` times."""
    kinds = [{"#": "number", "@": "time"}.get(column[-1], "") for column in columns]
    classes = [f' class="{kind}"' if kind else "" for kind in kinds]
    head = "".join(
        f'<th scope="col"{mark}>{escape(column.rstrip("#@"))}</th>' for column, mark in zip(columns, classes)
    )
    body = []
    rows = list(rows)
    for place, row in enumerate(rows[:ROWS]):
        tone = f' class="{tones[place]}"' if tones else ""
        cells = "".join(f"<td{mark}>{escape(cell)}</td>" for cell, mark in zip(row, classes))
        body.append(f"<tr{tone}>{cells}</tr>")
    left_out = f'<p class="remark">{len(rows) - ROWS} more are left out here.</p>' if len(rows) > ROWS else ""
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(body)}\n</tbody></table></div>{left_out}"
    )


def _sentences(story: Story) -> str:
    clock = Clock(story)
    told = sentences(story)
    return _table(
        "One line of time for all nodes",
        ("time@", "what happened"),
        ((clock(sentence.when), sentence.text) for sentence in told),
        [sentence.tone for sentence in told],
    )


def _nodes(story: Story) -> str:
    clock = Clock(story)
    columns = (
        "node",
        "from@",
        "to@",
        "pings#",
        "missed#",
        "p50 ms#",
        "p99 ms#",
        "max ms#",
        "outages#",
        "in all#",
    )
    rows = [
        (
            visible(node.name),
            clock(node.first),
            clock(node.last),
            str(node.pings),
            str(node.missed),
            *((f"{node.rtt.p50:g}", f"{node.rtt.p99:g}", f"{node.rtt.max:g}") if node.rtt else ("", "", "")),
            str(len(node.outages)),
            duration(sum(outage.duration_s for outage in node.outages)) if node.outages else "",
        )
        for node in story.nodes
    ]
    return _table("Nodes", columns, rows)


def _outages(story: Story) -> str:
    clock = Clock(story)
    those = [(outage, node) for node in story.nodes for outage in node.outages]
    rows = [
        (
            visible(node.name),
            clock(outage.start),
            clock(outage.end) if outage.end else "not seen",
            f"{outage.duration_s:.3f}",
            visible(outage.reason),
        )
        for outage, node in sorted(those, key=lambda pair: pair[0].start)
    ]
    return _table("Without the master", ("node", "from@", "to@", "lasted s#", "reason"), rows)


def _failovers(story: Story) -> str:
    clock = Clock(story)
    columns = (
        "ordered@",
        "address",
        "of",
        "at",
        "outcome",
        "taken@",
        "in ms#",
        "given back@",
        "held",
        "reason",
    )
    rows = [
        (
            clock(failover.received),
            address_name(failover),
            node_name(failover.disconnected_node),
            node_name(failover.recovery_node),
            failover.outcome,
            clock(failover.taken) if failover.taken else "",
            f"{failover.takeover_ms:g}" if failover.takeover_ms is not None else "",
            clock(failover.released) if failover.released else "",
            held_for(failover),
            visible(failover.reason or failover.release_reason or ""),
        )
        for failover in story.failovers
    ]
    return _table("Failovers", columns, rows)
