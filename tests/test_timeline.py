"""`Plan.draw`: every batch has its bar."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from workloads import lattices_by_op, tree_lstms_by_op

import lazynet as ln
from lazynet.inspect.scene import text_width

SVG = "{http://www.w3.org/2000/svg}"


def bars(svg: str) -> dict[str, tuple[str, float]]:
    """Colour and height of the bars by key."""
    found = {}
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        key = group.get("data-key")
        if key is not None:
            (path,) = group.findall(f"{SVG}path")
            ys = [float(y) for y in re.findall(r"-?[\d.]+", path.get("d", ""))[1::2]]
            found[key] = (path.get("class", ""), round(max(ys) - min(ys), 3))
    return found


def test_a_bar_for_each_batch_as_high_as_it_has_rows() -> None:
    plan = ln.plan(tree_lstms_by_op(4, 5, 12))
    found = bars(plan.draw().svg)
    assert sorted(found, key=lambda k: int(k[1:])) == [f"b{k}" for k in range(len(plan))]
    heights = {k: found[f"b{k}"][1] for k in range(len(plan))}
    order = sorted(heights, key=lambda k: plan.batches[k].rows)
    assert [heights[k] for k in order] == sorted(heights.values())
    colours: dict[str, set[str]] = {}
    for k, b in enumerate(plan.batches):
        colours.setdefault(b.op, set()).add(found[f"b{k}"][0])
    assert all(len(c) == 1 for c in colours.values())


def test_many_batches_share_bars_and_it_is_said() -> None:
    plan = ln.plan(lattices_by_op(4))
    svg = plan.draw().svg
    assert len(plan) > 800 and 200 < len(bars(svg)) < len(plan)
    assert "a bar stands for the largest of" in svg


@pytest.mark.parametrize("graphs", [1, 8])
def test_text_is_inside_the_picture(graphs: int) -> None:
    root = ET.fromstring(ln.plan(tree_lstms_by_op(graphs, 5, 12)).draw().svg)
    width = float(root.get("width", 0))
    for text in root.iter(f"{SVG}text"):
        room = text_width(
            text.text or "", float(text.get("font-size", 0)), text.get("font-weight") == "bold"
        )
        x = float(text.get("x", 0))
        left = x - room * {"middle": 0.5, "end": 1}.get(text.get("text-anchor", ""), 0)
        assert left >= 0 and left + room <= width, text.text


def test_nothing_to_compute() -> None:
    x = ln.constant([1.0])
    x.value()
    assert "Nothing is left to compute." in ln.plan(x).draw().svg


def test_files(tmp_path: Path) -> None:
    plan = ln.plan(ln.exp(ln.constant([1.0])))
    picture = plan.draw(tmp_path / "plan.svg")
    assert isinstance(picture, ln.Picture)
    assert (tmp_path / "plan.svg").read_text(encoding="utf-8") == picture.svg
    with pytest.raises(ln.FileError, match=r"one of \.svg"):
        plan.draw("plan.bmp")
    with pytest.raises(ln.ArgumentError, match="for a path"):
        plan.draw(7)


def test_lines_are_without_folders() -> None:
    svg = ln.plan(ln.exp(ln.constant([1.0]))).draw().svg
    assert "test_timeline.py:" in svg and str(Path(__file__).parent) not in svg
