"""A relay between a worker and its master, that can be told to lose what passes, or to break what stands."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading

UP, DOWN = "up", "down"
"""From the worker to the master, and back."""


class Relay:
    """TCP. `swallows` are the directions in which it reads and forwards nothing, as a peer does whose cable was
    pulled behind the next box; `stalled`: it does not even read.
    """

    def __init__(self, master, host="127.0.0.1"):
        self.swallows = set()
        self.stalled = False
        self.on_passing = lambda direction, data: None
        self._target = (master.host, master.port)
        self._pairs = []
        self._closed = False
        self._listener = socket.create_server((host, 0))
        self.url = f"http://{host}:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while not self._closed:
            if select.select([self._listener], [], [], 0.05)[0]:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(self._target)
                except OSError:
                    near.close()
                    continue
                self._pairs.append((near, far))
                for pair in ((near, far, UP), (far, near, DOWN)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()
        self._listener.close()

    def _pass(self, source, sink, direction):
        with contextlib.suppress(OSError, ValueError):
            while True:
                if self.stalled or not select.select([source], [], [], 0.05)[0]:
                    threading.Event().wait(0.01 if self.stalled else 0)
                    continue
                data = source.recv(65536)
                if not data:
                    break
                if direction not in self.swallows:
                    sink.sendall(data)
                    self.on_passing(direction, data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self, *, reset=False):
        """End every connection that stands, for both sides; `reset`: by RST."""
        pairs, self._pairs = self._pairs, []
        for end in (end for pair in pairs for end in pair):
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def close(self):
        self._closed = True
        self.cut()
        self._thread.join(5)
