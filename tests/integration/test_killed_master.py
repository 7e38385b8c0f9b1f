"""A master killed in the middle of a failover: the short form of tests/other_masters/test_killed_masters.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.killing import kill_masters
from tests.lab.netns import needs_namespaces
from tests.lab.redis_server import needs_redis


@needs_namespaces
@needs_redis
@pytest.mark.slow
def test_the_address_ends_with_exactly_one_holder(tmp_path: Path) -> None:
    assert len(kill_masters(tmp_path, 3)) == 3
