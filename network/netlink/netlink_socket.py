"""A netlink socket (rtnetlink(7)): requests to the kernel, and its notifications."""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from network.base import NetworkError
from network.netlink import messages as nl
from network.netlink.messages import Message, build, frames, parse

Attributes = Sequence[tuple[int, bytes]]
_LIMIT_S = 0.8
"""Seconds within which the kernel has to answer a request, or a dump has to succeed."""
_BUFFER_BYTES = 1 << 17
_SO_RCVBUFFORCE = 33
_SOL_NETLINK, _NETLINK_GET_STRICT_CHK = 270, 12


@contextmanager
def reasons(what: str) -> Iterator[None]:
    """Turn the errors of a NetlinkSocket into NetworkError; `what` failed, because."""
    try:
        yield
    except OSError as exc:
        raise NetworkError(f"{what}: {exc.strerror or exc}") from exc
    except ValueError as exc:
        raise NetworkError(f"{what}: the kernel's answer could not be read") from exc


class NetlinkSocket:
    """Requests to the kernel, one at a time, by one thread; with `groups`, its notifications instead.

    Methods raise OSError, with the kernel's errno, TimeoutError after 0.8 s, ValueError for what can't be read.
    """

    def __init__(self, groups: int = 0) -> None:
        self._sequence = 0
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._sock.settimeout(_LIMIT_S)
        if groups:
            # Fewer notifications are lost in a burst; old kernels refuse it in a container.
            with suppress(PermissionError):
                self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 20)
        # The kernel then heeds the interface or type named in a dump; one before 4.20 dumps everything.
        with suppress(OSError):
            self._sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        self._sock.bind((0, groups))

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def receive(self) -> list[Message]:
        """The messages of the next datagram. OSError with ENOBUFS: some were lost."""
        return list(parse(self._sock.recv(_BUFFER_BYTES)))

    def request(self, kind: int, head: bytes, attributes: Attributes, flags: int = 0) -> list[Message]:
        """Ask for a change or one thing, and wait for the acknowledgement; the answers before that."""
        return self._exchange(kind, nl.NLM_F_REQUEST | nl.NLM_F_ACK | flags, head, attributes)

    def dump(self, kind: int, head: bytes, attributes: Attributes = ()) -> list[Message]:
        """Everything of a kind, in the kernel's order. What `head` names may narrow it down, see __init__."""
        until_s = time.monotonic() + _LIMIT_S
        while True:
            found = self._exchange(kind, nl.NLM_F_REQUEST | nl.NLM_F_DUMP, head, attributes)
            # Set where things changed between two parts of the answer, so that one may be missing.
            if not any(one.flags & nl.NLM_F_DUMP_INTR for one in found):
                return found
            if time.monotonic() > until_s:
                raise OSError("it changes faster than it can be read")

    def _exchange(self, kind: int, flags: int, head: bytes, attributes: Attributes) -> list[Message]:
        self._sequence += 1
        self._sock.send(build(kind, flags, self._sequence, head, attributes))
        datagrams: list[bytes] = []
        until_s = time.monotonic() + _LIMIT_S
        # All is received before any of it is parsed: the longer a dump takes, the likelier a change interrupts it.
        while not datagrams or not self._ends(datagrams[-1]):
            if time.monotonic() > until_s:
                raise TimeoutError("the kernel did not answer in time")
            datagrams.append(self._sock.recv(_BUFFER_BYTES))
        found: list[Message] = []
        for answer in (one for datagram in datagrams for one in parse(datagram)):
            if answer.sequence != self._sequence:
                continue  # it belongs to a request that was given up
            if answer.error:
                raise OSError(answer.error, os.strerror(answer.error))
            if answer.kind not in {nl.NLMSG_ERROR, nl.NLMSG_DONE}:  # an error of 0 is the acknowledgement
                found.append(answer)
        return found

    def _ends(self, datagram: bytes) -> bool:
        """Whether it has the last message of the answer to the last request."""
        return any(
            kind in {nl.NLMSG_ERROR, nl.NLMSG_DONE} and sequence == self._sequence
            for kind, _flags, sequence, _body in frames(datagram)
        )
