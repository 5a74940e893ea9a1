"""`ln.draw`: every node once, nothing overlaps, text fits, and bad arguments get an answer."""

from __future__ import annotations

import itertools
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from workloads import lattices, lstm_chains_by_op, taggers_by_op, tree_lstms_by_op

import lazynet as ln
from lazynet.inspect.scene import text_width
from lazynet.inspect.view import view_of

SVG = "{http://www.w3.org/2000/svg}"


def two_neurons(computed: bool = True) -> ln.Expression:
    model = ln.Model(seed=0, dtype="float64")
    names = {"w1": 0.6, "b1": -0.2, "w2": -0.9, "b2": 0.4}
    w = {n: model.parameter((), init=v, name=n) for n, v in names.items()}
    h = ln.sigmoid(w["w1"] * ln.constant(1.5, dtype="float64") + w["b1"])
    loss = 0.5 * ln.square(ln.sigmoid(w["w2"] * h + w["b2"]) - 1.0)
    if computed:
        loss.backward()
    return loss


def classifier(sentences: int) -> ln.Expression:
    model = ln.Model(seed=0)
    table = model.lookup(100, 8, name="table")
    lstm = ln.nn.LSTM(model, 8, 6)
    head = ln.nn.Linear(model, 6, 3)
    losses = []
    for k in range(sentences):
        _, (h, _) = lstm(table[list(range(k, k + 2 + k % 3))])
        losses.append(ln.cross_entropy(head(h), k % 3))
    return ln.mean(losses)


def different_weights(count: int = 10) -> ln.Expression:
    model = ln.Model(seed=0)
    weights = [model.parameter((3, 3)) for _ in range(count)]
    xs = [ln.constant(np.ones(3, np.float32)) for _ in weights]
    loss = ln.sum([ln.sum(ln.tanh(w @ x)) for w, x in zip(weights, xs)])
    loss.backward()
    return loss


def chain(n: int) -> ln.Expression:
    x = ln.constant([1.0, 2.0])
    for _ in range(n):
        x = ln.tanh(x) + 0.5
    return x


PROGRAMS: dict[str, Any] = {
    "two neurons": two_neurons,
    "two neurons, not computed": lambda: two_neurons(False),
    "classifier": lambda: classifier(4),
    "classifier, folded": lambda: classifier(80),
    "a different weight each": different_weights,
    "tree-LSTM, op by op": lambda: tree_lstms_by_op(1, 6, 6),
    "tree-LSTMs, folded": lambda: tree_lstms_by_op(4, 5, 6),
    "LSTM, op by op": lambda: lstm_chains_by_op(1, 20),
    "LSTM, folded": lambda: lstm_chains_by_op(2, 100),
    "tagger": lambda: taggers_by_op(1),
    "lattice": lambda: lattices(1),
    "chain": lambda: chain(1000),
    "parameter": lambda: ln.Model(seed=0).parameter((2, 3), name="W"),
    "several": lambda: [two_neurons(), ln.constant(1.0)],
}


