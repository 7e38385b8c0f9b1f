"""The page as a file: what it holds, how long it is, what it keeps of the logs. test_page_in_chromium.py looks at it."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from array import array
from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from story.axis import STEPS_S, Axis
from story.columns import FINEST, UNIT_MS, Columns
from story.episodes import NodeStory, Outage, Span, Story, as_json, round_trips
from story.page import LARGEST, render
from story.reading import Folder
from story.tables import ROWS
from story.timeline import Diary, tell
from story.words import Clock
from tests.pages import Page, place
from tests.story_logs import NIGHT, Worker, a_night, at, recover


def story_of(*folders):
    diaries = []
    for path in folders:
        folder = Folder(path)
        diary = Diary(str(path), folder.number)
        diary.read(folder.items())
        diaries.append(diary)
    return tell(diaries)


@pytest.fixture
def night(tmp_path):
    return story_of(*a_night(tmp_path))


def node_of(number, answers, outages=(), missed=()):
    """A node's story of (second, milliseconds)."""
    ms = array("d", [ms for _, ms in answers])
    return NodeStory(
        node=number,
        folders=(f"node{number}",),
        first=at(answers[0][0]),
        last=at(answers[-1][0]),
        pings=len(ms) + len(missed),
        missed=len(missed),
        rtt=round_trips(ms),
        outages=tuple(outages),
        silences=(),
        runs=(),
        incidents=(),
        answered_at=array("d", [NIGHT.timestamp() + second for second, _ in answers]),
        answered_ms=ms,
        missed_at=array("d", [NIGHT.timestamp() + second for second in missed]),
    )


