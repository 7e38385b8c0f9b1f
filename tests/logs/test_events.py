"""docs/events.md lists what the code logs: each event, with its levels."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from pathlib import Path

import pytest

from logs.format import LEVELS

ROOT = Path(__file__).resolve().parents[2]
CODE = [
    *(ROOT / name for name in ("client.py", "ping_monitor.py", "logging_setup.py")),
    *(
        file
        for name in ("worker", "connection", "failover", "network", "logs")
        for file in (ROOT / name).rglob("*.py")
    ),
]
METHODS = {level.lower(): level for level in LEVELS} | {"always": "INFO"}
WITH_LEVEL = ("write", "say", "log", "line_now")
"""Whose first argument is the level and whose second is the event."""
EVENT = re.compile(r"[a-z]+(_[a-z]+)*")


def strings(node, kind=ast.Constant):
    """The constants among what an expression may be: `a if b else c` may be two. Or the names of its attributes."""
    if isinstance(node, ast.IfExp):
        return strings(node.body, kind) + strings(node.orelse, kind)
    if not isinstance(node, kind):
        return []
    value = node.attr if isinstance(node, ast.Attribute) else node.value
    return [value] if isinstance(value, str) else []


@functools.cache
def logged():
    """Each event in the code with its levels; an event whose level is a variable has the level None."""
    found = defaultdict(set)
    for file in CODE:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        variables = {
            node.targets[0].id: strings(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }

        def named(node, variables=variables):
            return variables.get(node.id, []) if isinstance(node, ast.Name) else strings(node)

        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            methods = strings(node.func, ast.Attribute)
            arguments = [named(argument) for argument in node.args[:2]]
            if methods and all(method in METHODS for method in methods) and arguments:
                if "log" not in ast.unparse(node.func).lower():
                    continue  # argparse's error(), for one
                for event in arguments[0]:
                    found[event] |= {METHODS[method] for method in methods}
            elif len(arguments) == 2 and ast.unparse(node.func).rpartition(".")[2] in WITH_LEVEL:
                for event in arguments[1]:
                    known = {*arguments[0], *strings(node.args[0], ast.Attribute)} & set(LEVELS)
                    found[event] |= known or {None}
            elif isinstance(node.func, ast.Name) and node.func.id == "Message" and arguments:
                for event in arguments[0]:
                    found[event].add(None)
    return {event: levels for event, levels in found.items() if EVENT.fullmatch(event)}


def listed():
    """Each row of the table: the levels, the log, the meaning and what to do."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.+) \|$", (ROOT / "docs" / "events.md").read_text("utf-8"), re.MULTILINE
    )
    return {event: rest.split(" | ") for event, rest in rows}


def test_every_event_of_the_code_is_in_the_table_and_no_other():
    events = logged()
    assert len(events) > 40
    assert events.keys() - listed().keys() == set()
    assert listed().keys() - events.keys() == set()


@pytest.mark.parametrize("event", sorted(listed()))
def test_the_levels_of_the_table_are_those_of_the_code(event):
    log, levels, meaning, action = listed()[event]
    assert log in ("comms", "ping", "both", "console")
    assert meaning.endswith(".")
    assert action.endswith(".")
    stated = set(levels.split(" or ")) if levels in LEVELS or " or " in levels else set(LEVELS)
    assert stated <= set(LEVELS)
    known = logged()[event] - {None}
    assert known <= stated, f"{event} is logged as {known}"
    if None not in logged()[event]:
        assert stated == known, f"{event} is never logged as {stated - known}"


def test_both_logs_begin_with_the_same_run(work, serve):
    from tests.lab.masters import Puppet

    worker = work(serve(Puppet()))
    comms, pings = worker.wait("started"), worker.wait("started", log="pings")
    assert comms.fields["run"] == pings.fields["run"]
    assert re.fullmatch("[0-9a-f]{8}", comms.fields["run"])
    assert worker.stop() == 0
