"""A master that decides nothing: it orders what its standard input says, and prints what it hears.

    python -m tests.lab.director HOST PORT

In: a JSON list [NODE, EVENT, DATA, ACKNOWLEDGED] a line. Out: {"at", "node", "event", "data"} a line, `at` of
time.monotonic(); what it orders is the event "ordered", and the acknowledgement that was asked for "ack".
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import socketio
from werkzeug.serving import make_server


def main(host: str, port: int) -> None:
    server = socketio.Server(async_mode="threading", async_handlers=False)
    nodes: dict[str, int] = {}

    def say(sid: str, event: str, data: Any) -> None:
        heard = {"at": time.monotonic(), "node": nodes.get(sid), "event": event, "data": data}
        sys.stdout.write(json.dumps(heard) + "\n")
        sys.stdout.flush()

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
    for line in sys.stdin:
        node, event, data, acknowledged = json.loads(line)
        for sid, number in list(nodes.items()):
            if number == node:
                heard = (lambda *data, sid=sid: say(sid, "ack", data[0])) if acknowledged else None
                say(sid, "ordered", event)
                server.emit(event, data, to=sid, callback=heard)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
