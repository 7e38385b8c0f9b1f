"""What `--check` takes from the installed unit: its user's capabilities, and the credentials that systemd reads for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import config
from tests.lab.users import reachable_tmp_path
from worker import check_machine

NOBODY = 65534
tmp_path = reachable_tmp_path

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="judges for another user: needs Linux and root"
)


@pytest.fixture
def unit(tmp_path, monkeypatch):
    """Write the unit that is installed."""
    file = tmp_path / "failover-worker.service"
    monkeypatch.setattr(check_machine, "UNIT", file)

    def write(text, drop_in=""):
        file.write_text(text)
        folder = tmp_path / f"{file.name}.d"
        folder.mkdir(exist_ok=True)
        (folder / "credentials.conf").write_text(drop_in)

    return write


@pytest.fixture
def settings(tmp_path):
    """The settings of a worker whose logs and token are where nobody's account can reach, if they are closed to it."""
    (tmp_path / "logs").mkdir()
    os.chown(tmp_path / "logs", NOBODY, NOBODY)
    token = tmp_path / "token"
    token.write_text("hunter2hunter2")
    token.chmod(0o600)
    return config.load(
        {
            "NODE_ID": "3",
            "LOG_DIR": str(tmp_path / "logs"),
            "VIP_BACKEND": "netlink",
            "MASTER_TOKEN_FILE": str(token),
        },
        Path(os.devnull),
    )


GRANTED = "[Service]\nUser=nobody\nAmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW\n"


def test_capabilities_that_the_unit_gives_count(unit, settings):
    unit(GRANTED)
    items = [item for item in check_machine.account_items(settings, None) if item.name != "account"]
    assert items[0].text == "failover-worker.service gives nobody CAP_NET_ADMIN and CAP_NET_RAW"
    assert all(item.ok for item in items)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[Service]\nUser=another\nAmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW\n",
        "[Service]\nUser=nobody\n",
    ],
)
def test_without_them_the_account_has_none(unit, settings, text):
    unit(text)
    items = list(check_machine.account_items(settings, None))
    (bad,) = [item for item in items if not item.ok and item.name != "account"]
    assert bad.name == "privilege"
    assert "CAP_NET_ADMIN" in bad.text


def test_a_credential_need_not_be_readable(unit, settings, tmp_path):
    unit(GRANTED, f"[Service]\nLoadCredential=master-token:{tmp_path / 'token'}\n")
    assert [item for item in check_machine.account_items(settings, None) if not item.ok] == []
    unit(GRANTED)
    (bad,) = [item for item in check_machine.account_items(settings, None) if not item.ok]
    assert bad.text.startswith("MASTER_TOKEN_FILE: nobody cannot read ")


def test_an_account_that_cannot_be_taken_on_is_one_item_and_no_traceback(settings, monkeypatch, capfd):
    def may_not(_uid):
        raise PermissionError("not in this namespace")

    monkeypatch.setattr(check_machine, "_become", may_not)
    items = list(check_machine.account_items(settings, None))
    assert {item.remedy for item in items if not item.ok} == {"run --check as that user"}
    assert capfd.readouterr() == ("", "")
