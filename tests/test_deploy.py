"""What lies in deploy/, as far as it can be told without the system that it is for."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINUX = ROOT / "deploy" / "linux"
UNIT = LINUX / "failover-worker.service"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="judging a unit needs systemd-analyze (systemd)"
)


def analyze(*arguments):
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout + done.stderr


def settings(text):
    """Of a unit, by section and name; a name that stands several times has several values."""
    found = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault((section, name), []).append(value)
    return found


@pytest.fixture
def units(tmp_path):
    """The unit as systemd would load it, with the drop-in for credentials, both lines of it in use."""
    shutil.copy(UNIT, tmp_path)
    folder = tmp_path / f"{UNIT.name}.d"
    folder.mkdir()
    text = (LINUX / "credentials.conf").read_text(encoding="utf-8")
    (folder / "credentials.conf").write_text(text.replace("#LoadCredential=", "LoadCredential="))
    return tmp_path / UNIT.name


@needs_systemd
def test_systemd_has_nothing_to_say_about_the_unit(units):
    assert analyze("verify", str(UNIT)) == (0, "")
    assert analyze("verify", str(units)) == (0, "")
    # and it would have
    units.write_text(units.read_text().replace("[Unit]\n", "[Unit]\nTypo=1\n"))
    assert "Typo" in analyze("verify", str(units))[1]


@needs_systemd
def test_the_unit_is_exposed_to_2_0_at_most():
    code, said = analyze("security", "--offline=yes", "--threshold=20", str(UNIT))
    assert code == 0, said
    assert float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)[1]) <= 2.0


def test_the_unit_s_settings():
    unit = settings(UNIT.read_text(encoding="utf-8"))
    for (section, name), value in {
        ("Unit", "StartLimitIntervalSec"): "0",
        ("Service", "Type"): "notify",
        ("Service", "Restart"): "always",
        ("Service", "RestartPreventExitStatus"): "78",
        ("Service", "LogsDirectory"): "failover-worker",
        ("Service", "ExecReload"): "/bin/kill -HUP $MAINPID",
        ("Service", "AmbientCapabilities"): "CAP_NET_ADMIN CAP_NET_RAW",
        ("Service", "CapabilityBoundingSet"): "CAP_NET_ADMIN CAP_NET_RAW",
    }.items():
        assert unit[section, name] == [value]
    assert unit["Service", "User"] != ["root"]
    assert int(unit["Service", "WatchdogSec"][0]) > 0
    assert "LOG_CONSOLE=0" in unit["Service", "Environment"][0].split()
    assert ("Service", "LoadCredential") not in unit  # a file that is missing would stop it


def test_the_drop_in_names_both_secrets(units):
    drop_in = settings((units.parent / f"{UNIT.name}.d" / "credentials.conf").read_text())
    names = {value.partition(":")[0] for value in drop_in["Service", "LoadCredential"]}
    assert names == {"PASSWORD", "MASTER_TOKEN"}
