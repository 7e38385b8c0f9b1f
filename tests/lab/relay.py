"""A relay between a worker and its master, that can be told to lose what passes, or to break what stands."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading

from tests.lab.waiting import until

UP, DOWN = "up", "down"
"""From the worker to the master, and back."""


class Relay:
    """TCP. `swallows` are the directions in which it reads and forwards nothing, as a peer does whose cable was
    pulled behind the next box; `stalled`: it does not even read. `alter` may change what passes: it is given a
    direction and data and returns what goes on, None for the connection's end. `target` is whom it connects to.
    `listen`, given a port, 0 for any, makes the socket on which it waits for workers.
    """

    def __init__(self, master, host="127.0.0.1", listen=None):
        self.swallows = set()
        self.stalled = False
        self.on_passing = lambda direction, data: None
        self.alter = lambda direction, data: data
        self.target = (master.host, master.port)
        self._listen = listen or (lambda port: socket.create_server((host, port)))
        self._pairs = []
        self._closed = False
        self._listener = self._listen(0)
        self._address = self._listener.getsockname()
        self.url = f"http://{self._address[0]}:{self._address[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def connections(self):
        """How many stand."""
        return len(self._pairs)

    def _accept(self):
        while not self._closed:
            listener = self._listener
            if listener is None:
                threading.Event().wait(0.01)
            elif select.select([listener], [], [], 0.05)[0]:
                # a connection that was aborted while it waited
                with contextlib.suppress(OSError):
                    self._relay(listener.accept()[0])
            if listener and self._listener is not listener:
                listener.close()
        if self._listener:
            self._listener.close()

    def _relay(self, near):
        try:
            far = socket.create_connection(self.target)
        except OSError:
            near.close()
            return
        pair = (near, far)
        self._pairs.append(pair)
        for way in ((near, far, UP), (far, near, DOWN)):
            threading.Thread(target=self._pass, args=(*way, pair), daemon=True).start()

    def _pass(self, source, sink, direction, pair):
        with contextlib.suppress(OSError, ValueError):
            while True:
                if self.stalled or not select.select([source], [], [], 0.05)[0]:
                    threading.Event().wait(0.01 if self.stalled else 0)
                    continue
                data = source.recv(65536)
                if not data:
                    break
                if direction not in self.swallows:
                    data = self.alter(direction, data)
                    if data is None:
                        break
                    sink.sendall(data)
                    self.on_passing(direction, data)
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(ValueError):
            self._pairs.remove(pair)

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

    def refuse(self):
        """Take no connection any more: the kernel refuses them."""
        listener, self._listener = self._listener, None
        until(lambda: listener.fileno() == -1)

    def accept(self):
        """After `refuse`: take connections again, on the same port."""
        self._listener = self._listen(self._address[1])

    def close(self):
        self._closed = True
        self.cut()
        self._thread.join(5)
