"""Single lines of comms.log that are a happening, not a setting: how grave each is, and in which words. No I/O."""

from __future__ import annotations

from .model import BAD, GOOD, PLAIN, WARN

INCIDENTS = {
    "owner_returned": (PLAIN, "let {address} go: its owner is back ({mac})"),
    "own_conflict": (BAD, "saw its own address {address} used by {mac}, and claimed it back"),
    "address_conflict": (BAD, "saw {address} in use by another machine ({mac}) and let it go"),
    "address_lost": (BAD, "lost {address}: it was removed from the interface, or its lease ran out"),
    "address_restored": (GOOD, "took {address} again: nobody else answers for it"),
    "address_adopted": (PLAIN, "found {address} still on its interface and keeps it"),
    "carrier_lost": (BAD, "has no carrier on {interface}"),
    "carrier_restored": (PLAIN, "has a carrier on {interface} again"),
    "crashed": (BAD, "crashed: {error}"),
    "hung": (BAD, "hung for {since_s} s ({thread}); its watchdog ended it"),
    "interface_missing": (BAD, "does not find its interface {interface}: {reason}"),
    "interface_found": (PLAIN, "found its interface {interface}"),
    "join_refused": (BAD, "was refused by its master: {reason}"),
    "log_lines_lost": (WARN, "lost {count} lines of {file}: its disk was slow or full"),
    "network_unusable": (BAD, "cannot change addresses: {reason}"),
    "notify_failed": (WARN, "ran its NOTIFY_COMMAND in vain ({change})"),
    "order_refused": (WARN, "refused an invalid order: {reason}"),
    "release_failed": (BAD, "could not give {address} back: {reason}"),
}
