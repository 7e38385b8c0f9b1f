"""`python -m tests.dashboard_picture`: photographs the master's page during a takeover, for README.md.

The master and its nine workers are real processes; the workers' addresses are simulated.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

from tests.lab.chromium import ROOT, chromium, why_not
from tests.lab.processes import start_master
from tests.lab.waiting import PATIENCE_S
from tests.lab.workers import Worker

PICTURE = ROOT / "docs" / "dashboard.png"
SIZE = {"width": 1280, "height": 720}


def main() -> int:
    reason = why_not()
    if reason:
        print(f"no picture can be made: {reason}", file=sys.stderr)
        return 1
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        master = stack.enter_context(start_master("--dead-after", "2.5"))
        workers = {}
        for number in range(1, 10):
            workers[number] = Worker(folder / str(number), master, number)
            stack.callback(workers[number].end)
        for worker in workers.values():
            worker.wait("connected", limit_s=PATIENCE_S)
        browser = stack.enter_context(chromium())
        tab = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
        tab.set_default_timeout(PATIENCE_S * 1000)
        tab.goto(master.url)
        tab.wait_for_function("() => document.body.dataset.level === 'served'")
        workers[5].end()
        tab.wait_for_selector("#arrows .held", state="attached")
        tab.wait_for_function("() => document.body.innerText.includes('dead for 3 s')")
        PICTURE.parent.mkdir(exist_ok=True)
        tab.screenshot(path=PICTURE)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
