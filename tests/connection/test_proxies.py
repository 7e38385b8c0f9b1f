"""A worker that reaches its master through an HTTP proxy of its environment."""

from __future__ import annotations

import base64

import pytest
import trustme

from connection.dial import Dialer, Target
from connection.errors import Failure
from connection.polling import PollingSession
from connection.resolve import Resolver
from tests.lab.masters import Master, Raw, silent
from tests.lab.proxy import Proxy
from tests.lab.waiting import until

RESTORE = {"restore_node": 2}


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_a_websocket_goes_through_a_tunnel(work, serve, variable):
    master = serve(Master())
    proxy = serve(Proxy(master.port))
    worker = work("http://master.invalid:5000", **{variable: proxy.url.replace("//", "//me:p%40ss@")})
    assert worker.wait("connected").fields["transport"] == "websocket"
    assert master.order("restore", RESTORE) == [{"accepted": True}]
    (head,) = proxy.heads
    assert head.startswith("CONNECT master.invalid:5000 HTTP/1.1\r\nHost: master.invalid:5000\r\n")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'me:p@ss').decode()}\r\n" in head
    assert "p@ss" not in worker.comms.path.read_text() + worker.said


def test_tls_goes_through_a_tunnel(work, serve, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = tmp_path / "own.pem"
    authority.issue_cert("master.invalid").private_key_and_cert_chain_pem.write_to_path(own)
    master = serve(Master(tls=(str(own),)))
    proxy = serve(Proxy(master.port))
    worker = work("https://master.invalid:5000", https_proxy=proxy.url, MASTER_CA_FILE=tmp_path / "ca.pem")
    assert worker.wait("connected").fields["transport"] == "websocket"
    assert master.order("restore", RESTORE) == [{"accepted": True}]


def test_a_proxy_that_allows_no_tunnel_is_good_for_polling(work, serve):
    master = serve(Master())
    proxy = serve(Proxy(master.port, allows=False))
    worker = work("http://master.invalid:5000", http_proxy=proxy.url)
    assert worker.wait("connected").fields["transport"] == "polling"
    assert master.order("restore", RESTORE) == [{"accepted": True}]


@pytest.mark.parametrize("how", ["closes", "drips"])
def test_a_proxy_that_swallows_or_cuts_a_tunnel_is_good_for_polling(work, serve, how):
    proxy = serve(Proxy(serve(Master()).port, **{how: True}))
    worker = work("http://master.invalid:5000", http_proxy=proxy.url)
    assert worker.wait("connected").fields["transport"] == "polling"
    (failed,) = worker.all("connect_failed")  # the first time it may be an accident
    assert proxy.url in failed.fields["error"]


def test_a_poll_that_is_not_answered_is_not_the_proxy_s_fault(serve, monkeypatch):
    monkeypatch.setenv("http_proxy", serve(Raw(silent)).url)
    dialer = Dialer(Target("http://master.invalid:5000", None, None), Resolver())
    polling = PollingSession(dialer, lambda: None, lambda _: None)
    with pytest.raises(Failure) as raised:
        polling.request("GET", f"{dialer.url}/socket.io/?sid=x", timeout=0.1)
    assert (str(raised.value), raised.value.cause) == (f"no answer from {dialer.url}", "no_answer")
    dialer.close()


def test_without_a_tunnel_there_is_no_way_by_tls(work, serve):
    proxy = serve(Proxy(1, allows=False))
    worker = work("https://master.invalid:5000", https_proxy=proxy.url)
    failed = worker.wait("connect_failed")
    assert failed.level == "ERROR"
    assert failed.fields["error"].startswith(
        f"the proxy {proxy.url} did not let through to https://master.invalid:5000: it says 'HTTP/1.1 403"
    )


def test_a_connection_by_polling_that_is_dropped_ends(work, serve):
    """Its requests go through sockets of the proxy's pool, which wake as others do."""
    master = serve(Master(transports=["polling"], ping_interval=1, ping_timeout=1))
    proxy = serve(Proxy(master.port))
    worker = work("http://master.invalid:5000", http_proxy=proxy.url, PING_TIMEOUT=0.3, PING_MAX_MISSED=1)
    worker.wait("ping", log="pings")
    threads = worker.status("Threads")
    for _ in range(3):
        before = len(worker.all("connected"))
        master.slow(1.5)
        worker.wait("disconnected", since=len(worker.comms.read()))
        master.slow(0)
        until(lambda: len(worker.all("connected")) > before, 10)
    until(lambda: len(master.sids) == 1, 10, lambda: master.sids)
    until(lambda: worker.status("Threads") <= threads, 5)


def test_a_proxy_that_drips_holds_nobody(work, serve):
    proxy = serve(Proxy(1, drips=True))
    worker = work("http://master.invalid:5000", http_proxy=proxy.url)
    worker.wait("connect_failed", 2, limit_s=20)
    until(lambda: proxy.dripping <= 1, 10)


def test_a_further_request_s_tunnel_is_not_waited_for_forever(work, serve, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = tmp_path / "own.pem"
    authority.issue_cert("master.invalid").private_key_and_cert_chain_pem.write_to_path(own)
    proxy = serve(Proxy(serve(Master(transports=["polling"], tls=(str(own),))).port))
    worker = work("https://master.invalid:5000", https_proxy=proxy.url, MASTER_CA_FILE=tmp_path / "ca.pem",
                  PING_TIMEOUT=60)  # fmt: skip
    worker.wait("ping", log="pings")
    proxy.drips = True
    lost = worker.wait("disconnected")
    assert (
        lost.fields["reason"]
        == f"the proxy {proxy.url}, on the way to https://master.invalid:5000: no answer"
    )


@pytest.mark.parametrize("scheme", ["https", "socks5"])
@pytest.mark.parametrize("master", ["http", "https"])
def test_another_kind_of_proxy_is_named(work, master, scheme):
    worker = work(f"{master}://master.invalid:5000", ALL_PROXY=f"{scheme}://127.0.0.1:1")
    error = worker.wait("connect_failed").fields["error"]
    assert f"it is a {scheme} one, and only http ones are known here" in error
