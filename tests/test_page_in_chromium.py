"""The page in a real browser: what it asks for, shows, reads out, and how it looks on other screens and on paper."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from story.episodes import Story
from story.page import render
from tests.lab.chromium import PICTURES, ROOT, Pixels, chromium, needs_chromium
from tests.story_logs import Worker, a_night, joined
from tests.test_page import node_of

pytestmark = needs_chromium
LIGHT, DARK = {"color_scheme": "light"}, {"color_scheme": "dark"}
WIDE = {"viewport": {"width": 1200, "height": 900}}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """The page of a night, and what --json tells of it."""
    root = tmp_path_factory.mktemp("night")
    folders = a_night(root)
    command = [
        sys.executable,
        str(ROOT / "diagnose.py"),
        *map(str, folders),
        "--json",
        "--html",
        str(root / "page.html"),
    ]
    told = subprocess.run(command, capture_output=True, timeout=30, check=True).stdout
    return root / "page.html", json.loads(told)


@pytest.fixture
def look(browser, tmp_path):
    """Open a page, given as a file or its text; it must neither complain nor ask for anything but itself."""
    contexts, faults = [], []

    def open_page(page, **screen):
        context = browser.new_context(**{**WIDE, **screen})
        contexts.append(context)
        tab = context.new_page()
        if isinstance(page, str):
            file = tmp_path / "page.html"
            file.write_text(page, encoding="utf-8")
            page = file
        tab.on("console", lambda message: faults.append(message.text))
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("dialog", lambda dialog: (faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        tab.on("request", lambda request: request.url == page.as_uri() or faults.append(request.url))
        tab.goto(page.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def keep(tab, name):
    """A screenshot among what the build leaves behind, to be looked at."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    return tab.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def readings(tab):
    return tab.locator(".reading").all_inner_texts()


def now(tab):
    return tab.locator(".now").inner_text()


def colour(tab, name):
    """A colour of the page's own as red, green and blue."""
    value = tab.evaluate("name => getComputedStyle(document.documentElement).getPropertyValue(name)", name)
    return (
        tuple(int(digit * 2, 16) for digit in value[1:])
        if len(value) == 4
        else tuple(bytes.fromhex(value[1:7]))
    )


def test_a_server_of_it_is_asked_for_the_page_and_nothing_else(browser, night):
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(night[0].read_bytes())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            tab = browser.new_page()
            tab.goto(f"http://127.0.0.1:{server.server_port}/", wait_until="networkidle")
            tab.keyboard.press("Tab")
            tab.close()
        finally:
            server.shutdown()
    assert asked == ["/"]


def table(tab, name):
    """The rows of a table that is found by its caption, each by its columns' headings."""
    found = tab.get_by_role("table", name=name, exact=True)
    heads = found.locator("th[scope=col]").all_inner_texts()
    cells = found.locator("tbody tr").evaluate_all(
        """rows => rows.map(row => [...row.cells].map(cell =>
            cell.querySelector("time") ? cell.querySelector("time").dateTime : cell.innerText))"""
    )
    return [dict(zip(heads, row)) for row in cells]


def spelled(value, null="–"):
    return null if value is None else value if isinstance(value, str) else json.dumps(value)


