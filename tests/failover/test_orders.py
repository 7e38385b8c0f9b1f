"""Orders: the hostile ones are refused with their reason and answered, and change nothing."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connection.messages import CUT_BYTES, ORDER_BYTES, order_of
from failover.orders import (
    OrderError,
    brief,
    check_address,
    parse_recover,
    parse_restore,
    refusal,
)
from network.base import Address
from tests.lab.wire_fake import GATEWAY, GRID, OWN, Desk, networks, order, vip_of

MEGABYTE = "x" * (1 << 20)
KEYS = ("disconnected_node", "recovery_node", "ip", "netmask", "active_neighbors")
WRONG = [
    None,
    True,
    2.0,
    -1,
    10**30,
    "",
    "2",
    MEGABYTE,
    [],
    [2],
    {},
    {"2": 2},
    "\ud800",
    "; reboot",
    "-2",
    "\0",
]


def refused(desk: Desk, data: dict[str, Any]) -> str:
    """Give a `recover` that must be refused; the reason, its answer checked and nothing done."""
    before = len(desk.sent)
    reason = desk.recover(data)
    assert reason
    event, answer = desk.sent[-1]
    assert len(desk.sent) == before + 1
    assert event == "update node"
    assert answer["error"] == reason
    assert "secondary_ip" not in answer
    kept = {key: value for key, value in data.items() if key not in {"secondary_ip", "error"}}
    assert answer == {**kept, "error": reason}
    assert len(reason) < 1024
    desk.run(0.3)
    assert desk.held == []
    assert desk.wire.added == []
    assert desk.wire.probes == []
    assert desk.log.entries[-1].event == "takeover_refused"
    assert desk.log.entries[-1].level == "ERROR"
    assert desk.log.entries[-1].fields.get("reason") or desk.log.entries[-1].left_out
    return reason


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_refused(key):
    data = order()
    del data[key]
    assert key in refused(Desk(), data)


@pytest.mark.parametrize("value", WRONG, ids=lambda value: brief(value)[:20])
@pytest.mark.parametrize("key", KEYS[:-1])
def test_a_wrong_value_is_refused(key, value):
    assert key in refused(Desk(), order(**{key: value}))


@pytest.mark.parametrize(
    "active",
    [*filter(None, WRONG), None, [1, 3], [None], ["1", ["3"]], {"1": "3"}],
    ids=lambda value: brief(value)[:20],
)
def test_neighbors_that_are_no_list_of_texts_are_refused(active):
    assert "active_neighbors" in refused(Desk(), order(active_neighbors=active))


@pytest.mark.parametrize(
    ("ip", "why"),
    [
        ("10.9.0.2; rm -rf /", "not an IPv4"),
        ("$(reboot)", "not an IPv4"),
        ("-10.9.0.2", "not an IPv4"),
        ("--help", "not an IPv4"),
        ("10.9.0.2\0", "not an IPv4"),
        ("10.9.0.2\n", "not an IPv4"),
        (" 10.9.0.2", "not an IPv4"),
        ("10.9.0.2/24", "not an IPv4"),
        ("10.9.0.02", "not an IPv4"),
        ("0x0a.9.0.2", "not an IPv4"),
        ("10.9.2", "not an IPv4"),
        ("168361986", "not an IPv4"),
        ("１０.9.0.2", "not an IPv4"),
        ("localhost", "not an IPv4"),
        ("::ffff:10.9.0.2", "IPv6"),
        ("2001:db8::2", "IPv6"),
        ("fe80::2%eth0", "IPv6"),
        ("::1", "IPv6"),
        ("0.0.0.0", "not an address that a host"),
        ("0.9.0.2", "not an address that a host"),
        ("127.0.0.2", "not an address that a host"),
        ("224.0.0.2", "not an address that a host"),
        ("240.0.0.2", "not an address that a host"),
        ("255.255.255.255", "not an address that a host"),
        ("10.9.0.0", "network"),
        ("10.9.0.255", "broadcast"),
        (str(GATEWAY), "gateway"),
        ("10.9.0.3", "own, on eth0"),
        ("10.8.0.2", "not one of this machine's"),
        ("110.9.0.2", "not one of this machine's"),
    ],
)
def test_an_address_that_must_not_be_taken_is_refused(ip, why):
    assert why in refused(Desk(), order(ip=ip))


@pytest.mark.parametrize(
    ("mask", "why"),
    [
        ("255.255.0.0", "not one of this machine's"),
        ("255.255.255.128", "not one of this machine's"),
        ("255.255.255.254", "not one of this machine's"),
        ("255.255.255.255", "not one of this machine's"),
        ("0.0.0.0", "not one of this machine's"),
        ("255.0.255.0", "gaps"),
        ("0.0.0.255", "gaps"),
        ("255.255.255.1", "gaps"),
        ("24", "netmask is not valid"),
        ("/24", "netmask is not valid"),
        ("255.255.255.0/24", "netmask is not valid"),
        ("255.255.255", "netmask is not valid"),
        ("ffff:ff00::", "netmask is not valid"),
    ],
)
def test_a_mask_that_is_none_or_not_the_subnet_s_is_refused(mask, why):
    assert why in refused(Desk(), order(netmask=mask))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"recovery_node": "4"}, "this is node 3"),
        ({"recovery_node": 3}, "this is node 3"),
        ({"disconnected_node": 3}, "this node itself"),
        ({"disconnected_node": 7}, "does not list"),
        ({"disconnected_node": 0}, "does not list"),
        ({"disconnected_node": "2"}, "a node's number"),
    ],
)
def test_an_order_for_another_node_or_about_a_strange_one_is_refused(changes, why):
    assert why in refused(Desk(), order(**changes))


@pytest.mark.parametrize(
    "changes", [{}, {"priority": 7, "secondary_ip": "10.9.0.77"}, {"active_neighbors": []}]
)
def test_the_valid_order_is_none_of_them(changes):
    desk = Desk()
    assert desk.recover(order(**changes)) is None
    desk.run(1)
    assert desk.held == [2]


def test_an_address_that_is_there_already_is_the_machine_s_own_whatever_its_prefix():
    desk = Desk()
    desk.wire.own.append(Address("eth0", IPv4Interface("10.9.0.2/32")))
    assert "own" in refused(desk, order())


def test_a_number_that_only_begins_alike_is_another_address():
    desk = Desk()
    desk.wire.own.append(Address("eth1", IPv4Interface("110.9.0.2/24")))
    assert desk.recover(order()) is None
    desk.run(1)
    assert desk.held == [2]


@pytest.mark.parametrize(
    ("ip", "allowed", "why"),
    [
        ("10.9.0.2/24", ("10.9.0.0/24",), None),
        ("10.9.0.2/24", ("10.9.0.0/16",), None),
        ("10.9.0.2/24", ("192.168.0.0/16", "10.9.0.0/24"), None),
        ("10.9.0.2/24", ("10.9.0.0/25",), "ALLOWED_NETWORKS"),
        ("10.9.0.2/23", ("10.9.0.0/24",), "ALLOWED_NETWORKS"),
        ("10.9.0.2/0", ("10.9.0.0/24",), "ALLOWED_NETWORKS"),
        ("10.9.0.2/24", (), "ALLOWED_NETWORKS"),
        ("10.7.0.2/24", ("10.7.0.0/24",), None),
        ("10.9.0.0/16", ("10.9.0.0/16",), "network"),
        ("10.9.0.0/31", ("10.9.0.0/16",), "network"),
        ("10.9.0.255/16", ("10.9.0.0/16",), "broadcast"),
        ("10.9.0.3/16", ("10.9.0.0/16",), "own"),
        ("10.9.0.254/16", ("10.9.0.0/16",), "gateway"),
    ],
)
def test_the_whole_network_of_address_and_mask_must_be_allowed(ip, allowed, why):
    here = (Address("lo", IPv4Interface("127.0.0.1/8")), OWN)
    if why is None:
        check_address(IPv4Interface(ip), here, frozenset({GATEWAY}), networks(*allowed))
    else:
        with pytest.raises(OrderError, match=why):
            check_address(IPv4Interface(ip), here, frozenset({GATEWAY}), networks(*allowed))


def test_an_own_virtual_address_is_not_this_machine_s_own():
    vip = vip_of(2)
    check_address(vip.ip, (OWN, Address("eth0", vip.ip, 2)), frozenset(), None)


@pytest.mark.parametrize("node", [*WRONG, 3, 7], ids=lambda value: brief(value)[:20])
def test_a_hostile_restore_is_refused(node):
    desk = Desk()
    desk.recover(order())
    desk.run(1)
    desk.sent.clear()
    data = {"restore_node": node, "note": "a"}
    reason = desk.restore(data)
    assert reason
    event, answer = desk.sent[0]
    assert event == "restore node"
    assert answer == {**data, "status": False, "error": reason}
    assert desk.held == [2]
    assert (desk.log.entries[-1].event, desk.log.entries[-1].level) == ("release_failed", "ERROR")


def test_a_restore_without_its_node_is_refused():
    desk = Desk()
    assert "restore_node" in desk.restore({})
    assert desk.sent == [("restore node", {"status": False, "error": desk.sent[0][1]["error"]})]


def test_a_restore_of_what_was_found_for_a_node_no_longer_listed_is_obeyed():
    assert parse_restore({"restore_node": 77}, 3, {*GRID, 77}) == 77


# What comes back of an order


def test_the_echo_has_no_secondary_ip_and_no_error_of_the_order_s_own():
    data = order(netmask="24", secondary_ip="10.9.0.9", error="mine", color="red")
    answer = refusal(data, "why")
    assert answer == {**order(netmask="24"), "color": "red", "error": "why"}
    assert data["secondary_ip"] == "10.9.0.9"


def test_a_burst_of_orders_is_answered_one_by_one():
    desk = Desk()
    for _ in range(1000):
        desk.failover.recover(order(), desk.clock.now, desk.clock.now)
        desk.failover.recover(order(ip="10.9.0.3"), desk.clock.now, desk.clock.now)
        desk.failover.recover(order(5, netmask="x"), desk.clock.now, desk.clock.now)
    desk.run(1)
    assert len(desk.wire.added) == 1
    assert len(desk.sent) == 3000
    assert sum("error" in data for _, data in desk.sent) == 2000


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(["3", "10.9.0.2", "10.9.0.5", "255.255.255.0", "10.9.0.3", "10.9.0.255", "::1"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
keys = st.sampled_from([*KEYS, "restore_node", "secondary_ip", "error", "status", "NODE_ID"])
anything = st.dictionaries(keys | st.text(max_size=8), json_values, max_size=8)
nearly = st.builds(
    lambda changes, dropped, owner: {
        key: value for key, value in {**order(owner), **changes}.items() if key not in dropped
    },
    st.dictionaries(keys, json_values, max_size=2),
    st.sets(keys, max_size=1),
    st.sampled_from([1, 2, 4, 5, 6]),
)


def is_the_valid_shape(data: dict[str, Any]) -> bool:
    ip = data.get("ip")
    active = data.get("active_neighbors")
    return (
        type(data.get("disconnected_node")) is int
        and data["disconnected_node"] in {1, 2, 4, 5, 6}
        and data.get("recovery_node") == "3"
        and type(data["recovery_node"]) is str
        and ip in {f"10.9.0.{last}" for last in range(1, 254) if last != 3}
        and data.get("netmask") == "255.255.255.0"
        and type(active) is list
        and all(type(node) is str for node in active)
    )


@given(anything | nearly)
@example(order())
@settings(max_examples=150, deadline=None)
def test_any_object_as_recover_gets_one_answer_and_nothing_is_held_unless_it_is_valid(data):
    desk = Desk()
    try:
        valid = is_the_valid_shape(data)
    except TypeError:  # a list or an object where a text should be
        valid = False
    reason = desk.recover(data)
    assert (reason is None) == valid
    desk.run(0.3)
    assert len(desk.sent) == 1
    event, answer = desk.sent[0]
    assert event == "update node"
    if valid:
        assert desk.held == [data["disconnected_node"]]
        assert answer["secondary_ip"] == data["ip"]
        assert answer["disconnected_node"] == data["disconnected_node"]
        assert "error" not in answer
    else:
        assert desk.held == []
        kept = {key: value for key, value in data.items() if key not in {"secondary_ip", "error"}}
        assert answer == {**kept, "error": reason}


@given(anything | st.builds(lambda node: {"restore_node": node}, json_values | st.integers(0, 9)))
@example({"restore_node": 2})
@settings(max_examples=150, deadline=None)
def test_any_object_as_restore_gets_one_answer_and_gives_back_that_node_s_alone(data):
    desk = Desk()
    for owner in (2, 5):
        desk.recover(order(owner))
    desk.run(0.3)
    desk.sent.clear()
    node = data.get("restore_node")
    valid = type(node) is int and node in {1, 2, 4, 5, 6}
    reason = desk.restore(data)
    assert (reason is None) == valid
    assert len(desk.sent) == 1
    event, answer = desk.sent[0]
    assert event == "restore node"
    assert answer["status"] is valid
    assert desk.held == [owner for owner in (2, 5) if not valid or owner != node]
    if valid:
        assert answer["restore_node"] == node
        assert "neighbors" in answer
    else:
        kept = {key: value for key, value in data.items() if key not in {"secondary_ip", "error"}}
        assert answer == {**kept, "status": False, "error": reason}


@given(st.text(), st.text())
@settings(max_examples=150, deadline=None)
def test_any_text_as_address_or_mask_is_refused_or_read(ip, mask):
    try:
        read = parse_recover(order(ip=ip, netmask=mask), 3, GRID, 0.0)
    except OrderError as exc:
        assert str(exc)
    else:
        assert (str(read.ip.ip), str(read.ip.netmask)) == (ip, mask)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
@example(int(IPv4Address("10.9.0.2")), 0xFFFFFF00)
@settings(max_examples=150, deadline=None)
def test_a_mask_is_read_only_when_its_bits_have_no_gaps(ip, bits):
    plain = f"{bits:032b}".rstrip("0").count("0") == 0
    try:
        read = parse_recover(order(ip=str(IPv4Address(ip)), netmask=str(IPv4Address(bits))), 3, GRID, 0.0)
    except OrderError as exc:
        assert not plain
        assert "gaps" in str(exc)
    else:
        assert plain
        assert (int(read.ip.ip), int(read.ip.netmask)) == (ip, bits)


# what is beyond the limits is refused before it is kept


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def receive(desk: Desk, event: str, data: dict[str, Any]) -> str | None:
    """As it comes from a master, through the connection; the reason of a refusal."""
    raw = json.dumps([event, data], ensure_ascii=False)
    received = order_of(None, 1, event, (data,), raw, None)
    if received.fault:
        reason = desk.failover.refuse(event, received.data, received.fault)
        desk.run(0)
        return reason
    return desk.recover(received.data) if event == "recover" else desk.restore(received.data)


@pytest.mark.parametrize(
    "pad",
    [
        MEGABYTE,
        [MEGABYTE],
        {MEGABYTE: 1},
        [None] * 100_000,
        {str(number): None for number in range(20_000)},
        nested(101),
        "\u00e9" * 40_000,
    ],
    ids=["text", "list", "key", "items", "keys", "nested", "two bytes each"],
)
@pytest.mark.parametrize("event", ["recover", "restore"])
def test_an_order_above_the_limits_is_refused_and_only_its_keys_come_back(event, pad):
    desk = Desk()
    if event == "recover":
        reason = receive(desk, event, {**order(), "pad": pad})
        wanted = {**order(), "error": reason}
    else:
        reason = receive(desk, event, {"restore_node": 2, "pad": pad})
        wanted = {"restore_node": 2, "status": False, "error": reason}
    assert ("65536 are taken" in reason) or ("100 levels" in reason)
    assert [data for _, data in desk.sent] == [wanted]
    desk.run(1)
    assert desk.held == []
    assert desk.wire.probes == []


@pytest.mark.parametrize("fill", ["x", "\u00e9", "\u6f22", "\u2028"])
def test_an_order_is_read_up_to_64_kib_of_bytes(fill):
    empty = len(json.dumps(["recover", order(ip="10.8.0.2", note="")], ensure_ascii=False).encode())
    fits = (ORDER_BYTES - empty) // len(fill.encode())
    for more, faulty in ((0, False), (1, True)):
        desk = Desk()
        assert (
            "bytes" in receive(desk, "recover", order(ip="10.8.0.2", note=fill * (fits + more)))
        ) is faulty
        assert ("note" in desk.sent[0][1]) is not faulty


@pytest.mark.parametrize("value", [MEGABYTE, [MEGABYTE], {"a": MEGABYTE}, nested(400), {"a": nested(400)}])
def test_of_an_order_above_the_limits_small_values_keep_their_types_and_others_are_cut(value):
    desk = Desk()
    reason = receive(desk, "recover", order(note=MEGABYTE, ip=value, secondary_ip="10.9.0.2", error="mine"))
    (event, answer) = desk.sent[0]
    assert event == "update node"
    assert {**answer, "ip": None} == {**order(ip=None), "error": reason}
    assert len(json.dumps({**answer, "error": ""})) <= CUT_BYTES + 16


@pytest.mark.parametrize(
    "pad", ["x" * 60_000, nested(98), [1.5, None, True, {"a": "\ud800"}]], ids=["60 kB", "98 deep", "any"]
)
def test_an_order_within_the_limits_comes_back_whole(pad):
    desk = Desk()
    data = order(ip="10.8.0.2", pad=pad)
    assert receive(desk, "recover", data)
    assert desk.sent[0][1] == {**data, "error": desk.sent[0][1]["error"]}
    desk.sent.clear()
    waiting = order(pad=pad)
    receive(desk, "recover", waiting)
    desk.stop()
    assert desk.sent[0][1] == {**waiting, "error": "stopping"}


@pytest.mark.parametrize(
    ("mac", "read"),
    [
        ("02:fc:00:00:00:02", "02:fc:00:00:00:02"),
        ("02:FC:00:00:00:02", "02:fc:00:00:00:02"),
        ("02:fc:00:00:00:02\n", None),
        ("03:fc:00:00:00:02", None),
        ("ff:ff:ff:ff:ff:ff", None),
        ("02-fc-00-00-00-02", None),
        ("", None),
        (2, None),
        (["02:fc:00:00:00:02"], None),
        (None, None),
    ],
)
def test_the_owner_s_mac_is_read_and_nonsense_ignored(mac, read):
    assert parse_recover(order(owner_mac=mac), 3, (1, 2), 0.0).owner_mac == read
