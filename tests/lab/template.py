"""A Python process that has libraries imported already and is forked for each that is wanted.

    python tests/lab/template.py DESCRIPTOR MODULE...

Imports take most of a start, so that hundreds of them are what the tests would wait for. Each process runs its file or
module as `python` would, with what that imports there already: nothing of the project does anything when it is imported.
Driven by tests/lab/forked.py over a socket, by JSON: {"run": ARGUMENTS, "cwd", "env", "files", "namespace"} with three
descriptors is answered by a pid, {"poll": PID} by its exit code or null. "files" is the limit of open files, "namespace"
the name of a network namespace or null.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import socket
import sys
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MESSAGE = 1 << 20
CLONE_NEWNET, CLONE_NEWNS = 0x40000000, 0x00020000
MS_REC, MS_SLAVE, MNT_DETACH = 0x4000, 1 << 19, 2


def enter(namespace: str) -> None:
    """Move there, as `ip netns exec` does, with a /sys that shows its interfaces (ip-netns(8))."""
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    with open(f"/var/run/netns/{namespace}") as there:
        check(libc.setns(there.fileno(), CLONE_NEWNET))
    check(libc.unshare(CLONE_NEWNS))
    check(libc.mount(b"", b"/", b"none", ctypes.c_ulong(MS_SLAVE | MS_REC), None))
    libc.umount2(b"/sys", MNT_DETACH)
    check(libc.mount(namespace.encode(), b"/sys", b"sysfs", ctypes.c_ulong(0), None))


def become(wanted: dict[str, Any], descriptors: list[int]) -> None:
    """Run in the forked process as `python ARGUMENTS` would."""
    import resource  # which Windows has not

    arguments, env = wanted["run"], wanted["env"]
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, 256)
    resource.setrlimit(resource.RLIMIT_NOFILE, tuple(wanted["files"]))
    if wanted["namespace"]:
        enter(wanted["namespace"])
    os.chdir(wanted["cwd"])
    sys.dont_write_bytecode = bool(env.get("PYTHONDONTWRITEBYTECODE"))
    os.environ.clear()
    os.environ.update(env)
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def main(control: socket.socket) -> None:
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, MESSAGE, 3)
        if not data:
            return
        wanted = json.loads(data)
        if "poll" in wanted:
            pid, status = os.waitpid(wanted["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                control.detach()
                become(wanted, descriptors)
                sys.exit()
            for descriptor in descriptors:
                os.close(descriptor)
        control.send(json.dumps(answer).encode())


if __name__ == "__main__":
    sys.path[0] = ROOT
    for each in sys.argv[2:]:
        importlib.import_module(each)
    gc.collect()
    gc.freeze()
    main(socket.socket(fileno=int(sys.argv[1])))
