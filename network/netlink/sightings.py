"""What ARP packets on the wire said about who uses which address, for a while.

Anybody on the segment can forge such a packet, so this is a hint: it expires, and nothing is decided by it alone.
"""

from ipaddress import IPv4Address
from typing import Any

from network.base import ArpSeen
from network.netlink.arp import UNSPECIFIED

_USED_FOR_S = 86400.0
"""Seconds for which the last user of an address is remembered."""
_ALSO_USED_FOR_S = 60.0
"""Seconds for which a MAC counts as one that uses another address; a worker announces its own before it probes."""
PROBED_FOR_S = 10.0
"""Seconds for which a probe is remembered: an owner that asks first needs about that long to come up."""
_REMEMBERED = 4096


class Sightings:
    """One thread notes, any thread asks; times are monotonic seconds."""

    def __init__(self) -> None:
        self._users: dict[tuple[str, IPv4Address], tuple[str, float]] = {}
        self._probers: dict[tuple[str, IPv4Address, str], float] = {}

    def note(self, seen: ArpSeen, now_s: float) -> None:
        if seen.sender_ip != UNSPECIFIED:
            _keep(self._users, (seen.interface, seen.sender_ip), (seen.sender_mac, now_s))
            # it has come up since: if it is silent now, it is gone again
            self._probers.pop((seen.interface, seen.sender_ip, seen.sender_mac), None)
        elif not seen.reply:
            _keep(self._probers, (seen.interface, seen.target_ip, seen.sender_mac), now_s)

    def user(self, interface: str, ip: IPv4Address, now_s: float) -> str | None:
        """The MAC that last used `ip`."""
        mac, at_s = self._users.get((interface, ip), (None, 0.0))
        return mac if now_s - at_s < _USED_FOR_S else None

    def other_address(self, interface: str, mac: str, ip: IPv4Address, now_s: float) -> IPv4Address | None:
        """An address other than `ip` that `mac` was the last to use, a short while ago."""
        for (there, other), (user, at_s) in list(self._users.items()):
            if user == mac and there == interface and other != ip and now_s - at_s < _ALSO_USED_FOR_S:
                return other
        return None

    def probed_ago_s(self, interface: str, ip: IPv4Address, now_s: float) -> dict[str, float]:
        """The MACs that probed for `ip` and have not used it since, and how many seconds ago."""
        return {
            mac: now_s - at_s
            for (there, asked, mac), at_s in list(self._probers.items())
            if (there, asked) == (interface, ip) and now_s - at_s < PROBED_FOR_S
        }


def _keep(memory: dict[Any, Any], key: object, value: object) -> None:
    """The newest last; the oldest is dropped."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > _REMEMBERED:
        del memory[next(iter(memory))]
