"""ARP for IPv4 over Ethernet: frames (RFC 826, RFC 5227) and the Linux packet socket that carries them."""

import contextlib
import os
import socket
import struct
from ipaddress import IPv4Address

from network.base import ArpSeen, NetworkError

BROADCAST = "ff:ff:ff:ff:ff:ff"
NOBODY = "00:00:00:00:00:00"
UNSPECIFIED = IPv4Address(0)

_ETHERTYPE = 0x0806
_REQUEST, _REPLY = 1, 2
# Ethernet header, then hardware type, protocol type, their lengths, operation, sender and target (RFC 826).
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_HEADER = (_ETHERTYPE, 1, 0x0800, 6, 4)
_LEAST = 60  # an Ethernet frame without its checksum; drivers of virtual interfaces do not pad

# Linux: if_packet.h, socket.h
_PACKET_OTHERHOST, _PACKET_OUTGOING = 3, 4
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 1 << 20


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(raw: bytes) -> str:
    return raw.hex(":")


def _frame(operation: int, mac: str, sender: IPv4Address, target_mac: str, target: IPv4Address) -> bytes:
    source = _bytes(mac)
    frame = _FRAME.pack(
        _bytes(BROADCAST),
        source,
        *_HEADER,
        operation,
        source,
        sender.packed,
        _bytes(target_mac),
        target.packed,
    )
    return frame.ljust(_LEAST, b"\0")


def probe(mac: str, ip: IPv4Address) -> bytes:
    """An ARP probe from `mac` (RFC 5227 §2.1.1): sender 0.0.0.0, so that it changes nobody's table."""
    return _frame(_REQUEST, mac, UNSPECIFIED, NOBODY, ip)


def request(mac: str, sender: IPv4Address, ip: IPv4Address) -> bytes:
    """An ordinary ARP request (RFC 826): no conflict for a host that probes for `ip` at the same time."""
    return _frame(_REQUEST, mac, sender, NOBODY, ip)


def announcements(mac: str, ip: IPv4Address) -> tuple[bytes, bytes]:
    """Both forms of an ARP announcement (RFC 5227 §2.3 and §3): some devices obey the one, some the other."""
    return _frame(_REQUEST, mac, ip, NOBODY, ip), _frame(_REPLY, mac, ip, BROADCAST, ip)


def parse(frame: bytes, interface: str) -> ArpSeen | None:
    """What an untagged Ethernet frame says; None: it is no ARP for IPv4, or no host can have sent it."""
    if len(frame) < _FRAME.size:
        return None
    _to, _from, *header, operation, sender, sender_ip, _target, target_ip = _FRAME.unpack_from(frame)
    if tuple(header) != _HEADER or operation not in {_REQUEST, _REPLY}:
        return None
    mac = mac_text(sender)
    if mac in {NOBODY, BROADCAST}:
        return None
    return ArpSeen(interface, operation == _REPLY, mac, IPv4Address(sender_ip), IPv4Address(target_ip))


class Wire:
    """One packet socket, bound to no interface, so that it outlives them. PermissionError without CAP_NET_RAW."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETHERTYPE))
        self._sock.setblocking(False)
        # Room for a flood, in which an owner's one answer must not be lost; needs CAP_NET_ADMIN.
        with contextlib.suppress(PermissionError):
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def receive(self) -> ArpSeen | None:
        """The next packet that fits. None: this one did not, or was sent by this machine, or not to it (the
        kernel gives packets of VLANs that it does not know that mark). BlockingIOError: there is none.
        """
        frame, (interface, _protocol, kind, *_rest) = self._sock.recvfrom(_LEAST)
        if kind in {_PACKET_OTHERHOST, _PACKET_OUTGOING} or not interface:
            return None
        return parse(frame, interface)

    def send(self, interface: str, *frames: bytes) -> None:
        """Raises NetworkError; but for an interface without a link or ARP the kernel drops frames in silence."""
        try:
            for frame in frames:
                self._sock.sendto(frame, (interface, _ETHERTYPE))
        except OSError as exc:
            reason = os.strerror(exc.errno) if exc.errno else str(exc)
            raise NetworkError(f"ARP could not be sent on {interface}: {reason}") from exc
