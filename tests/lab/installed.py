"""What `make install` and `make install-master` make below a DESTDIR, run as its units say."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.lab.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
UNITS = "etc/systemd/system"
NOWHERE = {
    "PIP_CONFIG_FILE": "/dev/null",
    "PIP_FIND_LINKS": "",
    "PIP_INDEX_URL": "http://127.0.0.1:9/",
    "PIP_NO_CACHE_DIR": "1",
    "PIP_RETRIES": "0",
}
"""Has pip find nothing but what is in a wheelhouse."""


def make(*arguments: str, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run make in the clone, and expect the exit code."""
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={**{name: value for name, value in os.environ.items() if name != "PYTHON"}, **environ},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def why_not() -> str | None:
    """Why nothing can be installed here; None: it can."""
    if sys.platform != "linux" or not os.path.exists("/usr/bin/python3"):
        return "an installation needs Linux and the system's Python"
    venv = subprocess.run(["/usr/bin/python3", "-c", "import ensurepip"], capture_output=True, check=False)
    return "an installation needs python3-venv" if venv.returncode else None


def _once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """The folder that `build` makes: once in a run of the tests, however many processes take part in it."""
    import fcntl

    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, part = base / name, base / f"{name}.part"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(mode=0o755)
            build(part)
            part.rename(folder)
    return folder


def wheelhouse(factory: pytest.TempPathFactory) -> Path | None:
    """The worker's libraries, fetched as docs/operations.md describes it; None: they cannot be had as wheels."""

    def build(folder: Path) -> None:
        version = subprocess.run(
            ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
        download += ["--only-binary=:all:", f"--python-version={version}", "-d", str(folder)]
        done = subprocess.run(
            [*download, "-r", ROOT / "requirements.txt"], timeout=4 * PATIENCE_S, check=False
        )
        if done.returncode:
            shutil.rmtree(folder)
            folder.mkdir()

    folder = _once(factory, "wheelhouse", build)
    return folder if any(folder.iterdir()) else None


@contextlib.contextmanager
def image(factory: pytest.TempPathFactory, *actions: str) -> Iterator[Path]:
    """A DESTDIR of one's own in which `install`, where it can be from a wheelhouse, and `install-master` were run.

    Others than root may go there. The libraries, which take their time, are installed once for all.
    """
    folder = Path(tempfile.mkdtemp(prefix="fwinstall-"))
    folder.chmod(0o755)
    try:
        for action in actions:
            source = _installed(factory, action)

            # the command is of whichever was installed first
            def linked(path: str, names: list[str], source: Path = source) -> list[str]:
                target = folder / Path(path).relative_to(source)
                return [name for name in names if (target / name).is_symlink()]

            shutil.copytree(source, folder, symlinks=True, ignore=linked, dirs_exist_ok=True)
        yield folder
    finally:
        shutil.rmtree(folder)


def _installed(factory: pytest.TempPathFactory, action: str) -> Path:
    def build(folder: Path) -> None:
        wheels = wheelhouse(factory) if action == "install" else None
        if wheels:
            make(action, f"DESTDIR={folder}", f"WHEELHOUSE={wheels}", **NOWHERE)
        else:
            make(action, f"DESTDIR={folder}")

    return _once(factory, action, build)


class Unit:
    """A unit of the image: its settings, and its command line as its user with its capabilities alone."""

    def __init__(self, dest: Path, name: str) -> None:
        self._dest = dest
        self._text = (dest / UNITS / name).read_text(encoding="utf-8")

    def all(self, setting: str) -> list[str]:
        return [
            value
            for line in re.findall(rf"^{setting}=(.*)$", self._text, re.MULTILINE)
            for value in line.split()
        ]

    @property
    def environ(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for pair in self.all("Environment"))

    @property
    def folder(self) -> Path:
        """WorkingDirectory=, in the image."""
        return Path(f"{self._dest}{''.join(self.all('WorkingDirectory')) or '/'}")

    def argv(self) -> Sequence[str]:
        capabilities = ",".join(f"+{name[4:].lower()}" for name in self.all("AmbientCapabilities"))
        granted = [f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"] if capabilities else []
        bounding = f"--bounding-set=-all,{capabilities}".rstrip(",")
        command = (
            f"{self._dest}{word}" if word.startswith(("/opt", "/etc")) else word
            for word in self.all("ExecStart")
        )
        user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        return ["setpriv", *user, *granted, bounding, "--no-new-privs", *command]
