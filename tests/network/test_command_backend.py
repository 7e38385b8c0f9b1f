"""The rules that Windows and macOS share, on cards in memory; and the journal on a real file."""

from __future__ import annotations

import json
import threading
import time
from ipaddress import IPv4Address, IPv4Interface

import pytest

from network.base import Address, AddressesChanged, ArpSeen, Interface, LinkUp, NetworkError, Vip
from network.command import backend as alias
from network.command.backend import CommandBackend, Journal
from network.command.macos import MacOS
from network.command.system import InterfaceInfo, System

OWN = IPv4Interface("10.9.0.3/24")
VIP = Vip(2, IPv4Interface("10.9.0.2/24"), "en0")
IP = VIP.ip.ip


class Mac(System):
    """A system whose commands change the cards in memory."""

    backend = "ifconfig"

    def __init__(self):
        self.cards = {"en0": InterfaceInfo("en0", "02:fc:00:00:00:03", True, (OWN,))}
        self.answers: dict[IPv4Address, str] = {}
        self.refuses = None
        self.asked = self.looks = 0

    def interfaces(self):
        self.looks += 1
        return tuple(self.cards.values())

    def change(self, name, **what):
        card = self.cards[name]
        self.cards[name] = InterfaceInfo(**{**card.__dict__, **what})

    def check_privilege(self):
        if self.refuses:
            raise NetworkError(self.refuses)

    def add(self, vip):
        self.check_privilege()
        self.change(vip.interface, ips=(*self.cards[vip.interface].ips, vip.ip))

    def remove(self, vip):
        self.change(vip.interface, ips=tuple(ip for ip in self.cards[vip.interface].ips if ip != vip.ip))

    def default_routes(self):
        return (("en0", IPv4Address("10.9.0.10")), ("en1", IPv4Address("10.5.0.1")))

    def ask(self, ip):
        self.asked += 1
        self.check_privilege()
        return self.answers.get(ip)


@pytest.fixture
def mac():
    return Mac()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "addresses-3.json"


@pytest.fixture
def events():
    return []


@pytest.fixture
def net(mac, path, events):
    net = CommandBackend(mac, Journal(path))
    net.start(events.append)
    yield net
    net.close()


def until(condition, limit_s=5):
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_a_virtual_address_is_known_after_a_restart(net, mac, path):
    net.hold(VIP)
    net.hold(VIP)
    net.renew(VIP)
    assert net.addresses() == (Address("en0", OWN), Address("en0", VIP.ip, 2))
    again = CommandBackend(mac, Journal(path))
    assert again.addresses() == net.addresses()
    again.release(VIP)
    again.release(VIP)
    assert net.addresses() == (Address("en0", OWN),)
    assert json.loads(path.read_text()) == []


def test_what_a_restart_of_the_machine_took_is_no_virtual_address_any_more(net, mac, path):
    net.hold(VIP)
    mac.change("en0", ips=(OWN,))
    after = CommandBackend(mac, Journal(path))
    after.start(print)
    after.close()
    mac.change("en0", ips=(OWN, VIP.ip))
    assert [a.owner for a in net.addresses()] == [None, None]


def test_what_somebody_else_added_is_left_alone(net, mac):
    there = (OWN, IPv4Interface("10.9.0.2/25"))
    mac.change("en0", ips=there)
    with pytest.raises(NetworkError, match=r"already has 10\.9\.0\.2/25"):
        net.hold(VIP)
    with pytest.raises(NetworkError, match="not on en0"):
        net.renew(VIP)
    net.release(VIP)
    assert mac.cards["en0"].ips == there


def test_a_system_that_refuses_leaves_nothing_in_the_journal(net, mac, path):
    mac.refuses = "not today"
    with pytest.raises(NetworkError, match="not today"):
        net.hold(VIP)
    assert Journal(path).read() == ()
    with pytest.raises(NetworkError, match="not today"):
        CommandBackend(mac, Journal(path)).start(print)


def test_success_is_what_the_interface_holds_not_what_the_tool_said(net, mac, path):
    mac.add = lambda vip: None
    with pytest.raises(NetworkError, match="not on en0"):
        net.hold(VIP)
    assert Journal(path).read() == ()


def test_an_interface_without_an_address_of_its_own_in_the_subnet(net, mac):
    mac.change("en0", ips=(IPv4Interface("10.8.0.3/24"),))
    with pytest.raises(NetworkError, match="no address of its own"):
        net.hold(VIP)


def test_interfaces(net, mac):
    assert net.interface("en0") == Interface("en0", "02:fc:00:00:00:03", None)
    assert net.default_routes() == (("en0", IPv4Address("10.9.0.10")), ("en1", IPv4Address("10.5.0.1")))
    mac.cards["lo0"] = InterfaceInfo("lo0", None, True, ())
    mac.change("en0", up=False)
    for act in (
        lambda: net.interface("en0").check(),
        lambda: net.hold(VIP),
        lambda: net.probe("en0", IP),
        lambda: net.announce("en0", IP),
    ):
        with pytest.raises(NetworkError, match="en0 is down"):
            act()
    assert net.interface("lo0").mac is None
    with pytest.raises(NetworkError, match="no interface en7"):
        net.interface("en7")


def test_a_living_owner_is_seen(net, mac, events):
    mac.answers[IP] = "02:fc:00:00:00:02"
    net.watch(frozenset({IP}))
    net.probe("en0", IP)
    until(lambda: events)
    assert events == [ArpSeen("en0", True, "02:fc:00:00:00:02", IP, IPv4Address(0))]
    assert net.last_seen("en0", IP).mac == "02:fc:00:00:00:02"
    mac.answers[IP] = "02:fc:00:00:00:03"  # this machine's own
    net.probe("en0", IP)
    until(lambda: mac.asked == 2)
    net.probe("en0", OWN.ip)
    time.sleep(0.05)
    assert (mac.asked, len(events)) == (2, 1)


def test_a_question_that_failed_is_no_silence(net, mac):
    mac.refuses = "arp is broken"
    net.probe("en0", IP)
    until(lambda: net._failed)
    with pytest.raises(NetworkError, match="arp is broken"):
        net.probe("en0", IP)


def test_changes_are_told(mac, path, events, monkeypatch):
    monkeypatch.setattr(alias, "_POLL_S", 0.01)
    net = CommandBackend(mac, Journal(path))
    net.start(events.append)
    mac.change("en0", up=False)
    seen = mac.looks
    until(lambda: mac.looks >= seen + 2)
    mac.change("en0", up=True, ips=(OWN, VIP.ip))
    until(lambda: len(events) == 3)
    net.close()
    assert events[1:] == [LinkUp("en0"), AddressesChanged("en0")]


def test_closed_leaves_no_thread(net):
    before = threading.active_count()
    net.close()
    assert threading.active_count() == before - 2
    with pytest.raises(NetworkError, match="not opened"):
        net.probe("en0", IP)


def test_the_cards_of_this_machine():
    pytest.importorskip("psutil", reason="psutil is installed where there is no rtnetlink")
    cards = {card.name: card for card in MacOS().interfaces()}
    assert any(ip.ip.is_loopback for card in cards.values() for ip in card.ips)
    for card in cards.values():
        assert card.mac is None or len(card.mac) >= 17
