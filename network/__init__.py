"""Addresses on this machine and questions on its wire; `interface` is the seam, the rest fills it."""
