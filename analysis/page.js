"use strict";
// Draws the chart from the page's data, zooms it, and reads a moment out. Every text is set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const figure = document.getElementById("chart");
  if (!data.lanes) return;
  figure.hidden = false;
  const plot = figure.querySelector(".plot");
  const reading = figure.querySelector(".reading");
  const SVG = "http://www.w3.org/2000/svg";
  const HEAD = 24, PLOT = 46, ROW = 20, GAP = 10, AXIS = 22, LEAST_S = 0.5, STEP_PX = 4, LABEL_PX = 90;
  const PATTERNS = { silence: "M0 6L6 0", freeze: "M0 3H6", stopped: "M3 0V6", doubled: "M1.5 0V6" };
  const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400,
    172800, 604800, 2592000];
  const SIGNS = { pending: "?", withdrawn: "○" };
  const SHORT = { outage: "no master", silence: "silent", freeze: "stood still", stopped: "stopped" };
  const view = { from: 0, length: data.length, at: null };
  let width = 0, gutter = 0, layout = [];

  const make = (parent, name, attributes, text) => {
    const element = document.createElementNS(SVG, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  };
  const pen = document.createElement("canvas").getContext("2d");
  const measure = (text, font) => {
    pen.font = font || "12px system-ui, sans-serif";
    return pen.measureText(text).width;
  };
  // the text, its short form, or as much of it as fits, with an ellipsis; empty where that would say nothing
  const fit = (text, room, font, short) => {
    if (measure(text, font) <= room) return text;
    if (room < LABEL_PX) return short && measure(short, font) <= room ? short : "";
    let cut = text.slice(0, room / 3); // no letter is narrower
    while (measure(`${cut}…`, font) > room) cut = cut.slice(0, -1).trimEnd();
    return cut.length < 8 ? "" : `${cut}…`;
  };
  const x = (at) => gutter + (at - view.from) / view.length * (width - gutter);
  const clampX = (at) => Math.min(width, Math.max(gutter, x(at)));
  const shows = (from, to) => to >= view.from && from <= view.from + view.length;

  // a moment in the logs' own zone, as 11-24 22:47:11.600; on the axis as much of it as a step between two ticks needs
  const full = (at) => new Date(Math.round((data.start + at + data.offset) * 1000)).toISOString().slice(5, 23).replace("T", " ");
  const time = (at, step) => {
    const day = full(at).slice(0, 5), minute = full(at).slice(6, 11);
    if (step >= 60) return step >= 86400 || minute === "00:00" ? day : minute;
    return full(at).slice(6, step >= 1 ? 14 : 16);
  };

  // what is held for one owner has a row; so have the orders about it
  const lanes = data.lanes.map((lane) => ({ ...lane,
    rows: [...new Set([...lane.holds.map((hold) => hold[4]), ...lane.marks.map((mark) => mark[3])])].sort((a, b) => a - b) }));

  const first = (sorted, value) => {
    let low = 0, high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < value) low = middle + 1; else high = middle;
    }
    return low;
  };

  const LOW_MS = Math.min(0.1, data.high_ms / 100);
  const share = (ms) => Math.log10(Math.max(ms, LOW_MS) / LOW_MS) / Math.log10(data.high_ms / LOW_MS);

  const draw = () => {
    width = Math.max(280, Math.round(plot.clientWidth));
    gutter = width < 600 ? 42 : 46;
    plot.textContent = "";
    let y = AXIS;
    layout = lanes.map((lane) => {
      const place = { lane, top: y, plot: y + HEAD, rows: y + HEAD + PLOT, bottom: y + HEAD + PLOT + ROW * lane.rows.length };
      y = place.bottom + GAP;
      return place;
    });
    const height = y + AXIS - GAP;
    const svg = make(plot, "svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    for (const id in PATTERNS) {
      make(make(svg, "pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse" }), "path", { class: `of-${id}`, d: PATTERNS[id] });
    }
    make(make(svg, "clipPath", { id: "inside" }), "rect", { x: gutter, y: 0, width: width - gutter, height });
    const layers = {};
    for (const name of ["back", "areas", "arrows", "front"]) layers[name] = make(svg, "g", {});
    layout.forEach(({ plot: top, bottom }) => make(layers.back, "rect", { class: "panel", x: gutter, y: top, width: width - gutter, height: bottom - top }));
    axis(layers.back, height);
    const arrows = drawArrows(layers.arrows);
    layout.forEach((place) => drawLane(layers, place, arrows));
    figure.querySelector(".zone").textContent = `${full(view.from).slice(0, -4)} to ${full(view.from + view.length).slice(0, -4)} UTC${data.zone}`;
    showCursor();
  };
  // ticks at round times of the logs' own zone; a label is left out where it would touch another or the edge
  const axis = (layer, height) => {
    const step = STEPS.find((each) => each / view.length * (width - gutter) >= (width < 600 ? 62 : 76)) || STEPS[STEPS.length - 1];
    const origin = data.start + data.offset;
    let free = 0;
    for (let tick = Math.ceil((origin + view.from) / step) * step - origin; tick <= view.from + view.length; tick += step) {
      const at = Math.round(x(tick)) + 0.5;
      make(layer, "path", { class: "grid", d: `M${at} ${AXIS}V${height - AXIS}` });
      const text = time(tick, step), half = measure(text, "11px system-ui, sans-serif") / 2;
      if (at - half < free || at + half > width) continue;
      free = at + half + 8;
      for (const place of [14, height - 6]) make(layer, "text", { class: "small", x: at, y: place, "text-anchor": "middle" }, text);
    }
  };

  // from the lane whose address it is to the row that holds it, and back
  const drawArrows = (layer) => {
    const arrows = [];
    layout.forEach(({ lane, rows }, index) => {
      for (const [from, to, , , owner, back] of lane.holds) {
        if (owner < 0 || owner === index) continue;
        const row = rows + ROW * lane.rows.indexOf(owner);
        const down = owner < index;
        const near = down ? row + 2 : row + ROW - 2, far = down ? layout[owner].plot + PLOT : layout[owner].plot;
        for (const [at, kind] of back ? [[from, "take"], [to, "return"]] : [[from, "take"]]) {
          if (!shows(at, at)) continue;
          const [start, end] = kind === "take" ? [far, near] : [near, far], sign = end > start ? -1 : 1;
          make(layer, "path", { class: `arrow ${kind}`, d: `M${x(at)} ${start}V${end + sign * 6}` });
          make(layer, "path", { class: "tip", d: `M${x(at)} ${end}l-4 ${sign * 7}h8z` });
          arrows.push({ x: x(at), top: Math.min(start, end), bottom: Math.max(start, end) });
        }
      }
    });
    return arrows;
  };

  const drawLane = (layers, place, arrows) => {
    const { lane, top, plot: plotTop, rows } = place;
    const inside = make(layers.areas, "g", { "clip-path": "url(#inside)" });
    // the round trips' scale, and their curve
    let labeled = Infinity;
    for (let ms = 1; ms < data.high_ms && lane.points.at.length; ms *= 10) {
      const y = Math.round(plotTop + PLOT * (1 - share(ms))) + 0.5;
      make(inside, "path", { class: "level", d: `M${gutter} ${y}H${width}` });
      if (labeled - y < 14 || y - 5 < plotTop) continue;
      labeled = y;
      make(layers.areas, "text", { class: "small", x: gutter - 5, y: y + 4, "text-anchor": "end" }, ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`);
    }
    const labels = [];
    for (const [kind, from, to, text] of lane.spans) {
      if (!shows(from, to)) continue;
      const left = clampX(from), right = Math.max(left + 2, clampX(to));
      if (kind === "unserved" || kind === "doubled") {
        make(inside, "rect", { class: kind, x: left, y: plotTop + PLOT - 4, width: right - left, height: 4 });
        continue;
      }
      make(inside, "rect", { class: kind, x: left, y: plotTop, width: right - left, height: PLOT });
      make(inside, "rect", { class: `${kind} edge`, x: left, y: plotTop, width: right - left, height: 2.5 });
      labels.push({ kind, left, right, text, short: SHORT[kind] });
    }
    curve(inside, lane.points, plotTop);
    let missed = "";
    for (const at of lane.missed) if (shows(at, at)) missed += `M${x(at).toFixed(1)} ${plotTop + PLOT - 12}v8`;
    if (missed) make(inside, "path", { class: "missed", d: missed });
    label(layers.front, labels, plotTop + 14, arrows);
    // a row for each owner whose address it holds or was ordered to take
    lane.rows.forEach((owner, number) => {
      const y = rows + ROW * number, items = [];
      for (const [from, to, open, text, of] of lane.holds) {
        if (of !== owner || !shows(from, to)) continue;
        const left = clampX(from), right = Math.max(left + 2, clampX(to));
        make(inside, "rect", { class: open ? "hold open" : "hold", x: left, y: y + 2, width: right - left, height: ROW - 4, rx: 2 });
        items.push({ kind: "hold", left, right, text, short: text.slice(text.lastIndexOf("node")) });
      }
      let last = -9;
      for (const [at, kind, text, of] of lane.marks) {
        if (of !== owner || !shows(at, at)) continue;
        const left = x(at);
        if (left - last < 6) continue; // a busy log: one sign stands for those below it
        last = left;
        const sign = make(layers.front, "text", { class: `label cross ${kind}`, x: left, y: y + 15 }, SIGNS[kind] || "✕");
        make(sign, "title", {}, text);
      }
      label(layers.front, items, y + 14, arrows);
    });
    // the lane's name, on ground of its own where an arrow passes behind it
    const name = fit(lane.name, width - gutter - 8, "650 13px system-ui, sans-serif");
    make(layers.front, "rect", { class: "behind", x: 0, y: top + 4, width: measure(name, "650 13px system-ui, sans-serif") + 4, height: HEAD - 5 });
    make(layers.front, "text", { class: "name", x: 0, y: top + 17 }, name);
  };

  // each text stands in its own bar, where it ends before the next thing and no arrow crosses it
  const label = (layer, items, y, arrows) => {
    items.sort((one, other) => one.left - other.left);
    let taken = gutter;
    items.forEach((item, i) => {
      const start = Math.max(item.left + 5, taken);
      const end = Math.min(item.right, i + 1 < items.length ? items[i + 1].left : width) - 3;
      const shown = end > start ? fit(item.text, end - start, undefined, item.short) : "";
      const crosses = (arrow) => arrow.top < y && arrow.bottom > y - 12 && arrow.x > start - 3 && arrow.x < start + measure(shown) + 3;
      if (!shown || arrows.some(crosses)) return;
      make(make(layer, "text", { class: `label ${item.kind}`, x: start, y }, shown), "title", {}, item.text);
      taken = start + measure(shown) + 6;
    });
  };

  // the lowest and the highest of each column are one stroke, and a line joins their middles
  const curve = (layer, points, top) => {
    const y = (ms) => (top + 4 + (PLOT - 10) * (1 - Math.min(1, share(ms)))).toFixed(1);
    const end = Math.min(points.at.length, first(points.at, view.from + view.length) + 1);
    let path = "", last = -Infinity;
    for (let i = Math.max(0, first(points.at, view.from) - 1); i < end; i++) {
      const here = x(points.at[i]).toFixed(1), low = points.low[i], high = points.high[i];
      const middle = y(Math.sqrt(Math.max(low, LOW_MS) * Math.max(high, LOW_MS))), begins = points.at[i] - last > points.break_s;
      path += `${begins ? "M" : "L"}${here} ${middle}`;
      // an answer alone would be nothing to see
      path += high > low ? `M${here} ${y(low)}V${y(high)}M${here} ${middle}` : begins ? "h.1" : "";
      last = points.at[i];
    }
    if (path) make(layer, "path", { class: "curve", d: path });
  };

  // what a lane shows at one moment
  const read = (lane, at) => {
    const near = view.length / (width - gutter) * 2;
    const parts = [];
    for (const [, from, to, text] of lane.spans) if (from - near <= at && at <= to + near) parts.push(text);
    for (const [from, to, , text] of lane.holds) if (from <= at && at <= to) parts.push(`holds ${text}`);
    for (const [when, , text] of lane.marks) if (Math.abs(when - at) <= near) parts.push(text);
    // the nearest answer
    const { points } = lane, apart = (i) => Math.abs(points.at[i] - at);
    let i = first(points.at, at);
    if (i > 0 && !(apart(i) < apart(i - 1))) i--;
    const low = points.low[i], high = points.high[i];
    if (apart(i) <= Math.max(near, points.break_s / 2)) parts.push(low === high ? `${low} ms` : `${low} to ${high} ms`);
    return parts.join("; ") || (lane.points.at.length || lane.spans.length ? "no ping" : "no log");
  };
  const showCursor = () => {
    const svg = plot.firstChild, { at } = view;
    svg.querySelector("#cursor")?.remove();
    reading.textContent = "";
    if (at === null || !shows(at, at)) return;
    const label = full(at), wide = measure(label) + 12, middle = Math.min(width - wide / 2, Math.max(wide / 2, x(at)));
    const cursor = make(svg, "g", { id: "cursor" });
    make(cursor, "path", { class: "cursor", d: `M${x(at)} ${AXIS - 2}V${layout[layout.length - 1].bottom}` });
    make(cursor, "rect", { class: "now", x: middle - wide / 2, y: 1, width: wide, height: 18, rx: 3 });
    make(cursor, "text", { class: "nowtext", x: middle, y: 14 }, label);
    const said = lanes.map((lane) => `${lane.name}: ${read(lane, at)}`);
    for (const each of said) reading.append(Object.assign(document.createElement("li"), { textContent: each }));
    plot.setAttribute("aria-valuenow", Math.round(at / data.length * 1000));
    plot.setAttribute("aria-valuetext", `${label}. ${said.join(". ")}`);
  };

  const show = (from, length) => {
    view.length = Math.min(data.length, Math.max(Math.min(LEAST_S, data.length), length));
    view.from = Math.min(data.length - view.length, Math.max(0, from));
    draw();
  };
  const point = (at) => {
    view.at = Math.min(data.length, Math.max(0, at));
    if (shows(view.at, view.at)) showCursor(); else show(view.at - view.length / 2, view.length);
  };
  const zoom = (factor) => {
    const middle = view.at === null || !shows(view.at, view.at) ? view.from + view.length / 2 : view.at;
    show(middle - (middle - view.from) / factor, view.length / factor);
  };
  const actions = {
    earlier: () => show(view.from - view.length / 2, view.length),
    later: () => show(view.from + view.length / 2, view.length),
    in: () => zoom(2),
    out: () => zoom(0.5),
    whole: () => show(0, data.length),
    none: () => { view.at = null; showCursor(); },
  };
  figure.querySelector(".bar").addEventListener("click", (event) => {
    const action = actions[event.target.dataset.do];
    if (action) action();
  });
  plot.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const pixel = view.length / (width - gutter), at = view.at === null ? view.from : view.at;
    const step = STEP_PX * pixel, page = view.length / 10;
    const places = { ArrowLeft: at - step, ArrowRight: at + step, ArrowDown: at - step, ArrowUp: at + step,
      PageDown: at - page, PageUp: at + page, Home: view.from, End: view.from + view.length };
    const action = { "+": actions.in, "=": actions.in, "-": actions.out, 0: actions.whole, Escape: actions.none }[event.key];
    if (event.key in places) point(places[event.key]); else if (action) action(); else return;
    event.preventDefault();
  });
  const timeAt = (event) => {
    const inside = (event.clientX - plot.getBoundingClientRect().left) * width / plot.clientWidth - gutter;
    return view.from + Math.min(1, Math.max(0, inside / (width - gutter))) * view.length;
  };
  plot.addEventListener("pointerdown", (event) => point(timeAt(event)));
  plot.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" || event.pressure > 0) point(timeAt(event));
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-at]");
    if (!link) return;
    event.preventDefault();
    point(Number(link.dataset.at) - data.start);
    figure.scrollIntoView({ block: "start" });
    plot.focus({ preventScroll: true });
  });
  addEventListener("resize", () => { if (plot.clientWidth !== width) draw(); });
  draw();
})();
