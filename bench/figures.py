"""Medians and percentiles of a bench, and the machine that they were measured on."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    """The value that 99 of 100 do not exceed; of fewer than 100 it is the largest."""
    ordered = sorted(values)
    return ordered[-(-99 * len(ordered) // 100) - 1]


def machine() -> str:
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def need_linux_and_root(name: str) -> None:
    """Leave with a text for people where no network namespaces can be made."""
    if sys.platform != "linux" or os.geteuid() != 0:
        sys.exit(f"bench.{name} makes network namespaces: it needs Linux and root")
