"""What the service manager is told (sd_notify(3)): one datagram a message, made by hand.

Started by hand or by another supervisor there is nobody to tell, and nothing is sent.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import Optional

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """`address` is NOTIFY_SOCKET: a path, or `@` and a name for an abstract socket; None: nobody listens.

    `feed_s` is how often `WATCHDOG=1` must be sent, half of what the watchdog waits for; None: there is none.
    """

    def __init__(self, address: Optional[str], watchdog_s: Optional[float] = None) -> None:
        self.feed_s = watchdog_s / 2 if watchdog_s else None
        self._address: Optional[bytes] = None
        if address and address[0] in "/@" and hasattr(socket, "AF_UNIX"):
            encoded = os.fsencode(address)
            self._address = b"\0" + encoded[1:] if encoded[:1] == b"@" else encoded
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            # the owner's loop sends: a manager that does not read must not hold it up
            self._socket.setblocking(False)

    @property
    def listening(self) -> bool:
        return self._address is not None

    def tell(self, *assignments: str) -> bool:
        """Send `NAME=value` assignments as one message; False: they did not arrive, try again later.

        A line break in one would begin another, so none may hold text of others that was not escaped.
        """
        if self._address is None:
            return True
        try:
            # errors are the manager's: it restarts, or its queue is full
            self._socket.sendto("\n".join(assignments).encode(errors="replace"), self._address)
        except OSError:
            return False
        return True


def from_environ(environ: MutableMapping[str, str]) -> Notifier:
    """The manager that started this process. Its variables are taken out, so that no child speaks in our name."""
    address, usec, pid = (environ.pop(name, "") for name in _VARIABLES)
    meant = not pid or pid == str(os.getpid())
    watched = meant and usec.isascii() and usec.isdigit() and int(usec) > 0
    return Notifier(address or None, int(usec) / 1e6 if watched and address else None)
