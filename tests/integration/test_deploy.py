"""What lies in deploy/, as far as it can be told without the system that it is for."""

from __future__ import annotations

import plistlib
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.lab.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
LINUX = ROOT / "deploy" / "linux"
UNIT = LINUX / "failover-worker.service"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="judging a unit needs systemd-analyze (systemd)"
)


def analyze(*arguments):
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
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
    (folder / "credentials.conf").write_text(re.sub(r"^#(?=[A-Z]\w+=)", "", text, flags=re.MULTILINE))
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
    assert names == {"password", "master-token"}
    assert set(drop_in["Service", "Environment"]) == {
        "MASTER_TOKEN_FILE=%d/master-token",
        "PASSWORD_FILE=%d/password",
    }


TASK = ROOT / "deploy" / "windows" / "failover-worker.xml"
NAMESPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


def test_the_windows_task():
    """Never run there: well-formed, and what it says of what matters."""
    task = ET.parse(TASK).getroot()
    assert task.tag == f"{NAMESPACE}Task"

    def text(*path):
        found = task.find("/".join(f"{NAMESPACE}{name}" for name in path))
        assert found is not None, path
        return (found.text or "").strip()

    assert text("Triggers", "BootTrigger", "Enabled") == "true"
    assert text("Principals", "Principal", "RunLevel") == "HighestAvailable"
    assert text("Principals", "Principal", "UserId") == "S-1-5-18"
    assert text("Settings", "ExecutionTimeLimit") == "PT0S"
    assert text("Settings", "RestartOnFailure", "Interval") == "PT1M"
    assert 1 <= int(text("Settings", "RestartOnFailure", "Count")) <= 999
    assert text("Settings", "MultipleInstancesPolicy") == "IgnoreNew"
    for name in ("DisallowStartIfOnBatteries", "StopIfGoingOnBatteries", "RunOnlyIfIdle"):
        assert text("Settings", name) == "false"
    assert text("Actions", "Exec", "Arguments") == "client.py"
    assert text("Actions", "Exec", "Command").startswith(text("Actions", "Exec", "WorkingDirectory"))
    # the elements of Settings are a set (xs:all), so their order says nothing, but each may stand once
    names = [child.tag for child in task.find(f"{NAMESPACE}Settings")]
    assert len(names) == len(set(names))


def test_the_macos_daemon():
    with (ROOT / "deploy" / "macos" / "org.failover-worker.plist").open("rb") as file:
        daemon = plistlib.load(file)
    assert daemon["Label"] == "org.failover-worker"
    assert daemon["RunAtLoad"] is True
    assert daemon["KeepAlive"] is True
    assert daemon["ProgramArguments"][1] == f"{daemon['WorkingDirectory']}/client.py"
    assert daemon["EnvironmentVariables"]["LOG_CONSOLE"] == "0"
    assert daemon["Umask"] == 0o027
    assert daemon["ExitTimeOut"] > 2


@pytest.mark.parametrize("system", ["windows", "macos"])
def test_what_was_never_run_says_so(system):
    text = (ROOT / "deploy" / system / "README.md").read_text(encoding="utf-8")
    assert "never run on" in text


@pytest.mark.parametrize("file", ["windows/failover-worker.xml", "macos/org.failover-worker.plist"])
def test_no_secret_has_a_place_where_all_may_read(file):
    text = (ROOT / "deploy" / file).read_text(encoding="utf-8")
    assert "TOKEN" not in text
    assert "PASSWORD" not in text


def test_the_windows_recipe_closes_every_folder_before_the_task_is_made():
    """Never run there: each folder that the task runs or writes has its rights set, and none for everybody to write."""
    text = (ROOT / "deploy" / "windows" / "README.md").read_text(encoding="utf-8")
    commands = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    rights = [command for command in commands if command.startswith("icacls ") and "/grant:r" in command]
    folders = {command.split()[1] for command in rights}
    assert folders == {r"C:\failover-worker", r"C:\failover-worker\.env", r"C:\ProgramData\failover-worker"}
    for command in rights:
        assert "/inheritance:r" in command
        for who, what in re.findall(r'"\*(S-[\d-]+):((?:\(\w+\))*\w+)"', command):
            assert who in {"S-1-5-18", "S-1-5-32-544"} or what.endswith("RX")
    last = max(index for index, command in enumerate(commands) if command.startswith("icacls "))
    assert last < next(i for i, command in enumerate(commands) if command.startswith("schtasks /Create"))
