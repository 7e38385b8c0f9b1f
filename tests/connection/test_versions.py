"""What is installed is checked at start, and said in a sentence."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from connection import versions
from tests.lab.workers import REPOSITORY


def requirements(name):
    """The packages of a requirements file with the version of each."""
    text = (REPOSITORY / name).read_text()
    return dict(re.findall(r"^([a-z-]+)(?:>=|==)([\d.]+)", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("file", "lowest"), [("requirements.in", versions.LOWEST), ("requirements-eio3.in", versions.OF_2020)]
)
def test_what_is_checked_is_what_is_required(file, lowest):
    assert lowest.items() <= requirements(file).items()


def test_the_lowest_versions_are_those_that_make_lowest_runs():
    assert versions.LOWEST.items() <= requirements("requirements-lowest.txt").items()


def test_what_is_installed_here_is_right():
    assert versions.libraries_fault() is None


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        ({"python-engineio": "4.3.4"}, "python-engineio 4.3.4 is too old, this worker needs 4."),
        ({"websocket-client": "1.5.1"}, "websocket-client 1.5.1 is too old"),
        ({"python-socketio": "4.6.1"}, r"python-engineio [\d.]+ does not go with python-socketio 4"),
        ({"python-socketio": "4.6.1", "python-engineio": "3.14.2"}, None),
        ({"python-engineio": "99.0.dev1"}, None),
    ],
)
@pytest.mark.parametrize("options", [(), ("--check",)])
def test_a_start_with_other_libraries(tmp_path, installed, said, options):
    """As Debian 12's: what its packages are is read from their metadata."""
    for name, number in installed.items():
        folder = tmp_path / f"{name.replace('-', '_')}-{number}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
    (tmp_path / "no.env").touch()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "NODE_ID": "none"}
    command = [sys.executable, "client.py", "--env-file", str(tmp_path / "no.env"), *options]
    done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    lines = [line for line in done.stderr.splitlines() if "install it with: " in line]
    if said:
        (line,) = lines
        assert re.match(said, line)
        assert "Traceback" not in done.stderr
    else:
        assert not lines
