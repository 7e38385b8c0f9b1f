"""What is remembered of other nodes' MACs across restarts."""

from __future__ import annotations

import json
import os

import pytest

from failover.owners import EXPIRES_S, OwnerMacs
from failover.states import State
from tests.lab.waiting import until
from tests.lab.wire_fake import GRID, Clock, Desk, Wire, ip_of, order, vip_of

IP = ip_of(2)
OWNER_MAC = "02:fc:00:00:00:02"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "owners.json"


def test_a_holder_started_anew_still_knows_the_owner_s_probe(path):
    desk = Desk(owners=OwnerMacs(path, GRID))
    desk.recover(order(owner_mac=OWNER_MAC))
    desk.run(1)
    until(path.exists)
    wire = Wire(Clock())
    wire.vips[vip_of(2)] = wire.clock.now + 7
    desk = Desk(wire, owners=OwnerMacs(path, GRID))
    desk.run(1)
    assert desk.held == [2]
    desk.wire.ask(IP, OWNER_MAC)
    desk.run(0.01)
    assert desk.state() is State.IN_CONFLICT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "{" * 10_000,
        "\x00",
        '{"2": 3}',
        '{"2": {"mac": 5, "told": true, "at_s": 1}}',
        '{"x": {"mac": "02:fc:00:00:00:02", "told": true, "at_s": 99999999999}}',
        json.dumps({"2": {"mac": "02:fc:00:00:00:02\n", "told": True, "at_s": 0}}),
    ],
)
def test_a_file_that_says_nothing_sensible_says_nothing(path, text):
    path.write_text(text)
    assert OwnerMacs(path, GRID)._macs == {}


def test_what_is_old_or_about_nobody_here_is_forgotten(path):
    entry = {"mac": OWNER_MAC, "told": True, "at_s": os.stat(path.parent).st_mtime}
    old = {**entry, "at_s": entry["at_s"] - EXPIRES_S - 60}
    path.write_text(json.dumps({"2": old, "77": entry, "6": entry}))
    assert list(OwnerMacs(path, GRID)._macs) == [6]


def test_no_link_is_followed(path, tmp_path):
    """Neither to read, nor to write, nor at the file beside it."""
    other = tmp_path / "other"
    text = json.dumps({"2": {"mac": OWNER_MAC, "told": True, "at_s": tmp_path.stat().st_mtime}})
    other.write_text(text)
    path.symlink_to(other)
    path.with_name("owners.json.new").symlink_to(other)
    owners = OwnerMacs(path, GRID)
    assert owners._macs == {}
    owners._learn(2, "02:fc:00:00:00:99", told=True)
    until(lambda: not path.is_symlink())
    assert other.read_text() == text
    assert json.loads(path.read_text())["2"]["mac"] == "02:fc:00:00:00:99"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_written_is_no_fault(tmp_path):
    owners = OwnerMacs(tmp_path / "gone" / "owners.json", GRID)
    owners._learn(2, OWNER_MAC, told=True)
    assert owners._macs[2].mac == OWNER_MAC


def test_what_the_master_said_long_ago_rules_nobody_out():
    """The owner has got another card, and this master does not name MACs."""
    owners = OwnerMacs(None, GRID)
    owners._learn(2, "02:fc:00:00:00:99", told=True)
    desk = Desk(owners=owners)
    desk.recover(order())
    desk.run(1)
    assert desk.wire.filtered == {("eth0", IP, "02:fc:00:00:00:99")}
    for _ in range(2):
        desk.wire.ask(IP, OWNER_MAC)
        desk.run(0.1)
    assert desk.state() is State.IN_CONFLICT
