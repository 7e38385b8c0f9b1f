"""`serve`: the parts put together, under uvicorn, with signals and systemd."""

import asyncio
import contextlib
import functools
import gc
import ipaddress
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine

import socketio
import uvicorn

from master import logs, view
from master.guard import MESSAGE_LIMIT, Guard
from master.intake import Http, WebSocket
from master.listener import Listener
from master.master import Master
from master.routes import Routes
from master.settings import CommandError, Settings
from settings.files import exposed_secret

BACKLOG = 128
SPARE_DESCRIPTORS = 64
"""That are left for logs, Redis and the rest."""
STOP_S = 0.6
"""For connections to end by themselves when the master stops."""
LAST_LINES_S = 1.0
"""For the disk to take the last lines of the log."""
NOTIFY_S = 5.0
COLLECT_S, COLLECTING_S = 5.0, 0.4
"""Seconds between collections of garbage, and for one."""


class Server(uvicorn.Server):
    """uvicorn with a listener of our own, which bounds connections before anything is kept of them."""

    def __init__(
        self,
        config: uvicorn.Config,
        master: Master,
        listener: Listener,
        sock: socket.socket,
        tls: ssl.SSLContext | None,
        reopen_logs: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._master, self._listener, self._sock, self._tls = master, listener, sock, tls
        self._reopen_logs = reopen_logs
        self._tasks: list[asyncio.Task[None]] = []
        self.failed = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        connection = functools.partial(
            Http, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        self._tasks = [
            asyncio.create_task(self._until_stopped(self._master.run())),
            asyncio.create_task(self._until_stopped(self._listener.serve(self._sock, connection, self._tls))),
            asyncio.create_task(self._notify()),
            asyncio.create_task(self._collect()),
        ]
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reopen_logs)
        host, port = self._sock.getsockname()[:2]
        scheme = "https" if self._tls else "http"
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        logs.info("listening", url=url)
        print(f"listening on {url}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._master.stop()  # before the connections end: that is no death
        notify("STOPPING=1")
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._tasks[0]), STOP_S / 2)
        for task in self._tasks:
            task.cancel()
        await self._master.sessions.end_polling()
        self._sock.close()
        self._listener.end_pending()
        await super().shutdown(sockets=[])

    async def _until_stopped(self, work: Coroutine[None, None, None]) -> None:
        """What must not end by itself; a fault ends the master, so that a supervisor starts it anew."""
        try:
            await work
        except Exception as exc:  # noqa: BLE001 - the top of the task
            logs.fault(exc, logging.CRITICAL)
            self.should_exit = True
            self.failed = True

    async def _collect(self) -> None:
        """Have garbage collected when nothing is due: with a thousand connections it takes 0.2 s."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(2000, 20, 1_000_000)  # none of all generations by itself
        while True:
            await asyncio.sleep(COLLECT_S)
            for _ in range(30):
                if self._master.is_idle_for(COLLECTING_S):
                    break
                await asyncio.sleep(0.1)
            gc.collect()

    async def _notify(self) -> None:
        """Tell systemd how the cluster is, and that this loop runs."""
        notify("READY=1")
        while True:
            lost = "; Redis is out of reach, nothing is decided" if self._master.is_lost else ""
            notify(f"WATCHDOG=1\nSTATUS={view.sentence(self._master.cluster)}{lost}")
            await asyncio.sleep(NOTIFY_S)


def notify(state: str) -> None:
    """sd_notify(3); does nothing without systemd."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), f"\0{path[1:]}" if path.startswith("@") else path)


def serve(settings: Settings) -> int:
    """Until SIGTERM or SIGINT. Raises CommandError."""
    try:
        log = logs.set_up(settings.log_level, settings.log_dir)
    except OSError as exc:
        raise CommandError(f"--log-dir: {exc}") from None
    try:
        return _serve(settings, log.reopen)
    finally:
        log.writer.close(LAST_LINES_S)


def _serve(settings: Settings, reopen_logs: Callable[[], None]) -> int:
    """Raises CommandError."""
    tls = _tls(settings)
    sock = _listen(settings.host, settings.port)
    host = sock.getsockname()[0]
    listener = Listener(_connection_limit(settings.max_connections))
    master = Master(settings, listener)
    logs.info("started", pid=os.getpid(), dead_after_s=settings.dead_after, nodes=len(settings.nodes))
    if not settings.tokens.entries and not ipaddress.ip_address(host).is_loopback:
        hint = "everybody who reaches it can join and give orders; set MASTER_TOKEN or --token-file"
        logs.warning("no_token", host=host, reason=hint)
    if settings.token_file and settings.token_file.file:
        account = os.geteuid() if os.name == "posix" else -1
        for hint in exposed_secret(settings.token_file.file, "the token file", account):
            logs.warning("token_file_readable", reason=hint)
    app = socketio.ASGIApp(master.sio, Routes(master, settings.tokens).app)
    guard = Guard(app, listener, master.sessions, settings.allowed_hosts)
    config = uvicorn.Config(
        guard,
        http=Http,
        ws=WebSocket,
        ws_max_size=MESSAGE_LIMIT,
        ws_per_message_deflate=False,  # a small message may grow without bound
        ws_ping_interval=None,  # Engine.IO has pings of its own
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=STOP_S,  # type: ignore[arg-type]
        h11_max_incomplete_event_size=16 * 1024,
    )
    server = Server(config, master, listener, sock, tls, reopen_logs)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # uvicorn raises it again when it has stopped
    for name in ("SIGHUP", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):  # what the worker knows must not end the master
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    asyncio.run(server.serve())
    logs.info("stopped")
    return 70 if server.failed else 0


def _listen(host: str, port: int) -> socket.socket:
    """Raises CommandError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as exc:
        text = f"cannot listen on {host} port {port}: {exc.strerror or exc}; choose another --port or --host"
        raise CommandError(text) from None
    sock.setblocking(False)
    return sock


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """Raises CommandError."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
    except (OSError, ssl.SSLError) as exc:
        raise CommandError(f"--tls-cert and --tls-key: {exc}") from None
    return context


def _connection_limit(wanted: int) -> int:
    """As many as there can be descriptors for; the soft limit is raised as far as it may be."""
    if sys.platform == "win32":
        return min(wanted, 400)
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        wider = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wider, hard))
            soft = wider
    return wanted if soft == resource.RLIM_INFINITY else max(16, min(wanted, soft - SPARE_DESCRIPTORS))
