"""`python client.py` one of whose threads hangs forever, as in a system call that never returns, once a file is there:

python -m tests.worker.hang FILE {owner,ping} [arguments of client.py]

Its watchdog is as patient as the real one, in shorter looks.
"""

from __future__ import annotations

import os
import sys
import threading

import client
from connection.reconnect import Connection
from worker import watchdog

LOOK_S = 0.2
CALLS = {"owner": "tick", "ping": "ping"}
"""What of the connection the thread calls in each of its turns."""


def hang_in(name, path):
    call = getattr(Connection, name)

    def hanging(self, *args):
        if os.path.exists(path):
            threading.Event().wait()
        return call(self, *args)

    setattr(Connection, name, hanging)


if __name__ == "__main__":
    watchdog.LOOK_S = LOOK_S
    hang_in(CALLS[sys.argv[2]], sys.argv[1])
    os._exit(client.main(sys.argv[3:]))
