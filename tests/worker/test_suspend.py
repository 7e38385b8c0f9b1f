"""Whether the process or the machine stood still, told by clocks that the test sets."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from worker import suspend

TURN_S = 1.0


class Times:
    def __init__(self) -> None:
        self.monotonic_s, self.suspended_s, self.wall_s = 100.0, 0.0, 1.7e9

    def pass_(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.wall_s += seconds


@pytest.fixture
def times(monkeypatch):
    times = Times()
    fake = SimpleNamespace(
        monotonic=lambda: times.monotonic_s,
        time=lambda: times.wall_s,
        clock_gettime=lambda _which: times.monotonic_s + times.suspended_s,
        CLOCK_BOOTTIME=7,
    )
    monkeypatch.setattr(suspend, "time", fake)
    return times


def test_turns_on_time_are_not_doubted(times):
    watch = suspend.SuspendDetector()
    for _ in range(10):
        expected_s = times.monotonic_s + 1.0
        times.pass_(1.4)
        assert watch.stood_still(expected_s, TURN_S) is None


def test_a_wait_that_lasted_longer_than_it_should(times):
    watch = suspend.SuspendDetector()
    expected_s = times.monotonic_s + 0.5
    times.pass_(3.0)
    assert watch.stood_still(expected_s, TURN_S) == "the process stood still for 2.5 s"
    assert watch.stood_still(times.monotonic_s, TURN_S) is None


def test_a_freeze_between_two_waits(times):
    watch = suspend.SuspendDetector()
    assert watch.stood_still(times.monotonic_s, TURN_S) is None
    times.pass_(10)
    assert watch.stood_still(times.monotonic_s, TURN_S) == "the process stood still for 9.0 s"
    times.pass_(2.4)
    assert watch.stood_still(times.monotonic_s, TURN_S) is None


def test_the_time_before_the_first_question_does_not_count(times):
    watch = suspend.SuspendDetector()
    times.pass_(60)
    assert watch.stood_still(times.monotonic_s, TURN_S) is None


def test_a_suspended_machine_whose_monotonic_clock_stood_still_too(times):
    watch = suspend.SuspendDetector()
    times.suspended_s += 30
    times.wall_s += 30
    assert watch.stood_still(times.monotonic_s, TURN_S) == "the machine was suspended for 30.0 s"
    assert watch.stood_still(times.monotonic_s, TURN_S) is None


@pytest.mark.parametrize(("by_s", "doubted"), [(30.0, True), (1.0, False), (-30.0, False)])
def test_the_wall_clock_alone(times, by_s, doubted):
    watch = suspend.SuspendDetector()
    times.wall_s += by_s
    assert (watch.stood_still(times.monotonic_s, TURN_S) is not None) is doubted
    assert watch.stood_still(times.monotonic_s, TURN_S) is None


def test_where_no_clock_runs_in_suspend_the_wall_clock_tells(times, monkeypatch):
    monkeypatch.delattr(suspend.time, "CLOCK_BOOTTIME")
    watch = suspend.SuspendDetector()
    times.wall_s += 30
    assert watch.stood_still(times.monotonic_s, TURN_S) == "the wall clock went forward by 30.0 s"
