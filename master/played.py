"""A worker that is only played: it says on the wire what a worker says, and takes no address."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests
import socketio
import socketio.exceptions

PING_S = 0.5
CONNECT_S = 5


class RefusedError(Exception):
    """The master did not let it in; the text is the master's reason, or why there was no connection."""


@dataclass(frozen=True)
class Heard:
    event: str
    data: Any
    by: int
    """The node that heard it."""


class Played:
    """One node. `heard` grows by every event that comes; it is shared by all that are given the same `ear`."""

    def __init__(
        self,
        url: str,
        token: str | None,
        node: int,
        ip: str,
        neighbors: Sequence[int],
        ear: Ear,
        ca_file: str | None = None,
    ) -> None:
        self.node, self.ip = node, ip
        self.acknowledged = 0
        self.ended = False
        """The master ended the connection."""
        self._url, self._token, self._neighbors, self._ear = url, token, neighbors, ear
        self._reason = ""
        self._silent = threading.Event()
        session = requests.Session()  # for both transports
        session.trust_env = False
        session.verify = ca_file or True
        self._client = socketio.Client(reconnection=False, handle_sigint=False, http_session=session)
        self._client.on("*", self._hear)
        self._client.on("connect_error", self._refuse)
        self._client.on("disconnect", self._end)

    def connect(self) -> None:
        """Raises RefusedError."""
        auth = {"token": self._token, "NODE_ID": self.node} if self._token else None
        for transport in ("websocket", "polling"):  # as a worker does it
            try:
                self._client.connect(self._url, auth=auth, transports=[transport], wait_timeout=CONNECT_S)
                return
            except (socketio.exceptions.ConnectionError, ValueError) as exc:
                if self._reason or transport == "polling":
                    raise RefusedError(self._reason or str(exc)) from exc

    def join(self, held: Mapping[int, str] | None = None) -> None:
        """Join, or join again; from the first time on it pings. `held` are the addresses held, by owner."""
        self.say("join", self.join_data(held or {}))
        if not self._silent.is_set():
            threading.Thread(target=self._ping, name=f"ping {self.node}", daemon=True).start()

    def join_data(self, held: Mapping[int, str]) -> dict[str, Any]:
        newest = list(held.values())[-1:]
        return {
            "system": "conformance",
            "NODE_ID": self.node,
            "neighbors": [str(node) for node in self._neighbors],
            "primary_ip": self.ip,
            "primary_netmask": "255.255.255.0",
            "secondary_ip": newest[0] if newest else None,
            "secondary_netmask": "255.255.255.0" if newest else None,
            "held": {str(owner): ip for owner, ip in held.items()},  # a key that the original does not know
        }

    def say(self, event: str, data: object) -> None:
        """On a connection that the master has ended it says nothing; `ended` tells."""
        with contextlib.suppress(socketio.exceptions.SocketIOError):
            self._client.emit(event, data)

    def fall_silent(self) -> None:
        self._silent.set()

    def close(self) -> None:
        self._silent.set()
        self._client.disconnect()

    def _ping(self) -> None:
        while not self._silent.wait(PING_S) and self._client.connected:
            text = datetime.now().strftime("%Y-%m-%d %H:%M:%S.%f")[:-2]  # noqa: DTZ005 - local time, as workers send it
            try:
                self._client.emit("ping", text, callback=self._count)
            except socketio.exceptions.SocketIOError:
                return

    def _count(self, *_: object) -> None:
        self.acknowledged += 1

    def _hear(self, event: str, *data: Any) -> dict[str, bool]:
        """A master that asks for an acknowledgement gets a worker's."""
        self._ear.add(Heard(event, data[0] if len(data) == 1 else list(data), self.node))
        return {"accepted": True}

    def _refuse(self, data: object = None) -> None:
        self._reason = str(data.get("message") if isinstance(data, dict) else data or "")

    def _end(self, *_: object) -> None:
        self.ended = not self._silent.is_set()


class Ear:
    """What all hear, in the order in which it came."""

    def __init__(self) -> None:
        self._heard: list[Heard] = []
        self._changed = threading.Condition()

    @property
    def now(self) -> int:
        """A mark, for `wait` and `since`."""
        with self._changed:
            return len(self._heard)

    def add(self, heard: Heard) -> None:
        with self._changed:
            self._heard.append(heard)
            self._changed.notify_all()

    def since(self, mark: int, *events: str) -> list[Heard]:
        """What came since then; of these events, or of all where none is named."""
        with self._changed:
            return [heard for heard in self._heard[mark:] if not events or heard.event in events]

    def wait(self, mark: int, event: str, limit_s: float, by: int | None = None) -> Heard | None:
        """The first such event since the mark, heard by that node or by any; None: not within the limit."""

        def found() -> Heard | None:
            came = (heard for heard in self._heard[mark:] if heard.event == event and by in (None, heard.by))
            return next(came, None)

        end_s = time.monotonic() + limit_s
        with self._changed:
            while not (heard := found()) and (left_s := end_s - time.monotonic()) > 0:
                self._changed.wait(left_s)
            return heard
