"""What several test modules share: everything that a test starts is ended with it."""

from __future__ import annotations

import contextlib
import os

import hypothesis
import pytest

from tests.lab.waiting import SCALE
from tests.lab.workers import Worker

os.environ.setdefault("PYTEST_TIMEOUT", str(300 * SCALE))

LONGEST = (
    "integration/test_owner_asks_first.py",
    "master/test_abuse.py",
    "connection/test_trials.py",
    "master/test_master.py",
    "integration/test_rehearsal.py",
    "connection/test_names.py",
    "worker/test_limits.py",
    "worker/test_worker.py",
    "worker/test_status_socket.py",
    "master/test_dashboard.py",
    "worker/test_outcomes.py",
    "analysis/test_linear.py",
    "connection/test_bounds.py",
    "integration/test_users.py",
    "master/test_service.py",
    "connection/test_proxies.py",
    "chaos/test_faults.py",
    "analysis/test_diagnose.py",
    "connection/test_connection.py",
    "analysis/test_follow.py",
    "chaos/test_fuzz.py",
    "integration/test_takeover.py",
    "worker/test_ping_monitor.py",
    "logs/test_logging_setup.py",
    "integration/test_bundled.py",
    "analysis/test_chromium.py",
    "analysis/test_reader.py",
    "integration/test_holder.py",
    "integration/test_monitoring.py",
    "master/test_install_master.py",
    "integration/test_install.py",
    "master/test_several_masters.py",
    "integration/test_carrier.py",
    "settings/test_config.py",
    "test_demo.py",
    "analysis/test_story.py",
    "integration/test_sudo.py",
    "worker/test_check.py",
    "integration/test_many_addresses.py",
    "master/test_conformance.py",
    "logs/test_logrotate.py",
    "integration/test_hostile.py",
    "chaos/test_small_disk.py",
    "integration/test_killed_master.py",
    "integration/test_wake.py",
    "integration/test_netlink_secondaries.py",
)
"""The files that take longest, to be begun first: else one of them would run alone at the end."""

# the time of one example says more of the machine than of the code
hypothesis.settings.register_profile("calm", deadline=None)
hypothesis.settings.load_profile("calm")


@pytest.fixture
def work(tmp_path):
    """Start a worker against a master: `work(master, NAME=value)`; its logs are in a folder of its own."""
    workers = []

    def start(master, name=None, **settings):
        workers.append(Worker(tmp_path / (name or f"worker{len(workers)}"), master, **settings))
        return workers[-1]

    yield start
    for worker in workers:
        worker.end()
    for worker in workers:
        assert not worker.all("crashed")


@pytest.fixture
def serve():
    """Keep a master until the test ends: `serve(Master())`."""
    with contextlib.ExitStack() as masters:

        def keep(master):
            masters.callback(master.close)
            return master

        yield keep


def pytest_collection_modifyitems(items):
    """Put the longest files first; the order within a file, and of the others, stays."""
    places = {f"tests/{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable():
    """Let a failed test that shows half a surrogate pair be reported by a process of pytest-xdist, which sends UTF-8."""
    return _encodable((yield))


def _encodable(data):
    if isinstance(data, str):
        return data.encode("utf-8", "backslashreplace").decode()
    if isinstance(data, dict):
        return {key: _encodable(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(map(_encodable, data))
    return data