def test_the_numbers_of_the_page_are_those_of_json(look, night):
    page, told = night
    tab = look(page)
    assert json.loads(tab.locator("#story").text_content()) == told
    rows = table(tab, "Nodes")
    assert len(rows) == len(told["nodes"]) == 3
    for row, node in zip(rows, told["nodes"]):
        assert [
            row[name] for name in ("node", "from", "to", "pings", "missed", "p50 ms", "p99 ms", "max ms")
        ] == [
            *(spelled(node[key]) for key in ("node", "from", "to", "pings", "missed")),
            *(spelled(node["rtt_ms"][key]) for key in ("p50", "p99", "max")),
        ]
        assert row["outages"] == str(len(node["outages"]))
    outages = [{"node": node["node"], **outage} for node in told["nodes"] for outage in node["outages"]]
    rows = table(tab, "Without the master")
    assert {tuple(row[name] for name in ("node", "from", "to", "lasted s", "reason")) for row in rows} == {
        tuple(spelled(outage[key]) for key in ("node", "start", "end", "duration_s", "reason"))
        for outage in outages
    }
    assert len(rows) == len(outages)
    keys = {
        "of node": "disconnected_node",
        "at node": "recovery_node",
        "address": "address",
        "outcome": "outcome",
        "reason": "reason",
        "ordered": "received",
        "taken": "taken",
        "given back": "released",
        "took ms": "takeover_ms",
    }
    rows = table(tab, "Failovers")
    assert len(rows) == len(told["failovers"]) == 2
    for row, failover in zip(rows, told["failovers"]):
        assert {head: row[head] for head in keys} == {
            head: spelled(failover[key]) for head, key in keys.items()
        }


def test_the_keyboard_moves_a_cursor_that_reads_out_all_lanes(look, night):
    tab = look(night[0])
    slider = tab.get_by_role("slider")
    slider.focus()
    tab.keyboard.press("End")
    assert now(tab) == "11-24 22:47:29.000"
    assert readings(tab) == ["1.8 ms", "1.5 ms", "1.5 ms"]
    assert slider.get_attribute("aria-valuenow") == "29.000"
    told = slider.get_attribute("aria-valuetext")
    assert told == "11-24 22:47:29.000 UTC+0000. node 1: 1.8 ms. node 2: 1.5 ms. node 3: 1.5 ms"
    tab.keyboard.press("Home")
    assert now(tab) == "11-24 22:47:00.000"
    # ten of its steps are a tenth of the picture each
    for _ in range(5):
        tab.keyboard.press("PageUp")
    assert now(tab) == "11-24 22:47:14.500"
    assert readings(tab) == [
        "1.8 ms; held 10.9.0.2/24 of node 2: 12.4 s",
        "silent for 17.0 s: killed, or its machine died",
        "no master for 2.8 s, network: ping timeout (the master answered node 1 meanwhile)",
    ]
    before = float(slider.get_attribute("aria-valuenow"))
    tab.keyboard.press("ArrowRight")
    step = float(slider.get_attribute("aria-valuenow")) - before
    assert 0 < step < 0.2
    tab.keyboard.press("ArrowLeft")
    assert float(slider.get_attribute("aria-valuenow")) == pytest.approx(before, abs=0.001)
    tab.keyboard.press("Escape")
    assert not tab.locator(".cursor").is_visible()


def test_the_keyboard_zooms_and_the_ticks_follow(look, night):
    tab = look(night[0])
    tab.get_by_role("slider").focus()
    whole = tab.locator(".ticks span").all_inner_texts()
    tab.keyboard.press("Home")
    for _ in range(4):
        tab.keyboard.press("+")
    near = tab.locator(".ticks span").all_inner_texts()
    assert near != whole
    assert all(re.fullmatch(r"22:47:0[01]\.\d\d", text) for text in near)
    assert 4 <= len(near) <= 20
    # the silence is far to the right now, and so are its words
    assert not tab.locator(".words.silence").is_visible()
    tab.keyboard.press("End")
    assert not tab.locator(".words.silence").is_visible()
    assert now(tab) == "11-24 22:47:29.000"
    assert tab.locator(".cursor").bounding_box()["x"] > tab.locator(".lanes").bounding_box()["x"]
    tab.keyboard.press("0")
    assert tab.locator(".ticks span").all_inner_texts() == whole
    assert tab.locator(".words.silence").is_visible()


