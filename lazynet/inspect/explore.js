"use strict";
// One page about one graph. `page` holds what lazynet/inspect/explore.py knows of it: nodes with
// their places, batches with the words about each, colours by operation. Here is only what reacts:
// which step is shown, which node the details are about, what was searched, how near one looks.
//
// Steps: 0 is the overview, step k + 1 shows batch k (batches are numbered as in `ln.plan` and
// `ln.draw`), and where there are gradients one more step shows them. All text gets into the page as
// text, never as HTML, whatever characters a name has. explore_input.js follows in the same script.

const byId = (id) => document.getElementById(id);

// Whatever goes wrong is said on the page, not only in the console.
window.onerror = (message, source, line) => {
  byId("error").hidden = false;
  byId("error").textContent = `This page has a fault: ${message} (line ${line})`;
};

const page = JSON.parse(byId("data").textContent);
const { nodes, batches } = page;
const hasGradients = nodes.some((node) => node.gradient !== undefined);
const lastStep = batches.length + (hasGradients ? 1 : 0);
const usersOf = nodes.map(() => []);
nodes.forEach((node, n) => new Set(node.arguments).forEach((a) => usersOf[a].push(n)));
const batchesOf = nodes.map(() => []); // several, where a node stands for many
batches.forEach((batch, b) => batch.nodes.forEach((n) => batchesOf[n].push(b)));
const haystack = nodes.map((node) => [node.op, node.name, node.line].join("\n").toLowerCase());

let step = 0;
let selected = null; // the node that was clicked
let pointed = null; // the node under the pointer, or with the focus
let found = null; // numbers of the nodes that match the search; null where nothing is searched
let timer = null; // runs while playing
const eye = { x: 0, y: 0, scale: 1, moved: false }; // how the graph lies under the window

// ---- small helpers ----

