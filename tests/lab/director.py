"""A master that decides nothing: it orders what comes through its pipe, and reports there what it hears.

In: (NODE, EVENT, DATA, ACKNOWLEDGED). Out: {"at", "node", "event", "data"}, `at` of time.monotonic(); what it orders is
the event "ordered", and the acknowledgement that was asked for "ack".
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

import socketio
from werkzeug.serving import make_server

from tests.lab.observers import enter_namespace


def serve(pipe: Connection, namespace: str, host: str, port: int) -> None:
    """Run as a process of its own in that network namespace, until the pipe is closed."""
    enter_namespace(namespace)
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = socketio.Server(async_mode="threading", async_handlers=False)
    nodes: dict[str, int] = {}
    lock = threading.Lock()

    def say(sid: str, event: str, data: Any) -> None:
        heard = {"at": time.monotonic(), "node": nodes.get(sid), "event": event, "data": data}
        with lock, contextlib.suppress(OSError):
            pipe.send(heard)

    def join(sid: str, data: Any) -> None:
        nodes[sid] = data["NODE_ID"]
        say(sid, "join", data)

    server.on("join", join)
    server.on("ping", lambda sid, data: None)
    for event in ("update node", "restore node"):
        server.on(event, lambda sid, data, event=event: say(sid, event, data))
    server.on("disconnect", lambda sid, reason: say(sid, "disconnect", reason))
    app = make_server(host, port, socketio.WSGIApp(server), threaded=True)
    threading.Thread(target=app.serve_forever, daemon=True).start()
    say("", "listening", port)
    with contextlib.suppress(EOFError):
        while True:
            node, event, data, acknowledged = pipe.recv()
            for sid, number in list(nodes.items()):
                if number == node:
                    heard = (lambda *data, sid=sid: say(sid, "ack", data[0])) if acknowledged else None
                    say(sid, "ordered", event)
                    server.emit(event, data, to=sid, callback=heard)
    os._exit(0)
