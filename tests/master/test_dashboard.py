"""The master's page in a real browser, fed by a server whose states the test writes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import re
import threading

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.lab.chromium import ROOT, Tabs, chromium, keep, needs_chromium
from tests.lab.processes import start_master
from tests.lab.waiting import PATIENCE_S, until
from tests.lab.workers import Worker

pytestmark = needs_chromium
ASSETS = ROOT / "master" / "dashboard"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
GRID = {
    1: [2, 4],
    2: [1, 3, 5],
    3: [2, 6],
    4: [1, 5, 7],
    5: [2, 4, 6, 8],
    6: [3, 5, 9],
    7: [4, 8],
    8: [5, 7, 9],
    9: [6, 8],
}
AT_REST = {"viewport": {"width": 1400, "height": 900}, "reduced_motion": "reduce"}
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def ago(seconds):
    return (dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=seconds)).isoformat()


def node(number, **more):
    alive = more.get("alive", True)
    return {
        "node": number,
        "system": f"vm{number}",
        "address": f"10.9.0.{number}/24",
        "alive": alive,
        "since": ago(8000 + 61 * number),
        "last_ping": ago(0.7),
        "neighbors": GRID.get(number, []),
        "held_by": None,
        "held_since": None,
        "carrier": True,
        "set_aside": False,
        "stopped": False,
        "in_use": False,
        "holds": [],
        "conflict": None,
        "state": "alive" if alive else "dead",
        "ordered_at": None,
        **more,
    }


def never(number):
    return node(number, alive=False, state="never", system=None, address=None, since=None, last_ping=None)


class Stub:
    """Serves the page and sends the states that `send` is given; a client that comes later gets the last one first."""

    def __init__(self):
        self.nodes, self.events, self.layout, self.decides = [], [], None, True
        self.restored, self.answer = [], (200, {"restore_node": 2, "recovery_node": "3"})
        self.available = True
        self.behind_s = 0
        """What its clock is behind this machine's."""
        self.waiting = set()
        routes = [
            Route("/", self.page),
            Route("/dashboard.css", self.page),
            Route("/dashboard.js", self.page),
            Route("/events", self.stream),
            Route("/json", self.table),
            Route("/restore/{node:int}", self.restore, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), port=0, log_level="error", timeout_graceful_shutdown=1, lifespan="off"
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        until(lambda: self.server.started)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"

    def run(self):
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.server.serve())

    async def page(self, request):
        name = request.url.path.strip("/") or "index.html"
        return FileResponse(ASSETS / name, headers={"Content-Security-Policy": POLICY})

    async def table(self, request):
        return JSONResponse(
            {} if self.available else {"error": "Redis cannot be reached"}, 200 if self.available else 503
        )

    async def stream(self, request):
        if not self.available:
            return await self.table(request)
        queue = asyncio.Queue()
        self.waiting.add(queue)
        first = self.message(self.events)

        async def parts():
            try:
                yield first
                while part := await queue.get():
                    yield part
            finally:
                self.waiting.discard(queue)

        return StreamingResponse(parts(), media_type="text/event-stream")

    async def restore(self, request):
        self.restored.append((request.path_params["node"], request.headers.get("origin")))
        status, answer = self.answer
        return JSONResponse(answer, status) if isinstance(answer, dict) else Response(answer, status)

    def message(self, events):
        state = {
            "at": ago(self.behind_s),
            "nodes": self.nodes,
            "events": events,
            "layout": self.layout,
            "decides": self.decides,
        }
        return f"event: state\ndata: {json.dumps(state)}\n\n".encode()

    def send(self, *nodes, event=None, level="INFO", **more):
        """From now on these nodes are so; with an event's text, that has happened."""
        self.nodes = sorted(
            [*nodes, *(n for n in self.nodes if n["node"] not in {m["node"] for m in nodes})],
            key=lambda n: n["node"],
        )
        fresh = []
        if event:
            fresh = [
                {
                    "id": len(self.events) + 1,
                    "at": ago(0),
                    "level": level,
                    "event": "something",
                    "text": event,
                    "node": None,
                    **more,
                }
            ]
            self.events += fresh
        self.push(self.message(fresh))

    def push(self, part):
        def put():
            for queue in list(self.waiting):
                queue.put_nowait(part)

        self.loop.call_soon_threadsafe(put)

    def cut(self):
        """End each stream."""
        self.push(None)

    def close(self):
        self.cut()
        self.server.should_exit = True
        self.thread.join(PATIENCE_S)


