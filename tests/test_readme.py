"""README.md says what is there: settings, commands, links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from config_table import VARIABLES
from logging_setup import parse_line

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_every_setting_is_listed_with_its_default(variable):
    settings = TEXT.partition("## Settings")[2]
    row = re.search(rf"^\| `{variable.name}` \| (.*?) \|", settings, re.MULTILINE)
    assert row, f"README.md lists no {variable.name}"
    if variable.default:
        assert row[1] == f"`{variable.default}`"


def test_lines_of_the_logs_are_lines_of_the_logs():
    lines = re.findall(r"^    (\[20.*)$", TEXT, re.MULTILINE)
    assert len(lines) > 15
    for line in lines:
        parse_line(line)


def test_links_lead_somewhere():
    headings = {
        re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_the_pictures_are_small_enough_to_be_kept():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 150_000, picture


@pytest.mark.parametrize("command", [["client.py"], ["diagnose.py"], ["-m", "demo.master"]], ids=" ".join)
def test_help_works(command):
    done = subprocess.run(
        [sys.executable, *command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")


def test_every_make_target_that_is_named_exists():
    targets = set(
        re.findall(
            r"(?:`|^    )make ([a-z]+)",
            TEXT + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )
    assert targets >= {"demo", "run", "test", "check"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
