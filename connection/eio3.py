"""What is different with python-socketio 4 and python-engineio 3, for masters that speak Engine.IO v3.

There the first poll already lets a node in: beginning with a websocket in vain would let it in twice. So it begins
with polling, and the library changes to a websocket where the master has one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import socketio
import websocket

_dialing = threading.local()
_create_connection = websocket.create_connection


def _with_our_socket(url: str, **options: Any) -> Any:
    """websocket.create_connection with the options that this library cannot be given."""
    ours: Callable[[], dict[str, Any]] | None = getattr(_dialing, "options", None)
    return _create_connection(url, **{**options, **(ours() if ours else {})})


def make_client(websocket_options: Callable[[], dict[str, Any]], **options: Any) -> Any:
    """A client as connection/client.py wants it; to be connected by the calling thread."""
    websocket.create_connection = _with_our_socket
    _dialing.options = websocket_options
    return socketio.Client(ssl_verify=True, **options)


def connect(client: Any, url: str) -> None:
    """Connect; there is no place for `auth`."""
    client.connect(url, namespaces=["/"])


def heard(client: Any) -> None:
    """The library would end a connection whose answer to its heartbeat waits behind a burst."""
    client.eio.pong_received = True
