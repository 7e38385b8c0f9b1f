"""The story in a terminal: tables, then one time line of sentences, 100 columns wide at the most."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .account import account
from .episodes import Failover, NodeStory, Story
from .words import (
    Clock,
    Sentence,
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
ROWS, ACCOUNTS = 500, 20
"""Of a long story the newest are printed."""
_STYLES = {"bad": "red", "good": "green", "plain": ""}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to whoever prints: that a reader has read enough is no failure."""
        raise BrokenPipeError


def _console(stream: TextIO) -> Console:
    """Where `stream` is no terminal, or NO_COLOR is set, nothing but text is printed."""
    colour = stream.isatty() and not os.environ.get("NO_COLOR")
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) if stream.isatty() else WIDTH
    return _Console(
        file=stream, width=width, force_terminal=None if colour else False, highlight=False, emoji=False
    )


def show(story: Story, stream: TextIO) -> None:
    """Print the story."""
    console = _console(stream)
    console.print(Text(headline(story), style="bold"))
    if story.nodes or story.failovers:
        clock = Clock(story)
        if story.nodes:
            console.print(_nodes(story.nodes, clock))
        if any(node.outages for node in story.nodes):
            console.print(_outages(story.nodes, clock))
        if story.failovers:
            console.print(_failovers(story.failovers, clock))
        if story.absences:
            newest = story.absences[-ACCOUNTS:]
            texts = [account(absence, story.failovers, clock) for absence in newest]
            title = _title("Addresses that changed hands", len(story.absences), len(newest))
            _print_paragraphs(console, title, texts)
        console.print(_timeline(story, clock))
    if story.unknown:
        console.print()
        _print_paragraphs(console, "What the logs say of themselves", remarks(story))


class Ticker:
    """Prints one event after the other, as they happen."""

    def __init__(self) -> None:
        self._console = _console(sys.stdout)

    def tell(self, one: Sentence) -> None:
        when = one.when.astimezone()
        text = f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03d}  {one.text}"
        self._console.print(Text(text, style=_STYLES[one.tone]), soft_wrap=True)
        self._console.file.flush()


def _print_paragraphs(console: Console, title: str, texts: Sequence[str]) -> None:
    console.print(Text(title, style="bold"))
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for text in texts:
        _row(table, "-", text)
    console.print(table)
    console.print()


def _title(title: str, count: int, shown: int) -> str:
    if shown == count:
        return title
    return f"{title} (the last {shown} of {count}; --json has all, --since and --node tell of fewer)"


def _table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in right
        )
    return table


def _row(table: Table, *cells: str, style: str = "") -> None:
    table.add_row(*(Text(cell) for cell in cells), style=style)


def percent(availability: float) -> str:
    """With two decimals, and never 100 where something is missing."""
    return "100" if availability >= 100 else f"{math.floor(availability * 100) / 100:.2f}"


def _nodes(nodes: Sequence[NodeStory], clock: Clock) -> Table:
    numbers = ("pings", "missed", "p50 ms", "p99 ms", "max ms", "up %", "outages")
    table = _table("Nodes", "node", "from", "to", *numbers, right=numbers)
    for node in nodes:
        rtt = (node.rtt.p50, node.rtt.p99, node.rtt.max) if node.rtt else ()
        _row(
            table,
            str(node.node) if node.node is not None else visible(node.name),
            clock.second(node.first),
            clock.second(node.last),
            str(node.pings),
            str(node.missed),
            *(f"{ms:.1f}" for ms in rtt) if rtt else ("", "", ""),
            "" if node.availability is None else percent(node.availability),
            str(len(node.outages)),
        )
    return table


def _outages(nodes: Sequence[NodeStory], clock: Clock) -> Table:
    rows = sorted(((outage, node) for node in nodes for outage in node.outages), key=lambda row: row[0].start)
    title = _title("Without the master", len(rows), len(rows[-ROWS:]))
    table = _table(title, "node", "from", "to", "lasted", "cause", "reason", right=("lasted",))
    for outage, node in rows[-ROWS:]:
        _row(
            table,
            str(node.node) if node.node is not None else visible(node.name),
            clock(outage.start),
            clock(outage.end) if outage.end else "not seen",
            duration(outage.duration_s) if outage.end else f"> {duration(outage.duration_s)}",
            outage.cause,
            "" if outage.reason == outage.cause else visible(outage.reason),
        )
    return table


def _failovers(failovers: Sequence[Failover], clock: Clock) -> Table:
    title = _title("Failovers", len(failovers), len(failovers[-ROWS:]))
    table = _table(title, "ordered", "address", "of", "at", "outcome", "in", "held", "reason", right=("in",))
    for failover in failovers[-ROWS:]:
        _row(
            table,
            clock(failover.received),
            address_name(failover),
            node_name(failover.disconnected_node),
            node_name(failover.recovery_node),
            "not logged" if failover.pending else failover.outcome,
            milliseconds(failover.takeover_ms) if failover.takeover_ms is not None else "",
            held_for(failover),
            visible(failover.reason or failover.release_reason or ""),
            style="" if failover.outcome == "taken" or failover.pending else _STYLES["bad"],
        )
    return table


def _timeline(story: Story, clock: Clock) -> Table:
    told = sentences(story)
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify, table.title_style = (
        _title("What happened", len(told), len(told[-ROWS:])),
        "left",
        "bold",
    )
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for sentence in told[-ROWS:]:
        _row(table, clock(sentence.when), sentence.text, style=_STYLES[sentence.tone])
    return table
