"""Messages to the service manager (sd_notify(3)): one datagram each.

A worker that was started by hand or by another supervisor has no socket to send them to, and sends nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class SystemdNotifier:
    """Sends messages to the service manager that started this process.

    Its variables are removed from `environ`, so that no child process speaks in our name: NOTIFY_SOCKET, a path, or
    `@` and a name for an abstract socket; WATCHDOG_USEC, for the process with WATCHDOG_PID.

    `feed_s` is how often `WATCHDOG=1` must be sent, in seconds; None: never.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address, usec, pid = (environ.pop(name, "") for name in _VARIABLES)
        watched = usec.isascii() and usec.isdigit() and int(usec) > 0 and pid in ("", str(os.getpid()))
        self.feed_s = int(usec) / 2e6 if watched and address else None
        self._address: bytes | None = None
        if address[:1] in ("/", "@") and hasattr(socket, "AF_UNIX"):
            encoded = os.fsencode(address)
            self._address = b"\0" + encoded[1:] if address[0] == "@" else encoded
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            # the owner's loop sends: a manager that does not read must not hold it up
            self._socket.setblocking(False)

    @property
    def listening(self) -> bool:
        return self._address is not None

    def send(self, *assignments: str) -> bool:
        """Send `NAME=value` assignments as one message; False: it did not arrive, try again later.

        A line break in a value would begin another assignment, so foreign text in one must be escaped.
        """
        if self._address is None:
            return True
        try:
            self._socket.sendto("\n".join(assignments).encode(errors="replace"), self._address)
        except OSError:  # the manager restarts, or its queue is full
            return False
        return True
