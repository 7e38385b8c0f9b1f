from hypothesis import given
from hypothesis import strategies as st

from story.moments import covers, length, spans, without

STRETCHES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)))


def inside(those, at):
    return any(start < at < end for start, end in those)


@given(STRETCHES, STRETCHES)
def test_what_is_left_is_what_lies_in_none_of_the_others(whole, holes):
    left = without(spans(whole), holes)
    assert list(left) == sorted(left)
    for half in range(81):
        at = half / 2 + 0.25
        assert inside(left, at) == (inside(whole, at) and not inside(holes, at))
    assert length(left, 0, 40) == sum(inside(left, half / 2 + 0.25) for half in range(81)) / 2


@given(STRETCHES, st.integers(0, 40), st.integers(0, 40))
def test_one_covers_a_time_that_it_holds_wholly(those, start, end):
    joined = spans(those)
    assert covers(joined, start, end) == any(left <= start and end <= right for left, right in joined)


def test_a_stretch_without_a_length_is_one():
    assert without(spans([(1, 1), (5, 9)]), [(6, 7)]) == ((1, 1), (5, 6), (7, 9))
