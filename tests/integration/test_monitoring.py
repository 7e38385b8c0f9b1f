"""deploy/monitoring: the rules by promtool, the dashboard by its schema, and both by a real Prometheus.

The metrics are those of a real master and real workers, of which one is killed and comes back.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.lab.ports import free_port
from tests.lab.processes import Process, start_master
from tests.lab.waiting import PATIENCE_S, until
from tests.lab.workers import Worker

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
EXPORTER = "prometheus-node-exporter"


def needs(*programs):
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {' and '.join(missing)}")


def promtool(*arguments, cwd=MONITORING):
    done = subprocess.run(
        ["promtool", *arguments], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S
    )
    return done.returncode, done.stdout + done.stderr


@needs("promtool")
def test_the_rules_are_rules_and_pass_their_tests():
    assert promtool("check", "rules", "alerts.yml")[0] == 0
    code, said = promtool("test", "rules", "alerts_test.yml")
    assert code == 0, said


def alerts():
    return re.findall(r"^ *- alert: (\S+)$", (MONITORING / "alerts.yml").read_text(), re.MULTILINE)


@needs("promtool")
@pytest.mark.parametrize("alert", alerts())
def test_a_rule_that_never_fires_or_always_does_is_noticed(alert, tmp_path):
    """Each rule's tests fail when its expression is another one."""
    text = (MONITORING / "alerts.yml").read_text()
    shutil.copy(MONITORING / "alerts_test.yml", tmp_path)
    whole = re.search(rf"- alert: {alert}\n +expr: (?:>-\n(?: {{10}}.*\n)+|.*\n)", text)[0]
    for expression in ("vector(0) > 1", "vector(1)"):
        mutated = f"- alert: {alert}\n        expr: {expression}\n"
        (tmp_path / "alerts.yml").write_text(text.replace(whole, mutated))
        code, said = promtool("test", "rules", "alerts_test.yml", cwd=tmp_path)
        assert code != 0
        assert alert in said


def test_every_alert_is_in_the_readme():
    readme = (MONITORING / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(Failover\w+)`", readme, re.MULTILINE) == sorted(
        alerts(), key=lambda alert: readme.index(f"`{alert}`")
    )


def test_the_dashboard_fits_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((Path(__file__).parent / "dashboard.schema.json").read_text())
    jsonschema.validate(DASHBOARD, schema)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs))
    with pytest.raises(jsonschema.ValidationError):  # and it would say so
        jsonschema.validate({**DASHBOARD, "panels": [{"id": "1"}]}, schema)


class Prometheus(Process):
    """A Prometheus with our rules that scrapes the master and the textfiles every second."""

    def __init__(self, folder, master_url, exporter_port):
        self.port = free_port()
        shutil.copy(MONITORING / "alerts.yml", folder)
        targets = {"failover-master": urllib.parse.urlsplit(master_url).netloc}
        targets["node"] = f"127.0.0.1:{exporter_port}"
        jobs = [{"job_name": name, "static_configs": [{"targets": [at]}]} for name, at in targets.items()]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yml"],
            "scrape_configs": jobs,
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))  # which is YAML too
        assert promtool("check", "config", "prometheus.yml", cwd=folder)[0] == 0
        super().__init__(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ]
        )

    def ask(self, path, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=PATIENCE_S) as answer:
            told = json.load(answer)
        assert told["status"] == "success", told
        return told["data"]

    def query(self, expression):
        """Each sample's labels and value."""
        found = self.ask("query", query=expression)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in found]


@needs("promtool", "prometheus", EXPORTER)
@pytest.mark.slow
def test_every_query_of_the_dashboard_and_every_rule_finds_real_metrics(tmp_path):
    textfiles = tmp_path / "textfiles"
    textfiles.mkdir()
    port = free_port()

    def worker(node):
        return Worker(
            tmp_path / f"node{node}",
            master,
            node,
            METRICS_FILE=textfiles / f"failover-worker-{node}.prom",
        )

    with contextlib.ExitStack() as stack:
        master = stack.enter_context(start_master())
        exporter = [EXPORTER, "--collector.disable-defaults", "--collector.textfile"]
        exporter += [f"--collector.textfile.directory={textfiles}", f"--web.listen-address=127.0.0.1:{port}"]
        stack.enter_context(Process(exporter))
        prometheus = stack.enter_context(Prometheus(tmp_path, master.url, port))
        workers = {node: worker(node) for node in (1, 2, 3)}
        for one in workers.values():
            stack.callback(one.end)
        until(lambda: len(master.state()["active"]) == 3)
        until(lambda: answers(prometheus, "count(failover_worker_up) == 3"))
        workers[2].process.kill()
        until(lambda: master.holder(2))
        # the holder writes its metrics every 15 s
        until(
            lambda: answers(prometheus, 'sum(failover_worker_orders_total{outcome="taken"}) == 1'),
            PATIENCE_S + 15,
        )
        until(lambda: answers(prometheus, "failover_master_takeover_seconds_count == 1"))
        assert (
            prometheus.query("max(failover_master_nodes_known) - max(failover_master_nodes_alive)")[0][1] == 1
        )
        assert prometheus.query("max(failover_master_addresses_held)")[0][1] == 1
        for expression in QUERIES:
            assert prometheus.query(expression), expression
        groups = prometheus.ask("rules")["groups"]
        rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
        assert set(rules) == set(alerts())
        assert [rule["lastError"] for rule in rules.values() if rule.get("lastError")] == []
        until(lambda: state_of(prometheus, "FailoverNodeDead") == "pending")
        assert state_of(prometheus, "FailoverNobodyHolds") == "inactive"
        assert state_of(prometheus, "FailoverOrdersRefused") == "inactive"


def answers(prometheus, expression):
    """Whether it can be asked already, and finds something."""
    try:
        return prometheus.query(expression)
    except OSError:
        return None


def state_of(prometheus, alert):
    groups = prometheus.ask("rules")["groups"]
    return next(rule["state"] for group in groups for rule in group["rules"] if rule["name"] == alert)


def test_every_metric_that_is_named_exists():
    """In docs/operations.md; the master's are seen above."""
    text = (MONITORING / "alerts.yml").read_text() + "\n".join(QUERIES)
    named = set(re.findall(r"failover_worker_\w+", text))
    documented = set(re.findall(r"`(failover_worker_\w+)`", (ROOT / "docs" / "operations.md").read_text()))
    assert named <= documented
