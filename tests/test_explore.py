"""`ln.explore`: the page, and what it does in a browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet.inspect.explore import Page
from lazynet.inspect.view import View, view_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
in_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium on this machine (Debian: apt install chromium)"
)
FLAGS = """
--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --virtual-time-budget=3000 --window-size=1400,900
""".split()
NASTY = "<!--<script>window.onerror('evil')<img src=x onerror=alert(1)>&amp;{{data}}"


class Element:
    """An element of a page: its tag, attributes and all the text within."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.text = ""

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())


class Document(HTMLParser):
    """The elements of a page, and those that have an id by it."""

    VOID = frozenset("meta input path rect br link".split())

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.open: list[Element] = []
        self.feed(text)
        self.close()
        self.by_id = {e.attributes["id"]: e for e in self.elements if "id" in e.attributes}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in self.VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag in [e.tag for e in self.open]:
            while self.open.pop().tag != tag:
                pass

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def __getitem__(self, name: str) -> Element:
        return self.by_id[name]

    def nodes(self, state: str) -> set[int]:
        return {int(e.attributes["id"][1:]) for e in self.elements if {"node", state} <= e.classes}


def opened(folder: Path, page: Page, fragment: str = "", script: str = "", *flags: str) -> Document:
    """The page as it is after its scripts, and after one more, have run; faults are errors."""
    path = folder / "page.html"
    text = (
        page.html.replace("</body>", f"<script>{script}</script></body>") if script else page.html
    )
    path.write_text(text, encoding="utf-8")
    document = browse(path, fragment, *flags)
    assert "hidden" in document["error"].attributes, document["error"].text
    return document


def browse(path: Path, fragment: str = "", *flags: str) -> Document:
    assert CHROMIUM is not None
    profile = path.parent / f"profile-{time.monotonic_ns()}"
    command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={profile}", "--dump-dom"]
    address = path.as_uri() + (f"#{fragment}" if fragment else "")
    done = subprocess.run([*command, address], capture_output=True, timeout=120, check=True)
    return Document(done.stdout.decode())


def probed(folder: Path, page: Page, script: str) -> Any:
    """What a script finds out on the page: it fills the object `seen`."""
    script = f"const seen = {{}};\n{script}\n"
    script += 'document.body.append(make("pre", { id: "seen" }, JSON.stringify(seen)));'
    return json.loads(opened(folder, page, "", script)["seen"].text)


def recurrent(examples: int = 4, steps: int = 3) -> ln.Expression:
    model = ln.Model(seed=0)
    W = model.parameter((3, 3), name="W")
    ends = []
    for k in range(examples):
        h = ln.constant(np.arange(3, dtype="f"))
        for _ in range(1 + k % steps):
            h = ln.tanh(W @ h)
        ends.append(ln.sum(h))
    return ln.mean(ends)


def states(view: View, batch: int) -> dict[str, set[int]]:
    """Which nodes are done, now and waiting at a batch."""
    ready: list[int] = []
    for node in view.nodes:
        above = max([ready[a] for a in node.arguments], default=-1)
        ready.append(node.batch_number if node.batch_number >= 0 else above)
    found: dict[str, set[int]] = {"done": set(), "now": set(), "waiting": set()}
    for n, own in enumerate(ready):
        now = view.nodes[n].batch_number == batch
        found["now" if now else "done" if own <= batch else "waiting"].add(n)
    return found


# Without a browser