def test_every_control_can_be_reached_and_seen_by_keyboard(look, night):
    tab = look(night[0])
    seen = []
    for _ in range(14):
        tab.keyboard.press("Tab")
        name, outline, box = tab.evaluate(
            """() => {
                const element = document.activeElement, box = element.getBoundingClientRect();
                const framed = element.getAttribute("role") === "slider" ? element.closest(".chart") : element;
                const style = getComputedStyle(framed);
                return [element.getAttribute("aria-label") || element.textContent,
                        style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth), [box.left, box.top]];
            }"""
        )
        seen.append(name)
        assert outline >= 2, name
        assert min(box) >= 0, name
    assert seen[:3] == ["Picture", "Event by event", "In numbers"]
    assert seen[3:8] == ["Earlier", "Later", "Show more time", "Show less time", "Show the whole time"]
    assert seen[8].startswith("Time")


def test_the_mouse_reads_out_and_zooms_by_dragging(look, night):
    tab = look(night[0])
    box = tab.locator(".plot").first.bounding_box()

    def there(second):
        return box["x"] + box["width"] * second / 29

    tab.mouse.move(there(5), box["y"] + 20)
    assert now(tab).startswith("11-24 22:47:05.0")
    assert readings(tab)[1] == (
        "silent for 17.0 s: killed, or its machine died; nobody held 10.9.0.2/24: up to 5.3 s"
    )
    tab.mouse.move(there(10), box["y"] + 20)
    tab.mouse.down()
    tab.mouse.move(there(15), box["y"] + 30)
    assert tab.locator(".pick").is_visible()
    tab.mouse.up()
    assert not tab.locator(".pick").is_visible()
    labels = tab.locator(".ticks span").all_inner_texts()
    assert (labels[0], labels[-1]) == ("22:47:10.00", "22:47:15.00") or labels[0].startswith("22:47:10.")
    tab.mouse.move(box["x"] + 1, box["y"] + 20)
    assert now(tab).startswith("11-24 22:47:10.0")


def test_a_finger_reads_out(look, night):
    tab = look(night[0], **PHONE)
    box = tab.locator(".plot").first.bounding_box()
    tab.touchscreen.tap(box["x"] + box["width"] * 14 / 29, box["y"] + 20)
    assert now(tab).startswith("11-24 22:47:14.0")
    assert readings(tab)[2].startswith("no master for 2.8 s, network: ping timeout")


def test_a_time_of_the_list_leads_to_its_place_in_the_picture(look, night):
    tab = look(night[0])
    tab.get_by_role("row", name="node 1 took 10.9.0.2/24").get_by_role("link").click()
    assert now(tab) == "11-24 22:47:08.300"
    assert tab.evaluate("document.activeElement.getAttribute('role')") == "slider"
    assert tab.locator(".cursor").is_visible()


def line_of(tab, lane, top=0.0, height=1.0):
    """Where, in pixels of a part of a lane's curve, something has the line's colour, and that part's width."""
    box = tab.locator(".lane svg").nth(lane).bounding_box()
    clip = {**box, "y": box["y"] + box["height"] * top, "height": box["height"] * height}
    tab.mouse.move(1, 1)
    shot = Pixels(tab.screenshot(clip=clip))
    return [x for x, _ in shot.like(colour(tab, "--line"), within=150)], shot.width


def test_the_line_breaks_where_nothing_was_logged(look, night):
    tab = look(night[0])
    lit, width = line_of(tab, 1)
    seconds = {round(x * 29 / width) for x in lit}
    assert {1, 2, 3} <= seconds
    assert not seconds & {*range(5, 20)}
    assert {*range(21, 29)} <= seconds


def test_an_answer_alone_is_seen(look):
    answers = [*((2 * each, 1.0) for each in range(30)), (100, 1.0), (160, 1.0)]
    lit, width = line_of(look(render(Story((node_of(1, answers),), (), 0))), 0)
    assert {round(x / width, 1) for x in lit} == {0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0}


