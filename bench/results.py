"""Run every benchmark in turn and write what they print into bench/RESULTS.md.

    python -m bench.results [NAME ...]

Only the named ones are measured, and the others' sections stay. All take about ten minutes, as root on Linux with
keepalived. A benchmark that cannot run here says so in its section.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path

from bench.measure import machine

RESULTS = Path(__file__).with_name("RESULTS.md")
BENCHES = ("takeover", "failover", "footprint", "burst", "reconnect", "master")


def section(name: str) -> str:
    about = (importlib.import_module(f"bench.{name}").__doc__ or "").split("\n\n")
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}"], capture_output=True, text=True, check=False
    )
    print(f"{name}: exit {done.returncode}, {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    told = (
        done.stdout.rstrip()
        if done.returncode == 0
        else (done.stderr.strip().splitlines() or ["it failed"])[-1]
    )
    return f"## {about[0].strip()}\n\n`python -m bench.{name}`\n\n```text\n{told}\n```\n"


def main() -> None:
    head = (
        "# What it costs, beside what people would use instead\n\n"
        f"Written by `make bench`: peers are measured in the same run, since only their ratios carry over to another"
        f" machine. This one: {machine()}.\n"
    )
    names = sys.argv[1:] or BENCHES
    before = {}
    for old in RESULTS.read_text(encoding="utf-8").split("\n## ")[1:] if RESULTS.exists() else ():
        before[old.partition("`python -m bench.")[2].partition("`")[0]] = f"## {old.rstrip()}\n"
    told = [section(name) if name in names else before.get(name, "") for name in BENCHES]
    RESULTS.write_text("\n".join([head, *filter(None, told)]), encoding="utf-8")


if __name__ == "__main__":
    main()
