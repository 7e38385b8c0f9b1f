"""What `--status` shows to people."""

from __future__ import annotations

import pytest

from worker.status_socket import _lines

STATE = {
    "node": 1, "version": "1", "pid": 7, "run": "r", "backend": "netlink", "uptime_s": 3.0, "primary": None,
    "master": "http://m", "connected": True, "connection_s": 2.0, "transport": "websocket", "rtt_ms": None,
    "pings_sent": 0, "pings_missed": 0, "reconnects": 0, "held": [], "in_progress": [], "lines_lost": 0,
    "unusable": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("orders", "waiting", "shown"),
    [
        ({"recover_taken": 0, "restore_done": 0}, 0, "none yet"),
        ({"recover_taken": 2, "recover_refused": 0, "restore_done": 1}, 0, "recover taken 2, restore done 1"),
        ({"recover_taken": 0}, 3, "answers that wait for a connection 3"),
    ],
)
def test_only_orders_that_came_are_shown(orders, waiting, shown):
    (line,) = [
        one for one in _lines({**STATE, "orders": orders, "answers_waiting": waiting}) if one[:6] == "orders"
    ]
    assert line.split(maxsplit=1)[1] == shown
