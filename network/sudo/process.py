"""The privileged helper as its parent sees it: started by sudo, asked over its standard input, heard on its output."""

import contextlib
import json
import os
import queue
import subprocess
import threading
from collections.abc import Callable
from typing import IO, Any, cast

from network.base import NetworkError, NetworkEvent
from network.sudo.protocol import decode

PROMPT = "[failover worker: password for sudo]\n"
"""It ends its line, so that lines are all there is to read; on that line a lecture, a bell or sudo-rs may come before it."""
_REQUEST_S = 2.0
"""Seconds within which the helper has to answer a request."""
_KEPT = 300
"""Characters kept of what sudo says."""
_REMEDY = "set PASSWORD_FILE (or PASSWORD), or let sudo run without a password for this user"


class PasswordError(NetworkError):
    """sudo refused the password. It is not given again, so that the account is not locked."""


class HelperProcess:
    """The running helper, read by a thread. Raises NetworkError where it is not ready within `limit_s`."""

    def __init__(
        self, argv: list[str], password: str | None, post: Callable[[NetworkEvent], None], limit_s: float
    ) -> None:
        self._post = post
        self._password = password
        self._prompts = 0
        self._said = ""
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        try:
            # In a session of its own: Ctrl-C is for the worker to answer. sudo makes its command's environment
            # itself; this one is sudo's, and holds no secret.
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                start_new_session=True,
                encoding="utf-8",
                errors="surrogateescape",
            )
        except OSError as exc:
            raise NetworkError(f"sudo could not be started: {exc.strerror}") from exc
        self._input = cast("IO[str]", self._process.stdin)
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
        """The answer's value. Raises NetworkError with the reason; a helper that does not answer in 2 s is ended."""
        self._write(json.dumps({"do": do, **what}))
        answer = self._next(_REQUEST_S)
        if not answer:
            self.close()
            raise NetworkError("the sudo helper " + ("did not answer" if answer is None else "ended"))
        if "error" in answer:
            raise NetworkError(answer["error"])
        return answer.get("value")

    def close(self) -> None:
        """Its input ends, so it ends; being root's, it could not be killed."""
        self._end_input()
        self._thread.join(1.0)

    def _end_input(self) -> None:
        with contextlib.suppress(OSError):
            self._input.close()

    def _failure(self, ready: dict[str, Any] | None, limit_s: float) -> NetworkError:
        if ready:
            return NetworkError(f"the sudo helper could not open the network: {ready.get('error')}")
        # asked for again, or, where sudo asks only once, `sudo: 1 incorrect password attempt`, as sudo-rs's words are
        if self._prompts > 1 or (self._prompts and "incorrect" in self._said):
            return PasswordError(f"sudo refused the password, which is not tried again: {_REMEDY}")
        if ready is None:
            return NetworkError(f"sudo did not start the helper within {limit_s:.0f} s")
        said = " ".join(self._said.split())
        return NetworkError(f"sudo did not start the helper ({said or 'without a message'}): {_REMEDY}")

    def _write(self, line: str) -> None:
        try:
            self._input.write(line + "\n")
            self._input.flush()
        except (OSError, ValueError) as exc:  # ValueError: it is closed
            raise NetworkError("the sudo helper ended") from exc

    def _next(self, limit_s: float) -> dict[str, Any] | None:
        """The next answer; None: not within the limit; empty: the helper has ended."""
        try:
            return self._answers.get(timeout=max(limit_s, 0))
        except queue.Empty:
            return None

    def _read(self) -> None:
        with cast("IO[str]", self._process.stdout) as output:
            for line in output:
                if line.endswith(PROMPT):
                    self._on_prompt()
                else:
                    self._on_line(line)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._answers.put({})

    def _on_prompt(self) -> None:
        self._prompts += 1
        if self._prompts == 1 and self._password is not None:
            with contextlib.suppress(NetworkError):  # that it ended is seen where it is read
                self._write(self._password)
        else:
            self._end_input()

    def _on_line(self, line: str) -> None:
        try:
            data = json.loads(line)
            if not isinstance(data, dict):
                raise TypeError("no object")
            if "kind" not in data:
                self._answers.put(data)
                return
            event = decode(data)
        except (ValueError, KeyError, TypeError, RecursionError):  # not the helper's: a message of sudo's own
            self._said = (self._said + line)[-_KEPT:]
            return
        self._post(event)