@pytest.mark.parametrize(
    "screen", [WIDE, PHONE, {**WIDE, "device_scale_factor": 2}], ids=["wide", "phone", "fine"]
)
def test_a_spike_of_one_ping_among_43200_is_seen(look, screen):
    spike = 30_001
    answers = [(2 * each, 80.0 if each == spike else 1.0 + each % 7 / 10) for each in range(43_200)]
    tab = look(render(Story((node_of(1, answers),), (), 0)), **screen)
    keep(tab, f"spike-{tab.viewport_size['width']}")
    lit, width = line_of(tab, 0, top=0.1, height=0.4)
    assert lit
    assert {round(x / width, 2) for x in lit} <= {
        round(spike / 43_200 + each, 2) for each in (-0.01, 0, 0.01)
    }
    # and the cursor reads it out wherever it is near enough to be taken for it
    tab.get_by_role("slider").focus()
    tab.keyboard.press("Home")
    for _ in range(5):
        tab.keyboard.press("+")
    tab.keyboard.press("0")
    box = tab.locator(".plot").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * spike / 43_200, box["y"] + 10)
    assert readings(tab)[0].endswith("to 80 ms")


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_all_of_it_can_be_read_in_the_light_and_in_the_dark(look, night, scheme):
    tab = look(night[0], **scheme)
    tab.get_by_role("slider").focus()
    tab.keyboard.press("Home")
    keep(tab, f"night-{scheme['color_scheme']}")
    paper = colour(tab, "--paper")
    assert (sum(paper) < 150) == (scheme is DARK)
    for name in ("--ink", "--faint", "--out", "--silent", "--held", "--line"):
        for ground in ("--paper", "--lane"):
            assert contrast(colour(tab, name), colour(tab, ground)) >= 4.5, (name, ground)
    for name in ("--out", "--silent", "--held"):
        assert contrast(colour(tab, name), shaded(tab, f"{name}-fill")) >= 4.5, name


def shaded(tab, name):
    """What a half transparent colour makes of a lane."""
    value = tab.evaluate("name => getComputedStyle(document.documentElement).getPropertyValue(name)", name)
    share = int(value[7:9], 16) / 255
    return tuple(
        share * over + (1 - share) * under for over, under in zip(colour(tab, name), colour(tab, "--lane"))
    )


