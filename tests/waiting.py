"""Waiting for something that another process or thread does: with a deadline, never for luck."""

from __future__ import annotations

import time

import pytest


def until(condition, limit_s=5.0, what=None, pause_s=0.01):
    """The first true value of `condition`; the test fails when there is none within the limit."""
    end_s = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end_s:
            pytest.fail(f"not within {limit_s:g} s: {what() if what else condition}")
        time.sleep(pause_s)
