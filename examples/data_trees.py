"""Trees and graphs: functions of Python's standard library, and sentences with marked phrases."""

from __future__ import annotations

import ast
import random
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data import DataError


@dataclass(frozen=True)
class Tree:
    """A node with what is below it.

    Attributes:
        name: Type of a syntax node; word of a leaf of a sentence, "" elsewhere.
        children: The nodes right below.
        label: What a phrase was marked with; -1 where nothing was.
        variable: Which variable a syntax node names, if it names one. It is no part of the form:
            trees that differ in it alone are equal.
    """

    name: str
    children: tuple[Tree, ...] = ()
    label: int = -1
    variable: str = field(default="", compare=False)

    def nodes(self) -> Iterator[Tree]:
        """All nodes, each after those below it."""
        for child in self.children:
            yield from child.nodes()
        yield self


Labelled = tuple[Tree, str]


def functions(classes: int = 15, least: int = 5, most: int = 200) -> list[Labelled]:
    """Functions of the standard library as syntax trees: what does the first word of the name say?

    The sources are those of the Python that runs, so their number differs a little between
    versions (3.11: 2738). Functions of one form count once, under the name that most of them have.

    Args:
        classes: How many words, the most frequent ones; the other functions are left out.
        least: Nodes of the smallest tree.
        most: Nodes of the largest tree.

    Returns:
        Trees without name and docstring, each with the first word of its name: get, set, read, ...

    Source: Python's standard library, PSF licence.
    """
    names: dict[Tree, Counter[str]] = {}
    folder = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3"}
    for path in sorted(folder.rglob("*.py")):
        if not left_out.intersection(path.relative_to(folder).parts):
            for tree, name in parse_functions(path.read_bytes()):
                if least <= sum(1 for _ in tree.nodes()) <= most:
                    names.setdefault(tree, Counter())[name] += 1
    if not names:
        raise DataError(f"no sources of the standard library in {folder}; install them")
    labelled = [(tree, count.most_common(1)[0][0]) for tree, count in names.items()]
    frequent = Counter(name for _, name in labelled).most_common(classes)
    kept = {name for name, _ in frequent}
    return [(tree, name) for tree, name in labelled if name in kept]


def parse_functions(source: bytes) -> Iterator[Labelled]:
    """Syntax trees of all functions in a file, each with the first word of its name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            name = node.name.strip("_").partition("_")[0].lower()
            body = node.body[ast.get_docstring(node) is not None :]
            if name and body:
                yield Tree("function", tuple(syntax(part) for part in (node.args, *body))), name


def syntax(node: ast.AST) -> Tree:
    """A syntax node by its type, with what is below it."""
    variable = ""
    if isinstance(node, ast.Name):
        variable = node.id
    elif isinstance(node, ast.arg):
        variable = node.arg
    children = tuple(syntax(part) for part in ast.iter_child_nodes(node))
    return Tree(type(node).__name__, children, variable=variable)


@dataclass(frozen=True)
class Graph:
    """Nodes, and edges of several kinds between them.

    Attributes:
        types: Type of each node.
        edges: For each of `EDGES` the pairs (start, end) of numbers of nodes, ordered by the end.
    """

    types: tuple[str, ...]
    edges: dict[str, list[tuple[int, int]]]


EDGES = ("below", "above", "next", "previous", "next use", "previous use")
"""Edges of syntax graphs: from a node to those right below it, to the next one below the same node,
to the next place where the same variable stands; and back."""


def graph(tree: Tree) -> Graph:
    """A syntax tree as a graph; its root is the last node."""
    nodes = list(tree.nodes())
    number = {id(node): k for k, node in enumerate(nodes)}
    below = [(k, number[id(child)]) for k, node in enumerate(nodes) for child in node.children]
    following = [
        (number[id(a)], number[id(b)])
        for node in nodes
        for a, b in zip(node.children, node.children[1:])
    ]
    uses, last = [], {}
    for k, node in enumerate(nodes):
        if node.variable:
            if node.variable in last:
                uses.append((last[node.variable], k))
            last[node.variable] = k
    edges = {}
    for there, back, pairs in zip(EDGES[::2], EDGES[1::2], (below, following, uses)):
        edges[there] = sorted(pairs, key=lambda edge: edge[1])
        edges[back] = sorted([(end, start) for start, end in pairs], key=lambda edge: edge[1])
    return Graph(tuple(node.name for node in nodes), edges)


def treebank_trees(path: Path) -> list[Tree]:
    """Sentences with marked phrases: a tree a line, ``(3 (2 It) (4 works))``.

    The Stanford Sentiment Treebank comes in this form, with labels from 0 (very negative) to 4
    (very positive).

    Raises:
        DataError: If the file cannot be read, or a line is no tree.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise DataError(f"cannot read trees from {path}: {error}") from error
    return [parse_tree(line, f"{path}:{k + 1}") for k, line in enumerate(lines) if line.strip()]


def parse_tree(text: str, where: str = "tree") -> Tree:
    """The tree that a line stands for."""
    stack: list[tuple[int, list[Tree]]] = [(-1, [])]
    tokens = re.findall(r"\(\s*\d+|\)|[^\s()]+", text)
    for token in tokens:
        if token.startswith("("):
            stack.append((int(token[1:]), []))
        elif token == ")" and len(stack) > 1:
            label, children = stack.pop()
            if len(children) == 1 and children[0].label == -1:
                tree = Tree(children[0].name, (), label)
            else:
                tree = Tree("", tuple(children), label)
            stack[-1][1].append(tree)
        else:
            stack[-1][1].append(Tree(token))
    if len(stack) != 1 or len(stack[0][1]) != 1 or stack[0][1][0].label == -1:
        raise DataError(f"{where}: not a tree: {text[:60]!r}")
    return stack[0][1][0]


def synthetic_functions(seed: int = 0, n: int = 150) -> list[Labelled]:
    """Stand-in for `functions`: made-up functions whose last statement tells their name."""
    rng = random.Random(seed)
    last = {"get": "return x", "set": "self.x = y", "is": "return x == y", "add": "z.append(x)"}
    others = ("x = y", "for a in b: c(a)", "if a: b = c", "d[1] += 2", "f(g(x), y)")
    made = []
    for k in range(n):
        name = sorted(last)[k % len(last)]
        lines = [*rng.choices(others, k=rng.randrange(4)), last[name]]
        source = f"def {name}_{k}(self, x, y):\n" + "\n".join("  " + line for line in lines)
        made += list(parse_functions(source.encode()))
    return made


def synthetic_treebank_trees(seed: int = 0, n: int = 120) -> list[Tree]:
    """Stand-in for `treebank_trees`: telling words, which `not` turns around."""
    rng = random.Random(seed)
    telling = {"bad": 0, "dull": 1, "film": 2, "plot": 2, "good": 3, "superb": 4}

    def phrase(words: int) -> Tree:
        if words == 1:
            word = rng.choice(sorted(telling))
            return Tree(word, (), telling[word])
        if words == 2:
            inner = phrase(1)
            return Tree("", (Tree("not", (), 2), inner), 4 - inner.label)
        cut = rng.randrange(1, words)
        left, right = phrase(cut), phrase(words - cut)
        strongest = max(left.label, right.label, key=lambda label: abs(label - 2))
        return Tree("", (left, right), strongest)

    return [phrase(rng.randrange(1, 9)) for _ in range(n)]