def test_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    page = ln.explore(recurrent(), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text == page.html
    assert re.findall(r"https?:|//[a-z]+\.|\bsrc=|url\(|@import|<link|fetch\(|XMLHttp", text) == []
    assert "default-src 'none'" in text


def test_nothing_is_computed_and_nothing_sealed() -> None:
    loss = recurrent()
    before = str(ln.plan(loss))
    ln.explore(loss)
    assert str(ln.plan(loss)) == before
    ln.plan(loss + 1)


def test_jupyter_shows_it_in_a_frame() -> None:
    page = ln.explore(recurrent(), height=333)
    (frame,) = Document(page._repr_html_()).elements
    assert frame.tag == "iframe" and frame.attributes["srcdoc"] == page.html
    assert "height: 333px" in frame.attributes["style"] and frame.attributes["title"]
    assert "characters" in repr(page)


def test_data_cannot_end_the_script_that_holds_it() -> None:
    model = ln.Model(seed=0)
    w = model.parameter((2,), name=NASTY)
    page = ln.explore(ln.sum(w))
    (data,) = re.findall(r'id="data">(.*?)</script>', page.html, re.DOTALL)
    assert not set("<>&") & set(data)
    assert NASTY in [node["name"] for node in json.loads(data)["nodes"]]


def test_values_that_json_does_not_know() -> None:
    x = ln.log(ln.constant([0.0, -1.0, 1.0]))
    x.value()
    (data,) = re.findall(r'id="data">(.*?)</script>', ln.explore(x).html, re.DOTALL)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert json.loads(data, parse_constant=refuse)["nodes"][-1]["value"] == ["-inf", "nan", 0.0]


def test_a_hundred_thousand_nodes_are_folded_and_the_page_says_so() -> None:
    hs = [ln.constant(np.zeros(2, "f")) for _ in range(4000)]
    for _ in range(25):
        hs = [ln.tanh(h) for h in hs]
    page = ln.explore(ln.sum(hs))
    assert "104,001 nodes in 27 batches" in page.html
    assert "those of one kind and batch are folded into one" in page.html
    assert len(page.html) < 200_000


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ln.ArgumentError, match="explore: got int 3; it takes an expression"):
        ln.explore(3)
    for bad in (0, -1, True, 2.5, None):
        with pytest.raises(ln.SettingError, match="limit"):
            ln.explore(recurrent(), limit=bad)  # type: ignore[arg-type]
    with pytest.raises(ln.SettingError, match="height"):
        ln.explore(recurrent(), height=0)
    with pytest.raises(ln.FileError, match="cannot be written"):
        ln.explore(recurrent(), tmp_path / "no" / "such" / "folder.html")
    with pytest.raises(ln.FileError, match=r"give a name such as 'graph.html'"):
        ln.explore(recurrent(), tmp_path / "graph.svg")
    with pytest.raises(ln.ArgumentError, match="for a path"):
        ln.explore(recurrent(), 7)  # type: ignore[arg-type]


# In a browser


@in_browser
def test_stepping_lights_up_the_nodes_of_each_batch(tmp_path: Path) -> None:
    loss = recurrent()
    view, page = view_of(loss), ln.explore(loss)
    assert len(view.batches) == 9
    script = """
    seen.steps = [];
    const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key }));
    Object.defineProperty(KeyboardEvent.prototype, "target", { get: () => document.body });
    for (let k = 0; k < 11; k++) {
      const of = (state) => nodes.map((_, n) => n).filter((n) =>
        byId(`n${n}`).classList.contains(state));
      seen.steps.push({
        step, title: byId("step-title").textContent, text: byId("step-text").textContent,
        done: of("done"), now: of("now"), waiting: of("waiting"),
        row: document.querySelector("[aria-current]")?.id ?? null,
        slider: byId("slider").value,
      });
      press("ArrowRight");
    }
    press("Home"); seen.home = step; press("End"); seen.end = step;
    press("ArrowLeft"); seen.back = step;
    """
    seen = probed(tmp_path, page, script)
    everything = set(range(len(view.nodes)))
    first, *rest, again = seen["steps"]
    assert first["step"] == 0 and set(first["done"]) == everything and first["row"] is None
    for k, at in enumerate(rest):
        assert at["step"] == k + 1 and at["slider"] == str(k + 1)
        assert at["title"] == f"Batch {k} (step {k + 1} of 9)" and at["row"] == f"b{k}"
        assert {name: set(at[name]) for name in ("done", "now", "waiting")} == states(view, k)
    assert "4 nodes of matmul" in rest[1]["text"]
    assert again["step"] == 9  # there is nothing after the last
    assert (seen["home"], seen["end"], seen["back"]) == (0, 9, 8)


def everything_to_press_has_a_name(document: Document) -> None:
    labels = {e.attributes.get("for") for e in document.elements if e.tag == "label"}
    for element in document.elements:
        if element.tag in ("button", "input", "svg", "section"):
            named = element.text.strip() or element.attributes.get("aria-label")
            assert named or element.attributes.get("id") in labels, element.attributes
        if "node" in element.classes:
            assert "shape" in element.attributes["aria-label"]
    stops = [e for e in document.elements if e.attributes.get("tabindex") == "0"]
    assert len(stops) == 2  # one in the graph, one in the list


@in_browser
def test_the_address_tells_step_search_and_node(tmp_path: Path) -> None:
    loss = recurrent()
    view = view_of(loss)
    chosen = view.batches[2].nodes[0]
    fragment = f"step=3&search=TANH&select={chosen}&theme=dark"
    document = opened(tmp_path, ln.explore(loss), fragment)
    assert {name: document.nodes(name) for name in ("done", "now", "waiting")} == states(view, 2)
    tanh = {n.number for n in view.nodes if n.op == "tanh"}
    assert document.nodes("found") == tanh and document["matches"].text == f"{len(tanh)} matches"
    assert document.nodes("missed") == set(range(len(view.nodes))) - tanh
    assert document.nodes("selected") == {chosen}
    (root,) = [e for e in document.elements if e.tag == "html"]
    assert root.attributes["data-theme"] == "dark"
    everything_to_press_has_a_name(document)
    node = view.nodes[chosen]
    details = document["details"].text
    for part in (node.op, node.formula, node.place, "float32", "not computed yet", "batch 2: "):
        assert part in details


