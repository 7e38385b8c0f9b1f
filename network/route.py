"""A netlink socket for rtnetlink(7): requests and their answers, or the kernel's notifications."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from network.interface import NetworkError
from network.message import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    messages,
    request,
)

_LIMIT_S = 0.8
_BUFFER_BYTES = 1 << 17
_DUMP_ATTEMPTS = 5
_SO_RCVBUFFORCE = 33


@contextmanager
def reasons(what: str) -> Iterator[None]:
    """Turn the kernel's refusals and the errors of the socket into NetworkError; `what` failed, because."""
    try:
        yield
    except OSError as exc:
        raise NetworkError(f"{what}: {exc.strerror or exc}") from exc


class Route:
    """Requests to the kernel, one at a time, by one thread; with `groups`, its notifications instead.

    Methods raise OSError: with the kernel's errno where it refuses, TimeoutError where no answer comes within
    0.8 s.
    """

    def __init__(self, groups: int = 0) -> None:
        self._sequence = 0
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            self._sock.settimeout(_LIMIT_S)
            if groups:
                self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 20)
            self._sock.bind((0, groups))
        except OSError:
            self._sock.close()
            raise

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def receive(self) -> list[Message]:
        """The messages of the next datagram. OSError with ENOBUFS: some were lost."""
        return list(messages(self._sock.recv(_BUFFER_BYTES)))

    def change(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Ask for a change and wait until it is acknowledged."""
        self._exchange(kind, body, NLM_F_REQUEST | NLM_F_ACK | flags)

    def get(self, kind: int, body: bytes) -> list[Message]:
        """Ask for one thing; OSError with ENOENT where it is not there."""
        return self._exchange(kind, body, NLM_F_REQUEST | NLM_F_ACK)

    def dump(self, kind: int, body: bytes) -> list[Message]:
        """Everything of a kind, in the kernel's order."""
        for _ in range(_DUMP_ATTEMPTS):
            found = self._exchange(kind, body, NLM_F_REQUEST | NLM_F_DUMP)
            # Set where things changed between two parts of the answer, so that one may be missing.
            if not any(one.flags & NLM_F_DUMP_INTR for one in found):
                return found
        raise OSError("it changes faster than it can be read")

    def _exchange(self, kind: int, body: bytes, flags: int) -> list[Message]:
        self._sequence += 1
        self._sock.send(request(kind, flags, self._sequence, body))
        found: list[Message] = []
        until_s = time.monotonic() + _LIMIT_S
        while time.monotonic() < until_s:
            for answer in self.receive():
                if answer.sequence != self._sequence:
                    continue  # it belongs to a request that was given up
                if answer.kind not in {NLMSG_ERROR, NLMSG_DONE}:
                    found.append(answer)
                    continue
                # An error of 0 is the acknowledgement; an errno may also end a dump.
                code = -struct.unpack_from("=i", answer.body)[0] if len(answer.body) >= 4 else 0
                if code > 0:
                    raise OSError(code, os.strerror(code))
                return found
        raise TimeoutError("the kernel did not answer in time")
