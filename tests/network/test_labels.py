"""The label by which a virtual address is known: pure text, so it needs no namespace."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("the netlink backend is for Linux", allow_module_level=True)

from network.base import NetworkError
from network.netlink.addresses import format_label, parse_label

names = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, blacklist_characters="/:"), min_size=1, max_size=15
)
marks = st.tuples(st.integers(0, 9999), st.integers(0, 9999))


@settings(deadline=None)  # the machine is shared
@given(names, marks)
def test_a_mark_is_read_back_and_fits(name, mark):
    text = format_label(name, *mark)
    assert len(text) <= 15
    assert parse_label(text, name) == mark


@settings(deadline=None)  # the machine is shared
@given(names, marks, names)
def test_another_interface_s_label_is_none_of_ours(name, mark, other):
    text = format_label(name, *mark)
    assert parse_label(text, other) == (mark if format_label(other, *mark) == text else (None, None))


@settings(deadline=None)  # the machine is shared
@given(st.none() | st.text(max_size=20), names)
def test_any_label_is_survived(text, name):
    mark = parse_label(text, name)
    assert mark == (None, None) or format_label(name, *mark) == text


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "eth0",
        "eth0:0",
        "eth0:f3",
        "eth0:f3.",
        "eth0:f3.2 ",
        "eth0:f03.2",
        "eth0:f3.２",
        "eth0x:f3.2",
        ":f3.2",
    ],
)
def test_what_is_no_mark(text):
    assert parse_label(text, "eth0") == (None, None)


def test_a_name_is_cut_as_the_kernel_cuts_it():
    assert format_label("eth0", 3, 2) == "eth0:f3.2"
    assert format_label("enx001122334455", 3, 2) == "enx0011223:f3.2"
    with pytest.raises(NetworkError, match="too long for a label"):
        format_label("eth0", 123456, 1234567)
