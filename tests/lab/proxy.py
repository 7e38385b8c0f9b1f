"""An HTTP proxy between a worker and its master: whatever host it is asked for, it passes on to that one."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time


class Proxy:
    """`allows` False: no CONNECT, as many proxies say to all ports but 443; `closes`: it says nothing to that; `drips`,
    which may be changed: it answers one byte at a time, and never to the end. `heads` is what it was asked.
    """

    def __init__(self, port, *, allows=True, closes=False, drips=False):
        self.heads = []
        self.dripping = 0
        self._target = ("127.0.0.1", port)
        self._allows, self._closes, self.drips = allows, closes, drips
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake who waits in accept
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._meet, args=(client,), daemon=True).start()

    def _meet(self, client):
        with contextlib.suppress(OSError), client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            self.heads.append(head.decode())
            if not head.startswith(b"CONNECT"):
                self._pass_on(client, head)
            elif self.drips:
                self._drip(client)
            elif self._closes:
                return
            elif self._allows:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                self._pass_on(client)
            else:
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    def _pass_on(self, client, head=b""):
        with socket.create_connection(self._target) as master:
            master.sendall(head)
            threading.Thread(target=self._pump, args=(client, master), daemon=True).start()
            self._pump(master, client)

    @staticmethod
    def _pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _drip(self, client):
        self.dripping += 1
        try:
            for byte in itertools.chain(b"HTTP/1.1 200 OK\r\nX-Slow: ", itertools.repeat(ord("z"))):
                client.sendall(bytes([byte]))
                time.sleep(0.05)
        finally:
            self.dripping -= 1
