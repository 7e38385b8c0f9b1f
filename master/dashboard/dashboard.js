/* The master's live page: reads the server-sent events of `events` and draws what they say.

Whatever comes from the master goes into the page as text, never as markup. Ages are counted by the master's clock. */
"use strict";

const SILENCE_MS = 6000; // no state for so long: the master is lost
const RETRY_MS = 1000;
const ANSWER_MS = 10000; // how long an answer to `restore` may take
const EVENTS_KEPT = 200;
const NARROWEST_PX = 95; // a column of the grid
const RING_MOST = 16; // more nodes are laid out as a plain list

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const cards = new Map(); // node number -> the elements of its card
const sizes = new ResizeObserver(() => requestAnimationFrame(arrange));
let state = null; // the last state that came
let clock = 0; // the master's clock minus this browser's, in milliseconds
let heard = Date.now(); // when it came, or the page was opened
let tried = heard; // when the connection in use was opened
let isLost = false;
let why = ""; // it is lost, where it says so itself
let source = null;
let lastEvent = 0; // the highest id shown

// ---- small things

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function draw(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Change a text only where it differs: screen readers and selections are left alone. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function now() {
  return isLost ? Date.parse(state.at) : Date.now() + clock;
}

/** `3 min 20 s` since an ISO time. */
function age(since) {
  const seconds = Math.max(0, Math.floor((now() - Date.parse(since)) / 1000)) || 0;
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (minutes < 1) return `${seconds} s`;
  if (hours < 1) return `${minutes} min ${seconds % 60} s`;
  return days < 1 ? `${hours} h ${minutes % 60} min` : `${days} d ${hours % 24} h`;
}

/** `22:47:01`, with the date before it when that is not today; local time. */
function timeOfDay(when) {
  const time = new Date(when), shown = time.toLocaleTimeString("en-GB");
  const isToday = time.toDateString() === new Date(now()).toDateString();
  return isToday ? shown : `${time.toLocaleDateString("sv").slice(5)} ${shown}`; // Sweden writes dates as ISO 8601 does
}

/** `1, 2 and 3`; of many, how many they are: `12 nodes`. */
function list(words, things) {
  return words.length > 9 ? `${words.length} ${things}` : new Intl.ListFormat("en-GB").format(words.map(String));
}

function addressOf(node) {
  return node.address ? node.address.split("/", 1)[0] : `the address of node ${node.node}`;
}

/** Have a screen reader say it, once it is done with what it says. */
function say(text) {
  page.said.append(make("p", "", text));
  while (page.said.childElementCount > 5) page.said.firstElementChild.remove();
}

// ---- the stream

function connect() {
  tried = Date.now();
  const opened = source = new EventSource("events");
  opened.addEventListener("state", (event) => show(JSON.parse(event.data)));
  opened.onopen = () => { lastEvent = 0; };
  opened.onerror = () => lose(opened);
}

/** The connection ended or is silent: say so, find out why, and try again. */
async function lose(which) {
  if (which !== source) return;
  source.close();
  source = null;
  if (state && !isLost) say("The master is lost");
  isLost = state !== null;
  tick();
  const answer = await fetch("json", { signal: AbortSignal.timeout(RETRY_MS) }).catch(() => null);
  why = answer ? await errorOf(answer) : "";
  if (answer?.status === 401) why = "it asks for the token again; reload this page";
  else setTimeout(connect, RETRY_MS);
}

/** What an HTTP answer says went wrong; empty when nothing did. */
async function errorOf(answer) {
  if (answer.ok) return "";
  const text = await answer.text().catch(() => "");
  try {
    return String(JSON.parse(text).error);
  } catch {
    return `HTTP status ${answer.status}`;
  }
}

// ---- a new state

function show(message) {
  state = message;
  heard = Date.now();
  clock = Date.parse(state.at) - heard;
  if (isLost) say("The master is back");
  isLost = false;
  why = "";
  const shape = JSON.stringify([state.layout, state.nodes.map((node) => [node.node, node.neighbors])]);
  const isNew = page.stage.dataset.shape !== shape;
  if (isNew) {
    page.stage.dataset.shape = shape;
    sizes.disconnect();
    sizes.observe(page.stage);
    cards.clear();
    page.nodes.replaceChildren(...state.nodes.map(({ node }) => newCard(node)));
  }
  showEvents(state.events);
  tick();
  if (isNew) arrange();
  drawArrows();
}

function nodeOf(number) {
  return state.nodes.find((node) => node.node === number);
}

function newCard(number) {
  const parts = { card: make("li", "card"), title: make("h3"), status: make("span", "status"), beat: make("i", "beat") };
  for (const name of ["system", "word", "since", "ping", "verb", "ip", "prefix"]) parts[name] = make("span", name);
  parts.notes = make("ul", "notes");
  parts.restore = make("button", "", "Restore");
  parts.restore.type = "button";
  parts.restore.append(make("span", "hidden", ` the address of node ${number}`));
  parts.restore.addEventListener("click", () => ask(number));
  const top = make("div", "top"), line = make("div", "line"), address = make("p", "address"), times = make("p", "times"), since = make("span");
  parts.title.append(make("span", "hidden", "Node "), make("b", "", number), parts.system);
  parts.status.append(parts.beat, parts.word);
  since.append(parts.verb, parts.since);
  times.append(since, parts.ping);
  address.append(parts.ip, parts.prefix);
  line.append(address, parts.restore);
  top.append(parts.title, parts.status);
  parts.card.append(top, line, times, parts.notes);
  sizes.observe(parts.card);
  cards.set(number, parts);
  return parts.card;
}

function look(node) {
  if (node.conflict) return "conflict";
  if (node.alive) return "alive";
  if (node.held_by !== null || servesItself(node)) return "covered";
  return node.state === "never" ? "never" : "unserved";
}

/** Whether a neighbor that was to take the address of a dead node found its machine using it. */
function servesItself(node) {
  return node.in_use && node.held_by === null && !node.set_aside;
}

function showNode(node, parts) {
  const hasJoined = node.state !== "never", word = node.alive ? "alive" : node.stopped ? "stopped" : "dead";
  parts.card.dataset.look = look(node);
  write(parts.word, hasJoined ? word : "absent");
  write(parts.system, parts.system.title = node.system || "");
  const [ip, prefix] = (node.address || "no address").split(/(?=\/)/);
  write(parts.ip, ip);
  write(parts.prefix, prefix || "");
  if (parts.lastPing !== node.last_ping) {
    const fresh = parts.beat.cloneNode(); // starts its animation
    parts.beat.replaceWith(fresh);
    Object.assign(parts, { beat: fresh, lastPing: node.last_ping });
  }
  parts.restore.hidden = node.held_by === null;
  write(parts.verb, hasJoined ? `${word} ` : "");
  write(parts.since, !hasJoined ? "has not joined yet" : node.since ? `for ${age(node.since)}` : "");
  parts.since.title = node.since ? `since ${timeOfDay(node.since)}` : "";
  write(parts.ping, node.last_ping ? `ping ${age(node.last_ping)} ago` : "");
  const notes = notesOf(node);
  parts.notes.hidden = !notes.length;
  while (parts.notes.childElementCount > notes.length) parts.notes.lastElementChild.remove();
  notes.forEach(([kind, text, since], index) => {
    const note = parts.notes.children[index] || parts.notes.appendChild(make("li"));
    note.dataset.kind = kind;
    write(note, since ? `${text}, ${age(since)}` : text);
  });
}

/** What a card says of takeovers: [kind, text, since]. */
function notesOf(node) {
  const notes = [];
  if (node.conflict) notes.push(["out", node.conflict]);
  if (node.held_by !== null) notes.push(["held", `node ${node.held_by} answers`, node.held_since]);
  else if (node.ordered_at !== null) notes.push(["asked", `node ${node.ordered_at} is asked`]);
  else if (servesItself(node)) notes.push(["held", "its machine still answers"]);
  else if (look(node) === "unserved") notes.push(["out", node.set_aside ? "given back by hand" : "nobody answers", node.since]);
  if (node.alive && !node.carrier) notes.push(["out", "its interface has no carrier"]);
  for (const owner of node.holds.map((number) => nodeOf(number) || { node: number }))
    notes.push(["held", `holds ${addressOf(owner)}`, owner.held_since]);
  return notes;
}

/** After each state, and every second. */
function tick() {
  if (source && Date.now() - Math.max(heard, tried) > SILENCE_MS) return lose(source);
  showHeadline();
  if (state) for (const node of state.nodes) showNode(node, cards.get(node.node));
}

function showHeadline() {
  if (!state && Date.now() - heard > SILENCE_MS / 3)
    return headline("lost", "The master cannot be reached", `${why || "No answer"}; trying again every second.`);
  if (!state) return;
  const where = (test) => state.nodes.filter(test);
  const alive = where((node) => node.alive), dead = where((node) => !node.alive && node.state !== "never");
  const held = where((node) => node.held_by !== null), never = where((node) => look(node) === "never");
  const unserved = where((node) => look(node) === "unserved"), conflict = where((node) => node.conflict);
  const named = (some) => `${some.length > 9 ? "" : some.length > 1 ? "Nodes " : "Node "}${list(some.map((node) => node.node), "nodes")}`;
  const is = (some) => (some.length > 1 ? "are" : "is");
  const own = where(servesItself), gone = dead.every((node) => node.stopped) ? "stopped" : "dead";
  const asked = unserved.filter((node) => node.ordered_at !== null);
  const details = [
    ...conflict.map((node) => node.conflict),
    ...(unserved.length ? [`nobody answers for ${list(unserved.map(addressOf), "addresses")}`] : []),
    ...asked.map((node) => `node ${node.ordered_at} is asked to take it over`.replace("it", addressOf(node))),
    ...held.map((node) => `node ${node.held_by} answers for ${addressOf(node)}`),
    ...own.map((node) => `node ${node.node}'s worker ${node.stopped ? "was stopped" : "is gone"}; its machine still answers for ${addressOf(node)}`),
  ];
  const detail = details.length > 4 ? `${details.slice(0, 4).join("; ")}; …` : details.join("; ");
  if (isLost)
    headline("lost", "The master is lost", `${why && `${why}; `}nothing heard for ` +
      `${Math.floor((Date.now() - heard) / 1000)} s. Below is how things stood at ${timeOfDay(state.at)}.`);
  else if (!state.decides) headline("lost", "This master decides nothing", "Redis is out of reach; the nodes may be otherwise than shown");
  else if (conflict.length) headline("out", `${named(conflict)} ${is(conflict)} in conflict`, detail);
  else if (unserved.length) headline("out", `${named(dead)} ${is(dead)} ${gone}`, detail);
  else if (dead.length) headline("covered", `${named(dead)} ${is(dead)} ${gone}; every address is served`, detail);
  else if (held.length) headline("covered", `${named(held)} ${is(held)} back`, detail);
  else if (!alive.length) headline("waiting", "No node has joined yet", "Workers appear as soon as they connect");
  else headline("served", alive.length > 1 ? `All ${alive.length} nodes are alive` : `${named(alive)} is alive`,
    never.length ? `${named(never)} ${never.length > 1 ? "have" : "has"} not joined yet` : "Each answers for its own address");
}

function headline(level, text, detail) {
  write(page.headlineText, text);
  write(page.detail, (detail.charAt(0).toUpperCase() + detail.slice(1)).replace(/[^.…]$/, "$&."));
  write(page.link, level === "lost" ? "disconnected" : `live, ${timeOfDay(now())}`);
  document.body.dataset.level = level;
  document.title = `${level === "served" ? "" : `${text} · `}Failover master`;
}

// ---- where the nodes lie

/** As the master says: in a grid where their neighborhoods are one, numbers from 1 along its rows; else on a ring. */
function arrange() {
  if (!state) return;
  const width = page.stage.clientWidth, columns = state.layout ? state.layout.columns : 3;
  const isGrid = state.layout !== null && width / columns >= NARROWEST_PX;
  const layout = isGrid ? "grid" : cards.size && cards.size <= RING_MOST ? "ring" : "list";
  page.stage.dataset.layout = layout;
  page.stage.dataset.size = width / columns < 210 ? "small" : "large";
  page.stage.style.height = "";
  page.nodes.style.gridTemplateColumns = isGrid ? `repeat(${columns}, minmax(0, 20rem))` : "";
  for (const [number, { card }] of cards) {
    card.style.gridColumn = isGrid ? ((number - 1) % columns) + 1 : "";
    card.style.gridRow = isGrid ? Math.floor((number - 1) / columns) + 1 : "";
    card.style.left = card.style.top = "";
  }
  if (layout === "ring") placeOnRing(width);
  drawEdges();
  drawArrows();
}

/** On an ellipse, clockwise from the top: pairs at equal steps down, so that no two cards touch. */
function placeOnRing(width) {
  const all = state.nodes.map((node) => cards.get(node.node).card), count = all.length, gap = width < 600 ? 14 : count < 10 ? 46 : 26;
  const cardWidth = all[0].offsetWidth, step = Math.max(...all.map((card) => card.offsetHeight)) + gap;
  const radius = Math.min((width - cardWidth) / 2, Math.max(cardWidth, step * count * 0.35));
  all.forEach((card, index) => {
    const row = Math.min(index, count - index), height = (4 * row) / count - 1; // from -1 to 1
    const aside = row && row * 2 < count ? Math.max(radius * Math.sqrt(1 - height ** 2), (cardWidth + gap) / 2) : 0;
    card.style.left = `${width / 2 + (index === row ? aside : -aside) - cardWidth / 2}px`;
    card.style.top = `${row * step}px`;
  });
  page.stage.style.height = `${Math.floor(count / 2) * step + step - gap}px`;
}

/** The path between two nodes' cards, from edge to edge, as long as it ends `margin` pixels before the second. */
function between(one, other, margin) {
  const boxes = [one, other].map((number) => cards.get(number).card);
  const [from, to] = boxes.map((box) => [box.offsetLeft + box.offsetWidth / 2, box.offsetTop + box.offsetHeight / 2]);
  const dx = to[0] - from[0], dy = to[1] - from[1], length = Math.hypot(dx, dy) || 1;
  const [start, end] = boxes.map((box) =>
    Math.min(box.offsetWidth / 2 / Math.abs(dx || 1e-9), box.offsetHeight / 2 / Math.abs(dy || 1e-9)));
  const at = (part) => `${(from[0] + dx * part).toFixed(1)} ${(from[1] + dy * part).toFixed(1)}`;
  return `M${at(start)}L${at(1 - end - margin / length)}`;
}

function drawEdges() {
  const pairs = new Set(page.stage.dataset.layout === "list" ? [] : state.nodes.flatMap(({ node, neighbors }) =>
    neighbors.filter((other) => cards.has(other) && other !== node).map((other) => [Math.min(node, other), Math.max(node, other)].join())));
  page.edges.replaceChildren(...[...pairs].map((pair) => draw("path", { d: between(...pair.split(",").map(Number), 0) })));
}

/** From each node to the one that holds its address, or is asked to. */
function drawArrows() {
  const old = new Map([...page.arrows.children].map((path) => [path.dataset.key, path]));
  for (const node of state.nodes) {
    const kind = node.held_by !== null ? "held" : "asked", other = node.held_by ?? node.ordered_at;
    if (!cards.has(other) || other === node.node) continue;
    const key = `${kind} ${node.node} ${other}`;
    const path = old.get(key) || page.arrows.appendChild(draw("path", { class: kind, "marker-end": `url(#${kind}Head)`, "data-key": key }));
    path.setAttribute("d", between(node.node, other, 3));
    old.delete(key);
  }
  for (const path of old.values()) path.remove();
}

// ---- events

function showEvents(events) {
  const isFirst = lastEvent === 0, fresh = events.filter((event) => event.id > lastEvent).sort((one, other) => one.id - other.id);
  if (isFirst) page.events.replaceChildren();
  for (const event of fresh) {
    const row = make("li"), time = make("time", "", timeOfDay(event.at)), level = String(event.level).toLowerCase();
    row.dataset.level = level;
    time.dateTime = time.title = event.at;
    row.append(time, make("span", "level", level), make("span", "text", event.text || event.event));
    page.events.prepend(row);
    lastEvent = event.id;
  }
  while (page.events.childElementCount > EVENTS_KEPT) page.events.lastElementChild.remove();
  if (!isFirst && fresh.length) say(fresh.slice(-3).map((event) => event.text || event.event).join(" "));
  page.noEvents.hidden = page.events.childElementCount > 0;
}

page.onlyWarnings.addEventListener("change", () => page.events.classList.toggle("warnings", page.onlyWarnings.checked));

// ---- giving an address back

function ask(number) {
  const node = nodeOf(number);
  write(page.confirmTitle, `Restore the address of node ${number}?`);
  write(page.confirmText, `Node ${node.held_by} gives ${node.address || "it"} back and stops answering for it. Node ${number} ` +
    (node.alive ? "is alive and answers itself." : "is dead: nobody answers until it is back, or the master asks a neighbor again."));
  write(page.answer, "");
  write(page.cancel, "Cancel");
  page.restore.hidden = page.restore.disabled = false;
  page.restore.dataset.node = number;
  page.confirm.showModal();
}

page.cancel.addEventListener("click", () => page.confirm.close());
page.confirm.addEventListener("close", () => {
  if (cards.get(Number(page.restore.dataset.node))?.restore.hidden) page.headline.focus();
});
page.restore.addEventListener("click", async () => {
  const number = page.restore.dataset.node;
  page.restore.disabled = true;
  write(page.answer, "Asking the master …");
  const error = await fetch(`restore/${number}`, { method: "POST", signal: AbortSignal.timeout(ANSWER_MS) })
    .then(errorOf, (fault) => (fault.name === "TimeoutError" ? "the master does not answer" : "the master cannot be reached"));
  page.answer.dataset.outcome = error ? "failed" : "done";
  write(page.answer, error ? `Not restored: ${error}` : `The holder was asked to give the address of node ${number} back.`);
  write(page.cancel, "Close");
  page.restore.hidden = !error;
  page.restore.disabled = false;
  page.cancel.focus();
});

setInterval(tick, 1000);
connect();
