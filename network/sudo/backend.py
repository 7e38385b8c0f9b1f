"""Addresses and ARP through a privileged helper that sudo starts once: the `sudo` backend.

Reading needs no privilege and is done here. The rest is asked of network/sudo/helper.py over its standard input
and output, so that no order waits for sudo, and a wrong password shows at start.
"""

import contextlib
import json
import os
import queue
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import IO, Any

from network.base import Address, LastSeen, Network, NetworkError, NetworkEvent, Vip
from network.sudo.protocol import decode, decode_event

_PROMPT = "[failover worker: password for sudo]"
_START_S = 10.0  # PAM lets a wrong password wait 2 s
_RESTART_S = 2.0
_REQUEST_S = 2.0
_PAUSE_S = 10.0
_KEPT = 2000
_REMEDY = "set PASSWORD_FILE (or PASSWORD), or let sudo run without a password for this user"


class PasswordError(NetworkError):
    """sudo asked for the password a second time; it is not given again, lest the account be locked."""


class _Helper:
    """The running helper. Its one thread reads what comes from it: events are posted, answers passed on.

    Raises NetworkError where it does not say within `limit_s` that it is ready.
    """

    def __init__(
        self, argv: list[str], password: str | None, post: Callable[[NetworkEvent], None], limit_s: float
    ) -> None:
        self._post = post
        self._password = password
        self._prompts = 0
        self._errors = ""
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._last_id = 0
        try:
            # In a session of its own: Ctrl-C is for the worker to answer. sudo makes its command's environment
            # itself; this one is sudo's, and holds no secret.
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                start_new_session=True,
                bufsize=0,
            )
        except OSError as exc:
            raise NetworkError(f"sudo could not be started: {exc.strerror}") from exc
        self._thread = threading.Thread(target=self._read, name="network-helper", daemon=True)
        self._thread.start()
        ready = self._next(limit_s)
        self._password = None
        if not (ready and ready.get("ready")):
            self.close()
            raise self._failure(ready, limit_s)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def ask(self, do: str, what: dict[str, object]) -> Any:
        """The answer's value. Raises NetworkError with the helper's reason; one that does not answer within
        2 s is ended.
        """
        self._last_id += 1
        self._write(json.dumps({"id": self._last_id, "do": do, **what}).encode())
        until_s = time.monotonic() + _REQUEST_S
        while True:
            answer = self._next(until_s - time.monotonic())
            if not answer:
                self.close()
                raise NetworkError("the sudo helper " + ("did not answer" if answer is None else "ended"))
            if answer.get("id") == self._last_id:
                if "error" in answer:
                    raise NetworkError(answer["error"])
                return answer.get("value")

    def close(self) -> None:
        """Its input ends, so it ends; being root's, it could not be killed."""
        self._end_input()
        self._thread.join(1.0)

    def _end_input(self) -> None:
        with contextlib.suppress(OSError):
            _pipe(self._process.stdin).close()

    def _failure(self, ready: dict[str, Any] | None, limit_s: float) -> NetworkError:
        if ready:
            return NetworkError(f"the sudo helper could not open the network: {ready.get('error')}")
        if self._prompts > 1:
            return PasswordError(f"sudo refused the password, which is not tried again: {_REMEDY}")
        if ready is None:
            return NetworkError(f"sudo did not start the helper within {limit_s:.0f} s")
        said = " ".join(self._errors.replace(_PROMPT, " ").split())[-300:]
        return NetworkError(f"sudo did not start the helper ({said or 'without a word'}): {_REMEDY}")

    def _write(self, line: bytes) -> None:
        try:
            _pipe(self._process.stdin).write(line + b"\n")
        except (OSError, ValueError) as exc:  # ValueError: it is closed
            raise NetworkError("the sudo helper ended") from exc

    def _next(self, limit_s: float) -> dict[str, Any] | None:
        """The next answer; None: not within the limit; empty: the helper has ended."""
        try:
            return self._answers.get(timeout=max(limit_s, 0))
        except queue.Empty:
            return None

    def _read(self) -> None:
        out, err = _pipe(self._process.stdout), _pipe(self._process.stderr)
        unfinished = b""
        with out, err, selectors.DefaultSelector() as selector:
            for pipe in (out, err):
                selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is err:
                        self._sudo_says(data.decode(errors="replace"))
                    else:
                        *lines, unfinished = (unfinished + data).split(b"\n")
                        for line in lines:
                            self._helper_says(line)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._answers.put({})

    def _sudo_says(self, text: str) -> None:
        self._errors = (self._errors + text)[-_KEPT:]
        while self._prompts < self._errors.count(_PROMPT):
            self._prompts += 1
            if self._prompts == 1 and self._password is not None:
                with contextlib.suppress(NetworkError):  # that it ended is seen where it is read
                    self._write(os.fsencode(self._password))
            else:
                self._end_input()

    def _helper_says(self, line: bytes) -> None:
        try:
            data = json.loads(line)
            if "event" not in data:
                self._answers.put(data)
                return
            event = decode_event(data)
        except (ValueError, KeyError, TypeError):  # not the helper's: a message of sudo's own
            return
        self._post(event)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("no pipe")
    return pipe


