"""Stretches of time, compared second by second with sets."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from analysis.intervals import last_before, merge, overlap, subtract

PAIRS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 8)).map(lambda one: (one[0], one[0] + one[1])))


def seconds(spans):
    return {second for start, end in spans for second in range(int(start), int(end))}


@given(PAIRS)
def test_merged_ones_are_sorted_and_apart(pairs):
    spans = merge(pairs)
    assert seconds(spans) == seconds(pairs)
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(spans))
    assert sum(end - start for start, end in spans) == len(seconds(pairs))


@given(PAIRS, PAIRS)
def test_what_is_left_lies_in_none_of_the_others(one, other):
    assert seconds(subtract(merge(one), merge(other))) == seconds(one) - seconds(other)


@given(PAIRS, PAIRS)
def test_what_both_have(one, other):
    assert seconds(overlap(merge(one), merge(other))) == seconds(one) & seconds(other)


def test_one_that_ends_before_it_starts_is_dropped():
    assert merge([(3, 1), (5, 6)]) == ((5, 6),)


@given(st.lists(st.integers(0, 50)), st.integers(-1, 51))
def test_the_last_one_before(times, at):
    assert last_before(sorted(times), at) == max((time for time in times if time <= at), default=None)
