"""`make install`, below a DESTDIR and, in a mount namespace, on the machine itself; and the worker run from there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scene import OWNER, Scene
from tests.lab.cluster import ROOT, Worker
from tests.lab.installed import NOBODY, NOWHERE, Unit, image, make, wheelhouse, why_not
from tests.lab.netns import needs_namespaces
from tests.lab.waiting import PATIENCE_S

UNIT = "etc/systemd/system/failover-worker.service"

pytestmark = [
    needs_namespaces,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def dest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with image(tmp_path_factory, "install") as folder:
        yield folder


def held(dest: Path) -> dict[str, Any]:
    """Every file but the libraries', with what it holds; compiled code by its name alone."""
    return {
        str(file.relative_to(dest)): None if file.suffix == ".pyc" else file.read_bytes()
        for file in sorted(dest.rglob("*"))
        if file.is_file() and "site-packages" not in file.parts
    }


def test_a_second_time_changes_nothing(dest: Path) -> None:
    before, env = held(dest), (dest / "opt/failover-worker/env").stat()
    assert "opt/failover-worker/lib/client.py" in before
    assert {
        "etc/failover-worker/worker.env",
        "etc/failover-worker/network_config.txt",
        "etc/logrotate.d/failover-worker",
        "usr/local/bin/failover-worker",
        UNIT,
    } <= set(before) | {"usr/local/bin/failover-worker"}
    assert os.readlink(dest / "usr/local/bin/failover-worker") == "/opt/failover-worker/lib/failover-worker"
    make("install", f"DESTDIR={dest}/")
    assert held(dest) == before
    assert (dest / "opt/failover-worker/env").stat().st_ino == env.st_ino  # libraries that fit are kept
    assert sorted(os.listdir(dest / "opt/failover-worker")) == ["env", "lib"]
    assert str(dest) not in (dest / UNIT).read_text()


def test_an_upgrade_keeps_settings_and_logs_and_replaces_the_rest(dest: Path) -> None:
    fresh = held(dest)
    settings = dest / "etc/failover-worker"
    kept = {
        settings / "worker.env": "NODE_ID=7\n",
        settings / "network_config.txt": "7, 8\n8, 7\n",
        dest / "var/log/failover-worker/comms.log": "a line\n",
        dest / f"{UNIT}.d/mine.conf": "[Service]\nWatchdogSec=30\n",
    }
    before = {path: path.read_text() for path in kept if path.exists()}
    for path, text in kept.items():
        path.write_text(text)
    lib = dest / "opt/failover-worker/lib"
    (lib / "client.py").write_text("raise SystemExit('of an older version')\n")
    (lib / "left_over.py").write_text("")
    (dest / UNIT).write_text("")
    make("install", f"DESTDIR={dest}")
    assert {path: path.read_text() for path in kept} == kept
    for path in kept:
        if path in before:
            path.write_text(before[path])
        else:
            path.unlink()
    assert held(dest) == fresh


def test_libraries_that_cannot_be_had_leave_the_old_ones(dest: Path) -> None:
    made_of = dest / "opt/failover-worker/env/.made-of"
    text = made_of.read_text()
    made_of.write_text("another requirements.txt")
    done = make("install", f"DESTDIR={dest}", code=2, **NOWHERE)
    assert "what was installed before is as it was" in done.stderr
    assert version_of(dest).startswith("failover worker ")
    assert not (dest / "opt/failover-worker/env.new").exists()
    made_of.write_text(text)


