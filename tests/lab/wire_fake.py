"""A machine, its segment and its clock by script, and what drives Failover over them as the worker does.

`Wire` has the type of network.base.Network. Other machines on it answer probes after a tenth of a
millisecond, leases run out by the clock, and each method fails on command. `Desk` turns the owner's loop:
`tick` when it is due, `judge` only when all that the wire said before was delivered.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from types import SimpleNamespace
from typing import Any

from failover.machine import Failover
from failover.node import Node
from failover.owners import OwnerMacs
from failover.states import State
from failover.vips import Reply
from logging_setup import NoLog
from logs.format import Entry, format_line, parse_line
from network.base import (
    Address,
    AddressesChanged,
    ArpSeen,
    Interface,
    InterfaceMissing,
    LastSeen,
    LinkDown,
    LinkUp,
    NetworkError,
    NetworkEvent,
    Vip,
)

NOBODY = IPv4Address(0)
GRID = {1: (2, 4), 2: (1, 3, 5), 3: (2, 6), 4: (1, 5, 7), 5: (2, 4, 6, 8), 6: (3, 5, 9)}
OWN = Address("eth0", IPv4Interface("10.9.0.3/24"))
OWN_MAC = "02:fc:00:00:00:03"
LOWER_MAC, HIGHER_MAC = "02:fc:00:00:00:01", "02:fc:00:00:00:09"
GATEWAY = IPv4Address("10.9.0.254")


def ip_of(node: int) -> IPv4Address:
    return IPv4Address(f"10.9.0.{node}")


def vip_of(node: int) -> Vip:
    return Vip(node, IPv4Interface((ip_of(node), 24)), "eth0")


def order(owner: int = 2, **changes: Any) -> dict[str, Any]:
    """A valid `recover`."""
    data = {
        "disconnected_node": owner,
        "recovery_node": "3",
        "ip": str(ip_of(owner)),
        "netmask": "255.255.255.0",
        "active_neighbors": ["1", "3"],
    }
    return {**data, **changes}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Host:
    """Another machine: it answers everybody who asks for its address."""

    mac: str
    ip: IPv4Address
    delay_s: float = 0.0001


@dataclass
class Wire:
    """`broken` maps a method's name to the reason with which it fails. Times are the clock's seconds.

    `probes` (with the `senders` they had) and `announcements` are what went out, `heard` what was posted, `added` each virtual address that was added
    anew.
    """

    clock: Clock
    lease_s: float = 10.0
    backend: str = "netlink"
    own: list[Address] = field(default_factory=lambda: [OWN])
    vips: dict[Vip, float] = field(default_factory=dict)
    hosts: list[Host] = field(default_factory=list)
    macs: dict[IPv4Address, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    down: bool = False
    probes: list[tuple[float, IPv4Address]] = field(default_factory=list)
    senders: list[IPv4Address | None] = field(default_factory=list)
    probers: dict[tuple[IPv4Address, str], float] = field(default_factory=dict)
    other_uses: dict[IPv4Address, IPv4Address] = field(default_factory=dict)
    filtered: frozenset[tuple[str, IPv4Address, str]] = frozenset()
    announcements: list[tuple[float, IPv4Address]] = field(default_factory=list)
    heard: list[tuple[float, ArpSeen]] = field(default_factory=list)
    added: list[tuple[float, Vip]] = field(default_factory=list)
    renewed: list[tuple[float, Vip]] = field(default_factory=list)
    on_added: Callable[[Vip], None] = lambda vip: None

    def __post_init__(self) -> None:
        self._post: Callable[[NetworkEvent], None] = lambda event: None
        self._watched: frozenset[IPv4Address] = frozenset()
        self._coming: list[tuple[float, int, ArpSeen]] = []
        self._count = itertools.count()

    # what the script does

    def claim(self, ip: IPv4Address, mac: str = HIGHER_MAC) -> None:
        """One gratuitous ARP from another machine."""
        self._say(ArpSeen("eth0", False, mac, ip, ip))

    def answer(self, ip: IPv4Address, mac: str = HIGHER_MAC) -> None:
        """What another machine that has `ip` says to a probe."""
        self._say(ArpSeen("eth0", True, mac, ip, NOBODY))

    def ask(self, ip: IPv4Address, mac: str) -> None:
        """A probe from another machine."""
        self._say(ArpSeen("eth0", False, mac, NOBODY, ip))

    def probed_by(self, mac: str, ip: IPv4Address, also_uses: IPv4Address | None = None) -> None:
        """A probe from a MAC that was seen to use another address too."""
        self._say(ArpSeen("eth0", False, mac, NOBODY, ip, also_uses))

    def say(self, arp: ArpSeen) -> None:
        """Whatever packet."""
        self._say(arp)

    def question(self, ip: IPv4Address, sender: IPv4Address, mac: str = HIGHER_MAC) -> None:
        """Another machine looks `ip` up."""
        self._say(ArpSeen("eth0", False, mac, sender, ip))

    def take_away(self, vip: Vip) -> None:
        """An operator removes the address by hand."""
        if self.vips.pop(vip, None) is not None:
            self._post(AddressesChanged("eth0"))

    def cut(self) -> None:
        self.down = True
        self._post(LinkDown("eth0"))

    def mend(self) -> None:
        self.down = False
        self._post(LinkUp("eth0"))

    def next_s(self) -> float:
        """When something happens next without anybody's doing."""
        return min([*self.vips.values(), *(at for at, _, _ in self._coming[:1])], default=float("inf"))

    def pass_time(self) -> None:
        """Let happen what is due by the clock."""
        for vip, ends_s in list(self.vips.items()):
            if ends_s <= self.clock.now:
                self.take_away(vip)
        while self._coming and self._coming[0][0] <= self.clock.now:
            at, _, arp = heapq.heappop(self._coming)
            if not self.down and arp.sender_ip != NOBODY:
                self.macs[arp.sender_ip] = arp.sender_mac
                self.probers.pop((arp.sender_ip, arp.sender_mac), None)
            elif not self.down and not arp.reply:
                self.probers[arp.target_ip, arp.sender_mac] = at
            if not self.down and not self._watched.isdisjoint((arp.sender_ip, arp.target_ip)):
                self.heard.append((at, arp))
                self._post(arp)

    def _say(self, arp: ArpSeen, delay_s: float = 0.0) -> None:
        heapq.heappush(self._coming, (self.clock.now + delay_s, next(self._count), arp))

    # what failover asks for

    def start(self, post: Callable[[NetworkEvent], None]) -> None:
        self._post = post

    def close(self) -> None:
        self._post = lambda event: None

    def addresses(self, interface: str | None = None) -> tuple[Address, ...]:
        self._may("addresses")
        there = (*self.own, *(Address(vip.interface, vip.ip, vip.owner) for vip in self.vips))
        return tuple(one for one in there if interface in {None, one.interface})

    def interface(self, name: str) -> Interface:
        self._may("interface")
        if name not in {one.interface for one in self.own}:
            raise InterfaceMissing(f"there is no interface {name}")
        return Interface(name, OWN_MAC, f"interface {name} has no link" if self.down else None)

    def default_routes(self) -> tuple[tuple[str, IPv4Address | None], ...]:
        self._may("default_routes")
        return (("eth0", GATEWAY),)

    def watch(self, ips: frozenset[IPv4Address]) -> None:
        self._may("watch")
        self._watched = ips

    def probe(self, interface: str, ip: IPv4Address, sender: IPv4Address | None = None) -> None:
        self._may("probe")
        self._must_be_up()
        self.probes.append((self.clock.now, ip))
        self.senders.append(sender)
        for host in self.hosts:
            if host.ip == ip:
                # the kernel may answer before the sender goes on: heard only where it is watched by now
                if ip in self._watched:
                    self._say(ArpSeen("eth0", True, host.mac, ip, sender or NOBODY), host.delay_s)

    def announce(self, interface: str, ip: IPv4Address) -> None:
        self._may("announce")
        self._must_be_up()
        self.announcements.append((self.clock.now, ip))

    def hold(self, vip: Vip) -> None:
        self._may("hold")
        for there in self.addresses():
            if there.ip.ip == vip.ip.ip and there != Address(vip.interface, vip.ip, vip.owner):
                raise NetworkError(f"{there.interface} already has {there.ip}")
        if vip in self.vips:
            self.renewed.append((self.clock.now, vip))
        else:
            self.added.append((self.clock.now, vip))
            self.on_added(vip)
            self._post(AddressesChanged("eth0"))
        self.vips[vip] = self._ends_s()

    def renew(self, vip: Vip) -> None:
        self._may("renew")
        if vip not in self.vips:
            raise NetworkError(f"{vip.ip} is not there with our label")
        self.renewed.append((self.clock.now, vip))
        self.vips[vip] = self._ends_s()

    def release(self, vip: Vip) -> None:
        self._may("release")
        self.take_away(vip)

    def last_seen(self, interface: str, ip: IPv4Address) -> LastSeen:
        self._may("last_seen")
        ago_s = {mac: self.clock.now - at for (asked, mac), at in self.probers.items() if asked == ip}
        return LastSeen(self.macs.get(ip), self.other_uses.get(ip), ago_s)

    def filter_probes(self, probes: frozenset[tuple[str, IPv4Address, str]]) -> None:
        self.filtered = probes

    def _ends_s(self) -> float:
        return self.clock.now + self.lease_s if self.lease_s else float("inf")

    def _may(self, method: str) -> None:
        if method in self.broken:
            raise NetworkError(self.broken[method])

    def _must_be_up(self) -> None:
        if self.down:
            raise NetworkError("interface eth0 has no link")


