"""METRICS_FILE and SIGUSR1: what they say of a real worker is what its logs say."""

from __future__ import annotations

import json
import math
import os
import signal
import stat
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from client import VERSION
from failover.vips import OUTCOMES
from logging_setup import Logs
from logs.format import parse_line
from tests.lab.masters import Master, Puppet
from tests.lab.waiting import PATIENCE_S, until
from worker import status
from worker.metrics import MetricsFile, exposition
from worker.systemd import SystemdNotifier

RECOVER = {
    "disconnected_node": 2,
    "recovery_node": "3",
    "ip": "10.9.0.2",
    "netmask": "255.255.255.0",
    "active_neighbors": ["3"],
}


def samples(text):
    """Of the file, by name and the labels but the node's."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge")
        for sample in family.samples:
            # https://prometheus.io/docs/practices/naming/
            assert sample.name.startswith("failover_worker_")
            assert sample.name.endswith("_total") == (family.type == "counter")
            assert not any(unit in sample.name for unit in ("_ms", "milli", "minutes"))
            assert sample.labels.pop("node") == "3"
            key = (
                sample.name.replace("failover_worker_", ""),
                *(sample.labels[name] for name in sorted(sample.labels)),
            )
            assert key not in found
            found[key] = sample.value
    return found


def read(path):
    return samples(path.read_text(encoding="utf-8"))


def test_the_numbers_are_those_of_the_logs(work, serve, tmp_path):
    file = tmp_path / "metrics.prom"
    master = serve(Master())
    worker = work(master, METRICS_FILE=file, LOG_LEVEL="INFO")
    until(file.exists)
    assert read(file)["up",] == 1
    master.wait("join")
    master.order("recover", RECOVER)
    worker.wait("takeover_done")
    master.order("recover", RECOVER)  # once more: announced and answered again
    master.order("recover", {**RECOVER, "netmask": "255.0.0.0"})
    master.emit("recover", "no object")
    master.wait("update node", 3)
    master.order("restore", {"restore_node": 77})
    master.order("restore", {"restore_node": 2})
    master.order("restore", {"restore_node": 2})  # it is not held any more, which is a success
    master.order("recover", RECOVER)
    master.wait("restore node", 3)
    worker.wait("takeover_done", 3)
    worker.wait("ping", 3, log="pings")
    master.send(signal.SIGSTOP)
    worker.wait("disconnected")
    master.send(signal.SIGCONT)
    worker.wait("connected", 2)
    resumed = len(worker.all("ping", "pings"))
    worker.wait("ping", resumed + 2, log="pings")
    lines = worker.lines
    worker.send(signal.SIGUSR1)
    state = worker.wait("state", since=lines).fields
    assert worker.stop() == 0

    metrics = read(file)
    counts = {
        event: len(worker.all(event)) for event in ("takeover_done", "takeover_refused", "order_refused")
    }
    assert counts == {"takeover_done": 3, "takeover_refused": 1, "order_refused": 1}
    assert metrics["orders_total", "recover", "taken"] == 3
    assert metrics["orders_total", "recover", "refused"] == 2
    assert metrics["orders_total", "recover", "failed"] == len(worker.all("takeover_failed")) == 0
    answers = [
        json.loads(entry.fields["data"])
        for entry in worker.all("sent")
        if entry.fields["event"] == "restore node"
    ]
    assert metrics["orders_total", "restore", "done"] == sum(answer["status"] for answer in answers) == 2
    assert (
        metrics["orders_total", "restore", "failed"] == sum(not answer["status"] for answer in answers) == 1
    )
    assert metrics["reconnects_total",] == len(worker.all("connected")) - 1 == 1
    assert metrics["pings_missed_total",] == len(worker.all("ping_missed", "pings")) >= 3
    pings = worker.all("ping", "pings")
    sent = max(int(entry.fields["seq"]) for entry in worker.pings.read() if "seq" in entry.fields)
    assert metrics["pings_sent_total",] - sent in (0, 1)  # one may have been on its way
    assert metrics["ping_round_trip_seconds",] * 1000 == pytest.approx(
        float(pings[-1].fields["rtt_ms"]), abs=0.006
    )
    age_s = (worker.all("stopped")[0].when - pings[-1].when).total_seconds()
    assert metrics["last_answer_age_seconds",] == pytest.approx(age_s, abs=0.2)
    assert metrics["log_lines_lost_total",] == 0
    assert metrics["up",] == metrics["connected",] == metrics["addresses_held",] == 0
    assert metrics["info", "simulated", VERSION] == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert sorted(os.listdir(tmp_path)) == ["metrics.prom", "worker0"]  # no draft stays behind

    # and SIGUSR1 shows the same, as they stood then
    assert state["pid"] == str(worker.pid)
    assert state["connected"] == "true"
    assert state["master"] == master.url
    assert state["reconnects"] == "1"
    orders = json.loads(state["orders"])
    assert (orders["recover_taken"], orders["recover_refused"], orders["restore_done"]) == (3, 2, 2)
    (held,) = json.loads(state["held"])
    assert (held["node"], held["address"]) == (2, "10.9.0.2/24")
    assert held["held_s"] > 0


def test_the_state_is_written_whatever_log_level_is(work, serve):
    master = serve(Puppet())
    worker = work(master, LOG_LEVEL="CRITICAL")
    assert master.up.wait(PATIENCE_S)
    worker.send(signal.SIGUSR1)
    state = worker.wait("state")
    assert state.level == "INFO"
    assert {entry.event for entry in worker.comms.read()} == {"state"}


def test_before_any_answer_there_is_none(work, tmp_path):
    file = tmp_path / "metrics.prom"
    worker = work("http://127.0.0.1:9", METRICS_FILE=file)
    until(file.exists)
    worker.stop()
    metrics = read(file)
    assert math.isnan(metrics["ping_round_trip_seconds",])
    assert math.isnan(metrics["last_answer_age_seconds",])
    assert metrics["reconnects_total",] == metrics["connected",] == 0


def test_a_file_that_cannot_be_written_is_one_warning_and_no_stop(tmp_path):
    folder = tmp_path / "metrics"
    lines = []
    log = SimpleNamespace(
        warning=lambda event, **fields: lines.append((event, fields)),
        info=lambda event, **fields: lines.append((event, fields)),
    )
    file = MetricsFile(folder / "worker.prom", log)
    for n in range(3):
        file.put(f"{n}")
        until(lambda: not file._thread.is_alive())
    folder.mkdir()
    file.close("again", PATIENCE_S)
    assert lines[0][0] == "metrics_failed"
    assert lines[0][1]["file"] == str(folder / "worker.prom")
    assert lines[0][1]["reason"] == "No such file or directory"
    assert lines[1][0] == "metrics_resumed"
    assert (folder / "worker.prom").read_text() == "again"
    assert os.listdir(folder) == ["worker.prom"]  # no draft stays behind


def test_no_link_is_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    path = tmp_path / "worker.prom"
    path.symlink_to(victim)
    (tmp_path / f"worker.prom.{os.getpid()}.tmp").symlink_to(victim)
    file = MetricsFile(path, SimpleNamespace())
    file.close("metrics", PATIENCE_S)
    assert victim.read_text() == "untouched"
    assert path.read_text() == "metrics"
    assert not path.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["victim", "worker.prom"]


def test_a_worker_whose_metrics_folder_vanishes_goes_on(work, serve, tmp_path):
    folder = tmp_path / "metrics"
    folder.mkdir()
    worker = work(serve(Puppet()), METRICS_FILE=folder / "worker.prom")
    until((folder / "worker.prom").exists)
    (folder / "worker.prom").unlink()
    folder.rmdir()
    worker.wait("ping", 3, log="pings")
    assert worker.stop() == 0
    assert len(worker.all("metrics_failed")) == 1


def test_it_is_written_every_15_s(monkeypatch, tmp_path):
    written = []
    file = SimpleNamespace(put=written.append, close=lambda text, _timeout_s: written.append(text))
    monkeypatch.setattr(status, "MetricsFile", lambda path, log: file)
    config = SimpleNamespace(metrics_file=tmp_path / "x", log_dir=tmp_path)
    logs = SimpleNamespace(comms=None)
    shown = status.Status(config, SystemdNotifier({}), logs, lambda now: SNAPSHOT, lambda _: None, 100.0)
    for now in (100.0, 107.0, 114.9, 115.0, 129.9, 130.0):
        assert (shown.due() <= now) == (now in (100.0, 115.0, 130.0))
        shown.turn(now)
    assert len(written) == 3
    shown.close()
    assert samples(written[-1])["up",] == samples(written[-1])["connected",] == 0


SNAPSHOT = {
    "node": 3,
    "version": "1.0.0",
    "run": "1a2b3c4d",
    "pid": 1,
    "backend": "netlink",
    "uptime_s": 1.0,
    "connected": True,
    "master": "http://10.9.0.10:5000",
    "transport": "websocket",
    "connection_s": 1.0,
    "reconnects": 0,
    "pings_sent": 10**15,
    "pings_missed": 0,
    "rtt_ms": 1e-4,
    "answer_age_s": 86400.5,
    "orders": {f"{order}_{outcome}": 0 for order, outcome in OUTCOMES},
    "answers_waiting": 0,
    "lines_lost": 12345,
    "primary": None,
    "held": [],
    "in_progress": [],
    "trouble": None,
    "unusable": None,
}


def test_numbers_of_any_size():
    metrics = samples(exposition(SNAPSHOT))
    assert metrics["pings_sent_total",] == 10**15
    assert metrics["ping_round_trip_seconds",] == pytest.approx(1e-7)
    assert metrics["last_answer_age_seconds",] == 86400.5
    assert metrics["log_lines_lost_total",] == 12345
    assert samples(exposition(SNAPSHOT, up=False))["up",] == 0


def test_every_outcome_has_its_name():
    counts = {outcome: n for n, outcome in enumerate(OUTCOMES, 1)}
    orders = {f"{order}_{outcome}": count for (order, outcome), count in counts.items()}
    metrics = samples(exposition({**SNAPSHOT, "orders": orders}))
    assert {key[1:]: n for key, n in metrics.items() if key[0] == "orders_total"} == counts


def test_lost_lines_are_counted_as_the_log_counts_them(tmp_path):
    (tmp_path / "comms.log").mkdir()
    logs = Logs(tmp_path, console=False)
    for _ in range(2500):
        logs.comms.info("x", text="y" * 4000)
    lost = logs.lines_lost
    assert lost > 200
    (tmp_path / "comms.log").rmdir()
    logs.close(10)
    written = [parse_line(line) for line in (tmp_path / "comms.log").read_text().splitlines()]
    (metrics,) = [entry for entry in written if entry.event == "log_lines_lost"]
    assert int(metrics.fields["count"]) == lost == 2500 - sum(entry.event == "x" for entry in written)