@pytest.fixture(scope="module")
def tabs():
    with chromium() as browser:
        yield Tabs(browser)


@pytest.fixture
def stub():
    with contextlib.closing(Stub()) as stub:
        stub.nodes, stub.layout = [node(number) for number in GRID], {"columns": 3}
        yield stub


@pytest.fixture
def browse(tabs):
    """Open a master's page; it must neither complain nor ask for anything but the master's own."""
    faults = []

    def listeners(url):
        return [
            ("console", lambda message: is_no_fault(message.text) or faults.append(message.text)),
            ("pageerror", lambda error: faults.append(str(error))),
            ("dialog", lambda dialog: (faults.append(f"dialog {dialog.message}"), dialog.dismiss())),
            (
                "request",
                lambda request: request.url.startswith((url, "data:")) or faults.append(request.url),
            ),
        ]

    with tabs.listening() as show:
        yield lambda url, **screen: show(url, listeners(url), **{**AT_REST, **screen})
    assert faults == []


def is_no_fault(text):
    """Whether the browser only says that a request failed, of which the page has to make something."""
    return text.startswith("Failed to load resource") and "404" not in text


@pytest.fixture
def look(browse, stub):
    """Open the stub's page."""

    def open_page(**screen):
        tab = browse(stub.url, **screen)
        tab.wait_for_selector(".card" if stub.nodes else "#headline")
        return tab

    return open_page


def card(tab, number):
    return tab.locator(".card", has=tab.get_by_role("heading", name=re.compile(rf"^Node {number}\b")))


def sees(locator, text):
    """Wait until it says so."""
    from playwright.sync_api import expect

    expect(locator).to_contain_text(re.compile(text, re.DOTALL), timeout=PATIENCE_S * 1000)


def places(tab):
    """The upper left corner of each node's card, which come in the order of their numbers."""
    return {number: (round(box["x"]), round(box["y"])) for number, box in enumerate(boxes_of(tab), 1)}


def boxes_of(tab):
    return tab.locator(".card").evaluate_all(
        "cards => cards.map(each => each.getBoundingClientRect().toJSON())"
    )


def kill_node_2(stub):
    stub.send(
        node(2, alive=False, since=ago(0), last_ping=ago(2.5), ordered_at=3),
        event="node 2 is dead: no ping for 2.5 s",
        level="WARNING",
    )


def take_over(stub):
    stub.send(
        node(2, alive=False, since=ago(3), last_ping=ago(5), held_by=3, held_since=ago(2)),
        node(3, holds=[2]),
        event="node 3 answers for 10.9.0.2/24",
    )


def test_each_node_shows_its_system_address_age_and_last_ping(stub, look):
    stub.send(node(4, since=ago(3720), last_ping=ago(9)))
    four = card(look(), 4)
    for text in ("vm4", r"10\.9\.0\.4/24", "alive for 1 h 2 min", r"ping (9|1\d) s ago"):
        sees(four, text)


def test_a_takeover_is_seen_as_it_happens(stub, look):
    tab = look()
    sees(tab.locator("#headline"), "All 9 nodes are alive")
    kill_node_2(stub)
    sees(card(tab, 2), r"dead for \d+ s.*node 3 is asked")
    assert tab.locator("#arrows .asked").count() == 1
    take_over(stub)
    sees(card(tab, 2), r"node 3 answers, \d+ s")
    sees(card(tab, 3), r"holds 10\.9\.0\.2, \d+ s")
    sees(
        tab.locator("#headline"), r"Node 2 is dead; every address is served.*Node 3 answers for 10\.9\.0\.2\."
    )
    assert [tab.locator(f"#arrows .{kind}").count() for kind in ("asked", "held")] == [0, 1]
    assert tab.locator("#events li").all_inner_texts()[0].endswith("node 3 answers for 10.9.0.2/24")
    keep(tab, "dashboard-takeover")
    stub.send(node(2), node(3))
    sees(tab.locator("#headline"), "All 9 nodes are alive")
    assert tab.locator("#arrows path").count() == 0


