"""Waiting for what another process or thread does: until a deadline, never for a fixed time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

SCALE = float(os.environ.get("TEST_TIMEOUT_SCALE", "1"))
"""Factor of every deadline of the tests: above 1 on a slow or very busy machine."""
PATIENCE_S = 30.0 * SCALE
"""Deadline for what takes well under a second on an idle machine. Only a test that fails waits this long."""

T = TypeVar("T")


def until(
    condition: Callable[[], T | None],
    limit_s: float = 0.0,
    what: Callable[[], object] | str | None = None,
    pause_s: float = 0.01,
) -> T:
    """Return the first true value of `condition`; fail the test when there is none by the deadline.

    `limit_s` is for what needs more than PATIENCE_S on an idle machine; it is scaled as well.
    """
    limit_s = max(limit_s * SCALE, PATIENCE_S)
    end_s = time.monotonic() + limit_s
    while True:
        looked_s = time.monotonic()
        value = condition()
        if value:
            return value
        now_s = time.monotonic()
        if now_s > end_s:
            pytest.fail(f"not within {limit_s:g} s: {what() if callable(what) else what or condition}")
        _pause(pause_s, now_s - looked_s)


def stays(condition: Callable[[], object], for_s: float, what: str = "") -> None:
    """Fail the test when `condition` is false at any time during `for_s` seconds."""
    end_s = time.monotonic() + for_s
    while (looked_s := time.monotonic()) < end_s:
        assert condition(), what or condition
        _pause(0.01, time.monotonic() - looked_s)


def _pause(at_least_s: float, look_s: float) -> None:
    """Before the next look: longer where a look takes its time, so that looking is not what the machine is busy with."""
    time.sleep(max(at_least_s, min(3 * look_s, 0.2)))
