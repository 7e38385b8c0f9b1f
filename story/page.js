"use strict";
// Zooms the picture and reads it out. Without it the page shows the same, whole.
(() => {
  const data = JSON.parse(document.getElementById("lanes").textContent);
  const chart = document.querySelector(".chart");
  if (!chart) return;
  const figure = document.getElementById("picture");
  const slider = chart.querySelector(".lanes");
  const plot = chart.querySelector(".over");
  const STEP_PX = 4;
  const LEAST_S = 0.5;
  const NARROW = 0.03;
  const view = { from: 0, scale: 1, at: null };
  const share = (element, name) => Number(element.style.getPropertyValue(name));

  const unpack = (packed) => {
    const points = { place: [], low: [], high: [], begins: [] };
    for (const line of packed.lines) {
      let place = line[0];
      for (let i = 1; i < line.length; i += 2, place++) {
        for (; line[i] < 0; i++) place -= line[i];
        points.place.push(place);
        points.low.push(line[i]);
        points.high.push(line[i + 1]);
        points.begins.push(i === 1);
      }
    }
    return points;
  };
  const lanes = [...chart.querySelectorAll(".lane")].map((element, number) => ({
    name: element.querySelector("b").textContent,
    packed: data.lanes[number],
    points: data.lanes[number] && unpack(data.lanes[number]),
    svg: element.querySelector("svg"),
    reading: element.querySelector(".reading"),
    spans: [...element.querySelectorAll(".area, .mark")].map((each) => ({
      from: share(each, "--a"), to: share(each, "--b"), text: each.title, away: each.classList.contains("area"),
    })),
  }));

  const words = [...chart.querySelectorAll(".words")].map((element) => ({
    element, from: Number(element.dataset.from), to: Number(element.dataset.to), left: element.classList.contains("left"),
  }));

  // the first of sorted `places` that is not below `place`
  const find = (places, place) => {
    let low = 0, high = places.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places[middle] < place) low = middle + 1; else high = middle;
    }
    return low;
  };

  const LOW_LOG = Math.log10(data.low_ms);
  const TALL = Math.log10(data.high_ms) - LOW_LOG;
  const y = (units) => {
    const share = (Math.log10(Math.max(units * data.unit_ms, data.low_ms)) - LOW_LOG) / TALL;
    return (100 * (1 - Math.min(1, share))).toFixed(1);
  };

  // the lowest and the highest of each pixel are one stroke, and a line joins their middles
  const draw = ({ packed, points, svg }) => {
    const width = Math.max(1, Math.round(plot.clientWidth * devicePixelRatio));
    const x = (place) => Math.round(((place + 0.5) / packed.columns - view.from) * view.scale * width);
    const first = Math.max(0, find(points.place, view.from * packed.columns) - 1);
    const last = find(points.place, (view.from + 1 / view.scale) * packed.columns);
    let path = "";
    for (let i = first; i <= last && i < points.place.length;) {
      const here = x(points.place[i]), begins = points.begins[i] || path === "";
      let low = points.low[i], high = points.high[i];
      for (i++; i < points.place.length && x(points.place[i]) === here; i++) {
        low = Math.min(low, points.low[i]);
        high = Math.max(high, points.high[i]);
      }
      const bottom = y(low), top = y(high), middle = y(Math.sqrt(Math.max(low, 1) * high));
      path += `${begins ? "M" : "L"}${here} ${middle}`;
      if (bottom !== top) path += `M${here} ${bottom}V${top}M${here} ${middle}`;
      // an answer that no line joins to another is a dash
      else if (begins && (i >= points.place.length || points.begins[i])) path += "m-3 0h6";
    }
    const strokes = new Set(packed.missed.map(x).filter((each) => each >= 0 && each <= width));
    svg.setAttribute("viewBox", `0 0 ${width} 100`);
    svg.querySelector(".curve").setAttribute("d", path);
    svg.querySelector(".missed").setAttribute("d", [...strokes].map((each) => `M${each} 100v-12`).join(""));
  };

  const local = (epoch_s) => new Date(Math.round((epoch_s + data.offset_s) * 1000)).toISOString();
  const seconds = (at) => data.start_s + at * data.length_s;
  const zone = chart.querySelector(".zone").textContent;

  const ticks = (room = Math.max(2, plot.clientWidth / 85)) => {
    const length_s = data.length_s / view.scale;
    const start_s = seconds(view.from) + data.offset_s;
    const longest_s = data.steps_s[data.steps_s.length - 1];
    const step_s = data.steps_s.find((each) => length_s / each <= room)
      || longest_s * Math.ceil(length_s / longest_s / room);
    const marks = [], lines = [];
    for (let count = Math.ceil(start_s / step_s); count * step_s <= start_s + length_s; count++) {
      const text = local(count * step_s - data.offset_s);
      const label = document.createElement("span"), line = document.createElement("i");
      const at = (count * step_s - data.offset_s - data.start_s) / data.length_s;
      for (const each of [label, line]) each.style.setProperty("--a", at.toFixed(9));
      label.textContent = Math.abs((count * step_s) % 86400) < 1e-6 ? text.slice(5, 10)
        : text.slice(11, step_s < 1 ? 22 : step_s < 60 ? 19 : 16);
      marks.push(label);
      lines.push(line);
    }
    chart.querySelector(".ticks").replaceChildren(...marks);
    chart.querySelector(".grid").replaceChildren(...lines);
  };

  const milliseconds = (units) => String(Number((units * data.unit_ms).toFixed(2)));
  // what stands within half a step of the cursor, so that no step passes over a spike
  const read = (lane, at, near) => {
    const spans = lane.spans.filter((each) => each.from <= at + near && each.to >= at - near);
    const told = spans.map((each) => each.text);
    if (lane.points) {
      const { place, low, high } = lane.points, { columns, reach } = lane.packed;
      let first = find(place, (at - near) * columns - 0.5), last = find(place, (at + near) * columns + 0.5);
      const nearest = [first - 1, first].filter((each) => Math.abs(place[each] + 0.5 - at * columns) <= reach / 2)
        .sort((one, other) => Math.abs(place[one] + 0.5 - at * columns) - Math.abs(place[other] + 0.5 - at * columns));
      if (first === last && nearest.length && !spans.some((each) => each.away)) [first, last] = [nearest[0], nearest[0] + 1];
      if (first < last) {
        const lowest = milliseconds(Math.min(...low.slice(first, last)));
        const highest = milliseconds(Math.max(...high.slice(first, last)));
        told.unshift(lowest === highest ? `${lowest} ms` : `${lowest} to ${highest} ms`);
      }
    }
    return told.join("; ") || "no ping answered here";
  };

  const tell = () => {
    chart.classList.toggle("reads", view.at !== null);
    if (view.at === null) return;
    const near = STEP_PX / 2 / plot.clientWidth / view.scale;
    const time = local(seconds(view.at));
    const now = `${time.slice(5, 10)} ${time.slice(11, 23)}`;
    chart.style.setProperty("--at", view.at);
    chart.querySelector(".now").textContent = now;
    const told = lanes.map((lane) => {
      lane.reading.textContent = read(lane, view.at, near);
      return `${lane.name}: ${lane.reading.textContent}`;
    });
    slider.setAttribute("aria-valuenow", (view.at * data.length_s).toFixed(3));
    slider.setAttribute("aria-valuetext", [`${now} ${zone}`, ...told].join(". "));
  };

  // words stand in what they are about where it is wide, else behind it, and go out of view with it
  const place = ({ element, from, to, left }) => {
    element.hidden = to < view.from || from > view.from + 1 / view.scale;
    if (!left) element.style.setProperty("--a", (to - from) * view.scale < NARROW ? to : from);
  };
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const show = (from, scale) => {
    view.scale = clamp(scale, 1, Math.max(1, data.length_s / LEAST_S));
    view.from = clamp(from, 0, 1 - 1 / view.scale);
    chart.style.setProperty("--from", view.from);
    chart.style.setProperty("--scale", view.scale);
    lanes.filter((lane) => lane.points).forEach(draw);
    words.forEach(place);
    ticks();
    tell();
  };
  const point = (at) => {
    view.at = clamp(at, 0, 1);
    const length = 1 / view.scale;
    if (view.at < view.from || view.at > view.from + length) show(view.at - length / 2, view.scale);
    else tell();
  };
  const zoom = (factor) => {
    const middle = view.from + 0.5 / view.scale;
    const fixed = view.at !== null && view.at >= view.from && view.at <= view.from + 1 / view.scale ? view.at : middle;
    const scale = clamp(view.scale * factor, 1, Math.max(1, data.length_s / LEAST_S));
    show(fixed - (fixed - view.from) * view.scale / scale, scale);
  };
  const step = (pixels) => {
    const start = view.at === null ? view.from : view.at;
    point(view.at === null && pixels > 0 ? start : start + pixels / plot.clientWidth / view.scale);
  };

  const actions = {
    earlier: () => show(view.from - 0.5 / view.scale, view.scale),
    later: () => show(view.from + 0.5 / view.scale, view.scale),
    in: () => zoom(2),
    out: () => zoom(0.5),
    whole: () => show(0, 1),
  };
  const keys = {
    ArrowLeft: () => step(-STEP_PX), ArrowRight: () => step(STEP_PX),
    ArrowDown: () => step(-STEP_PX), ArrowUp: () => step(STEP_PX),
    PageDown: () => step(-plot.clientWidth / 10), PageUp: () => step(plot.clientWidth / 10),
    Home: () => point(0), End: () => point(1),
    "+": actions.in, "=": actions.in, "-": actions.out, "0": actions.whole,
    Escape: () => { view.at = null; tell(); },
  };
  slider.addEventListener("keydown", (event) => {
    const action = !event.ctrlKey && !event.metaKey && !event.altKey && keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  figure.querySelector(".bar").addEventListener("click", (event) => {
    const name = event.target.dataset.do;
    if (name) actions[name]();
  });

  const under = (event) => {
    const box = plot.getBoundingClientRect();
    return view.from + clamp((event.clientX - box.left) / box.width, 0, 1) / view.scale;
  };
  const pick = chart.querySelector(".pick");
  let pressed = null, rests = {};
  slider.addEventListener("pointerdown", (event) => {
    pressed = event.pointerType === "mouse" && event.button === 0 ? under(event) : null;
    point(under(event));
  });
  slider.addEventListener("pointermove", (event) => {
    // a browser tells one, too, when the page moves below a mouse that rests
    if (event.clientX === rests.clientX && event.clientY === rests.clientY) return;
    const at = under(event);
    point(at);
    if (pressed === null) return;
    const left = (Math.min(pressed, at) - view.from) * view.scale, width = Math.abs(at - pressed) * view.scale;
    pick.style.cssText = `display:block;left:${left * 100}%;width:${width * 100}%`;
  });
  addEventListener("pointermove", (event) => { rests = event; });
  addEventListener("pointerup", (event) => {
    if (pressed === null) return;
    const [start, end] = [pressed, under(event)].sort((one, other) => one - other);
    pressed = null;
    pick.style.cssText = "";
    if ((end - start) * view.scale * plot.clientWidth > 2 * STEP_PX) show(start, 1 / (end - start));
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-at]");
    if (!link) return;
    event.preventDefault();
    figure.scrollIntoView();
    slider.focus({ preventScroll: true });
    point(Number(link.dataset.at));
  });

  slider.setAttribute("role", "slider");
  slider.setAttribute("tabindex", "0");
  slider.setAttribute("aria-label", "Time, in seconds from the picture's left edge");
  slider.setAttribute("aria-valuemin", "0");
  slider.setAttribute("aria-valuemax", data.length_s.toFixed(3));
  slider.setAttribute("aria-valuenow", "0");
  for (const each of figure.querySelectorAll("[hidden]")) each.hidden = false;
  new ResizeObserver(() => show(view.from, view.scale)).observe(plot);
  // paper is narrower than most screens, and is not laid out yet when this is told
  addEventListener("beforeprint", () => ticks(7));
  addEventListener("afterprint", () => ticks());
  show(0, 1);
})();
