"""Sockets of which two threads make use."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import select
import socket
import ssl
import threading

import pytest
import trustme
from connection.sockets import ready, verifying

CONNECTIONS = 8
MESSAGES = 20_000


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
    trust = verifying(tmp_path / "ca.pem")
    with trust.wrap_socket(near, server_hostname="localhost") as client:
        thread.join()
        with accepted[0] as server:
            yield client, server


def _chatter(port, certificate, messages):
    """In a process of its own: to the one who connects, so many messages, and whatever it says again."""

    async def meet(reader, writer):
        async def talk():
            for number in range(messages):
                writer.write(b"n" * 20)
                if number % 10 == 0:
                    await asyncio.sleep(0)

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
    with trust.wrap_socket(plain, server_hostname="localhost") as sock:

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
    """What OpenSSL tells the one is not taken for what it told the other, which ended it within a second or two."""
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
            _chat(address, verifying(tmp_path / "ca.pem"))
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
    socket.socket.shutdown(client, socket.SHUT_RDWR)
    reader.join(5)
    assert read == [b""]


@pytest.mark.parametrize("poll", [True, False])
def test_ready(monkeypatch, poll):
    """Both ways to ask: not every system has the better one."""
    if not poll:
        monkeypatch.delattr(select, "poll")
    near, far = socket.socketpair()
    with far:
        with near:
            assert not ready(near, write=False)
            assert not ready(near, write=False, timeout_s=0.01)
            assert ready(near, write=True)
            far.sendall(b"x")
            assert ready(near, write=False, timeout_s=math.inf)
            near.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    near.send(b"x" * 65536)
            assert not ready(near, write=True)
        with pytest.raises(OSError, match="closed"):
            ready(near, write=True)
