from __future__ import annotations

import contextlib
import os
import struct
import sys
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("the netlink backend is for Linux", allow_module_level=True)

import resource

from network.base import ArpSeen, InterfaceMissing, NetworkError
from network.netlink import arp
from network.netlink.backend import Netlink

MAC = "02:fc:00:00:00:03"
IP = IPv4Address("10.9.0.2")

macs = (
    st.binary(min_size=6, max_size=6).map(arp.mac_text).filter(lambda m: m not in {arp.NOBODY, arp.BROADCAST})
)
ips = st.integers(0, 2**32 - 1).map(IPv4Address)


def test_probe_byte_by_byte():
    """RFC 826's layout and RFC 5227 §2.1.1's values, written out by hand."""
    assert arp.probe(MAC, IP).hex(" ", 2).replace(" ", "") == (
        "ffffffffffff" "02fc00000003" "0806"
        "0001" "0800" "06" "04" "0001"
        "02fc00000003" "00000000"
        "000000000000" "0a090002"
        + "00" * 18
    )  # fmt: skip


def test_announcements_byte_by_byte():
    request, reply = arp.announcements(MAC, IP)
    head = "ffffffffffff02fc000000030806000108000604"
    assert request[:42].hex() == head + "000102fc000000030a0900020000000000000a090002"
    assert reply[:42].hex() == head + "000202fc000000030a090002ffffffffffff0a090002"
    assert len(request) == len(reply) == 60


@settings(deadline=None)  # the machine is shared
@given(macs, ips)
def test_what_is_built_is_parsed(mac, ip):
    assert arp.parse(arp.probe(mac, ip), "e") == ArpSeen("e", False, mac, IPv4Address(0), ip)
    request, reply = arp.announcements(mac, ip)
    assert arp.parse(request, "e") == ArpSeen("e", False, mac, ip, ip)
    assert arp.parse(reply, "e") == ArpSeen("e", True, mac, ip, ip)


@settings(deadline=None)  # the machine is shared
@given(macs, ips, st.binary(max_size=1500))
def test_padding_is_left_out(mac, ip, padding):
    frame = arp.probe(mac, ip)[:42]
    assert arp.parse(frame + padding, "e") == arp.parse(frame, "e") is not None


@settings(deadline=None)  # the machine is shared
@given(macs, ips, st.integers(0, 41))
def test_short_frames_are_rejected(mac, ip, length):
    assert arp.parse(arp.probe(mac, ip)[:length], "e") is None


@settings(deadline=None)  # the machine is shared
@given(st.binary(max_size=80))
def test_any_bytes_are_survived(frame):
    seen = arp.parse(frame, "e")
    assert seen is None or frame[12:20] == bytes.fromhex("0806000108000604")


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (12, 0x8100),  # a VLAN tag
        (12, 0x0800),  # IPv4
        (14, 6),  # token ring
        (16, 0x86DD),  # IPv6 addresses
        (18, 0x0804),  # 8-byte hardware addresses
        (18, 0x0610),  # 16-byte protocol addresses
        (20, 3),  # RARP
        (20, 0),
    ],
)
def test_foreign_frames_are_rejected(offset, value):
    frame = bytearray(arp.probe(MAC, IP))
    struct.pack_into("!H", frame, offset, value)
    assert arp.parse(bytes(frame), "e") is None


@pytest.mark.parametrize("sender", [arp.NOBODY, arp.BROADCAST])
def test_a_sender_that_can_be_no_host_is_rejected(sender):
    assert arp.parse(arp.probe(sender, IP), "e") is None


@pytest.fixture
def net():
    net = Netlink(3, 10)
    yield net
    net.close()


@pytest.mark.parametrize("name", ["nosuch0", "", "a" * 16, "ü" * 8, "a" * 200])
def test_an_interface_that_is_not_there(net, name):
    with pytest.raises(InterfaceMissing, match="there is no interface"):
        net.interface(name)


def test_an_interface_that_cannot_be_asked_for_is_not_missing(net):
    net.close()
    with pytest.raises(NetworkError, match="interface lo could not be read: Bad file descriptor") as caught:
        net.interface("lo")
    assert not isinstance(caught.value, InterfaceMissing)


def test_loopback_speaks_no_arp(net):
    assert net.interface("lo").mac is None


def test_a_machine_without_a_free_descriptor_still_has_its_addresses(net):
    """The library's names of interfaces take one; without it they are not known, which is not "gone"."""
    before = (net.addresses("lo"), net.addresses(), net.default_routes())
    assert before[0]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        assert (net.addresses("lo"), net.addresses(), net.default_routes()) == before
        assert net.addresses("nosuch0") == ()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)
