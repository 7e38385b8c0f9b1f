"""rtnetlink's messages to and from bytes: pure, so they need no kernel."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.netlink import messages
from network.netlink.messages import (
    IFA_LABEL,
    IFA_LOCAL,
    IFADDRMSG,
    RTM_GETADDR,
    RTM_NEWADDR,
    build,
    next_hops,
    parse,
)

values = st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=40), max_size=8)
heads = st.tuples(*[st.integers(0, 255)] * 4, st.integers(0, 2**32 - 1))
numbers = st.integers(0, 2**32 - 1)


@settings(deadline=None)  # the machine is shared
@given(st.lists(st.tuples(heads, values, numbers, st.integers(0, 0xFFFF)), max_size=4))
def test_what_is_built_is_parsed(wanted):
    data = b"".join(
        build(RTM_NEWADDR, flags, sequence, IFADDRMSG.pack(*head), attributes.items())
        for head, attributes, sequence, flags in wanted
    )
    found = [(one.head, one.attributes, one.sequence, one.flags) for one in parse(data)]
    assert found == wanted
    assert all(one.kind == RTM_NEWADDR and one.error == 0 for one in parse(data))


@settings(deadline=None)  # the machine is shared
@given(st.binary(max_size=120))
def test_any_bytes_are_parsed_or_refused(data):
    try:
        list(parse(data))
    except ValueError:
        return


@settings(deadline=None)  # the machine is shared
@given(heads, values.filter(bool), st.data())
def test_a_message_cut_short_is_refused(head, attributes, data):
    whole = build(RTM_NEWADDR, 0, 1, IFADDRMSG.pack(*head), attributes.items())
    with pytest.raises(ValueError, match="cut short"):
        list(parse(whole[: data.draw(st.integers(1, len(whole) - 4))]))


def test_a_question_byte_by_byte():
    """What `ip -4 addr` sends: little-endian, as on the machines that this was tried on."""
    if struct.pack("=H", 1) != b"\1\0":
        pytest.skip("this machine is big-endian")
    question = build(RTM_GETADDR, 0x301, 7, IFADDRMSG.pack(2, 0, 0, 0, 0), [(IFA_LABEL, b"eth0\0")])
    assert question.hex() == (
        "24000000" "1600" "0103" "07000000" "00000000" "02000000" "00000000" "0900" "0300" "6574683000000000"
    )  # fmt: skip


def test_text_and_numbers():
    data = build(
        RTM_NEWADDR,
        0,
        1,
        IFADDRMSG.pack(2, 24, 0, 0, 5),
        [(IFA_LABEL, b"eth0:f3.2\0"), (IFA_LOCAL, b"\1\0\0\0")],
    )
    (message,) = parse(data)
    assert message.text(IFA_LABEL) == "eth0:f3.2"
    assert message.number(IFA_LOCAL) == struct.unpack("=I", b"\1\0\0\0")[0]
    assert (message.text(99), message.number(99)) == ("", 0)


@pytest.mark.parametrize(("code", "error"), [(-13, 13), (0, 0), (5, 0)])
def test_a_refusal_and_an_acknowledgement(code, error):
    data = build(messages.NLMSG_ERROR, 0, 3, struct.pack("=i", code), [])
    (message,) = parse(data)
    assert (message.kind, message.sequence, message.error) == (messages.NLMSG_ERROR, 3, error)


def test_the_flags_of_an_attribute_are_no_part_of_its_type():
    data = build(RTM_NEWADDR, 0, 1, IFADDRMSG.pack(2, 24, 0, 0, 5), [(0x8000 | IFA_LOCAL, b"\1\2\3\4")])
    assert next(parse(data)).attributes == {IFA_LOCAL: b"\1\2\3\4"}


@settings(deadline=None)  # the machine is shared
@given(st.lists(st.integers(0, 2**32 - 1).map(IPv4Address), max_size=5))
def test_next_hops(gateways):
    hop = struct.Struct("=HBBiHH4s")
    data = b"".join(hop.pack(hop.size, 0, 0, 2, 8, messages.RTA_GATEWAY, ip.packed) for ip in gateways)
    assert [(index, one[messages.RTA_GATEWAY]) for index, one in next_hops(data)] == [
        (2, ip.packed) for ip in gateways
    ]
    if gateways:
        with pytest.raises(ValueError, match="cut short"):
            list(next_hops(data[:-1]))
