import pytest

from analysis.reader import Folder
from analysis.timeline import read, tell


@pytest.fixture
def story_of(tmp_path):
    """The story of workers, each with a folder of its own; names that hold no number say nothing of the node."""

    def tell_it(*workers, names="abcdefghi", **window):
        folders = [Folder(worker.write(tmp_path / name)) for name, worker in zip(names, workers)]
        story = tell(read(folders), **window)
        assert [(folder.unreadable, folder.faults) for folder in folders] == [(0, [])] * len(workers)
        return story

    return tell_it
