"""The stage of the takeover tests: three nodes, a client, a director, and an onlooker on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.scene import Scene
from tests.lab.cluster import Director
from tests.lab.netns import Lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(nodes=(1, 2, 3)) as lab:
        yield lab


@pytest.fixture
def scene(lab: Lab, tmp_path: Path) -> Iterator[Scene]:
    """Ordered by a director."""
    with Scene(lab, tmp_path, Director(lab.master)) as scene:
        yield scene
