"""A user made for a test, with a password or with sudo's blessing, and a place where its Python can run."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PREFIX = "fwtest"
PASSWORD = secrets.token_urlsafe(18)  # the user may do everything by sudo
SUDOERS = Path("/etc/sudoers.d")


@dataclass(frozen=True)
class User:
    name: str
    uid: int
    project: Path
    """A copy of the project that the user can read."""
    python: str
    """An interpreter that the user can run, with copies of the worker's libraries."""

    @property
    def sudo_log(self) -> Path:
        return self.project.parent / "sudo.log"

    def argv(self, *command: str, capabilities: str = "") -> list[str]:
        """The command as this user; `capabilities` such as "+net_admin,+net_raw" are ambient."""
        caps = [f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"] if capabilities else []
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", *caps, *command]


@functools.cache
def why_not() -> str | None:
    """Why no user can be made here; None: one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "making a user needs Linux and root"
    for command in ("sudo", "useradd", "userdel", "chpasswd", "setpriv"):
        if shutil.which(command) is None:
            return f"making a user needs the command {command}"
    return None if _interpreter() else "there is no Python of this version that another user can run"


def _interpreter() -> str | None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (
        os.path.realpath(sys.executable),
        shutil.which(version, path="/usr/bin:/usr/local/bin"),
    ):
        if candidate:
            nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", candidate, "-c", ""]
            if subprocess.run(nobody, capture_output=True, check=False).returncode == 0:
                return candidate
    return None


def _remove(name: str) -> None:
    for rule in SUDOERS.glob(f"{name}*"):
        rule.unlink(missing_ok=True)
    # By force: a process of the user's may be ending still.
    subprocess.run(["userdel", "--force", name], capture_output=True, check=False)


def _remove_left_behind() -> None:
    """The users of test runs that were killed."""
    for line in Path("/etc/passwd").read_text().splitlines():
        found = re.fullmatch(PREFIX + r"(\d+)[a-z]?", line.split(":")[0])
        if found and not os.path.exists(f"/proc/{found[1]}"):
            _remove(found[0])


def _copy_libraries(to: Path) -> None:
    """What requirements.txt names and is installed; the user may not reach where it is."""
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        found = re.match(r"([A-Za-z0-9._-]+)==", line)
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            for file in importlib.metadata.files(found[1]) or () if found else ():
                if ".." not in file.parts and file.suffix != ".pyc":
                    (to / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file.locate(), to / file)


@contextlib.contextmanager
def made_up_user(sudo: str | None, suffix: str = "") -> Iterator[User]:
    """`sudo`: what sudoers(5) says of the user after its name; None: nothing."""
    _remove_left_behind()
    name = f"{PREFIX}{os.getpid()}{suffix}"
    rule = SUDOERS / name
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-"))
    try:
        subprocess.run(["useradd", "--no-create-home", "--home-dir", "/nonexistent", name], check=True)
        subprocess.run(["chpasswd"], input=f"{name}:{PASSWORD}\n", text=True, check=True)
        if sudo is not None:
            rule.write_text(f"Defaults:{name} logfile={folder / 'sudo.log'}\n{name} {sudo}\n")
            rule.chmod(0o440)
        folder.chmod(0o755)
        project = folder / "project"
        project.mkdir()
        for package in ("worker", "connection", "failover", "network", "settings", "logs"):
            shutil.copytree(ROOT / package, project / package, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ROOT.glob("*.py"):
            shutil.copy(file, project)
        env = folder / "env"
        subprocess.run([_interpreter() or "", "-m", "venv", "--without-pip", str(env)], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        libraries = env / "lib" / version / "site-packages"
        _copy_libraries(libraries)
        uid = int(subprocess.run(["id", "-u", name], capture_output=True, text=True, check=True).stdout)
        yield User(name, uid, project, str(env / "bin" / "python"))
    finally:
        _remove(name)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def reachable_tmp_path() -> Iterator[Path]:
    """A folder that every user can enter. pytest's own are in one that each new run of it closes to other users.

    A module whose tests act as another user has it as its `tmp_path`.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        yield Path(folder).resolve()
