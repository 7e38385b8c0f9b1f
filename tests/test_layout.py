"""The layout: few files in the root, and imports that point down only."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = (
    {"client", "diagnose"},
    {"worker", "ping_monitor"},
    {"connection", "failover"},
    {"network"},
    {"config", "logging_setup"},
    {"logs", "settings"},
)
"""Each part of the worker imports from its own layer's packages or from a layer below."""
APART = {"analysis": {"logs"}, "master": {"logs", "settings"}, "demo": set()}
"""Packages beside the worker, and what they import of it."""
SHARED = {"config", "logging_setup", "ping_monitor"}
"""The modules of the root that a package may import."""
PARTS = frozenset().union(*LAYERS, APART)


def sources():
    """Every source of the project but tests and benchmarks, by its dotted name."""
    for part in sorted(PARTS):
        if (ROOT / f"{part}.py").exists():
            yield part, ROOT / f"{part}.py"
        for file in sorted((ROOT / part).rglob("*.py")):
            names = file.relative_to(ROOT).with_suffix("").parts
            yield ".".join(names[:-1] if names[-1] == "__init__" else names), file


def imports(file):
    """The dotted names that a file imports anywhere in it, `from a import b` as both a and a.b."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph():
    modules = dict(sources())
    edges = {}
    for name, file in modules.items():
        found = set()
        for imported in imports(file):
            parent = imported.rpartition(".")[0]
            found |= {imported} & modules.keys() or {parent} & modules.keys()
        edges[name] = found - {name}
    return edges


def layer_of(part):
    return next(number for number, names in enumerate(LAYERS) if part in names)


def faults(edges):
    """What is wrong with an import graph: upward imports, imports across, and circles."""
    for name, imported in edges.items():
        part = name.partition(".")[0]
        for other in sorted(imported):
            target = other.partition(".")[0]
            if target == part:
                continue
            if part in APART:
                allowed = target in APART[part] or (part, target) == ("demo", "master")
            elif target in APART:
                allowed = (part, target) == ("diagnose", "analysis")
            else:
                allowed = layer_of(target) >= layer_of(part)
                if "." in name and "." not in other and (ROOT / f"{other}.py").exists():
                    allowed = allowed and other in SHARED
            if not allowed:
                yield f"{name} imports {other}, which is above or beside it"
    done, path = set(), []

    def visit(name):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        path.append(name)
        for other in sorted(edges.get(name, ())):
            circle = visit(other)
            if circle:
                return circle
        done.add(path.pop())
        return None

    for name in sorted(edges):
        path.clear()
        circle = visit(name)
        if circle:
            yield "a circle: " + " -> ".join(circle)
            return


def test_imports_point_down():
    assert list(faults(graph())) == []


@pytest.mark.parametrize(
    ("edges", "fault"),
    [
        ({"network.base": {"failover.states"}}, "network.base imports failover.states"),
        ({"logs.format": {"config"}}, "logs.format imports config"),
        ({"master.cluster": {"failover.orders"}}, "master.cluster imports failover.orders"),
        ({"worker.loop": {"client"}}, "worker.loop imports client"),
        (
            {"network.a": {"network.b"}, "network.b": {"network.a"}},
            "a circle: network.a -> network.b -> network.a",
        ),
    ],
)
def test_a_wrong_import_is_found(edges, fault):
    assert any(text.startswith(fault) for text in faults(edges))


def test_the_root_holds_few_files():
    assert len(list(ROOT.glob("*.py"))) <= 6
    assert {name for name in PARTS if not (ROOT / name).is_dir()} == {file.stem for file in ROOT.glob("*.py")}


if __name__ == "__main__":
    found = list(faults(graph()))
    print(*found or ["imports point down, and there is no circle"], sep="\n")
    sys.exit(bool(found))
