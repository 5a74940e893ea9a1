"""Trees and graphs: what the parsers of the examples make of them."""

from __future__ import annotations

from pathlib import Path

import data_trees
import pytest
from data import DataError
from data_trees import Tree

SOURCE = b'''
def _get_name(self, x):
    """What is not read."""
    return x + self.y

class A:
    async def close(self): pass
    def __init__(self): "only this"
'''


def test_functions_without_their_names_and_docstrings() -> None:
    (get, name), (close, other) = data_trees.parse_functions(SOURCE)
    assert (name, other) == ("get", "close")
    assert [child.name for child in get.children] == ["arguments", "Return"]
    assert "Constant" not in {node.name for node in get.nodes()}
    assert [node.name for node in close.nodes()] == ["arg", "arguments", "Pass", "function"]


def test_trees_that_differ_in_names_alone_are_equal() -> None:
    trees = [
        tree
        for name in ("a", "b")
        for tree, _ in data_trees.parse_functions(f"def f({name}): return {name}".encode())
    ]
    assert trees[0] == trees[1]
    assert len(set(trees)) == 1


def test_graphs() -> None:
    ((tree, _),) = data_trees.parse_functions(b"def f(a, b): return a")
    graph = data_trees.graph(tree)
    types = ("arg", "arg", "arguments", "Load", "Name", "Return", "function")
    assert graph.types == types
    assert graph.edges["below"] == [(2, 0), (2, 1), (6, 2), (4, 3), (5, 4), (6, 5)]
    assert graph.edges["next"] == [(0, 1), (2, 5)]
    assert graph.edges["next use"] == [(0, 4)]
    for there, back in (("below", "above"), ("next", "previous"), ("next use", "previous use")):
        assert {(b, a) for a, b in graph.edges[there]} == set(graph.edges[back])
    for edges in graph.edges.values():
        assert edges == sorted(edges, key=lambda edge: edge[1])


def test_frequent_names_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(DataError, match="no sources of the standard library"):
        data_trees.functions()
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "left_out.py").write_text("def set_z(self): return self.x.y")
    (tmp_path / "one.py").write_text(
        "def get_a(x): return x\n"
        "def read_b(z): return z\n"  # the same form as get_a and get_d
        "def get_c(x): return x + 1\n"
        "def get_d(y): return y\n"
        "def is_e(x): return x == 1\n"
        "def f(): pass\n"  # too small
    )
    found = data_trees.functions(classes=1)
    assert [name for _, name in found] == ["get", "get"]
    assert len(data_trees.functions(classes=2)) == 3


def test_treebank_trees(tmp_path: Path) -> None:
    path = tmp_path / "trees.txt"
    path.write_text("(3 (2 It) (4 (4 works) (2 .)))\n\n(1 (1 No) )\n", "utf-8")
    first, second = data_trees.treebank_trees(path)
    works = Tree("", (Tree("works", (), 4), Tree(".", (), 2)), 4)
    assert first == Tree("", (Tree("It", (), 2), works), 3)
    assert second == Tree("", (Tree("No", (), 1),), 1)


@pytest.mark.parametrize("line", ["(3 (2 It)", "3 2 It", "(3 (2 It)))", "It"])
def test_lines_that_are_no_trees(line: str, tmp_path: Path) -> None:
    path = tmp_path / "trees.txt"
    path.write_text(f"(2 fine)\n{line}\n", "utf-8")
    with pytest.raises(DataError, match=r"trees\.txt:2: not a tree"):
        data_trees.treebank_trees(path)


def test_made_up_trees() -> None:
    assert {name for _, name in data_trees.synthetic_functions()} == {"get", "set", "is", "add"}
    for tree in data_trees.synthetic_treebank_trees():
        for node in tree.nodes():
            assert len(node.children) in (0, 2)
            assert 0 <= node.label <= 4
