"""The story in a terminal: the answer, the counts, tables, then a sentence for each event; 100 columns at most."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import tables
from .formatting import Times, visible
from .model import BAD, GOOD, WARN, Story
from .narrative import account, counts, headline
from .sentences import Sentence, sentences

WIDTH = 100
ROWS, ACCOUNTS = 500, 20
"""Of a long story the newest are printed."""
STYLES = {BAD: "red", WARN: "yellow", GOOD: "green"}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the caller: a reader that has read enough is no failure."""
        raise BrokenPipeError


def _console(stream: TextIO) -> Console:
    """Where `stream` is no terminal, or NO_COLOR is set, nothing but text is printed."""
    color = stream.isatty() and not os.environ.get("NO_COLOR")
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) if stream.isatty() else WIDTH
    return _Console(
        file=stream, width=width, force_terminal=None if color else False, highlight=False, emoji=False
    )


def show(story: Story, stream: TextIO) -> None:
    """Print the story."""
    console = _console(stream)
    console.print(Text(headline(story), style="bold"))
    console.print(Text(counts(story)))
    for fault in story.faults:
        console.print(Text(f"Fault: {fault}", style="bold red"))
    console.print()
    times = Times(story)
    for table in tables.of(story, times):
        if table.rows:
            console.print(_table(table))
    if len(story.failovers) > 1:
        newest = story.failovers[-ACCOUNTS:]
        _paragraphs(
            console,
            _title("Failovers one by one", len(story.failovers), len(newest)),
            [account(one, times) for one in newest],
        )
    told = sentences(story)
    if told:
        console.print(Text(_title("What happened", len(told), len(told[-ROWS:])), style="bold"))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for one in told[-ROWS:]:
            grid.add_row(Text(times(one.at)), Text(visible(one.text)), style=STYLES.get(one.tone, ""))
        console.print(grid)
        console.print()
    if story.caveats:
        _paragraphs(console, "What the logs do not show", story.caveats)


class Ticker:
    """Prints one event after the other, as they happen."""

    def __init__(self, stream: TextIO) -> None:
        self._console = _console(stream)
        self._times = Times(Story())

    def __call__(self, one: Sentence) -> None:
        text = f"{self._times.full(one.at)}{self._times(one.at)[-4:]}  {visible(one.text)}"
        self._console.print(Text(text, style=STYLES.get(one.tone, "")), soft_wrap=True)
        self._console.file.flush()


def _title(title: str, whole: int, shown: int) -> str:
    return (
        title if shown == whole else f"{title} (the last {shown} of {whole}; --since and --node show fewer)"
    )


def _table(table: tables.Table) -> Table:
    rows = table.rows[-ROWS:]
    drawn = Table(
        title=_title(table.title, len(table.rows), len(rows)),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in table.columns:
        right = column in table.right
        drawn.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=right)
    for row in rows:
        drawn.add_row(*(Text(visible(cell)) for cell in row.cells), style=STYLES.get(row.tone, ""))
    return drawn


def _paragraphs(console: Console, title: str, texts: Sequence[str]) -> None:
    console.print(Text(title, style="bold"))
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for text in texts:
        grid.add_row(Text("-"), Text(visible(text)))
    console.print(grid)
    console.print()
