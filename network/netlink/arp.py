"""ARP for IPv4 over Ethernet: frames (RFC 826, RFC 5227) and the Linux packet socket that carries them.

The functions that build and parse are pure. `Wire` needs CAP_NET_RAW.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import threading
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

# Linux: if.h, if_arp.h, if_packet.h, socket.h
_SIOCGIFFLAGS, _SIOCGIFHWADDR = 0x8913, 0x8927
_SIOCETHTOOL, _ETHTOOL_GLINK = 0x8946, 0x0A  # sockios.h, ethtool.h
_IFF_UP, _IFF_RUNNING, _IFF_NOARP = 0x1, 0x40, 0x80
_ARPHRD_ETHER = 1
_PACKET_OTHERHOST, _PACKET_OUTGOING = 3, 4
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_BUFFER_BYTES = 1 << 20

# Classic BPF (linux/filter.h): (code, jump if true, jump if false, operand). It drops what is not ARP for
# IPv4 over Ethernet, or is shorter than its header says, before the process is woken.
_LOAD_WORD, _LOAD_HALF, _EQUAL, _RETURN = 0x20, 0x28, 0x15, 0x06
_FILTER = (
    (_LOAD_HALF, 0, 0, 12),
    (_EQUAL, 0, 7, _ETHERTYPE),
    (_LOAD_WORD, 0, 0, 14),
    (_EQUAL, 0, 5, 0x00010800),
    (_LOAD_WORD, 0, 0, 38),  # past the end of a short frame: dropped
    (_LOAD_WORD, 0, 0, 18),
    (_EQUAL, 1, 0, 0x06040001),
    (_EQUAL, 0, 1, 0x06040002),
    (_RETURN, 0, 0, _FRAME.size),
    (_RETURN, 0, 0, 0),
)


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
    """What an untagged Ethernet frame says; None: it is no ARP for IPv4 over Ethernet, or no host can have
    sent it. Padding behind the packet is left out.
    """
    if len(frame) < _FRAME.size:
        return None
    _to, _from, *header, operation, sender, sender_ip, _target, target_ip = _FRAME.unpack_from(frame)
    if tuple(header) != _HEADER or operation not in {_REQUEST, _REPLY}:
        return None
    mac = mac_text(sender)
    if mac in {NOBODY, BROADCAST}:
        return None
    return ArpSeen(interface, operation == _REPLY, mac, IPv4Address(sender_ip), IPv4Address(target_ip))


class _Asking(threading.local):
    """A socket for ioctls, kept by each thread: an order asks a dozen times, and a thread may have a network
    namespace of its own.
    """

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


_asking = _Asking()


def _ask_kernel(request: int, interface: str) -> bytes:
    """The answer to an interface ioctl (netdevice(7)), in the calling thread's network namespace."""
    name = interface.encode()
    if not 0 < len(name) < 16:
        raise NetworkError(f"there is no interface {interface}")
    try:
        return fcntl.ioctl(_asking.sock, request, struct.pack("16s24x", name))[16:]
    except OSError as exc:
        if exc.errno == errno.ENODEV:
            raise NetworkError(f"there is no interface {interface}") from exc
        raise NetworkError(f"interface {interface}: {exc.strerror}") from exc


def _flags(interface: str) -> int:
    return int(struct.unpack_from("H", _ask_kernel(_SIOCGIFFLAGS, interface))[0])


def _has_carrier(interface: str) -> bool:
    """Whether the interface itself has a link, as of now; true for one that cannot say.

    IFF_RUNNING follows a pulled cable some milliseconds late, in which a probe would go nowhere and its
    silence pass for "free".
    """
    value = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_GLINK, 0), 8)
    try:
        request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
        fcntl.ioctl(_asking.sock, _SIOCETHTOOL, request)
    except OSError as exc:
        if exc.errno == errno.EOPNOTSUPP:
            return True
        raise NetworkError(f"interface {interface}: {exc.strerror}") from exc
    return bool(struct.unpack("II", value.raw)[1])


def is_running(interface: str) -> bool:
    """Whether the interface is up and has a link (RFC 2863 operational state). NetworkError: there is none."""
    flags = _flags(interface)
    return bool(flags & _IFF_UP and flags & _IFF_RUNNING) and _has_carrier(interface)


def check_running(interface: str, *, for_arp: bool = False) -> None:
    """Raise NetworkError, with the reason, where the interface is absent, down, has no link or, `for_arp`, speaks
    no ARP.
    """
    flags = _flags(interface)
    if not flags & _IFF_UP:
        raise NetworkError(f"interface {interface} is down")
    if not flags & _IFF_RUNNING or not _has_carrier(interface):
        raise NetworkError(f"interface {interface} has no link")
    if for_arp and flags & _IFF_NOARP:
        raise NetworkError(f"interface {interface} speaks no ARP")


def mac(interface: str) -> str:
    """The MAC of an Ethernet interface. Raises NetworkError where there is none."""
    answer = _ask_kernel(_SIOCGIFHWADDR, interface)
    if struct.unpack_from("H", answer)[0] != _ARPHRD_ETHER:
        raise NetworkError(f"interface {interface} is not Ethernet: it has no MAC and speaks no ARP")
    return mac_text(answer[2:8])


class Wire:
    """One packet socket for every interface; it is bound to none, so it outlives their coming and going.

    Raises PermissionError without CAP_NET_RAW.
    """

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETHERTYPE))
        try:
            self._sock.setblocking(False)
            code = b"".join(struct.pack("HBBI", *step) for step in _FILTER)
            program = ctypes.create_string_buffer(code, len(code))
            sock_fprog = struct.pack("HP", len(_FILTER), ctypes.addressof(program))
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, sock_fprog)
            # Room for a flood, in which an owner's one answer must not be lost; needs CAP_NET_ADMIN.
            with contextlib.suppress(PermissionError):
                self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        except OSError:
            self._sock.close()
            raise

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
        """Send frames out of an interface. Raises NetworkError where it is absent, down, without a link or
        without ARP: the kernel would take a frame for a dead link and drop it in silence.
        """
        check_running(interface, for_arp=True)
        try:
            for frame in frames:
                self._sock.sendto(frame, (interface, _ETHERTYPE))
        except OSError as exc:
            reason = os.strerror(exc.errno) if exc.errno else str(exc)
            raise NetworkError(f"ARP could not be sent on {interface}: {reason}") from exc
