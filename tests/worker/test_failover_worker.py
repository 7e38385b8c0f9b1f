"""./failover-worker in a clone: its commands, and that nothing of the current folder is run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.waiting import PATIENCE_S
from tests.lab.workers import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell script")


@pytest.fixture
def clone(tmp_path):
    """The command beside the code, with an env/ that is this one."""
    (tmp_path / "clone" / "env" / "bin").mkdir(parents=True)
    python = tmp_path / "clone" / "env" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    for name in os.listdir(REPOSITORY):
        if name != "env" and not name.startswith(".git"):
            (tmp_path / "clone" / name).symlink_to(REPOSITORY / name)
    (tmp_path / "clone" / "failover-worker").unlink()
    shutil.copy(REPOSITORY / "failover-worker", tmp_path / "clone")
    return tmp_path / "clone"


def run(clone, *arguments, cwd=None, **environ):
    return subprocess.run(
        [clone / "failover-worker", *arguments],
        cwd=cwd or clone,
        env={"PATH": os.environ["PATH"], "VIP_BACKEND": "simulated", **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_its_commands(clone, tmp_path):
    settings = {"NODE_ID": "3", "LOG_DIR": str(tmp_path / "logs")}
    assert run(clone, "--version").stdout.startswith("failover worker ")
    assert run(clone, "run", "--help").returncode == 0
    assert run(clone, "status", **settings).returncode == 3
    assert run(clone, "check", "--json", MASTER_URL="http://127.0.0.1:9", **settings).returncode == 1
    assert run(clone, "run").returncode == 78  # without a NODE_ID
    assert run(clone, "diagnose", "--help").returncode == 0
    assert run(clone, "master", "--help").returncode == 0
    assert run(clone, "--help").stdout.startswith("usage: failover-worker run")


@pytest.mark.parametrize("arguments", [(), ("no-such-command",)])
def test_what_it_does_not_know_is_2(clone, arguments):
    done = run(clone, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_nothing_of_the_current_folder_is_run(clone, tmp_path):
    """Root may call it in a folder that others can write."""
    trap = tmp_path / "trap"
    for name in ("master", "runpy", "argparse", "worker"):
        (trap / name).mkdir(parents=True)
        (trap / name / "__init__.py").write_text("raise SystemExit('caught')")
        (trap / name / "__main__.py").write_text("raise SystemExit('caught')")
    for command in ("master", "run", "diagnose"):
        done = run(clone, command, "--help", cwd=trap)
        assert done.returncode == 0
        assert "caught" not in done.stdout + done.stderr


def test_a_link_to_it_finds_the_clone(clone, tmp_path):
    link = tmp_path / "bin" / "failover-worker"
    link.parent.mkdir()
    link.symlink_to(clone / "failover-worker")
    done = subprocess.run([link, "--version"], cwd="/", capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.startswith("failover worker ")


def test_without_an_env_the_libraries_are_named_with_their_command(clone):
    shutil.rmtree(clone / "env")
    if subprocess.run(["python3", "-I", "-c", "import socketio"], capture_output=True).returncode == 0:
        pytest.skip("python3 itself has the libraries")
    done = run(clone, "check", NODE_ID="3")
    assert done.returncode == 78
    assert "is not installed; install it with: python3 -m venv" in done.stderr
    done = run(clone, "master", "status")
    assert done.returncode == 78
    assert "make install-master" in done.stderr


def test_the_root_has_five_modules():
    names = {path.name for path in Path(REPOSITORY).glob("*.py")}
    assert names == {"client.py", "config.py", "diagnose.py", "logging_setup.py", "ping_monitor.py"}
