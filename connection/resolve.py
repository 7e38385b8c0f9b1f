"""Names and addresses: look-ups that outlive an attempt, and the first of several addresses that answers.

In the spirit of RFC 8305: IPv4 and IPv6 are asked for at one time and neither waits long for the other; addresses
are tried in turn, each a quarter of a second after the one before. glibc waits 5 s for each name server that is
silent (resolv.conf(5)), which is all the time an attempt has: so a look-up goes on when its attempt is over, what it
finds serves the next one, and the last known addresses serve while a name server is slow.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

FAMILIES = (socket.AF_INET6, socket.AF_INET)
OTHER_FAMILY_S = 0.05
"""Seconds for which the addresses of one family wait for those of the other (RFC 8305 §3)."""
KNOWN_S = 1.0
"""Seconds after which the last known addresses are used, where the name server has not answered."""
STAGGER_S = 0.25
"""Seconds that an address has to itself before the next one is tried too (RFC 8305 §5)."""
LOOK_S = 0.1
"""Seconds at most until a thread that connects notices that nobody wants the connection any more."""
AGAIN_S = 5.0
"""A look-up that has hung for so many seconds gets another one beside it; the more hang, the longer that takes."""


@dataclass
class _Family:
    """One family's addresses of a name: the last that were found, and the answer of the last look-up.

    `running` is the number of look-ups that have not ended: some never do.
    """

    found: tuple[str, ...] = ()
    error: OSError | None = None
    asked_s: float = -math.inf
    answered_s: float = -math.inf
    running: int = 0


@dataclass
class _Name:
    families: dict[int, _Family] = field(default_factory=lambda: {family: _Family() for family in FAMILIES})
    failed_s: dict[str, float] = field(default_factory=dict)


class Resolver:
    """Remembers of each name its addresses, and which of them failed last. For any thread."""

    def __init__(self) -> None:
        # guards all names; notified by each look-up that ends
        self._changed = threading.Condition()
        self._names: dict[str, _Name] = {}

    def look_up(self, host: str, limit_s: float, wanted: Callable[[], bool]) -> list[str]:
        """The addresses of `host`, the best first.

        Returns once both families were looked up, or one was and the other is late, or old addresses will have
        to do. Raises socket.gaierror: there is no such name; TimeoutError: no answer yet, the look-up goes on.
        """
        host = host.rstrip(".") if host != "." else host
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(host))]
        began_s = time.monotonic()
        with self._changed:
            name = self._names.setdefault(host, _Name())
            self._ask(host, name)
            while wanted():
                now = time.monotonic()
                answered = [one for one in name.families.values() if one.answered_s >= began_s]
                found = [one for one in answered if one.found and one.error is None]
                ends_s = began_s + limit_s
                if len(answered) == len(FAMILIES):
                    break
                if found:
                    ends_s = max(one.answered_s for one in found) + OTHER_FAMILY_S
                elif any(one.found for one in name.families.values()):
                    ends_s = began_s + min(KNOWN_S, limit_s)
                if now >= ends_s:
                    break
                self._changed.wait(min(LOOK_S, ends_s - now))
            if addresses := self._all(name):
                return sorted(addresses, key=lambda address: name.failed_s.get(address, 0.0))
            errors = [one.error for one in name.families.values() if one.error and one.answered_s >= began_s]
        if len(errors) == len(FAMILIES):
            # that a name server failed says more than that there is no IPv6 address
            raise next((exc for exc in errors if exc.errno != socket.EAI_NONAME), errors[-1])
        raise TimeoutError(f"no answer from the name server about {host}")

    def failed(self, host: str, address: str) -> None:
        """This address answered nothing useful: it comes last next time."""
        with self._changed:
            name = self._names.get(host.rstrip("."))
            if name:
                name.failed_s[address] = time.monotonic()

    def _ask(self, host: str, name: _Name) -> None:
        now = time.monotonic()
        for family, one in name.families.items():
            # doubled each time, so that they stay few, and none that hangs for good is in the way for good
            if one.answered_s >= one.asked_s or now - one.asked_s >= AGAIN_S * 2 ** (one.running - 1):
                arguments = (host, family, name, now)
                threading.Thread(target=self._look_up, args=arguments, name="look-up", daemon=True).start()
                one.asked_s = now
                one.running += 1

    def _look_up(self, host: str, family: int, name: _Name, asked_s: float) -> None:
        error: OSError | None = None
        found: tuple[str, ...] = ()
        try:
            answers = socket.getaddrinfo(host, None, family, socket.SOCK_STREAM)
            found = tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))
        except OSError as exc:
            error = exc
        except UnicodeError as exc:  # what IDNA cannot encode
            error = socket.gaierror(socket.EAI_NONAME, f"no host name ({exc})")
        with self._changed:
            one = name.families[family]
            one.running -= 1
            if asked_s < one.asked_s <= one.answered_s:
                return  # it hung, and a later one has answered
            one.answered_s = time.monotonic()
            one.error = error
            if found:
                one.found = found
                name.failed_s = {key: at for key, at in name.failed_s.items() if key in self._all(name)}
            elif (
                error
                and error.errno == socket.EAI_NONAME
                and any(other.found for other in name.families.values() if other.error is None)
            ):
                one.found = ()  # the name has addresses of the other family alone
            self._changed.notify_all()

    @staticmethod
    def _all(name: _Name) -> list[str]:
        """All addresses, families in turn."""
        families = itertools.zip_longest(*(one.found for one in name.families.values()))
        return [address for pair in families for address in pair if address]


def connect(
    addresses: list[str], port: int, ends_s: float, wanted: Callable[[], bool]
) -> tuple[socket.socket, str]:
    """A connected, non-blocking socket to the first address that answers, and that address.

    Raises the most telling error, once all have failed; TimeoutError at the monotonic time `ends_s`;
    ConnectionAbortedError when nobody wants it any more.
    """
    waiting: dict[socket.socket, str] = {}
    errors: list[OSError] = []
    remaining = list(addresses)
    next_s = time.monotonic()
    try:
        while remaining or waiting:
            now = time.monotonic()
            if not wanted():
                raise ConnectionAbortedError("the attempt is over")
            if now >= ends_s:
                raise TimeoutError("no answer to connect")
            if remaining and (now >= next_s or not waiting):
                address = remaining.pop(0)
                next_s = now + STAGGER_S
                try:
                    waiting[_begin(address, port)] = address
                except OSError as exc:
                    errors.append(exc)
                    continue
            limit_s = min(LOOK_S, max(0.0, next_s - now)) if remaining else LOOK_S
            _, ready, failed = select.select([], list(waiting), list(waiting), limit_s)
            for sock in {*ready, *failed}:
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                address = waiting.pop(sock)
                if not code:
                    return sock, address
                sock.close()
                errors.append(OSError(code, os.strerror(code)))
    finally:
        for sock in waiting:
            sock.close()
    raise min(errors, key=_rank)


def _begin(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    (_, _, _, _, where) = socket.getaddrinfo(
        address, port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        with contextlib.suppress(BlockingIOError):
            sock.connect(where)
    except OSError:
        sock.close()
        raise
    return sock


def _rank(exc: OSError) -> int:
    """The lower, the more it says of the master: one that refuses is there, a missing route is this machine's."""
    if isinstance(exc, ConnectionRefusedError):
        return 0
    return 1 if isinstance(exc, (ConnectionResetError, TimeoutError)) else 2