/** An element with attributes and children; strings among them become text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.onclick = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** The same for SVG, without spelling out its namespace. */
function draw(tag, attributes = {}, text = "") {
  const element = document.createElementNS(byId("graph").namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const shorten = (text, length) => (text.length > length ? text.slice(0, length - 1) + "…" : text);
const shapeText = (shape) => shape.join("×") || "scalar";
const rowsText = (batch) => (batch === null ? "" : `${plural(batch, "row")} of `);
const isNumber = (value) => !Array.isArray(value);

/** A number with so many digits that count; "nan" and "inf" come as text. */
function numberText(value, digits = 4) {
  return typeof value === "number" ? String(Number(value.toPrecision(digits))) : String(value);
}

/** A value as one short line, or null where it is too long for that. */
function lineOf(value) {
  if (value === undefined) return null;
  if (isNumber(value)) return numberText(value);
  if (value.length > 3 || !value.every(isNumber)) return null;
  return `[${value.map((number) => numberText(number, 3)).join(" ")}]`;
}

// ---- building what is there from the start ----

const routes = new Map(page.routes.map(([a, b, ...points]) => [`${a} ${b}`, points]));

/** The way of an arrow: through the points laid out for it, or from box to box where there are none. */
function edgePath(from, to) {
  const [x, y, , height] = nodes[from].box;
  const [toX, toY, , toHeight] = nodes[to].box;
  let points = routes.get(`${from} ${to}`);
  if (!points?.length) points = [x, y + height / 2, toX, toY - toHeight / 2];
  let path = `M${points[0]} ${points[1]}`;
  for (let k = 2; k < points.length; k += 2) {
    const [x0, y0, x1, y1] = points.slice(k - 2, k + 2);
    const middle = (y0 + y1) / 2;
    path += x0 === x1 ? `V${y1}` : `C${x0} ${middle} ${x1} ${middle} ${x1} ${y1}`;
  }
  const [endX, endY] = points.slice(-2);
  return `${path}M${endX - 3} ${endY - 6}L${endX} ${endY}L${endX + 3} ${endY - 6}`;
}

const edgesInto = (n) => [...new Set(nodes[n].arguments)].map((a) => edgePath(a, n)).join("");

/** What a screen reader says of a node; the rest follows in the details. */
function spoken(node) {
  const what = [node.op, node.name, `shape ${shapeText(node.shape)}`];
  return what.filter(Boolean).join(", ");
}

const shapes = nodes.map((node, n) => {
  const [x, y, width, height] = node.box;
  const group = draw("g", {
    id: `n${n}`,
    tabindex: -1,
    role: "button",
    "aria-label": spoken(node),
    "aria-describedby": "details",
    style: `--colour: ${node.role === "parameter" ? "var(--parameter)" : `var(--c${node.colour})`}`,
    transform: `translate(${x} ${y})`,
  });
  // The forms of ln.draw: parameters round, inputs slanted.
  const rounding = { parameter: height / 2, input: 1 }[node.role] ?? 5;
  const box = { x: -width / 2, y: -height / 2, width, height, rx: rounding };
  if (node.role === "input") box.transform = "skewX(-12)";
  const count = node.count > 1 ? ` ×${node.count.toLocaleString("en")}` : "";
  const room = Math.floor((width - 8 - 6 * `v${n}`.length) / 6.6) - count.length;
  const title = draw("text", { y: -3 });
  title.append(draw("tspan", { class: "number" }, `v${n} `), shorten(node.name || node.op, room), count);
  group.append(draw("rect", box), title);
  group.append(draw("text", { class: "second", y: 12 }));
  byId("nodes").append(group);
  return group;
});

const widest = Math.max(1, ...batches.map((batch) => batch.count));
const rows = batches.map((batch, b) => {
  const bar = make("span", { style: `width: ${Math.max(2, (100 * batch.count) / widest)}%` });
  const row = make(
    "button",
    { type: "button", id: `b${b}`, tabindex: -1, style: `--colour: var(--c${batch.colour})` },
    make("span", { class: "number" }, String(b)),
    make("span", { class: "what", title: batch.line }, `${batch.label} `,
      make("span", { class: "arguments" }, batch.shapes)),
    make("span", { class: "count" }, batch.count.toLocaleString("en")),
    make("span", { class: "bar" }, bar),
  );
  row.onclick = () => go(b + 1);
  if (batch.heading) byId("batches").append(make("li", { class: "heading" }, batch.heading));
  byId("batches").append(make("li", {}, row));
  return row;
});

byId("title").textContent = page.title;
byId("folded").textContent = page.folded;
byId("folded").hidden = !page.folded;
byId("edges").setAttribute("d", page.routes.map(([a, b]) => edgePath(a, b)).join(""));
byId("slider").max = lastStep;
for (const [label, colour] of page.legend) {
  const style = `--colour: var(--c${colour})`;
  const look = () => search(label);
  byId("colours").append(make("button", { type: "button", style, onclick: look }, label));
  byId("ops").append(make("option", { value: label }));
}

// ---- steps ----

/** "done", "now" or "waiting": a batch at the step shown. */
function batchState(b) {
  if (step === 0 || step > batches.length || b < step - 1) return "done";
  return b === step - 1 ? "now" : "waiting";
}

/** The same of a node, which is in no batch, in one, or stands for nodes of several. */
function nodeState(n) {
  const some = batchesOf[n];
  if (some.length === 0) return batchState(ready[n]) === "waiting" ? "waiting" : "done";
  return some.some((b) => batchState(b) === "now") ? "now" : batchState(some.at(-1));
}

/** The second line of a node: its value once it has one, at the last step its gradient. */
function secondLine(node, state) {
  const room = Math.floor((node.box[2] - 6) / 5.8);
  const known = step > batches.length ? lineOf(node.gradient) : lineOf(node.value);
  if (step > batches.length && node.gradient === undefined) return "";
  const text = state === "waiting" || known === null ? rowsText(node.batch) + shapeText(node.shape) : known;
  const prefix = step > batches.length && known !== null ? "∂ " : "";
  return shorten(prefix + text, room);
}

// What is in no batch - rows of a batch, picked out - is there as soon as its arguments are.
const ready = nodes.map(() => -1);
nodes.forEach((node, n) => {
  const from = node.arguments.map((a) => ready[a]);
  ready[n] = batchesOf[n].at(-1) ?? Math.max(-1, ...from);
});

const painted = nodes.map(() => null); // what each node shows, so that a step touches few of them

function paintNode(n) {
  const node = nodes[n];
  const state = nodeState(n);
  const classes = ["node", node.role, state];
  if (page.roots.includes(n)) classes.push("root");
  if (found !== null) classes.push(found.has(n) ? "found" : "missed");
  if (n === selected) classes.push("selected");
  const second = secondLine(node, state);
  const key = `${classes.join(" ")}|${second}`;
  if (key === painted[n]) return;
  painted[n] = key;
  shapes[n].setAttribute("class", classes.join(" "));
  shapes[n].lastChild.textContent = second;
}

function paintBatches() {
  const hits = found && new Set([...found].flatMap((n) => batchesOf[n]));
  rows.forEach((row, b) => {
    const state = batchState(b);
    row.className = `batch ${state}${hits && !hits.has(b) ? " missed" : ""}`;
    row.tabIndex = b === Math.max(0, Math.min(step, batches.length) - 1) ? 0 : -1;
    if (state === "now") row.setAttribute("aria-current", "step");
    else row.removeAttribute("aria-current");
  });
}

function paint() {
  nodes.forEach((_, n) => paintNode(n));
  paintBatches();
  const current = step >= 1 && step <= batches.length ? batches[step - 1] : null;
  byId("edges-now").setAttribute("d", current ? current.nodes.map(edgesInto).join("") : "");
  let near = "";
  if (selected !== null) {
    near = edgesInto(selected) + usersOf[selected].map((n) => edgePath(selected, n)).join("");
  }
  byId("edges-selected").setAttribute("d", near);
  const [title, text] = page.words[step];
  byId("step-title").textContent = title;
  byId("step-text").textContent = text;
  byId("slider").value = step;
  byId("slider").setAttribute("aria-valuetext", title);
  byId("first").disabled = byId("back").disabled = step === 0;
  byId("last").disabled = byId("next").disabled = step === lastStep;
  document.body.dataset.step = step;
  details();
  remember();
}

/** Show a step; a batch that lies wholly outside the window is brought into it. */
function go(to) {
  step = Math.max(0, Math.min(lastStep, to));
  paint();
  if (step === 0 || step > batches.length) return;
  reveal(batches[step - 1].nodes);
  const row = rows[step - 1].parentElement;
  const list = byId("batches");
  const top = row.offsetTop - list.offsetTop;
  if (top < list.scrollTop || top + row.offsetHeight > list.scrollTop + list.clientHeight) {
    list.scrollTop = top - list.clientHeight / 3;
  }
}

function play(on) {
  clearInterval(timer);
  timer = null;
  if (on) {
    if (step === lastStep) go(0);
    const pause = Math.max(80, Math.min(1000, 30000 / lastStep)); // half a minute for long ones
    timer = setInterval(() => (step === lastStep ? play(false) : go(step + 1)), pause);
  }
  byId("play").textContent = on ? "Pause" : "Play";
  byId("play").setAttribute("aria-pressed", on);
}

// ---- one node ----

function numbers(value) {
  if (isNumber(value)) return make("code", {}, numberText(value));
  const lines = value.every(isNumber) ? chunks(value, 4) : value;
  if (!lines.every((line) => line.every(isNumber))) {
    return make("code", {}, JSON.stringify(value).replaceAll(",", ", ").replaceAll('"', ""));
  }
  const line = (cells) =>
    make("tr", {}, ...cells.map((cell) => make("td", {}, numberText(cell, 3))));
  return make("table", { class: "numbers" }, ...lines.map(line));
}

const chunks = (list, size) =>
  Array.from({ length: Math.ceil(list.length / size) }, (_, k) =>
    list.slice(k * size, (k + 1) * size));

const linkTo = (n) =>
  make("button", { type: "button", onclick: () => choose(n) },
    `v${n} ${nodes[n].name || nodes[n].op}`);

function links(list) {
  if (list.length === 0) return "nothing";
  const some = list.slice(0, 8).map(linkTo);
  return make("span", {}, ...some, list.length > 8 ? `and ${list.length - 8} more` : "");
}

/** Buttons that lead to the first of these batches. */
function batchLinks(node, some) {
  if (!some.length) {
    return node.role === "op" ? "none: only points at rows that are there" : "none: there already";
  }
  const jumps = some.slice(0, 8).map((b) => {
    const text = `batch ${b}: ${plural(batches[b].count, "node")}`;
    return make("button", { type: "button", onclick: () => go(b + 1) }, text);
  });
  return make("span", {}, ...jumps, some.length > 8 ? `and ${some.length - 8} more` : "");
}

/** Why there is no value or gradient to show, where there is none. */
function missing(node, what) {
  if (node.count > 1) return `${plural(node.count, "node")} are folded into this one`;
  const size = node.shape.reduce((a, b) => a * b, 1) * (node.batch ?? 1);
  if (!node.evaluated) return "not computed yet";
  if (size > 64) return `${plural(size, "number")}, too many to show here`;
  return what === "value" ? "not kept" : "not computed: no backward pass reached this node";
}

function details() {
  const n = pointed ?? selected;
  const place = byId("details");
  if (n === null) {
    const hint = "Point at a node, or click it, to see its formula, shape, value, gradient and line.";
    place.replaceChildren(make("p", { class: "hint" }, hint));
    return;
  }
  const node = nodes[n];
  const list = make("dl");
  const add = (term, content) =>
    list.append(make("dt", {}, term), make("dd", {}, content));
  if (node.formula) add("formula", make("code", {}, node.formula));
  add("shape", `${rowsText(node.batch)}${shapeText(node.shape)}, ${node.dtype}`);
  if (node.payload) add("carries", node.payload);
  if (node.first !== undefined) add("result", `number ${node.output + 1} of v${node.first}`);
  const early = nodeState(n) === "waiting";
  const value = node.value === undefined ? missing(node, "value") : numbers(node.value);
  add("value", early ? "waits for its batch" : value);
  add("gradient", node.gradient === undefined ? missing(node, "gradient") : numbers(node.gradient));
  const line = make("span", { title: node.line }, node.place);
  add("line", node.exact ? line : make("span", {}, line, " (where its kind was first recorded)"));
  add("batch", batchLinks(node, batchesOf[n]));
  if (node.arguments.length) add("takes", links(node.arguments));
  add("used by", links(usersOf[n]));
  const kind = { parameter: "parameter", input: "input" }[node.role] ?? "node";
  const count = node.count > 1 ? `, stands for ${plural(node.count, "node")}` : "";
  place.replaceChildren(make("h3", {}, node.name || node.op, make("small", {}, `, ${kind} v${n}${count}`)), list);
}

/** Select a node (null: none), move the focus to it, and bring it into the window. */
function choose(n) {
  const before = selected;
  selected = n;
  pointed = null;
  if (before !== null) shapes[before].tabIndex = -1;
  shapes[n ?? 0].tabIndex = 0;
  paint();
  if (n === null) return;
  reveal([n]);
  if (document.activeElement !== byId("search")) shapes[n].focus({ preventScroll: true });
}

function search(text) {
  const wanted = text.trim().toLowerCase();
  if (byId("search").value !== text) byId("search").value = text;
  found = null;
  if (wanted) found = new Set([...nodes.keys()].filter((n) => haystack[n].includes(wanted)));
  byId("matches").textContent = found ? plural(found.size, "match").replace("matchs", "matches") : "";
  paint();
}

function nextMatch() {
  if (!found?.size) return;
  const list = [...found];
  choose(list.find((n) => n > (selected ?? -1)) ?? list[0]);
}
