"""Messages to the owner's loop that are not the connection's or the network's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stop:
    """SIGTERM, SIGINT or Windows' SIGBREAK."""

    signal: str


@dataclass(frozen=True)
class ReopenLogs:
    """SIGHUP."""


@dataclass(frozen=True)
class DumpState:
    """SIGUSR1."""


@dataclass(frozen=True)
class StatusAsked:
    """`client.py --status` waits until `reply` is called with a snapshot."""

    reply: Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class MasterTimeout:
    """The keep-alive takes the master for dead."""

    reason: str


@dataclass(frozen=True)
class ProbeTimeout:
    """Posted when probes may have gone unanswered: whatever the wire said before is ahead of it in the inbox.

    `as_of` is the monotonic time up to which silence counts.
    """

    as_of: float
