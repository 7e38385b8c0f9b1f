"""The server-sent events of a master."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

from tests.lab.processes import Master
from tests.lab.waiting import PATIENCE_S


def states(master: Master, **headers: str) -> Iterator[dict[str, Any]]:
    """What the page is told."""
    host, _, port = master.url.partition("://")[2].rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=2 * PATIENCE_S)
    connection.request("GET", "/events", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    while line := answer.fp.readline():
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
