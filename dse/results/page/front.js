"use strict";
// Draws the page from the JSON in #data, which `dse.results._page` describes. Text reaches the
// document by textContent alone, so that no name can be read as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
{{metrics}}
const state = { metric: METRICS[0], view: "near", hidden: new Set(), chosen: null };

function element(name, attributes = {}, text = null, space = null) {
  const made = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}
const svg = (name, attributes, text) => element(name, attributes, text, SVG);
const kindOf = (origin) =>
  ({ uniform: "uniform", screening: "screening" })[origin] ||
  (data.origins.filter((o) => o !== "uniform" && o !== "screening").indexOf(origin) > 0
    ? "other" : "searched");
const nameOf = (origin) => (origin === "uniform" ? "fixed multiplier" : origin);
const number = (value, digits) => (value === null ? "–" : value.toFixed(digits));
const visible = () =>
  data.trials.filter((t) =>
    !state.hidden.has("o:" + t.origin) && !state.hidden.has("f:" + t.fidelity) &&
    !state.hidden.has("t:" + data.runs[t.run].topology) && t[state.metric.key] !== null);

// Members that no other one of the same fidelity dominates in the axes that are drawn.
function frontOf(trials) {
  const sign = state.metric.up ? -1 : 1;
  const groups = new Map();
  for (const trial of trials) {
    const group = state.metric.key === "test" ? "tested" : trial.fidelity;
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(trial);
  }
  return [...groups.values()].map((group) => {
    const front = [];
    const sorted = [...group].sort((a, b) =>
      a.energy - b.energy || sign * (a[state.metric.key] - b[state.metric.key]));
    for (const trial of sorted) {
      const last = front[front.length - 1];
      if (!last || sign * trial[state.metric.key] < sign * last[state.metric.key]) front.push(trial);
    }
    return front;
  });
}

function extent(values, margin) {
  const low = Math.min(...values), high = Math.max(...values);
  const room = margin * (high - low) || Math.abs(high) * 0.05 || 1;
  return [low - room, high + room];
}

function ticks([low, high], count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + 1e-12; at += step)
    found.push([at, at.toFixed(digits)]);
  return found;
}

function axes(root, box, domainX, domainY, titleX, titleY) {
  const x = (v) => box.left + ((v - domainX[0]) / (domainX[1] - domainX[0])) * box.width;
  const y = (v) => box.top + box.height - ((v - domainY[0]) / (domainY[1] - domainY[0])) * box.height;
  for (const [value, label] of ticks(domainX, 8)) {
    root.append(svg("line", { class: "grid", x1: x(value), x2: x(value), y1: box.top, y2: box.top + box.height }));
    root.append(svg("text", { class: "tick", x: x(value), y: box.top + box.height + 17, "text-anchor": "middle" }, label));
  }
  for (const [value, label] of ticks(domainY, 6)) {
    root.append(svg("line", { class: "grid", x1: box.left, x2: box.left + box.width, y1: y(value), y2: y(value) }));
    root.append(svg("text", { class: "tick", x: box.left - 7, y: y(value) + 4, "text-anchor": "end" }, label));
  }
  root.append(svg("rect", { class: "axis", fill: "none", x: box.left, y: box.top, width: box.width, height: box.height }));
  root.append(svg("text", { x: box.left + box.width / 2, y: box.top + box.height + 38, "text-anchor": "middle" }, titleX));
  const turned = `translate(${box.left - 48} ${box.top + box.height / 2}) rotate(-90)`;
  root.append(svg("text", { transform: turned, "text-anchor": "middle" }, titleY));
  return [x, y];
}

function mark(kind, x, y, size) {
  if (kind === "uniform")
    return svg("rect", { x: x - size, y: y - size, width: 2 * size, height: 2 * size });
  if (kind === "screening")
    return svg("path", { d: `M${x} ${y - 1.3 * size}L${x + 1.25 * size} ${y + size}L${x - 1.25 * size} ${y + size}Z` });
  if (kind === "other")
    return svg("path", { d: `M${x} ${y - 1.4 * size}L${x + 1.4 * size} ${y}L${x} ${y + 1.4 * size}L${x - 1.4 * size} ${y}Z` });
  return svg("circle", { cx: x, cy: y, r: size });
}

{{describe}}

