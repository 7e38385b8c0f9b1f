"""What logs of several folders cost that were made to cost much: time in proportion to them."""

from __future__ import annotations

import time

import pytest

from analysis.page import render
from analysis.reader import Folder
from analysis.timeline import read, tell
from tests.analysis.logs import Worker, recover

WHERE = {"node": 2, "address": "10.9.0.2/24", "interface": "eth0"}
NUMBER, TIMES = 400, 4


def macs(number):
    """An owner with another interface at each start, and as many claims that name none of them."""
    owner, taker = Worker(2), Worker(1).start(0)
    for n in range(number):
        mac = ":".join(f"{n:012x}"[place : place + 2] for place in range(0, 12, 2))
        owner.say(n, "started", node=2, mac=mac, run=f"r{n}")
        taker.take(n + 0.5, 2).release(n + 0.6, 2, "claimed by nobody")
    return owner, taker


def overlapping(number):
    """Two logs of one machine, whose processes, as the clock was put back in each, all ran at one time."""
    one, other = Worker(2).start(0).ping(1, number), Worker(2)
    for n in range(number):
        other.say(n, "started", node=2, run=f"r{n}").say(0, "connecting", master="m")
        other.say(number + n / 100, "connecting", master="m")
    return one, other.ping(1, number)


def unknown_ends(number):
    """As many failovers as orders of which the log does not show the end."""
    taker, later = (
        Worker(1).start(0),
        Worker(3).start(0).ping(1, 5).say(20 * number, "connecting", master="m"),
    )
    for n in range(number):
        taker.take(n + 1, n + 10)
    for n in range(number, 2 * number):
        taker.say(n + 1, "started", node=1, run=f"r{n}").say(n + 1.1, "received", **recover(2, 1))
        taker.say(n + 1.2, "takeover_done", took_ms=100.0, **WHERE)
    return taker, later


@pytest.mark.parametrize("made", [macs, overlapping, unknown_ends])
def test_time_grows_in_proportion(made, tmp_path):
    def cost_s(number):
        folders = [worker.write(tmp_path / f"{number}-{place}") for place, worker in enumerate(made(number))]
        began_s = time.process_time()
        render(tell(read([Folder(folder) for folder in folders])))
        return time.process_time() - began_s

    assert min(cost_s(NUMBER * TIMES) for _ in range(2)) < 2 * TIMES * max(cost_s(NUMBER) for _ in range(2))
