"""Writes what follows from the schema: `.env.example`, and the table of docs/settings.md.

`python -m tests.settings.pages`
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from settings.schema import VARIABLES

ROOT = Path(__file__).resolve().parents[2]


def env_example() -> str:
    """The text of `.env.example`."""
    text = [
        "# Copy this file to .env and set what you need; only NODE_ID is required. The environment wins over this file.",
        "# A value with a blank, a quote or a # goes in single quotes. `chmod 600 .env` if it contains a secret.",
    ]
    for variable in VARIABLES:
        sentence = f"{variable.meaning} Expected: {variable.type.expected}."
        if not variable.default_value:
            sentence += f" Default: {variable.default_text}."
        text += ["", *textwrap.wrap(sentence, 110, initial_indent="# ", subsequent_indent="# ")]
        text.append(f"#{variable.name}={variable.default_value}")
    return "\n".join([*text, ""])


def table() -> str:
    """The table of docs/settings.md."""
    rows = ["| variable | default | meaning | expected |", "| --- | --- | --- | --- |"]
    for variable in VARIABLES:
        default = f"`{variable.default}`" if variable.default_value else variable.default_text
        rows.append(f"| `{variable.name}` | {default} | {variable.meaning} | {variable.type.expected} |")
    return "\n".join(rows)


def main():
    (ROOT / ".env.example").write_text(env_example(), encoding="utf-8")
    page = ROOT / "docs" / "settings.md"
    text = page.read_text(encoding="utf-8")
    table_now = re.compile(r"^\| variable .*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
    page.write_text(table_now.sub(lambda _: table(), text), encoding="utf-8")


if __name__ == "__main__":
    main()