@in_browser
def test_an_address_that_does_not_fit_does_no_harm(tmp_path: Path) -> None:
    dark = "--blink-settings=preferredColorScheme=0"
    fragment = "step=99&select=1000&theme=pink&x=<b>"
    document = opened(tmp_path, ln.explore(recurrent()), fragment, "", dark)
    assert document["step-title"].text == "Batch 8 (step 9 of 9)"
    assert document.nodes("selected") == set()
    (root,) = [e for e in document.elements if e.tag == "html"]
    assert root.attributes["data-theme"] == "dark"  # as the system has it


@in_browser
def test_values_and_gradients(tmp_path: Path) -> None:
    model = ln.Model(seed=0, dtype="float64")
    w = model.parameter((), init=0.5, name="w")
    h = ln.tanh(w * 3.0)
    (h * h).backward()
    script = """
    const second = (n) => byId(`n${n}`).lastChild.textContent;
    const texts = () => nodes.map((_, n) => second(n));
    seen.ops = nodes.map((node) => node.op);
    seen.overview = texts(); go(1); seen.first = texts();
    go(lastStep); seen.last = texts(); seen.title = byId("step-title").textContent;
    """
    loss = h * h
    loss.backward()
    seen = probed(tmp_path, ln.explore(loss), script)
    assert seen["ops"] == ["parameter", "multiply_number", "tanh", "multiply"]
    t = float(np.tanh(1.5))
    assert seen["overview"] == ["0.5", "1.5", f"{t:.4g}", f"{t * t:.4g}"]
    assert seen["first"] == ["0.5", "1.5", "scalar", "scalar"]  # later ones wait for their batch
    assert seen["title"] == "Backward"
    dz = 2 * t * (1 - t * t)
    assert seen["last"][1:] == [f"∂ {dz:.4g}", f"∂ {2 * t:.4g}", "∂ 1"]
    assert float(seen["last"][0].removeprefix("∂ ")) == pytest.approx(2 * 3 * dz, rel=1e-3)


@in_browser
def test_pointing_searching_playing_and_zooming(tmp_path: Path) -> None:
    script = """
    const shown = () => byId("details").textContent;
    const at = (n, type, options = {}) =>
      byId(`n${n}`).dispatchEvent(new PointerEvent(type, { bubbles: true, ...options }));
    const key = (element, name) =>
      element.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
    seen.hint = shown();
    at(3, "pointerover"); seen.pointed = shown();
    at(3, "pointerout"); seen.left = shown();
    byId("n3").dispatchEvent(new MouseEvent("click", { bubbles: true }));
    seen.clicked = selected; seen.kept = shown(); seen.focused = document.activeElement.id;
    at(1, "pointerover"); at(1, "pointerout"); seen.back = shown();
    key(byId("n3"), "ArrowUp"); seen.argument = selected;
    key(byId(`n${selected}`), "ArrowDown"); seen.user = selected;
    key(byId(`n${selected}`), "."); seen.sibling = selected;
    key(document.body, "Escape"); seen.none = selected;
    document.querySelector("#colours button").click(); seen.searched = byId("search").value;
    byId("search-form").requestSubmit(); const first = selected;
    byId("search-form").requestSubmit(); seen.matches = [first, selected, [...found]];
    seen.link = byId("details").querySelector("button").textContent;
    key(byId("search"), "Escape"); seen.cleared = found;
    rows[4].click(); seen.jumped = step;
    key(rows[4], "ArrowDown"); seen.down = step; seen.row = document.activeElement.id;
    const scale = () => eye.scale;
    const before = scale(); byId("nearer").click(); seen.nearer = scale() / before;
    key(document.body, "-"); seen.same = scale() / before;
    byId("graph").dispatchEvent(new WheelEvent("wheel", { deltaY: -100, cancelable: true }));
    seen.wheel = scale() > before; key(document.body, "0"); seen.fit = scale() === before;
    const x = eye.x;
    byId("graph").dispatchEvent(new PointerEvent("pointerdown", { pointerId: 1, clientX: 9 }));
    window.dispatchEvent(new PointerEvent("pointermove", { pointerId: 1, clientX: 59 }));
    window.dispatchEvent(new PointerEvent("pointerup", { pointerId: 1 }));
    seen.dragged = eye.x - x;
    byId("theme").click(); seen.theme = document.documentElement.dataset.theme;
    seen.address = location.hash;
    play(true); seen.playing = byId("play").textContent; key(document.body, " ");
    seen.paused = byId("play").textContent;
    """
    loss = recurrent()
    view = view_of(loss)
    seen = probed(tmp_path, ln.explore(loss), script)
    formula = view.nodes[3].formula
    assert "Point at a node" in seen["hint"] and seen["left"] == seen["hint"]
    assert formula in seen["pointed"] and formula in seen["kept"] and seen["back"] == seen["kept"]
    assert seen["clicked"] == 3 and seen["focused"] == "n3"
    assert seen["argument"] == view.nodes[3].arguments[0]
    assert seen["argument"] in view.nodes[seen["user"]].arguments
    assert seen["sibling"] != seen["user"]
    assert view.nodes[seen["sibling"]].batch_number == view.nodes[seen["user"]].batch_number
    assert seen["none"] is None
    one, two, all_found = seen["matches"]
    assert [one, two] == all_found[:2] and view.nodes[one].op == seen["searched"]
    assert "batch" in seen["link"] and seen["cleared"] is None
    assert (seen["jumped"], seen["down"], seen["row"]) == (5, 6, "b5")
    assert seen["nearer"] == pytest.approx(1.4) and seen["same"] == pytest.approx(1)
    assert seen["wheel"] and seen["fit"] and seen["dragged"] == pytest.approx(50)
    assert seen["theme"] == "dark" and "theme=dark" in seen["address"]
    assert "step=6" in seen["address"]
    assert (seen["playing"], seen["paused"]) == ("Pause", "Play")


