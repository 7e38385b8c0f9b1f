"""README.md says what is there: settings and lines of the logs; tests.test_docs looks at the rest of all pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from logging_setup import parse_line
from settings.schema import VARIABLES

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_every_setting_is_listed_with_its_default(variable):
    settings = TEXT.partition("## Settings")[2]
    row = re.search(rf"^\| `{variable.name}` \| (.*?) \| (.*?) \| (.*) \|$", settings, re.MULTILINE)
    assert row, f"README.md lists no {variable.name}"
    if variable.default:
        assert row[1] == f"`{variable.default}`"
    assert row.groups()[1:] == (variable.meaning, variable.kind.may_hold)


def test_lines_of_the_logs_are_lines_of_the_logs():
    lines = re.findall(r"^    (\[20.*)$", TEXT, re.MULTILINE)
    assert len(lines) > 15
    for line in lines:
        parse_line(line)


def test_the_pictures_are_small_enough_to_be_kept():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 150_000, picture
