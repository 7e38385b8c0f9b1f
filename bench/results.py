"""Run every benchmark in turn and write what they print into bench/RESULTS.md.

    python -m bench.results [MODULE ...]

Only the named ones are measured, and the others' sections stay. All take a quarter of an hour, as root on Linux with
keepalived. A benchmark that cannot run here says so in its section.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
BENCHES = (
    *(f"bench.{name}" for name in ("takeover", "failover", "footprint", "burst", "reconnect")),
    "tests.master.cost",
    "tests.analysis.cost",
)


def section(name: str) -> str:
    about = (importlib.import_module(name).__doc__ or "").partition("\n\n")[0]
    done = subprocess.run([sys.executable, "-m", name], capture_output=True, text=True, check=False)
    print(f"{name}: exit {done.returncode}", file=sys.stderr)
    said = done.stderr.strip().rpartition("\n")[2] if done.returncode else done.stdout.rstrip()
    return f"{about}\n\n`python -m {name}`\n\n```text\n{said}\n```\n"


def main() -> None:
    head, *sections = RESULTS.read_text(encoding="utf-8").split("\n## ")
    told = {text.partition("`python -m ")[2].partition("`")[0]: text for text in sections}
    for name in sys.argv[1:] or BENCHES:
        told[name] = section(name)
    RESULTS.write_text(
        "\n## ".join([head, *(told[name] for name in BENCHES if name in told)]), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
