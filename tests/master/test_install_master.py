"""`make install-master` below a DESTDIR, and the master run from there with requirements-master.txt alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.installed import image, make, why_not
from tests.lab.processes import Process
from tests.lab.waiting import PATIENCE_S

UNIT = "etc/systemd/system/failover-master.service"
HOME = "opt/failover-master"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]


@pytest.fixture(scope="module")
def dest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with image(tmp_path_factory, "install-master") as folder:
        yield folder


def test_every_command_runs_from_there(dest: Path) -> None:
    python, lib = dest / HOME / "env/bin/python", dest / HOME / "lib"
    settings = dest / "etc/failover-master/master.env"
    serve = [python, "-B", "-m", "master", "serve", "--env-file", settings, "--port", "0"]
    environ = {"PATH": os.environ["PATH"], "MASTER_LOG_DIR": str(dest / "var/log/failover-master")}
    with Process(serve, env=environ, cwd=lib) as master:
        url = master.wait_for_line(r"^listening on (\S+)$").group(1)
        command = lib / "failover-worker"  # /usr/local/bin/failover-worker is a link to where it is installed
        for arguments in (["status", url], ["status", url, "--json"], ["conformance", url, "--limit", "8"]):
            done = subprocess.run(
                [command, "master", *arguments],
                env=environ,
                capture_output=True,
                text=True,
                timeout=4 * PATIENCE_S,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        assert master.stop() == 0
    assert "listening" in (dest / "var/log/failover-master/master.log").read_text()


def test_the_unit_starts_what_is_installed(dest: Path) -> None:
    assert f"ExecStart=/usr/bin/env /{HOME}/env/bin/python " in (dest / UNIT).read_text()
    assert (dest / f"{UNIT}.d/credentials.conf.example").exists()
    assert (dest / "etc/failover-master/master.env").stat().st_mode & 0o777 == 0o640
    assert not (dest / HOME / "lib/client.py").exists(), "the worker is another installation"


def test_again_it_upgrades_and_keeps_settings_and_uninstall_leaves_them(dest: Path) -> None:
    settings, log = dest / "etc/failover-master/master.env", dest / "var/log/failover-master/master.log"
    settings.write_text("MASTER_PORT=5001\n")
    log.write_text("kept\n")
    (dest / HOME / "lib/old.py").touch()
    make("install-master", f"DESTDIR={dest}")
    assert settings.read_text() == "MASTER_PORT=5001\n"
    assert not (dest / HOME / "lib/old.py").exists()
    copy = dest.parent / f"{dest.name}-copy"
    shutil.copytree(dest, copy, symlinks=True)
    try:
        make("uninstall-master", f"DESTDIR={copy}")
        left = {str(path.relative_to(copy)) for path in copy.rglob("*") if not path.is_dir()}
        assert left == {"etc/failover-master/master.env", "var/log/failover-master/master.log"}
    finally:
        shutil.rmtree(copy)


def test_a_destination_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/failover-master").mkdir()
    (tmp_path / "etc/failover-master").chmod(0o777)
    assert "can be written by other users" in make("install-master", f"DESTDIR={tmp_path}", code=2).stderr
    assert not (tmp_path / "opt").exists()
