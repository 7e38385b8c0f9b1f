"""Onlookers of a Lab: what the wire says, who answers for an address, and what a client lives through."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TypeVar

from network.base import ArpSeen
from network.netlink import arp

ETH_P_ALL = 3
CLONE_NEWNET = 0x40000000
T = TypeVar("T")
_numbers = itertools.count(1)


def enter_namespace(name: str) -> None:
    """Move this thread, and those that it starts from now on (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/var/run/netns/{name}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def in_namespace(name: str, make: Callable[[], T]) -> T:
    """What `make` returns when called inside the namespace, such as a socket, which then stays there."""
    result: list[T] = []

    def enter() -> None:
        enter_namespace(name)
        result.append(make())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return result[0]


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


class Pings:
    """ICMP echo requests (RFC 792) from a namespace to an address, every `every_s`, until the block is left.

    The host's own ARP table decides where they go, so this is what a client with a warm cache lives through.
    """

    def __init__(self, ns: str, ip: str, every_s: float = 0.01) -> None:
        self._ip, self._every_s = ip, every_s
        self._sock: socket.socket = in_namespace(
            ns, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        )
        self._sock.settimeout(0.005)
        self._id = next(_numbers) & 0xFFFF
        self.over = threading.Event()
        self.stop_at_first = threading.Event()
        self.sent: dict[int, float] = {}
        """By sequence number: when it was sent, time.monotonic()."""
        self.answered: dict[int, float] = {}
        """By sequence number: when its answer came."""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Pings:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.over.set()
        self._thread.join()
        self._sock.close()

    def _run(self) -> None:
        next_s = time.monotonic()
        while not self.over.is_set():
            if time.monotonic() >= next_s:
                next_s += self._every_s
                number = len(self.sent)
                head = struct.pack("!BBHHH", 8, 0, 0, self._id, number & 0xFFFF)
                head = struct.pack("!BBHHH", 8, 0, _checksum(head), self._id, number & 0xFFFF)
                self.sent[number] = time.monotonic()
                with contextlib.suppress(OSError):  # no route, or no link: no answer either
                    self._sock.sendto(head, (self._ip, 0))
            try:
                data, (sender, _port) = self._sock.recvfrom(2048)
            except OSError:
                continue
            kind, _code, _sum, ident, number = struct.unpack_from("!BBHHH", data, (data[0] & 15) * 4)
            if (kind, ident, sender) == (0, self._id, self._ip):
                self.answered[number] = time.monotonic()
                if self.stop_at_first.is_set():
                    self.over.set()

    def outage_s(self, since_s: float) -> float | None:
        """From the last answer before `since_s` to the first one to a ping sent after it; None: not yet."""
        before = [at for at in self.answered.values() if at < since_s]
        after = [at for number, at in self.answered.items() if self.sent[number] > since_s]
        return min(after) - max(before, default=since_s) if after else None


@dataclass(frozen=True)
class Frame:
    """An ARP frame as the switch received it; `port` names the host that sent it."""

    at: float
    """time.monotonic()"""
    port: str
    seen: ArpSeen


class Capture:
    """Every ARP frame that a host sends to the switch, until the block is left."""

    def __init__(self, switch: str) -> None:
        self._sock: socket.socket = in_namespace(
            switch, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        )
        self._sock.setblocking(False)
        self._reading = threading.Lock()
        self._over = threading.Event()
        self.frames: list[Frame] = []
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._collect()
        self._over.set()
        self._thread.join()
        self._sock.close()

    def _read(self) -> None:
        while not self._over.is_set():
            if select.select([self._sock], [], [], 0.05)[0]:
                self._collect()

    def _collect(self) -> None:
        """What has arrived; the thread that asks for frames reads them, since the thread may not have come to it."""
        with self._reading, contextlib.suppress(BlockingIOError):
            while True:
                data, address = self._sock.recvfrom(2048)
                seen = arp.parse(data, address[0])
                if seen is not None and address[2] != socket.PACKET_OUTGOING and address[0] != "br0":
                    self.frames.append(Frame(time.monotonic(), address[0], seen))

    def _those(self, wanted: Callable[[ArpSeen], bool]) -> list[Frame]:
        if not self._over.is_set():
            self._collect()
        return [frame for frame in list(self.frames) if wanted(frame.seen)]

    def claims(self, ip: str) -> list[Frame]:
        """The frames that give `ip` as their sender's address."""
        return self._those(lambda seen: seen.sender_ip == IPv4Address(ip))

    def probes(self, ip: str) -> list[Frame]:
        return self._those(
            lambda seen: seen.target_ip == IPv4Address(ip) and seen.sender_ip == arp.UNSPECIFIED
        )

    def asked(self, ip: str, sender: str) -> list[Frame]:
        """The ordinary requests of `sender` for `ip`."""
        wanted = (IPv4Address(sender), IPv4Address(ip))
        return self._those(lambda seen: not seen.reply and (seen.sender_ip, seen.target_ip) == wanted)


class Holders:
    """Asks the wire who holds an address, every `every_s`, from a card of its own, until the block is left.

    An ordinary question (its sender is `own_ip`), so it is neither a probe nor a claim.
    """

    def __init__(self, ns: str, own_mac: str, own_ip: str, ip: str, every_s: float) -> None:
        self._ip, self._every_s = IPv4Address(ip), every_s
        self._wire: arp.Wire = in_namespace(ns, arp.Wire)
        self._frame = arp._frame(1, own_mac, IPv4Address(own_ip), arp.NOBODY, self._ip)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.seen: list[tuple[float, str]] = []
        """(time.monotonic(), MAC) of each answer."""
        self._sock: socket.socket = in_namespace(ns, self._sending_socket)

    @staticmethod
    def _sending_socket() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.bind(("eth0", 0))
        return sock

    def __enter__(self) -> Holders:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._sock.close()
        self._wire.close()

    def _ask(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                self._sock.send(self._frame)
            self._over.wait(self._every_s)
            self._collect()

    def _collect(self) -> None:
        while True:
            try:
                frame, address = self._wire._sock.recvfrom(60)
            except BlockingIOError:
                return
            seen = arp.parse(frame, "eth0")
            if seen and address[2] == socket.PACKET_HOST and seen.reply and seen.sender_ip == self._ip:
                self.seen.append((time.monotonic(), seen.sender_mac))

    def macs(self, since_s: float = 0.0) -> set[str]:
        """Who answered since then (time.monotonic())."""
        return {mac for at, mac in list(self.seen) if at >= since_s}

    def longest_double_s(self, apart_s: float = 0.2) -> float:
        """The longest time for which two MACs went on answering: a run of changes from one to the other, none
        more than `apart_s` after the last.
        """
        changes = [
            (at, next_at)
            for (at, mac), (next_at, next_mac) in zip(self.seen, self.seen[1:])
            if mac != next_mac and next_at - at <= apart_s
        ]
        longest, began, last = 0.0, 0.0, -apart_s
        for at, next_at in changes:
            if at - last > apart_s:
                began = at
            last = next_at
            longest = max(longest, last - began)
        return longest


class Inside:
    """A thread that lives in a namespace. An object made through it sees that network; so do its methods and
    the threads that it starts.

        net = inside.call(Netlink, 3, None, 10)
        inside.call(net.hold, virtual address)
    """

    def __init__(self, ns: str) -> None:
        self._pool = in_namespace(ns, self._settle)

    @staticmethod
    def _settle() -> ThreadPoolExecutor:
        # Its one worker starts here, and inherits the namespace of this thread.
        pool = ThreadPoolExecutor(max_workers=1)
        pool.submit(int).result()
        return pool

    def call(self, function: Callable[..., T], *args: object) -> T:
        return self._pool.submit(function, *args).result(20)

    def close(self) -> None:
        self._pool.shutdown()