def version_of(dest: Path) -> str:
    folder = dest / "opt/failover-worker"
    command = [str(folder / "env/bin/python"), str(folder / "lib/client.py"), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("prefix", ["relative", "/", "/opt/a b", "/opt/'x"])
def test_a_prefix_that_can_be_none(prefix: str, tmp_path: Path) -> None:
    assert "PREFIX is" in make("install", f"DESTDIR={tmp_path}", f"PREFIX={prefix}", code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_from_there_an_unprivileged_user_takes_an_address_over(scene: Scene, dest: Path) -> None:
    """By the unit's own command line, environment and capabilities."""
    unit = Unit(dest, "failover-worker.service")
    environ = unit.environ
    settings = (dest / "etc/failover-worker/worker.env").read_text()
    logs = dest / re.search(r"^LOG_DIR=/(.*)$", settings, re.MULTILINE)[1]  # type: ignore[index]
    environ["LOG_DIR"] = str(logs)
    os.chown(logs, NOBODY, NOBODY)
    os.chown(dest / "etc/failover-worker/worker.env", 0, NOBODY)
    worker = scene.workers[1] = Worker(
        scene.lab,
        1,
        logs,
        command=tuple(unit.argv()),
        cwd=Path("/"),
        NETWORK_CONFIG=f"{dest}/etc/failover-worker/network_config.txt",
        VIP_BACKEND="",
        **environ,
    )
    scene.director.wait("join", 1, limit_s=10)
    assert worker.wait_log("started").fields["backend"] == "netlink"
    scene.lab.node(2).cut()
    scene.take(1)
    assert worker.vips == [f"{OWNER}/24"]
    assert scene.lab.client.answers(OWNER)
    worker.stop()
    assert worker.vips == []
    assert (logs / "comms.log").stat().st_uid == NOBODY


def test_uninstall_leaves_settings_and_logs(dest: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dest"
    shutil.copytree(dest, copy, symlinks=True)
    (copy / "var/log/failover-worker/comms.log").write_text("a line\n")
    make("uninstall", f"DESTDIR={copy}")
    left = held(copy)
    assert {name for name in left if not name.startswith("var/log/")} == {
        "etc/failover-worker/worker.env",
        "etc/failover-worker/network_config.txt",
    }
    assert left["var/log/failover-worker/comms.log"] == b"a line\n"
    assert not (copy / "opt/failover-worker").exists()
    assert not os.path.lexists(copy / "usr/local/bin/failover-worker")
    make("uninstall", f"DESTDIR={copy}")  # there is nothing left to do
    # where a master is installed too, the command is its own then
    link, master = copy / "usr/local/bin/failover-worker", "/opt/failover-master/lib/failover-worker"
    (copy / master[1:]).parent.mkdir(parents=True)
    (copy / master[1:]).touch()
    link.symlink_to("/opt/failover-worker/lib/failover-worker")
    make("uninstall", f"DESTDIR={copy}")
    assert os.readlink(link) == master


def test_where_it_is_installed_it_stays(dest: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dest"
    shutil.copytree(dest, copy, symlinks=True)
    shutil.move(copy / "opt/failover-worker", copy / "srv/failover")
    unit = copy / UNIT
    unit.write_text(unit.read_text().replace("/opt/failover-worker", "/srv/failover"))
    (copy / "srv/failover/env.new").mkdir()  # as an install leaves it that was interrupted
    make("install", f"DESTDIR={copy}")
    assert "/srv/failover/env/bin/python" in unit.read_text()
    assert not (copy / "opt/failover-worker").exists()
    make("uninstall", f"DESTDIR={copy}")
    assert not (copy / "srv/failover").exists()


def test_on_the_machine_itself(dest: Path, tmp_path: Path) -> None:
    """In a mount namespace, so that it is a copy of the machine: its user, and who owns what."""
    script = r"""
        set -e
        for folder in etc opt var/log usr/local/bin; do
          mkdir -p "$1/$folder"
          # other tests make users meanwhile: useradd's locks and temporary files come and go
          [ "$folder" != etc ] || cp -a /etc/. "$1/etc" || [ -s "$1/etc/passwd" ]
          rm -f "$1"/etc/*.lock
          mount --bind "$1/$folder" "/$folder"
        done
        mkdir -p /run/systemd; mount -t tmpfs none /run/systemd
        cp -a "$2/opt/failover-worker" /opt/  # the libraries, which take their time
        make install >/dev/null
        make install >/dev/null
        stat -c '%U:%G %a %n' /var/log/failover-worker /etc/failover-worker/worker.env
        getent passwd failover | cut -d: -f1,6,7
        setpriv --reuid=failover --regid=failover --clear-groups \
          /opt/failover-worker/env/bin/python /opt/failover-worker/lib/client.py --version
        printf 'NODE_ID=3\nVIP_BACKEND=simulated\nLOG_DIR=/var/log/failover-worker\n' >/etc/failover-worker/worker.env
        printf sesame >/etc/failover-worker/master-token; chmod 600 /etc/failover-worker/master-token
        cd /etc/systemd/system/failover-worker.service.d; cp credentials.conf.example credentials.conf
        cd /
        failover-worker --version
        failover-worker status || echo "exit code $?"
        failover-worker check | grep -E "^(ok|FAIL) +account" || true
        failover-worker diagnose >/dev/null || true
        failover-worker master status || echo "exit code $?"
        rm /etc/failover-worker/master-token /etc/systemd/system/failover-worker.service.d/credentials.conf
        cd "$3"
        make uninstall >/dev/null
        ls /opt /etc/failover-worker
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), str(dest), str(ROOT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n")[:4] == [
        "failover:failover 750 /var/log/failover-worker",
        "root:failover 640 /etc/failover-worker/worker.env",
        "failover:/nonexistent:/usr/sbin/nologin",
        version_of(dest).strip(),
    ]
    assert done.stdout.split("\n")[4:-6] == [
        version_of(dest).strip(),
        "no worker runs with LOG_DIR /var/log/failover-worker",
        "exit code 3",
        "ok   account: failover (the owner of LOG_DIR) can read the settings and write the logs",
        "exit code 78",
    ]
    assert "make install-master" in done.stderr
    assert done.stdout.split("\n")[-6:] == [
        "/etc/failover-worker:",
        "network_config.txt",
        "worker.env",
        "",
        "/opt:",
        "",
    ]


def refused(folder: object, said: str, *arguments: str) -> None:
    done = make("install", f"DESTDIR={folder}", *arguments, code=2)
    assert said in done.stderr
    assert "Installed" not in done.stdout


def test_a_destdir_that_leads_elsewhere_or_that_others_can_write_is_refused(tmp_path: Path) -> None:
    image, elsewhere = tmp_path / "image", tmp_path / "elsewhere"
    image.mkdir()
    elsewhere.mkdir()
    (tmp_path / "link").symlink_to(image)
    refused(tmp_path / "link", "link is a symbolic link; nothing was installed")
    refused(tmp_path / "link" / "below", "link is a symbolic link")
    (image / "etc").symlink_to(elsewhere)
    refused(image, "etc is a symbolic link")
    (image / "etc").unlink()
    (image / "srv").mkdir()
    (image / "srv" / "here").symlink_to(elsewhere)
    refused(image, "here is a symbolic link", "PREFIX=/srv/here/failover")
    for folder in (image / "opt", image / "var" / "log" / "failover-worker", image):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        refused(image, "can be written by other users (mode 777)")
        folder.chmod(0o1777)
        refused(image, "can be written by other users (mode 1777)")
        folder.chmod(0o755)
    os.chown(image, NOBODY, NOBODY)
    refused(image, f"belongs to another user (uid {NOBODY})")
    os.chown(image, 0, 0)
    refused("relative/image", "must be an absolute path")
    refused(f"{image}/../elsewhere", "must not contain")
    assert list(elsewhere.iterdir()) == []
    assert not (image / "opt" / "failover-worker").exists()


def test_the_service_has_no_installer(dest: Path) -> None:
    """What it has not got needs no upgrades: neither pip nor setuptools."""
    (libraries,) = (dest / "opt/failover-worker/env").glob("lib/python*/site-packages")
    names = {path.name.partition("-")[0].lower() for path in libraries.iterdir()}
    assert names & {"socketio", "python_socketio"}
    assert not names & {"pip", "setuptools", "pkg_resources", "wheel", "redis"}


def test_from_a_wheelhouse_without_a_network(dest: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As docs/operations.md describes it: the wheels are fetched elsewhere, and the installation asks nobody."""
    if wheelhouse(tmp_path_factory) is None:
        pytest.skip("the wheels cannot be had")
    assert version_of(dest).startswith("failover worker ")  # nothing but the wheels was there to install from
