"""The system's Chromium, without a window, and the pixels of what it shows."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import zlib
from pathlib import Path

import pytest

from tests.lab.waiting import PATIENCE_S

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "build" / "pages"


def why_not():
    """Why no page can be looked at here; None: it can."""
    if not PROGRAM:
        return "needs chromium (on Debian: apt install chromium)"
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "needs playwright, which is not made for this system"
    return None


needs_chromium = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@contextlib.contextmanager
def chromium():
    """A browser as playwright drives it."""
    from playwright.sync_api import sync_playwright

    # root has no sandbox of its own user
    sandbox = not (hasattr(os, "geteuid") and os.geteuid() == 0)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=PROGRAM, chromium_sandbox=False if not sandbox else None
        )
        try:
            yield browser
        finally:
            browser.close()


def keep(tab, name):
    """With KEEP_PAGES set, leave a picture for people in build/pages."""
    if os.environ.get("KEEP_PAGES"):
        PICTURES.mkdir(parents=True, exist_ok=True)
        tab.screenshot(path=PICTURES / f"{name}.png", full_page=True)


class Tabs:
    """Pages in one tab, one after the other: a window and a process for each would cost a second of computing."""

    def __init__(self, browser):
        self._browser = browser
        self._tabs = {}

    @contextlib.contextmanager
    def listening(self):
        """Gives what shows a page: `show(url, listeners, viewport=…)`; at the end nobody listens and no page is shown."""
        opened = []

        def show(url, listeners, viewport=None, color_scheme=None, reduced_motion=None, **others):
            """`listeners` are pairs of an event of playwright's Page and a function; what else a page needs that an
            open tab cannot be given has a tab of its own.
            """
            kind = repr(others)
            if kind not in self._tabs:
                self._tabs[kind] = self._browser.new_page(**others)
            tab = self._tabs[kind]
            self._leave(tab)
            for event, listener in listeners:
                tab.on(event, listener)
            opened.append((tab, listeners))
            tab.set_default_timeout(PATIENCE_S * 1000)
            tab.set_viewport_size(viewport or {"width": 1280, "height": 720})
            tab.emulate_media(
                media="null",
                color_scheme=color_scheme or "light",
                reduced_motion=reduced_motion or "no-preference",
            )
            tab.goto(url)
            return tab

        yield show
        for tab, listeners in opened:
            self._leave(tab)
            for event, listener in listeners:
                tab.remove_listener(event, listener)

    @staticmethod
    def _leave(tab):
        tab.mouse.move(0, 0)
        tab.goto("about:blank")


class Pixels:
    """A PNG of 8 bits a channel, not interlaced, as browsers write it (PNG specification, W3C 2003, §7 to §9)."""

    def __init__(self, png):
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        packed, offset = b"", 8
        while offset < len(png):
            length, kind = struct.unpack_from(">I4s", png, offset)
            body = png[offset + 8 : offset + 8 + length]
            if kind == b"IHDR":
                self.width, self.height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", body)
                assert (depth, interlaced) == (8, 0)
                self._size = {2: 3, 6: 4}[color]
            elif kind == b"IDAT":
                packed += body
            offset += length + 12
        self._rows = list(self._unfiltered(zlib.decompress(packed)))

    def _unfiltered(self, data):
        size, stride = self._size, self.width * self._size
        before = bytearray(stride)
        for start in range(0, len(data), stride + 1):
            kind, row = data[start], bytearray(data[start + 1 : start + 1 + stride])
            for i in range(stride):
                left = row[i - size] if i >= size else 0
                corner = before[i - size] if i >= size else 0
                row[i] = (row[i] + _predicted(kind, left, before[i], corner)) & 0xFF
            yield row
            before = row

    def at(self, x, y):
        """Red, green and blue."""
        return tuple(self._rows[y][x * self._size : x * self._size + 3])

    def like(self, color, within=60):
        """Where (x, y) a pixel's color is about that one."""
        return [
            (x, y)
            for y in range(self.height)
            for x in range(self.width)
            if sum(abs(one - other) for one, other in zip(self.at(x, y), color)) <= within
        ]


def _predicted(kind, left, above, corner):
    if kind == 0:
        return 0
    if kind == 1:
        return left
    if kind == 2:
        return above
    if kind == 3:
        return (left + above) // 2
    estimate = left + above - corner
    return min(
        (abs(estimate - left), 0, left),
        (abs(estimate - above), 1, above),
        (abs(estimate - corner), 2, corner),
    )[2]
