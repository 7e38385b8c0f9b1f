"""The settings: valid values, where each is looked for, and what is said of a wrong one."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import stat
import subprocess
import sys
import time
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import trustme
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import config
from config import ConfigError, load
from settings import files as config_files
from settings import types as config_values
from settings.schema import VARIABLES
from tests.lab.waiting import PATIENCE_S
from tests.settings.pages import env_example, table

NAMES = [variable.name for variable in VARIABLES]
REPOSITORY = Path(config.__file__).parent
SECRET = "hunter2-Zg7!kQ"
BIDI = "\u202e"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A folder in place of client.py's: no .env or log of this repository takes part."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "network_config.txt").write_text(
        (REPOSITORY / "network_config.txt").read_text(encoding="utf-8")
    )
    monkeypatch.setattr(config, "HERE", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def faults_of(environ, env_file=None):
    """The faults, each of which is one line that a terminal can be given."""
    with pytest.raises(ConfigError) as caught:
        load(environ, env_file)
    faults = caught.value.faults
    assert faults
    assert all(fault.isprintable() for fault in faults)
    assert str(caught.value) == "\n".join(faults)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None  # a traceback would show what it holds
    return faults


def fault_of(name, value, **others):
    """The one fault of a variable that holds `value`, everything else being right."""
    faults = faults_of({"NODE_ID": "3", **others, name: value})
    assert len(faults) == 1, faults
    assert re.match(rf"{name}\b(?!_)", faults[0])
    assert "; expected " in faults[0]
    return faults[0]


def test_defaults(home):
    assert load({"NODE_ID": "3"}) == config.Config(
        node_id=3,
        password=None,
        masters=("http://localhost:5000",),
        master_token=None,
        master_ca_file=None,
        interface=None,
        neighbors={
            1: (2, 4),
            2: (1, 3, 5),
            3: (2, 6),
            4: (1, 5, 7),
            5: (2, 4, 6, 8),
            6: (3, 5, 9),
            7: (4, 8),
            8: (5, 7, 9),
            9: (6, 8),
        },
        allowed_networks=None,
        vip_backend="auto",
        address_lease_s=10,
        master_loss_release_s=0.0,
        join_interval_s=60.0,
        conflict_probe_s=0.2,
        conflict_wait_s=30.0,
        ping_interval_s=2.0,
        ping_timeout_s=2.0,
        ping_max_missed=3,
        reconnect_delay_s=0.5,
        reconnect_delay_max_s=2.0,
        notify_command=None,
        log_dir=home,
        log_level="INFO",
        log_max_bytes=10485760,
        log_backup_count=5,
        log_console=True,
        metrics_file=None,
        warnings=(),
    )


def test_every_variable_can_be_set(tmp_path):
    certificate = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(certificate))
    (tmp_path / "nodes").write_text("11, 12\n12, 11\n")
    (tmp_path / "metrics").mkdir()
    found = load(
        {
            "NODE_ID": "12",
            "PASSWORD": " p w ",
            "MASTER_URL": "https://Master.example, http://10.9.0.10:05000/,http://[FE80:0:0::1]:80,https://master.example/",
            "MASTER_TOKEN": "t",
            "MASTER_CA_FILE": "ca.pem",
            "INTERFACE": "eth0.100",
            "NETWORK_CONFIG": str(tmp_path / "nodes"),
            "ALLOWED_NETWORKS": "10.9.0.0/24, 192.168.4.0/22,10.9.0.0/24",
            "VIP_BACKEND": "simulated",
            "ADDRESS_LEASE": "0",
            "MASTER_LOSS_RELEASE": "86400",
            "JOIN_INTERVAL": "0",
            "CONFLICT_PROBE": "0.25",
            "CONFLICT_WAIT": "00.5",
            "PING_INTERVAL": "0.02",
            "PING_TIMEOUT": "0.1",
            "PING_MAX_MISSED": "1000",
            "RECONNECT_DELAY": "1",
            "RECONNECT_DELAY_MAX": "1",
            "NOTIFY_COMMAND": sys.executable,
            "LOG_DIR": "logs/of/12",
            "LOG_LEVEL": "debug",
            "LOG_MAX_BYTES": "0",
            "LOG_BACKUP_COUNT": "0",
            "LOG_CONSOLE": "0",
            "METRICS_FILE": "metrics/worker.prom",
        }
    )
    assert found == config.Config(
        node_id=12,
        password=" p w ",
        masters=("https://master.example", "http://10.9.0.10:5000", "http://[fe80::1]:80"),
        master_token="t",
        master_ca_file=certificate,
        interface="eth0.100",
        neighbors={11: (12,), 12: (11,)},
        allowed_networks=(IPv4Network("10.9.0.0/24"), IPv4Network("192.168.4.0/22")),
        vip_backend="simulated",
        address_lease_s=0,
        master_loss_release_s=86400.0,
        join_interval_s=0.0,
        conflict_probe_s=0.25,
        conflict_wait_s=0.5,
        ping_interval_s=0.02,
        ping_timeout_s=0.1,
        ping_max_missed=1000,
        reconnect_delay_s=1.0,
        reconnect_delay_max_s=1.0,
        notify_command=Path(sys.executable),
        log_dir=tmp_path / "logs/of/12",
        log_level="DEBUG",
        log_max_bytes=0,
        log_backup_count=0,
        log_console=False,
        metrics_file=tmp_path / "metrics/worker.prom",
        warnings=(),
    )
    assert (tmp_path / "logs/of/12").is_dir()
    assert found.secrets == (" p w ", "t")
    assert list(tmp_path.glob("**/.worker-*")) == []  # what was made to try a folder is gone


def test_config_is_frozen():
    found = load({"NODE_ID": "3"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.node_id = 4
    with pytest.raises(TypeError):
        found.neighbors[3] = ()


NUMBERS = {
    "NODE_ID": ("1", "9"),
    "ADDRESS_LEASE": ("0", "3", "86400"),
    "MASTER_LOSS_RELEASE": ("0", "0.5", "86400"),
    "JOIN_INTERVAL": ("0", "0.02", "86400"),
    "CONFLICT_PROBE": ("0", "0.001", "86400"),
    "CONFLICT_WAIT": ("0", "86400.0"),
    "PING_INTERVAL": ("0.02", "86400"),
    "PING_TIMEOUT": ("0.02", "86400"),
    "PING_MAX_MISSED": ("1", "1000"),
    "RECONNECT_DELAY": ("0.02", "10"),
    "RECONNECT_DELAY_MAX": ("0.5", "86400"),
    "LOG_MAX_BYTES": ("0", "1", "999999999999999999"),
    "LOG_BACKUP_COUNT": ("0", "100000"),
    "LOG_CONSOLE": ("0", "1"),
}
OUT_OF_RANGE = {
    "NODE_ID": ("0", "10", "3.0", "1000000000"),
    "ADDRESS_LEASE": ("1", "2", "2.9", "10.0", "86401"),
    "MASTER_LOSS_RELEASE": ("86400.1", "86401"),
    "JOIN_INTERVAL": ("0.019", "86401"),
    "CONFLICT_PROBE": ("86401",),
    "CONFLICT_WAIT": ("86401",),
    "PING_INTERVAL": ("0", "0.0", "0.019", "86401"),
    "PING_TIMEOUT": ("0", "0.019", "86401"),
    "PING_MAX_MISSED": ("0", "1001", "2.5"),
    "RECONNECT_DELAY": ("0", "0.019", "86401"),
    "RECONNECT_DELAY_MAX": ("0", "0.019", "86401"),
    "LOG_MAX_BYTES": ("0.5", "1" * 19),
    "LOG_BACKUP_COUNT": ("0.5", "9" * 5000),
    "LOG_CONSOLE": ("2", "10", "true", "yes"),
}
NO_NUMBERS = (
    "ten", "-1", "-0", "+1", "nan", "NaN", "inf", "1e3", "1_0", "0x10", "1,5", "1.", ".5", "1 0", "٣", "３", "½",
    "5s", "1.5.0", "1\0", "--", "1\n2",
)  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_in_range(name):
    for value in NUMBERS[name]:
        load({"NODE_ID": "3", name: value})
        load({"NODE_ID": "3", name: f"\t{value} \r\n"})  # as `set NAME=value && …` leaves it on Windows


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_out_of_range_and_what_is_none(name):
    for value in (*OUT_OF_RANGE[name], *NO_NUMBERS):
        fault = fault_of(name, value)
        if len(value) < 100 and value.isprintable():
            assert f'{name}: invalid value "{value}"' in fault


def test_a_range_is_named():
    assert "0.02 to 86400" in fault_of("PING_INTERVAL", "0")
    assert "0 or seconds from 0.02" in fault_of("JOIN_INTERVAL", "0.01")
    assert "0 or a whole number from 3 to 86400" in fault_of("ADDRESS_LEASE", "1")
    assert "from 1 to 1000" in fault_of("PING_MAX_MISSED", "0")


def test_reconnect_delay_is_not_above_its_maximum():
    assert "at most RECONNECT_DELAY_MAX, 0.4" in fault_of(
        "RECONNECT_DELAY", "0.41", RECONNECT_DELAY_MAX="0.4"
    )
    # a default gives way
    assert load({"NODE_ID": "3", "RECONNECT_DELAY_MAX": "0.4"}).reconnect_delay_s == 0.4
    assert load({"NODE_ID": "3", "RECONNECT_DELAY": "5"}).reconnect_delay_max_s == 5


def test_no_asking_means_no_waiting():
    assert load({"NODE_ID": "3", "CONFLICT_PROBE": "0", "CONFLICT_WAIT": "30"}).conflict_wait_s == 0


def test_node_id_is_one_that_is_listed(tmp_path):
    assert "NETWORK_CONFIG lists 1, 2, 3, 4, 5, 6, 7, 8, 9" in fault_of("NODE_ID", "10")
    nodes = tmp_path / "nodes"
    nodes.write_text("\n".join(str(node) for node in range(1, 301)))
    assert "18, 19, 20 and more" in fault_of("NODE_ID", "301", NETWORK_CONFIG=str(nodes))
    found = {"NODE_ID": "300", "NETWORK_CONFIG": str(nodes)}
    assert load(found).node_id == 300
    assert "254" in fault_of("NODE_ID", "300", NETWORK_CONFIG=str(nodes), VIP_BACKEND="simulated")
    (fault,) = faults_of({})
    assert fault == "NODE_ID: not set; expected the number of a node that NETWORK_CONFIG lists, such as 1"


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_variable_counts_as_unset(name, home):
    expected = load({"NODE_ID": "3"})
    for empty in ("", " ", "\t"):
        if name == "NODE_ID":
            assert faults_of({name: empty})[0].startswith("NODE_ID: not set")
        elif empty == "" or not name.startswith(("PASSWORD", "MASTER_TOKEN")):
            assert load({"NODE_ID": "3", name: empty}) == expected
    (home / ".env").write_text("NODE_ID=4\nPING_INTERVAL=7\n")
    found = load({"NODE_ID": "", "PING_INTERVAL": "", name: ""})
    assert (found.node_id, found.ping_interval_s) == (4, 7.0)


@pytest.mark.parametrize(
    "value",
    [
        "localhost:5000",
        "localhost",
        "//localhost:5000",
        "http:/localhost",
        "ftp://localhost",
        "ws://localhost",
        "://localhost",
        "ｈttp://localhost",
        "http://localhost/socket.io",
        "http://localhost//",
        "http://localhost?token=1",
        "http://localhost/?",
        "http://localhost#here",
        "http://",
        "http:///",
        "http://:5000",
        "http://.",
        "http://a..b",
        "http://a..",
        "http://-a",
        "http://a_b-",
        "http://" + "a" * 64,
        "http://" + "a." * 130 + "b",
        "http://a b",
        "http://a\nb",
        "http://möbius",
        "http://10.9.0.300",
        "http://10.9.0",
        "http://10.9.0.1.",
        "http://fe80::1",
        "http://[fe80::1",
        "http://[fe80::1]5000",
        "http://[10.9.0.1]:5000",
        "http://[fe80::1%eth0]:5000",
        "http://[]",
        "http://localhost:",
        "http://localhost:0",
        "http://localhost:65536",
        "http://localhost:-1",
        "http://localhost:٣",
        "http://localhost:5000:1",
    ],
)
def test_master_urls_that_are_wrong(value):
    assert "; expected http://HOST:PORT or https://HOST:PORT" in fault_of("MASTER_URL", value)


def test_master_urls_that_are_right():
    for value in (
        "http://a",
        "HTTPS://A:1/",
        "http://a_b.c-d.example.:65535",
        "http://[::1]",
        "http://127.0.0.1:80",
    ):
        assert load({"NODE_ID": "3", "MASTER_URL": value}).masters == (value.lower().rstrip("/"),)


def test_each_entry_of_a_list_gets_its_line():
    faults = faults_of(
        {"NODE_ID": "3", "MASTER_URL": "http://a,b,,ftp://c", "ALLOWED_NETWORKS": "10.9.0.1/24,x,"}
    )
    assert [re.match('[^:]+: invalid value "[^"]*"', fault)[0] for fault in faults] == [
        'MASTER_URL, entry 2: invalid value "b"',
        'MASTER_URL, entry 3: invalid value ""',
        'MASTER_URL, entry 4: invalid value "ftp://c"',
        'ALLOWED_NETWORKS, entry 1: invalid value "10.9.0.1/24"',
        'ALLOWED_NETWORKS, entry 2: invalid value "x"',
        'ALLOWED_NETWORKS, entry 3: invalid value ""',
    ]


@pytest.mark.parametrize(
    "value", ["http://u:{}@a", "u:{}@a", "http://a,http://u:x,{}@b", "http://a?t={}", "http://a#{}"]
)
def test_a_secret_in_a_url_is_not_shown(value):
    faults = faults_of({"NODE_ID": "3", "MASTER_URL": value.format(SECRET)})
    assert SECRET not in "".join(faults)
    assert all("not shown" in fault for fault in faults)
    assert ("credentials do not belong in it" in "".join(faults)) == ("@" in value)


def test_a_list_of_many_faults_is_cut():
    faults = faults_of({"NODE_ID": "3", "MASTER_URL": f"http://u:{SECRET}@a" + "," * 5000})
    assert len(faults) == 11
    assert "it has 4991 more faults" in faults[-1]
    assert SECRET not in "".join(faults)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("10.9.0.7/24", "host bits set"),
        ("10.9.0.7", "no prefix length"),
        ("10.9.0.0/", "no prefix length"),
        ("10.9.0.0/255.255.255.0", "no prefix length"),
        ("10.9.0.0/-1", "no prefix length"),
        ("10.9.0.0/٢", "no prefix length"),
        ("10.9.0.0/33", ""),
        ("10.9.0.300/24", ""),
        ("10.9/16", ""),
        ("fe80::/64", ""),
        ("/24", ""),
    ],
)
def test_allowed_networks(value, reason):
    assert reason in fault_of("ALLOWED_NETWORKS", value)


def test_allowed_networks_of_simulated_addresses_are_left_to_the_backend():
    assert load({"NODE_ID": "3", "VIP_BACKEND": "simulated"}).allowed_networks is None


@pytest.mark.parametrize(
    "value", ["a/b", "a b", ".", "..", "x" * 128, "é" * 64, "eth0:1", "a\0", "\ud800", "a\tb", "à"]
)
def test_interface_names_that_can_be_none(value):
    assert "no interface can have that name" in fault_of("INTERFACE", value)


@pytest.mark.parametrize(
    "value", ["eth0", "x" * 127, "é" * 7, "br-1a2b", "enp0s31f6.100", "...", "-", "\x1b"]
)
def test_interface_names_that_can_be_one(value):
    assert load({"NODE_ID": "3", "INTERFACE": value}).interface == value


@pytest.mark.skipif(
    os.geteuid() != 0 if hasattr(os, "geteuid") else True, reason="adds interfaces: needs root"
)
def test_interface_names_are_those_that_the_kernel_takes():
    space = f"cfg-name-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", space], check=True)
    try:
        for name in (
            "a/b",
            "a b",
            ".",
            "..",
            "x" * 15,
            "é" * 7,
            "eth0:1",
            "...",
            "-",
            "à",
            "a\x0bb",
            "\x1b",
        ):
            command = ["ip", "-n", space, "link", "add", "name", name, "type", "bridge"]
            taken = subprocess.run(command, capture_output=True).returncode == 0
            try:
                assert config_values.interface.parse(name) == name
                assert taken, name
            except config_values.InvalidValue:
                assert not taken, name
    finally:
        subprocess.run(["ip", "netns", "del", space], check=True)


def test_interface_names_of_windows_are_aliases(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    parse = config_values.interface.parse
    assert parse("Local Area Connection 2") == "Local Area Connection 2"
    for wrong in ("x" * 257, "a\nb"):
        with pytest.raises(config_values.InvalidValue):
            parse(wrong)


@pytest.mark.parametrize(
    ("platform", "fit"),
    [
        ("linux", {"auto", "netlink", "sudo", "simulated"}),
        ("darwin", {"auto", "sudo", "ifconfig", "simulated"}),
        ("win32", {"auto", "netsh", "simulated"}),
    ],
)
def test_vip_backend(platform, fit, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    for value in ("auto", "netlink", "sudo", "netsh", "ifconfig", "simulated"):
        if value in fit:
            assert load({"NODE_ID": "3", "VIP_BACKEND": value}).vip_backend == value
        else:
            assert "it works on" in fault_of("VIP_BACKEND", value)
    assert "auto, netlink, sudo, netsh, ifconfig or simulated" in fault_of("VIP_BACKEND", "arping")


def test_log_level():
    for level in ("DEBUG", "Info", "warning", "ERROR", "critical"):
        assert load({"NODE_ID": "3", "LOG_LEVEL": level}).log_level == level.upper()
    for value in ("WARN", "10", "ınfo", "NOTSET", "0", "nan", "-1"):
        assert "DEBUG, INFO, WARNING, ERROR or CRITICAL" in fault_of("LOG_LEVEL", value)


def test_secret_files(tmp_path):
    file = tmp_path / "secret"
    for content, expected in (
        (b"pw", "pw"),
        (b" p w \n", " p w "),
        (b"pw\r\nmore\n", "pw"),
        (b"\xef\xbb\xbfpw\n", "pw"),
        ("pä".encode(), "pä"),
    ):
        file.write_bytes(content)
        found = load({"NODE_ID": "3", "PASSWORD_FILE": str(file), "MASTER_TOKEN_FILE": str(file)})
        assert (found.password, found.master_token) == (expected, expected)
        found = load({"NODE_ID": "3", "PASSWORD_FILE": str(file), "PASSWORD": "first"})
        assert found.secrets == ("first",)


@pytest.mark.parametrize("name", ["PASSWORD_FILE", "MASTER_TOKEN_FILE"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\r\n" + SECRET.encode(), "empty"),
        (SECRET.encode("utf-16"), "not UTF-8"),
        (SECRET.encode("utf-16-le"), "not UTF-8"),
        (SECRET.encode() + b"\xff\n", "not UTF-8"),
        (SECRET.encode() + b"\rrest\n", "not UTF-8"),
        (SECRET.encode() * 1000, "longer than 4096"),
    ],
)
def test_secret_files_that_hold_none(name, content, reason, tmp_path):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    fault = fault_of(name, str(file))
    assert reason in fault
    assert str(file)[:40] in fault
    assert SECRET not in fault


def test_a_file_setting_that_names_no_file(tmp_path):
    for name in ("PASSWORD_FILE", "MASTER_TOKEN_FILE", "MASTER_CA_FILE", "NETWORK_CONFIG", "METRICS_FILE"):
        for value in (
            str(tmp_path),
            f"{tmp_path}/a\0b",
            f"{tmp_path}/\ud800",
            "~nobody-of-that-name/x",
            "/" + "x" * 5000,
        ):
            fault_of(name, value)
        if name != "METRICS_FILE":
            assert "o such file" in fault_of(name, f"{tmp_path}/missing")


def test_paths_of_a_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load({"NODE_ID": "3", "LOG_DIR": "~/logs"}).log_dir == tmp_path / "logs"


def test_a_secret_where_its_file_belongs_is_not_shown():
    assert "not shown" in fault_of("PASSWORD_FILE", SECRET)
    assert "not shown" in fault_of("MASTER_TOKEN_FILE", SECRET)


def test_secrets_are_one_line_of_text():
    for name in ("PASSWORD", "MASTER_TOKEN"):
        for bad in ("\n", "\r", "\0", "\udcff"):
            fault = fault_of(name, f"{SECRET}{bad}")
            assert "invalid value (not shown)" in fault
            assert SECRET not in fault


def test_secrets_are_shown_nowhere(tmp_path, home):
    (tmp_path / "secret").write_text(f"{SECRET}\nother\n")
    (home / ".env").write_text(f"MASTER_TOKEN={SECRET}-token\n")
    shown = repr(load({"NODE_ID": "3", "PASSWORD": SECRET})) + repr(load({"NODE_ID": "3"}))
    assert SECRET not in shown
    wrong = {
        name: f"{SECRET}-token" for name in NAMES if not name.startswith("MASTER_TOKEN") and name != "LOG_DIR"
    }
    wrong["LOG_DIR"] = f"/proc/{SECRET}-token"
    for environ in (
        wrong,
        {**wrong, "PASSWORD": SECRET},
        {"NODE_ID": SECRET, "PASSWORD": SECRET},
        {"NODE_ID": f"{SECRET}\r\nx", "PASSWORD": f"{SECRET}\r\nx"},  # a faulty one is a secret too
        {"NODE_ID": f"{SECRET}-token", "MASTER_TOKEN": "that of .env does not count"},
        {"NODE_ID": SECRET, "PASSWORD_FILE": str(tmp_path / "secret")},
        {
            "NODE_ID": "3",
            "PASSWORD_FILE": str(tmp_path / "secret"),
            "NETWORK_CONFIG": str(tmp_path / "secret"),
        },
    ):
        assert SECRET not in "".join(faults_of(environ))


def test_half_a_secret_in_a_list_is_not_shown():
    faults = faults_of({"NODE_ID": "3", "PASSWORD": "half,other", "ALLOWED_NETWORKS": "half,other"})
    assert len(faults) == 2
    assert all("half" not in fault and "other" not in fault for fault in faults)


def test_what_a_value_holds_is_escaped_and_cut():
    fault = fault_of("LOG_LEVEL", f"\x1b[31m\n\x9b{BIDI}\u2028\ud800{'x' * 5000}")
    assert "\\x1b[31m\\n\\x9b\\u202e\\u2028\\ud800xxx" in fault
    assert "characters more)" in fault
    assert len(fault) < 400


UNWRITABLE = ["/proc/worker", "/proc/1/worker", "{file}", "{file}/logs"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("value", UNWRITABLE)
def test_a_folder_that_cannot_be_written(value, tmp_path):
    (tmp_path / "file").write_text("")
    value = value.format(file=tmp_path / "file")
    assert "a folder that exists or can be created" in fault_of("LOG_DIR", value)
    assert "a file in a folder that exists" in fault_of("METRICS_FILE", f"{value}/x")
    assert "a file in a folder that exists" in fault_of("METRICS_FILE", "/proc/worker.prom")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_default_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(config, "HERE", Path("/proc"))
    faults = faults_of({"NODE_ID": "3"})
    assert any(fault.startswith('LOG_DIR (default): invalid value "/proc"') for fault in faults)
    assert any(fault.startswith('NETWORK_CONFIG (default): invalid value "/proc/net') for fault in faults)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_only_others_may_write(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    assert "Permission denied" in fault_of("LOG_DIR", str(folder))
    assert "Permission denied" in fault_of("LOG_DIR", str(folder / "logs"))
    assert "Permission denied" in fault_of("METRICS_FILE", str(folder / "x"))


def test_a_log_that_cannot_be_written(tmp_path):
    (tmp_path / "logs" / "comms.log").mkdir(parents=True)
    assert "its comms.log cannot be written" in fault_of("LOG_DIR", str(tmp_path / "logs"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")
def test_a_full_disk_is_no_fault(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr(Path, "touch", full)
    assert load({"NODE_ID": "3", "LOG_DIR": str(tmp_path)}).log_dir == tmp_path


def test_metrics_file_needs_its_folder(tmp_path):
    assert "its folder does not exist" in fault_of("METRICS_FILE", str(tmp_path / "missing" / "x.prom"))
    assert "a folder, not a file" in fault_of("METRICS_FILE", str(tmp_path))


def test_metrics_need_their_library(tmp_path, monkeypatch):
    monkeypatch.setattr(config_files, "find_spec", lambda _name: None)
    assert "pip install -r requirements.txt" in fault_of("METRICS_FILE", str(tmp_path / "x.prom"))


def test_master_ca_file(tmp_path):
    file = tmp_path / "ca.pem"
    for content in (
        b"",
        b"no certificate",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ):
        file.write_bytes(content)
        assert "no PEM certificate" in fault_of("MASTER_CA_FILE", str(file))
    file.write_bytes(trustme.CA().private_key_pem.bytes())
    assert "no PEM certificate" in fault_of("MASTER_CA_FILE", str(file))
    if sys.platform == "linux":
        assert "it is not a file" in fault_of("MASTER_CA_FILE", "/dev/zero")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1,2\n2,1\n3", {1: (2,), 2: (1,), 3: ()}),
        ("0\n3\n", {3: ()}),
        ("\ufeff# nodes\n\n 0 # the first\n3, 4 # near\r\n4,3,3\n#5\n", {3: (4,), 4: (3,)}),
        ("03,\t004\n4\n", {3: (4,), 4: ()}),
    ],
)
def test_network_config(content, expected, tmp_path):
    file = tmp_path / "nodes"
    file.write_text(content, encoding="utf-8")
    assert load({"NODE_ID": "3", "NETWORK_CONFIG": str(file)}).neighbors == expected


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        ("", ["it lists no node"]),
        ("# nothing\n0\n", ["it lists no node"]),
        ("3\n\nx\n", ['line 3 of "{}": invalid value "x"']),
        ("3, two\n", ['line 1 of "{}": invalid value "3, two": not every entry of it is a node number']),
        ("3\n0\n", ['line 2 of "{}": invalid value "0"']),
        ("3,0\n", ['line 1 of "{}": invalid value "3,0"']),
        ("3,-1\n٤\n5,\n1.0\n", ["line 1", "line 2", "line 3", "line 4"]),
        ("3\n3\n", ['line 2 of "{}": invalid value "3": that node is listed already']),
        ("2\n3, 3\n", ['line 2 of "{}": invalid value "3": a node cannot be its own neighbor']),
        (
            "3, 4\n5, 6\n",
            [
                'line 1 of "{}": invalid value "4": no line lists that node',
                'line 2 of "{}": invalid value "6"',
            ],
        ),
        ("3, 4\nfour, 3\n", ["line 2"]),  # nothing about node 4, which line 2 may have meant
        ("3\n" + "x\n" * 50, ["line "] * 10 + ["it has 40 more faults"]),
        ("3\0", ["not UTF-8"]),
    ],
)
def test_network_config_that_is_wrong(content, faults, tmp_path):
    file = tmp_path / "nodes"
    file.write_text(content)
    said = faults_of({"NODE_ID": "3", "NETWORK_CONFIG": str(file)})
    assert len(said) == len(faults)
    for line, part in zip(said, faults):
        assert line.startswith("NETWORK_CONFIG")
        assert part.format(file) in line


def test_files_that_are_no_text(tmp_path):
    utf16, endless = tmp_path / "utf16", tmp_path / "long"
    utf16.write_bytes("NODE_ID=3".encode("utf-16"))
    endless.write_bytes(b"#" * (2**20 + 1))
    for file, reason in ((utf16, "save it as UTF-8"), (endless, "longer than 1 MiB")):
        assert reason in fault_of("NETWORK_CONFIG", str(file))
        (fault,) = faults_of({}, file)  # NODE_ID may stand in it: that it is not set is not said
        assert fault.startswith("--env-file: invalid value")
        assert reason in fault


def test_env_file(home, tmp_path):
    other = tmp_path / "other.env"
    other.write_bytes(
        b'\xef\xbb\xbf# settings\r\nexport NODE_ID=5 # five\r\nPASSWORD=\'a b#${HOME}\'\r\nMASTER_TOKEN="t\\"q"\r\nLOG_LEVEL\r\n'
    )
    other.chmod(0o600)
    found = load({"LOG_LEVEL": "", "UNKNOWN": "x"}, other)
    assert (found.node_id, found.password, found.master_token) == (5, "a b#${HOME}", 't"q')
    assert (found.log_level, found.warnings) == ("INFO", ())
    (home / ".env").write_text("NODE_ID=6\nPING_INTERVAL=7\nPING_TIMEOUT=8\n")
    found = load({"PING_TIMEOUT": "9"})
    assert (found.node_id, found.ping_interval_s, found.ping_timeout_s) == (6, 7.0, 9.0)
    assert load({}, other).ping_interval_s == 2.0  # one file at a time


def test_faults_of_an_env_file(home, tmp_path):
    (fault,) = faults_of({}, tmp_path / "missing.env")
    assert fault.startswith(f'--env-file: invalid value "{tmp_path}/missing.env": No such file')
    faults = faults_of({"NODE_ID": "x", "LOG_LEVEL": "y"}, tmp_path)
    assert [fault.split(":")[0] for fault in faults] == ["--env-file", "NODE_ID", "LOG_LEVEL"]
    file = home / ".env"
    file.write_text("NODE_ID=3\n\n\nPING_INTERVAL=nan\n")
    (fault,) = faults_of({})
    assert fault.startswith(f'PING_INTERVAL (line 4 of "{file}"): invalid value "nan"')
    file.write_text(f"NODE_ID=3\n\nPASSWORD='{SECRET}\n")
    (fault,) = faults_of({})
    assert f'line 3 of "{file}"' in fault
    assert "is a quote left open?" in fault
    assert SECRET not in fault


def test_an_env_file_that_is_a_folder_is_left_alone(home):
    (home / ".env").mkdir()  # many call their virtual environment so
    assert load({"NODE_ID": "3"}).warnings == ()


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
@pytest.mark.parametrize(
    ("target", "reason"),
    [("x" * 300, "File name too long"), (".env", "Too many levels of symbolic links")],
)
def test_an_env_file_that_cannot_be_looked_at_is_not_passed_over(home, target, reason):
    (home / ".env").symlink_to(target)
    (fault,) = faults_of({"NODE_ID": "3"})
    assert fault.startswith("--env-file (default)")
    assert reason in fault


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_an_env_file_that_leads_nowhere_is_absent(home):
    (home / ".env").symlink_to(home / "nowhere")
    assert load({"NODE_ID": "3"}).warnings == ()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="acts as another user: needs root")
def test_an_env_file_in_a_folder_that_is_closed_is_a_fault(home):
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    (closed / "env").write_text("NODE_ID=3\n")
    (home / ".env").symlink_to(closed / "env")
    os.seteuid(65534)
    try:
        first = faults_of({"LOG_DIR": "/tmp", "NETWORK_CONFIG": "/dev/null"})[0]
    finally:
        os.seteuid(0)
    assert first.startswith("--env-file (default)")
    assert "Permission denied" in first


# what other users can read or write


@pytest.fixture
def stranger(tmp_path):
    """A user who has nothing to do with the worker, and a group of his own: (uid, gid)."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("giving files away needs root")
    import pwd

    user = pwd.getpwnam("daemon")
    return user.pw_uid, user.pw_gid


