"""How far the reading is, on a terminal, once it has lasted for a while."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

PATIENCE_S = 2.0


@contextmanager
def reading(total: int, stream: TextIO) -> Iterator[_Reading]:
    """`total`: bytes to be read; `stream`: where the bar is drawn, if it is a terminal."""
    bar = _Reading(total, stream)
    try:
        yield bar
    finally:
        bar.end()


class _Reading:
    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._began_s = time.monotonic()
        self._read = 0
        self._bar: Optional[Progress] = None

    def add(self, size: int) -> None:
        """So many bytes more were read."""
        self._read += size
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self._read)
        elif time.monotonic() - self._began_s > PATIENCE_S and self._stream.isatty():
            columns = (TextColumn("reading logs"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
            self._bar.add_task("reading", total=self._total, completed=self._read)
            self._bar.start()

    def end(self) -> None:
        if self._bar:
            self._bar.stop()
