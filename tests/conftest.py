"""What several test modules share: everything that a test starts is ended with it."""

from __future__ import annotations

import contextlib

import hypothesis
import pytest

from tests.lab.workers import Worker

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