def test_a_machine_that_answers_without_its_worker_is_no_outage(stub, look):
    tab = look()
    stub.send(node(2, alive=False, stopped=True, in_use=True))
    sees(
        tab.locator("#headline"),
        r"Node 2 is stopped; every address is served.*Node 2's worker was stopped; its machine still answers for 10\.9\.0\.2\.",
    )
    sees(card(tab, 2), r"stopped for .*its machine still answers")
    assert card(tab, 2).get_attribute("data-look") == "covered"
    stub.send(node(2, alive=False, stopped=True))
    sees(tab.locator("#headline"), r"Node 2 is stopped.*Nobody answers for 10\.9\.0\.2\.")


def test_ages_go_on_between_two_messages(stub, look):
    stub.send(node(2, since=ago(2)))
    tab = look()
    before = card(tab, 2).locator(".since").inner_text()
    tab.wait_for_function(
        "before => document.querySelectorAll('.since')[1].textContent !== before", arg=before
    )


def test_ages_are_counted_by_the_clock_of_the_master(stub, look):
    stub.behind_s = 5 * 3600
    stub.nodes = [node(1, since=ago(stub.behind_s))]
    assert re.search(r"alive for \d s", card(look(), 1).inner_text())


def test_a_lost_master_is_said_and_so_is_its_return(stub, look):
    take_over(stub)
    tab = look()
    stub.available = False
    stub.cut()
    sees(tab.locator("#headline"), "The master is lost.*Redis cannot be reached")
    sees(tab.locator("#link"), "disconnected")
    sees(tab.locator("#said"), "The master is lost")
    assert "lost" in tab.title()
    keep(tab, "dashboard-lost")
    stub.available = True
    sees(tab.locator("#headline"), "Node 2 is dead; every address is served")
    sees(tab.locator("#said"), "The master is back")


def test_a_master_that_hangs_is_lost_too(stub, look):
    tab = look()
    sees(tab.locator("#headline"), "All 9 nodes are alive")
    sees(tab.locator("#headline"), "The master is lost")  # the stub sends nothing by itself
    sees(tab.locator("#headline"), "All 9 nodes are alive")  # a new connection brings a state


def test_a_master_without_redis_says_that_it_decides_nothing(stub, look):
    stub.decides = False
    sees(look().locator("#headline"), "This master decides nothing.*Redis is out of reach")


def test_a_master_whom_nobody_has_joined_says_so(stub, look):
    stub.nodes, stub.layout = [], None
    tab = look()
    sees(tab.locator("#headline"), "No node has joined yet")
    stub.send(node(1, neighbors=[]))
    sees(tab.locator("#headline"), "Node 1 is alive")


def test_a_page_without_a_master_says_so(stub, look):
    stub.nodes, stub.available = [], False
    sees(look().locator("#headline"), "The master cannot be reached.*Redis cannot be reached")


def test_an_address_is_restored_by_keyboard_alone(stub, look):
    take_over(stub)
    tab = look()
    for _ in range(6):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.textContent") == "Restore the address of node 2":
            break
    tab.keyboard.press("Enter")
    dialog = tab.get_by_role("dialog", name="Restore the address of node 2?")
    sees(dialog, r"Node 3 gives 10\.9\.0\.2/24 back")
    tab.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert tab.evaluate("document.activeElement.textContent") == "Restore the address of node 2"
    assert stub.restored == []
    tab.keyboard.press("Enter")
    keep(tab, "dashboard-restore")
    assert tab.evaluate("document.activeElement.id") == "cancel"  # what Enter does first is harmless
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    sees(dialog, "was asked to give the address of node 2 back")
    assert stub.restored == [(2, stub.url.rstrip("/"))]
    stub.send(node(2), node(3))
    sees(tab.locator("#headline"), "All 9 nodes are alive")
    tab.keyboard.press("Enter")
    dialog.wait_for(state="hidden")
    tab.wait_for_function("() => document.activeElement.id === 'headline'")


