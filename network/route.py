"""A netlink socket (netlink(7), rtnetlink(7)) that sends and receives messages as bytes.

Between an order and its answer addresses are read several times and changed once. pyroute2's IPRoute, which
runs each request through an asyncio loop, takes 0.20 ms for a read, its messages over a plain socket 0.13, bytes
0.02. So what that path needs is packed and read here; the rest is decoded by pyroute2's messages.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR
from pyroute2.netlink.exceptions import NetlinkError

from network.interface import NetworkError

_LIMIT_S = 0.8
_BUFFER_BYTES = 1 << 17
_DUMP_ATTEMPTS = 5
_SO_RCVBUFFORCE = 33
_ATTRIBUTE = struct.Struct("=HH")
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
HEADER_BYTES = _HEADER.size


class Message(NamedTuple):
    kind: int
    flags: int
    sequence: int
    raw: bytes
    """With its nlmsghdr."""


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(message: bytes, start: int) -> dict[int, bytes]:
    """The attributes (rtattr: length, type, value, each on four bytes) of a message from `start` on."""
    found = {}
    while start + 4 <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, start)
        if length < 4:
            break
        found[kind] = message[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


@contextmanager
def reasons(what: str) -> Iterator[None]:
    """Turn the errors of netlink and of the socket below it into NetworkError; `what` failed, because."""
    try:
        yield
    except NetlinkError as exc:
        raise NetworkError(f"{what}: {os.strerror(exc.code)}") from exc
    except OSError as exc:
        raise NetworkError(f"{what}: {exc.strerror or exc}") from exc


class Route:
    """Requests to the kernel, one at a time, by one thread; with `groups`, its notifications instead.

    Methods raise NetlinkError (the kernel's refusal) or OSError; no answer within 0.8 s is a TimeoutError.
    """

    def __init__(self, groups: int = 0) -> None:
        self._sequence = 0
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            self._sock.settimeout(_LIMIT_S)
            if groups:
                # Fewer notifications are lost in a burst; old kernels refuse it in a container.
                with suppress(PermissionError):
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
        data = self._sock.recv(_BUFFER_BYTES)
        found = []
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, flags, sequence, _port = _HEADER.unpack_from(data, at)
            if length < _HEADER.size:
                break
            found.append(Message(kind, flags, sequence, data[at : at + length]))
            at += (length + 3) & ~3
        return found

    def change(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Ask for a change and wait until it is acknowledged."""
        self._exchange(kind, NLM_F_ACK | flags, body)

    def get(self, kind: int, body: bytes) -> list[bytes]:
        """Ask for one thing; NetlinkError with ENOENT where it is not there."""
        return [message.raw for message in self._exchange(kind, NLM_F_ACK, body)]

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """Everything of a kind, in the kernel's order."""
        for _ in range(_DUMP_ATTEMPTS):
            found = self._exchange(kind, NLM_F_DUMP, body)
            # Set where things changed between two parts of the answer, so that one may be missing.
            if not any(one.flags & NLM_F_DUMP_INTR for one in found):
                return [one.raw for one in found]
        raise OSError("it changes faster than it can be read")

    def _exchange(self, kind: int, flags: int, body: bytes) -> list[Message]:
        self._sequence += 1
        head = _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | flags, self._sequence, 0)
        self._sock.send(head + body)
        found: list[Message] = []
        until_s = time.monotonic() + _LIMIT_S
        while time.monotonic() < until_s:
            for answer in self.receive():
                if answer.sequence != self._sequence:
                    continue  # it belongs to a request that was given up
                if answer.kind == NLMSG_ERROR:
                    code = -int.from_bytes(answer.raw[16:20], sys.byteorder, signed=True)
                    if code:
                        raise NetlinkError(code)
                if answer.kind in {NLMSG_ERROR, NLMSG_DONE}:  # an error of 0 is the acknowledgement
                    return found
                found.append(answer)
        raise TimeoutError("the kernel did not answer in time")
