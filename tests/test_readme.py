"""README.md says what is there: lines of the logs; tests.test_docs looks at the rest of all pages."""

from __future__ import annotations

import re
from pathlib import Path

from logs.format import parse_line

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_lines_of_the_logs_are_lines_of_the_logs():
    lines = re.findall(r"^    (\[20.*)$", TEXT, re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        parse_line(line)


def test_it_is_one_page():
    assert len(TEXT.split()) <= 1500


def test_the_pictures_are_small_enough_to_be_kept():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 150_000, picture
