"""The story in a terminal: tables, then one time line of sentences, 100 columns wide at the most."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .episodes import Failover, NodeStory, Story
from .words import (
    Clock,
    address_name,
    duration,
    headline,
    held_for,
    milliseconds,
    node_name,
    remarks,
    sentences,
    visible,
)

WIDTH = 100
_STYLES = {"bad": "red", "good": "green", "plain": ""}


def show(story: Story, stream: TextIO) -> None:
    """Print the story. Where `stream` is no terminal, or NO_COLOR is set, nothing but text is printed."""
    colour = stream.isatty() and not os.environ.get("NO_COLOR")
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) if stream.isatty() else WIDTH
    console = Console(
        file=stream, width=width, force_terminal=None if colour else False, highlight=False, emoji=False
    )
    console.print(Text(headline(story), style="bold"))
    if not story.nodes:
        return
    clock = Clock(story)
    console.print(_nodes(story.nodes, clock))
    if any(node.outages for node in story.nodes):
        console.print(_outages(story.nodes, clock))
    if story.failovers:
        console.print(_failovers(story.failovers, clock))
    console.print(_timeline(story, clock))
    for remark in remarks(story):
        console.print(Text(remark))


def _table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in right
        )
    return table


def _row(table: Table, *cells: str, style: str = "") -> None:
    table.add_row(*(Text(cell) for cell in cells), style=style)


def _nodes(nodes: Sequence[NodeStory], clock: Clock) -> Table:
    numbers = ("pings", "missed", "p50 ms", "p99 ms", "max ms", "outages", "in all")
    table = _table("Nodes", "node", "from", "to", *numbers, right=numbers)
    for node in nodes:
        rtt = (node.rtt.p50, node.rtt.p99, node.rtt.max) if node.rtt else ()
        _row(
            table,
            str(node.node) if node.node is not None else visible(node.name),
            clock(node.first),
            clock(node.last),
            str(node.pings),
            str(node.missed),
            *(f"{ms:.1f}" for ms in rtt) if rtt else ("", "", ""),
            str(len(node.outages)),
            duration(sum(outage.duration_s for outage in node.outages)) if node.outages else "",
        )
    return table


def _outages(nodes: Sequence[NodeStory], clock: Clock) -> Table:
    table = _table("Without the master", "node", "from", "to", "lasted", "reason", right=("lasted",))
    rows = [(outage, node) for node in nodes for outage in node.outages]
    for outage, node in sorted(rows, key=lambda row: row[0].start):
        _row(
            table,
            str(node.node) if node.node is not None else visible(node.name),
            clock(outage.start),
            clock(outage.end) if outage.end else "not seen",
            duration(outage.duration_s) if outage.end else f"> {duration(outage.duration_s)}",
            visible(outage.reason),
        )
    return table


def _failovers(failovers: Sequence[Failover], clock: Clock) -> Table:
    table = _table(
        "Failovers", "ordered", "address", "of", "at", "outcome", "in", "held", "reason", right=("in",)
    )
    for failover in failovers:
        _row(
            table,
            clock(failover.received),
            address_name(failover),
            node_name(failover.disconnected_node),
            node_name(failover.recovery_node),
            failover.outcome,
            milliseconds(failover.takeover_ms) if failover.takeover_ms is not None else "",
            held_for(failover),
            visible(failover.reason or failover.release_reason or ""),
            style="" if failover.outcome == "taken" else _STYLES["bad"],
        )
    return table


def _timeline(story: Story, clock: Clock) -> Table:
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify, table.title_style = "What happened", "left", "bold"
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for sentence in sentences(story):
        _row(table, clock(sentence.when), sentence.text, style=_STYLES[sentence.tone])
    return table
