"""The story in a terminal: the answer, the counts, tables, then a sentence for each event; 100 columns at most."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import tables
from .formatting import LONGEST, Times, visible
from .model import BAD, GOOD, PLAIN, WARN, Story
from .narrative import account, counts, headline
from .sentences import Sentence

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
    console, times = _console(stream), Times(story)
    console.print(Text(visible(headline(story), None), style="bold"))
    console.print(Text(visible(counts(story), None)))
    for fault in story.faults:
        console.print(Text(f"Fault: {visible(fault, None)}", style="bold red"))
    console.print()
    for table in tables.of(story, times):
        console.print(_table(table))
    if len(story.failovers) > 1:
        accounts = [("-", account(one, times), PLAIN) for one in story.failovers]
        _list(console, "Failovers one by one", accounts, ACCOUNTS, None)
    events = tables.events(story, times)
    _list(console, events.title, [(*row.cells, row.tone) for row in events.rows], ROWS, LONGEST)
    _list(console, "What the logs do not show", [("-", text, PLAIN) for text in story.caveats], ROWS, None)


def print_event(one: Sentence) -> None:
    """Print it as it happens."""
    times = Times(Story())
    text = f"{times.full(one.at)}{times(one.at)[-4:]}  {visible(one.text)}"
    _console(sys.stdout).print(Text(text, style=STYLES.get(one.tone, "")), soft_wrap=True)
    sys.stdout.flush()


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


def _list(
    console: Console, title: str, rows: Sequence[tuple[str, ...]], limit: int, longest: int | None
) -> None:
    """Rows of what stands at the left, a text of `longest` characters at most, and its tone; the last of them."""
    if not rows:
        return
    shown = rows[-limit:]
    console.print(Text(_title(title, len(rows), len(shown)), style="bold"))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for left, text, tone in shown:
        grid.add_row(Text(left), Text(visible(text, longest)), style=STYLES.get(tone, ""))
    console.print(grid)
    console.print()