def boxes(svg: str) -> dict[str, tuple[float, float, float, float]]:
    """The outlines of nodes by key."""
    found = {}
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        key = group.get("data-key")
        if key is not None:
            assert key not in found, f"{key} is drawn twice"
            path = group.findall(f"{SVG}path")[0].get("d", "")
            numbers = [float(x) for x in re.findall(r"-?[\d.]+", path)]
            xs, ys = numbers[::2], numbers[1::2]
            found[key] = (min(xs), min(ys), max(xs), max(ys))
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_node_once_and_none_overlap(name: str) -> None:
    program = PROGRAMS[name]()
    picture = ln.draw(program)
    view = view_of(program)
    found = boxes(picture.svg)
    if len(view.nodes) <= 300:
        assert list(found) and set(found) == {f"v{n.number}" for n in view.nodes}
    else:
        assert 1 < len(found) <= 60
    for (i, a), (j, b) in itertools.combinations(found.items(), 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, f"{i} and {j} overlap"
    for x0, y0, x1, y1 in found.values():
        assert x0 >= 0 and y0 >= 0 and x1 <= picture.width and y1 <= picture.height


@pytest.mark.parametrize("name", PROGRAMS)
def test_text_fits_its_box_and_the_picture(name: str) -> None:
    svg = ln.draw(PROGRAMS[name]()).svg
    root = ET.fromstring(svg)
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    outlines = boxes(svg)
    count = 0
    for group in root.iter(f"{SVG}g"):
        limits = outlines.get(group.get("data-key", ""), (0, 0, width, height))
        for text in group.findall(f"{SVG}text"):
            size = float(text.get("font-size", 0))
            room = text_width(text.text or "", size, text.get("font-weight") == "bold")
            x, y = float(text.get("x", 0)), float(text.get("y", 0))
            left = x - room / 2 if text.get("text-anchor") == "middle" else x
            assert limits[0] <= left + 0.2 and left + room <= limits[2] + 0.2, text.text
            assert limits[1] <= y - size * 0.75 and y + size * 0.2 <= limits[3], text.text
            count += 1
    assert count > 2


def test_the_widths_of_text_are_those_of_its_font() -> None:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    text = "The quick brown fox: (12, 345) jumps_over 0.678 [LAZY] @ W/U?"
    for bold in (False, True):
        weight = "bold" if bold else "normal"
        face = FontProperties(family="DejaVu Sans", weight=weight)
        path = TextPath((0, 0), text, 100, prop=face)
        measured = path.get_extents().width / 100
        assert abs(text_width(text, 1.0, bold) - measured) < 0.02 * measured


def words(svg: str) -> list[str]:
    return [t.text or "" for t in ET.fromstring(svg).iter(f"{SVG}text")]


def test_values_and_gradients_are_shown_as_asked_for() -> None:
    loss = two_neurons()
    shown = words(ln.draw(loss).svg)
    assert "value 0.668" in shown and "gradient 0.123" in shown
    assert "w1" in shown and "sigmoid" in shown
    only = words(ln.draw(loss, gradients=False).svg)
    assert "value 0.668" in only and not any("gradient" in w for w in only)
    neither = words(ln.draw(loss, values=False, gradients=False).svg)
    assert not any(w.startswith("value ") for w in neither)


def test_numbers_are_never_cut() -> None:
    shown = words(ln.draw(different_weights(12)).svg)
    numbers = [w for w in shown if w.startswith(("value", "gradient"))]
    assert len(numbers) > 20 and not any("…" in w for w in numbers)


def test_what_is_not_computed_is_dashed_and_explained() -> None:
    svg = ln.draw(two_neurons(False)).svg
    assert "stroke-dasharray" in svg
    assert "not computed yet" in words(svg)
    assert "stroke-dasharray" not in ln.draw(two_neurons()).svg


def test_batches_have_numbers_colours_and_a_legend() -> None:
    loss = classifier(4)
    loss.value()
    svg = ln.draw(loss).svg
    shown = words(svg)
    assert "lookup_rows: 4 nodes" in shown and "affine: 4 nodes" in shown
    by_key = {g.get("data-key"): ET.tostring(g, "unicode") for g in ET.fromstring(svg).iter()}
    for batch in view_of(loss).batches:
        if batch.size > 1:
            used = [re.findall(r"f-(batch\d)", by_key[f"v{i}"])[0] for i in batch.nodes]
            assert len(set(used)) == 1
        else:
            assert "f-alone" in by_key[f"v{batch.nodes[0]}"]


def test_folded_boxes_count() -> None:
    shown = words(ln.draw(chain(1000)).svg)
    assert "tanh \N{MULTIPLICATION SIGN} 1,000" in shown and "1,000 batches" in shown
    assert any("stands for all nodes of one kind" in w for w in shown)


def test_folding_by_operation() -> None:
    model = ln.Model(seed=0)
    weights = [model.parameter((k + 1,)) for k in range(120)]
    shown = words(ln.draw(ln.sum([ln.sum(ln.tanh(w)) for w in weights])).svg)
    assert "tanh \N{MULTIPLICATION SIGN} 120" in shown and "several shapes" in shown
    assert any("stands for all nodes of one operation" in w for w in shown)


def test_parameters_that_many_use_are_named_in_boxes() -> None:
    shown = words(ln.draw(tree_lstms_by_op(1, 6, 6)).svg)
    assert any(w.startswith("with parameter_") for w in shown)
    assert any("named in these" in w for w in shown)


def test_details_are_where_the_pointer_is() -> None:
    with ln.debug():
        loss = two_neurons()
    titles = [t.text or "" for t in ET.fromstring(ln.draw(loss).svg).iter(f"{SVG}title")]
    sigmoid = next(t for t in titles if ": sigmoid" in t)
    assert "1 / (1 + e^-v" in sigmoid and "test_draw.py:" in sigmoid
    assert "value 0.66" in sigmoid and "batch 3: 1 node, 1 row, computed" in sigmoid


def test_names_are_escaped() -> None:
    model = ln.Model(seed=0)
    w = model.parameter((1,), name="a<b>&\"c'")
    svg = ln.draw(w * 2).svg
    assert "a<b>&\"c'" in words(svg)


def test_the_same_picture_again() -> None:
    loss = classifier(6)
    loss.backward()
    assert ln.draw(loss).svg == ln.draw(loss).svg


def test_light_and_dark() -> None:
    svg = ln.draw(two_neurons()).svg
    assert "prefers-color-scheme:dark" in svg
    name = re.findall(r'id="(lazynet-\w+)"', svg)[0]
    style = re.findall(r"<style>(.*?)</style>", svg, re.S)[0]
    style = style.replace("@media (prefers-color-scheme:dark){", "")
    rules = re.findall(r"([^{}]+)\{[^{}]*\}", style)
    assert rules and all(rule.strip(" }").startswith(f"#{name} ") for rule in rules)


def test_jupyter_and_files(tmp_path: Path) -> None:
    picture = ln.draw(two_neurons(), tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == picture.svg
    assert picture._repr_svg_() == picture.svg
    page = picture.save(str(tmp_path / "graph.html")).read_text(encoding="utf-8")
    assert (
        page.startswith("<!doctype html>")
        and picture.svg in page
        and "http" not in re.sub(r"http://www.w3.org/2000/svg", "", page)
    )
    assert "10 nodes in 10 batches (lower bound 10)" in repr(picture)


def test_png(tmp_path: Path) -> None:
    picture = ln.draw(two_neurons())
    data = picture.save(tmp_path / "graph.PNG").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(data[k : k + 4], "big") for k in (16, 20))
    assert abs(width - 2 * picture.width) <= 2 and abs(height - 2 * picture.height) <= 2


def test_png_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [m for m in sys.modules if m.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    picture = ln.draw(two_neurons())
    with pytest.raises(ln.MissingPackageError, match=r"pip install 'lazynet\[viz\]'"):
        picture.save(tmp_path / "graph.png")
    picture.save(tmp_path / "graph.svg")


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("graph.gif", ln.FileError, "one of .svg, .png, .html"),
        ("graph", ln.FileError, "'graph.svg'"),
        ("missing/graph.svg", ln.FileError, "cannot be written"),
        (3, ln.ArgumentError, "got 3 for a path"),
        (b"graph.svg", ln.ArgumentError, "for a path"),
    ],
)
def test_bad_paths(tmp_path: Path, path: Any, error: type[Exception], said: str) -> None:
    target = str(tmp_path / path) if isinstance(path, str) else path
    with pytest.raises(error, match=said):
        ln.draw(two_neurons(), target)
    with pytest.raises(error, match=said):
        ln.draw(two_neurons()).save(target)


@pytest.mark.parametrize("given", [3.0, None, "x", [], [None], np.zeros(2)])
def test_what_is_no_expression(given: Any) -> None:
    with pytest.raises(ln.ArgumentError, match=r"^draw: got"):
        ln.draw(given)


def test_not_finite_values_are_counted() -> None:
    x = ln.log(ln.constant([-1.0, 0.0, 1.0, 2.0, 3.0]))
    x.value()
    assert any(w.endswith("2 not finite") for w in words(ln.draw(x).svg))
