"""Ports for what a test starts later, or more than once."""

from __future__ import annotations

import random
import socket


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody has, below those that the kernel gives out when none is named: nobody gets it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_768)
        with socket.socket() as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
            return port