function mixOf(trial) {
  const run = data.runs[trial.run], counts = new Map();
  for (const code of trial.codes) {
    const name = run.choices[code].multiplier;
    counts.set(name, (counts.get(name) || 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1]).map(([name, count]) => `${name} × ${count}`).join(", ");
}

function domains(trials, fronts) {
  const key = state.metric.key;
  let shown = trials;
  if (state.view === "near") {
    const exact = data.runs.map((run) => run.exact[key]);
    const near = (t) => state.metric.up ? t[key] >= Math.max(...exact) - NEAR_POINTS
      : t[key] <= Math.min(...exact) * 1.5;
    const members = fronts.flat(), close = members.filter(near);
    shown = close.length > 1 ? close : members;
    shown = shown.concat(trials.filter((t) => t.best_fixed && near(t)));
  }
  const exact = data.runs.map((run) => run.exact[key]).filter((v) => v !== null);
  return [extent(shown.map((t) => t.energy), 0.06), extent(shown.map((t) => t[key]).concat(exact), 0.08)];
}

function drawFront() {
  const trials = visible(), fronts = frontOf(trials), key = state.metric.key;
  const members = new Set(fronts.flat());
  const holder = byId("chart"), box = { left: 70, top: 16, width: 1000, height: 440 };
  holder.replaceChildren();
  if (!trials.length) {
    holder.textContent = "No trial is left; tick more boxes.";
    byId("outside").textContent = "";
    return drawTolerance([]);
  }
  const root = svg("svg", { viewBox: "0 0 1090 510", role: "group", "aria-label": "trials by energy and score" });
  const [domainX, domainY] = domains(trials, fronts);
  const [x, y] = axes(root, box, domainX, domainY, data.energy_title, state.metric.title);
  const clip = svg("clipPath", { id: "clip" });
  clip.append(svg("rect", { x: box.left - 8, y: box.top - 8, width: box.width + 16, height: box.height + 16 }));
  const inside = svg("g", { "clip-path": "url(#clip)" });
  root.append(clip, inside);
  for (const run of data.runs) {
    const value = run.exact[key];
    if (value === null) continue;
    inside.append(svg("line", { class: "exact", x1: box.left, x2: box.left + box.width, y1: y(value), y2: y(value) }));
    inside.append(svg("text", { class: "label", x: box.left + 6, y: y(value) - 5 }, `exact int8, ${run.topology}`));
  }
  for (const front of fronts) {
    let path = "";
    front.forEach((t, i) => {
      path += i ? `H${x(t.energy)}V${y(t[key])}` : `M${x(t.energy)} ${y(t[key])}`;
    });
    if (front.length) inside.append(svg("path", { class: "front", d: path + `H${box.left + box.width + 8}` }));
  }
  const within = (t) => t.energy >= domainX[0] && t.energy <= domainX[1] &&
    t[key] >= domainY[0] && t[key] <= domainY[1];
  const drawn = trials.filter(within)
    .sort((a, b) => members.has(a) - members.has(b) || a.energy - b.energy);
  for (const trial of drawn) inside.append(markOf(trial, x, y, members));
  for (const trial of drawn.filter((t) => t.fixed)) {
    const label = data.runs[trial.run].choices[mainCode(trial)].multiplier.replace("mul8s_", "");
    inside.append(svg("text", { class: "label", x: x(trial.energy), y: y(trial[key]) - 9, "text-anchor": "middle" }, label));
  }
  holder.append(root);
  const order = [...root.querySelectorAll(".mark")]
    .sort((a, b) => data.trials[a.dataset.at].energy - data.trials[b.dataset.at].energy);
  if (order.length) (order.find((m) => data.trials[m.dataset.at] === state.chosen) || order[0]).setAttribute("tabindex", "0");
  root.addEventListener("keydown", (event) => step(event, order));
  const out = trials.length - drawn.length;
  byId("outside").textContent = out ? `${out} of ${trials.length} trials lie outside this view.` : "";
  drawTolerance(fronts.flat());
}

function mainCode(trial) {
  const counts = new Map();
  for (const code of trial.codes) counts.set(code, (counts.get(code) || 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0][0];
}

function markOf(trial, x, y, members) {
  const key = state.metric.key, kind = kindOf(trial.origin), group = svg("g", {});
  const spread = state.metric.error ? trial[state.metric.error] : null;
  const isMember = members.has(trial);
  if (spread !== null && (isMember || key === "test")) {
    const at = x(trial.energy);
    group.append(svg("line", { class: `bar ${kind}`, x1: at, x2: at, y1: y(trial[key] - spread), y2: y(trial[key] + spread) }));
  }
  const made = mark(kind, x(trial.energy), y(trial[key]), isMember ? 6 : 4.5);
  made.setAttribute("class", `mark ${kind}${isMember ? " on-front" : ""}${trial === state.chosen ? " chosen" : ""}`);
  made.setAttribute("tabindex", "-1");
  made.setAttribute("role", "button");
  made.setAttribute("aria-label", describe(trial).join(", "));
  made.dataset.at = data.trials.indexOf(trial);
  made.addEventListener("mouseenter", () => tip(made, trial));
  made.addEventListener("mouseleave", () => { byId("tip").hidden = true; });
  made.addEventListener("focus", () => tip(made, trial));
  made.addEventListener("blur", () => { byId("tip").hidden = true; });
  made.addEventListener("click", () => choose(trial));
  group.append(made);
  return group;
}

function tip(target, trial) {
  const box = byId("tip"), place = target.getBoundingClientRect();
  box.textContent = [...describe(trial), mixOf(trial)].join("\n");
  box.hidden = false;
  const left = Math.min(place.right + 12, document.documentElement.clientWidth - box.offsetWidth - 8);
  box.style.left = `${Math.max(8, left) + scrollX}px`;
  box.style.top = `${place.bottom + 8 + scrollY}px`;
  byId("announce").textContent = describe(trial).join(", ");
}

function step(event, order) {
  const at = order.indexOf(event.target);
  if (at < 0) return;
  const moves = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, Home: 0, End: order.length - 1 };
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    choose(data.trials[event.target.dataset.at]);
  } else if (event.key === "Escape") byId("tip").hidden = true;
  else if (event.key in moves) {
    event.preventDefault();
    const next = order[Math.max(0, Math.min(order.length - 1, moves[event.key]))];
    order[at].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }
}