def contrast(one, other):
    """As WCAG 2.1 defines it."""
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def luminance(rgb):
    parts = [each / 255 for each in rgb]
    red, green, blue = (
        each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def long_words(root):
    """The page of reasons and names that are long, with and without places to break a line at."""
    first = Worker(1).start(0).ping(1, 5).say(6, "disconnected", reason="x" * 400)
    first.say(9, "connected", master="m").say(9.1, "sent", **joined(1)).ping(11, 30)
    first.say(10, "takeover_refused", node=2, address="10.9.0.2/24", reason="why not " * 40)
    nameless = Worker().ping(1, 30)
    folders = [first.write(root / "node1"), nameless.write(root / ("nameless" * 15))]
    command = [
        sys.executable,
        str(ROOT / "diagnose.py"),
        *map(str, folders),
        "--html",
        str(root / "long.html"),
    ]
    subprocess.run(command, capture_output=True, timeout=30, check=True)
    return root / "long.html"


@pytest.mark.parametrize("width", [320, 600])
def test_no_screen_is_too_narrow_for_it(look, tmp_path, night, width):
    for page in (long_words(tmp_path), night[0]):
        tab = look(page, **{**PHONE, "viewport": {"width": width, "height": 740}})
        tab.locator(".lanes").tap(position={"x": width / 2, "y": 100})
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        outside = tab.evaluate(
            """() => [...document.querySelectorAll(".reading, .now, .ticks span, .head b, button, h1, p, figcaption")]
                .filter(each => each.getBoundingClientRect().right > innerWidth + 1 || each.getBoundingClientRect().left < -1)
                .map(each => each.className || each.textContent)"""
        )
        assert outside == []
        keep(tab, f"{page.stem}-{width}")


def test_on_paper_it_is_light_and_has_no_buttons(look, night):
    tab = look(night[0], **DARK)
    tab.emulate_media(media="print", color_scheme="dark")
    keep(tab, "night-print")
    assert colour(tab, "--paper") == (255, 255, 255)
    assert not tab.locator("button").first.is_visible()
    assert tab.get_by_role("table", name="Failovers").is_visible()
    (PICTURES / "night.pdf").write_bytes(tab.pdf(format="A4", print_background=True))
    assert (PICTURES / "night.pdf").read_bytes().startswith(b"%PDF")


def test_without_its_script_it_shows_the_same_picture(look, night):
    tab = look(night[0], java_script_enabled=False)
    keep(tab, "night-without-script")
    assert not tab.locator("button").first.is_visible()
    assert tab.locator(".words.silence").is_visible()
    assert tab.locator(".ticks span").count() > 4
    box = tab.locator(".lane svg").first.bounding_box()
    assert (
        len({x for x, _ in Pixels(tab.screenshot(clip=box)).like((0, 0x68, 0xA8), within=90)})
        > box["width"] * 0.9
    )


HOSTILE = (
    "</script><script>alert(1)</script ><img src=x onerror=alert(2)>]]>--><!--<script \"'`&lt;${7*7}</title>"
    "\u2028\x1b[2J\u202e" + "y" * 99
)


def test_nothing_in_a_log_is_markup_or_runs(look, tmp_path):
    worker = Worker(1).start(0).ping(1, 5).say(6, "disconnected", reason=HOSTILE)
    worker.say(6.5, "connected", master="m").say(6.6, "sent", **joined(1))
    worker.say(7, "takeover_refused", node=2, address=HOSTILE, reason=HOSTILE)
    worker.say(7.5, "takeover_done", node=3, address=HOSTILE, took_ms=3.0, interface=HOSTILE)
    worker.say(8, "address_conflict", node=2, address=HOSTILE, mac=HOSTILE).say(9, "crashed", error=HOSTILE)
    worker.say(9.5, "started", node=1, version=HOSTILE, pid=1).say(9.6, "stopping", signal=HOSTILE)
    folder, file = worker.write(tmp_path / "<b>node1\"'"), tmp_path / "page.html"
    command = [sys.executable, str(ROOT / "diagnose.py"), str(folder), "--json", "--html", str(file)]
    told = json.loads(subprocess.run(command, capture_output=True, timeout=30, check=True).stdout)
    assert HOSTILE in [outage["reason"] for outage in told["nodes"][0]["outages"]]
    tab = look(file)
    tab.get_by_role("slider").focus()
    for key in ("Home", "PageUp", "PageUp", "PageUp", "PageUp", "PageUp", "PageUp", "PageUp", "+", "End"):
        tab.keyboard.press(key)
    assert json.loads(tab.locator("#story").text_content()) == told
    assert tab.evaluate("document.scripts.length") == 3
    assert tab.evaluate("document.images.length") == 0
    assert "<img src=x onerror=alert(2)>" in tab.locator(".words.outage").inner_text()
    text = file.read_text(encoding="utf-8")
    assert not {"\x1b", "\u202e", "\u2028"} & set(text)


def test_a_script_that_is_not_its_own_does_not_run_even_where_it_gets_onto_the_page(browser, night, tmp_path):
    text = night[0].read_text(encoding="utf-8")
    file = tmp_path / "page.html"
    file.write_text(
        text.replace("<h1>", "<script>window.ran = 1</script><h1 onclick='window.ran = 1'>"), encoding="utf-8"
    )
    tab = browser.new_page()
    complaints = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.goto(file.as_uri())
    tab.locator("h1").click()
    assert tab.evaluate("window.ran") is None
    assert any("Content Security Policy" in text for text in complaints)
    tab.close()
