"""`make picture`: runs the demo, and puts its story and the picture of it into README.md and docs/."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.lab.chromium import ROOT, chromium, why_not

FOLDERS = [f"build/demo/node{node}" for node in (1, 2, 3)]
PICTURE = ROOT / "docs" / "diagnose.png"
README = ROOT / "README.md"
STORY = re.compile(r"(?<=node3` tells:\n\n)(?:(?: {4}.*)?\n)+")
"""The indented block below the command in README.md."""


def main() -> int:
    reason = why_not()
    if reason:
        print(f"no picture can be made: {reason}", file=sys.stderr)
        return 1
    subprocess.run([sys.executable, "-m", "demo"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    told = subprocess.check_output([sys.executable, "diagnose.py", *FOLDERS], cwd=ROOT, encoding="utf-8")
    block = "".join(f"    {line.rstrip()}".rstrip() + "\n" for line in told.strip().splitlines())
    text, count = STORY.subn(lambda _: f"{block}\n", README.read_text(encoding="utf-8"))
    if count != 1:
        print(f"{README}: has no story below its command", file=sys.stderr)
        return 1
    README.write_text(text, encoding="utf-8")
    PICTURE.parent.mkdir(exist_ok=True)
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1000, "height": 800}, color_scheme="light")
        tab.goto((ROOT / "build" / "demo" / "story.html").as_uri())
        plot = tab.locator(".plot").bounding_box()
        tab.mouse.move(plot["x"] + plot["width"] * 0.66, plot["y"] + 60)
        legend = tab.locator(".legend").bounding_box()
        tab.screenshot(
            path=PICTURE, clip={"x": 0, "y": 0, "width": 1000, "height": legend["y"] + legend["height"] + 10}
        )
    print(f"{PICTURE.relative_to(ROOT)} and the story in README.md are made anew")
    return 0


if __name__ == "__main__":
    sys.exit(main())
