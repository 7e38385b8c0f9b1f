"""Which Engine.IO the installed libraries speak: the masters of today want 4, those of 2020 3."""

from __future__ import annotations

import socketio.packet

EIO = 4 if hasattr(socketio.packet, "CONNECT_ERROR") else 3
V3 = "Engine.IO v3 (Socket.IO 2, python-socketio 4, Flask-SocketIO 4)"
V4 = "Engine.IO v4 (Socket.IO 3 and newer, python-socketio 5, Flask-SocketIO 5)"
MISMATCH = {
    4: f"the master speaks {V3}, this worker v4: upgrade the master to Socket.IO 3 or newer, python-socketio 5 or "
    "Flask-SocketIO 5, or install requirements-eio3.txt for this worker",
    3: f"the master speaks {V4}, this worker v3: install requirements.txt for this worker",
}[EIO]
REMEDY = {
    4: "upgrade the master's library, or install requirements-eio3.txt for this worker",
    3: "install requirements.txt for this worker",
}[EIO]
