"""The privileged helper as its parent sees it: started by sudo, asked over its standard input, heard on its output."""

import contextlib
import json
import os
import queue
import selectors
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO, Any

from network.base import NetworkError, NetworkEvent
from network.sudo.protocol import decode_event

PROMPT = "[failover worker: password for sudo]"
_REQUEST_S = 2.0
"""Seconds within which the helper has to answer a request."""
_KEPT = 2000
"""Characters kept of what sudo writes to standard error."""
_REMEDY = "set PASSWORD_FILE (or PASSWORD), or let sudo run without a password for this user"


class PasswordError(NetworkError):
    """sudo asked for the password a second time. It is not given again, so that the account is not locked."""


class HelperProcess:
    """The running helper. Its one thread reads what comes from it: events are posted, answers are passed on.

    Raises NetworkError where the helper does not report within `limit_s` that it is ready.
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
        said = " ".join(self._errors.replace(PROMPT, " ").split())[-300:]
        return NetworkError(f"sudo did not start the helper ({said or 'without a message'}): {_REMEDY}")

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
                        self._on_stderr(data.decode(errors="replace"))
                    else:
                        *lines, unfinished = (unfinished + data).split(b"\n")
                        for line in lines:
                            self._on_line(line)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._answers.put({})

    def _on_stderr(self, text: str) -> None:
        self._errors = (self._errors + text)[-_KEPT:]
        while self._prompts < self._errors.count(PROMPT):
            self._prompts += 1
            if self._prompts == 1 and self._password is not None:
                with contextlib.suppress(NetworkError):  # that it ended is seen where it is read
                    self._write(os.fsencode(self._password))
            else:
                self._end_input()

    def _on_line(self, line: bytes) -> None:
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
