"""The command line: exit codes with descriptors closed or full, and what it says where a library is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.lab.masters import Master
from tests.lab.ports import free_port
from tests.lab.waiting import PATIENCE_S
from tests.lab.workers import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors as POSIX systems have them")


def run(redirection="", *arguments, python=sys.executable, cwd=REPOSITORY, **settings):
    environ = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
    command = " ".join([python, "client.py", "--env-file", os.devnull, *arguments, redirection])
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env={**environ, "VIP_BACKEND": "simulated", **settings},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "0<&- 1>&- 2>&-", ">&- 2>/dev/full"])
def test_wrong_settings_are_78_wherever_the_output_goes(redirection, tmp_path):
    assert run(redirection, LOG_DIR=str(tmp_path)).returncode == 78


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "0<&- 1>&- 2>&-"])
def test_a_second_worker_is_75_wherever_the_output_goes(work, serve, redirection):
    first = work(serve(Master()))
    first.wait("started")
    assert run(redirection, LOG_DIR=str(first.log_dir), NODE_ID="3").returncode == 75


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "0<&- 1>&- 2>&-"])
def test_it_runs_and_stops_wherever_the_output_goes(serve, tmp_path, redirection):
    master = serve(Master())
    process = subprocess.Popen(
        ["bash", "-c", f"exec {sys.executable} client.py --env-file {os.devnull} {redirection}"],
        cwd=REPOSITORY,
        env={
            "PATH": os.environ["PATH"],
            "VIP_BACKEND": "simulated",
            "NODE_ID": "3",
            "LOG_DIR": str(tmp_path),
            "MASTER_URL": master.url,
        },
    )
    try:
        master.wait("join")
        for descriptor in "012":
            # no socket and no file of its own has the number of a standard descriptor
            target = os.readlink(f"/proc/{process.pid}/fd/{descriptor}") if sys.platform == "linux" else ""
            assert "socket:" not in target
            assert ".log" not in target
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert "stopped" in (tmp_path / "comms.log").read_text()


def test_a_check_whose_reader_leaves_ends_quietly(tmp_path):
    done = run(
        "| head -n 1",
        "--check",
        NODE_ID="3",
        LOG_DIR=str(tmp_path),
        MASTER_URL=f"http://127.0.0.1:{free_port()}",
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_a_check_on_a_full_disk_says_so(tmp_path):
    done = run(">/dev/full", "--check", NODE_ID="3", LOG_DIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "the output could not be written: No space left on device\n"


@pytest.mark.parametrize("arguments", ["--check", "", "--version"])
def test_a_missing_library_is_named_with_the_command_that_installs_it(tmp_path, arguments):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    done = run("", arguments, python=str(tmp_path / "env/bin/python"), NODE_ID="3", LOG_DIR=str(tmp_path))
    text = done.stdout + done.stderr
    assert "Traceback" not in text
    assert "is not installed; install it with: make install" in text
    assert done.returncode == (0 if arguments == "--version" else 78)


def test_the_command_names_the_environment_that_it_makes(tmp_path):
    done = subprocess.run(
        [shutil.which("python3", path="/usr/bin") or sys.executable, "-I", "-S", "client.py", "--version"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    if "install it with" in done.stdout:
        assert (
            f"python3 -m venv {REPOSITORY}/env && {REPOSITORY}/env/bin/python -m pip install" in done.stdout
        )


@pytest.mark.parametrize("arguments", [("--json",), ("--as", "root"), ("--check", "--status")])
def test_options_that_do_not_go_together(arguments):
    assert run("", *arguments).returncode == 2


@pytest.mark.parametrize(
    ("command", "requirements", "code"),
    [
        (("diagnose.py", "."), "requirements.txt", 1),
        (("-m", "master", "serve"), "requirements-master.txt", 78),
        (("-m", "master", "status"), "requirements-master.txt", 78),
    ],
)
def test_the_other_programs_name_a_missing_library_too(tmp_path, command, requirements, code):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    done = subprocess.run(
        [tmp_path / "env" / "bin" / "python", *command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert "Traceback" not in done.stderr
    assert "is not installed; install it with: " in done.stderr
    assert done.stderr.rstrip().endswith(f"-m pip install -r {REPOSITORY / requirements}")
    assert done.returncode == code
