"""What the kernel says on its own of interfaces and addresses, as events (rtnetlink(7), its multicast groups)."""

import errno
import math
import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Interface

from network.base import AddressesChanged, LinkDown, LinkUp, NetworkError, NetworkEvent
from network.netlink import messages as nl
from network.netlink.addresses import is_vip_label
from network.netlink.links import Link, parse_link, read_links
from network.netlink.messages import Message
from network.netlink.netlink_socket import NetlinkSocket

_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR = 0x1, 0x10
_QUIET_S = 0.2
"""Seconds after a change of an interface's addresses in which further ones are gathered into one event."""

OnRemoved = Callable[[NetlinkSocket, int, IPv4Interface | None], None]


class KernelEvents:
    """Read by one thread: `receive` when `fileno` is readable, `flush` when `due_s` has come.

    `on_removed` is called in that thread, at once, when an address was removed that is no virtual one: with a socket for
    requests, the index of its interface, and the address. Index 0 and None: any may have been removed, anywhere, as it
    is at the beginning. Raises NetworkError where the kernel could not be asked.
    """

    def __init__(self, post: Callable[[NetworkEvent], None], on_removed: OnRemoved) -> None:
        self.own_macs: frozenset[str] = frozenset()
        self._post = post
        self._on_removed = on_removed
        self._quiet_until_s: dict[int, float] = {}
        self._due_s: dict[int, float] = {}
        self._notifications = NetlinkSocket(_RTMGRP_LINK | _RTMGRP_IPV4_IFADDR)
        self._requests = NetlinkSocket()
        self._links = read_links(self._requests)
        self._gather_macs()
        on_removed(self._requests, 0, None)

    def fileno(self) -> int:
        return self._notifications.fileno()

    def close(self) -> None:
        self._notifications.close()
        self._requests.close()

    def receive(self, now_s: float) -> None:
        """Post what the next datagram says."""
        try:
            messages = self._notifications.receive()
        except OSError as exc:
            if exc.errno == errno.ENOBUFS:
                self._missed_some()
            return  # else it was woken for nothing
        except ValueError:
            self._missed_some()
            return
        for message in messages:
            if message.kind in {nl.RTM_NEWADDR, nl.RTM_DELADDR}:
                self._address_said(message, now_s)
            # A bridge reports its ports in its own family.
            elif message.kind in {nl.RTM_NEWLINK, nl.RTM_DELLINK} and message.head[0] == socket.AF_UNSPEC:
                self._link_changed(parse_link(message), gone=message.kind == nl.RTM_DELLINK)

    def due_s(self) -> float:
        """The monotonic time at which `flush` has an event to post, infinity: none."""
        return min(self._due_s.values(), default=math.inf)

    def flush(self, now_s: float) -> None:
        """Post what was gathered for long enough."""
        for index in [index for index, due_s in self._due_s.items() if due_s <= now_s]:
            del self._due_s[index]
            self._quiet_until_s[index] = now_s + _QUIET_S
            self._post(AddressesChanged(self._links[index].name))

    def _address_said(self, message: Message, now_s: float) -> None:
        _family, prefix, _flags, _scope, index = message.head
        ours = is_vip_label(message.text(nl.IFA_LABEL))
        if ours and message.kind == nl.RTM_NEWADDR:
            return  # a worker's own doing, the renewal of a lease mostly
        if not ours and message.kind == nl.RTM_DELADDR and nl.IFA_LOCAL in message.attributes:
            removed = IPv4Interface((message.attributes[nl.IFA_LOCAL], prefix))
            self._on_removed(self._requests, index, removed)
        if index in self._links:  # else it went away, which was posted
            self._due_s.setdefault(index, self._quiet_until_s.get(index, now_s))

    def _link_changed(self, link: Link, *, gone: bool) -> None:
        before = self._links.pop(link.index, None)
        if gone:
            self._quiet_until_s.pop(link.index, None)
            self._due_s.pop(link.index, None)
            self._post(AddressesChanged(link.name))
        else:
            self._links[link.index] = link
            self._post_state(before, link)
        self._gather_macs()

    def _post_state(self, before: Link | None, link: Link) -> None:
        """A link with another name or MAC has to be announced on as one that comes up."""
        known = before and before.up and (before.name, before.mac) == (link.name, link.mac)
        if link.up and not known:
            self._post(LinkUp(link.name))
        elif before and before.up and not link.up:
            self._post(LinkDown(link.name))

    def _missed_some(self) -> None:
        """The kernel had more to say than fitted: take everything for changed."""
        before = self._links
        with suppress(NetworkError):  # the links as they were known are better than none
            self._links = read_links(self._requests)
        self._gather_macs()
        self._due_s.clear()
        for link in self._links.values():
            self._post(LinkUp(link.name) if link.up else LinkDown(link.name))
            self._post(AddressesChanged(link.name))
        for index in before.keys() - self._links.keys():
            self._post(AddressesChanged(before[index].name))
        self._on_removed(self._requests, 0, None)

    def _gather_macs(self) -> None:
        self.own_macs = frozenset().union(*(link.macs for link in self._links.values()))
