"""What passes between a connection and its owner: how to reach a master, and what becomes of it, as messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from connection.errors import Failure

if TYPE_CHECKING:
    from connection.attempt import Attempt


@dataclass(frozen=True)
class Up:
    """The master accepted: `local_ip` is this end of the connection, None behind a proxy."""

    attempt: Attempt
    sid: str
    transport: str
    local_ip: Optional[str]
    quiet_s: float


@dataclass(frozen=True)
class Down:
    """The attempt failed, or the connection that it had become ended."""

    attempt: Attempt
    failure: Failure
    undelivered: tuple[object, ...] = ()
    """Of what was sent with `keep`, what the master may not have, in its order."""


@dataclass(frozen=True)
class Received:
    """An event of the master that is for the owner: `data` as decoded, `ack_id` None where none is asked for."""

    attempt: Attempt
    event: str
    data: Any
    ack_id: Optional[int]
    arrived_s: float


@dataclass(frozen=True)
class Hooks:
    """Called from the connection's threads; none may block or raise. `post_order` may wait for as long as it is
    told, and returns False when it then could not take the order; told 0 it takes it.
    """

    post: Callable[[object], None]
    post_order: Callable[[Received, float], bool]
    acknowledged: Callable[[int], None]


@dataclass(frozen=True)
class Target:
    """A master and how to speak to it. `auth` goes to it alone; `ca_file` None: the system's CAs."""

    url: str
    auth: Optional[dict[str, Any]]
    ca_file: Optional[Path]