def test_a_restore_that_fails_says_why(stub, look):
    take_over(stub)
    tab = look()
    for answer, text in [
        ((409, {"error": f"not held {HOSTILE}"}), re.escape(f"Not restored: not held {HOSTILE}")),
        ((500, b"oops"), "Not restored: HTTP status 500"),
    ]:
        stub.answer = answer
        card(tab, 2).get_by_role("button").click()
        tab.locator("#restore").click()
        sees(tab.locator("#answer"), text)
        tab.get_by_role("button", name="Close").click()


def test_hostile_text_is_inert(stub, look):
    stub.nodes = []
    evil = node(1, system=HOSTILE, address=HOSTILE, conflict=HOSTILE, held_by=2, neighbors=[2])
    stub.send(evil, node(2, holds=[1], neighbors=[1]), event=HOSTILE, level=HOSTILE)
    tab = look()
    for part in ("#headline", ".card:first-child", "#events"):
        sees(tab.locator(part), re.escape(HOSTILE))
    card(tab, 1).get_by_role("button").click()
    sees(tab.locator("#confirm"), re.escape(HOSTILE))
    assert tab.evaluate("document.querySelectorAll('img, body script').length") == 0


def test_two_hundred_events_are_kept_newest_first(stub, look):
    for number in range(190):
        stub.send(event=f"event {number}")
    tab = look()
    for number in range(190, 230):
        stub.send(event=f"event {number}", level="WARNING")
    sees(tab.locator("#events li").first, "event 229")
    assert tab.locator("#events li").count() == 200
    sees(tab.locator("#said"), "event 229")
    tab.get_by_role("checkbox", name="warnings only").check()
    assert tab.locator("#events li:visible").count() == 40


def test_a_master_that_started_anew_counts_its_events_from_one(stub, look):
    for number in range(5):
        stub.send(event=f"old {number}")
    tab = look()
    sees(tab.locator("#events li").first, "old 4")
    stub.events = []
    stub.send(event="new")
    stub.cut()
    sees(tab.locator("#events"), "^[^a-z]*info?new$")


def test_four_hundred_nodes_are_a_list_and_a_short_sentence(stub, look):
    stub.layout = None
    stub.nodes = [node(n, alive=n % 20 > 0, neighbors=[n % 400 + 1]) for n in range(1, 401)]
    tab = look()
    sees(tab.locator("#headline"), "20 nodes are dead.*Nobody answers for 20 addresses")
    assert tab.locator(".card").count() == 400
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1400


def test_the_shipped_neighbors_lie_in_a_grid(stub, look):
    at = places(look())
    assert at[1][1] == at[2][1] == at[3][1] < at[4][1] == at[6][1] < at[7][1]
    assert at[1][0] == at[4][0] == at[7][0] < at[2][0] == at[8][0] < at[3][0]