// From light to dark as power grows: lightness alone tells them apart.
function heat(cell, power) {
  const share = Math.max(0, Math.min(1, power));
  cell.style.backgroundColor = `hsl(${205 + 20 * share} 70% ${93 - 68 * share}%)`;
  cell.className = share > 0.52 ? "cell deep" : "cell";
}

function grid(holder, run, cellOf) {
  const table = element("table"), head = element("tr"), columns = run.experts;
  head.append(element("th", { scope: "col" }, "site"));
  for (const name of columns) head.append(element("th", { scope: "col" }, name));
  table.append(element("thead"));
  table.tHead.append(head);
  const body = element("tbody");
  table.append(body);
  for (const row of run.grid) {
    const line = element("tr");
    line.append(element("th", { scope: "row" }, row.name));
    for (const site of row.sites) line.append(site === null ? element("td") : cellOf(site));
    body.append(line);
  }
  holder.append(table);
}

function choose(trial) {
  state.chosen = trial;
  const focused = document.activeElement.dataset.at;
  drawFront();
  if (focused !== undefined) document.querySelector(`.mark[data-at="${focused}"]`)?.focus();
  const run = data.runs[trial.run], facts = byId("trial-facts"), holder = byId("assignment");
  byId("trial-heading").textContent = `Assignment of trial ${trial.number}, ${run.topology}`;
  facts.replaceChildren();
  const entries = [["search", run.title], ["proposed by", nameOf(trial.origin)], ["energy", number(trial.energy, 4)],
{{facts}}
    ["circuits", mixOf(trial)]];
  for (const [name, value] of entries) facts.append(element("dt", {}, name), element("dd", {}, value));
  holder.replaceChildren();
  grid(holder, run, (site) => {
    const choice = run.choices[trial.codes[site]], cell = element("td");
    const letters = (choice.swapped ? "s" : "") + (choice.rounded ? "r" : "");
    cell.textContent = choice.multiplier.replace("mul8s_", "").replace("array:", "") + (letters ? ` ${letters}` : "");
    cell.title = `${run.sites[site]}: ${choice.multiplier}, ${number(choice.power, 3)} of the exact power`;
    heat(cell, choice.power);
    return cell;
  });
  const link = byId("download");
  link.href = "data:application/json;charset=utf-8," + encodeURIComponent(jsonOf(trial));
  link.download = `${String(trial.number).padStart(3, "0")}.json`;
  byId("copied").textContent = "";
}

// As Assignment.to_json writes it.
function jsonOf(trial) {
  const run = data.runs[trial.run], sites = {}, used = {};
  run.sites.forEach((site, index) => {
    const choice = run.choices[trial.codes[index]];
    used[choice.multiplier] = { sha256: run.tables[choice.multiplier] };
    sites[site] = { multiplier: choice.multiplier, operand_order: choice.swapped ? "swapped" : "normal",
      operands: choice.rounded ? "rounded" : "cut" };
  });
  const multipliers = Object.fromEntries(Object.keys(used).sort().map((name) => [name, used[name]]));
  return JSON.stringify({ version: data.assignment_version, multipliers, sites }, null, 1);
}