@in_browser
def test_names_are_text_whatever_they_are(tmp_path: Path) -> None:
    model = ln.Model(seed=0)
    loss = ln.sum(model.parameter((2, 2), name=NASTY) @ ln.constant(np.ones(2, "f")))
    document = opened(tmp_path, ln.explore(loss), "select=0&step=2&search=img")
    assert NASTY in document["details"].text
    assert document["matches"].text == "1 match"
    assert [e for e in document.elements if e.tag == "img"] == []
    assert sum(e.tag == "script" for e in document.elements) == 2


@in_browser
def test_a_folded_graph_can_be_stepped_through(tmp_path: Path) -> None:
    loss = recurrent(60, 9)
    view = view_of(loss).fold(6)
    document = opened(tmp_path, ln.explore(loss, limit=6), "step=4&select=2")
    assert "of one kind are folded into one" in document["folded"].text
    assert "hidden" not in document["folded"].attributes
    assert document.nodes("now") == set(view.batches[3].nodes)
    assert f"stands for {view.nodes[2].count} nodes" in document["details"].text


@in_browser
def test_three_thousand_nodes(tmp_path: Path) -> None:
    loss = recurrent(200, 12)
    assert 2800 < len(view_of(loss).nodes) < 3000
    page = ln.explore(loss)
    start = time.perf_counter()
    script = """
    const start = Date.now();
    for (let k = 0; k <= 10; k++) go(k);
    seen.shapes = document.querySelectorAll(".node").length;
    seen.now = document.querySelectorAll(".node.now").length;
    """
    seen = probed(tmp_path, page, script)
    assert seen["shapes"] == len(view_of(loss).nodes)
    assert seen["now"] == len(view_of(loss).batches[9].nodes)
    assert time.perf_counter() - start < 30  # a second or two on an idle machine


@in_browser
def test_it_runs_in_the_frame_of_a_notebook(tmp_path: Path) -> None:
    frame = ln.explore(recurrent())._repr_html_()
    script = """
    window.onload = () => {
      const inner = document.querySelector("iframe").contentDocument;
      inner.getElementById("next").click();
      const said = document.createElement("pre");
      said.id = "said";
      said.textContent = inner.getElementById("step-title").textContent +
        (inner.getElementById("error").hidden ? "" : " fault");
      document.body.append(said);
    };
    """
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><body>{frame}<script>{script}</script></body>", "utf-8")
    assert browse(path)["said"].text == "Batch 0 (step 1 of 9)"


@in_browser
def test_a_fault_is_seen(tmp_path: Path) -> None:
    page = ln.explore(recurrent())
    broken = page.html.replace('"batches":[', '"badges":[')
    assert broken != page.html
    path = tmp_path / "broken.html"
    path.write_text(broken, encoding="utf-8")
    error = browse(path)["error"]
    assert "hidden" not in error.attributes and "fault" in error.text
    assert html.escape(error.text)


def test_of_many_batches_the_first_are_shown_and_that_is_soon() -> None:
    h = ln.constant([1.0, 2.0])
    for _ in range(30_000):
        h = ln.tanh(h)
    began = time.process_time()
    page = ln.explore(h).html
    assert time.process_time() - began < 10  # quadratic in batches, it took minutes
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert len(data["batches"]) == 3000 and len(data["words"]) == 3002
    assert data["title"] == "30,001 nodes in 30,001 batches"
    assert "first 3,000 batches; 27,001 more follow" in data["words"][0][1]