class Lines(NoLog):
    """Keeps what was logged, as it would be read back from the file."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def write(self, level: str, event: str, fields: dict[str, object]) -> None:
        self.entries.append(parse_line(format_line(datetime.now(timezone.utc), level, event, fields)))

    def events(self) -> list[str]:
        return [entry.event for entry in self.entries if entry.level != "DEBUG"]


@dataclass(frozen=True)
class _Judge:
    as_of: float


class Desk:
    """The owner's loop over one Wire; `sent` are the answers as the master reads them."""

    def __init__(self, wire: Wire | None = None, *, owners: OwnerMacs | None = None, **settings: Any) -> None:
        self.wire = wire or Wire(Clock(), lease_s=settings.get("address_lease_s", 10.0))
        self.clock = self.wire.clock
        self.log = Lines()
        self.sent: list[tuple[str, dict[str, Any]]] = []
        values: dict[str, Any] = {
            "node_id": 3,
            "neighbors": GRID,
            "interface": None,
            "allowed_networks": None,
            "address_lease_s": 10.0,
            "conflict_probe_s": 0.2,
            "conflict_wait_s": 30.0,
        }
        self.settings = SimpleNamespace(**{**values, **settings})
        self.node = Node(self.settings, self.wire, self.log)
        self._inbox: deque[object] = deque()
        self._answers: deque[Reply] = deque()
        self._judging = False
        self.failover = Failover(
            self.settings, self.node, self.wire, self.log, self._answers.append, self.clock, owners
        )
        self.wire.start(self._inbox.append)
        self.failover.start(self.clock.now)
        self.node.find(None)
        self.failover.watch()
        self.run(0)

    @property
    def held(self) -> list[int]:
        """The owners whose addresses the interface holds with our label."""
        return [vip.owner for vip in self.wire.vips]

    def state(self, owner: int = 2) -> State:
        entry = self.failover._entries.get(owner)
        return entry.state if entry else State.FREE

    def recover(self, data: Any) -> str | None:
        reason = self.failover.recover(data, self.clock.now, self.clock.now)
        self.run(0)
        return reason

    def restore(self, data: Any) -> str | None:
        reason = self.failover.restore(data, self.clock.now)
        self.run(0)
        return reason

    def stop(self) -> None:
        self.failover.stop(self.clock.now)
        self._tell()

    def freeze(self, for_s: float) -> None:
        """Neither turns nor answers for that long; what the wire said meanwhile is read only then."""
        end_s = self.clock.now + for_s
        while self.wire.next_s() <= end_s:
            self.clock.now = max(self.clock.now, self.wire.next_s())
            self.wire.pass_time()
        self.clock.now = end_s
        self.failover.unsure(end_s)
        self.run(0)

    def run(self, for_s: float) -> None:
        """Let that much time pass."""
        end_s = self.clock.now + for_s
        turns = 0
        while True:
            self.wire.pass_time()
            self._turn(self._inbox.popleft() if self._inbox else None)
            due_s = min(self.failover.tick_due(), self.wire.next_s())
            if not self._judging:
                due_s = min(due_s, self.failover.judge_due())
            turns += 1
            assert turns < 50_000, "the loop turns forever"
            if self._inbox:
                continue
            if due_s > end_s:
                self.clock.now = end_s
                return
            self.clock.now = max(self.clock.now, due_s)

    def until(self, state: State, limit_s: float, owner: int = 2) -> float:
        """Run until the address is in that state; the seconds that it took."""
        began_s = self.clock.now
        while self.state(owner) is not state:
            assert self.clock.now - began_s < limit_s, f"still {self.state(owner)} after {limit_s} s"
            self.run(0.01)
        return self.clock.now - began_s

    def _turn(self, message: object) -> None:
        now = self.clock.now
        if isinstance(message, _Judge):
            self._judging = False
            self.failover.judge(message.as_of)
        elif isinstance(message, (ArpSeen, LinkUp, LinkDown, AddressesChanged)):
            self.failover.seen(message, now)
            if not isinstance(message, ArpSeen):
                try:
                    self.node.find(None)
                    self.failover.watch()
                except NetworkError:
                    pass  # as the worker, which logs it
        if self.failover.tick_due() <= now:
            self.failover.tick(now)
        if self.failover.judge_due() <= now and not self._judging:
            self._judging = True
            self._inbox.append(_Judge(now))
        self._tell()

    def _tell(self) -> None:
        while self._answers:
            reply = self._answers.popleft()
            data = dict(reply.extra)
            if reply.owner is not None:
                data = {**self.node.join_data(self.failover.held), **data}
            self.sent.append((reply.event, json.loads(json.dumps(data))))


def networks(*texts: str) -> tuple[IPv4Network, ...]:
    return tuple(map(IPv4Network, texts))