function drawTolerance(members) {
  const holder = byId("tolerance");
  holder.replaceChildren();
  data.runs.forEach((run, index) => {
    const mine = members.filter((t) => t.run === index);
    if (!mine.length) return;
    holder.append(element("h3", {}, `${run.topology}, ${mine.length} members`));
    grid(holder, run, (site) => {
      const cell = element("td");
      cell.title = run.sites[site];
      if (run.pinned[site]) { cell.textContent = "exact"; return cell; }
      const power = mine.reduce((sum, t) => sum + run.choices[t.codes[site]].power, 0) / mine.length;
      cell.textContent = power.toFixed(2);
      heat(cell, power);
      return cell;
    });
  });
}

function drawProgress() {
  const holder = byId("progress"), box = { left: 70, top: 10, width: 1000, height: 180 };
  const longest = Math.max(...data.runs.map((run) => run.progress.length));
  const root = svg("svg", { viewBox: "0 0 1090 250", role: "img", "aria-label": "hypervolume by trial" });
  const lows = data.runs.flatMap((run) => run.progress.filter((v) => v > 0));
  const low = Math.min(0.99, ...lows);
  const [x, y] = axes(root, box, [0, Math.max(longest, 2)], [low, 1 + (1 - low) * 0.05], "trial", "hypervolume");
  data.runs.forEach((run) => {
    let path = "";
    run.progress.forEach((value, i) => {
      const at = Math.max(value, low);
      path += path ? `H${x(i + 1)}V${y(at)}` : `M${x(i + 1)} ${y(at)}`;
    });
    root.append(svg("path", { class: "front", d: path }));
    run.phases.forEach(([first, origin]) => {
      root.append(svg("line", { class: "exact", x1: x(first), x2: x(first), y1: box.top, y2: box.top + box.height }));
      if (data.runs.length === 1)
        root.append(svg("text", { class: "tick", x: x(first) + 4, y: box.top + box.height - 6 }, nameOf(origin)));
    });
    const last = run.progress.length;
    if (data.runs.length > 1 && last)
      root.append(svg("text", { class: "tick", x: x(last) - 4, y: y(run.progress[last - 1]) + 16, "text-anchor": "end" }, run.topology));
  });
  holder.append(root);
}

function boxes(id, prefix, names, label, kind) {
  const holder = byId(id);
  if (names.length < 2) { holder.remove(); return; }
  for (const name of names) {
    const line = element("label"), box = element("input", { type: "checkbox", checked: "" });
    box.addEventListener("change", () => {
      if (box.checked) state.hidden.delete(prefix + name); else state.hidden.add(prefix + name);
      drawFront();
    });
    line.append(box, " ");
    if (kind) {
      const key = svg("svg", { class: "key", viewBox: "0 0 14 14" }), shape = mark(kind(name), 7, 7, 4.5);
      shape.setAttribute("class", kind(name));
      key.append(shape);
      line.append(key, " ");
    }
    line.append(label(name));
    holder.append(line);
  }
}

byId("title").textContent = data.title;
byId("summary").textContent = data.summary;
for (const metric of METRICS)
  if (data.trials.some((t) => t[metric.key] !== null))
    byId("metric").append(element("option", { value: metric.key }, metric.title));
byId("metric").addEventListener("change", (event) => {
  state.metric = METRICS.find((m) => m.key === event.target.value);
  drawFront();
});
byId("view").addEventListener("change", (event) => { state.view = event.target.value; drawFront(); });
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("copy").addEventListener("click", () => {
  const said = byId("copied");
  (navigator.clipboard?.writeText(jsonOf(state.chosen)) ?? Promise.reject()).then(
    () => { said.textContent = "copied"; },
    () => { said.textContent = "this browser lets no page copy: use the file"; });
});
boxes("topologies", "t:", [...new Set(data.runs.map((run) => run.topology))], String);
boxes("origins", "o:", data.origins, nameOf, kindOf);
boxes("fidelities", "f:", [...new Set(data.trials.map((t) => t.fidelity))], String);
document.querySelector(".scale .bar").style.background =
  "linear-gradient(to right, hsl(205 70% 93%), hsl(215 70% 59%), hsl(225 70% 25%))";
const first = data.trials.find((t) => t.shown_first) || data.trials[0];
drawFront();
choose(first);
drawProgress();
document.body.dataset.ready = "yes";
