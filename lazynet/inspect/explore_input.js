// Goes on from explore.js: how near one looks, what pointers and keys do, the theme, the address.

// ---- looking nearer and from farther ----

function look() {
  byId("world").setAttribute("transform", `translate(${eye.x} ${eye.y}) scale(${eye.scale})`);
  byId("graph").classList.toggle("far", eye.scale < 0.45);
}

function fit() {
  const { clientWidth: width, clientHeight: height } = byId("graph");
  const [left, top, right, bottom] = page.bounds;
  const below = byId("legend").offsetHeight + 16; // the legend covers that much
  const scale = Math.min(
    (width - 48) / (right - left), (height - 32 - below) / (bottom - top), 1.4);
  Object.assign(eye, {
    scale,
    x: width / 2 - (scale * (left + right)) / 2,
    y: (height - below) / 2 - (scale * (top + bottom)) / 2,
    moved: false,
  });
  look();
}

/** Zoom by a factor, the point (x, y) of the window staying where it is. */
function zoom(factor, x = byId("graph").clientWidth / 2, y = byId("graph").clientHeight / 2) {
  const scale = Math.max(0.002, Math.min(6, eye.scale * factor));
  eye.x = x - ((x - eye.x) * scale) / eye.scale;
  eye.y = y - ((y - eye.y) * scale) / eye.scale;
  eye.scale = scale;
  eye.moved = true;
  look();
}

/** Move the graph so that the middle of these nodes is seen, unless one of them is. */
function reveal(numbers) {
  const { clientWidth: width, clientHeight: height } = byId("graph");
  const points = numbers.map((n) => {
    const [x, y] = nodes[n].box;
    return [eye.x + eye.scale * x, eye.y + eye.scale * y];
  });
  if (points.some(([x, y]) => x > 0 && y > 0 && x < width && y < height)) return;
  const middle = (k) => points.reduce((sum, point) => sum + point[k], 0) / points.length;
  eye.x += width / 2 - middle(0);
  eye.y += height / 2 - middle(1);
  look();
}

// ---- what the user does ----

const nodeAt = (event) => {
  const group = event.target.closest?.(".node");
  return group ? Number(group.id.slice(1)) : null;
};

function point(n) {
  pointed = n;
  details();
}

byId("nodes").onpointerover = (event) => point(nodeAt(event));
byId("nodes").onpointerout = () => point(null);
byId("nodes").addEventListener("focusin", (event) => point(nodeAt(event)));
byId("nodes").addEventListener("focusout", () => point(null));

const fingers = new Map(); // pointers that are down: one drags, two pinch
let dragged = false;

byId("graph").onpointerdown = (event) => {
  fingers.set(event.pointerId, event);
  dragged = false;
};
window.onpointermove = (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const dx = event.clientX - before.clientX;
  const dy = event.clientY - before.clientY;
  if (!dragged && Math.hypot(dx, dy) < 4) return; // a click with an unsteady hand
  dragged = eye.moved = true;
  byId("graph").classList.add("dragging");
  if (fingers.size === 2) {
    const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
    const distance = (finger) =>
      Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY);
    const corner = byId("graph").getBoundingClientRect();
    zoom(distance(event) / Math.max(1, distance(before)),
      (event.clientX + other.clientX) / 2 - corner.left,
      (event.clientY + other.clientY) / 2 - corner.top);
  } else {
    eye.x += dx;
    eye.y += dy;
    look();
  }
  fingers.set(event.pointerId, event);
};
window.onpointerup = window.onpointercancel = (event) => {
  fingers.delete(event.pointerId);
  byId("graph").classList.remove("dragging");
};
byId("graph").onclick = (event) => {
  if (!dragged) choose(nodeAt(event));
};
byId("graph").addEventListener("wheel", (event) => {
  event.preventDefault();
  const corner = byId("graph").getBoundingClientRect();
  const factor = Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015));
  zoom(factor, event.clientX - corner.left, event.clientY - corner.top);
}, { passive: false });

