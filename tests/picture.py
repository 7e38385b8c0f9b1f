"""`make picture`: runs the demo, and makes docs/diagnose.png, the picture of its story, by chromium."""

from __future__ import annotations

import subprocess
import sys

from tests.lab.chromium import ROOT, chromium, why_not

PICTURE = ROOT / "docs" / "diagnose.png"


def main() -> int:
    """Its exit code."""
    reason = why_not()
    if reason:
        print(f"no picture can be made: {reason}", file=sys.stderr)
        return 1
    subprocess.run([sys.executable, "-m", "demo"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1000, "height": 800}, color_scheme="light")
        tab.goto((ROOT / "build" / "demo" / "story.html").as_uri())
        plot = tab.locator(".plot").bounding_box()
        tab.mouse.move(plot["x"] + plot["width"] * 0.66, plot["y"] + 60)
        legend = tab.locator(".legend").bounding_box()
        tab.screenshot(
            path=PICTURE, clip={"x": 0, "y": 0, "width": 1000, "height": legend["y"] + legend["height"] + 10}
        )
    print(f"{PICTURE.relative_to(ROOT)} is made anew")
    return 0


if __name__ == "__main__":
    sys.exit(main())
