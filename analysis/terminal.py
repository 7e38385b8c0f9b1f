"""The story in a terminal: the answer, the counts, tables, then a sentence for each event; 100 columns at most."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import tables
from .formatting import Times, visible
from .model import BAD, GOOD, WARN, Story
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
    is_plain = not stream.isatty() or bool(os.environ.get("NO_COLOR"))
    console = _Console(file=stream, force_terminal=False if is_plain else None, highlight=False, emoji=False)
    console.width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) if stream.isatty() else WIDTH
    return console


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
        accounts = (account(one, times) for one in story.failovers[-ACCOUNTS:])
        _list(console, _title("Failovers one by one", len(story.failovers), ACCOUNTS), accounts)
    events = tables.events(story, times)
    if events.rows:
        console.print(_table(events, is_list=True), "")
    _list(console, "What the logs do not show", story.caveats)


def print_event(one: Sentence) -> None:
    """Print it as it happens."""
    times = Times(Story())
    text = f"{times.full(one.at)}{times(one.at)[-4:]}  {visible(one.text)}"
    _console(sys.stdout).print(Text(text, style=STYLES.get(one.tone, "")), soft_wrap=True)
    sys.stdout.flush()


def _title(title: str, whole: int, limit: int) -> str:
    return (
        title if whole <= limit else f"{title} (the last {limit} of {whole}; --since and --node show fewer)"
    )


def _table(table: tables.Table, *, is_list: bool = False) -> Table:
    drawn = Table(
        title=_title(table.title, len(table.rows), ROWS),
        title_justify="left",
        title_style="bold",
        box=None if is_list else box.SIMPLE_HEAD,
        show_header=not is_list,
        pad_edge=False,
    )
    for column in table.columns:
        right = column in tables.NUMBERS
        drawn.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=right)
    for row in table.rows[-ROWS:]:
        drawn.add_row(*(Text(visible(cell)) for cell in row.cells), style=STYLES.get(row.tone, ""))
    return drawn


def _list(console: Console, title: str, texts: Iterable[str]) -> None:
    lines = [Text(f"- {visible(text, None)}") for text in texts]
    if lines:
        console.print(Text(title, style="bold"), *lines, "", sep="\n")
