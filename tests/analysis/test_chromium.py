"""The page in a real browser: what it asks for, shows and reads out, on other screens, in the dark and on paper."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.analysis.logs import Worker, a_night, joined, recover
from tests.lab.chromium import ROOT, Pixels, Tabs, chromium, keep, needs_chromium
from tests.lab.waiting import PATIENCE_S

pytestmark = needs_chromium
SCREENS = {
    "1400": {"viewport": {"width": 1400, "height": 900}},
    "1000": {"viewport": {"width": 1000, "height": 900}},
    "390": {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True},
}


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def tabs(browser):
    return Tabs(browser)


def page_of(root, folders, *options):
    """The page of those folders, and what --json prints of them."""
    file = root / "page.html"
    command = [sys.executable, str(ROOT / "diagnose.py"), *map(str, folders), "--json", "--html", str(file)]
    done = subprocess.run([*command, *options], capture_output=True, timeout=2 * PATIENCE_S, check=True)
    return file, json.loads(done.stdout)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    root = tmp_path_factory.mktemp("night")
    return page_of(root, a_night(root))


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """Five hours of five nodes with failovers, refusals, freezes and losses close to each other."""
    root, chance = tmp_path_factory.mktemp("busy"), random.Random(7)
    workers = [Worker(node).start(0) for node in range(1, 6)]
    for place in range(24):
        at, dead = 300 + place * 700, place % 5
        owner, taker, refuser = workers[dead], workers[(dead + 1) % 5], workers[(dead + 3) % 5]
        refuser.say(at + 5, "received", **recover(dead + 1, refuser.node))
        refuser.refuse(
            at + 5.2, dead + 1, f"10.9.0.{dead + 1} is in use by 0e:84:00:00:00:0{dead}: its owner is alive"
        )
        taker.take(at + 5.4, dead + 1, ordered=at + 5.22).release(at + chance.randrange(20, 600), dead + 1)
        if place % 3:
            owner.say(at, "disconnected", reason="WebSocket connection was closed").say(
                at + 60, "connected", master="m"
            )
        else:
            owner.say(at + 8, "was_frozen", reason="the process stood still for 7.9 s")
    folders = []
    for worker in workers:
        for seq in range(9000):
            worker.say(1 + 2 * seq, "ping", seq=seq, rtt_ms=chance.lognormvariate(0.6, 0.5))
        worker.lines["comms.log"].sort(key=lambda line: line[:30])
        folders.append(worker.write(root / f"node{worker.node}"))
    return page_of(root, folders)


@pytest.fixture
def look(tabs):
    """Open a page; at its end nothing was complained of, and nothing but the page was asked for."""
    files, complaints, asked = [], [], []
    listeners = [
        ("console", lambda message: complaints.append(message.text)),
        ("pageerror", lambda error: complaints.append(str(error))),
        ("request", lambda request: asked.append(request.url)),
    ]

    def open_it(file, **options):
        files.append(file)
        return show(file.as_uri(), listeners, **options)

    with tabs.listening() as show:
        yield open_it
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri() for file in files]


BOXES = """() => [...document.querySelectorAll('#chart svg text:not(.nowtext)')].filter(each => each.textContent).map(each => {
    const {left, right, top, bottom} = each.getBoundingClientRect();
    return {left, right, top, bottom, text: each.firstChild.textContent, kind: each.getAttribute('class')};
})"""
ARROWS = """() => [...document.querySelectorAll('#chart .arrow')].map(each => {
    const {left, right, top, bottom} = each.getBoundingClientRect();
    return {x: (left + right) / 2, top, bottom};
})"""


def touching(one, other):
    """Whether two texts lie over each other, by more than the room above and below their letters."""
    return (
        min(one["right"], other["right"]) - max(one["left"], other["left"]) > 1
        and min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) > 4
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("log", ["night", "busy"])
def test_no_text_lies_over_another_or_leaves_the_page(look, request, log, screen, scheme):
    tab = look(request.getfixturevalue(log)[0], color_scheme=scheme, **SCREENS[screen])
    keep(tab, f"{log}-{screen}-{scheme}")
    width = SCREENS[screen]["viewport"]["width"]
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    boxes = tab.evaluate(BOXES)
    assert len(boxes) > 10
    plot = tab.locator(".plot").bounding_box()
    ends = plot["x"], plot["x"] + plot["width"]
    assert [box["text"] for box in boxes if box["left"] < ends[0] - 1 or box["right"] > ends[1] + 1] == []
    over = [
        (one["text"], other["text"])
        for place, one in enumerate(boxes)
        for other in boxes[place + 1 :]
        if touching(one, other)
    ]
    assert over == []
    crossed = [
        box["text"]
        for box in boxes
        if "label" in box["kind"] and "cross" not in box["kind"]
        for arrow in tab.evaluate(ARROWS)
        if box["left"] < arrow["x"] < box["right"]
        and arrow["top"] < box["top"] + 3
        and box["bottom"] - 3 < arrow["bottom"]
    ]
    assert crossed == []


def test_a_server_of_it_is_asked_for_the_page_and_nothing_else(browser, night):
    asked, body = [], night[0].read_bytes()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tab = browser.new_page()
        tab.goto(f"http://127.0.0.1:{server.server_port}/", wait_until="networkidle")
        tab.close()
        server.shutdown()
    assert asked == ["/"]


def slider(tab):
    return tab.get_by_role("slider")


def readings(tab):
    return tab.locator(".reading li").all_inner_texts()


def now(tab):
    return tab.locator(".nowtext").text_content()


def test_the_numbers_of_the_page_are_those_of_json(look, night):
    tab, told = look(night[0]), night[1]
    assert json.loads(tab.locator("#story").text_content()) == told
    rows = tab.get_by_role("table", name="Nodes").locator("tbody tr")
    for place, node in enumerate(told["nodes"]):
        cells = rows.nth(place).locator("td").all_inner_texts()
        assert [cells[0], cells[3], cells[4], cells[-1]] == [
            str(node["node"]),
            str(node["pings"]),
            str(node["missed"]),
            str(len(node["outages"])),
        ]
    assert tab.get_by_role("table", name="Failovers").locator("tbody tr").count() == len(told["failovers"])
    assert tab.locator("h1").inner_text() == tab.title()


def test_the_keyboard_moves_a_cursor_that_reads_out_all_lanes(look, night):
    tab = look(night[0])
    slider(tab).focus()
    tab.keyboard.press("Home")
    assert now(tab) == "11-24 22:47:00.000"
    for _ in range(4):
        tab.keyboard.press("PageUp")
    assert now(tab).startswith("11-24 22:47:11.6")
    first, second, third = readings(tab)
    assert first.startswith("Node 1: holds 10.9.0.2/24 of node 2")
    assert second.startswith("Node 2: nothing logged for 17.0 s")
    assert third.startswith("Node 3: ")
    assert "22:47:11.6" in slider(tab).get_attribute("aria-valuetext")
    tab.keyboard.press("End")
    assert now(tab) == "11-24 22:47:29.000"
    tab.keyboard.press("Escape")
    assert readings(tab) == []


def test_the_keyboard_zooms_and_shows_all_again(look, night):
    tab = look(night[0])
    slider(tab).focus()
    whole = tab.locator(".zone").inner_text()
    tab.keyboard.press("Home")
    tab.keyboard.press("+")
    tab.keyboard.press("+")
    assert tab.locator(".zone").inner_text() != whole
    texts = tab.locator(".plot text.small").all_text_contents()
    assert "22:47:05.0" in texts
    tab.keyboard.press("0")
    assert tab.locator(".zone").inner_text() == whole


def test_every_control_can_be_reached_and_seen_by_keyboard(look, night):
    tab = look(night[0])
    reached = []
    for _ in range(12):
        tab.keyboard.press("Tab")
        reached.append(
            tab.evaluate("""() => {
                const it = document.activeElement;
                return [it.dataset.do || it.getAttribute('role') || it.tagName, getComputedStyle(it).outlineStyle];
            }""")
        )
    names = [name for name, _ in reached]
    assert {"earlier", "later", "out", "in", "whole", "slider"} <= set(names)
    assert {outline for name, outline in reached if name in ("earlier", "slider")} == {"solid"}


def test_the_mouse_reads_out_and_the_buttons_zoom_there(look, night):
    tab = look(night[0], **SCREENS["1400"])
    box = tab.locator(".plot").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
    assert len(readings(tab)) == 3
    whole, before = tab.locator(".zone").inner_text(), now(tab)
    tab.get_by_role("button", name="Show less time").click()
    assert tab.locator(".zone").inner_text() != whole
    assert now(tab) == before
    tab.get_by_role("button", name="Whole").click()
    assert tab.locator(".zone").inner_text() == whole


def test_a_finger_reads_out(look, night):
    tab = look(night[0], **SCREENS["390"])
    box = tab.locator(".plot").bounding_box()
    tab.touchscreen.tap(box["x"] + 42 + (box["width"] - 42) * 14 / 29, box["y"] + 60)
    assert now(tab).startswith("11-24 22:47:1")
    assert "no master for 2.8 s" in readings(tab)[2]


def test_a_time_of_the_list_leads_to_its_place_in_the_chart(look, night):
    tab = look(night[0])
    tab.get_by_role("row", name="node 1 took 10.9.0.2/24").get_by_role("link").click()
    assert now(tab) == "11-24 22:47:08.300"
    assert tab.evaluate("document.activeElement.getAttribute('role')") == "slider"


def test_the_line_breaks_where_nothing_was_logged(look, night):
    tab = look(night[0], **SCREENS["1400"])
    paths = tab.locator(".plot path.curve")
    d = paths.nth(1).get_attribute("d")
    moves = [float(part.split()[0]) for part in d.replace("L", "M").split("M")[1:]]
    width = tab.locator(".plot").bounding_box()["width"] - 46
    seconds = {round((x - 46) / width * 29) for x in moves}
    assert {1, 3, 21, 29} <= seconds
    assert not seconds & set(range(5, 20))
    assert d.count("M") == 2


@pytest.mark.parametrize("screen", SCREENS)
def test_a_spike_of_one_ping_among_43200_is_seen(look, tmp_path, screen):
    worker = Worker(1).start(0)
    for seq in range(43_200):
        worker.say(2 * seq, "ping", seq=seq, rtt_ms=80.0 if seq == 30_001 else 1.0 + seq % 7 / 10)
    file, _ = page_of(tmp_path, [worker.write(tmp_path / "node1")])
    tab = look(file, **SCREENS[screen])
    box = tab.locator(".plot path.curve").bounding_box()
    others = [part for part in tab.locator(".plot path.curve").get_attribute("d").split("M") if "V" in part]
    tops = [
        min(float(part.split()[1].split("V")[0]), float(part.split("V")[1].split("M")[0])) for part in others
    ]
    assert len([top for top in tops if top < min(tops) + 1]) == 1
    assert box["height"] > 15


def colors(tab, *names):
    probe = """names => names.map(name => {
        const it = document.createElement('i'); it.style.color = `var(${name})`; document.body.append(it);
        const color = getComputedStyle(it).color; it.remove(); return color;
    })"""
    return [
        tuple(map(float, text[text.index("(") + 1 : -1].split(",")))[:3]
        for text in tab.evaluate(probe, list(names))
    ]


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_of_it_can_be_read_in_the_light_and_in_the_dark(look, night, scheme):
    tab = look(night[0], color_scheme=scheme)
    paper, panel = colors(tab, "--paper", "--panel")
    assert (sum(paper) < 150) == (scheme == "dark")
    for name in ("--ink", "--muted", "--accent", "--good", "--bad", "--warn", "--other"):
        for ground in (paper, panel):
            assert contrast(colors(tab, name)[0], ground) >= 4.5, (name, scheme)


def test_on_paper_it_is_light_and_has_no_buttons(look, night):
    tab = look(night[0], color_scheme="dark")
    tab.emulate_media(media="print", color_scheme="dark")
    keep(tab, "night-print")
    assert colors(tab, "--paper") == [(255, 255, 255)]
    assert not tab.locator("button").first.is_visible()
    assert tab.get_by_role("table", name="Failovers").is_visible()
    assert tab.pdf(format="A4", print_background=True).startswith(b"%PDF")


def test_without_its_script_it_says_the_same_in_words(look, night):
    tab = look(night[0], java_script_enabled=False)
    assert not tab.locator("#chart").is_visible()
    assert tab.get_by_role("table", name="What happened").is_visible()
    assert "The chart is drawn by this page's own script" in tab.locator("noscript").text_content()


def test_the_chart_has_color_where_an_address_is_held(look, night):
    tab = look(night[0], **SCREENS["1000"])
    box = tab.locator("rect.hold").first.bounding_box()
    shot = Pixels(tab.screenshot(clip=box))
    assert (
        len({shot.at(x, y) for x in (2, shot.width // 2) for y in (1, shot.height // 2)} - {(255, 255, 255)})
        >= 1
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
    file, told = page_of(tmp_path, [worker.write(tmp_path / "<b>node1\"'")])
    assert HOSTILE in [outage["reason"] for outage in told["nodes"][0]["outages"]]
    tab = look(file)
    slider(tab).focus()
    for key in ("Home", "PageUp", "PageUp", "PageUp", "PageUp", "PageUp", "PageUp", "PageUp", "+", "End"):
        tab.keyboard.press(key)
    assert json.loads(tab.locator("#story").text_content()) == told
    assert tab.evaluate("document.scripts.length") == 3
    assert tab.evaluate("document.images.length") == 0
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
