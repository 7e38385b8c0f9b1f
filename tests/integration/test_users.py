"""A takeover from order to answer, by workers that are not root's."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.integration.scene import OWNER, Scene
from tests.lab import users
from tests.lab.cluster import ROOT, Worker
from tests.lab.netns import needs_namespaces, until
from tests.lab.users import PASSWORD, User, made_up_user

pytestmark = [
    needs_namespaces,
    pytest.mark.skipif(users.why_not() is not None, reason=str(users.why_not())),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    """Whom sudo asks for a password."""
    with made_up_user("ALL=(root) ALL") as user:
        yield user


def start(scene: Scene, user: User, name: str, capabilities: str = "", **environ: str) -> Worker:
    folder = user.project / name
    folder.mkdir()
    os.chown(folder, user.uid, user.uid)
    (user.project / "network_config.txt").write_bytes((ROOT / "network_config.txt").read_bytes())
    command = user.argv(user.python, "-B", "client.py", capabilities=capabilities)
    worker = Worker(scene.lab, 1, folder, command=command, cwd=user.project, VIP_BACKEND="auto", **environ)
    scene.workers[1] = worker
    scene.director.wait("join", 1, limit_s=10)
    uids = next(line for line in open(f"/proc/{worker.process.pid}/status") if line.startswith("Uid:"))
    assert set(uids.split()[1:]) == {str(user.uid)}
    return worker


def takes_and_lets_go(scene: Scene) -> None:
    lab = scene.lab
    assert lab.client.answers(OWNER)  # a warm cache
    lab.node(2).cut()
    scene.take(1)
    assert scene[1].vips == [f"{OWNER}/24"]
    assert lab.client.answers(OWNER)
    back = time.monotonic()
    lab.node(2).mend()
    ended = scene.director.wait("restore node", 1, back)["data"]
    assert lab.node(2).mac in ended["reason"]
    assert scene[1].vips == []
    lab.node(2).cut()
    scene.take(1)
    scene[1].stop()
    assert scene[1].vips == []


def test_with_ambient_capabilities(scene: Scene, user: User) -> None:
    worker = start(scene, user, "ambient", capabilities="+net_admin,+net_raw")
    assert worker.wait_log("started").fields["backend"] == "netlink"
    takes_and_lets_go(scene)


def test_with_a_password_for_sudo(scene: Scene, user: User) -> None:
    secret = user.project / "password"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)
    os.chown(secret, user.uid, user.uid)
    worker = start(scene, user, "sudo", PASSWORD_FILE=str(secret))
    assert worker.wait_log("started").fields["backend"] == "sudo"
    takes_and_lets_go(scene)
    until(lambda: worker.host.pids() == [])
    assert PASSWORD not in (worker.folder / "comms.log").read_text()


def test_a_killed_worker_s_address_runs_out_though_its_helper_was_root_s(scene: Scene, user: User) -> None:
    worker = start(scene, user, "killed", PASSWORD=PASSWORD, ADDRESS_LEASE="3")
    scene.lab.node(2).cut()
    scene.take(1)
    worker.kill()
    until(lambda: worker.host.pids() == [])
    until(lambda: not worker.vips, 4)
    assert PASSWORD not in (worker.folder / "comms.log").read_text()


def test_a_wrong_password_is_told_in_every_refused_order(scene: Scene, user: User) -> None:
    worker = start(scene, user, "wrong", PASSWORD="Pa55word")
    scene.lab.node(2).cut()
    for _ in range(2):
        assert "sudo refused the password" in scene.director.recover(2, 1)["error"]
    assert worker.vips == []
    assert "Pa55word" not in (worker.folder / "comms.log").read_text()
