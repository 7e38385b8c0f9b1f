"""Writes what follows from the schema: `.env.example`, and the table of docs/settings.md."""

from __future__ import annotations

import re
from pathlib import Path

from settings.schema import env_example, table

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    (ROOT / ".env.example").write_text(env_example(), encoding="utf-8")
    page = ROOT / "docs" / "settings.md"
    text = page.read_text(encoding="utf-8")
    table_now = re.compile(r"^\| variable .*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
    page.write_text(table_now.sub(lambda _: table(), text), encoding="utf-8")


if __name__ == "__main__":
    main()
