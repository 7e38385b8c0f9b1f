from __future__ import annotations

import os
import stat
from ipaddress import IPv4Interface

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from network.base import NetworkError, Vip
from network.command.backend import Journal

vips = st.builds(
    Vip,
    st.integers(0, 10**6),
    st.builds(IPv4Interface, st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32))),
    st.text(min_size=1),
)


@given(st.lists(vips, unique_by=lambda vip: vip.ip.ip, max_size=4))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_what_is_noted_is_read(tmp_path, noted):
    journal = Journal(tmp_path / "j.json")
    for vip in noted:
        journal.add(vip)
    assert journal.read() == tuple(noted)
    for vip in noted:
        journal.remove(vip)
    assert journal.read() == ()
    assert os.listdir(tmp_path) == (["j.json"] if noted else os.listdir(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("umask", [0, 0o077])
def test_the_journal_that_root_wrote_can_be_read_and_not_changed_by_the_worker_s_user(tmp_path, umask):
    before = os.umask(umask)
    try:
        Journal(tmp_path / "j.json").add(Vip(2, IPv4Interface("10.9.0.2/24"), "en0"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "j.json").stat().st_mode) == 0o644


def test_one_virtual_address_for_an_address(tmp_path):
    journal = Journal(tmp_path / "j.json")
    first, second = (Vip(owner, IPv4Interface("10.9.0.2/24"), "en0") for owner in (2, 4))
    journal.add(first)
    journal.add(second)
    assert journal.read() == (second,)
    journal.remove(first)
    assert journal.read() == (second,)


@pytest.mark.parametrize(
    "text", ["", "{}x", "7", '{"a": 1}', "[1]", "[{}]", '[{"owner": 2, "ip": "x", "interface": "e"}]']
)
def test_a_damaged_journal_is_not_an_empty_one(tmp_path, text):
    path = tmp_path / "j.json"
    path.write_text(text)
    journal = Journal(path)
    with pytest.raises(NetworkError, match=r"j\.json is damaged"):
        journal.read()
    with pytest.raises(NetworkError, match=r"j\.json is damaged"):
        journal.add(Vip(2, IPv4Interface("10.9.0.2/24"), "en0"))
    assert path.read_text() == text


def test_a_folder_that_is_not_there(tmp_path):
    journal = Journal(tmp_path / "gone" / "j.json")
    assert journal.read() == ()
    with pytest.raises(NetworkError, match="can't be written"):
        journal.add(Vip(2, IPv4Interface("10.9.0.2/24"), "en0"))


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system has no O_NOFOLLOW")
@pytest.mark.parametrize("name", ["j.json", "j.json.new"])
def test_a_symbolic_link_is_never_followed(tmp_path, name):
    other = tmp_path / "other"
    other.write_text("[]")
    (tmp_path / name).symlink_to(other)
    journal = Journal(tmp_path / "j.json")
    vip = Vip(2, IPv4Interface("10.9.0.2/24"), "en0")
    if name == "j.json":
        with pytest.raises(NetworkError, match=r"j\.json can't be read"):
            journal.add(vip)
    else:
        journal.add(vip)
        assert journal.read() == (vip,)
    assert other.read_text() == "[]"
