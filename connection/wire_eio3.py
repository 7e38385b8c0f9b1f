"""python-socketio 4 and python-engineio 3 made to look like 5 and 4, for masters that speak Engine.IO v3.

There a poll lets a node in: beginning with a websocket in vain would let it in twice. And it is the node that pings.
"""

from __future__ import annotations

from typing import Any

import engineio
import socketio
import websocket


class Engine(engineio.Client):  # type: ignore[misc]
    def __init__(self, *, handle_sigint: bool, websocket_extra_options: Any, **options: Any) -> None:
        super().__init__(ssl_verify=options["http_session"].verify, **options)
        self._options = websocket_extra_options  # and "opened": what the first poll brought
        self.queue = self.create_queue()

    def _connect_polling(self, url: str, headers: object, engineio_path: str) -> None:
        opened, *others = engineio.payload.Payload(encoded_payload=self._options.pop("opened")).packets
        said, self.sid = opened.data, opened.data["sid"]
        self.ping_interval, self.ping_timeout = said["pingInterval"] / 1000, said["pingTimeout"] / 1000
        self.base_url = f"{self._get_engineio_url(url, engineio_path, 'polling')}&sid={self.sid}"
        self.current_transport, self.state = "polling", "connected"
        self._trigger_event("connect")
        if "websocket" in said["upgrades"]:
            self._upgrade(self.base_url.replace("http", "ws", 1).replace("=polling", "=websocket"))
        self.write_loop_task = self.start_background_task(self._write_loop)
        self.ping_loop_task = self.start_background_task(self._ping_loop)
        for packet in others:
            self._receive_packet(packet)
        loop = self._read_loop_websocket if self.ws else self._read_loop_polling
        self.read_loop_task = self.start_background_task(loop)

    def _upgrade(self, url: str) -> None:
        cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.http.cookies)
        try:
            ws = websocket.create_connection(url, enable_multithread=True, cookie=cookie, **self._options)
            ws.send("2probe")
            if ws.recv() == "3probe":
                ws.send("5")
                ws.settimeout(self.ping_interval + self.ping_timeout)
                self.ws, self.current_transport = ws, "websocket"
                self.http.close()
        except (OSError, websocket.WebSocketException) as exc:
            self.logger.info("it stays with polling: %s", exc)

    def _ping_loop(self) -> None:
        while self.write_loop_task.is_alive():
            self._send_packet(engineio.packet.Packet(engineio.packet.PING))
            self.write_loop_task.join(max(0.5, self.ping_interval))


class Client(socketio.Client):  # type: ignore[misc]
    def connect(self, url: str, *, auth: object, wait: bool, **options: Any) -> None:
        super().connect(url, **options)
