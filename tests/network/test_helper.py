"""The requests that the privileged helper obeys and refuses, and the words it shares with its parent."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.base import AddressesChanged, ArpSeen, FilterFailed, LastSeen, LinkDown, LinkUp
from network.simulated import Simulated
from network.sudo.helper import Requests
from network.sudo.protocol import decode, encode

VIP = {"do": "hold", "owner": 2, "ip": "10.9.0.2/24", "interface": "simulated0"}
ips = st.integers(0, 2**32 - 1).map(IPv4Address)


@pytest.fixture
def net():
    return Simulated(3)


def ask(requests, **request):
    return requests.answer(json.dumps(request).encode())


@settings(deadline=None)  # the machine is shared
@given(
    st.one_of(
        st.builds(ArpSeen, st.text(), st.booleans(), st.text(), ips, ips, st.none() | ips),
        st.builds(FilterFailed, st.text()),
        st.builds(LinkUp, st.text()),
        st.builds(AddressesChanged, st.text()),
        st.builds(LinkDown, st.text()),
    )
)
def test_events_survive_the_pipe(event):
    assert decode(json.loads(json.dumps(encode(event)))) == event


def test_what_was_seen_survives_the_pipe():
    seen = LastSeen("02:fc:00:00:00:02", IPv4Address("10.9.0.9"), {"02:fc:00:00:00:01": 3.5})
    assert decode(json.loads(json.dumps(encode(seen)))) == seen


@pytest.mark.parametrize("allowed", [None, (IPv4Network("10.9.0.0/16"),)])
def test_each_verb(net, allowed):
    requests = Requests(net, allowed, None)
    assert ask(requests, **VIP) == {"value": None}
    assert [a.ip for a in net.addresses()] == [IPv4Interface("10.9.0.3/24"), IPv4Interface("10.9.0.2/24")]
    for do in ("renew", "probe", "announce"):
        ip = "10.9.0.2/24" if do == "renew" else "10.9.0.2"
        assert ask(requests, **{**VIP, "do": do, "ip": ip}) == {"value": None}
    asking = {**VIP, "do": "probe", "ip": "10.9.0.2", "sender": "10.9.0.3"}
    assert ask(requests, **asking) == {"value": None}
    seen = ask(requests, **{**VIP, "do": "last_seen", "ip": "10.9.0.2"})["value"]
    assert decode(json.loads(json.dumps(seen))) == LastSeen()
    probe = {"interface": "simulated0", "ip": "10.9.0.2", "mac": "02:fc:00:00:00:02"}
    assert ask(requests, do="filter_probes", probes=[probe]) == {"value": None}
    assert ask(requests, do="watch", ips=["10.9.0.2"]) == {"value": None}
    assert ask(requests, **{**VIP, "do": "release"}) == {"value": None}
    assert len(net.addresses()) == 1
    assert "no longer" in ask(requests, **{**VIP, "do": "renew"})["error"]


@pytest.mark.parametrize(
    ("allowed", "change", "reason"),
    [
        (None, {"ip": "10.8.0.2/24"}, "not in a network allowed"),
        (None, {"ip": "10.9.0.2/23"}, "not in a network allowed"),
        ((), {}, "not in a network allowed"),
        ((IPv4Network("10.9.0.0/25"),), {}, "not in a network allowed"),
        (None, {"ip": "10.9.0.3/24"}, "not a virtual address"),
        (None, {"do": "announce", "ip": "10.9.0.2"}, "not on this machine"),
        (None, {"do": "probe", "ip": "8.8.8.8"}, "not in a network of this machine"),
        (None, {"do": "start"}, "no request"),
        (None, {"do": ["hold"]}, "no request"),
        (None, {"owner": True}, "no request"),
        (None, {"owner": "2"}, "no request"),
        (None, {"owner": -1}, "no request"),
        (None, {"ip": "10.9.0.2/x"}, "no request"),
        (None, {"ip": "::1/64"}, "no request"),
        (None, {"ip": 168361986}, "no request"),
        (None, {"interface": None}, "no request"),
        (None, {"interface": "eth0"}, "not the interface"),
        (None, {"do": "probe", "ip": "10.9.0.2", "sender": "10.9.0.9"}, "not on this machine"),
        (None, {"do": "filter_probes"}, "no request"),
        (None, {"do": "filter_probes", "probes": ["x"]}, "no request"),
        (
            None,
            {
                "do": "filter_probes",
                "probes": [{"interface": "simulated0", "ip": "10.9.0.2", "mac": "02:fc:00:00:00:02; drop"}],
            },
            "no request",
        ),
        (None, {"do": "watch"}, "no request"),
        (None, {"do": "watch", "ips": ["10.9.0.2"] * 2000}, "no request"),
        (None, {"do": "watch", "ips": [1]}, "no request"),
        (None, {"do": "watch", "ips": ["x"]}, "no request"),
    ],
)
def test_what_is_refused(net, allowed, change, reason):
    requests = Requests(net, allowed, "simulated0")
    answer = ask(requests, **{**VIP, **change})
    assert reason in answer["error"]
    assert len(net.addresses()) == 1


@pytest.mark.parametrize("line", [b"secret", b"[]", b'"secret"', b"\xff", b"7", b"null", b"[" * 9999])
def test_what_is_no_request_is_not_repeated(net, line):
    """Such as a password that sudo did not ask for."""
    assert Requests(net, None, None).answer(line) == {"error": "no request"}


@settings(deadline=None)  # the machine is shared
@given(st.binary())
def test_any_line_is_answered(line):
    assert "error" in Requests(Simulated(3), None, None).answer(line)
