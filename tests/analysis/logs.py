"""Logs as workers write them, made by a test: who said what, at which second."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import strategies as st

from analysis.reader import LONGEST
from logs.format import compact_json, format_line

NIGHT = datetime(2026, 11, 24, 22, 47, 0, tzinfo=timezone.utc)
LEVELS = {
    **dict.fromkeys(("ping_missed", "disconnected", "connect_failed"), "WARNING"),
    "address_conflict": "CRITICAL",
}
PING_LOG = ("ping", "ping_missed", "ping_sent", "pings_paused", "pings_resumed")


def at(second, zone=timezone.utc):
    return (NIGHT + timedelta(milliseconds=round(second * 1000))).astimezone(zone)


def stamp(second, zone=timezone.utc):
    """The time as `--json` spells it."""
    return at(second, zone).isoformat(timespec="milliseconds")


def recover(node, holder, **changes):
    data = {
        "disconnected_node": node,
        "recovery_node": str(holder),
        "ip": f"10.9.0.{node}",
        "netmask": "255.255.255.0",
        "active_neighbors": [str(holder)],
    }
    return {"event": "recover", "data": {**data, **changes}}


def joined(node):
    return {"event": "join", "data": {"system": "host", "NODE_ID": node, "secondary_ip": None}}


class Worker:
    """What one LOG_DIR holds. Lines are given in the order in which they are to stand in their file."""

    def __init__(self, node=None, zone=timezone.utc):
        self.node = node
        self.zone = zone
        self.lines = {"ping.log": [], "comms.log": []}

    def say(self, second, event, /, **fields):
        line = format_line(at(second, self.zone), LEVELS.get(event, "INFO"), event, fields)
        self.lines["ping.log" if event in PING_LOG else "comms.log"].append(line)
        return self

    def start(self, second, took_ms=40.0):
        self.say(second, "started", node=self.node, version="1.0.0", pid=4711, master="http://10.9.0.10:5000")
        self.say(second, "connecting", master="http://10.9.0.10:5000")
        connected = second + took_ms / 1000
        self.say(connected, "connected", master="http://10.9.0.10:5000", sid="a", took_ms=took_ms)
        return self.say(connected, "sent", **joined(self.node))

    def ping(self, first, last, rtt_ms=1.5, every=2.0):
        count = int((last - first) / every) + 1
        for seq in range(count):
            self.say(first + seq * every, "ping", seq=seq + 1, rtt_ms=rtt_ms)
        return self

    def stop(self, second):
        return self.say(second, "stopping", signal="SIGTERM").say(second, "stopped", uptime_s=1.0)

    def take(self, second, node, took_ms=3.1, ordered=None):
        ordered = second - took_ms / 1000 if ordered is None else ordered
        address = {"node": node, "address": f"10.9.0.{node}/24"}
        self.say(ordered, "received", **recover(node, self.node))
        self.say(ordered, "takeover_started", interface="eth0", **address)
        self.say(second, "takeover_done", interface="eth0", took_ms=took_ms, **address)
        return self.answer(second, node)

    def answer(self, second, node):
        data = {"NODE_ID": self.node, "secondary_ip": f"10.9.0.{node}", "disconnected_node": node}
        return self.say(second, "sent", event="update node", data=data)

    def refuse(self, second, node, reason):
        self.say(second, "takeover_refused", node=node, address=f"10.9.0.{node}/24", reason=reason)
        data = {**recover(node, self.node)["data"], "error": reason}
        return self.say(second, "sent", event="update node", data=data)

    def release(self, second, node, reason="restore"):
        return self.say(
            second, "release_done", node=node, address=f"10.9.0.{node}/24", interface="eth0", reason=reason
        )

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, lines in self.lines.items():
            (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return folder


def a_night(root):
    """Node 2 is killed and started again; node 1 takes its address and gives it back, node 3 had refused.

    Node 3's clock is set to another zone. Gives the three folders.
    """
    first = Worker(1).start(0).ping(1, 29, rtt_ms=1.8)
    first.take(8.3, 2).say(20.0, "received", event="restore", data={"restore_node": 2}).release(20.7, 2)
    second = Worker(2).start(0).ping(1, 3, rtt_ms=2.0).start(20).ping(21, 29)
    third = Worker(3, timezone(timedelta(hours=-5))).start(0).ping(1, 9)
    third.say(8.0, "received", **recover(2, 3)).refuse(8.1, 2, "no interface holds 10.9.0.2")
    third.say(12, "ping_missed", seq=6, timeout_ms=2000, missed=1)
    third.say(12.5, "disconnected", reason="ping timeout", connected_s=12.46)
    third.say(12.5, "pings_paused", reason="ping timeout").say(
        13, "connecting", master="http://10.9.0.10:5000"
    )
    third.say(15.25, "connected", master="http://10.9.0.10:5000", sid="b", took_ms=2.0)
    third.say(16, "pings_resumed", after_s=3.5).ping(16, 28)
    return [worker.write(root / f"node{worker.node}") for worker in (first, second, third)]


DAMAGED = [
    b"",
    b"\0\x01\x02",
    b"\xff\xfe",
    b"[2026-11-24 22:47:01.123+0000] : [INFO] - [ping seq=1 rtt_",
    b"[2026-11-24 22:47:01.123+0000] : [INFO] - [ping seq=1 rtt_ms=1.5",
    b"[2026-11-24 22:47:61.123+0000] : [INFO] - [ping seq=1 rtt_ms=1.5]",
    b"[2026-02-30 22:47:01.123+0000] : [INFO] - [ping seq=1 rtt_ms=1.5]",
    b"[2026-11-24 24:47:01.123+0000] : [INFO] - [ping seq=1 rtt_ms=1.5]",
    b"[2026-11-24 22:47:01.123+9900] : [INFO] - [ping seq=1 rtt_ms=1.5]",
    b"[0001-11-24 22:47:01.123+0000] : [INFO] - [ping seq=1 rtt_ms=1.5]",
    b"[9999-12-31 23:59:59.999-2359] : [INFO] - [connecting master=x]",
    b"[2026-11-24 22:47:01.123+0000] : [LOUD] - [ping seq=1 rtt_ms=1.5]",
    b"[2026-11-24 22:47:01.123+0000] : [INFO] - [disconnected reason=\xc3]",
    b"[2026-11-24 22:47:01.123+0000] : [INFO] - [ping seq=1 rtt_ms=1.5]]",
    b"[2026-11-24 22:47:01.123+0000] : [INFO] - [ping seq=1 rtt_ms=1.5] \xe2\x80\xa6("
    + b"9" * 5000
    + b" bytes",
    b"2026-11-24 22:47:01,123 - client - INFO - connected",
    b"x" * 10_000,
    b"y" * (LONGEST * 9),
]


def _json(**fields):
    return compact_json(fields)


NODES = st.integers(1, 3)
VALUES = st.one_of(
    st.text(),
    st.sampled_from(
        [
            "recover",
            "restore",
            "join",
            "update node",
            "10.9.0.2/24",
            "the process stood still for 9.5 s",
            "the machine was suspended for 999999999 s",
            "the wall clock went forward by 90.0 s",
            "3 pings in a row without an answer",
            "WebSocket connection was closed",
            "connection refused: nothing listens at http://m:5000",
            "restore",
            "stopping",
            "claimed by 02:fc:00:00:00:02",
            "9e99",
        ]
    ),
    st.integers(0, 10**12).map(str),
    st.builds(lambda node, by: compact_json(recover(node, by)["data"]), NODES, NODES),
    st.builds(lambda node: _json(NODE_ID=node, neighbors=["1", "2", 3], secondary_ip=None), NODES),
    st.builds(lambda node: _json(restore_node=node, status=True), NODES),
)
EVENTS = [
    *(
        "started",
        "connecting",
        "connected",
        "connect_failed",
        "disconnected",
        "stopping",
        "stopped",
        "was_frozen",
    ),
    *(
        "sent",
        "received",
        "takeover_started",
        "takeover_done",
        "takeover_refused",
        "takeover_failed",
        "owner_alive",
    ),
    *(
        "release_done",
        "release_failed",
        "address_conflict",
        "address_lost",
        "address_restored",
        "address_adopted",
    ),
    *(
        "ping",
        "ping_missed",
        "ping_sent",
        "pings_paused",
        "pings_resumed",
        "log_lines_lost",
        "crashed",
        "said",
    ),
]
KEYS = [
    "node",
    "event",
    "data",
    "address",
    "reason",
    "error",
    "rtt_ms",
    "seq",
    "took_ms",
    "connected_s",
    "own",
]
SECONDS = st.one_of(st.integers(0, 100), st.sampled_from([-3600.5, 0.001, 86400.0, 1e9, 3e10]))
ZONES = st.sampled_from(
    [timezone.utc, timezone(timedelta(hours=14)), timezone(timedelta(hours=-11, minutes=-30))]
)
# lines of every kind, whole, damaged and made up
PIECES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(DAMAGED[:-1]),
    st.builds(
        lambda second, zone, event, fields: format_line(at(second, zone), "INFO", event, fields).encode(),
        SECONDS,
        ZONES,
        st.sampled_from(EVENTS),
        st.dictionaries(st.sampled_from(KEYS), VALUES),
    ),
)
