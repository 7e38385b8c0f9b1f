"""Addresses of this machine and ARP on its wire: `base` is the interface, the other modules implement it."""