class Sudo:
    """`local` reads, and names the backend that the helper opens; it is never started. `allowed` None: the
    subnets of the machine's own addresses. `password` None: sudo must not ask for one. `why` is the reason for which
    this process does not do it by itself, None: it was not asked to.
    """

    backend = "sudo"

    def __init__(
        self,
        local: Network,
        node_id: int,
        interface: str | None,
        lease_s: int,
        *,
        password: str | None,
        allowed: tuple[IPv4Network, ...] | None,
        journal_dir: Path | None,
        why: str | None = None,
    ) -> None:
        self._local = local
        self._password = password
        self._why = why
        self._argv = [
            "sudo",
            *(("-n",) if password is None else ("-S", "-k", "-p", _PROMPT)),
            "--",
            sys.executable,
            "-I",
            "-B",
            str(Path(__file__).resolve().with_name("helper.py")),
            f"--backend={local.backend}",
            f"--node={node_id}",
            f"--lease={lease_s}",
            *(() if interface is None else (f"--interface={interface}",)),
            *(() if journal_dir is None else (f"--journal-dir={journal_dir.resolve()}",)),
            *(() if allowed is None else (f"--allowed={','.join(map(str, allowed))}",)),
        ]
        self._post: Callable[[NetworkEvent], None] | None = None
        self._helper: _Helper | None = None
        self._refused: str | None = None
        self._reason = "the network was not opened"
        self._opened_s = 0.0
        self._ips: frozenset[IPv4Address] = frozenset()
        self._filtered: frozenset[tuple[str, IPv4Address, str]] = frozenset()

    def start(self, post: Callable[[NetworkEvent], None]) -> None:
        self._post = post
        self._open(post, _START_S)

    def _open(self, post: Callable[[NetworkEvent], None], limit_s: float) -> _Helper:
        self._opened_s = time.monotonic()
        try:
            self._helper = _Helper(self._argv, self._password, post, limit_s)
        except NetworkError as exc:
            self._reason = f"{self._why}, and {exc}" if self._why else str(exc)
            if isinstance(exc, PasswordError):
                self._refused = self._reason
            raise NetworkError(self._reason) from exc
        self._reason = "the sudo helper ended"
        return self._helper

    def close(self) -> None:
        self._post = None
        if self._helper is not None:
            self._helper.close()
        self._local.close()

    def addresses(self, interface: str | None = None) -> tuple[Address, ...]:
        return self._local.addresses(interface)

    def resolve(self, interface: str) -> str:
        return self._local.resolve(interface)

    def has_carrier(self, interface: str) -> bool:
        return self._local.has_carrier(interface)

    def interface_for(self, ip: IPv4Address) -> str:
        return self._local.interface_for(ip)

    def default_interface(self) -> str | None:
        return self._local.default_interface()

    def gateways(self) -> frozenset[IPv4Address]:
        return self._local.gateways()

    def mac(self, interface: str) -> str:
        return self._local.mac(interface)

    def watch(self, ips: frozenset[IPv4Address]) -> None:
        self._ips = ips
        if self._helper is not None and self._helper.alive:
            with contextlib.suppress(NetworkError):  # the next helper is told, and until then probes fail
                self._helper.ask("watch", {"ips": sorted(map(str, ips))})

    def probe(self, interface: str, ip: IPv4Address, sender: IPv4Address | None = None) -> None:
        self._ask("probe", interface=interface, ip=str(ip), sender=str(sender) if sender else None)

    def announce(self, interface: str, ip: IPv4Address) -> None:
        self._ask("announce", interface=interface, ip=str(ip))

    def hold(self, vip: Vip) -> None:
        self._ask("hold", owner=vip.owner, interface=vip.interface, ip=str(vip.ip))

    def renew(self, vip: Vip) -> None:
        self._ask("renew", owner=vip.owner, interface=vip.interface, ip=str(vip.ip))

    def release(self, vip: Vip) -> None:
        self._ask("release", owner=vip.owner, interface=vip.interface, ip=str(vip.ip))

    def last_seen(self, interface: str, ip: IPv4Address) -> LastSeen:
        try:
            return decode(LastSeen, self._ask("last_seen", interface=interface, ip=str(ip)))
        except (NetworkError, TypeError, ValueError):
            return LastSeen()

    def filter_probes(self, probes: frozenset[tuple[str, IPv4Address, str]]) -> None:
        self._filtered = probes
        if self._helper is not None and self._helper.alive:
            wanted = [{"interface": interface, "ip": str(ip), "mac": mac} for interface, ip, mac in probes]
            with contextlib.suppress(NetworkError):  # the next helper sets it anew
                self._helper.ask("filter_probes", {"probes": wanted})

    def _ask(self, do: str, **what: object) -> Any:
        helper = self._helper
        if helper is None or not helper.alive:
            helper = self._open_again()
        return helper.ask(do, what)

    def _open_again(self) -> _Helper:
        """A helper that was killed, or that sudo could not start, gets another chance every 10 s."""
        if self._refused is not None:
            raise NetworkError(self._refused)
        if self._post is None or time.monotonic() < self._opened_s + _PAUSE_S:
            raise NetworkError(self._reason)
        helper = self._open(self._post, _RESTART_S)
        self.watch(self._ips)
        self.filter_probes(self._filtered)
        return helper
