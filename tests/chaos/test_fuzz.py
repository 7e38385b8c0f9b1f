"""The fuzzing of `make chaos`, for a few seconds; its longer cousins are in test_log_line.py, test_orders.py and
test_config.py, which also hold the examples that once failed.
"""

from __future__ import annotations

import pytest

from tests.chaos.fuzz import BATCH, TARGETS, for_a_while


@pytest.mark.parametrize("name", TARGETS)
def test_anything_gets_a_value_or_the_named_error(name):
    assert for_a_while(TARGETS[name], 1, 1.0) >= BATCH
