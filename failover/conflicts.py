"""What ARP packets say of the addresses that are held or ordered (RFC 5227), and how owners' probes are met."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address

from failover.node import Node
from failover.states import HOLDING, TAKING, VERIFY_S, Event, State, Suspect, VipState
from network.base import ArpSeen, Network, NetworkError, Probes

NOBODY = IPv4Address(0)
REPEATS_S = 1.0
"""Seconds for which further packets of the claim that raised a conflict are no answer to the requests since."""
INSISTS_S = 60.0
"""Seconds within which a host that probes twice is one that wants an address that it found in use."""
FILTER_AFTER_S = 0.02
"""Seconds after a change at which the filter of probes follows, so that no answer to the master waits for it."""


@dataclass
class ConflictDetector:
    """`apply` takes the event that a packet means for one of `entries`; `filter_due_s` is when the network gets `filtered`."""

    node: Node
    network: Network
    entries: Mapping[int, VipState]
    apply: Callable[[VipState, Event, float], None]
    filtered: Probes = frozenset()
    filter_due_s: float = math.inf

    def watch(self) -> None:
        """Tell the network which addresses matter: those ordered or held, those asked about, and the node's own."""
        ips = {entry.vip.ip.ip for entry in self.entries.values()}
        ips.update(entry.suspect.other_ip for entry in self.entries.values() if entry.suspect)
        if self.node.primary:
            ips.add(self.node.primary.ip.ip)
        self.network.watch(frozenset(ips))

    def heard(self, arp: ArpSeen, entry: VipState, now: float) -> None:
        """What an ARP packet says of an address (RFC 5227 §2.1.1, §2.4)."""
        ip, suspect = entry.vip.ip.ip, entry.suspect
        if arp.sender_ip == ip:
            answers = arp.reply and arp.target_ip != ip
            repeats = entry.state is State.IN_CONFLICT and now - entry.probing_since_s < REPEATS_S
            if answers or not repeats:
                entry.user_mac = arp.sender_mac
                self._conflict(entry, Event.CONFLICT, arp.sender_mac, now)
        elif suspect and (arp.sender_mac, arp.sender_ip) == (suspect.mac, suspect.other_ip):
            if arp.reply and arp.target_ip != suspect.other_ip:  # an answer, and no announcement
                self._clear_suspect(entry, suspect, now)
        elif arp.sender_ip == NOBODY and arp.target_ip == ip and not arp.reply:
            self._probed(arp, entry, now)

    def _probed(self, probe: ArpSeen, entry: VipState, now: float) -> None:
        """Another host is about to use the address: its owner, or another node that was ordered to take it."""
        mac = probe.sender_mac
        owner_s = mac == entry.owner_mac
        if owner_s or self._insists(entry, probe, now):
            if probe.also_uses is None or (owner_s and entry.owner_told):
                self._conflict(entry, Event.OWNER_PROBE, mac, now)
                entry.owner_mac = mac
            elif entry.suspect is None:
                self._verify(entry, Suspect(mac, probe.also_uses, now + VERIFY_S))
        elif mac == entry.user_mac and entry.state in TAKING:
            self._conflict(entry, Event.CONFLICT, mac, now)  # it answered for the address: it has it already
        else:
            self._outranked(entry, mac, now)

    @staticmethod
    def _insists(entry: VipState, probe: ArpSeen, now: float) -> bool:
        """Whether a host asks again for an address that is held, although the kernel answered that it is in use: the owner
        does, where the master did not say its MAC.
        """
        if entry.owner_told or entry.state not in HOLDING:
            return False
        before, entry.prober = entry.prober, (probe.sender_mac, now)
        return before is not None and before[0] == probe.sender_mac and now - before[1] < INSISTS_S

    def _outranked(self, entry: VipState, mac: str, now: float) -> None:
        """Of two nodes that want it at the same time the lower MAC goes on."""
        try:
            ours = self.network.interface(entry.vip.interface).mac
        except NetworkError:
            return
        if ours and mac < ours:
            self._conflict(entry, Event.SIMULTANEOUS_PROBE, mac, now)

    def _conflict(self, entry: VipState, event: Event, mac: str, now: float) -> None:
        entry.other_mac = mac
        self.apply(entry, event, now)

    def _verify(self, entry: VipState, suspect: Suspect) -> None:
        """Ask for the other address: if its MAC answers, it is another node's, which once held this one; if not, what said
        so was forged or is out of date.
        """
        entry.suspect = suspect
        vip = entry.vip
        with suppress(NetworkError):  # no answer then: the probe counts
            self.watch()
            sender = self.node.address_on(vip.interface, suspect.other_ip)
            self.network.probe(vip.interface, suspect.other_ip, sender)

    def _clear_suspect(self, entry: VipState, suspect: Suspect, now: float) -> None:
        entry.suspect = entry.owner_mac = None
        self.update_filter(now)
        if entry.state in HOLDING:
            # its probe may have met the filter
            with suppress(NetworkError):
                self.network.announce(entry.vip.interface, entry.vip.ip.ip)
        self._outranked(entry, suspect.mac, now)

    def update_filter(self, now: float) -> None:
        """Where the owner's MAC is known, its probes for what is held must not be answered."""
        wanted = frozenset(
            (entry.vip.interface, entry.vip.ip.ip, entry.owner_mac)
            for entry in self.entries.values()
            if entry.state in HOLDING and entry.owner_mac and entry.owner_also_uses is None
        )
        if wanted != self.filtered:
            self.filtered, self.filter_due_s = wanted, now + FILTER_AFTER_S

    def filter(self, now: float) -> None:
        """Set the filter, where that is due."""
        if self.filter_due_s <= now:
            self.filter_due_s = math.inf
            self.network.filter_probes(self.filtered)
