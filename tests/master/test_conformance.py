"""conformance: our master passes, and each fault of a deliberately wrong one is named."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import socketio
from werkzeug.serving import make_server

from master.conformance import Conformance
from tests.lab import forked
from tests.lab.ports import free_port
from tests.lab.processes import start_master
from tests.lab.wsgi import RequestHandler

TOKEN = "hunter2hunter2"
NODES = (901, 902, 903)


class SmallMaster:
    """Just enough of a master for three workers; `faults` are what it does wrong."""

    def __init__(self, *faults):
        self._faults = faults
        self._lock = threading.RLock()
        self._sids = {}
        self._joins = {}
        self._tried = set()
        self._holder = None
        self._sio = socketio.Server(async_mode="threading", async_handlers=False)
        self._sio.on("connect", self._connect)
        self._sio.on("disconnect", lambda sid, reason: self._gone(sid))
        for event in ("join", "update node", "restore node"):
            self._sio.on(event, lambda sid, data, event=event: self._heard(sid, event, data))
        self._sio.on("ping", lambda sid, data: None)
        self._http = make_server(
            "127.0.0.1", 0, socketio.WSGIApp(self._sio), threaded=True, request_handler=RequestHandler
        )
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self._http.shutdown()

    def _has(self, fault):
        return fault in self._faults

    def _connect(self, sid, environ, auth):
        if (auth or {}).get("token") != TOKEN and not self._has("lets anybody in"):
            raise socketio.exceptions.ConnectionRefusedError("wrong token")

    def _send(self, node, event, data):
        sid = next((sid for sid, number in self._sids.items() if number == node), None)
        if sid:
            self._sio.emit(event, data, to=sid)

    def _gone(self, sid):
        with self._lock:
            node = self._sids.pop(sid, None)
            if node and node not in self._sids.values() and node == NODES[1]:
                self._tried = set()
                self._elect(node)

    def _elect(self, node):
        join = self._joins[node]
        live = [int(n) for n in join["neighbors"] if int(n) in self._sids.values()]
        for by in [n for n in live if n not in self._tried]:
            data = {
                "disconnected_node": node,
                "recovery_node": str(by),
                "ip": join["primary_ip"],
                "netmask": join["primary_netmask"],
                "active_neighbors": [str(n) for n in live],
            }
            if self._has("numbers as texts"):
                data["disconnected_node"] = str(node)
            if self._has("texts as numbers"):
                data["recovery_node"] = by
                data["active_neighbors"] = live
            if self._has("no netmask"):
                del data["netmask"]
            if self._has("another address"):
                data["ip"] = "192.0.2.77"
            if self._has("the dead among the living"):
                data["active_neighbors"].append(str(node))
            if self._has("a list for an object"):
                data = [data]
            self._send(by, "recovery" if self._has("another event") else "recover", data)
            self._tried.add(by)
            if not self._has("all at once"):
                return

    def _heard(self, sid, event, data):
        with self._lock:
            if event == "join":
                again = sid in self._sids
                node = self._sids[sid] = data["NODE_ID"]
                self._joins[node] = data
                if self._has("ends what it does not know") and "held" in data:
                    self._sio.disconnect(sid)
                elif again and self._has("orders at each join"):
                    self._tried = set()
                    self._elect(NODES[1])
                elif node == NODES[1] and self._holder and not self._has("never restores"):
                    shown = str(node) if self._has("numbers as texts") else node
                    self._send(self._holder, "restore", {"restore_node": shown})
            elif event == "update node":
                owner = int(data["disconnected_node"])
                if data.get("secondary_ip"):
                    self._holder = self._sids[sid]
                    if self._has("deaf to success"):
                        self._tried = set()
                        self._elect(owner)
                elif not self._has("asks once only"):
                    if self._holder == self._sids[sid]:
                        if self._has("forgets who gave up"):
                            return
                        self._holder, self._tried = None, {self._sids[sid]}
                    self._elect(owner)
            elif self._has("restores forever"):
                self._send(self._sids[sid], "restore", {"restore_node": data["restore_node"]})


def differences(url, quiet_s=0.3):
    return {
        finding.check: finding.text
        for finding in Conformance(url, TOKEN, NODES, 4, quiet_s).run()
        if finding.kind == "DIFFERS"
    }


FAULTS = {
    "lets anybody in, restores forever": {
        "token": "wrong token was let in",
        "restored": "though the address was given back",
    },
    "ends what it does not know": {"join": "was ended after its join"},
    "another event": {
        "recover": "no neighbor got `recover`",
        "events": "sends recovery, which no worker knows",
    },
    "numbers as texts, no netmask": {
        "recover's data": "disconnected_node is '902', and should be of the type int; netmask is missing",
        "restore's data": "{'restore_node': '902'}",
    },
    "texts as numbers, another address": {
        "recover's data": "ip is '192.0.2.77', and should be '192.0.2.2'; active_neighbors is [901, 903], and should hold texts",
    },
    "the dead among the living, never restores": {
        "recover's data": "should hold the live neighbors of node 902",
        "restore": "got no `restore`",
    },
    "a list for an object": {"recover's data": "it is no object"},
    # the rest cannot but follow
    "all at once": {
        "one at a time": "901, 903",
        "refusal": "was not ordered",
    },
    "asks once only": {"refusal": "was not ordered", "giving up": "was not ordered"},
    "deaf to success": {"success": "though the address is held"},
    "orders at each join": {"refreshing join": "though the same was joined again"},
    "forgets who gave up": {"giving up": "gave the address up"},
}


def run(*arguments, token=TOKEN):
    environ = {**os.environ, "MASTER_TOKEN": token}
    return forked.run(["-m", "master", "conformance", *arguments, "--env-file", os.devnull], environ)


def bundled():
    with start_master("--dead-after", "2", token=TOKEN) as master:
        return run(master.url, "--limit", "4")


def test_the_bundled_master_passes_and_each_fault_of_a_wrong_one_is_named(serve):
    """All at once, since most of it is waiting for what must not come."""
    masters = {fault: serve(SmallMaster(*fault.split(", "))) for fault in ("nothing", *FAULTS)}
    with ThreadPoolExecutor(len(masters) + 1) as pool:
        running = pool.submit(bundled)
        found = dict(zip(masters, pool.map(lambda master: differences(master.url), masters.values())))
        done = running.result()
    assert found.pop("nothing") == {}
    for fault, expected in FAULTS.items():
        assert set(found[fault]) == set(expected), (fault, found[fault])
        for check, text in expected.items():
            assert text in found[fault][check], (fault, found[fault])

    assert done.returncode == 0, done.stdout + done.stderr
    assert "DIFFERS" not in done.stdout
    assert len([line for line in done.stdout.splitlines() if line.startswith("ok ")]) == 16
    assert done.stdout.endswith("\n\nThis master speaks the protocol.\n")
    assert done.stderr == ""


def test_differences_and_a_master_that_is_not_there_are_exit_code_1(serve):
    master = serve(SmallMaster("ends what it does not know"))
    done = run(master.url)
    assert done.returncode == 1
    assert "DIFFERS join: " in done.stdout
    assert done.stdout.endswith("\n1 differences\n")
    done = run(f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "DIFFERS connect: no connection to" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [[], ["http://x", "--nodes", "1,2"], ["http://x", "--nodes", "1,1,2"], ["http://x", "--limit", "nan"]],
)
def test_wrong_arguments(arguments):
    assert run(*arguments).returncode == 2
