"""Which Engine.IO the installed libraries speak: the masters of today want 4, those of 2020 3, with python-socketio 4
and python-engineio 3, and what is different with these.

In version 3 the first poll already lets a node in: beginning with a websocket in vain would let it in twice. So it
begins with polling, and the library changes to a websocket where the master has one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import socketio
import socketio.packet
import websocket

EIO = 4 if hasattr(socketio.packet, "CONNECT_ERROR") else 3
if EIO == 4:
    MISMATCH = (
        "the master speaks Engine.IO v3 (Socket.IO 2, python-socketio 4, Flask-SocketIO 4), this worker v4"
    )
    REMEDY = (
        "upgrade the master to Socket.IO 3 or newer, python-socketio 5 or Flask-SocketIO 5, "
        "or install requirements-eio3.txt for this worker"
    )
else:
    MISMATCH = "the master speaks Engine.IO v4 (Socket.IO 3 and newer, python-socketio 5), this worker v3"
    REMEDY = "install requirements.txt for this worker"

_dialing = threading.local()
_create_connection = websocket.create_connection


def _with_our_socket(url: str, **options: Any) -> Any:
    """websocket.create_connection with the options that version 3 of the library cannot be given."""
    ours: Callable[[], dict[str, Any]] | None = getattr(_dialing, "options", None)
    try:
        return _create_connection(url, **{**options, **(ours() if ours else {})})
    except Exception as exc:
        # after this the library goes on by polling, which stands already
        raise ConnectionError(str(exc)) from exc


def make_client_v3(websocket_options: Callable[[], dict[str, Any]], **options: Any) -> Any:
    """A client as session.py wants it, to be connected by the calling thread; it has no place for `auth`."""
    websocket.create_connection = _with_our_socket
    _dialing.options = websocket_options
    return socketio.Client(ssl_verify=True, **options)


def heard_v3(eio: Any) -> None:
    """The library would end a connection whose answer to its heartbeat waits behind a burst."""
    eio.pong_received = True


def end_v3(eio: Any) -> None:
    """The library's heartbeat would notice an end at its next beat only."""
    if eio.ping_loop_event:
        eio.ping_loop_event.set()
