"""The page without a browser: one file, its data, its words, its size."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.chart import SPANS, chart
from analysis.model import Span, as_json, round_trips
from analysis.page import render
from analysis.reader import Folder
from analysis.selection import select
from analysis.timeline import read, tell
from tests.analysis.logs import NIGHT, Worker, a_night
from tests.analysis.pages import Page

BASE = NIGHT.timestamp()


@pytest.fixture
def night(tmp_path):
    return tell(read([Folder(path) for path in a_night(tmp_path)]))


def test_it_is_one_file_that_fetches_nothing_and_runs_its_own_script_alone(night):
    text = render(night)
    page = Page(text)
    assert page.unbalanced == []
    fetched = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "xlink:href", "action", "data") and not value.startswith("#")
    ]
    assert fetched == ["data:,"]
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "@import" not in text
    assert text.count("url(") == text.count("url(#")
    (policy,) = [each["content"] for each in page.named("meta") if each.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(page.raw["script"].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_its_title_is_the_answer_and_its_object_that_of_json(night):
    page = Page(render(night))
    answer = "Node 2 died at 22:47:03; node 1 answered for it 5.3 s later; it came back at 22:47:20."
    assert page.words.count(answer) == 2
    assert page.data("story") == json.loads(json.dumps(as_json(night)))


def test_what_lies_outside_of_the_time_is_not_drawn_at_its_edges(tmp_path):
    log = Worker(1).start(0).ping(1, 99).say(95, "ping", seq=99, rtt_ms=500.0)
    for second in (10, 50, 90):
        log.say(second, "ping_missed", seq=1, timeout_ms=2000, missed=1)
    for second in (20, 40, 80):
        log.refuse(second, 2, "no interface holds 10.9.0.2")
    story = tell(read([Folder(log.write(tmp_path / "node1"))]), BASE + 30, BASE + 60)
    lane, _ = chart(select(story, None))["lanes"]
    assert lane["missed"] == [pytest.approx(20, abs=0.5)]
    assert [at for at, *_ in lane["marks"]] == [10]
    assert max(lane["points"]["high"]) == 1.5


def test_its_words_say_what_the_chart_shows(night):
    words = Page(render(night)).words
    for text in (
        "node 1 took 10.9.0.2/24 of node 2 in 3.1 ms",
        "node 3 refused to take 10.9.0.2/24 of node 2: no interface holds 10.9.0.2",
        "node 2 logged nothing for 17.0 s",
        "ping timeout (the master answered node 1 meanwhile)",
    ):
        assert text in words


def test_each_thing_stands_at_its_time(night):
    drawn = chart(night)
    first, second, third = drawn["lanes"]
    assert (drawn["start"], drawn["length"]) == (BASE, 29)
    assert [hold[:2] for hold in first["holds"]] == [[8.3, 20.7]]
    assert first["holds"][0][4] == 1
    assert [(span[0], span[1], span[2]) for span in second["spans"]] == [
        ("silence", 3, 20),
        ("unserved", 3, 8.3),
        ("doubled", 20, 20.7),
    ]
    assert [(span[0], span[1], span[2]) for span in third["spans"]] == [("outage", 12.5, 15.25)]
    assert [mark[:2] for mark in third["marks"]] == [[8.1, "refused"]]
    assert third["missed"] == [pytest.approx(12, abs=0.01)]


def test_starts_have_no_color_of_their_own(night):
    page = Page(render(night))
    rows = [each.get("class") for _, each in page.elements if each.get("class") in ("good", "plain")]
    assert rows.count("good") >= 1
    text = render(night)
    assert '<tr class="plain"><td><a href="#chart"' in text
    assert not [row for row in text.split("<tr ")[1:] if "started (" in row and 'class="plain"' not in row]


def test_a_node_whose_logs_were_not_given_has_a_lane_that_says_so(tmp_path):
    folder = Worker(1).start(0).ping(1, 29).take(8.3, 2).write(tmp_path / "node1")
    lanes = chart(tell(read([Folder(folder)])))["lanes"]
    assert [lane["name"] for lane in lanes] == ["Node 1", "Node 2: no log given"]


def lane_of(night, answers, length_s):
    times, values = (array("d", column) for column in zip(*answers))
    times = array("d", (BASE + at for at in times))
    lane = night.lanes[0]
    return replace(
        night,
        failovers=(),
        lanes=(
            replace(
                lane,
                first=BASE,
                last=BASE + length_s,
                rtt=round_trips(values),
                answered_at=times,
                answered_ms=values,
            ),
        ),
    )


@given(
    answers=st.lists(
        st.tuples(st.floats(0, 3600), st.floats(0.1, 5000)),
        min_size=1,
        max_size=200,
        unique_by=lambda one: one[0],
    ).map(sorted)
)
def test_the_lowest_and_the_highest_of_each_column_are_kept(tmp_path_factory, answers):
    night = tell(read([Folder(path) for path in a_night(tmp_path_factory.mktemp("night"))]))
    points = chart(lane_of(night, answers, 3600))["lanes"][0]["points"]
    number = max(50, 4 * len(answers))
    wanted = {}
    for at, ms in answers:
        column = min(number - 1, int((BASE + at - BASE) / (3600 / number)))
        wanted.setdefault(round((column + 0.5) * 3600 / number, 3), []).append(ms)
    found = {at: ends for at, *ends in zip(points["at"], points["low"], points["high"], strict=True)}
    assert found == {at: [round(min(ms), 1), round(max(ms), 1)] for at, ms in wanted.items()}


def test_nine_nodes_are_one_megabyte_at_most_however_long_their_logs(night):
    answers = [(2 * place, 1 + 3 * math.sin(place) ** 2) for place in range(43_200)]
    one = lane_of(night, answers, 86400).lanes[0]
    story = replace(night, lanes=tuple(replace(one, key=key, node=key + 1) for key in range(9)))
    assert len(render(story).encode()) < 1_000_000


def test_a_lane_of_very_many_outages_draws_those_that_lie_close_as_one(night):
    silences = tuple(Span(BASE + place, BASE + place + 0.5, BASE + place + 0.5) for place in range(20_000))
    lane = replace(lane_of(night, [(0, 1.0)], 20_000).lanes[0], silences=silences)
    spans = chart(replace(night, lanes=(lane,), failovers=()))["lanes"][0]["spans"]
    assert 10 < len(spans) <= SPANS
    assert spans[-1][2] == pytest.approx(19_999.5)


def test_a_page_of_nothing_is_one_all_the_same():
    text = render(tell(read([])))
    assert Page(text).unbalanced == []
    assert "Nothing to show" in Page(text).words
