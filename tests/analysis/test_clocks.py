"""Clocks that are apart: found where the logs show it, and never made up."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.model import as_json
from analysis.reader import Folder
from analysis.timeline import read, tell
from tests.analysis.logs import Worker

CLOSED = "WebSocket connection was closed"


def cluster(restarts, ahead=(0, 0, 0)):
    """Three nodes whose master is restarted at those seconds; each node's clock is ahead by so much."""
    workers = []
    for node, offset in enumerate(ahead, 1):
        worker = Worker(node).start(offset).ping(offset + 1, offset + 5)
        for place, second in enumerate(restarts):
            # a few milliseconds after each other, and back when they like
            lost, back = offset + second + node * 0.004, offset + second + 0.2 + node * 0.3 + place * 0.1
            worker.say(lost, "disconnected", reason=CLOSED).say(back, "connected", master="m")
        workers.append(worker.ping(offset + 190, offset + 199))
    return workers


def ahead_of(story):
    return {lane.node: (lane.ahead_s, lane.clock_events) for lane in story.lanes}


def test_one_clock_that_is_90_s_ahead_is_found_to_be_it(story_of):
    story = story_of(*cluster([50, 110], ahead=(0, 0, 90)))
    assert ahead_of(story) == {1: (0, 2), 2: (0, 2), 3: (pytest.approx(90, abs=0.02), 2)}
    said = [text for text in story.caveats if "clock" in text]
    assert said[0].startswith("The clock of node 3 is 90.0 s ahead, by 2 events")
    assert said[1] == "The clocks of node 1 and node 2 agree."


def test_times_stand_as_they_were_written(story_of):
    straight, ahead = (as_json(story_of(*cluster([50, 110], (0, 0, off)))) for off in (0, 90))
    assert ahead["nodes"][:2] == straight["nodes"][:2]
    starts = [[outage["start"] for outage in each["nodes"][2]["outages"]] for each in (straight, ahead)]
    assert starts[0] != starts[1]


def test_clocks_that_agree_are_no_caveat(story_of):
    assert story_of(*cluster([50, 110])).caveats == ()


def test_one_event_is_too_few_to_say_that_a_clock_is_off(story_of):
    assert ahead_of(story_of(*cluster([50], ahead=(0, 0, 90))))[3] == (0, 0)


@settings(max_examples=25)
@given(
    st.integers(-5000, 5000).filter(lambda ahead: abs(ahead) != 1)
)  # at the limit itself, the lines' milliseconds decide
def test_any_difference_is_found(ahead):
    with tempfile.TemporaryDirectory() as root:
        workers = cluster([50, 110, 151], ahead=(0, 0, ahead))
        folders = [Folder(worker.write(Path(root) / f"w{worker.node}x")) for worker in workers]
        found = ahead_of(tell(read(folders)))
    assert found[3][0] == pytest.approx(ahead if abs(ahead) >= 1 else 0, abs=0.05)
