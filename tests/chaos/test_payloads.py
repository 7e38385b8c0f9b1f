"""What a master may send, each as one event of a real connection: one line each in comms.log, which can be read back.

What the lines themselves may hold is tested in test_log_line.py, what is done with hostile packets in test_worker.py.
"""

from __future__ import annotations

import json

import pytest

from tests.chaos.follow import Follow
from tests.lab.masters import Puppet
from tests.lab.waiting import PATIENCE_S, until

MB = 1 << 20
PAYLOADS = {
    "newlines": '"a\\nb\\r\\nc\\u2028d\\u2029e\\u0085"',
    "a line of the log": json.dumps("]\n[2026-11-24 22:47:01.123+0000] : [INFO] - [connected master=x]\n["),
    "terminal escapes": '"\\u001b[2J\\u001b]0;title\\u0007\\u009b31m"',
    "raw escapes": '"\x1b[2J\x7f\x9b31m"',
    "lone surrogates": '["\\ud800","\\udc00\\ud800",{"\\udfff":1}]',
    "brackets": '"]]] [x] ] : [ERROR] - [y]"',
    "NUL": '"a\\u0000b"',
    "directions": '"\\u202e\\u2066\u202d"',
    "1 MB": f'"{"x" * MB}"',
    "1 MB of newlines": '"' + "\\nx" * (MB // 3) + '"',
    "1 MB of nothing": f"[{'0,' * (MB // 2)}0]",
    "deep": "[" * 900 + "]" * 900,
    "too deep": "[" * 100_000 + "]" * 100_000,
    "no number": "[NaN,Infinity,-Infinity,1e999,-0.0]",
    "a large number": "9" * 4000,
    "no JSON": '{"a":',
    "bytes": b"\x00\xff\n]",
    "1 MB of bytes": bytes(MB),
}


@pytest.fixture
def node(work, serve):
    puppet = serve(Puppet())
    worker = work(puppet, LOG_LEVEL="DEBUG")
    assert puppet.up.wait(PATIENCE_S)
    worker.wait("ping", log="pings")
    worker.wait("sent", event="join")  # the two logs are not written at once
    return puppet, worker


def test_each_payload_is_one_line(node):
    puppet, worker = node
    comms = Follow(worker.comms.path)
    comms.take()
    for name, payload in PAYLOADS.items():
        if isinstance(payload, bytes):
            puppet.say('451-["payload",{"_placeholder":true,"num":0}]', payload)
        else:
            puppet.say(f'42["payload",{payload}]')
        puppet.say('42["next"]')
        until(
            lambda: comms.read() and comms.new[-1].fields.get("event") == "next", 10, lambda name=name: name
        )
        lines = comms.take()
        assert [entry.event for entry in lines] == ["received", "received"], name
        assert lines[0].fields["event"] in ("payload", "unreadable"), name
    assert comms.bad == []
    assert not worker.all("disconnected")
    assert worker.said == ""
