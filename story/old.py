"""Lines of the scripts of 2020, which this worker replaces: sentences, read as far as their words go.

    [2020-05-17 12:34:56,789] [client] [INFO] - connected to the server
    [2020-05-17 12:34:56,789] - [socketio.client] - [INFO] - Engine.IO connection dropped

Their client library's own lines are among them, and what stood in them depended on who set the script up: a
line whose words say nothing that is known here tells at least that its process ran.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timezone
from typing import Any, Optional

from .items import Clock, Item, Line, Ping
from .moments import at_second

_LINE = re.compile(
    rb"\[(\d{4}-\d\d-\d\d \d\d:\d\d):([0-5]\d),(\d{3})\] (?:- )?\[[^\[\]\x00-\x1f]{0,80}\] (?:- )?"
    rb"\[[A-Z]{2,10}\] - ([^\x00-\x08\x0a-\x1f]*)\r?"
)
_LONGEST_DATA = 4096
_CONSTANTS = {"None": "null", "True": "true", "False": "false"}
_ABOUT_PING = re.compile(r"\b(?:ping|pong|rtt|latency|round[- ]?trip)", re.IGNORECASE)
_MILLISECONDS = re.compile(
    r"(\d{1,7}(?:\.\d{1,6})?) ?(ms|milliseconds|s|sec|seconds)\b", re.IGNORECASE | re.ASCII
)
_MISSED = re.compile(
    r"miss|time[d-]? ?out|lost|no (?:answer|pong|response)|not (?:been )?(?:answered|received)|fail",
    re.IGNORECASE,
)
_PONG = re.compile(r"\bpong\b|\backnowledged?\b", re.IGNORECASE)
_SENDS = re.compile(r"\b(?:emit|send|sent)", re.IGNORECASE)
# the first that fits
_EVENTS = {
    event: re.compile("|".join(patterns), re.IGNORECASE)
    for event, patterns in {
        "started": (r"\b(?:client|worker|script|program|service) (?:has |is )?start(?:ed|ing)\b",),
        "stopping": (r"\b(?:stopping|stopped|shutting down|keyboard ?interrupt)\b", r"^exiting(?!.* task)"),
        "connect_failed": (
            r"\brefused\b|new attempt in|connect\w*(?: \w+){0,3} (?:failed|error)",
            r"(?:unable|failed|could not|cannot|can't)(?: \w+){0,2} connect",
        ),
        "disconnected": (
            r"\bdisconnect(?:ed|ion)?\b|\bnot connected\b|lost (?:the )?connection",
            r"connection(?: \w+)? (?:lost|closed|dropped|aborted|broken)|response has not been received",
        ),
        "connecting": (r"\b(?:re)?connecting\b|\battempting\b|trying to (?:re)?connect",),
        "connected": (
            r"\b(?:re)?connected\b|connection (?:established|accepted|successful)|reconnection successful",
        ),
    }.items()
}
_REASON = {"disconnected": "reason", "connect_failed": "error"}


class Old:
    """Reads one log's lines in their order: an answer is told by the question before it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seq = 0
        self._asked_at: Optional[float] = None

    def read(self, line: bytes) -> Optional[Item]:
        """None: it is no such line."""
        found = _LINE.fullmatch(line)
        if not found:
            return None
        minute, seconds, millis, raw = found.groups()
        try:
            text = raw.decode()
            at, zone = self._clock.local(minute, seconds + b"." + millis)
        except (ValueError, OverflowError, OSError):
            return None
        data = _data(text)
        if data:
            event, fields = _message(data, sends=_SENDS.search(text) is not None)
        elif _ABOUT_PING.search(text):
            return self._ping(text, at, zone)
        else:
            event = next((event for event, pattern in _EVENTS.items() if pattern.search(text)), "said")
            fields = {_REASON[event]: text} if event in _REASON else {}
        return Line(at, at_second(at, zone), event, fields)

    def _ping(self, text: str, at: float, zone: timezone) -> Item:
        duration = _MILLISECONDS.search(text)
        if _MISSED.search(text):
            event = "ping_missed"
        elif duration or (_PONG.search(text) and self._asked_at is not None):
            if duration:
                ms = float(duration.group(1)) * (1 if duration.group(2).lower().startswith("m") else 1000)
            else:
                ms = max(0.0, at - (self._asked_at or at)) * 1000
            if self._asked_at is None:
                self._seq += 1
            self._asked_at = None
            return Ping(at, zone, f"old{self._seq}", round(ms, 3), late=False)
        elif _PONG.search(text):
            return Line(at, at_second(at, zone), "said", {})
        else:
            self._seq += 1
            self._asked_at = at
            event = "ping_sent"
        return Line(at, at_second(at, zone), event, {"seq": f"old{self._seq}"})


def _data(text: str) -> Optional[Mapping[str, Any]]:
    """The object that a line shows, as JSON or as Python writes it; None: it shows none."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start or end - start > _LONGEST_DATA:
        return None
    shown = text[start : end + 1]
    as_json = re.sub(r"\b(None|True|False)\b", lambda word: _CONSTANTS[word.group()], shown.replace("'", '"'))
    for spelled in (shown, as_json):
        try:
            data = json.loads(spelled)
        except (ValueError, RecursionError):
            continue
        return data if isinstance(data, dict) else None
    return None


def _message(data: Mapping[str, Any], *, sends: bool) -> tuple[str, dict[str, str]]:
    """The event that a message of the wire protocol (CONTRACT §4) amounts to."""
    if "disconnected_node" in data:
        if not sends:
            return "received", {"event": "recover", "data": _json(data)}
        node = {"node": str(data["disconnected_node"])}
        if data.get("secondary_ip") and "error" not in data:
            return "takeover_done", node
        return "takeover_failed", {**node, "reason": str(data.get("error", "it gave no reason"))}
    if "restore_node" in data:
        if sends and data.get("status"):
            return "release_done", {"node": str(data["restore_node"]), "reason": "restore"}
        return ("sent" if sends else "received"), {
            "event": "restore node" if sends else "restore",
            "data": _json(data),
        }
    if "NODE_ID" in data and sends:
        return "sent", {"event": "join", "data": _json(data)}
    return "said", {}


def _json(data: Mapping[str, Any]) -> str:
    try:
        return json.dumps(data, default=str)
    except (ValueError, TypeError, RecursionError):
        return "{}"
