"""`client.py --status`: asks the worker that runs with these settings, and prints its answer."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from settings.types import printable
from worker.status_socket import peer_uid, socket_path

EXIT_NOT_CONNECTED = 1
EXIT_NOT_RUNNING = 3
ANSWER_LIMIT_S = 5.0
ANSWER_LIMIT = 16 << 20
"""Bytes of an answer that are read."""


def show_status(log_dir: Path, *, as_json: bool = False) -> int:
    """Print the worker's state.

    Returns:
        0 when it runs and is connected, 1 when it runs and is not, or does not answer, 3 when it does not run.
    """
    if not hasattr(socket, "AF_UNIX"):
        state: dict[str, Any] = {"running": False, "error": "--status is not available on this system"}
    else:
        state = _ask(log_dir)
    if as_json:
        print(json.dumps(state, indent=1, ensure_ascii=False), flush=True)
    elif "error" in state:
        print(printable(str(state["error"])), flush=True)
    else:
        print(*map(printable, _lines(state)), sep="\n", flush=True)
    if not state["running"]:
        return EXIT_NOT_RUNNING
    return 0 if state.get("connected") is True else EXIT_NOT_CONNECTED


def _ask(log_dir: Path) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_LIMIT_S)
        try:
            with socket_path(log_dir) as path:
                _connect(connection, path)
            uid = peer_uid(connection)
            if uid not in {None, 0, os.geteuid(), log_dir.stat().st_uid}:
                return {
                    "running": False,
                    "error": f"a process of another user (uid {uid}) has the worker's socket in {log_dir}; remove it",
                }
            with connection.makefile("rb") as stream:
                received = stream.read(ANSWER_LIMIT)
            answer = json.loads(received) if received else {"error": "the worker closed the connection"}
        except (FileNotFoundError, ConnectionRefusedError):
            return {"running": False, "error": f"no worker runs with LOG_DIR {log_dir}"}
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            return {"running": True, "error": f"the worker with LOG_DIR {log_dir} does not answer: {reason}"}
    return {**answer, "running": True}


def _connect(connection: socket.socket, path: str) -> None:
    """Connect, also where so many ask at once that the queue is full (EAGAIN, unix(7))."""
    deadline_s = time.monotonic() + ANSWER_LIMIT_S
    while True:
        try:
            connection.connect(path)
            return
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise
        time.sleep(0.02)


def _lines(state: dict[str, Any]) -> Iterator[str]:
    """The state for people."""

    def row(name: str, text: object) -> str:
        return f"{name:<15} {text}"

    yield row("node", f"{state['node']}, own address {state['primary'] or 'not known'}")
    worker = f"version {state['version']}, pid {state['pid']}, run {state['run']}, {state['backend']}"
    yield row("worker", f"{worker}, running for {_duration(state['uptime_s'])}")
    link = f"{state['master']} for {_duration(state['connection_s'])}"
    if state["connected"]:
        yield row("master", f"connected to {link} by {state['transport']}")
    else:
        trouble = f": {state['trouble']}" if state["trouble"] else ""
        yield row("master", f"NOT CONNECTED to {link}{trouble}")
    rtt_ms = state["rtt_ms"]
    yield row("round trip", "no answer yet" if rtt_ms is None else f"{rtt_ms:.1f} ms at the last ping")
    pings = f"{state['pings_sent']} sent, {state['pings_missed']} missed"
    yield row("pings", f"{pings}; {state['reconnects']} reconnects")
    for held in state["held"]:
        yield row("holds", f"{_place(held)} for {_duration(held['held_s'])}")
    if not state["held"]:
        yield row("holds", "no address for others")
    for entry in state["in_progress"]:
        yield row("in progress", f"{_place(entry)}: {entry['state'].replace('_', ' ')}")
    orders = [f"{name.replace('_', ' ')} {count}" for name, count in state["orders"].items() if count]
    if state["answers_waiting"]:
        orders.append(f"answers that wait for a connection {state['answers_waiting']}")
    yield row("orders", ", ".join(orders) or "none yet")
    yield row("log lines lost", state["lines_lost"])
    if state["unusable"]:
        yield row("PROBLEM", state["unusable"])


def _place(entry: dict[str, Any]) -> str:
    return f"{entry['address']} of node {entry['node']} on {entry['interface']}"


def _duration(seconds: float) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"
