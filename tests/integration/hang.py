"""`python client.py` whose owner loop hangs forever, as in a system call that never returns, once a file is there:

python -m tests.integration.hang FILE [arguments of client.py]
"""

from __future__ import annotations

import os
import sys
import threading
from ipaddress import IPv4Address

import client
from network.netlink.backend import Netlink

probe = Netlink.probe


def hanging(self: Netlink, interface: str, ip: IPv4Address, sender: IPv4Address | None = None) -> None:
    if os.path.exists(sys.argv[1]):
        threading.Event().wait()
    probe(self, interface, ip, sender)


if __name__ == "__main__":
    Netlink.probe = hanging  # type: ignore[method-assign]
    os._exit(client.main(sys.argv[2:]))