byId("nearer").onclick = () => zoom(1.4);
byId("farther").onclick = () => zoom(1 / 1.4);
byId("fit").onclick = fit;
byId("first").onclick = () => go(0);
byId("back").onclick = () => go(step - 1);
byId("next").onclick = () => go(step + 1);
byId("last").onclick = () => go(lastStep);
byId("play").onclick = () => play(timer === null);
byId("slider").oninput = () => go(Number(byId("slider").value));
byId("search").oninput = () => search(byId("search").value);
byId("search-form").onsubmit = (event) => {
  event.preventDefault();
  nextMatch();
};

/** Keys on a node lead along the graph. */
function walk(key, n) {
  const batch = batches[batchesOf[n][0]]?.nodes ?? [n];
  const neighbour = (by) => batch[(batch.indexOf(n) + by + batch.length) % batch.length];
  const to = {
    ArrowUp: () => nodes[n].arguments[0],
    ArrowDown: () => usersOf[n][0],
    ",": () => neighbour(-1),
    ".": () => neighbour(1),
    Enter: () => n,
  }[key];
  if (to === undefined) return false;
  const target = to();
  if (target !== undefined) choose(target);
  return true;
}

const KEYS = {
  ArrowLeft: () => go(step - 1),
  ArrowRight: () => go(step + 1),
  Home: () => go(0),
  End: () => go(lastStep),
  " ": () => play(timer === null),
  "/": () => byId("search").focus(),
  "+": () => zoom(1.4),
  "=": () => zoom(1.4),
  "-": () => zoom(1 / 1.4),
  0: fit,
  Escape: () => (found ? search("") : choose(null)),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = event.target;
  if (at.id === "search" && event.key !== "Escape") return;
  if (at.id === "slider" && event.key !== " ") return; // it has the same keys itself
  if (event.key === " " && at.closest("button, summary")) return;
  const n = nodeAt(event);
  if (n !== null && walk(event.key, n)) return event.preventDefault();
  const row = at.closest(".batch");
  if (row && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
    go(Number(row.id.slice(1)) + (event.key === "ArrowDown" ? 2 : 0));
    rows[Math.max(0, Math.min(step, batches.length) - 1)].focus({ preventScroll: true });
    return event.preventDefault();
  }
  if (KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]();
  }
});

// ---- theme, and the state in the address ----

const dark = window.matchMedia("(prefers-color-scheme: dark)");
let theme = null; // null: as the system has it

function paintTheme() {
  const shown = theme ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = shown;
  byId("theme").textContent = shown === "dark" ? "Light" : "Dark";
}

dark.onchange = paintTheme;
byId("theme").onclick = () => {
  theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  paintTheme();
  remember();
};

/** Write the state into the address, so that it can be sent to somebody. */
function remember() {
  if (location.protocol === "about:") return; // a frame of a notebook has no address
  const state = new URLSearchParams();
  if (step) state.set("step", step);
  if (selected !== null) state.set("select", selected);
  if (found) state.set("search", byId("search").value);
  if (theme) state.set("theme", theme);
  history.replaceState(null, "", `#${state}`);
}

/** Take the state from the address; what does not fit the graph is left out. */
function recall() {
  const state = new URLSearchParams(location.hash.slice(1));
  const whole = (name) => (/^\d+$/.test(state.get(name) ?? "") ? Number(state.get(name)) : null);
  const chosen = whole("select");
  theme = ["light", "dark"].includes(state.get("theme")) ? state.get("theme") : null;
  selected = chosen !== null && chosen < nodes.length ? chosen : null;
  const at = whole("step") ?? 0;
  paintTheme();
  search(state.get("search") ?? "");
  go(at);
  choose(selected);
}

window.onhashchange = recall;
fit();
recall();
new ResizeObserver(() => eye.moved || fit()).observe(byId("graph"));