def warned(**environ):
    return load({"NODE_ID": "3", **environ}).warnings


@pytest.mark.skipif(os.name != "posix", reason="needs file modes")
def test_an_env_file_with_a_secret_that_others_can_read(home):
    file = home / ".env"
    for content, mode, expected in (
        ("PASSWORD=x", 0o644, True),
        ("MASTER_TOKEN=x", 0o604, True),
        ("PASSWORD=x", 0o600, False),
        ("PASSWORD=x", 0o622, False),
        ("PASSWORD=\nPASSWORD_FILE=\nNODE_ID=3", 0o644, False),
    ):
        file.write_text(content)
        file.chmod(mode)
        assert [f"chmod o-r {file}" in warning for warning in warned()] == [True] * expected
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_group_s_file_is_exposed_only_if_the_group_has_other_members(home, stranger):
    file = home / ".env"
    file.write_text("MASTER_TOKEN=x")
    file.chmod(0o640)
    assert not warned()  # root's group, which is root's alone
    os.chown(file, 0, stranger[1])
    assert any("other users" in warning for warning in warned())
    # the service's own account, known from its folder of logs, and running or not
    os.chown(home, stranger[0], stranger[1])
    assert not warned()


@pytest.mark.skipif(os.name != "posix", reason="needs file modes")
def test_a_secret_file_that_others_can_read_or_replace(tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    file = folder / "token"
    file.write_text("x\n")
    file.chmod(0o600)
    assert not warned(MASTER_TOKEN_FILE=str(file))
    file.chmod(0o604)
    (warning,) = warned(MASTER_TOKEN_FILE=str(file))
    assert warning.startswith("MASTER_TOKEN_FILE ")
    assert warning.endswith(f"chmod o-r {file}")
    file.chmod(0o600)
    folder.chmod(0o707)
    (warning,) = warned(PASSWORD_FILE=str(file))
    assert "the folder of PASSWORD_FILE" in warning
    assert f"chmod go-w {folder}" in warning
    folder.chmod(0o1777)  # as /tmp: nobody can replace another's file
    assert not warned(PASSWORD_FILE=str(file))


def test_a_folder_of_a_stranger_is_writable_by_others(tmp_path, stranger):
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    (folder / "token").write_text("x\n")
    (folder / "token").chmod(0o600)
    os.chown(folder, *stranger)
    (warning,) = warned(MASTER_TOKEN_FILE=str(folder / "token"))
    assert "can be written by other users" in warning


@pytest.mark.skipif(os.name != "posix", reason="needs file modes")
def test_a_log_folder_and_a_command_that_others_can_write(tmp_path):
    logs, command = tmp_path / "logs", tmp_path / "notify"
    logs.mkdir()
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    settings = {"LOG_DIR": str(logs), "NOTIFY_COMMAND": str(command)}
    assert not warned(**settings)
    logs.chmod(0o777)
    command.chmod(0o757)
    assert [warning.split(" ")[0].strip(",") for warning in warned(**settings)] == [
        "NOTIFY_COMMAND",
        "LOG_DIR",
    ]
    logs.chmod(0o1777)
    command.chmod(0o1777)  # of a file the sticky bit says nothing
    (warning,) = warned(**settings)
    assert warning.startswith("NOTIFY_COMMAND ")


def test_misspelled_names_in_an_env_file(home):
    file = home / ".env"
    file.write_text(f"PING_INTERVALL=1\nnode_id=4\nHTTP_PROXY=x\n{'X' * 5000}=1\n'MASTER_U\x1bRL'=1\n")
    warnings = load({"NODE_ID": "3"}).warnings
    assert warnings == (
        f'"{file}", line 1: "PING_INTERVALL" is not a setting of this worker; PING_INTERVAL was probably meant',
        f'"{file}", line 2: "node_id" is not a setting of this worker; NODE_ID was probably meant',
        f'"{file}", line 5: "MASTER_U\\x1bRL" is not a setting of this worker; MASTER_URL was probably meant',
    )


def test_help_names_everything():
    text = config.describe()
    assert max(map(len, text.splitlines())) <= 110
    for variable in VARIABLES:
        assert re.search(rf"^  {variable.name} \((required|default: .+)\)$", text, re.MULTILINE)
        assert " ".join(variable.meaning.split()) in " ".join(text.split())


def test_the_page_of_settings_is_the_schema_s():
    """`python -m tests.settings.pages` writes it."""
    assert f"\n\n{table()}\n\n" in (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")


def test_every_attribute_has_its_variable():
    attributes = {field.name for field in dataclasses.fields(config.Config)}
    assert {variable.attribute for variable in VARIABLES} == attributes - {
        "warnings",
        "paths",
        "proxy_passwords",
    }


def test_env_example(home):
    text = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    assert text == env_example()
    lines = text.splitlines()
    offered = re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.MULTILINE)
    assert offered == [(variable.name, variable.default_value) for variable in VARIABLES]
    for before, line in itertools.pairwise(lines):
        if re.match(r"#[A-Z_]+=", line):
            assert before.startswith("# "), line
    assert all(line == "" or line.startswith("#") for line in lines)
    example_file = home / ".env"
    example_file.write_text(
        re.sub(r"^#(?=[A-Z])", "", text, flags=re.MULTILINE).replace("NODE_ID=", "NODE_ID=3")
    )
    assert load({}) == load({"NODE_ID": "3"}, example_file)
    example_file.write_text(text.replace("#NODE_ID=", "NODE_ID=3"))
    found = load({})
    example_file.unlink()
    assert found == load({"NODE_ID": "3"})


# A path of its own could lead out of the test's folder, so these have no slash in them.
any_text = st.text(st.characters(blacklist_characters="/"), max_size=40)
some_text = st.one_of(
    any_text,
    st.sampled_from(
        ["0", "10", "-1", "nan", "1e9", "~", "..", "http://[", "http://a:b@c", "simulated", "1,2", "\0"]
    ),
    st.from_regex(r"(http|https)://[a-z.:\[\]@?#0-9]*", fullmatch=True),
    st.from_regex(r"[0-9.]*/?[0-9]*", fullmatch=True).map(lambda text: text.replace("/", "", 1)),
)
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(environ, env_file=None):
    try:
        found = load(environ, env_file)
    except ConfigError as error:
        assert error.faults
        assert all(fault.isprintable() and len(fault) < 800 for fault in error.faults)
        return error.faults
    assert isinstance(found, config.Config)
    return found.warnings


@quick
@given(environ=st.dictionaries(st.sampled_from(NAMES), some_text))
@example(environ=dict.fromkeys(NAMES, "\ud800"))
@example(environ=dict.fromkeys(NAMES, "\0"))
def test_any_text_gives_a_config_or_faults(environ):
    check(environ)


@quick
@given(name=st.sampled_from(NAMES), value=some_text)
def test_any_text_in_one_variable(name, value):
    check({"NODE_ID": "3", name: value})


@quick
@given(
    environ=st.dictionaries(st.sampled_from(NAMES), some_text),
    spread=st.sets(st.sampled_from(NAMES), min_size=1),
)
def test_no_secret_is_in_any_fault(environ, spread):
    for name in spread - {"LOG_DIR", "METRICS_FILE"}:
        environ[name] = f"{environ.get(name, '')}{SECRET}"
    assert SECRET not in "".join(check({**environ, "PASSWORD": SECRET}))
    assert SECRET not in "".join(check({**environ, "MASTER_TOKEN": SECRET}))


@quick
@given(
    content=st.one_of(
        st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
    )
)
@example(content=b"=\n'='='\n\"")
def test_any_bytes_in_a_file(content):
    file = Path("any")
    file.write_bytes(content)
    for name in ("NETWORK_CONFIG", "PASSWORD_FILE", "MASTER_CA_FILE"):
        check({"NODE_ID": "3", name: "./any"})
    check({"NODE_ID": "3", "LOG_DIR": "logs"}, file)


def test_the_limits_of_what_is_read_are_what_the_faults_say():
    assert config_files._FILE_LIMIT == 1024 * 1024


def test_where_a_secret_comes_from(home, tmp_path):
    """The environment, the file that it names, `.env`, the file that that names: the first that has one."""
    named = tmp_path / "named"
    named.write_text("from the file\n")
    environ = {"NODE_ID": "3"}
    (home / ".env").write_text(f"MASTER_TOKEN_FILE={named}\n")
    assert load(environ).master_token == "from the file"
    (home / ".env").write_text(f"MASTER_TOKEN_FILE={named}\nMASTER_TOKEN=from .env\n")
    assert load(environ).master_token == "from .env"
    environ["MASTER_TOKEN_FILE"] = str(named)
    assert load(environ).master_token == "from the file"
    environ["MASTER_TOKEN"] = "from the environment"
    assert load(environ).master_token == "from the environment"
    assert load(environ).password is None


# a pipe


@pytest.fixture
def pipe(tmp_path, monkeypatch):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    monkeypatch.setattr(config_files, "_PIPE_S", 0.3)
    os.mkfifo(tmp_path / "pipe", 0o600)
    return tmp_path / "pipe"


@pytest.mark.parametrize("name", ["PASSWORD_FILE", "MASTER_TOKEN_FILE", "NETWORK_CONFIG", "MASTER_CA_FILE"])
def test_a_pipe_that_nobody_feeds_is_a_fault(name, pipe):
    fault = fault_of(name, str(pipe))
    assert "nothing came through this pipe" in fault or name == "MASTER_CA_FILE"


def test_a_file_of_a_slow_disk_is_waited_for(tmp_path, monkeypatch):
    """A fault would end the worker for good, however soon the disk has recovered."""
    monkeypatch.setattr(config_files, "_PIPE_S", 0.05)
    opened = Path.open

    def slowly(path, *args, **more):
        time.sleep(0.3)
        return opened(path, *args, **more)

    (tmp_path / "token").write_text("a token\n")
    monkeypatch.setattr(Path, "open", slowly)
    assert load({"NODE_ID": "3", "MASTER_TOKEN_FILE": str(tmp_path / "token")}).master_token == "a token"


def test_an_env_file_that_is_a_pipe_that_nobody_feeds(pipe):
    (fault,) = faults_of({"NODE_ID": "3"}, pipe)
    assert fault.startswith("--env-file: ")


def test_a_pipe_whose_writer_keeps_it_open_is_a_fault(pipe):
    holder = os.open(pipe, os.O_RDWR)
    try:
        os.write(holder, b"a tok")
        assert "nothing came through this pipe" in fault_of("MASTER_TOKEN_FILE", str(pipe))
    finally:
        os.close(holder)


def test_a_secret_may_come_through_a_pipe(tmp_path):
    command = [
        "bash",
        "-c",
        'MASTER_TOKEN_FILE=<(sleep 0.2; echo a token) exec "$0" -c "$1"',
        sys.executable,
        "import config, os; print(config.load(os.environ).master_token)",
    ]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "NODE_ID": "3", "LOG_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.stdout, done.stderr) == ("a token\n", "")


def test_a_pipe_that_nobody_feeds_ends_the_worker_with_78(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    environ = {"PATH": os.environ["PATH"], "NODE_ID": "3", "LOG_DIR": str(tmp_path)}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from settings import files; files._PIPE_S = 0.3; import client; exit(client.main([]))",
        ],
        cwd=REPOSITORY,
        env={**environ, "PASSWORD_FILE": str(tmp_path / "pipe")},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 78
    assert "PASSWORD_FILE" in done.stderr


# NOTIFY_COMMAND, links, proxies


def test_notify_command(tmp_path):
    script = tmp_path / "notify"
    assert "not an absolute path" in fault_of("NOTIFY_COMMAND", "notify")
    assert "no such file" in fault_of("NOTIFY_COMMAND", str(script))
    assert "not a file" in fault_of("NOTIFY_COMMAND", str(tmp_path))
    script.write_text("#!/bin/sh\n")
    script.chmod(0o644)
    assert "chmod +x" in fault_of("NOTIFY_COMMAND", str(script))
    assert "no such file" in fault_of("NOTIFY_COMMAND", f"{script} --with arguments")
    script.chmod(0o755)
    assert load({"NODE_ID": "3", "NOTIFY_COMMAND": str(script)}).notify_command == script


@pytest.mark.parametrize("log", ["comms.log", "ping.log"])
def test_a_log_that_is_a_link_is_refused(log, tmp_path):
    (tmp_path / log).symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in fault_of("LOG_DIR", str(tmp_path))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("http://user:hunter2@proxy:3128", "hunter2"),
        ("http://user:a/b#c?d@e@proxy:3128", "a/b#c?d@e"),
        ("user:p%23w@proxy", ""),
        ("http://proxy:3128", ""),
        ("http://user@proxy", ""),
    ],
)
def test_the_passwords_of_proxies_are_secrets(url, password):
    found = load({"NODE_ID": "3", "https_proxy": url})
    assert found.secrets == ((password,) if password else ())
    assert "hunter2" not in repr(found)


def test_a_proxy_s_password_is_a_secret_in_both_spellings():
    found = load({"NODE_ID": "3", "HTTP_PROXY": "http://user:p%23w@proxy"})
    assert set(found.secrets) == {"p%23w", "p#w"}
