"""The master itself stands still: its process is stopped, or something holds up its loop."""

from __future__ import annotations

import argparse
import asyncio
import time

import pytest

from master import messages
from master.cluster import Cluster
from master.listener import Listener
from master.master import Master
from master.settings import add_arguments, load

STOOD_S, DEAD_AFTER_S = 0.8, 1.0


def test_a_master_that_stands_still_in_the_middle_of_a_turn_takes_nobody_for_dead(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Workers lose patience and close while it stands; it hears that when it goes on."""
    with caplog.at_level("INFO", "master"):
        asyncio.run(_stand_still())
    told = [text.split()[0] for text in caplog.messages]
    assert "resumed" in told
    assert not {"node_dead", "takeover_ordered"} & set(told), caplog.messages


async def _stand_still() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = ["--env-file=/dev/null", f"--dead-after={DEAD_AFTER_S}"]
    master = Master(load(parser.parse_args(arguments)), Listener(16))
    running = asyncio.create_task(master.run())
    for node, neighbor in ((1, 2), (2, 1)):
        data = {"NODE_ID": node, "neighbors": [neighbor], "primary_ip": f"10.9.0.{node}"}
        told = messages.join({**data, "primary_netmask": "255.255.255.0", "system": f"host{node}"})
        await master.ask(lambda cluster, now, sid=f"sid{node}", told=told: cluster.joined(sid, told, now))
    await master.ask(lambda *_: time.sleep(STOOD_S))
    for node in (1, 2):
        await master.ask(lambda cluster, now, sid=f"sid{node}": Cluster.left(cluster, sid, now))
    assert master.cluster.as_json()["active"].keys() == {"1", "2"}
    master.stop()
    await running
