"""The commands of macOS and Windows, and what is read from their answers, in the forms published for both."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv4Interface

import pytest

from network.base import NetworkError, Vip
from network.choose import open_local, resolve
from network.command import macos, windows
from network.command.system import run

VIP = Vip(2, IPv4Interface("10.9.0.2/24"), "en0")

NETSTAT_NEW = """\
Routing tables

Internet:
Destination        Gateway            Flags               Netif Expire
default            192.168.1.1        UGScg                 en0
default            link#22            UCSIg           bridge100      !
default            10.8.0.1           UGScIg              utun3
127                127.0.0.1          UCS                   lo0
169.254            link#4             UCS                   en0      !
"""
NETSTAT_OLD = """\
Routing tables

Internet:
Destination        Gateway            Flags        Refs      Use   Netif Expire
default            10.10.10.1         UGSc           20       16     en0
10.10.10.1         bc:67:1c:40:3:f6   UHLWIir        21       14     en0   1193
127                127.0.0.1          UCS             0        0     lo0
"""
TWO_ROUTES = (
    '[{"InterfaceAlias":"WLAN","NextHop":"10.5.0.1","RouteMetric":0,"InterfaceMetric":50},'
    '{"InterfaceAlias":"Ethernet","NextHop":"10.9.0.10","RouteMetric":0,"InterfaceMetric":25},'
    '{"InterfaceAlias":"VPN","NextHop":"0.0.0.0","RouteMetric":1,"InterfaceMetric":null}]\r\n'
)


class Recorded:
    """Commands that are noted, not run; each answers with the next recorded text."""

    def __init__(self, *answers):
        self.answers, self.ran = list(answers), []

    def __call__(self, argv, accept=(0,)):
        self.ran.append(list(argv))
        return self.answers.pop(0) if self.answers else ""


def test_macos_changes():
    commands = Recorded()
    system = macos.MacOS(commands)
    system.add(VIP)
    system.remove(VIP)
    assert commands.ran == [
        ["/sbin/ifconfig", "en0", "inet", "10.9.0.2", "netmask", "255.255.255.0", "alias"],
        ["/sbin/ifconfig", "en0", "inet", "10.9.0.2", "-alias"],
    ]


@pytest.mark.parametrize(
    ("text", "routes"),
    [
        (NETSTAT_NEW, (("en0", IPv4Address("192.168.1.1")), ("utun3", IPv4Address("10.8.0.1")))),
        (NETSTAT_OLD, (("en0", IPv4Address("10.10.10.1")),)),
        (NETSTAT_NEW.replace("default ", "0/1     "), ()),
        ("", ()),
        ("default 10.0.0.1 UGSc en0\n", ()),
    ],
)
def test_macos_routes(text, routes):
    commands = Recorded(text)
    assert macos.MacOS(commands).default_routes() == routes
    assert commands.ran == [["/usr/sbin/netstat", "-rn", "-f", "inet"]]


@pytest.mark.parametrize(
    ("text", "mac"),
    [
        ("? (10.9.0.2) at 2:fc:0:0:0:2 on en0 ifscope [ethernet]\n", "02:fc:00:00:00:02"),
        ("node2.lan (10.9.0.2) at 18:20:32:9f:54:75 on en1 ifscope [ethernet]\n", "18:20:32:9f:54:75"),
        ("? (10.9.0.2) at (incomplete) on en0 ifscope [ethernet]\n", None),
        ("10.9.0.2 (10.9.0.2) -- no entry\n", None),
        ("? (110.9.0.2) at 2:fc:0:0:0:2 on en0 ifscope [ethernet]\n", None),
        ("", None),
    ],
)
def test_macos_asks(text, mac):
    commands = Recorded("", "", text)
    assert macos.MacOS(commands).ask(VIP.ip.ip) == mac
    assert commands.ran == [
        ["/usr/sbin/arp", "-d", "10.9.0.2"],
        ["/sbin/ping", "-n", "-c", "1", "-t", "1", "10.9.0.2"],
        ["/usr/sbin/arp", "-n", "10.9.0.2"],
    ]


def test_windows_changes():
    commands = Recorded()
    system = windows.Windows(commands)
    vip = Vip(2, VIP.ip, 'Ethernet 2 & "x"')
    system.add(vip)
    system.remove(vip)
    start = ["netsh", "interface", "ipv4"]
    named = ['name=Ethernet 2 & "x"', "address=10.9.0.2"]
    assert commands.ran == [
        [*start, "add", "address", *named, "mask=255.255.255.0", "store=active", "skipassource=true"],
        [*start, "delete", "address", *named, "store=active"],
    ]


@pytest.mark.parametrize(
    ("text", "routes"),
    [
        ("[]", ()),
        (
            TWO_ROUTES,
            (("Ethernet", IPv4Address("10.9.0.10")), ("WLAN", IPv4Address("10.5.0.1"))),
        ),
    ],
)
def test_windows_routes(text, routes):
    commands = Recorded(text)
    assert windows.Windows(commands).default_routes() == routes
    assert commands.ran == [list(windows.ROUTES_ARGV)]


@pytest.mark.parametrize("text", ["", "x", "{}", '[{"NextHop":"10.0.0.1"}]', '{"RouteMetric":1}', "[null]"])
def test_windows_routes_that_cannot_be_read_are_not_none(text):
    with pytest.raises(NetworkError, match="can't be read"):
        windows.Windows(Recorded(text)).default_routes()


def test_commands_that_fail(monkeypatch):
    monkeypatch.setenv("PASSWORD", "secret")
    monkeypatch.setenv("MASTER_TOKEN", "secret")
    python = sys.executable
    assert run([python, "-c", "print('ok')"]).strip() == "ok"
    assert "secret" not in run([python, "-c", "import os; print(dict(os.environ))"])
    assert run([python, "-c", "raise SystemExit(1)"], (0, 1)) == ""
    with pytest.raises(NetworkError, match="failed with 3: why"):
        run([python, "-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"])
    with pytest.raises(NetworkError, match="could not be run"):
        run(["/no/such/command"])


def test_the_backend_for_a_system(monkeypatch):
    assert resolve("simulated") == ("simulated", "VIP_BACKEND names it")
    assert open_local("simulated", 3, 10, "").backend == "simulated"
    monkeypatch.setattr(sys, "platform", "win32")
    assert resolve("auto")[0] == "netsh"
    with pytest.raises(NetworkError, match="VIP_BACKEND=netlink does not work on win32"):
        open_local("netlink", 3, 10, "")
    monkeypatch.setattr(sys, "platform", "sunos5")
    with pytest.raises(NetworkError, match="no backend for sunos5 but VIP_BACKEND=simulated"):
        resolve("auto")
