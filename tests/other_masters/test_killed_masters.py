"""Two bundled masters on one Redis, one of them killed in the middle of a failover, 20 times."""

import pytest

from tests.integration.killing import kill_masters, told
from tests.lab.netns import needs_namespaces
from tests.lab.redis_server import needs_redis

TIMES = 20


@needs_namespaces
@needs_redis
@pytest.mark.timeout(180)
def test_the_address_ends_with_exactly_one_holder_each_time(tmp_path, capsys):
    failovers = kill_masters(tmp_path, TIMES)
    with capsys.disabled():
        print(f"\n{told(failovers, TIMES)}")
    assert len(failovers) == TIMES
