"""Waiting for something that another process or thread does: with a deadline, never for luck."""

from __future__ import annotations

import time
from typing import Callable, Optional, TypeVar

import pytest

T = TypeVar("T")


def until(
    condition: Callable[[], Optional[T]],
    limit_s: float = 5.0,
    what: Optional[Callable[[], object]] = None,
    pause_s: float = 0.01,
) -> T:
    """The first true value of `condition`; the test fails when there is none within the limit."""
    end_s = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end_s:
            pytest.fail(f"not within {limit_s:g} s: {what() if what else condition}")
        time.sleep(pause_s)
