"""Every page says what is there: links, commands, options, variables, metrics, events."""

from __future__ import annotations

import functools
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import master.settings
from settings.schema import VARIABLES
from tests.lab.waiting import PATIENCE_S
from tests.worker.test_metrics import SNAPSHOT
from worker.metrics import exposition

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*/*.md")],
    key=lambda page: str(page.relative_to(ROOT)),
)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
# of systemd, of the tools that are named, and words in capitals that are no variables
OTHERS = {
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "DESTDIR",
    "LOGDIR",
    "NETWORK_CONFIG",
    "NODE_ID",
    "PREFIX",
    "WATCHDOG_USEC",
}
MASTERS = {option.variable for option in master.settings.OPTIONS.values()} | {"REDIS_URL_FILE"}


@functools.lru_cache(None)
def text_of(page):
    return page.read_text(encoding="utf-8")


def anchors(page):
    return {
        re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    }


def code(page):
    """Its commands: the indented lines, and what is in backticks."""
    text = text_of(page)
    return [
        *re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE),
        *(piece.replace("\n", " ") for piece in re.findall(r"`([^`]+)`", text)),
    ]


def test_there_are_pages():
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {
        "README.md",
        "docs/operations.md",
        "docs/protocol.md",
        "docs/upgrading.md",
        "docs/design.md",
    } <= names


@each_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match("[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@each_page
def test_every_test_that_is_named_exists(page):
    for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text_of(page)):
        assert (ROOT / file).exists(), file
        assert not name or re.search(rf"^def {name}\(", text_of(ROOT / file), re.MULTILINE), f"{file}::{name}"


@each_page
def test_every_make_target_that_is_named_exists(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {
        target
        for rule in re.findall(r"^([a-z][a-z -]*):(?!=)", makefile, re.MULTILINE)
        for target in rule.split()
    }
    for command in code(page):
        for named in re.findall(r"(?:^|[;&] *|\()make ((?:[a-z]+ ?)+)", command):
            assert set(named.split()) <= targets, command


@functools.lru_cache(None)
def help_of(*command):
    done = subprocess.run(
        [sys.executable, *command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
    return done.stdout


def commands(page):
    """The programs of this project that it names, and with which options."""
    for line in code(page):
        for module, script, rest in re.findall(
            r"(?:^|[\s/\\])(?:python3?|py) (?:-m ([\w.]+)|([\w./\\-]+\.py))([^|;&]*)", line
        ):
            name = module or script.split("/")[-1].split("\\")[-1]
            if module and module.split(".")[0] in ("venv", "pip", "pytest"):
                continue
            yield line, (("-m", module) if module else (name,)), re.findall(r"(?<=\s)--[a-z-]+", rest)
        # `client.py --check` and the like
        for script, rest in re.findall(r"^([a-z]+\.py)((?: \S+)+)$", line):
            yield line, (script,), re.findall(r"(?<=\s)--[a-z-]+", rest)


@each_page
def test_every_command_that_is_named_exists_and_takes_its_options(page):
    for line, command, options in commands(page):
        if command[0] == "-m":
            assert importlib.util.find_spec(command[1]), line
        else:
            assert (ROOT / command[0]).exists() or (ROOT / "demo" / command[0]).exists(), line
        if options:
            for option in options:
                text = help_of(*command, *(["serve"] if command == ("-m", "master") else []))
                assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), line


def test_commands_are_found():
    """Else the test above would hold of anything."""
    found = {(command, *options) for page in PAGES for _, command, options in commands(page)}
    assert (("client.py",), "--check") in found
    assert any(command == ("-m", "master") for command, *_ in found)


@pytest.mark.parametrize(
    "command",
    [["client.py"], ["diagnose.py"], ["-m", "master"], ["-m", "master", "serve"]],
    ids=" ".join,
)
def test_help_works(command):
    help_of(*command)


def test_help_names_every_variable():
    text = help_of("client.py")
    for variable in VARIABLES:
        assert re.search(rf"^  {variable.name} \(", text, re.MULTILINE), variable.name


@each_page
def test_every_variable_that_is_named_exists(page):
    ours = {variable.name for variable in VARIABLES}
    prefixes = tuple(name.split("_")[0] + "_" for name in ours if "_" in name)
    for name in re.findall(r"(?<![\w/$.-])[A-Z]+(?:_[A-Z]+)+(?![\w.-])", text_of(page)):
        if name.startswith(prefixes):
            assert name in ours | MASTERS | OTHERS, name


def test_the_metrics_are_those_that_are_written():
    written = set(re.findall(r"^# TYPE (\S+) (\S+)$", exposition(SNAPSHOT), re.MULTILINE))
    told = set()
    for names, kind in re.findall(
        r"^\| (`failover_worker_[^|]*) \| (\w+) \|", text_of(ROOT / "docs" / "operations.md"), re.MULTILINE
    ):
        told |= {(name, kind) for name in re.findall(r"`([a-z_]+)`", names)}
    assert told == written


def test_the_events_of_operations_are_logged():
    """Those of its tables, as the sources spell them."""
    sources = "".join(
        file.read_text(encoding="utf-8")
        for file in ROOT.glob("*/*.py")
        if file.parent.name not in ("tests", "bench")
    )
    known = set(re.findall(r'"([a-z]+(?:_[a-z]+)*)"', sources))
    page = text_of(ROOT / "docs" / "operations.md")
    tables = page.partition("## What fails")[2]
    named = {re.match("[a-z_]+", piece)[0] for piece in re.findall(r"`([a-z]+(?:_[a-z]+)+[^`]*)`", tables)}
    assert len(named) > 15
    assert named <= known, named - known


def test_the_exit_codes_of_operations_are_the_worker_s():
    import client
    from worker import watchdog

    page = text_of(ROOT / "docs" / "operations.md")
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert codes == {0, client.EXIT_CONFIG, client.EXIT_LOCKED, watchdog.EXIT_HUNG}
