"""Keeping other addresses where a virtual address goes.

Of the addresses of one subnet with one mask on an interface the kernel calls the first primary and the others
secondary, and removes the secondaries with their primary, whether that is removed or its lifetime ends, unless the
interface's promote_secondaries is set (kernel documentation, networking/ip-sysctl). A virtual address is such a primary
where its mask is not the own address's, or its primary went away.
"""

import threading

from network.netlink.addresses import KernelAddress, read, remove, stands_behind
from network.netlink.links import name_of, promotes_secondaries, set_promote_secondaries
from network.netlink.netlink_socket import NetlinkSocket, reasons


class SecondaryGuard:
    """Sets promote_secondaries while a virtual address is a primary; for any thread, with a socket of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed: set[int] = set()

    def protect(self, route: NetlinkSocket, vip: KernelAddress) -> None:
        """See to it that no other address goes with `vip`. Raises NetworkError where it can't be ensured."""
        if vip.secondary:
            return
        with self._lock, reasons(f"promote_secondaries of {vip.interface} could not be set"):
            if not promotes_secondaries(route, vip.index):
                set_promote_secondaries(route, vip.index, True)
                self._changed.add(vip.index)

    def remove(self, route: NetlinkSocket, vip: KernelAddress) -> None:
        """Remove a virtual address and no other. Raises NetworkError."""
        self.protect(route, vip)
        remove(route, vip)
        self.put_back(route)

    def remove_leading(self, route: NetlinkSocket, holder: int, index: int = 0) -> None:
        """Remove the virtual addresses of `holder`, on one interface or all, that have come to stand before the machine's
        own: where it is taken off, and promote_secondaries keeps the kernel from removing them too. Raises NetworkError.
        """
        addresses = read(route, index)
        for there in addresses:
            if there.holder == holder and not stands_behind(there, addresses):
                self.remove(route, there)

    def put_back(self, route: NetlinkSocket) -> None:
        """Put it back where no virtual address, of whatever worker, is a primary any more. Raises NetworkError."""
        with self._lock:
            for index in tuple(self._changed):
                there = read(route, index)
                if any(one.holder is not None and not one.secondary for one in there):
                    continue
                self._changed.discard(index)
                with reasons("promote_secondaries could not be put back"):
                    if name_of(route, index):  # else the interface is gone, and its settings with it
                        set_promote_secondaries(route, index, False)