def test_nodes_that_have_not_joined_have_their_place_in_it(stub, look):
    stub.send(*(never(number) | {"neighbors": []} for number in (2, 5, 6, 7, 8, 9)))
    tab = look()
    at = places(tab)
    assert at[1][1] == at[3][1] < at[4][1]
    sees(card(tab, 5), "absent.*has not joined yet")
    sees(tab.locator("#headline"), "All 3 nodes are alive.*Nodes 2, 5, 6, 7, 8 and 9 have not joined yet")


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("count", [2, 3, 5, 8, 15, 16])
def test_other_nodes_lie_on_a_ring_without_touching(stub, look, count, width):
    stub.layout = None
    stub.nodes = [node(n, neighbors=[m for m in range(1, count + 1) if m != n]) for n in range(1, count + 1)]
    tab = look(viewport={"width": width, "height": 844})
    boxes = boxes_of(tab)
    for i, one in enumerate(boxes):
        assert one["x"] >= 0 and one["x"] + one["width"] <= width
        for other in boxes[:i]:
            apart_x = max(one["x"], other["x"]) - min(one["x"] + one["width"], other["x"] + other["width"])
            apart_y = max(one["y"], other["y"]) - min(one["y"] + one["height"], other["y"] + other["height"])
            assert max(apart_x, apart_y) > 5
    assert tab.locator("#edges path").count() == count * (count - 1) // 2
    keep(tab, f"dashboard-ring-{count}-{width}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 1000, 390, 320])
def test_it_fits_each_screen_in_both_colors(stub, look, width, scheme):
    kill_node_2(stub)
    take_over(stub)
    stub.send(
        node(8, alive=False, since=ago(1), ordered_at=5),
        node(6, system="a-very-long-host-name.example.net" * 3),
    )
    tab = look(viewport={"width": width, "height": 844}, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    paper = [
        int(part)
        for part in re.findall(r"\d+", tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    ]
    assert (max(paper) < 60) == (scheme == "dark")
    keep(tab, f"dashboard-{width}-{scheme}")


def test_nothing_moves_where_motion_is_not_wanted(stub, look):
    take_over(stub)
    moving = "document.getAnimations().filter(one => one.playState === 'running').length"
    assert look(reduced_motion="no-preference").evaluate(moving) > 0
    assert look(reduced_motion="reduce").evaluate(moving) == 0


# ---- the real master, with workers whose addresses are simulated


class Cluster:
    """Three workers of the shipped grid, and their master."""

    def __init__(self, folder, master):
        self.folder, self.master = folder, master
        self.workers = {}
        for number in (1, 2, 3):
            self.start(number)

    def start(self, number):
        self.workers[number] = Worker(self.folder / f"node{number}", self.master, number)
        self.workers[number].wait("connected")

    def close(self):
        for worker in self.workers.values():
            worker.end()


@pytest.fixture
def cluster(tmp_path):
    with start_master() as master, contextlib.closing(Cluster(tmp_path, master)) as cluster:
        yield cluster


def test_the_master_shows_a_death_the_takeover_and_the_return(cluster, browse):
    tab = browse(f"{cluster.master.url}/")
    sees(tab.locator("#headline"), "All 3 nodes are alive.*4, 5 and 6 have not joined yet")
    at = places(tab)
    assert at[1][1] == at[2][1] == at[3][1] < at[4][1]
    cluster.workers[2].end()
    sees(tab.locator("#headline"), r"Node 2 is dead; every address is served.*answers for 10\.9\.0\.2\.")
    sees(card(tab, 2), r"dead for \d+ s.*node [13] answers, \d+ s")
    sees(tab.locator("#events"), r"Node [13] answers for node 2 at 10\.9\.0\.2")
    assert tab.locator("#arrows .held").count() == 1
    cluster.start(2)
    sees(tab.locator("#headline"), "All 3 nodes are alive")
    sees(card(tab, 2), r"alive for \d+ s")


def test_the_master_restores_what_the_page_asks_for(cluster, browse):
    tab = browse(f"{cluster.master.url}/")
    cluster.workers[2].end()
    card(tab, 2).get_by_role("button").click()
    tab.locator("#restore").click()
    sees(tab.locator("#answer"), "was asked to give the address of node 2 back")
    sees(card(tab, 2), "given back by hand")
    tab.get_by_role("button", name="Close").click()
    assert tab.locator("#arrows path").count() == 0


def test_the_master_is_lost_and_comes_back(cluster, browse):
    tab = browse(f"{cluster.master.url}/")
    sees(tab.locator("#headline"), "All 3 nodes are alive")
    cluster.master.freeze()
    sees(tab.locator("#headline"), "The master is lost")
    cluster.master.thaw()
    sees(tab.locator("#headline"), "All 3 nodes are alive")
    cluster.master.kill()
    sees(tab.locator("#headline"), "The master is lost")
    with start_master("--port", cluster.master.url.rpartition(":")[2]):
        sees(tab.locator("#headline"), "All 3 nodes are alive")


def test_the_page_wants_the_token_and_the_browser_remembers_it(browse):
    with start_master(token="a-token-for-this-test-alone") as master:
        tab = browse(
            f"{master.url}/", http_credentials={"username": "", "password": "a-token-for-this-test-alone"}
        )
        sees(tab.locator("#headline"), "No node has joined yet")
        sees(tab.locator("#events"), "started")
