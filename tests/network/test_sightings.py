"""What ARP packets said about who uses which address is kept for a while, and no longer."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address

import pytest

from network.base import ArpSeen

if sys.platform != "linux":
    pytest.skip("it reads Linux packet sockets", allow_module_level=True)

from network.netlink import watch
from network.netlink.watch import RateLimiter, Sightings

NOBODY, IP, OTHER = IPv4Address(0), IPv4Address("10.9.0.2"), IPv4Address("10.9.0.4")
A, B = "02:fc:00:00:00:0a", "02:fc:00:00:00:0b"


def uses(mac: str, ip: IPv4Address, interface: str = "eth0") -> ArpSeen:
    return ArpSeen(interface, False, mac, ip, ip)


def probes(mac: str, interface: str = "eth0") -> ArpSeen:
    return ArpSeen(interface, False, mac, NOBODY, IP)


def test_the_last_user_is_remembered_for_a_day_on_its_interface():
    seen = Sightings()
    seen.note(uses(A, IP), 100.0)
    seen.note(uses(B, IP), 101.0)
    assert seen.user("eth0", IP, 86_500.0) == B
    assert seen.user("eth0", IP, 86_502.0) is None
    assert seen.user("eth1", IP, 102.0) is None
    assert seen.user("eth0", OTHER, 102.0) is None


def test_another_address_of_a_mac_counts_for_a_minute():
    seen = Sightings()
    seen.note(uses(A, IP), 100.0)
    assert seen.other_address("eth0", A, IP, 101.0) is None
    seen.note(uses(A, OTHER), 100.0)
    assert seen.other_address("eth0", A, IP, 159.0) == OTHER
    assert seen.other_address("eth0", A, IP, 160.5) is None
    assert seen.other_address("eth1", A, IP, 101.0) is None
    seen.note(uses(B, OTHER), 102.0)
    assert seen.other_address("eth0", A, IP, 103.0) is None


def test_a_probe_is_remembered_for_ten_seconds_and_uses_nothing():
    seen = Sightings()
    seen.note(probes(A), 100.0)
    seen.note(probes(B), 101.0)
    assert seen.probed_ago_s("eth0", IP, 104.0) == {A: 4.0, B: 3.0}
    assert seen.probed_ago_s("eth0", IP, 110.5) == {B: 9.5}
    assert seen.probed_ago_s("eth0", IP, 111.5) == {}
    assert seen.probed_ago_s("eth1", IP, 104.0) == {}
    assert seen.user("eth0", IP, 104.0) is None


def test_a_probe_is_forgotten_when_its_sender_uses_the_address():
    seen = Sightings()
    seen.note(probes(A), 100.0)
    for other in (uses(B, IP), uses(A, OTHER), uses(A, IP, "eth1")):
        seen.note(other, 101.0)
    assert seen.probed_ago_s("eth0", IP, 102.0) == {A: 2.0}
    seen.note(uses(A, IP), 103.0)
    assert seen.probed_ago_s("eth0", IP, 104.0) == {}
    seen.note(probes(A), 105.0)
    assert seen.probed_ago_s("eth0", IP, 106.0) == {A: 1.0}


def test_a_flood_of_addresses_is_bounded_and_the_newest_stay():
    seen = Sightings()
    for number in range(3 * watch._REMEMBERED):
        seen.note(uses(A, IPv4Address(0x0A000000 + number)), 100.0)
        seen.note(ArpSeen("eth0", False, A, NOBODY, IPv4Address(0x0A000000 + number)), 100.0)
    assert len(seen._users) == len(seen._probers) == watch._REMEMBERED
    assert seen.user("eth0", IPv4Address(0x0A000000 + number), 100.0) == A


def test_a_flood_of_probes_does_not_hide_the_owner_s():
    seen = Sightings()
    seen.note(probes(A), 100.0)
    for number in range(watch._REMEMBERED - 1):
        seen.note(probes(f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"), 101.0)
    assert seen.probed_ago_s("eth0", IP, 102.0)[A] == 2.0


def test_a_flood_on_another_interface_does_not_hide_a_claim():
    limiter = RateLimiter()
    flood = [uses(f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}", IP, "cbr0") for number in range(1000)]
    assert 0 < sum(limiter.passes(one, IP, 5.0) for one in flood) < 1000
    assert limiter.passes(uses(A, IP), IP, 5.0)
