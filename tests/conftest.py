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
    "integration/test_takeover.py",
    "integration/test_owner_asks_first.py",
    "integration/test_install.py",
    "worker/test_worker.py",
    "master/test_master.py",
    "connection/test_connection.py",
    "connection/test_trials.py",
    "integration/test_holder.py",
    "master/test_abuse.py",
    "master/test_dashboard.py",
    "analysis/test_story.py",
    "analysis/test_chromium.py",
    "worker/test_limits.py",
    "integration/test_rehearsal.py",
    "master/test_install_master.py",
    "master/test_several_masters.py",
    "integration/test_monitoring.py",
    "integration/test_netlink.py",
    "connection/test_bounds.py",
    "integration/test_bundled.py",
    "worker/test_outcomes.py",
    "master/test_service.py",
    "integration/test_carrier.py",
    "connection/test_names.py",
    "chaos/test_faults.py",
    "integration/test_many_addresses.py",
    "master/test_conformance.py",
    "test_demo.py",
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
    """Let a failed test that shows half a surrogate pair be told by a process of pytest-xdist, which sends UTF-8."""
    return _encodable((yield))


def _encodable(data):
    if isinstance(data, str):
        return data.encode("utf-8", "backslashreplace").decode()
    if isinstance(data, dict):
        return {key: _encodable(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(map(_encodable, data))
    return data
