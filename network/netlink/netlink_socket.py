"""A netlink socket (rtnetlink(7)): requests to the kernel, and its notifications."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from network.base import NetworkError
from network.netlink.messages import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    build,
    parse,
)

Attributes = Sequence[tuple[int, bytes]]
_LIMIT_S = 0.8
_BUFFER_BYTES = 1 << 17
_DUMP_ATTEMPTS = 5
_SO_RCVBUFFORCE = 33


@contextmanager
def reasons(what: str) -> Iterator[None]:
    """Turn the errors of a Route into NetworkError; `what` failed, because."""
    try:
        yield
    except OSError as exc:
        raise NetworkError(f"{what}: {exc.strerror or exc}") from exc
    except ValueError as exc:
        raise NetworkError(f"{what}: the kernel's answer could not be read") from exc


class NetlinkSocket:
    """Requests to the kernel, one at a time, by one thread; with `groups`, its notifications instead.

    Methods raise OSError, whose errno is the kernel's where it refused, and ValueError for an answer that can't
    be read; no answer within 0.8 s is a TimeoutError.
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
        return list(parse(self._sock.recv(_BUFFER_BYTES)))

    def change(self, kind: int, head: bytes, attributes: Attributes, flags: int = 0) -> None:
        """Ask for a change and wait until it is acknowledged."""
        self._exchange(kind, NLM_F_REQUEST | NLM_F_ACK | flags, head, attributes)

    def get(self, kind: int, head: bytes, attributes: Attributes) -> list[Message]:
        """Ask for one thing; OSError with ENOENT where it is not there."""
        return self._exchange(kind, NLM_F_REQUEST | NLM_F_ACK, head, attributes)

    def dump(self, kind: int, head: bytes) -> list[Message]:
        """Everything of a kind, in the kernel's order."""
        for _ in range(_DUMP_ATTEMPTS):
            found = self._exchange(kind, NLM_F_REQUEST | NLM_F_DUMP, head, ())
            # Set where things changed between two parts of the answer, so that one may be missing.
            if not any(one.flags & NLM_F_DUMP_INTR for one in found):
                return found
        raise OSError("it changes faster than it can be read")

    def _exchange(self, kind: int, flags: int, head: bytes, attributes: Attributes) -> list[Message]:
        self._sequence += 1
        self._sock.send(build(kind, flags, self._sequence, head, attributes))
        found: list[Message] = []
        until_s = time.monotonic() + _LIMIT_S
        while time.monotonic() < until_s:
            for answer in self.receive():
                if answer.sequence != self._sequence:
                    continue  # it belongs to a request that was given up
                if answer.error:
                    raise OSError(answer.error, os.strerror(answer.error))
                if answer.kind in {NLMSG_ERROR, NLMSG_DONE}:  # an error of 0 is the acknowledgement
                    return found
                found.append(answer)
        raise TimeoutError("the kernel did not answer in time")
