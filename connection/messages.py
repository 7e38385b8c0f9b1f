"""What a session hears, and what it reports to its owner, as messages, and how."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from connection import payload
from connection.errors import Failure

ORDERS = {"recover": ("disconnected_node", "recovery_node", "ip", "netmask", "active_neighbors"),
          "restore": ("restore_node",)}  # fmt: skip
ORDER_BYTES = 64 << 10
"""Bytes of an order's JSON; a larger one is refused before it is kept."""
ORDER_LEVELS = 100
"""Levels of nesting of an order: what can be read can just fail to be written, or be read where the stack has less room."""
CUT_BYTES = 1024
"""Of those that come back of an order that is refused for its size."""
BINARY = ("5", "6")
"""Types of Socket.IO packets that announce binary data."""
HEADER = re.compile(r"([0-4])(?:(/[^,]{0,200}),?)?(\d{1,19}(?!\d))?")
"""Of another: its type, its namespace, its number."""
order_numbers = itertools.count(1)  # of this run's orders, whichever connection they come on


@dataclass(frozen=True)
class Connected:
    """The master accepted: `local_ip` is this end of the connection, None behind a proxy."""

    session: object
    sid: str
    transport: str
    local_ip: str | None
    quiet_s: float


@dataclass(frozen=True)
class Disconnected:
    """The attempt failed, or the connection that it had become ended.

    `undelivered` is, of what was sent with `keep`, what the master may not have, in its order.
    """

    session: object
    failure: Failure
    undelivered: tuple[object, ...] = ()


@dataclass(frozen=True)
class OrderReceived:
    """An event of the master that is for the owner.

    `number` is its own in this run. `ack_id` is None where no acknowledgement is asked for. `fault` says why the order
    is refused whatever it holds, and then only its own keys are here, cut. `raw` is the event's JSON.
    """

    session: object
    event: str
    raw: bytes
    ack_id: int | None
    arrived_s: float
    number: int = 0
    fault: str | None = None

    @property
    def data(self) -> Any:
        """What the master sent with it, decoded. It waits as the bytes that came, whose number is bounded: as objects, or
        written anew, it may take several times as many.
        """
        args = payload.loads(self.raw.decode(errors="surrogatepass"))[1:]
        return args[0] if len(args) == 1 else args or None


@dataclass(frozen=True)
class JoinAcknowledged:
    """The master has read a `join`; `error` says why it refuses this node, None: it does not."""

    session: object
    error: str | None


@dataclass(frozen=True)
class Callbacks:
    """Called from the connection's threads; none may block or raise.

    `post_order` may wait for that many seconds, and returns False when it then could not take the order; with 0 it
    takes it.
    """

    post: Callable[[object], None]
    post_order: Callable[[OrderReceived, float], bool]
    acknowledged: Callable[[int], None]


def parse(text: str) -> tuple[str, int | None, str]:
    """A Socket.IO packet's type, number and JSON. Raises ValueError."""
    if text.startswith(BINARY):
        raise ValueError("it has binary data, as no order has")
    header = HEADER.match(text)
    if not header:
        raise ValueError("it has no type that is known")
    kind, namespace, number = header.groups()
    raw = text[header.end() :]
    if raw[:1].isdigit():
        raise ValueError("it has a number of too many digits")
    if namespace not in (None, "/"):
        number = None
        if kind != "2":
            raise ValueError("it is of another namespace")
    return kind, None if number is None else int(number), raw


def order_of(
    session: object, number: int, event: str, args: tuple[Any, ...], raw: str, ack_id: int | None
) -> OrderReceived:
    """The order that an event with these arguments is; `raw` is its JSON. Of one beyond the limits only the keys are
    kept, cut.
    """
    data = args[0] if len(args) == 1 else list(args) or None
    size, fault = len(raw.encode(errors="replace")), None
    if size > ORDER_BYTES:
        fault = f"the order has {size} bytes; at most {ORDER_BYTES} are taken"
    elif _is_deep(data):
        fault = f"the order is nested more than {ORDER_LEVELS} levels deep"
    if fault:
        raw = payload.encode([event, _cut_to_keys(data, ORDERS[event])])
    kept = raw.encode(errors="surrogatepass")
    return OrderReceived(session, event, kept, ack_id, time.monotonic(), number, fault)


def _cut_to_keys(data: object, keys: tuple[str, ...]) -> dict[str, Any] | None:
    """Of an order beyond the limits these keys, cut; None: it has none."""
    if not isinstance(data, dict):
        return None
    kept = {key: None if _is_deep(data[key]) else data[key] for key in keys if key in data}
    return payload.shorten(kept, CUT_BYTES)


def _is_deep(value: object) -> bool:
    """Whether it has more than ORDER_LEVELS levels of lists and objects."""
    level = [value]
    for _ in range(ORDER_LEVELS + 1):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return False
    return True


def _inner(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
