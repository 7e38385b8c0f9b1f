"""What `make install` and `make install-master` make below a DESTDIR, run as its units say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
UNITS = "etc/systemd/system"


def make(*arguments: str, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run make in the clone, and expect the exit code."""
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={**{name: value for name, value in os.environ.items() if name != "PYTHON"}, **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def why_not() -> str | None:
    """Why nothing can be installed here; None: it can."""
    if sys.platform != "linux" or not os.path.exists("/usr/bin/python3"):
        return "an installation needs Linux and the system's Python"
    venv = subprocess.run(["/usr/bin/python3", "-c", "import ensurepip"], capture_output=True, check=False)
    return "an installation needs python3-venv" if venv.returncode else None


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