def unpacked(packed):
    """(place, low, high) of each column of each line, as the page's script understands them."""
    lines = []
    for numbers in packed["lines"]:
        here, line, rest = numbers[0], [], iter(numbers[1:])
        for number in rest:
            if number < 0:
                here -= number
                continue
            line.append((here, number, next(rest)))
            here += 1
        lines.append(line)
    return lines


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
    assert "url(" not in text
    assert "@import" not in text
    (policy,) = [each["content"] for each in page.named("meta") if each.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(page.raw["script"].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_its_story_is_the_object_of_json(night):
    assert Page(render(night)).data("story") == json.loads(json.dumps(as_json(night)))


def test_it_says_in_words_what_its_picture_shows(night):
    words = Page(render(night)).words
    for text in (
        "node 1 took 10.9.0.2/24 for node 2 in 3.1 ms",
        "node 3 refused to take 10.9.0.2/24 for node 2: no interface holds 10.9.0.2",
        "node 2 fell silent for 17.0 s",
        "no master for 2.8 s, network: ping timeout (the master answered node 1 meanwhile)",
        "held 10.9.0.2/24 of node 2: 12.4 s",
        "UTC+0000",
    ):
        assert text in words


def test_each_thing_stands_at_its_time(night):
    page = Page(render(night))
    assert len(page.of_class("lane")) == 3
    (held,) = page.of_class("mark", "held")
    assert (place(held, "--a"), place(held, "--b")) == pytest.approx((8.3 / 29, 20.7 / 29))
    (silence,) = page.of_class("area", "silence")
    assert (place(silence, "--a"), place(silence, "--b")) == pytest.approx((3 / 29, 20 / 29))
    (outage,) = page.of_class("area", "outage")
    assert (place(outage, "--a"), place(outage, "--b")) == pytest.approx((12.5 / 29, 15.25 / 29))
    (refused,) = page.of_class("mark", "refused")
    assert place(refused, "--a") == pytest.approx(8.1 / 29)
    (taken,) = page.of_class("arrow", "take")
    assert place(taken, "--a") == pytest.approx(8.3 / 29)
    (back,) = page.of_class("arrow", "return")
    assert place(back, "--a") == pytest.approx(20.7 / 29)
    # node 1 took it, so it comes from the lane below, and goes back down
    assert "up" in taken["class"].split()
    assert "down" in back["class"].split()


def test_an_order_whose_outcome_is_not_logged_is_not_told_for_one_that_failed(tmp_path):
    asked, owner = tmp_path / "node1", tmp_path / "node2"
    Worker(1).start(0).say(10, "received", **recover(2, 1)).write(asked)
    Worker(2).start(0).ping(1, 12).write(owner)
    page = Page(render(story_of(asked, owner)))
    (mark,) = page.of_class("mark", "pending")
    assert not page.of_class("mark", "refused")
    assert mark["title"].startswith("outcome not logged: 10.9.0.2/24 of node 2")
    assert page.of_class("arrow", "asked")
    assert not page.of_class("arrow", "failed")


def test_the_owners_lane_tells_when_nobody_and_when_two_had_its_address(night):
    page = Page(render(night))
    (gap,) = page.of_class("mark", "gap")
    (double,) = page.of_class("mark", "double")
    assert (place(gap, "--a"), place(gap, "--b")) == pytest.approx((3 / 29, 8.3 / 29))
    assert gap["title"] == "nobody held 10.9.0.2/24: up to 5.3 s"
    assert (place(double, "--a"), place(double, "--b")) == pytest.approx((20 / 29, 20.7 / 29))
    assert double["title"] == "node 1 and node 2 both held 10.9.0.2/24: up to 700 ms"
    assert (
        "away from 22:47:03.000 until 22:47:20.040 (it fell silent: killed, or its machine died)"
        in page.words
    )


def test_what_stood_still_or_logged_nothing_is_shaded():
    spans = {"freezes": (Span(at(10), at(20)),), "holes": (Span(at(30), at(35)),)}
    node = replace(node_of(1, [(0, 1.0), (40, 1.0)]), **spans)
    page = Page(render(Story((node,), (), 0)))
    (freeze,) = page.of_class("area", "freeze")
    assert freeze["title"] == "stood still for 10.0 s: its process or its machine was frozen"
    assert (place(freeze, "--a"), place(freeze, "--b")) == (0.25, 0.5)
    (hole,) = page.of_class("area", "silence")
    assert hole["title"] == "logged nothing for 5.0 s, though it was connected: why is not known"


def test_a_node_whose_logs_were_not_given_has_a_lane_that_says_so(tmp_path):
    page = Page(render(story_of(*[folder for folder in a_night(tmp_path) if "2" not in folder.name])))
    assert len(page.of_class("lane")) == 3
    (unknown,) = page.of_class("area", "unknown")
    assert unknown["title"] == "Nothing is told of it here: its log was not given, or not asked for"
    assert page.data("lanes")["lanes"][1] is None
    assert len(page.of_class("arrow", "take")) == 1


def test_a_node_that_stopped_is_shown_as_stopped_until_it_is_back(tmp_path):
    worker = Worker(1).start(0).ping(1, 9).stop(10).start(20).ping(21, 29).stop(30)
    page = Page(render(story_of(worker.write(tmp_path / "node1"))))
    first, second = page.of_class("area", "stopped")
    assert (place(first, "--a"), place(first, "--b")) == pytest.approx((10 / 30, 20 / 30))
    assert first["title"] == "stopped as it was told (SIGTERM)"
    assert (place(second, "--a"), place(second, "--b")) == (1, 1)


@given(
    answers=st.lists(
        st.tuples(st.integers(0, 100_000), st.integers(1, 10**8).map(lambda units: units / 100)),
        min_size=1,
        max_size=200,
    ),
    halved=st.integers(0, 3),
)
def test_the_lowest_and_the_highest_of_each_column_are_kept(answers, halved):
    answers.sort(key=lambda answer: answer[0])
    node = node_of(1, answers)
    columns = Columns(node, Axis(at(0), 100_000), [])
    for _ in range(halved):
        columns.halve()
    packed = columns.packed()
    count = FINEST // 2**halved
    assert packed["columns"] == count
    expected = {}
    for second, ms in answers:
        expected.setdefault(min(int(second * count / 100_000 * (1 - 1e-6)), count - 1), []).append(
            round(ms / UNIT_MS)
        )
    found = {where: (low, high) for line in unpacked(packed) for where, low, high in line}
    assert found == {where: (min(each), max(each)) for where, each in expected.items()}


def test_the_line_breaks_where_pings_are_missing_and_at_each_outage():
    seconds = [*range(0, 100, 2), *range(120, 200, 2)]
    short = Outage(at(50.5), at(51.5), at(51.5), "gone")
    node = node_of(1, [(second, 1.0) for second in seconds], [short])
    axis = Axis(at(0), 200)
    lines = unpacked(Columns(node, axis, [axis.at(short.start)]).packed())
    ends = [(round(line[0][0] * 200 / FINEST), round(line[-1][0] * 200 / FINEST)) for line in lines]
    assert ends == [(0, 50), (52, 98), (120, 198)]


def a_day(number, days=1.0):
    count = int(days * 43_200)
    # as uneven as a real one, so that it packs no better
    answers = [(2 * each, 10 + (each * 7919 % 8000) / 100) for each in range(count)]
    answers[count // 3] = (answers[count // 3][0], 4321.09)
    outages = [
        Outage(at(3600 * hour), at(3600 * hour + 9), at(3600 * hour + 9), "ping timeout")
        for hour in range(24)
    ]
    return node_of(number, answers, outages, missed=range(7, 80_000, 1000))


@pytest.mark.parametrize("days", [1, 3])
def test_nine_nodes_are_one_megabyte_at_most_however_long_their_logs(days):
    story = Story(tuple(a_day(number, days) for number in range(1, 10)), (), 0)
    start_s = time.process_time()
    text = render(story)
    took_s = time.process_time() - start_s
    assert len(text.encode()) <= LARGEST
    # about 0.3 s a day on a quiet machine; a page that does something for each pair of pings takes minutes
    assert took_s < 3 * days
    lanes = Page(text).data("lanes")["lanes"]
    assert all(lane["columns"] >= 1800 for lane in lanes)
    for lane in lanes:
        assert max(high for line in unpacked(lane) for _, _, high in line) == 432109


def test_a_lane_of_very_many_outages_shades_those_that_touch_as_one():
    outages = [Outage(at(each), at(each + 0.5), at(each + 0.5), "gone") for each in range(20_000)]
    story = Story((node_of(1, [(0, 1.0), (20_000, 1.0)], outages),), (), 0)
    page = Page(render(story))
    areas = page.of_class("area")
    assert len(areas) == 1
    assert areas[0]["title"] == "no master for 500 ms: gone (and 19999 more here)"
    assert f"{2 * 20_000 - ROWS} older ones are left out here" in page.words
    assert f"{20_000 - ROWS} older ones are left out here" in page.words
    clock = Clock(story)
    assert clock(at(19_999)) in page.words
    assert clock(at(19_999 - ROWS)) not in page.words


@pytest.mark.parametrize("step_s", [1, 60, 3600, 86400, 864_000, 10**8])
def test_ticks_stand_at_round_times_of_the_logs_own_zone(step_s):
    zone = timezone(timedelta(hours=5, minutes=30))
    axis = Axis(at(0.25, zone), 7.3 * step_s)
    ticks = list(axis.ticks())
    assert 2 <= len(ticks) <= 11
    steps = {
        round((later - earlier) * axis.length_s, 3) for (earlier, _), (later, _) in zip(ticks, ticks[1:])
    }
    assert len(steps) == 1
    assert steps <= set(STEPS_S) or steps.pop() % STEPS_S[-1] == 0
    for share, label in ticks:
        when = at(0.25 + share * axis.length_s, zone)
        into_day_s = (when - when.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
        assert into_day_s % min(step_s, 86400) == pytest.approx(0, abs=0.001)
        assert label in (f"{when:%m-%d}", f"{when:%H:%M:%S}", f"{when:%H:%M}", f"{when:%H:%M:%S.%f}"[:11])


def test_fields_that_come_later_have_columns_of_their_own(night, monkeypatch):
    def more(story):
        told = as_json(story)
        for node in told["nodes"]:
            node["availability"] = 99.5
            node["steps"] = [{"seconds": 3}, {"at": node["from"], "seconds": -2}]
            node["silences"] = [{"start": told["nodes"][0]["from"], "cause": "<killed>"}]
        told["moon_phase"] = [{"nodes": [1, 2], "skew_s": -90.25}]
        return told

    monkeypatch.setattr("story.page.as_json", more)
    page = Page(render(night))
    for text in ("availability", "99.5", "Steps", "Silences", "<killed>", "Moon phase", "1, 2", "-90.25"):
        assert text in page.words
    assert page.unbalanced == []


def test_a_page_of_nothing_is_one_all_the_same():
    page = Page(render(Story((), (), 3)))
    assert "Nothing to tell: no line could be read, 3 lines did not fit." in page.words
    assert page.unbalanced == []
    assert page.of_class("lane") == []
