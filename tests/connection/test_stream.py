"""Sockets of which two threads make use."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import selectors
import socket
import ssl
import threading
import time

import pytest
import trustme

from connection.dial import Dialer, Target
from connection.resolve import Resolver
from connection.stream import Stream, wait_ready
from connection.tls import client_context
from tests.lab.waiting import PATIENCE_S

CONNECTIONS = 8
MESSAGES = 20_000
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


def stream(sock):
    """A Stream after the websocket's handshake, which the other side must have answered."""
    ends_s = time.monotonic() + PATIENCE_S
    dialer = Dialer(Target("https://localhost", None, None), Resolver())
    made = Stream(sock, dialer, ends_s, lambda: None, None, lambda failure: None)
    read = b""
    while len(read) < len(SWITCHED):
        read += made.recv(len(SWITCHED) - len(read))
    assert read == SWITCHED
    made.settimeout(PATIENCE_S)
    return made


@pytest.fixture
def tls_pair(tmp_path):
    """A client's socket and its server's, after the handshake; the server's is read and written by this thread."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    near, far = socket.socketpair()
    near.settimeout(5)
    accepted = []
    thread = threading.Thread(target=lambda: accepted.append(context.wrap_socket(far, server_side=True)))
    thread.start()
    trust = client_context(tmp_path / "ca.pem")
    secured = trust.wrap_socket(near, server_hostname="localhost")
    thread.join()
    with accepted[0] as server:
        server.sendall(SWITCHED)
        client = stream(secured)
        client.settimeout(5)
        yield client, server
        client.close()


def _chatter(port, certificate, messages):
    """In a process of its own: to the one who connects, so many messages, and whatever it says again."""

    async def meet(reader, writer):
        async def talk():
            for number in range(messages):
                writer.write(b"n" * 20)
                if number % 10 == 0:
                    await asyncio.sleep(0)

        writer.write(SWITCHED)
        talking = asyncio.create_task(talk())
        while data := await reader.read(4096):
            writer.write(data)
        await talking
        writer.close()

    async def serve():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server = await asyncio.start_server(meet, "127.0.0.1", 0, ssl=context)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


def _chat(address, trust):
    trouble = []
    plain = socket.create_connection(address, timeout=10)
    sock = stream(trust.wrap_socket(plain, server_hostname="localhost"))
    with contextlib.closing(sock):

        def write():
            try:
                for _ in range(MESSAGES):
                    rest = b"w" * 20
                    while rest:
                        rest = rest[sock.send(rest) :]
            except OSError as exc:
                trouble.append(exc)

        writer = threading.Thread(target=write)
        writer.start()
        read = 0
        while read < 2 * MESSAGES * 20:
            data = sock.recv(65536)
            assert data, f"it ended after {read} bytes"
            read += len(data)
        writer.join()
    assert not trouble


def test_a_tls_connection_bears_a_reader_and_a_writer(tmp_path):
    """What OpenSSL reports to the one is not taken for what it reported to the other, which ended it within a second or two."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = authority.issue_cert("localhost")
    own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    context = multiprocessing.get_context("forkserver")
    port = context.SimpleQueue()
    peer = context.Process(target=_chatter, args=(port, tmp_path / "own.pem", MESSAGES), daemon=True)
    peer.start()
    try:
        address = ("127.0.0.1", port.get())
        for _ in range(CONNECTIONS):  # it ended soon or not at all
            _chat(address, client_context(tmp_path / "ca.pem"))
    finally:
        peer.kill()
        peer.join()


def test_a_tls_socket_waits_for_as_long_as_it_was_told(tls_pair):
    client, server = tls_pair
    assert client.gettimeout() == 5
    client.settimeout(0.05)
    with pytest.raises(socket.timeout):
        client.recv(10)
    server.sendall(b"there")
    assert client.recv(10) == b"there"
    with pytest.raises(socket.timeout):  # nobody reads
        while True:
            client.send(b"x" * 65536)


def test_a_tls_socket_without_a_limit_waits(tls_pair):
    client, server = tls_pair
    client.settimeout(None)
    threading.Timer(0.1, server.sendall, [b"late"]).start()
    assert client.recv(10) == b"late"


def test_a_writer_does_not_wait_for_a_reader(tls_pair):
    client, server = tls_pair
    read = []
    reader = threading.Thread(target=lambda: read.append(client.recv(10)))
    reader.start()
    assert client.send(b"first") == 5
    assert server.recv(10) == b"first"
    assert reader.is_alive()
    server.sendall(b"then")
    reader.join(5)
    assert read == [b"then"]


def test_who_shuts_a_socket_down_wakes_its_reader(tls_pair):
    client, _server = tls_pair
    read = []
    reader = threading.Thread(target=lambda: read.append(client.recv(10)))
    reader.start()
    client.shutdown(socket.SHUT_RDWR)
    reader.join(PATIENCE_S)
    assert read == [b""]


@pytest.mark.parametrize(
    ("exc", "said"),
    [
        (TimeoutError(110, "Connection timed out"), "nothing from the master"),  # the kernel's own limit
        (ValueError("bad"), "the master sent what is no websocket's frame: bad"),
        (
            AttributeError("gone"),
            "a fault of this worker or of a library it uses, on the way to https://localhost",
        ),
    ],
)
def test_why_no_message_came(tls_pair, exc, said):
    client, _ = tls_pair
    client.settimeout(0)
    assert str(client.failed(exc)).startswith(said)


@pytest.mark.parametrize("poll", [True, False])
def test_wait_ready(monkeypatch, poll):
    """Both ways to ask: not every system has the better one."""
    if not poll:
        monkeypatch.delattr(selectors, "PollSelector")
    near, far = socket.socketpair()
    with far:
        with near:
            assert not wait_ready(near, write=False, limit_s=0)
            assert not wait_ready(near, write=False, limit_s=0.01)
            assert wait_ready(near, write=True, limit_s=0)
            far.sendall(b"x")
            assert wait_ready(near, write=False, limit_s=1e9)
            near.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    near.send(b"x" * 65536)
            assert not wait_ready(near, write=True, limit_s=0)
        with pytest.raises(OSError, match="closed"):
            wait_ready(near, write=True, limit_s=0)
