"""The story as it happens: folders are watched, and each new event is printed once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .nodelog import NodeLog
from .parser import Ping, parse
from .reader import Folder, Tail
from .selection import select
from .sentences import Sentence, sentences
from .timeline import Reading, read, tell

POLL_S = 0.2
SETTLE_S = 0.4
"""For which an event waits, so that what another node logged at that moment is printed in its order."""
BUSY = 10
"""Times the CPU seconds of a look that pass before the next, so that a flood of lines does not take the machine."""
SILENT_S = 3.0
"""How often silence is looked for."""
_CHANGES = re.compile(":|;| (?:for|from|after) ")
"""What begins the part of a sentence that is worded anew once more is known."""
_TWIN = re.compile(r"^(node \d+) \(.*?\) ")
"""A name with its folder, which it gets when another machine comes with its number."""


class Follower:
    """`tell`: called with each new event once, from `since` (seconds since 1970)."""

    def __init__(
        self,
        paths: Sequence[Path],
        tell: Callable[[Sentence], None],
        since: float,
        nodes: frozenset[int] | None = None,
    ) -> None:
        self._paths = paths
        self._tell = tell
        self._since = since
        self._nodes = nodes
        self._tails = [(path, log, Tail(path / f"{log}.log")) for path in paths for log in ("ping", "comms")]
        self._logs: list[NodeLog] = []
        self._log_of: dict[Path, NodeLog] = {}
        self._told: set[tuple[float, str]] = set()

    def begin(self) -> list[str]:
        """Read what is there; the faults of doing so."""
        for _, _, tail in self._tails:
            tail.skip()
        folders = [Folder(path) for path in self._paths]
        self._logs += read(folders).logs
        self._log_of = {folder.path: log for log in self._logs for folder in log.folders}
        self._look()
        return [fault for folder in folders for fault in folder.faults]

    def run(self, is_over: Callable[[], bool]) -> None:
        """Print what happens until it is over."""
        look_s = next_s = 0.0
        while not is_over():
            if self._read_on():
                look_s = min(look_s, time.monotonic() + SETTLE_S)
            if time.monotonic() >= max(look_s, next_s):
                began_s = time.process_time()  # a machine that is busy otherwise makes no look dear
                self._look()
                next_s = time.monotonic() + BUSY * (time.process_time() - began_s)
                look_s = time.monotonic() + SILENT_S
            time.sleep(POLL_S)

    def _read_on(self) -> bool:
        """Whether there is news; a ping that follows the one before is none."""
        news = False
        for path, name, tail in self._tails:
            for text in tail.lines():
                item = parse(text)
                if item is None:
                    continue
                log = self._log(path)
                if name == "ping":
                    log.pings.add(item)
                else:
                    log.pings.sort()
                    log.add(item)
                news = news or not isinstance(item, Ping)
        return news

    def _log(self, path: Path) -> NodeLog:
        log = self._log_of.get(path)
        if log is None:
            log = self._log_of[path] = NodeLog([Folder(path)])
            self._logs.append(log)
        return log

    def _look(self) -> None:
        logs = tuple(log for log in self._logs if not log.is_empty)
        for one in sentences(select(tell(Reading(logs)), self._nodes)):
            # when and which node say that it is the same one
            what = (one.at, _CHANGES.split(_TWIN.sub(r"\1 ", one.text))[0])
            if what not in self._told:
                self._told.add(what)
                if one.at >= self._since:
                    self._tell(one)
